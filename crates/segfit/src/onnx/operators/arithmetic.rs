//! Sums and products: of tensors (residuals, gates) and with constants (scale and shift of channels), and concatenation.

use super::{layer, value};
use crate::network::Op;
use crate::onnx::constant::Constant;
use crate::onnx::draft::New;
use crate::onnx::fold::axis_of;
use crate::onnx::names;
use crate::onnx::node::Node;
use crate::onnx::read::{Reader, Value};

pub fn concat(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let axis = node.int("axis", 1);
    if inputs.iter().all(|v| matches!(v, Some(Value::Stack(_)))) && axis == 0 {
        let stacked = inputs.iter().flatten().flat_map(|v| match v {
            Value::Stack(layers) => layers.clone(),
            _ => Vec::new(),
        });
        return Ok(Value::Stack(stacked.collect()));
    }
    let vector = matches!(value(inputs, 0)?, Value::Vector(_));
    let layers = (0..inputs.len()).map(|i| match value(inputs, i)? {
        Value::Vector(layer) if vector => Ok(*layer),
        _ => layer(inputs, i),
    });
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    if axis_of(axis, if vector { 2 } else { 4 })? != 1 {
        return Err(format!("it joins along axis {axis}; only channels (axis 1) are read"));
    }
    if let [only] = layers[..] {
        return Ok(if vector { Value::Vector(only) } else { Value::Tensor(only) });
    }
    let shapes: Vec<_> = layers.iter().map(|&l| reader.draft.layers[l].shape).collect();
    let (_, rows, columns) = shapes[0];
    if let Some((_, r, c)) = shapes.iter().find(|s| (s.1, s.2) != (rows, columns)) {
        return Err(format!("it joins {rows}x{columns} and {r}x{c} pixels"));
    }
    let channels = layers.iter().flat_map(|&l| reader.draft.layers[l].channels.clone()).collect();
    let shape = (shapes.iter().map(|s| s.0).sum(), rows, columns);
    let new = New { name: names::without_parameters(node), op: Op::Concat, inputs: layers, weights: Vec::new() };
    let made = reader.draft.push(new, shape, channels)?;
    Ok(if vector { Value::Vector(made) } else { Value::Tensor(made) })
}

pub fn add(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let minus = node.op_type() == "Sub";
    let mut sum = value(inputs, 0)?.clone();
    for i in 1..inputs.len() {
        let other = value(inputs, i)?;
        let sign = if minus { -1.0 } else { 1.0 };
        sum = match (&sum, other) {
            (Value::Constant(_), Value::Constant(_)) => return Err("constants that are not known".into()),
            (x, Value::Constant(c)) => {
                let shift = channel_values(reader, x, c)?.iter().map(|v| sign * v).collect();
                affine(reader, node, x, None, Some(shift))?
            }
            (Value::Constant(c), x) => {
                let shift = channel_values(reader, x, c)?;
                let scale = minus.then(|| vec![-1.0; shift.len()]);
                affine(reader, node, x, scale, Some(shift))?
            }
            (a, b) => {
                let b = if minus {
                    let scale = vec![-1.0; reader.channels(b)?];
                    affine(reader, node, b, Some(scale), None)?
                } else {
                    b.clone()
                };
                add_tensors(reader, node, a, &b)?
            }
        };
    }
    Ok(sum)
}

fn add_tensors(reader: &mut Reader<'_>, node: &Node<'_>, a: &Value, b: &Value) -> Result<Value, String> {
    let (x, y) = (a.pixels_or_vector()?, b.pixels_or_vector()?);
    let (shape, other) = (reader.draft.layers[x].shape, reader.draft.layers[y].shape);
    if shape != other {
        return Err(format!("a sum of {} and {}; only tensors of one shape can be added", text(shape), text(other)));
    }
    unify(reader, node, x, y);
    let new = New { name: names::without_parameters(node), op: Op::Add, inputs: vec![x, y], weights: Vec::new() };
    Ok(a.moved_to(reader.draft.push_same(new)?))
}

