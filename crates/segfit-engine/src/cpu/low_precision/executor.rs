//! Runs an inference schedule on packed planes.

use segfit::network::schedule::{Mode, Schedule, Step, TensorId};
use segfit::network::{NetworkSpec, Op, ParameterKind};

use super::convolution::{PackedConvolution, Target};
use super::slots::{self, PackedPlan, Slot, Slots};
use super::transposed::PackedTransposed;
use super::{input, pooling, weights};
use crate::backend::{ActivationRanges, Executor, Part, Precision};
use crate::cpu::batch_norm;
use crate::cpu::copy;
use crate::cpu::executor::{range, unsupported};
use crate::cpu::kernels::amx;
use crate::cpu::kernels::dot::DotSet;
use crate::cpu::normalisation::Normalisation;
use crate::cpu::planes::{Arena, Planes};
use crate::cpu::simd::Isa;
use crate::cpu::team;
use crate::error::{Error, Result};
use crate::loss::{LossValue, SoftTargets};
use crate::state::{ParameterLayout, State, Weights};

/// Products of u8 and i8 whose sum surely fits an i32.
const MOST_PRODUCTS: usize = i32::MAX as usize / (255 * 127);

/// A network in int8 or bf16.
pub struct LowPrecisionExecutor {
    device: String,
    precision: Precision,
    set: DotSet,
    plan: PackedPlan,
    layout: ParameterLayout,
    channels: usize,
    /// Owns the memory that `tensors` point into.
    arena: Arena,
    tensors: Vec<Planes>,
    operations: Vec<Operation>,
}

enum Operation {
    Convolve(Box<Layer<PackedConvolution>>),
    Transposed(Box<Layer<PackedTransposed>>),
    MaxPool { x: TensorId, y: TensorId },
    Copy { x: TensorId, y: TensorId },
}

/// A layer with weights.
struct Layer<T> {
    op: T,
    source: Source,
    outputs: Slots,
    x: TensorId,
    taps: usize,
}

/// Where a layer's weights come from.
enum Source {
    /// A convolution, `[out][in][tap]`, or `[in][out][tap]` if transposed, and the norm behind it.
    Convolution { layer: usize, transposed: bool, outputs: usize, norm: Option<Box<Normalisation>> },
    /// A norm alone: a 1x1 convolution of every channel with itself.
    Norm(Box<Normalisation>),
}

impl LowPrecisionExecutor {
    /// Prepares a network; `matrix` allows the matrix unit.
    pub fn new(
        isa: Isa,
        device: String,
        spec: &NetworkSpec,
        schedule: Schedule,
        precision: Precision,
        ranges: Option<&ActivationRanges>,
    ) -> Result<Self> {
        let sets = DotSet::available(isa, precision);
        let matrix = isa == Isa::Avx512 && amx::available();
        Self::with_set(sets[0], matrix, device, spec, schedule, precision, ranges)
    }

    /// As [`Self::new`], with one implementation of the dot products.
    pub(super) fn with_set(
        set: DotSet,
        matrix: bool,
        device: String,
        spec: &NetworkSpec,
        schedule: Schedule,
        precision: Precision,
        ranges: Option<&ActivationRanges>,
    ) -> Result<Self> {
        if schedule.mode == Mode::Train {
            let reason = "training is in f32 only".into();
            return Err(Error::Unsupported { what: format!("training in {}", precision.name()), device, reason });
        }
        let layout = ParameterLayout::new(spec)?;
        let channels = schedule.tensors[schedule.input].channels;
        let plan = slots::plan(spec, schedule, precision, ranges, &device)?;
        let schedule = &plan.schedule;
        let mut arena = Arena::new(schedule.arena_floats);
        let tensors: Vec<Planes> = schedule
            .tensors
            .iter()
            .map(|t| {
                let buffer = &schedule.buffers[t.buffer];
                let stride = buffer.channels * buffer.layout.plane_stride();
                let whole = arena.planes(buffer.offset, schedule.batch, buffer.channels, buffer.layout, stride);
                whole.slice(t.first_channel, t.channels)
            })
            .collect();
        let mut compiler = Compiler { set, matrix, spec, layout: &layout, plan: &plan, tensors: &tensors };
        let operations: Result<Vec<Operation>> = schedule.forward.iter().map(|step| compiler.operation(step)).collect();
        let operations = operations?;
        Ok(Self { device, precision, set, layout, channels, arena, operations, tensors, plan })
    }

