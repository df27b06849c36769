//! The CPU backend: a schedule's steps, one after the other, in one arena.

use std::collections::BTreeMap;
use std::ops::Range;

use segfit::network::schedule::{Mode, Schedule, Step, TensorId};
use segfit::network::{NetworkSpec, Op, ParameterKind};
use segfit::recipe::LossKind;

use super::applied::Applied;
use super::convolution::Convolution;
use super::low_precision::{Histogram, LowPrecisionExecutor};
use super::normalisation::Normalisation;
use super::ops::Draw;
use super::planes::{Arena, Planes};
use super::simd::Isa;
use super::{batch_norm, copy, max_pool, ordered, relu, team};
use crate::backend::{ActivationRanges, Backend, CalibrationImage, Executor, Optimiser, Part, Precision, TrainingSpec};
use crate::error::{Error, Result};
use crate::loss::{self, LossOptions, LossScratch, LossValue, SoftTargets};
use crate::optimiser::{AdamW, AdamWOptions, sgd, update_ema};
use crate::state::{ParameterLayout, State, Weights, check_len};

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
        self.check_mode(&schedule, training)?;
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
    /// Layout of `state`'s parameters: all of them in training, those of `applied` at inference.
    kept: ParameterLayout,
    adamw: AdamW,
    /// Owns the memory that `tensors` point into.
    arena: Arena,
    tensors: Vec<Planes>,
    /// By forward step: [`Schedule::pooled_with`].
    pooled: Vec<Option<TensorId>>,
    /// By layer.
    convolutions: Vec<Option<Convolution>>,
    norms: Vec<Option<Normalisation>>,
    applied: Vec<Option<Applied>>,
    /// What dropout draws from in this step, in training.
    draw: Option<Draw>,
    scratch: Vec<f32>,
    loss_scratch: Option<LossScratch>,
    /// The moments are in `adamw`.
    state: State,
    /// Of one layer at a time.
    gradients: Vec<f32>,
    /// The parameters whose gradients these are.
    pending: Option<Range<usize>>,
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
                    made.fold_norm(norm.map(|n| Normalisation::new(spec, n, &layout, None)).transpose()?);
                    convolutions[layer] = Some(made);
                }
                Step::Normalise { layer, x, .. } => {
                    if train && ordered::floats(&tensors[x]) == tensors[x].channels {
                        let reason =
                            "its statistics need more than one pixel: larger images, a larger batch or less depth";
                        return Err(unsupported(spec, layer, reason));
                    }
                    norms[layer] = Some(Normalisation::new(spec, layer, &layout, train.then_some(&tensors[x]))?);
                }
                _ => {}
            }
        }
        let kept = if train { layout.clone() } else { layout.of_layers(&applied_layers(&schedule)) };
        let applied = Applied::all(isa, spec, &schedule, &kept, &tensors, train)?;
        let convolution_ranges = convolutions.iter().flatten().map(Convolution::trained_range);
        let ranges = convolution_ranges.chain(norms.iter().flatten().map(Normalisation::trained_range));
        let ranges = ranges.chain(applied.iter().flatten().map(Applied::trained_range));
        let gradients = if train { ranges.map(|r| r.len()).max().unwrap_or(0) } else { 0 };
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
        let empty = Weights { trained: vec![0.0; kept.trained_len], running: vec![0.0; running] };
        Ok(Self {
            isa,
            adamw,
            layout,
            kept,
            training,
            draw: None,
            arena,
            loss_scratch: train.then(|| LossScratch::new(&tensors[schedule.output])),
            tensors,
            pooled: (0..schedule.forward.len()).map(|k| schedule.pooled_with(k)).collect(),
            convolutions,
            norms,
            applied,
            scratch: vec![0.0; scratch],
            state: State::fresh(empty),
            gradients: vec![0.0; gradients],
            pending: None,
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

    fn planes(&self, id: TensorId) -> &Planes {
        &self.tensors[id]
    }

    /// All forward steps but the loss, which `loss` runs; `ended` is called behind every step.
    fn run_forward(&mut self, mut loss: impl FnMut(&mut Self, TensorId, TensorId, f32), mut ended: impl FnMut(Part)) {
        let steps = std::mem::take(&mut self.schedule.forward);
        let mut is_pooled = false;
        for (k, step) in steps.iter().enumerate() {
            match *step {
                Step::Loss { logits, gradient, weight } => loss(self, logits, gradient, weight),
                Step::MaxPool { .. } if is_pooled => is_pooled = false,
                _ => is_pooled = self.run_forward_step(step, self.pooled[k]),
            }
            ended(Part::Step(k));
        }
        self.schedule.forward = steps;
    }

    /// Runs a step and says whether it filled `pooled` too, the output of the pooling that follows.
    fn run_forward_step(&mut self, step: &Step, pooled: Option<TensorId>) -> bool {
        let pooled = pooled.map(|id| self.tensors[id]);
        match *step {
            Step::Convolve { layer, relu, x, y, .. } => {
                let (x, y) = (self.tensors[x], self.tensors[y]);
                let bias = &self.state.trained;
                let convolution = self.convolutions[layer].as_mut().expect("compiled with the schedule");
                return convolution.forward(relu, bias, &x, &y, pooled.as_ref(), &mut self.scratch);
            }
            Step::Normalise { layer, relu, x, y } => {
                let (x, y) = (self.tensors[x], self.tensors[y]);
                let norm = self.norms[layer].as_mut().expect("compiled with the schedule");
                if self.training.is_some() {
                    norm.forward_train(self.isa, relu, &mut self.state, &x, &y, pooled.as_ref());
                    return pooled.is_some();
                }
                batch_norm::affine(self.isa, &x, &y, &norm.scale, &norm.shift, relu);
            }
            Step::MaxPool { x, y } => max_pool::forward(self.isa, self.planes(x), self.planes(y)),
            Step::Copy { x, y } => copy::copy(self.planes(x), self.planes(y)),
            Step::Apply { layer, .. } => {
                let applied = self.applied[layer].as_mut().expect("compiled with the schedule");
                applied.forward(&self.state.trained, self.draw);
            }
            _ => unreachable!("a forward step"),
        }
        false
    }

    /// Runs the network; shows every tensor with its name when it has been computed, the image first.
    fn infer_observed(&mut self, images: &[f32], observe: &mut dyn FnMut(&str, &Planes)) -> Result<()> {
        let input = self.tensors[self.schedule.input];
        let pixels = input.layout.height * input.layout.width;
        check_len("image values", images.len(), input.batch * input.channels * pixels)?;
        input.write_dense(images);
        observe(&self.schedule.tensors[self.schedule.input].name, &input);
        let steps = std::mem::take(&mut self.schedule.forward);
        for step in &steps {
            self.run_forward_step(step, None);
            if let Some(&y) = step.tensors().last() {
                observe(&self.schedule.tensors[y].name, &self.tensors[y]);
            }
        }
        self.schedule.forward = steps;
        Ok(())
    }

    /// The loss of a head; its gradient is multiplied by `weight`.
    fn run_loss(
        &mut self,
        kind: LossKind,
        logits: &Planes,
        gradient: &Planes,
        weight: f32,
        targets: &[u8],
    ) -> LossValue {
        let scratch = self.loss_scratch.as_mut().expect("compiled for training");
        let value = loss::loss(self.isa, LossOptions { kind }, logits, targets, Some(gradient), scratch);
        if weight != 1.0 {
            let (scale, shift) = (vec![weight; gradient.channels], vec![0.0; gradient.channels]);
            batch_norm::affine(self.isa, gradient, gradient, &scale, &shift, false);
        }
        value
    }

    /// Adds the teacher to the loss on the masks and to its gradient.
    fn run_distillation(
        &mut self,
        kind: LossKind,
        logits: &Planes,
        gradient: &Planes,
        teacher: &SoftTargets<'_>,
        masks: LossValue,
    ) -> LossValue {
        let scratch = self.loss_scratch.as_mut().expect("compiled for training");
        loss::distil(kind, logits, gradient, teacher, scratch, masks)
    }

    fn run_backward(&mut self, step: &Step) {
        match *step {
            Step::Zero { dx } => self.planes(dx).fill_zero(),
            Step::ReluBackward { y, dy } => relu::backward(self.isa, self.planes(y), self.planes(dy), self.planes(dy)),
            Step::ConvolveBackwardWeights { layer, x, dy } => {
                let (x, dy) = (self.tensors[x], self.tensors[dy]);
                let convolution = self.convolutions[layer].as_mut().expect("compiled with the schedule");
                convolution.backward_weights(&x, &dy, &mut self.scratch, &mut self.gradients);
                self.pending = Some(convolution.trained_range());
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
                self.pending = Some(norm.trained_range());
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
            Step::ApplyBackward { layer, .. } => {
                let applied = self.applied[layer].as_mut().expect("compiled with the schedule");
                applied.backward(&self.state.trained, &mut self.gradients, self.draw);
                let range = applied.trained_range();
                if !range.is_empty() {
                    self.pending = Some(range);
                }
            }
            _ => unreachable!("a backward step"),
        }
    }

    fn run_training(
        &mut self,
        training: TrainingSpec,
        images: &[f32],
        targets: &[u8],
        teacher: Option<&SoftTargets<'_>>,
        rate: f32,
    ) -> LossValue {
        self.tensors[self.schedule.input].write_dense(images);
        self.draw = Some(Draw { seed: training.seed, step: self.state.step as u64 });
        // The first loss is the output's: it is the one that is reported.
        let mut loss = None;
        let run_loss = |this: &mut Self, logits, gradient, weight| {
            let (logits, gradient) = (this.tensors[logits], this.tensors[gradient]);
            let masks = this.run_loss(training.loss, &logits, &gradient, weight, targets);
            if loss.is_none() {
                let distilled = |soft| this.run_distillation(training.loss, &logits, &gradient, soft, masks);
                loss = Some(teacher.map_or(masks, distilled));
            }
        };
        self.run_forward(run_loss, |_| ());
        let backward = std::mem::take(&mut self.schedule.backward);
        self.state.step += 1;
        self.adamw.begin_step();
        for step in &backward {
            if self.makes_gradients(step) {
                self.update_pending(training, rate);
            }
            self.run_backward(step);
        }
        self.update_pending(training, rate);
        if training.average_decay > 0.0 {
            let state = &mut self.state;
            let decay = training.decay_in(state.step);
            update_ema(self.isa, &mut state.average_running, &state.running, decay);
        }
        self.schedule.backward = backward;
        loss.expect("a training schedule has a loss")
    }

    /// Whether a backward step writes gradients of parameters.
    fn makes_gradients(&self, step: &Step) -> bool {
        match *step {
            Step::ConvolveBackwardWeights { .. } | Step::NormaliseBackward { .. } => true,
            Step::ApplyBackward { layer, .. } => {
                self.applied[layer].as_ref().is_some_and(|applied| !applied.trained_range().is_empty())
            }
            _ => false,
        }
    }

    /// Updates the parameters of the layer whose gradients were computed last. Its weights are not needed any more when the
    /// next layer's gradients are due, so that memory for the gradients of one layer is enough.
    fn update_pending(&mut self, training: TrainingSpec, rate: f32) {
        let Some(range) = self.pending.take() else { return };
        let (isa, state, gradients) = (self.isa, &mut self.state, &self.gradients[..range.len()]);
        match training.optimiser {
            Optimiser::AdamW { .. } => self.adamw.update(isa, &mut state.trained, range.clone(), gradients, rate),
            Optimiser::Sgd => sgd(isa, &mut state.trained[range.clone()], gradients, rate),
        }
        if training.average_decay > 0.0 {
            let average = &mut state.average_trained[range.clone()];
            update_ema(isa, average, &state.trained[range], training.decay_in(state.step));
        }
    }
}

impl Executor for CpuExecutor {
    fn load(&mut self, weights: &Weights) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("loading weights for inference"));
        }
        check_len("weights", weights.trained.len(), self.layout.trained_len)?;
        check_len("running statistics", weights.running.len(), self.layout.running_len)?;
        for convolution in self.convolutions.iter_mut().flatten() {
            convolution.load_folded(weights);
        }
        for norm in self.norms.iter_mut().flatten() {
            norm.load_folded(weights);
        }
        self.state.trained = weights.between(&self.layout, &self.kept)?.trained;
        Ok(())
    }

    fn infer_watched(&mut self, images: &[f32], logits: &mut Vec<f32>, ended: &mut dyn FnMut(Part)) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("inference"));
        }
        let input = self.tensors[self.schedule.input];
        let pixels = input.layout.height * input.layout.width;
        check_len("image values", images.len(), input.batch * input.channels * pixels)?;
        team::with_team(|| {
            input.write_dense(images);
            ended(Part::Image);
            self.run_forward(|_, _, _, _| unreachable!("inference has no loss"), &mut *ended);
            self.tensors[self.schedule.output].read_dense_into(logits);
            ended(Part::Logits);
        });
        Ok(())
    }

    fn train_step(
        &mut self,
        images: &[f32],
        targets: &[u8],
        teacher: Option<SoftTargets<'_>>,
        learning_rate: f32,
    ) -> Result<LossValue> {
        let Some(training) = self.training else { return Err(self.wrong_mode("a training step")) };
        let input = self.tensors[self.schedule.input];
        let pixels = input.batch * input.layout.height * input.layout.width;
        check_len("image values", images.len(), input.channels * pixels)?;
        check_len("target values", targets.len(), pixels)?;
        if let Some(soft) = &teacher {
            let expected = self.tensors[self.schedule.output].channels * pixels;
            check_len("logits of the teacher", soft.logits.len(), expected)?;
        }
        Ok(team::with_team(|| self.run_training(training, images, targets, teacher.as_ref(), learning_rate)))
    }

    fn set_state(&mut self, state: State) -> Result<()> {
        let Some(training) = self.training else { return Err(self.wrong_mode("a training state")) };
        state.check(&self.layout)?;
        let mut state = state;
        self.adamw.m = std::mem::take(&mut state.moment1);
        self.adamw.v = std::mem::take(&mut state.moment2);
        self.adamw.step = state.step as u64;
        if training.average_decay == 0.0 {
            (state.average_trained, state.average_running) = (Vec::new(), Vec::new());
        }
        self.state = state;
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let Some(training) = self.training else { return Err(self.wrong_mode("a training state")) };
        let mut state = State { moment1: self.adamw.m.clone(), moment2: self.adamw.v.clone(), ..self.state.clone() };
        if training.average_decay == 0.0 {
            (state.average_trained, state.average_running) = (state.trained.clone(), state.running.clone());
        }
        Ok(state)
    }

    fn bytes(&self) -> u64 {
        let convolutions: usize = self.convolutions.iter().flatten().map(Convolution::floats).sum();
        let applied: usize = self.applied.iter().flatten().map(Applied::floats).sum();
        let State { trained, running, average_trained, average_running, .. } = &self.state;
        let moments = self.adamw.m.len() + self.adamw.v.len();
        let state = trained.len() + moments + running.len() + average_trained.len() + average_running.len();
        (self.arena.bytes() + 4 * (convolutions + applied + state + self.scratch.len() + self.gradients.len())) as u64
    }
}

/// The layers that [`Step::Apply`] runs.
fn applied_layers(schedule: &Schedule) -> Vec<usize> {
    let layer = |step: &Step| if let Step::Apply { layer, .. } = step { Some(*layer) } else { None };
    schedule.forward.iter().filter_map(layer).collect()
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
