//! ONNX operators as layers: one function per operator, or per family of operators.

mod arithmetic;
mod convolution;
mod norm;
mod reshape;
mod spatial;

use super::draft::New;
use super::names;
use super::node::Node;
use super::read::{Reader, Value};
use crate::network::Op;

/// The value that a node makes.
///
/// # Errors
/// The reason why it cannot be read.
pub fn convert(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    match node.op_type() {
        "Conv" => convolution::conv(reader, node, inputs),
        "ConvTranspose" => convolution::conv_transpose(reader, node, inputs),
        "Gemm" | "MatMul" => convolution::linear(reader, node, inputs),
        "BatchNormalization" => norm::batch(reader, node, inputs),
        "InstanceNormalization" => norm::instance(reader, node, inputs),
        "GroupNormalization" => norm::group(reader, node, inputs),
        "MaxPool" | "AveragePool" => spatial::pool(reader, node, inputs),
        "GlobalAveragePool" | "ReduceMean" => spatial::global_mean(reader, node, inputs),
        "Resize" | "Upsample" => spatial::resize(reader, node, inputs),
        "Pad" => spatial::pad(reader, node, inputs),
        "Slice" => spatial::slice(reader, node, inputs),
        "Concat" => arithmetic::concat(reader, node, inputs),
        "Add" | "Sub" | "Sum" => arithmetic::add(reader, node, inputs),
        "Mul" | "Div" => arithmetic::multiply(reader, node, inputs),
        "Neg" => arithmetic::negate(reader, node, inputs),
        "ReduceSum" => arithmetic::sum_of_stack(reader, node, inputs),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Expand" | "Transpose" => {
            reshape::convert(reader, node, inputs)
        }
        "Identity" => value(inputs, 0).cloned(),
        "Dropout" => {
            reader.note("dropout layers are left out");
            value(inputs, 0).cloned()
        }
        "Cast" | "CastLike" => match value(inputs, 0)? {
            Value::Constant(_) => Err("a cast of a constant that is not known".into()),
            other => Ok(other.clone()),
        },
        _ => pointwise(reader, node, inputs),
    }
}

/// Input `i`.
fn value(inputs: &[Option<Value>], i: usize) -> Result<&Value, String> {
    inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("input {i} is missing"))
}

/// The layer of input `i`, which must be a tensor of images.
fn layer(inputs: &[Option<Value>], i: usize) -> Result<usize, String> {
    match value(inputs, i)? {
        Value::Tensor(layer) => Ok(*layer),
        Value::Constant(_) => Err(format!("input {i} is a constant, expected the tensor of a layer")),
        Value::Vector(_) => Err(format!("input {i} has lost its rows and columns")),
        Value::Split { .. } | Value::Stack(_) => Err(format!("input {i} is reshaped in a way that no layer reads")),
    }
}

/// The constant values of input `i`; `None` when it is absent.
fn floats(inputs: &[Option<Value>], i: usize) -> Result<Option<Vec<f32>>, String> {
    match inputs.get(i).and_then(Option::as_ref) {
        None => Ok(None),
        Some(Value::Constant(c)) => Ok(Some(c.to_floats())),
        Some(_) => Err(format!("input {i} is not constant")),
    }
}

/// As many constant values of input `i` as there are channels.
fn per_channel(inputs: &[Option<Value>], i: usize, channels: usize) -> Result<Vec<f32>, String> {
    let list = floats(inputs, i)?.ok_or_else(|| format!("input {i} is missing"))?;
    if list.len() == channels {
        Ok(list)
    } else {
        Err(format!("input {i} has {} values for {channels} channels", list.len()))
    }
}

/// A bound or slope: the one value of input `i`, or the attribute of older files.
fn scalar(node: &Node<'_>, inputs: &[Option<Value>], i: usize, name: &str) -> Result<Option<f32>, String> {
    match floats(inputs, i)? {
        Some(list) if list.len() == 1 => Ok(Some(list[0])),
        Some(list) => Err(format!("{name} has {} values, expected one", list.len())),
        None => Ok(node.has(name).then(|| node.float(name, 0.0))),
    }
}

/// Layers that change every value by itself.
fn pointwise(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
    let mut weights = Vec::new();
    let op = match node.op_type() {
        "Relu" => Op::Relu,
        "Sigmoid" => Op::Sigmoid,
        "Tanh" => Op::Tanh,
        "HardSwish" => Op::HardSwish,
        "LeakyRelu" => Op::LeakyRelu { slope: node.float("alpha", 0.01) },
        "Elu" if near(node.float("alpha", 1.0), 1.0) => Op::Elu,
        "Elu" => return Err("only alpha 1 is read".into()),
        "Swish" if near(node.float("alpha", 1.0), 1.0) => Op::Silu,
        "HardSigmoid" if near(node.float("alpha", 0.2), 1.0 / 6.0) && near(node.float("beta", 0.5), 0.5) => {
            Op::HardSigmoid
        }
        "HardSigmoid" => return Err("only alpha 1/6 and beta 1/2 (PyTorch's) are read".into()),
        "Clip" => {
            let low = scalar(node, inputs, 1, "min")?.unwrap_or(f32::MIN).max(f32::MIN);
            let high = scalar(node, inputs, 2, "max")?.unwrap_or(f32::MAX).min(f32::MAX);
            if low == 0.0 && high == f32::MAX { Op::Relu } else { Op::Clamp { low, high } }
        }
        "PRelu" => {
            let slopes = value(inputs, 1)?.constant().ok_or("its slope is not constant")?;
            let shared = slopes.len() == 1;
            let per_channel = arithmetic::channel_values(reader, value(inputs, 0)?, slopes)?;
            let slopes = if shared { slopes.to_floats() } else { per_channel };
            weights.push(slopes);
            Op::Prelu { shared }
        }
        _ => return Err("no layer of segfit does this".into()),
    };
    let weight = node.proto.input.get(1).map_or("", String::as_str);
    let name = if weights.is_empty() { names::without_parameters(node) } else { names::with_parameters(node, weight) };
    let x = value(inputs, 0)?;
    let input = x.pixels_or_vector()?;
    let layer = reader.draft.push_same(New { name, op, inputs: vec![input], weights })?;
    Ok(x.moved_to(layer))
}