    fn inference_only(&self, needed: &str) -> Error {
        Error::Unsupported {
            what: needed.into(),
            device: self.device.clone(),
            reason: format!("the executor was compiled for inference in {}", self.precision.name()),
        }
    }

    fn check_len(what: &str, got: usize, expected: usize) -> Result<()> {
        if got == expected {
            return Ok(());
        }
        let expected = format!("{expected} values");
        Err(segfit::Error::Option { what: what.into(), expected, got: got.to_string() }.into())
    }
}

struct Compiler<'a> {
    set: DotSet,
    matrix: bool,
    spec: &'a NetworkSpec,
    layout: &'a ParameterLayout,
    plan: &'a PackedPlan,
    tensors: &'a [Planes],
}

impl Compiler<'_> {
    fn operation(&mut self, step: &Step) -> Result<Operation> {
        match *step {
            Step::Convolve { layer, norm, relu, x, y } => self.convolution(layer, norm, relu, x, y),
            Step::Normalise { layer, relu, x, y } => {
                let source = Source::Norm(Box::new(Normalisation::new(self.spec, layer, self.layout, None)?));
                Ok(self.convolve(1, source, relu, x, y))
            }
            Step::MaxPool { x, y } => {
                let (from, to) = (self.tensors[x].layout, self.tensors[y].layout);
                if (from.height / 2, from.width / 2) != (to.height, to.width) {
                    return Err(self.unsupported_tensor(y, "only 2x2 poolings are executed"));
                }
                Ok(Operation::MaxPool { x, y })
            }
            Step::Copy { x, y } => Ok(Operation::Copy { x, y }),
            _ => unreachable!("an inference schedule has forward steps only"),
        }
    }

    fn unsupported_tensor(&self, tensor: TensorId, reason: &str) -> Error {
        Error::Unsupported {
            what: format!("layer {}", self.plan.schedule.tensors[tensor].name),
            device: "cpu in low precision".into(),
            reason: reason.into(),
        }
    }

    fn convolution(
        &self,
        layer: usize,
        norm: Option<usize>,
        relu: bool,
        x: TensorId,
        y: TensorId,
    ) -> Result<Operation> {
        range(self.spec, self.layout, layer, ParameterKind::Weight)?;
        let norm = norm.map(|n| Normalisation::new(self.spec, n, self.layout, None)).transpose()?.map(Box::new);
        if let Op::Conv2d { kernel, .. } = &self.spec.layers[layer].op
            && self.set.slots() == 4
            && self.plan.slots[x].len() * kernel.iter().product::<usize>() > MOST_PRODUCTS
        {
            return Err(unsupported(self.spec, layer, "so many inputs could exceed the 32 bits of a sum of int8"));
        }
        // All fields are named, so that a new kind of convolution is refused instead of being computed as an ordinary one.
        match &self.spec.layers[layer].op {
            Op::Conv2d { group, kernel, padding, bias: _, stride, dilation, groups } => {
                let same = kernel[0] == kernel[1] && padding.iter().zip(kernel).all(|(p, k)| 2 * p + 1 == *k);
                let plain = stride.iter().chain(dilation).all(|&n| n == 1) && *groups == 1;
                if !same || !plain || kernel[0] / 2 > self.tensors[x].layout.pad {
                    let reason = "only square odd kernels with stride 1, without dilation and groups, that keep the size \
                                  are executed in low precision";
                    return Err(unsupported(self.spec, layer, reason));
                }
                let source = Source::Convolution { layer, transposed: false, outputs: self.channels_of(group), norm };
                Ok(self.convolve(kernel[0], source, relu, x, y))
            }
            Op::ConvTranspose2d { group, kernel, bias: _, stride, padding, output_padding }
                if kernel[..] == [2, 2]
                    && stride.iter().all(|&n| n == 2)
                    && padding.iter().chain(output_padding).all(|&n| n == 0) =>
            {
                if y == self.plan.schedule.output {
                    return Err(unsupported(
                        self.spec,
                        layer,
                        "a transposed convolution that makes logits is not executed",
                    ));
                }
                let source = Source::Convolution { layer, transposed: true, outputs: self.channels_of(group), norm };
                let op = PackedTransposed::new(
                    self.set,
                    self.matrix,
                    self.tensors[x],
                    self.tensors[y],
                    self.keeps_positive(relu, y),
                );
                let outputs = self.plan.slots[y].clone();
                Ok(Operation::Transposed(Box::new(Layer { op, source, outputs, x, taps: 4 })))
            }
            _ => Err(unsupported(self.spec, layer, "only 2x2 transposed convolutions are executed in low precision")),
        }
    }

    fn channels_of(&self, group: &str) -> usize {
        self.spec.group(group).map_or(0, |g| g.channels)
    }

    /// Int8 is never negative anyway: what has no ReLU has two parts, each cut off at 0.
    fn keeps_positive(&self, relu: bool, y: TensorId) -> bool {
        relu && (self.set.slots() == 2 || y == self.plan.schedule.output)
    }

    fn convolve(&self, kernel_size: usize, source: Source, relu: bool, x: TensorId, y: TensorId) -> Operation {
        let is_output = y == self.plan.schedule.output;
        let target = if is_output { Target::Floats } else { Target::Packed };
        let (from, to) = (self.tensors[x], self.tensors[y]);
        let relu = self.keeps_positive(relu, y);
        let op = PackedConvolution::new(self.set, self.matrix, kernel_size, from, to, target, relu);
        let plain = |channel| Some(Slot { channel, negative: false, scale: 1.0 });
        let outputs = if is_output { (0..to.channels).map(plain).collect() } else { self.plan.slots[y].clone() };
        Operation::Convolve(Box::new(Layer { op, source, outputs, x, taps: kernel_size * kernel_size }))
    }
}

