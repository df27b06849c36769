//! The optimiser's step, behind all gradients.

use std::sync::Arc;

use super::Compiler;
use crate::backend::{Optimiser, TrainingSpec};
use crate::cuda::device::{Device, Memory};
use crate::cuda::launch::Call;
use crate::error::Result;
use crate::optimiser::AdamWOptions;
use crate::state::ParameterLayout;

/// Parameters and what training keeps beside them.
#[derive(Debug)]
pub(crate) struct StateMemory {
    pub trained: Memory,
    pub running: Memory,
    /// These are empty at inference.
    pub gradients: Memory,
    pub moment1: Memory,
    pub moment2: Memory,
    /// Empty without a moving average, too.
    pub average_trained: Memory,
    pub average_running: Memory,
    /// Weight decay of every parameter.
    decays: Memory,
}

impl StateMemory {
    pub fn new(device: &Arc<dyn Device>, layout: &ParameterLayout, training: Option<TrainingSpec>) -> Result<Self> {
        let (n, running) = (layout.trained_len, layout.running_len);
        let trains = |count: usize| if training.is_some() { count } else { 0 };
        let averages = |count: usize| if training.is_some_and(|t| t.average_decay > 0.0) { count } else { 0 };
        let floats = |count: usize| Memory::floats(device, count);
        let state = Self {
            trained: floats(n)?,
            running: floats(trains(running))?,
            gradients: floats(trains(n))?,
            moment1: floats(trains(n))?,
            moment2: floats(trains(n))?,
            average_trained: floats(averages(n))?,
            average_running: floats(averages(running))?,
            decays: floats(trains(n))?,
        };
        if let Some(Optimiser::AdamW { weight_decay }) = training.map(|t| t.optimiser) {
            let mut decays = vec![0.0; n];
            layout.decayed().into_iter().for_each(|range| decays[range].fill(weight_decay));
            state.decays.write(&decays)?;
        }
        Ok(state)
    }

    pub fn bytes(&self) -> usize {
        let Self { trained, running, gradients, moment1, moment2, average_trained, average_running, decays } = self;
        let all = [trained, running, gradients, moment1, moment2, average_trained, average_running, decays];
        all.iter().map(|memory| memory.bytes).sum()
    }
}

impl Compiler<'_> {
    pub(super) fn update(&mut self) {
        let training = self.source.training.expect("an update belongs to training");
        let numbers = self.source.memory.loss.as_ref().expect("an update belongs to training").numbers.address;
        let state = &self.source.memory.state;
        let (n, running) = (self.source.layout.trained_len, self.source.layout.running_len);
        let AdamWOptions { beta1, beta2, eps } = AdamWOptions::default();
        let kernel = match training.optimiser {
            Optimiser::AdamW { .. } => "adam_w",
            Optimiser::Sgd => "descend",
        };
        let memories = [&state.trained, &state.gradients, &state.moment1, &state.moment2];
        let call = memories.into_iter().fold(Call::for_each(kernel, n), |call, memory| call.address(memory.address));
        let call = call.address(state.average_trained.address).address(state.decays.address).address(numbers).int(n);
        let call = call.float((1.0 - beta1) as f32).float(beta2 as f32).float((1.0 - beta2) as f32).float(eps as f32);
        let follow = Call::for_each("follow_all", running)
            .address(state.running.address)
            .address(state.average_running.address)
            .address(numbers)
            .int(running);
        self.push(call);
        if training.average_decay > 0.0 && running > 0 {
            self.push(follow);
        }
    }
}