fn unify(reader: &mut Reader<'_>, node: &Node<'_>, a: usize, b: usize) {
    if !reader.draft.unify(a, b) {
        let why = "joins channels that are put together differently: their numbers are fixed";
        reader.note(&format!("{} {why}", node.describe()));
    }
}

fn text((channels, rows, columns): (usize, usize, usize)) -> String {
    format!("{channels} x {rows} x {columns}")
}

/// The sum over the stacked tensors of `torch.stack(list).sum(dim=0)`.
pub fn sum_of_stack(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let axes = node.axes(inputs.get(1).and_then(Option::as_ref).and_then(Value::constant));
    match value(inputs, 0)? {
        Value::Stack(layers) if axes == [0] && node.int("keepdims", 1) == 0 => {
            let mut sum = Value::Tensor(layers[0]);
            for &next in &layers[1..] {
                sum = add_tensors(reader, node, &sum, &Value::Tensor(next))?;
            }
            Ok(sum)
        }
        _ => Err("no layer of segfit does this".into()),
    }
}

pub fn negate(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let x = value(inputs, 0)?;
    let scale = vec![-1.0; reader.channels(x)?];
    affine(reader, node, x, Some(scale), None)
}

pub fn multiply(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let (a, b) = (value(inputs, 0)?, value(inputs, 1)?);
    let divide = node.op_type() == "Div";
    match (a, b) {
        (Value::Constant(_), Value::Constant(_)) => Err("constants that are not known".into()),
        (x, Value::Constant(c)) => {
            let values = channel_values(reader, x, c)?;
            let scale = values.iter().map(|v| if divide { 1.0 / v } else { *v }).collect();
            affine(reader, node, x, Some(scale), None)
        }
        _ if divide => Err("a quotient of tensors".into()),
        (Value::Constant(c), x) => {
            let scale = channel_values(reader, x, c)?;
            affine(reader, node, x, Some(scale), None)
        }
        _ => gate(reader, node, a, b),
    }
}

/// A product of two tensors: x times sigmoid(x) is one layer, otherwise one is the gate of the other.
fn gate(reader: &mut Reader<'_>, node: &Node<'_>, a: &Value, b: &Value) -> Result<Value, String> {
    let (x, y) = (a.pixels_or_vector()?, b.pixels_or_vector()?);
    for (source, gate) in [(x, y), (y, x)] {
        let found = &mut reader.draft.layers[gate];
        let whole = match found.op {
            Op::Sigmoid => Op::Silu,
            Op::HardSigmoid => Op::HardSwish,
            _ => continue,
        };
        if found.inputs == [source] && !found.shared {
            found.op = whole;
            return Ok(a.moved_to(gate));
        }
    }
    let fits = |x: usize, gate: usize| {
        let (x, gate) = (reader.draft.layers[x].shape, reader.draft.layers[gate].shape);
        (gate.0 == x.0 || gate.0 == 1) && ((gate.1, gate.2) == (x.1, x.2) || (gate.1, gate.2) == (1, 1))
    };
    let (x, gate) = match (fits(x, y), fits(y, x)) {
        (true, _) => (x, y),
        (false, true) => (y, x),
        _ => {
            let (x, y) = (reader.draft.layers[x].shape, reader.draft.layers[y].shape);
            return Err(format!("a product of {} and {}", text(x), text(y)));
        }
    };
    if reader.draft.layers[gate].shape.0 == reader.draft.layers[x].shape.0 {
        unify(reader, node, x, gate);
    } else {
        // One channel is read by all; two would fit no longer.
        reader.draft.fix(gate);
    }
    let new = New { name: names::without_parameters(node), op: Op::Mul, inputs: vec![x, gate], weights: Vec::new() };
    Ok(a.moved_to(reader.draft.push_same(new)?))
}