/// Weights and bias of a layer, the norm folded in.
struct Folded {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Source {
    fn folded(&self, weights: &Weights, layout: &ParameterLayout) -> Folded {
        match self {
            Self::Norm(norm) => {
                let (weight, bias) = norm.folded(weights);
                Folded { weight, bias }
            }
            Self::Convolution { layer, transposed, outputs, norm } => {
                let values = |kind| layout.range(*layer, kind).map(|r| weights.trained[r].to_vec());
                let mut weight = values(ParameterKind::Weight).expect("checked when compiled");
                let mut bias = values(ParameterKind::Bias).unwrap_or_else(|| vec![0.0; *outputs]);
                if let Some(norm) = norm {
                    let (scale, shift) = norm.folded(weights);
                    if *transposed {
                        batch_norm::fold_into_conv_transpose(&mut weight, &mut bias, 4, &scale, &shift);
                    } else {
                        batch_norm::fold_into_conv(&mut weight, &mut bias, &scale, &shift);
                    }
                }
                Folded { weight, bias }
            }
        }
    }

    /// Weight of an output, an input and a tap, of `inputs` inputs and `taps` taps.
    fn weight(&self, folded: &Folded, inputs: usize, taps: usize, (o, i, t): (usize, usize, usize)) -> f32 {
        match self {
            Self::Norm(_) => {
                if o == i {
                    folded.weight[o]
                } else {
                    0.0
                }
            }
            Self::Convolution { transposed: true, outputs, .. } => folded.weight[(i * outputs + o) * taps + t],
            Self::Convolution { .. } => folded.weight[(o * inputs + i) * taps + t],
        }
    }
}

impl<T> Layer<T> {
    fn packed(
        &self,
        precision: Precision,
        weights: &Weights,
        layout: &ParameterLayout,
        inputs: &[Option<Slot>],
    ) -> Result<weights::PackedWeights> {
        let folded = self.source.folded(weights, layout);
        if !folded.weight.iter().chain(&folded.bias).all(|v| v.is_finite()) {
            let expected = "finite numbers".into();
            let got = "infinite ones or ones that are not numbers".into();
            return Err(segfit::Error::Option { what: "weights".into(), expected, got }.into());
        }
        let channels = 1 + inputs.iter().flatten().map(|s| s.channel).max().unwrap_or(0);
        let weight = |o: usize, i: usize, t: usize| self.source.weight(&folded, channels, self.taps, (o, i, t));
        Ok(weights::pack(precision, inputs, &self.outputs, self.taps, &weight, &folded.bias))
    }
}

impl Executor for LowPrecisionExecutor {
    fn load(&mut self, weights: &Weights) -> Result<()> {
        Self::check_len("weights", weights.trained.len(), self.layout.trained_len)?;
        Self::check_len("running statistics", weights.running.len(), self.layout.running_len)?;
        for operation in &mut self.operations {
            let inputs = |x: TensorId| &self.plan.slots[x];
            match operation {
                Operation::Convolve(layer) => {
                    let packed = layer.packed(self.precision, weights, &self.layout, inputs(layer.x))?;
                    layer.op.load(&packed);
                }
                Operation::Transposed(layer) => {
                    let packed = layer.packed(self.precision, weights, &self.layout, inputs(layer.x))?;
                    layer.op.load(&packed);
                }
                Operation::MaxPool { .. } | Operation::Copy { .. } => {}
            }
        }
        Ok(())
    }

