//! The program of a network in 8-bit integers.
//!
//! A weight has the scale of its output channel: its row, times the scales of the input's channels, is rounded to
//! multiples of a 127th of its largest magnitude. A tensor has one scale, by its calibrated range; where nothing is
//! negative (behind ReLU) it has all 256 steps. The parts of a concatenation keep their own scales, and so do pooled,
//! enlarged and padded tensors. The logits have 16 bits.

use super::constants::{ConstantId, Constants, Values};
use super::fixed::{Quant, multiplier, shift_for};
use super::float::{pad_mode, share, sum_of, upsampling};
use super::program::{Arg, Call, Ends, Network, Place, Program, Tensor, Units, ints};
use crate::error::{Error, Result};
use crate::export::Deployment;
use crate::network::schedule::{Buffer, Step, TensorId};
use crate::network::{Op, Window};

/// The largest logit that can be written, in calibrated ranges.
const LOGIT_RANGES: f64 = 4.0;

/// Products of a weight and a value whose sum surely fits 32 bits.
const MOST_PRODUCTS: usize = i32::MAX as usize / (255 * 127);

/// The program for images of `size`.
pub fn program(deployment: &Deployment, size: (usize, usize)) -> Result<Program> {
    let mut network = Network::new(deployment, size)?;
    place_logits(&mut network)?;
    let output = network.schedule.tensors[network.schedule.output].buffer;
    let bytes = |b| network.elements(b).next_multiple_of(4) * if b == output { 2 } else { 1 };
    let sizes: Vec<usize> = (0..network.schedule.buffers.len()).map(bytes).collect();
    network.schedule = network.schedule.with_buffer_sizes(&sizes);
    let quants = network.schedule.buffers.iter().map(|b| vec![None; b.channels]).collect();
    let mut lowering = Lowering { network: &network, constants: Constants::default(), calls: Vec::new(), quants };
    let image = lowering.fresh(network.schedule.input, true)?;
    for step in &network.schedule.forward {
        lowering.step(step)?;
    }
    let scale = lowering.logit_scale()? as f32;
    let Lowering { mut constants, calls, .. } = lowering;
    Ok(Program {
        channels: deployment.network.in_channels(),
        classes: deployment.network.classes,
        size,
        padded: (network.schedule.height, network.schedule.width),
        arena: network.schedule.arena_floats,
        ends: ends(deployment, image, scale, &mut constants),
        constants,
        calls,
        image: network.tensor(network.schedule.input).at,
        logits: network.tensor(network.schedule.output).at,
        share: share(deployment.loss),
    })
}

/// Gives the logits memory of their own, since they are wider than other tensors.
fn place_logits(network: &mut Network<'_>) -> Result<()> {
    let schedule = &mut network.schedule;
    let output = schedule.output;
    let own = schedule.tensors[output].buffer;
    let (channels, layout) = (schedule.tensors[output].channels, schedule.buffers[own].layout);
    let is_read = schedule.forward.iter().any(|s| s.tensors().split_last().is_some_and(|(_, xs)| xs.contains(&output)));
    if is_read || channels != schedule.buffers[own].channels {
        let layer = network.deployment.network.output.clone();
        return Err(Error::Network { layer, reason: "in int8 no other layer may read the logits".into() });
    }
    schedule.buffers.push(Buffer { channels, layout, floats: 0, offset: 0, born: 0, dies: 0 });
    schedule.tensors[output].buffer = schedule.buffers.len() - 1;
    if !schedule.tensors.iter().any(|t| t.buffer == own) {
        schedule.buffers[own].channels = 0;
    }
    Ok(())
}

/// How images are read: v becomes v factor + shift, and byte b the nearest of that for b / 255.
fn ends(deployment: &Deployment, image: Quant, scale: f32, constants: &mut Constants) -> Ends {
    let normalisation = &deployment.normalisation;
    let pairs: Vec<(f64, f64)> = normalisation
        .mean
        .iter()
        .zip(&normalisation.std)
        .map(|(&mean, &std)| {
            let factor = 1.0 / (f64::from(std) * image.scale);
            (factor, -f64::from(mean) * factor)
        })
        .collect();
    let byte =
        |(factor, shift): (f64, f64), b: u8| (f64::from(b) / 255.0 * factor + shift).round().clamp(-128.0, 127.0) as i8;
    let tables = pairs.iter().flat_map(|&p| (0..=255).map(move |b| byte(p, b))).collect();
    Ends::Int8 {
        factor: constants.add("image", "factor", Values::F32(pairs.iter().map(|p| p.0 as f32).collect())),
        shift: constants.add("image", "shift", Values::F32(pairs.iter().map(|p| p.1 as f32).collect())),
        tables: constants.add("image", "tables", Values::I8(tables)),
        scale,
    }
}

