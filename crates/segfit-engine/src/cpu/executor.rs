//! The CPU backend: a schedule's steps, one after the other, in one arena.

use std::collections::BTreeMap;

use segfit::network::schedule::{Mode, Schedule, Step, TensorId};
use segfit::network::{NetworkSpec, Op, ParameterKind};
use segfit::recipe::LossKind;

use super::convolution::Convolution;
use super::low_precision::{Histogram, LowPrecisionExecutor};
use super::normalisation::Normalisation;
use super::planes::{Arena, Planes};
use super::simd::Isa;
use super::{batch_norm, copy, max_pool, ordered, relu};
use crate::backend::{ActivationRanges, Backend, CalibrationImage, Executor, Optimiser, Precision, TrainingSpec};
use crate::error::{Error, Result};
use crate::loss::{self, LossOptions, LossScratch, LossValue};
use crate::optimiser::{AdamW, AdamWOptions, sgd, update_ema};
use crate::state::{ParameterLayout, State, Weights};

/// The CPU, with one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct CpuBackend {
    isa: Isa,
}

impl CpuBackend {
    /// The CPU with its best instruction set.
    #[must_use]
    pub fn detect() -> Self {
        Self { isa: Isa::detect() }
    }

    /// The CPU restricted to one instruction set of [`Isa::available`].
    #[must_use]
    pub fn with_isa(isa: Isa) -> Self {
        Self { isa }
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> String {
        format!("cpu/{}", self.isa.name())
    }

    fn compile(
        &self,
        spec: &NetworkSpec,
        schedule: Schedule,
        training: Option<TrainingSpec>,
    ) -> Result<Box<dyn Executor>> {
        if (schedule.mode == Mode::Train) != training.is_some() {
            return Err(Error::Unsupported {
                what: "this schedule".into(),
                device: self.name(),
                reason: "a training schedule and a training specification belong together".into(),
            });
        }
        Ok(Box::new(CpuExecutor::new(self.isa, spec, schedule, training)?))
    }

    fn compile_low_precision(
        &self,
        spec: &NetworkSpec,
        schedule: Schedule,
        precision: Precision,
        ranges: Option<&ActivationRanges>,
    ) -> Result<Box<dyn Executor>> {
        if precision == Precision::F32 {
            return self.compile(spec, schedule, None);
        }
        Ok(Box::new(LowPrecisionExecutor::new(self.isa, self.name(), spec, schedule, precision, ranges)?))
    }

    fn calibrate(
        &self,
        spec: &NetworkSpec,
        weights: &Weights,
        images: &[CalibrationImage],
    ) -> Result<ActivationRanges> {
        let mut executor: Option<CpuExecutor> = None;
        let mut histograms: BTreeMap<String, Histogram> = BTreeMap::new();
        for image in images {
            let fits = |e: &CpuExecutor| (e.schedule.height, e.schedule.width) == (image.height, image.width);
            if !executor.as_ref().is_some_and(fits) {
                let schedule = Schedule::new(spec, Mode::Infer, 1, image.height, image.width)?;
                let mut made = CpuExecutor::new(self.isa, spec, schedule, None)?;
                made.load(weights)?;
                executor = Some(made);
            }
            let executor = executor.as_mut().expect("made above");
            executor.infer_observed(&image.data, &mut |name, planes| {
                histograms.entry(name.to_owned()).or_default().add(planes);
            })?;
        }
        if histograms.is_empty() {
            let (expected, got) = ("at least one image to calibrate with".into(), "none".into());
            return Err(segfit::Error::Option { what: "calibration".into(), expected, got }.into());
        }
        Ok(ActivationRanges { ranges: histograms.into_iter().map(|(name, h)| (name, h.range())).collect() })
    }
}

struct CpuExecutor {
    isa: Isa,
    schedule: Schedule,
    training: Option<TrainingSpec>,
    layout: ParameterLayout,
    adamw: AdamW,
    /// Owns the memory that `tensors` point into.
    arena: Arena,
    tensors: Vec<Planes>,
    /// By layer.
    convolutions: Vec<Option<Convolution>>,
    norms: Vec<Option<Normalisation>>,
    scratch: Vec<f32>,
    loss_scratch: Option<LossScratch>,
    /// The moments are in `adamw`.
    state: State,
    gradients: Vec<f32>,
}

impl CpuExecutor {
    fn new(isa: Isa, spec: &NetworkSpec, schedule: Schedule, training: Option<TrainingSpec>) -> Result<Self> {
        let layout = ParameterLayout::new(spec)?;
        let mut arena = Arena::new(schedule.arena_floats);
        let tensors: Vec<Planes> = schedule
            .tensors
            .iter()
            .map(|t| {
                let buffer = &schedule.buffers[t.buffer];
                let stride = buffer.channels * buffer.layout.plane_stride();
                arena
                    .planes(buffer.offset, schedule.batch, buffer.channels, buffer.layout, stride)
                    .slice(t.first_channel, t.channels)
            })
            .collect();
        let train = training.is_some();
        let mut convolutions: Vec<Option<Convolution>> = spec.layers.iter().map(|_| None).collect();
        let mut norms: Vec<Option<Normalisation>> = spec.layers.iter().map(|_| None).collect();
        for step in &schedule.forward {
            match *step {
                Step::Convolve { layer, norm, x, y, .. } => {
                    let mut made = Convolution::new(isa, spec, layer, &layout, &tensors[x], &tensors[y], train)?;
                    made.fold_norm(norm.map(|n| Normalisation::new(spec, n, &layout)).transpose()?);
                    convolutions[layer] = Some(made);
                }
                Step::Normalise { layer, x, .. } => {
                    if train && ordered::floats(&tensors[x]) == tensors[x].channels {
                        let reason =
                            "its statistics need more than one pixel: larger images, a larger batch or less depth";
                        return Err(unsupported(spec, layer, reason));
                    }
                    norms[layer] = Some(Normalisation::new(spec, layer, &layout)?);
                }
                _ => {}
            }
        }
        let scratch = convolutions.iter().flatten().map(Convolution::scratch_len).max().unwrap_or(0);
        let n = if train { layout.trained_len } else { 0 };
        let running = if train { layout.running_len } else { 0 };
        let weight_decay = match training.map(|t| t.optimiser) {
            Some(Optimiser::AdamW { weight_decay }) => weight_decay,
            _ => 0.0,
        };
        let decay: Vec<_> = if train { layout.decayed() } else { Vec::new() };
        let decay: Vec<_> = decay.into_iter().map(|range| (range, weight_decay)).collect();
        let adamw = AdamW::new(n, AdamWOptions::default(), &decay);
        let empty = Weights { trained: vec![0.0; n], running: vec![0.0; running] };
        Ok(Self {
            isa,
            adamw,
            layout,
            training,
            arena,
            loss_scratch: train.then(|| LossScratch::new(&tensors[schedule.output])),
            tensors,
            convolutions,
            norms,
            scratch: vec![0.0; scratch],
            state: State::fresh(empty),
            gradients: vec![0.0; n],
            schedule,
        })
    }

