//! From a schedule to launches.

mod convolution;
mod loss;
mod normalisation;
mod plain;
mod update;

use std::ops::Range;
use std::sync::Arc;

use segfit::network::schedule::{Schedule, Step, TensorId};
use segfit::network::{NetworkSpec, ParameterKind, Window};

pub(super) use self::loss::{LossMemory, STEP_BYTES, StepNumbers};
use self::normalisation::NormMemory;
pub(super) use self::update::StateMemory;
use super::device::{Device, Memory};
use super::launch::{Call, Launch};
use super::tensor::Tensor;
use crate::backend::{Part, TrainingSpec};
use crate::error::{Error, Result};
use crate::state::ParameterLayout;

/// What every program of a network reads and writes.
#[derive(Debug)]
pub(super) struct NetworkMemory {
    pub arena: Memory,
    pub state: StateMemory,
    /// Images as the caller has them, dense.
    pub images: Memory,
    /// Logits as the caller wants them, dense; at inference.
    pub logits: Memory,
    /// In training.
    pub loss: Option<LossMemory>,
}

/// Launches of a forward pass, or of a whole step of training.
pub(super) struct Program {
    pub launches: Vec<Launch>,
    /// The launches of every part, in order.
    pub parts: Vec<(Part, Range<usize>)>,
    /// What has to be written when weights are loaded.
    pub folded: Vec<Folded>,
    /// Tables, statistics and scratch; they must live as long as the launches.
    pub memory: Vec<Memory>,
}

/// A convolution or norm of inference whose numbers are made from the weights.
pub(super) enum Folded {
    /// The bias of a convolution, and the norm whose scale goes into its weights.
    Convolution { layer: usize, norm: Option<usize>, bias: u64 },
    /// Mean, scale and shift of every channel.
    Norm { layer: usize, affine: u64 },
}

/// What a program is made from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub device: &'a Arc<dyn Device>,
    pub spec: &'a NetworkSpec,
    pub schedule: &'a Schedule,
    pub layout: &'a ParameterLayout,
    pub training: Option<TrainingSpec>,
    pub memory: &'a NetworkMemory,
}

impl Source<'_> {
    /// The launches. With `teacher` the loss includes one.
    pub fn program(self, teacher: bool) -> Result<Program> {
        let mut compiler = Compiler::new(self);
        let mut parts = Vec::new();
        let mut part = |compiler: &Compiler<'_>, part| {
            let begin = parts.last().map_or(0, |(_, range): &(Part, Range<usize>)| range.end);
            parts.push((part, begin..compiler.calls.len()));
        };
        compiler.copy_image();
        part(&compiler, Part::Image);
        for (k, step) in self.schedule.forward.iter().enumerate() {
            compiler.forward(step, teacher)?;
            part(&compiler, Part::Step(k));
        }
        if self.training.is_some() {
            for step in &self.schedule.backward {
                compiler.backward(step)?;
            }
            compiler.update();
        } else {
            compiler.copy_logits();
        }
        part(&compiler, Part::Logits);
        compiler.finish(parts)
    }
}

struct Compiler<'a> {
    source: Source<'a>,
    tensors: Vec<Tensor>,
    calls: Vec<Call>,
    folded: Vec<Folded>,
    /// By layer.
    norms: Vec<Option<NormMemory>>,
    memory: Vec<Memory>,
    /// The most bytes of scratch memory that a step needs.
    scratch: usize,
    losses: usize,
}

impl<'a> Compiler<'a> {
    fn new(source: Source<'a>) -> Self {
        let tensors = source.schedule.tensors.iter().map(|t| {
            let buffer = &source.schedule.buffers[t.buffer];
            let (height, width) = (buffer.layout.height, buffer.layout.width);
            let first = buffer.offset + t.first_channel * height * width;
            let dense = Tensor::dense(
                source.memory.arena.address + 4 * first as u64,
                source.schedule.batch,
                t.channels,
                (height, width),
            );
            Tensor { image: buffer.channels * height * width, ..dense }
        });
        Self {
            tensors: tensors.collect(),
            calls: Vec::new(),
            folded: Vec::new(),
            norms: source.spec.layers.iter().map(|_| None).collect(),
            memory: Vec::new(),
            scratch: 0,
            losses: 0,
            source,
        }
    }

    fn finish(mut self, parts: Vec<(Part, Range<usize>)>) -> Result<Program> {
        let scratch = Memory::new(self.source.device, self.scratch)?;
        let launches = self.calls.iter().map(|call| call.at(scratch.address)).collect();
        self.memory.push(scratch);
        Ok(Program { launches, parts, folded: self.folded, memory: self.memory })
    }