struct Lowering<'a> {
    network: &'a Network<'a>,
    constants: Constants,
    calls: Vec<Call>,
    /// By buffer and channel: what is there now.
    quants: Vec<Vec<Option<Quant>>>,
}

impl Lowering<'_> {
    fn call(&mut self, layer: &str, kernel: &'static str, args: Vec<Arg>) {
        self.calls.push(Call { comment: layer.into(), kernel, args });
    }

    fn named(&self, tensor: TensorId) -> &str {
        &self.network.schedule.tensors[tensor].name
    }

    fn fail<T>(&self, tensor: TensorId, reason: impl Into<String>) -> Result<T> {
        Err(Error::Network { layer: self.named(tensor).into(), reason: reason.into() })
    }

    fn range(&self, tensor: TensorId) -> Result<f32> {
        match self.network.deployment.ranges.as_ref().and_then(|r| r.get(self.named(tensor))) {
            Some(&range) if range.is_finite() && range >= 0.0 => Ok(range),
            Some(range) => self.fail(tensor, format!("its calibrated range is {range}")),
            None => self.fail(tensor, "int8 needs the range of its values; calibrate the network"),
        }
    }

    /// Value of one unit of the logits.
    fn logit_scale(&self) -> Result<f64> {
        let range = self.range(self.network.schedule.output)?;
        Ok(Quant::of_range(range, true).scale * 127.0 * LOGIT_RANGES / 32767.0)
    }

    fn channels(&mut self, tensor: TensorId) -> &mut [Option<Quant>] {
        let t = &self.network.schedule.tensors[tensor];
        &mut self.quants[t.buffer][t.first_channel..t.first_channel + t.channels]
    }

    /// What the values of a tensor that is read stand for.
    fn quants(&mut self, tensor: TensorId) -> Result<Vec<Quant>> {
        let found: Option<Vec<Quant>> = self.channels(tensor).iter().copied().collect();
        found.map_or_else(|| self.fail(tensor, "it reads channels before they are computed"), Ok)
    }

    /// A tensor that is computed with a scale of its own.
    fn fresh(&mut self, tensor: TensorId, signed: bool) -> Result<Quant> {
        let quant = Quant::of_range(self.range(tensor)?, signed);
        self.channels(tensor).fill(Some(quant));
        Ok(quant)
    }

    /// A tensor whose channels stand for what those of `x` do.
    fn same(&mut self, x: TensorId, y: TensorId) -> Result<Vec<Quant>> {
        let quants = self.quants(x)?;
        for (to, quant) in self.channels(y).iter_mut().zip(&quants) {
            *to = Some(*quant);
        }
        Ok(quants)
    }

    fn offsets(&mut self, layer: &str, quants: &[Quant]) -> ConstantId {
        self.constants.add(layer, "offset", Values::U8(quants.iter().map(|q| q.offset).collect()))
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let network = self.network;
        match step {
            Step::Convolve { layer, norm: None, relu, x, y } => self.convolve(*layer, *relu, *x, *y),
            Step::Convolve { layer, .. } => Err(network.unsupported(*layer, "its norm was not folded")),
            Step::Normalise { layer, relu, x, y } => {
                let (factor, constant) = network.norm(*layer)?;
                let place = network.tensor(*x).pointwise(network.tensor(*y));
                self.weighted(*layer, "conv2d", (*x, *y, *relu), &place, (&factor, &constant))
            }
            Step::MaxPool { x, y } => {
                let window = Window { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
                self.max_pool(*x, *y, &window)
            }
            Step::Copy { x, y } => {
                self.same(*x, *y)?;
                let (from, to) = (network.tensor(*x), network.tensor(*y));
                let count = Arg::Int((from.channels * from.pixels()) as i64);
                let name = &network.schedule.tensors[*y].name;
                self.call(name, "copy", vec![Arg::Tensor(from.at), Arg::Tensor(to.at), count]);
                Ok(())
            }
            Step::Apply { layer, xs, y } => self.apply(*layer, xs, *y),
            _ => unreachable!("an inference schedule has forward steps only"),
        }
    }

    fn max_pool(&mut self, x: TensorId, y: TensorId, window: &Window) -> Result<()> {
        self.same(x, y)?;
        let (from, to) = (self.network.tensor(x), self.network.tensor(y));
        let args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at), Arg::Geometry(from.pooled(to, window))];
        self.call(&self.network.schedule.tensors[y].name, "max_pool2d", args);
        Ok(())
    }

    fn convolve(&mut self, layer: usize, relu: bool, x: TensorId, y: TensorId) -> Result<()> {
        let (from, to) = (self.network.tensor(x), self.network.tensor(y));
        let geometry = self.network.geometry(layer)?;
        let weight = self.network.required(layer, "weight")?;
        let bias = self.network.bias(layer, to.channels);
        let place = from.convolved(to, &geometry, self.network.groups(layer, from.channels));
        let kernel = if geometry.transposed { "conv_transpose2d" } else { "conv2d" };
        self.weighted(layer, kernel, (x, y, relu), &place, (weight, &bias))
    }

    /// A layer with weights: rounds them and finds the factors of its sums.
    fn weighted(
        &mut self,
        layer: usize,
        kernel: &'static str,
        (x, y, relu): (TensorId, TensorId, bool),
        place: &Place,
        (weight, bias): (&[f32], &[f32]),
    ) -> Result<()> {
        let network = self.network;
        let name = network.name(layer);
        let is_output = y == network.schedule.output;
        let inputs = self.quants(x)?;
        let y_quant = match is_output {
            true => Quant { scale: self.logit_scale()?, offset: 0 },
            false => self.fresh(y, !relu)?,
        };
        let kernel = match (is_output, kernel, relu) {
            (false, ..) => kernel,
            (true, "conv2d", false) => "conv2d_logits",
            _ => return self.fail(y, "in int8 the logits must come from an ordinary convolution or a sum"),
        };
        let outputs = bias.len();
        let rows = Rows::new(kernel == "conv_transpose2d", place, outputs, inputs.len());
        if rows.products > MOST_PRODUCTS {
            return self.fail(y, format!("a sum of {} products does not surely fit 32 bits", rows.products));
        }
        let mut whole = vec![0_i8; weight.len()];
        let (mut biases, mut multipliers, mut shifts) = (Vec::new(), Vec::new(), Vec::new());
        for (o, &b) in bias.iter().enumerate() {
            let row: Vec<(usize, f64)> =
                rows.of(o).map(|(at, i)| (at, f64::from(weight[at]) * inputs[i].scale)).collect();
            let largest = row.iter().fold(0.0_f64, |m, (_, w)| m.max(w.abs()));
            // The second term keeps a large bias inside of 31 bits.
            let unit = (largest / 127.0).max(f64::from(b).abs() / 2_f64.powi(30));
            let unit = if unit < f64::MIN_POSITIVE { 1.0 } else { unit };
            row.iter().for_each(|&(at, w)| whole[at] = (w / unit).round_ties_even().clamp(-127.0, 127.0) as i8);
            let factor = unit / y_quant.scale;
            let shift = shift_for(factor);
            biases.push((f64::from(b) / unit).round() as i32);
            multipliers.push(multiplier(factor, shift));
            shifts.push(shift);
        }
        let units = Units {
            x_offset: self.offsets(name, &inputs),
            bias: self.constants.add(name, "bias", Values::I32(biases)),
            multiplier: self.constants.add(name, "multiplier", Values::I32(multipliers)),
            shift: self.constants.add(name, "shift", Values::U8(shifts)),
            y_offset: i32::from(y_quant.offset),
        };
        let weight = Arg::Constant(self.constants.add(name, "weight", Values::I8(whole)));
        let (from, to) = (network.tensor(x), network.tensor(y));
        let args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at), weight, Arg::Units(units), Arg::Geometry(*place)];
        self.call(name, kernel, args);
        Ok(())
    }

    fn apply(&mut self, layer: usize, xs: &[TensorId], y: TensorId) -> Result<()> {
        let network = self.network;
        let (from, to, name) = (network.tensor(xs[0]), network.tensor(y), network.name(layer));
        let op = network.op(layer);
        if y == network.schedule.output && *op != Op::Add {
            return self.fail(y, "in int8 the logits must come from an ordinary convolution or a sum");
        }
        if let Some(function) = Function::of(op) {
            return self.table(layer, function, xs[0], y);
        }
        let mut args = vec![Arg::Tensor(from.at), Arg::Tensor(to.at)];
        let kernel = match op {
            Op::MaxPool { .. } => return self.max_pool(xs[0], y, &network.window(layer)?),
            Op::AveragePool { count_padding, .. } => {
                let quants = self.same(xs[0], y)?;
                args.push(Arg::Geometry(from.pooled(to, &network.window(layer)?)));
                args.push(Arg::Constant(self.offsets(name, &quants)));
                args.push(Arg::Bool(*count_padding));
                "average_pool2d"
            }
            Op::GlobalAveragePool => {
                self.same(xs[0], y)?;
                args.extend(ints(&[from.channels, from.pixels()]));
                "global_average_pool"
            }
            Op::Upsample { factor, interpolation } => {
                self.same(xs[0], y)?;
                args.extend(ints(&[from.channels, from.rows, from.columns, factor[0], factor[1]]));
                upsampling(*interpolation, &mut args)
            }
            Op::Pad { before, mode, .. } => {
                let quants = self.same(xs[0], y)?;
                args.push(Arg::Constant(self.offsets(name, &quants)));
                args.extend(ints(&[from.channels, from.rows, from.columns, to.rows, to.columns]));
                args.extend(ints(&[before[0], before[1], pad_mode(*mode)]));
                "pad"
            }
            Op::Add => return self.add(name, xs, y),
            Op::Mul => return self.mul(name, (xs[0], xs[1]), y),
            _ => return Err(network.unsupported(layer, "it has no form in whole numbers; export it in f32")),
        };
        self.call(name, kernel, args);
        Ok(())
    }

    /// A function of single values: one table for each run of channels that have the same.
    fn table(&mut self, layer: usize, function: Function, x: TensorId, y: TensorId) -> Result<()> {
        let network = self.network;
        let (from, to, name) = (network.tensor(x), network.tensor(y), network.name(layer));
        let inputs = self.quants(x)?;
        let output = self.fresh(y, function.is_signed())?;
        let slopes = if function == Function::Prelu { network.required(layer, "weight")? } else { &[0.0] };
        let table = |channel: usize| -> Vec<i8> {
            let slope = f64::from(slopes[channel % slopes.len()]);
            (-128..=127).map(|q| output.nearest(function.apply(inputs[channel].value(q), slope))).collect()
        };
        let mut first = 0;
        while first < from.channels {
            let values = table(first);
            let run = (first..from.channels).take_while(|&c| c == first || table(c) == values).count();
            let table = Arg::Constant(self.constants.add(name, "table", Values::I8(values)));
            let at = |t: Tensor| Arg::Tensor(t.at + first * t.pixels());
            let count = Arg::Int((run * from.pixels()) as i64);
            self.call(name, "table", vec![at(from), at(to), table, count]);
            first += run;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, xs: &[TensorId], y: TensorId) -> Result<()> {
        let network = self.network;
        let (from, to) = (network.tensor(xs[0]), network.tensor(y));
        let mut quants = Vec::new();
        for &x in xs {
            quants.extend(self.quants(x)?);
        }
        let is_output = y == network.schedule.output;
        let output = match is_output {
            true => Quant { scale: self.logit_scale()?, offset: 0 },
            false => self.fresh(y, quants.iter().any(|q| q.offset == 0))?,
        };
        let factors: Vec<f64> = quants.iter().map(|q| q.scale / output.scale).collect();
        let shift = shift_for(factors.iter().fold(0.0, |m: f64, f| m.max(*f)));
        let multipliers = factors.iter().map(|&f| multiplier(f, shift)).collect();
        let mut args = sum_of(xs.iter().map(|&x| network.tensor(x).at).collect(), to.at);
        args.extend(ints(&[from.channels, from.pixels()]));
        args.push(Arg::Constant(self.offsets(name, &quants)));
        args.push(Arg::Constant(self.constants.add(name, "multiplier", Values::I32(multipliers))));
        args.push(Arg::Int(i64::from(shift)));
        if !is_output {
            args.push(Arg::Int(i64::from(output.offset)));
        }
        self.call(name, if is_output { "add_logits" } else { "add" }, args);
        Ok(())
    }

    fn mul(&mut self, name: &str, (x, gate): (TensorId, TensorId), y: TensorId) -> Result<()> {
        let network = self.network;
        let (from, by, to) = (network.tensor(x), network.tensor(gate), network.tensor(y));
        let (inputs, gates) = (self.quants(x)?, self.quants(gate)?);
        let output = self.fresh(y, inputs.iter().chain(&gates).any(|q| q.offset == 0))?;
        let (mut multipliers, mut shifts) = (Vec::new(), Vec::new());
        for (channel, input) in inputs.iter().enumerate() {
            let factor = input.scale * gates[channel % gates.len()].scale / output.scale;
            shifts.push(shift_for(factor));
            multipliers.push(multiplier(factor, shift_for(factor)));
        }
        let mut args = vec![Arg::Tensor(from.at), Arg::Tensor(by.at), Arg::Tensor(to.at)];
        args.extend(ints(&[from.channels, from.pixels(), by.channels, by.pixels()]));
        args.push(Arg::Constant(self.offsets(name, &inputs)));
        args.push(Arg::Constant(self.offsets(name, &gates)));
        args.push(Arg::Constant(self.constants.add(name, "multiplier", Values::I32(multipliers))));
        args.push(Arg::Constant(self.constants.add(name, "shift", Values::U8(shifts))));
        args.push(Arg::Int(i64::from(output.offset)));
        self.call(name, "mul", args);
        Ok(())
    }
}

