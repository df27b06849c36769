//! The program of a network in 32-bit floats.

use super::constants::{Constants, Values};
use super::program::{Arg, Call, Ends, Network, Program, floats, ints};
use crate::error::Result;
use crate::export::Deployment;
use crate::network::schedule::{Step, TensorId};
use crate::network::{Geometry, Interpolation, Op, PadMode, Window};
use crate::recipe::LossKind;

/// The program for images of `size`.
pub fn program(deployment: &Deployment, size: (usize, usize)) -> Result<Program> {
    let mut network = Network::new(deployment, size)?;
    let sizes: Vec<usize> = (0..network.schedule.buffers.len()).map(|b| network.elements(b)).collect();
    network.schedule = network.schedule.with_buffer_sizes(&sizes);
    let mut lowering = Lowering { network: &network, constants: Constants::default(), calls: Vec::new() };
    for step in &network.schedule.forward {
        lowering.step(step)?;
    }
    let Lowering { mut constants, calls, .. } = lowering;
    let normalisation = &deployment.normalisation;
    let ends = Ends::F32 {
        mean: constants.add("image", "mean", Values::F32(normalisation.mean.clone())),
        std: constants.add("image", "std", Values::F32(normalisation.std.clone())),
    };
    Ok(Program {
        channels: deployment.network.in_channels(),
        classes: deployment.network.classes,
        size,
        padded: (network.schedule.height, network.schedule.width),
        arena: network.schedule.arena_floats,
        constants,
        calls,
        image: network.tensor(network.schedule.input).at,
        logits: network.tensor(network.schedule.output).at,
        ends,
        share: share(deployment.loss),
    })
}

/// The section of the kernels that turns logits into probabilities.
pub fn share(loss: LossKind) -> &'static str {
    match loss {
        LossKind::CrossEntropyDice => "share_exp",
        LossKind::BinaryDice => "share_sigmoid",
    }
}

struct Lowering<'a> {
    network: &'a Network<'a>,
    constants: Constants,
    calls: Vec<Call>,
}