    fn wrong_mode(&self, needed: &str) -> Error {
        Error::Unsupported {
            what: needed.into(),
            device: format!("cpu/{}", self.isa.name()),
            reason: format!("the executor was compiled with a schedule for {:?}", self.schedule.mode),
        }
    }

    fn check_len(what: &str, got: usize, expected: usize) -> Result<()> {
        if got == expected {
            return Ok(());
        }
        Err(segfit::Error::Option { what: what.into(), expected: format!("{expected} values"), got: got.to_string() }
            .into())
    }

    fn planes(&self, id: TensorId) -> &Planes {
        &self.tensors[id]
    }

    fn run_forward(&mut self, step: &Step) {
        match *step {
            Step::Convolve { layer, relu, x, y, .. } => {
                let (x, y) = (self.tensors[x], self.tensors[y]);
                let bias = &self.state.trained;
                let convolution = self.convolutions[layer].as_mut().expect("compiled with the schedule");
                convolution.forward(relu, bias, &x, &y, &mut self.scratch);
            }
            Step::Normalise { layer, relu, x, y } => {
                let (x, y) = (self.tensors[x], self.tensors[y]);
                let norm = self.norms[layer].as_mut().expect("compiled with the schedule");
                if self.training.is_some() {
                    norm.forward_train(self.isa, relu, &mut self.state, &x, &y);
                } else {
                    batch_norm::affine(self.isa, &x, &y, &norm.scale, &norm.shift, relu);
                }
            }
            Step::MaxPool { x, y } => max_pool::forward(self.isa, self.planes(x), self.planes(y)),
            Step::Copy { x, y } => copy::copy(self.planes(x), self.planes(y)),
            _ => unreachable!("a forward step"),
        }
    }

