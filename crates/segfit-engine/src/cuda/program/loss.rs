//! The loss and what changes from step to step.

use segfit::network::schedule::TensorId;
use segfit::recipe::LossKind;

use super::Compiler;
use crate::cuda::device::Memory;
use crate::cuda::kernels::{LOSS_PIXELS, THREADS};
use crate::cuda::launch::Call;
use crate::cuda::tensor::Tensor;

/// Memory of training that is not the network's.
#[derive(Debug)]
pub(crate) struct LossMemory {
    /// A [`StepNumbers`].
    pub numbers: Memory,
    /// A class for every pixel of the batch.
    pub targets: Memory,
    /// The teacher's logits; no bytes without one.
    pub teacher: Memory,
    /// The values of every loss: total, cross-entropy, Dice.
    pub values: Memory,
    /// Two numbers for every class.
    pub coefficients: Memory,
}

/// Bytes of `StepNumbers` in the source.
pub(crate) const STEP_BYTES: usize = 40;

/// What changes from step to step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepNumbers {
    pub seed: u64,
    /// Steps before this one.
    pub step: u64,
    /// AdamW's: rate / (1 - beta1^t), sqrt(1 - beta2^t).
    pub step_size: f32,
    pub root: f32,
    pub rate: f32,
    pub average_decay: f32,
    pub teacher_weight: f32,
    pub temperature: f32,
}

impl StepNumbers {
    /// As the source lays them out.
    pub fn bytes(&self) -> [u8; STEP_BYTES] {
        let mut bytes = [0; STEP_BYTES];
        bytes[..8].copy_from_slice(&self.seed.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.step.to_ne_bytes());
        let floats = [self.step_size, self.root, self.rate, self.average_decay, self.teacher_weight, self.temperature];
        for (to, value) in bytes[16..].chunks_exact_mut(4).zip(floats) {
            to.copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }
}

impl Compiler<'_> {
    /// The loss of a head; the output's comes first, and only that sees a teacher.
    pub(super) fn loss(&mut self, logits: TensorId, gradient: TensorId, weight: f32, teacher: bool) {
        let (logits, gradient) = (self.tensor(logits), self.tensor(gradient));
        let training = self.source.training.expect("a loss belongs to training");
        let softmax = training.loss == LossKind::CrossEntropyDice;
        let memory = self.source.memory.loss.as_ref().expect("a loss belongs to training");
        let value = memory.values.address + 24 * self.losses as u64;
        let (targets, coefficients) = (memory.targets.address, memory.coefficients.address);
        let (numbers, soft) = (memory.numbers.address, memory.teacher.address);
        let pixels = logits.batch * logits.pixels();
        let blocks = pixels.div_ceil(LOSS_PIXELS);
        self.need_scratch(32 * blocks * logits.channels);
        let arguments = |call: Call| {
            let call = call.tensor(&logits).tensor(&gradient).address(targets).scratch(0).address(coefficients);
            call.address(value).flag(softmax).int(blocks).float(weight)
        };
        self.push(arguments(Call::new("loss_sums", [blocks, 1, 1])));
        self.push(arguments(Call::new("loss_value", [1, 1, 1])));
        self.push(arguments(Call::for_each("loss_gradient", pixels)));
        if teacher && self.losses == 0 {
            let soft = Tensor::dense(soft, logits.batch, logits.channels, (logits.height, logits.width));
            let blocks = pixels.div_ceil(THREADS);
            self.need_scratch(8 * blocks);
            let arguments = |call: Call| {
                let call = call.tensor(&logits).tensor(&gradient).tensor(&soft).address(numbers).scratch(0);
                call.address(value).flag(softmax).int(blocks)
            };
            self.push(arguments(Call::new("distil", [blocks, 1, 1])));
            self.push(arguments(Call::new("distil_value", [1, 1, 1])));
        }
    }
}
