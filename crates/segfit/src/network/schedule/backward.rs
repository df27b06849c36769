//! Loss and backward steps: the forward steps in reverse, gradients of concatenations by views as in the forward pass.

use super::super::spec::NetworkSpec;
use super::{Buffer, Schedule, Step, Tensor, TensorId};
use crate::error::{Error, Result};

/// Appends [`Step::Loss`] to the forward steps and fills in the backward steps.
pub(super) fn plan(spec: &NetworkSpec, schedule: &mut Schedule) -> Result<()> {
    let steps = schedule.forward.clone();
    let mut planner = Planner {
        gradients: vec![None; schedule.tensors.len()],
        buffers: vec![None; schedule.buffers.len()],
        written: Vec::new(),
        first_gradient_buffer: schedule.buffers.len(),
        schedule,
    };
    let logits = planner.schedule.output;
    let gradient = planner.gradient(logits);
    planner.claim(gradient);
    planner.schedule.forward.push(Step::Loss { logits, gradient });
    for step in steps.iter().rev() {
        planner.reverse(spec, step)?;
    }
    Ok(())
}

struct Planner<'a> {
    schedule: &'a mut Schedule,
    /// Gradient of each forward tensor.
    gradients: Vec<Option<TensorId>>,
    /// Gradient buffer of each forward buffer.
    buffers: Vec<Option<usize>>,
    /// For each gradient buffer: which channels hold a gradient already.
    written: Vec<Vec<bool>>,
    first_gradient_buffer: usize,
}

impl Planner<'_> {
    fn reverse(&mut self, spec: &NetworkSpec, step: &Step) -> Result<()> {
        match *step {
            Step::Convolve { layer, relu, x, y, .. } => {
                let dy = self.complete(spec, layer, y)?;
                if relu {
                    self.schedule.backward.push(Step::ReluBackward { y, dy });
                }
                self.schedule.backward.push(Step::ConvolveBackwardWeights { layer, x, dy });
                if x != self.schedule.input {
                    let dx = self.gradient(x);
                    let accumulate = self.claim(dx);
                    self.schedule.backward.push(Step::ConvolveBackwardData { layer, dy, dx, accumulate });
                }
            }
            Step::Normalise { layer, relu, x, y } => {
                let dy = self.complete(spec, layer, y)?;
                if self.gradients[x].is_some() {
                    let reason = "the input of a norm may have no other reader in training".into();
                    return Err(Error::Network { layer: spec.layers[layer].name.clone(), reason });
                }
                self.schedule.backward.push(Step::NormaliseBackward { layer, relu, x, dy });
                self.gradients[x] = Some(dy);
            }
            Step::MaxPool { x, y } => {
                let dy = self.complete(spec, 0, y)?;
                let dx = self.gradient(x);
                let accumulate = self.claim(dx);
                self.schedule.backward.push(Step::MaxPoolBackward { x, dy, dx, accumulate });
            }
            Step::Copy { x, y } => {
                let dy = self.complete(spec, 0, y)?;
                let dx = self.gradient(x);
                let accumulate = self.claim(dx);
                self.schedule.backward.push(Step::CopyBackward { dy, dx, accumulate });
            }
            _ => unreachable!("forward steps only"),
        }
        Ok(())
    }

    /// The gradient tensor of a forward tensor, in a buffer of the same form.
    fn gradient(&mut self, tensor: TensorId) -> TensorId {
        if let Some(id) = self.gradients[tensor] {
            return id;
        }
        let Tensor { name, buffer, first_channel, channels } = self.schedule.tensors[tensor].clone();
        let buffer = match self.buffers[buffer] {
            Some(found) => found,
            None => {
                let copy = Buffer { born: usize::MAX, dies: 0, ..self.schedule.buffers[buffer].clone() };
                self.written.push(vec![false; copy.channels]);
                self.schedule.buffers.push(copy);
                *self.buffers[buffer].insert(self.schedule.buffers.len() - 1)
            }
        };
        self.schedule.tensors.push(Tensor { name: format!("d:{name}"), buffer, first_channel, channels });
        *self.gradients[tensor].insert(self.schedule.tensors.len() - 1)
    }

    /// Notes that a step is about to write this gradient; whether it must add to what is there.
    fn claim(&mut self, gradient: TensorId) -> bool {
        let Tensor { buffer, first_channel, channels, .. } = self.schedule.tensors[gradient].clone();
        let first_written = buffer - self.first_gradient_buffer;
        let range = first_channel..first_channel + channels;
        let written = self.written[first_written][range.clone()].to_vec();
        self.written[first_written][range].fill(true);
        if written.iter().all(|&w| w) {
            return true;
        }
        if written.iter().all(|&w| !w) {
            return false;
        }
        for (i, _) in written.iter().enumerate().filter(|(_, w)| !**w) {
            let name = format!("{}[{i}]", self.schedule.tensors[gradient].name);
            self.schedule.tensors.push(Tensor { name, buffer, first_channel: first_channel + i, channels: 1 });
            let dx = self.schedule.tensors.len() - 1;
            self.schedule.backward.push(Step::Zero { dx });
        }
        true
    }

    /// The gradient of a forward tensor, all of whose channels must have been written.
    fn complete(&mut self, spec: &NetworkSpec, layer: usize, tensor: TensorId) -> Result<TensorId> {
        let gradient = self.gradient(tensor);
        let Tensor { buffer, first_channel, channels, .. } = self.schedule.tensors[gradient].clone();
        let written = &self.written[buffer - self.first_gradient_buffer];
        if written[first_channel..first_channel + channels].iter().all(|&w| w) {
            return Ok(gradient);
        }
        let reason = format!("its tensor {} does not reach the output", self.schedule.tensors[tensor].name);
        Err(Error::Network { layer: spec.layers[layer].name.clone(), reason })
    }
}