    /// Runs the network; shows every tensor with its name when it has been computed, the image first.
    fn infer_observed(&mut self, images: &[f32], observe: &mut dyn FnMut(&str, &Planes)) -> Result<()> {
        let input = self.tensors[self.schedule.input];
        let pixels = input.layout.height * input.layout.width;
        Self::check_len("image values", images.len(), input.batch * input.channels * pixels)?;
        input.write_dense(images);
        observe(&self.schedule.tensors[self.schedule.input].name, &input);
        let steps = std::mem::take(&mut self.schedule.forward);
        for step in &steps {
            self.run_forward(step);
            if let Some(&y) = step.tensors().last() {
                observe(&self.schedule.tensors[y].name, &self.tensors[y]);
            }
        }
        self.schedule.forward = steps;
        Ok(())
    }

    fn run_loss(&mut self, kind: LossKind, logits: TensorId, gradient: TensorId, targets: &[u8]) -> LossValue {
        let (logits, gradient) = (self.tensors[logits], self.tensors[gradient]);
        let scratch = self.loss_scratch.as_mut().expect("compiled for training");
        loss::loss(self.isa, LossOptions { kind }, &logits, targets, Some(&gradient), scratch)
    }

    fn run_backward(&mut self, step: &Step) {
        match *step {
            Step::Zero { dx } => self.planes(dx).fill_zero(),
            Step::ReluBackward { y, dy } => relu::backward(self.isa, self.planes(y), self.planes(dy), self.planes(dy)),
            Step::ConvolveBackwardWeights { layer, x, dy } => {
                let (x, dy) = (self.tensors[x], self.tensors[dy]);
                let convolution = self.convolutions[layer].as_mut().expect("compiled with the schedule");
                convolution.backward_weights(&x, &dy, &mut self.scratch, &mut self.gradients);
            }
            Step::ConvolveBackwardData { layer, dy, dx, accumulate } => {
                let (dy, dx) = (self.tensors[dy], self.tensors[dx]);
                let convolution = self.convolutions[layer].as_mut().expect("compiled with the schedule");
                convolution.backward_data(&self.state.trained, &dy, &dx, accumulate, &mut self.scratch);
            }
            Step::NormaliseBackward { layer, relu, x, dy } => {
                let (x, dy) = (self.tensors[x], self.tensors[dy]);
                let norm = self.norms[layer].as_mut().expect("compiled with the schedule");
                norm.backward(self.isa, relu, &self.state, &x, &dy, &mut self.gradients);
            }
            Step::MaxPoolBackward { x, dy, dx, accumulate } => {
                max_pool::backward(self.isa, self.planes(x), self.planes(dy), self.planes(dx), accumulate);
            }
            Step::CopyBackward { dy, dx, accumulate } => {
                if accumulate {
                    copy::add(self.planes(dy), self.planes(dx));
                } else {
                    copy::copy(self.planes(dy), self.planes(dx));
                }
            }
            _ => unreachable!("a backward step"),
        }
    }