/// Where the weights of every output channel lie.
struct Rows {
    transposed: bool,
    outputs: usize,
    /// Output channels and input channels of a group.
    group: (usize, usize),
    area: usize,
    /// Products of one sum.
    products: usize,
}

impl Rows {
    fn new(transposed: bool, place: &Place, outputs: usize, inputs: usize) -> Self {
        let of = |name: &str| place.iter().find(|(n, _)| *n == name).map_or(1, |p| p.1);
        let groups = of("groups");
        let area = of("kernel_rows") * of("kernel_columns");
        let group = (outputs / groups, inputs / groups);
        Self { transposed, outputs, group, area, products: group.1 * area }
    }

    /// Position of every weight of output `o`, and the input channel that it belongs to.
    fn of(&self, o: usize) -> impl Iterator<Item = (usize, usize)> {
        let (area, outputs, inputs, transposed) = (self.area, self.outputs, self.group.1, self.transposed);
        let first = o / self.group.0 * inputs;
        (0..inputs).flat_map(move |i| {
            let at = if transposed { i * outputs + o } else { o * inputs + i };
            (0..area).map(move |t| (at * area + t, first + i))
        })
    }
}

/// A function of single values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Relu,
    Leaky(f32),
    Prelu,
    Elu,
    Sigmoid,
    Tanh,
    Silu,
    HardSigmoid,
    HardSwish,
    Clamp(f32, f32),
}

