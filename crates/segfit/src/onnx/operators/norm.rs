//! Batch, instance and group normalisation.

use super::{layer, per_channel, value};
use crate::network::Op;
use crate::onnx::draft::New;
use crate::onnx::names;
use crate::onnx::node::Node;
use crate::onnx::read::{Reader, Value};

fn name(node: &Node<'_>) -> String {
    names::with_parameters(node, node.proto.input.get(1).map_or("", String::as_str))
}

pub fn batch(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let x = value(inputs, 0)?;
    let input = x.pixels_or_vector()?;
    if node.int("training_mode", 0) != 0 || node.proto.output.len() > 1 {
        return Err("it was exported in training mode; call model.eval() before the export".into());
    }
    let channels = reader.draft.layers[input].shape.0;
    let weights = (1..5).map(|i| per_channel(inputs, i, channels)).collect::<Result<Vec<_>, _>>()?;
    // ONNX's momentum is the weight of the past, PyTorch's that of the newest batch.
    let momentum = ((1.0 - f64::from(node.float("momentum", 0.9))) * 1e6).round() / 1e6;
    let op = Op::BatchNorm { eps: node.float("epsilon", 1e-5), momentum: momentum as f32 };
    let new = New { name: name(node), op, inputs: vec![input], weights };
    Ok(x.moved_to(reader.draft.push_same(new)?))
}

pub fn instance(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let eps = node.float("epsilon", 1e-5);
    if let Value::Split { layer, groups, normalised: false } = *value(inputs, 0)? {
        return group_norm_as_exported(reader, node, inputs, layer, groups, eps);
    }
    let input = layer(inputs, 0)?;
    let channels = reader.draft.layers[input].shape.0;
    let (scale, shift) = (per_channel(inputs, 1, channels)?, per_channel(inputs, 2, channels)?);
    let affine = scale.iter().any(|&s| s != 1.0) || shift.iter().any(|&s| s != 0.0);
    let weights = if affine { vec![scale, shift] } else { Vec::new() };
    let new = New { name: name(node), op: Op::InstanceNorm { eps, affine }, inputs: vec![input], weights };
    Ok(Value::Tensor(reader.draft.push_same(new)?))
}

/// PyTorch's exporters write a group norm as an instance norm of the image reshaped to one channel per group, followed by
/// a multiplication and an addition per channel, which [`super::arithmetic`] puts into the layer made here.
fn group_norm_as_exported(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
    inputs: &[Option<Value>],
    input: usize,
    groups: usize,
    eps: f32,
) -> Result<Value, String> {
    let channels = reader.draft.layers[input].shape.0;
    let spread = |list: Vec<f32>| list.iter().flat_map(|&v| vec![v; channels / groups]).collect::<Vec<_>>();
    let (scale, shift) = (spread(per_channel(inputs, 1, groups)?), spread(per_channel(inputs, 2, groups)?));
    let new =
        New { name: name(node), op: Op::GroupNorm { groups, eps }, inputs: vec![input], weights: vec![scale, shift] };
    let layer = reader.draft.push_same(new)?;
    Ok(Value::Split { layer, groups, normalised: true })
}

pub fn group(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let input = layer(inputs, 0)?;
    let channels = reader.draft.layers[input].shape.0;
    let groups = usize::try_from(node.int("num_groups", 0)).unwrap_or(0);
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{channels} channels in {groups} groups"));
    }
    // Opset 18 had one scale per group, which 21 corrected.
    let per_group = per_channel(inputs, 1, groups).is_ok() && node.opset < 21;
    let read = |i: usize| {
        if per_group {
            Ok(per_channel(inputs, i, groups)?.iter().flat_map(|&v| vec![v; channels / groups]).collect())
        } else {
            per_channel(inputs, i, channels)
        }
    };
    let weights = vec![read(1)?, read(2)?];
    let op = Op::GroupNorm { groups, eps: node.float("epsilon", 1e-5) };
    Ok(Value::Tensor(reader.draft.push_same(New { name: name(node), op, inputs: vec![input], weights })?))
}
