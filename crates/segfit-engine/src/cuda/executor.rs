//! A network on a GPU, for one batch size and image size.

use std::sync::Arc;

use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{NetworkSpec, Op, ParameterKind};

use super::device::{Device, Memory, Prepared};
use super::launch::Launch;
use super::program::{Folded, LossMemory, NetworkMemory, Program, STEP_BYTES, Source, StateMemory, StepNumbers};
use crate::backend::{Executor, Part, TrainingSpec};
use crate::cpu::batch_norm;
use crate::error::{Error, Result};
use crate::loss::{LossValue, SoftTargets};
use crate::optimiser::AdamWOptions;
use crate::state::{ParameterLayout, State, Weights, check_len};

/// Floats that are addressed with 31 bits.
const MOST_FLOATS: usize = 1 << 31;

pub(super) struct CudaExecutor {
    // Launches go before the memory that they use.
    program: Ready,
    /// The step with a teacher, made when there is one.
    taught: Option<Ready>,
    memory: NetworkMemory,
    device: Arc<dyn Device>,
    spec: NetworkSpec,
    schedule: Schedule,
    training: Option<TrainingSpec>,
    layout: ParameterLayout,
    /// Steps of training taken.
    steps: usize,
}

/// A program on its device.
struct Ready {
    whole: Box<dyn Prepared>,
    /// The same in parts, made when they are watched.
    parts: Vec<(Part, Box<dyn Prepared>)>,
    launches: Vec<Launch>,
    ranges: Vec<(Part, std::ops::Range<usize>)>,
    folded: Vec<Folded>,
    memory: Vec<Memory>,
}

impl Ready {
    fn new(device: &Arc<dyn Device>, program: Program) -> Result<Self> {
        let Program { launches, parts: ranges, folded, memory } = program;
        let whole = Arc::clone(device).prepare(launches.clone())?;
        Ok(Self { whole, parts: Vec::new(), launches, ranges, folded, memory })
    }

    fn bytes(&self) -> usize {
        self.memory.iter().map(|memory| memory.bytes).sum()
    }

    fn watch(&mut self, device: &Arc<dyn Device>) -> Result<&[(Part, Box<dyn Prepared>)]> {
        if self.parts.is_empty() {
            for (part, range) in &self.ranges {
                let prepared = Arc::clone(device).prepare(self.launches[range.clone()].to_vec())?;
                self.parts.push((*part, prepared));
            }
        }
        Ok(&self.parts)
    }
}

impl CudaExecutor {
    pub(super) fn new(
        device: Arc<dyn Device>,
        spec: &NetworkSpec,
        schedule: Schedule,
        training: Option<TrainingSpec>,
    ) -> Result<Self> {
        let layout = ParameterLayout::new(spec)?;
        let schedule = dense(schedule);
        let largest = schedule.buffers.iter().map(|b| b.floats).max().unwrap_or(0).max(layout.trained_len);
        if largest >= MOST_FLOATS {
            return Err(Error::Unsupported {
                what: format!("a tensor of {largest} values"),
                device: device.name(),
                reason: "it addresses fewer than 2^31 at a time: take a smaller batch or smaller images".into(),
            });
        }
        let memory = memory(&device, &schedule, &layout, training)?;
        let source = Source { device: &device, spec, schedule: &schedule, layout: &layout, training, memory: &memory };
        let program = Ready::new(&device, source.program(false)?)?;
        let spec = spec.clone();
        Ok(Self { program, taught: None, memory, device, spec, schedule, training, layout, steps: 0 })
    }

    fn wrong_mode(&self, needed: &str) -> Error {
        Error::Unsupported {
            what: needed.into(),
            device: self.device.name(),
            reason: format!("the executor was compiled with a schedule for {:?}", self.schedule.mode),
        }
    }

    /// Values of the image, and of the logits.
    fn lengths(&self) -> (usize, usize) {
        let values = |id: usize| {
            let layout = self.schedule.layout(id);
            self.schedule.batch * self.schedule.tensors[id].channels * layout.height * layout.width
        };
        (values(self.schedule.input), values(self.schedule.output))
    }

    /// Makes the step with a teacher, if it has not been made.
    fn teach(&mut self) -> Result<()> {
        if self.taught.is_some() {
            return Ok(());
        }
        let (_, logits) = self.lengths();
        if let Some(loss) = &mut self.memory.loss {
            loss.teacher = Memory::floats(&self.device, logits)?;
        }
        let (device, spec, schedule, layout) = (&self.device, &self.spec, &self.schedule, &self.layout);
        let source = Source { device, spec, schedule, layout, training: self.training, memory: &self.memory };
        self.taught = Some(Ready::new(device, source.program(true)?)?);
        Ok(())
    }