    fn update(&mut self, training: TrainingSpec, learning_rate: f32) {
        let (isa, state) = (self.isa, &mut self.state);
        state.step += 1;
        match training.optimiser {
            Optimiser::AdamW { .. } => self.adamw.update(isa, &mut state.trained, &self.gradients, learning_rate),
            Optimiser::Sgd => sgd(isa, &mut state.trained, &self.gradients, learning_rate),
        }
        let decay = training.average_decay.min((1.0 + state.step as f32) / (10.0 + state.step as f32));
        update_ema(isa, &mut state.average_trained, &state.trained, decay);
        update_ema(isa, &mut state.average_running, &state.running, decay);
    }
}

impl Executor for CpuExecutor {
    fn load(&mut self, weights: &Weights) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("loading weights for inference"));
        }
        Self::check_len("weights", weights.trained.len(), self.layout.trained_len)?;
        Self::check_len("running statistics", weights.running.len(), self.layout.running_len)?;
        for convolution in self.convolutions.iter_mut().flatten() {
            convolution.load_folded(weights);
        }
        for norm in self.norms.iter_mut().flatten() {
            norm.load_folded(weights);
        }
        Ok(())
    }

    fn infer(&mut self, images: &[f32], logits: &mut Vec<f32>) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("inference"));
        }
        let input = self.tensors[self.schedule.input];
        let pixels = input.layout.height * input.layout.width;
        Self::check_len("image values", images.len(), input.batch * input.channels * pixels)?;
        input.write_dense(images);
        let steps = std::mem::take(&mut self.schedule.forward);
        for step in &steps {
            self.run_forward(step);
        }
        self.schedule.forward = steps;
        self.tensors[self.schedule.output].read_dense_into(logits);
        Ok(())
    }

    fn train_step(&mut self, images: &[f32], targets: &[u8], learning_rate: f32) -> Result<LossValue> {
        let Some(training) = self.training else { return Err(self.wrong_mode("a training step")) };
        let input = self.tensors[self.schedule.input];
        let pixels = input.batch * input.layout.height * input.layout.width;
        Self::check_len("image values", images.len(), input.channels * pixels)?;
        Self::check_len("target values", targets.len(), pixels)?;
        input.write_dense(images);
        for convolution in self.convolutions.iter_mut().flatten() {
            convolution.pack(&self.state.trained);
        }
        let forward = std::mem::take(&mut self.schedule.forward);
        let backward = std::mem::take(&mut self.schedule.backward);
        let mut loss = None;
        for step in &forward {
            match *step {
                Step::Loss { logits, gradient } => {
                    loss = Some(self.run_loss(training.loss, logits, gradient, targets));
                }
                _ => self.run_forward(step),
            }
        }
        for step in &backward {
            self.run_backward(step);
        }
        self.schedule.forward = forward;
        self.schedule.backward = backward;
        self.update(training, learning_rate);
        Ok(loss.expect("a training schedule has a loss"))
    }

    fn set_state(&mut self, state: &State) -> Result<()> {
        if self.training.is_none() {
            return Err(self.wrong_mode("a training state"));
        }
        Self::check_len("parameters", state.trained.len(), self.layout.trained_len)?;
        Self::check_len("running statistics", state.running.len(), self.layout.running_len)?;
        Self::check_len("averaged parameters", state.average_trained.len(), self.layout.trained_len)?;
        Self::check_len("averaged running statistics", state.average_running.len(), self.layout.running_len)?;
        Self::check_len("first moments", state.moment1.len(), self.layout.trained_len)?;
        Self::check_len("second moments", state.moment2.len(), self.layout.trained_len)?;
        self.adamw.m.copy_from_slice(&state.moment1);
        self.adamw.v.copy_from_slice(&state.moment2);
        self.adamw.step = state.step as u64;
        self.state = State { moment1: Vec::new(), moment2: Vec::new(), ..state.clone() };
        Ok(())
    }

    fn state(&self) -> Result<State> {
        if self.training.is_none() {
            return Err(self.wrong_mode("a training state"));
        }
        Ok(State { moment1: self.adamw.m.clone(), moment2: self.adamw.v.clone(), ..self.state.clone() })
    }

    fn bytes(&self) -> u64 {
        let convolutions: usize = self.convolutions.iter().flatten().map(Convolution::floats).sum();
        let state = 4 * self.state.trained.len() + 2 * self.state.running.len();
        (self.arena.bytes() + 4 * (convolutions + state + self.scratch.len() + self.gradients.len())) as u64
    }
}

/// The error of a layer that the CPU cannot execute.
pub(super) fn unsupported(spec: &NetworkSpec, layer: usize, reason: &str) -> Error {
    Error::Unsupported {
        what: format!("layer {}", spec.layers[layer].name),
        device: "cpu".into(),
        reason: reason.into(),
    }
}

/// The batch norm options of a layer.
pub(super) fn norm_options(spec: &NetworkSpec, layer: usize) -> Result<(f32, f32)> {
    match spec.layers[layer].op {
        Op::BatchNorm { eps, momentum } => Ok((eps, momentum)),
        _ => Err(unsupported(spec, layer, "is not a batch norm")),
    }
}

/// The range of a parameter that the layer must have.
pub(super) fn range(
    spec: &NetworkSpec,
    layout: &ParameterLayout,
    layer: usize,
    kind: ParameterKind,
) -> Result<std::ops::Range<usize>> {
    layout.range(layer, kind).ok_or_else(|| unsupported(spec, layer, "has no such parameter"))
}