impl Lowering<'_> {
    fn call(&mut self, layer: &str, kernel: &'static str, args: Vec<Arg>) {
        self.calls.push(Call { comment: layer.into(), kernel, args });
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let network = self.network;
        match step {
            Step::Convolve { layer, norm: None, relu, x, y } => self.convolve(*layer, *relu, *x, *y),
            Step::Convolve { layer, .. } => Err(network.unsupported(*layer, "its norm was not folded")),
            Step::Normalise { layer, relu, x, y } => {
                let (from, to, name) = (network.tensor(*x), network.tensor(*y), network.name(*layer));
                let (factor, constant) = network.norm(*layer)?;
                let factor = floats(&mut self.constants, name, "factor", &factor);
                let constant = floats(&mut self.constants, name, "constant", &constant);
                let place = Arg::Geometry(from.pointwise(to));
                let args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at), factor, constant, place, Arg::Bool(*relu)];
                self.call(name, "conv2d", args);
                Ok(())
            }
            Step::MaxPool { x, y } => {
                let window = Window { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
                let (from, to) = (network.tensor(*x), network.tensor(*y));
                let args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at), Arg::Geometry(from.pooled(to, &window))];
                self.call(&network.schedule.tensors[*y].name, "max_pool2d", args);
                Ok(())
            }
            Step::Copy { x, y } => {
                let (from, to) = (network.tensor(*x), network.tensor(*y));
                let count = Arg::Int((from.channels * from.pixels()) as i64);
                self.call(
                    &network.schedule.tensors[*y].name,
                    "copy",
                    vec![Arg::Tensor(from.at), Arg::Tensor(to.at), count],
                );
                Ok(())
            }
            Step::Apply { layer, xs, y } => self.apply(*layer, xs, *y),
            _ => unreachable!("an inference schedule has forward steps only"),
        }
    }

    fn convolve(&mut self, layer: usize, relu: bool, x: TensorId, y: TensorId) -> Result<()> {
        let (from, to, name) = (self.network.tensor(x), self.network.tensor(y), self.network.name(layer));
        let geometry: Geometry = self.network.geometry(layer)?;
        let weight = floats(&mut self.constants, name, "weight", self.network.required(layer, "weight")?);
        let bias = floats(&mut self.constants, name, "bias", &self.network.bias(layer, to.channels));
        let place = from.convolved(to, &geometry, self.network.groups(layer, from.channels));
        let kernel = if geometry.transposed { "conv_transpose2d" } else { "conv2d" };
        let args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at), weight, bias, Arg::Geometry(place), Arg::Bool(relu)];
        self.call(name, kernel, args);
        Ok(())
    }

    fn apply(&mut self, layer: usize, xs: &[TensorId], y: TensorId) -> Result<()> {
        let network = self.network;
        let (from, to, name) = (network.tensor(xs[0]), network.tensor(y), network.name(layer));
        let count = (from.channels * from.pixels()) as i64;
        let mut args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at)];
        let kernel = match network.op(layer) {
            Op::Relu => {
                args.extend([Arg::Int(count), Arg::Float(0.0)]);
                "leaky_relu"
            }
            Op::LeakyRelu { slope } => {
                args.extend([Arg::Int(count), Arg::Float(*slope)]);
                "leaky_relu"
            }
            Op::Clamp { low, high } => {
                args.extend([Arg::Int(count), Arg::Float(*low), Arg::Float(*high)]);
                "clamp"
            }
            Op::Prelu { .. } => {
                let slopes = network.required(layer, "weight")?;
                let slopes: Vec<f32> = (0..from.channels).map(|c| slopes[c % slopes.len()]).collect();
                args.push(floats(&mut self.constants, name, "slopes", &slopes));
                args.extend(ints(&[from.channels, from.pixels()]));
                "prelu"
            }
            op @ (Op::Elu | Op::Sigmoid | Op::Tanh | Op::Silu | Op::HardSigmoid | Op::HardSwish) => {
                args.push(Arg::Int(count));
                match op {
                    Op::Elu => "elu",
                    Op::Sigmoid => "sigmoid",
                    Op::Tanh => "tanh",
                    Op::Silu => "silu",
                    Op::HardSigmoid => "hard_sigmoid",
                    _ => "hard_swish",
                }
            }
            Op::InstanceNorm { eps, affine } => {
                let default = |v: f32| vec![v; from.channels];
                let (scale, shift) = if *affine {
                    (network.required(layer, "weight")?.to_vec(), network.required(layer, "bias")?.to_vec())
                } else {
                    (default(1.0), default(0.0))
                };
                self.part_norm(&mut args, name, (&scale, &shift), (from.channels, from.pixels(), from.channels), *eps);
                "part_norm"
            }
            Op::GroupNorm { groups, eps } => {
                let (scale, shift) = (network.required(layer, "weight")?, network.required(layer, "bias")?);
                self.part_norm(&mut args, name, (scale, shift), (from.channels, from.pixels(), *groups), *eps);
                "part_norm"
            }
            Op::MaxPool { .. } => {
                args.push(Arg::Geometry(from.pooled(to, &network.window(layer)?)));
                "max_pool2d"
            }
            Op::AveragePool { count_padding, .. } => {
                args.push(Arg::Geometry(from.pooled(to, &network.window(layer)?)));
                args.push(Arg::Bool(*count_padding));
                "average_pool2d"
            }
            Op::GlobalAveragePool => {
                args.extend(ints(&[from.channels, from.pixels()]));
                "global_average_pool"
            }
            Op::Upsample { factor, interpolation } => {
                args.extend(ints(&[from.channels, from.rows, from.columns, factor[0], factor[1]]));
                upsampling(*interpolation, &mut args)
            }
            Op::Pad { before, mode, .. } => {
                args.extend(ints(&[from.channels, from.rows, from.columns, to.rows, to.columns]));
                args.extend(ints(&[before[0], before[1], pad_mode(*mode)]));
                "pad"
            }
            Op::Add => {
                let places = xs.iter().map(|&x| network.tensor(x).at).collect();
                args = sum_of(places, to.at);
                args.push(Arg::Int(count));
                "add"
            }
            Op::Mul => {
                let gate = network.tensor(xs[1]);
                args.insert(1, Arg::Tensor(gate.at));
                args.extend(ints(&[from.channels, from.pixels(), gate.channels, gate.pixels()]));
                "mul"
            }
            _ => return Err(network.unsupported(layer, "it has no form as source text")),
        };
        self.call(name, kernel, args);
        Ok(())
    }

    fn part_norm(
        &mut self,
        args: &mut Vec<Arg>,
        name: &str,
        (scale, shift): (&[f32], &[f32]),
        (channels, pixels, parts): (usize, usize, usize),
        eps: f32,
    ) {
        args.push(floats(&mut self.constants, name, "scale", scale));
        args.push(floats(&mut self.constants, name, "shift", shift));
        args.extend(ints(&[channels, pixels, parts]));
        args.push(Arg::Float(eps));
    }
}

/// The kernel that enlarges, and its last argument where it has one.
pub fn upsampling(interpolation: Interpolation, args: &mut Vec<Arg>) -> &'static str {
    if interpolation == Interpolation::Nearest {
        return "upsample_nearest";
    }
    args.push(Arg::Bool(interpolation == Interpolation::BilinearCorners));
    "upsample_bilinear"
}

/// The kernels' number of a mode.
pub fn pad_mode(mode: PadMode) -> usize {
    match mode {
        PadMode::Zero => 0,
        PadMode::Replicate => 1,
        PadMode::Reflect => 2,
    }
}

/// The first arguments of a sum: its terms (whose number C needs, too) and its place.
pub fn sum_of(terms: Vec<usize>, to: usize) -> Vec<Arg> {
    vec![Arg::Tensors(terms), Arg::Tensor(to)]
}