    fn infer_watched(&mut self, images: &[f32], logits: &mut Vec<f32>, ended: &mut dyn FnMut(Part)) -> Result<()> {
        let schedule = &self.plan.schedule;
        let expected = schedule.batch * self.channels * schedule.height * schedule.width;
        Self::check_len("image values", images.len(), expected)?;
        let slots = &self.plan.slots[schedule.input];
        team::with_team(|| {
            input::write(self.precision, images, self.channels, slots, &self.tensors[schedule.input]);
            ended(Part::Image);
            for (k, operation) in self.operations.iter().enumerate() {
                match operation {
                    Operation::Convolve(layer) => layer.op.run(),
                    Operation::Transposed(layer) => layer.op.run(),
                    Operation::MaxPool { x, y } => pooling::max_pool(self.set, &self.tensors[*x], &self.tensors[*y]),
                    Operation::Copy { x, y } => copy::copy(&self.tensors[*x], &self.tensors[*y]),
                }
                ended(Part::Step(k));
            }
            self.tensors[schedule.output].read_dense_into(logits);
            ended(Part::Logits);
        });
        Ok(())
    }

    fn train_step(&mut self, _: &[f32], _: &[u8], _: Option<SoftTargets<'_>>, _: f32) -> Result<LossValue> {
        Err(self.inference_only("a training step"))
    }

    fn set_state(&mut self, _: State) -> Result<()> {
        Err(self.inference_only("a training state"))
    }

    fn state(&self) -> Result<State> {
        Err(self.inference_only("a training state"))
    }

    fn bytes(&self) -> u64 {
        let weights: usize = self
            .operations
            .iter()
            .map(|operation| match operation {
                Operation::Convolve(layer) => layer.op.bytes(),
                Operation::Transposed(layer) => layer.op.bytes(),
                Operation::MaxPool { .. } | Operation::Copy { .. } => 0,
            })
            .sum();
        (self.arena.bytes() + weights) as u64
    }
}