    /// What changes with this step.
    fn numbers(&self, training: TrainingSpec, rate: f32, teacher: Option<&SoftTargets<'_>>) -> StepNumbers {
        let AdamWOptions { beta1, beta2, .. } = AdamWOptions::default();
        let step = self.steps + 1;
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        StepNumbers {
            seed: training.seed,
            step: self.steps as u64,
            step_size: (f64::from(rate) / correction(beta1)) as f32,
            root: correction(beta2).sqrt() as f32,
            rate,
            average_decay: training.decay_in(step),
            teacher_weight: teacher.map_or(0.0, |t| t.weight),
            temperature: teacher.map_or(1.0, |t| t.temperature),
        }
    }
}

/// The schedule with buffers of dense planes, each at the beginning of 256 bytes.
fn dense(schedule: Schedule) -> Schedule {
    let floats = |b: &segfit::network::schedule::Buffer| {
        (schedule.batch * b.channels * b.layout.height * b.layout.width).next_multiple_of(64)
    };
    let sizes: Vec<usize> = schedule.buffers.iter().map(floats).collect();
    schedule.with_buffer_sizes(&sizes)
}

fn memory(
    device: &Arc<dyn Device>,
    schedule: &Schedule,
    layout: &ParameterLayout,
    training: Option<TrainingSpec>,
) -> Result<NetworkMemory> {
    let values = |id: usize| {
        let plane = schedule.layout(id);
        schedule.batch * schedule.tensors[id].channels * plane.height * plane.width
    };
    let train = schedule.mode == Mode::Train;
    let classes = schedule.tensors[schedule.output].channels;
    let losses = schedule.forward.iter().filter(|s| matches!(s, segfit::network::schedule::Step::Loss { .. })).count();
    let loss = || -> Result<LossMemory> {
        Ok(LossMemory {
            numbers: Memory::new(device, STEP_BYTES)?,
            targets: Memory::new(device, values(schedule.output) / classes)?,
            teacher: Memory::new(device, 0)?,
            values: Memory::new(device, 24 * losses)?,
            coefficients: Memory::new(device, 8 * classes)?,
        })
    };
    Ok(NetworkMemory {
        arena: Memory::floats(device, schedule.arena_floats)?,
        state: StateMemory::new(device, layout, training)?,
        images: Memory::floats(device, values(schedule.input))?,
        logits: Memory::floats(device, if train { 0 } else { values(schedule.output) })?,
        loss: if train { Some(loss()?) } else { None },
    })
}

/// Scale and shift of a norm's running statistics, and their means.
fn folded_norm(spec: &NetworkSpec, layout: &ParameterLayout, weights: &Weights, layer: usize) -> (Vec<f32>, Vec<f32>) {
    let Op::BatchNorm { eps, .. } = spec.layers[layer].op else { unreachable!("only batch norms are folded") };
    let of = |kind: ParameterKind| {
        let range = layout.range(layer, kind).expect("a batch norm has all four");
        if kind.is_trained() { &weights.trained[range] } else { &weights.running[range] }
    };
    let (mean, variance) = (of(ParameterKind::RunningMean), of(ParameterKind::RunningVariance));
    batch_norm::fold(of(ParameterKind::Scale), of(ParameterKind::Shift), mean, variance, eps)
}