impl Function {
    fn of(op: &Op) -> Option<Self> {
        Some(match *op {
            Op::Relu => Self::Relu,
            Op::LeakyRelu { slope } => Self::Leaky(slope),
            Op::Prelu { .. } => Self::Prelu,
            Op::Elu => Self::Elu,
            Op::Sigmoid => Self::Sigmoid,
            Op::Tanh => Self::Tanh,
            Op::Silu => Self::Silu,
            Op::HardSigmoid => Self::HardSigmoid,
            Op::HardSwish => Self::HardSwish,
            Op::Clamp { low, high } => Self::Clamp(low, high),
            _ => return None,
        })
    }

    /// Whether values can be negative.
    fn is_signed(self) -> bool {
        match self {
            Self::Relu | Self::Sigmoid | Self::HardSigmoid => false,
            Self::Clamp(low, _) => low < 0.0,
            _ => true,
        }
    }

    fn apply(self, x: f64, slope: f64) -> f64 {
        let leaky = |slope: f64| if x > 0.0 { x } else { slope * x };
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        let hard = (x + 3.0).clamp(0.0, 6.0) / 6.0;
        match self {
            Self::Relu => x.max(0.0),
            Self::Leaky(slope) => leaky(f64::from(slope)),
            Self::Prelu => leaky(slope),
            Self::Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
            Self::Sigmoid => sigmoid,
            Self::Tanh => x.tanh(),
            Self::Silu => x * sigmoid,
            Self::HardSigmoid => hard,
            Self::HardSwish => x * hard,
            Self::Clamp(low, high) => x.max(f64::from(low)).min(f64::from(high)),
        }
    }
}