    fn push(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// Scratch memory of the step that is being compiled, from its beginning.
    fn need_scratch(&mut self, bytes: usize) {
        self.scratch = self.scratch.max(bytes);
    }

    /// Memory of the program's own; its address.
    fn own(&mut self, bytes: usize) -> Result<u64> {
        let memory = Memory::new(self.source.device, bytes)?;
        let address = memory.address;
        self.memory.push(memory);
        Ok(address)
    }

    /// A table of numbers that are written now; its address.
    fn table(&mut self, bytes: &[u8]) -> Result<u64> {
        let address = self.own(bytes.len())?;
        if !bytes.is_empty() {
            self.source.device.write_bytes(address, bytes)?;
        }
        Ok(address)
    }

    fn int_table(&mut self, values: &[i32]) -> Result<u64> {
        self.table(&values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>())
    }

    fn tensor(&self, id: TensorId) -> Tensor {
        self.tensors[id]
    }

    /// Address of a trained parameter.
    fn trained(&self, layer: usize, kind: ParameterKind) -> Option<u64> {
        Some(self.source.memory.state.trained.address + 4 * self.source.layout.range(layer, kind)?.start as u64)
    }

    /// Address of its gradient.
    fn gradient(&self, layer: usize, kind: ParameterKind) -> Option<u64> {
        Some(self.source.memory.state.gradients.address + 4 * self.source.layout.range(layer, kind)?.start as u64)
    }

    fn unsupported(&self, layer: usize, reason: &str) -> Error {
        Error::Unsupported {
            what: format!("layer {}", self.source.spec.layers[layer].name),
            device: self.source.device.name(),
            reason: reason.into(),
        }
    }

    fn copy(&mut self, x: &Tensor, y: &Tensor, accumulate: bool) {
        self.push(Call::over("copy", y, super::kernels::CHUNK).tensor(x).tensor(y).flag(accumulate));
    }

    fn copy_image(&mut self) {
        let input = self.tensor(self.source.schedule.input);
        let from =
            Tensor::dense(self.source.memory.images.address, input.batch, input.channels, (input.height, input.width));
        self.copy(&from, &input, false);
    }

    fn copy_logits(&mut self) {
        let output = self.tensor(self.source.schedule.output);
        let (batch, size) = (output.batch, (output.height, output.width));
        let to = Tensor::dense(self.source.memory.logits.address, batch, output.channels, size);
        self.copy(&output, &to, false);
    }

    fn forward(&mut self, step: &Step, teacher: bool) -> Result<()> {
        match step {
            Step::Convolve { layer, norm, relu, x, y } => self.convolve(*layer, *norm, *relu, *x, *y)?,
            Step::Normalise { layer, relu, x, y } => self.batch_norm(*layer, *relu, *x, *y)?,
            Step::MaxPool { x, y } => self.max_pool(SQUARE, *x, *y),
            Step::Copy { x, y } => self.copy(&self.tensor(*x), &self.tensor(*y), false),
            Step::Apply { layer, xs, y } => self.apply(*layer, xs, *y)?,
            Step::Loss { logits, gradient, weight } => {
                self.loss(*logits, *gradient, *weight, teacher);
                self.losses += 1;
            }
            _ => unreachable!("a forward step"),
        }
        Ok(())
    }

    fn backward(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Zero { dx } => {
                let dx = self.tensor(*dx);
                self.push(Call::over("fill", &dx, super::kernels::CHUNK).tensor(&dx).float(0.0));
            }
            Step::ReluBackward { y, dy } => {
                let (y, dy) = (self.tensor(*y), self.tensor(*dy));
                self.push(Call::over("relu_gradient", &y, super::kernels::CHUNK).tensor(&y).tensor(&dy));
            }
            Step::ConvolveBackwardWeights { layer, x, dy } => self.weight_gradient(*layer, *x, *dy)?,
            Step::ConvolveBackwardData { layer, dy, dx, accumulate } => {
                self.input_gradient(*layer, *dy, *dx, *accumulate)?;
            }
            Step::NormaliseBackward { layer, relu, x, dy } => self.batch_norm_gradient(*layer, *relu, *x, *dy)?,
            Step::MaxPoolBackward { x, dy, dx, accumulate } => {
                self.max_pool_gradient(SQUARE, self.tensor(*x), self.tensor(*dy), self.tensor(*dx), *accumulate);
            }
            Step::CopyBackward { dy, dx, accumulate } => self.copy(&self.tensor(*dy), &self.tensor(*dx), *accumulate),
            Step::ApplyBackward { layer, xs, y, dy, dxs } => self.apply_gradient(*layer, xs, *y, *dy, dxs)?,
            _ => unreachable!("a backward step"),
        }
        Ok(())
    }
}

/// The window of [`Step::MaxPool`].
const SQUARE: Window = Window { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