impl Executor for CudaExecutor {
    fn load(&mut self, weights: &Weights) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("loading weights for inference"));
        }
        check_len("weights", weights.trained.len(), self.layout.trained_len)?;
        check_len("running statistics", weights.running.len(), self.layout.running_len)?;
        let mut trained = weights.trained.clone();
        for folded in &self.program.folded {
            match *folded {
                Folded::Convolution { layer, norm, bias: to } => {
                    let range = self.layout.range(layer, ParameterKind::Weight).expect("a convolution has a weight");
                    let bias = self.layout.range(layer, ParameterKind::Bias).map(|r| weights.trained[r].to_vec());
                    let scaled = norm.map(|norm| folded_norm(&self.spec, &self.layout, weights, norm));
                    let geometry = self.spec.layers[layer].op.geometry().expect("it was compiled");
                    let outputs = output_channels(&self.layout, layer, geometry.transposed);
                    let mut bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
                    if let Some((scale, shift)) = scaled {
                        let weight = &mut trained[range];
                        if geometry.transposed {
                            batch_norm::fold_into_conv_transpose(weight, &mut bias, geometry.area(), &scale, &shift);
                        } else {
                            batch_norm::fold_into_conv(weight, &mut bias, &scale, &shift);
                        }
                    }
                    self.device.write_floats(to, &bias)?;
                }
                Folded::Norm { layer, affine } => {
                    let (scale, shift) = folded_norm(&self.spec, &self.layout, weights, layer);
                    // A mean of zero: the shift holds it.
                    let entries: Vec<f32> = scale.iter().zip(&shift).flat_map(|(a, b)| [0.0, *a, *b]).collect();
                    self.device.write_floats(affine, &entries)?;
                }
            }
        }
        self.memory.state.trained.write(&trained)
    }

    fn infer(&mut self, images: &[f32], logits: &mut Vec<f32>) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("inference"));
        }
        let (image_values, logit_values) = self.lengths();
        check_len("image values", images.len(), image_values)?;
        self.memory.images.write(images)?;
        self.program.whole.run()?;
        *logits = self.memory.logits.read(logit_values)?;
        Ok(())
    }

    fn infer_watched(&mut self, images: &[f32], logits: &mut Vec<f32>, ended: &mut dyn FnMut(Part)) -> Result<()> {
        if self.training.is_some() {
            return Err(self.wrong_mode("inference"));
        }
        let (image_values, logit_values) = self.lengths();
        check_len("image values", images.len(), image_values)?;
        self.memory.images.write(images)?;
        for (part, launches) in self.program.watch(&self.device)? {
            launches.run()?;
            self.device.wait()?;
            if *part == Part::Logits {
                *logits = self.memory.logits.read(logit_values)?;
            }
            ended(*part);
        }
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
        let (image_values, logit_values) = self.lengths();
        let classes = self.schedule.tensors[self.schedule.output].channels;
        check_len("image values", images.len(), image_values)?;
        check_len("target values", targets.len(), logit_values / classes)?;
        if let Some(soft) = &teacher {
            check_len("logits of the teacher", soft.logits.len(), logit_values)?;
            self.teach()?;
        }
        let largest = targets.iter().copied().max().unwrap_or(0);
        assert!(usize::from(largest) < classes, "target class {largest}, but there are {classes} classes");
        let numbers = self.numbers(training, learning_rate, teacher.as_ref());
        let loss = self.memory.loss.as_ref().expect("compiled for training");
        self.memory.images.write(images)?;
        self.device.write_bytes(loss.targets.address, targets)?;
        self.device.write_bytes(loss.numbers.address, &numbers.bytes())?;
        if let Some(soft) = &teacher {
            loss.teacher.write(soft.logits)?;
        }
        let program = if teacher.is_some() { self.taught.as_ref() } else { Some(&self.program) };
        program.expect("made above").whole.run()?;
        let mut values = [0.0; 3];
        self.device.read_doubles(loss.values.address, &mut values)?;
        self.steps += 1;
        Ok(LossValue { total: values[0], cross_entropy: values[1], dice: values[2] })
    }

    fn set_state(&mut self, state: State) -> Result<()> {
        let Some(training) = self.training else { return Err(self.wrong_mode("a training state")) };
        state.check(&self.layout)?;
        let memory = &self.memory.state;
        memory.trained.write(&state.trained)?;
        memory.running.write(&state.running)?;
        memory.moment1.write(&state.moment1)?;
        memory.moment2.write(&state.moment2)?;
        if training.average_decay > 0.0 {
            memory.average_trained.write(&state.average_trained)?;
            memory.average_running.write(&state.average_running)?;
        }
        self.steps = state.step;
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let Some(training) = self.training else { return Err(self.wrong_mode("a training state")) };
        let (n, running, memory) = (self.layout.trained_len, self.layout.running_len, &self.memory.state);
        let (trained, running_now) = (memory.trained.read(n)?, memory.running.read(running)?);
        let averaged = training.average_decay > 0.0;
        Ok(State {
            average_trained: if averaged { memory.average_trained.read(n)? } else { trained.clone() },
            average_running: if averaged { memory.average_running.read(running)? } else { running_now.clone() },
            trained,
            running: running_now,
            moment1: memory.moment1.read(n)?,
            moment2: memory.moment2.read(n)?,
            step: self.steps,
        })
    }

    fn bytes(&self) -> u64 {
        let NetworkMemory { arena, state, images, logits, loss } = &self.memory;
        let of_loss = loss
            .as_ref()
            .map_or(0, |l| l.numbers.bytes + l.targets.bytes + l.teacher.bytes + l.values.bytes + l.coefficients.bytes);
        let programs = self.program.bytes() + self.taught.as_ref().map_or(0, Ready::bytes);
        (arena.bytes + state.bytes() + images.bytes + logits.bytes + of_loss + programs) as u64
    }
}

/// Output channels of a convolution.
fn output_channels(layout: &ParameterLayout, layer: usize, transposed: bool) -> usize {
    let weight = layout.parameters.iter().find(|p| p.layer == layer && p.kind == ParameterKind::Weight);
    weight.map_or(0, |p| p.shape[usize::from(transposed)])
}