/// A constant that is one value for all or one per channel, as one per channel.
pub(super) fn channel_values(reader: &Reader<'_>, x: &Value, constant: &Constant) -> Result<Vec<f32>, String> {
    let dims = reader.dims(x);
    let channels = reader.channels(x)?;
    let values = constant.to_floats();
    // Dimensions are aligned at the last one.
    let lined_up = |d: usize| (d + constant.dims.len()).checked_sub(dims.len()).map_or(1, |i| constant.dims[i]);
    let plain = constant.dims.len() <= dims.len() && (0..dims.len()).all(|d| d == 1 || lined_up(d) == 1);
    match values[..] {
        [one] if constant.dims.len() <= dims.len() => Ok(vec![one; channels]),
        _ if plain && lined_up(1) == channels && values.len() == channels => Ok(values),
        _ => Err(format!("a constant of shape {:?}; only one value, or one per channel, is read", constant.dims)),
    }
}

/// `scale` times x plus `shift` per channel: put into the layer that makes x where it can hold it and nothing else reads
/// it, otherwise a batch norm of its own.
fn affine(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    x: &Value,
    scale: Option<Vec<f32>>,
    shift: Option<Vec<f32>>,
) -> Result<Value, String> {
    let input = x.pixels_or_vector()?;
    let channels = reader.channels(x)?;
    let scale = scale.unwrap_or_else(|| vec![1.0; channels]);
    let shift = shift.unwrap_or_else(|| vec![0.0; channels]);
    if scale.iter().all(|&s| s == 1.0) && shift.iter().all(|&s| s == 0.0) {
        return Ok(x.clone());
    }
    let layer = &mut reader.draft.layers[input];
    let holds = matches!(
        layer.op,
        Op::Conv2d { .. }
            | Op::DepthwiseConv2d { .. }
            | Op::ConvTranspose2d { .. }
            | Op::BatchNorm { .. }
            | Op::InstanceNorm { .. }
            | Op::GroupNorm { .. }
    );
    if holds && !layer.shared {
        absorb(&mut layer.op, &mut layer.weights, &scale, &shift);
        return Ok(x.clone());
    }
    let eps = 1e-5;
    let weights = vec![scale, shift, vec![0.0; channels], vec![1.0 - eps; channels]];
    let op = Op::BatchNorm { eps, momentum: 0.1 };
    let name = names::without_parameters(node);
    reader.note("multiplications or additions of constants are batch norms of mean 0 and variance 1");
    Ok(x.moved_to(reader.draft.push_same(New { name, op, inputs: vec![input], weights })?))
}

/// Multiplies and shifts the output of a layer by changing its weights.
fn absorb(op: &mut Op, weights: &mut Vec<Vec<f32>>, scale: &[f32], shift: &[f32]) {
    let channels = scale.len();
    let transposed = matches!(op, Op::ConvTranspose2d { .. });
    match op {
        // A bias only where it is needed.
        Op::Conv2d { bias, .. } | Op::DepthwiseConv2d { bias, .. } | Op::ConvTranspose2d { bias, .. }
            if !*bias && shift.iter().any(|&s| s != 0.0) =>
        {
            *bias = true;
            weights.push(vec![0.0; channels]);
        }
        Op::InstanceNorm { affine, .. } if !*affine => {
            *affine = true;
            *weights = vec![vec![1.0; channels], vec![0.0; channels]];
        }
        _ => {}
    }
    let convolution = op.is_convolution();
    let weight = &mut weights[0];
    if convolution && transposed {
        // [in][out][rows][columns]
        let from = if let Op::ConvTranspose2d { kernel, .. } = op { kernel.iter().product::<usize>() } else { 1 };
        weight.iter_mut().enumerate().for_each(|(i, w)| *w *= scale[i / from % channels]);
    } else {
        let each = weight.len() / channels;
        weight.iter_mut().enumerate().for_each(|(i, w)| *w *= scale[i / each]);
    }
    if let Some(bias) = weights.get_mut(1) {
        bias.iter_mut().zip(scale).zip(shift).for_each(|((b, s), t)| *b = *b * s + t);
    }
}
