//! 8 bit numbers: QuantizeLinear and DequantizeLinear around convolutions, in the form that ONNX Runtime fuses into integer kernels.
//!
//! Weights are i8 with one scale per output channel, biases i32, activations u8 with one scale per tensor: with zero point 0 where
//! they cannot be negative, else symmetric about 128. Quantised are the tensors that convolutions read, also through
//! concatenations and max-poolings; the logits stay f32.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::Deployment;
use crate::error::{Error, Result};
use crate::network::{NetworkSpec, Op};
use crate::onnx::Tensor;
use crate::onnx::export::{Writer, int};
use crate::onnx::proto::{AttributeProto, data_type};

/// Biases are kept below this many units, so that sums fit 32 bits.
const LARGEST_BIAS: f32 = (1 << 29) as f32;

/// How a tensor is stored: value = scale (q - zero).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Coding {
    scale: f32,
    zero: u8,
}

/// Changes a finished graph of f32 layers.
pub(super) fn quantise(writer: &mut Writer<'_>, deployment: &Deployment) -> Result<()> {
    let spec = &deployment.network;
    let codings = codings(deployment)?;
    let tensors: HashMap<&str, &Tensor> = deployment.weights.iter().map(|t| (t.name.as_str(), t)).collect();
    let shapes = spec.smallest_shapes()?;
    for (i, layer) in spec.layers.iter().enumerate().filter(|(_, l)| l.op.is_convolution()) {
        let input = codings[layer.inputs[0].as_str()];
        let outputs = shapes.tensors[i].channels;
        let name = |kind: &str| format!("{}.{kind}", layer.name);
        let Tensor { shape, values, .. } = tensors[name("weight").as_str()];
        let bias = tensors.get(name("bias").as_str()).map(|t| t.values.as_slice());
        let transposed = matches!(layer.op, Op::ConvTranspose2d { .. });
        let bias = bias.filter(|_| !transposed);
        let area: usize = shape[if transposed { 2 } else { 1 }..].iter().product();
        let scales = weight_scales(values, area, outputs, bias, input.scale);
        let channel = |k: usize| k / area % outputs;
        let stored: Vec<u8> = values
            .iter()
            .enumerate()
            .map(|(k, v)| (v / scales[channel(k)]).round_ties_even().clamp(-127.0, 127.0) as i8 as u8)
            .collect();
        let axis = int("axis", i64::from(transposed));
        replace(writer, &name("weight"), shape, (data_type::INT8, stored), &scales, axis);
        if let Some(bias) = bias {
            let scales: Vec<f32> = scales.iter().map(|s| s * input.scale).collect();
            let whole = bias.iter().zip(&scales).flat_map(|(b, s)| ((b / s).round_ties_even() as i32).to_le_bytes());
            let stored = (data_type::INT32, whole.collect());
            replace(writer, &name("bias"), &[outputs], stored, &scales, int("axis", 0));
        }
    }
    activations(writer, spec, &codings);
    Ok(())
}

/// The largest magnitude is 127; where a bias is far larger than its weights, fewer.
fn weight_scales(values: &[f32], area: usize, outputs: usize, bias: Option<&[f32]>, input: f32) -> Vec<f32> {
    let mut largest = vec![0.0_f32; outputs];
    for (k, value) in values.iter().enumerate() {
        let largest = &mut largest[k / area % outputs];
        *largest = largest.max(value.abs());
    }
    let least = |c: usize| bias.map_or(0.0, |bias| bias[c].abs() / (input * LARGEST_BIAS));
    let scale = |(c, largest): (usize, f32)| (largest / 127.0).max(least(c));
    largest.into_iter().enumerate().map(scale).map(|s| if s < f32::MIN_POSITIVE { 1.0 } else { s }).collect()
}

/// Replaces an initialiser by a stored one and the node that gives its values.
fn replace(
    writer: &mut Writer<'_>,
    name: &str,
    dims: &[usize],
    (kind, raw): (i32, Vec<u8>),
    scales: &[f32],
    axis: AttributeProto,
) {
    writer.initializers.retain(|t| t.name != name);
    let stored = writer.initializer(&format!("{name}/stored"), dims, kind, raw);
    let scale = writer.floats(&format!("{name}/scale"), &[scales.len()], scales);
    let size = if kind == data_type::INT8 { 1 } else { 4 };
    let zero = writer.initializer(&format!("{name}/zero"), &[scales.len()], kind, vec![0; size * scales.len()]);
    let inputs = vec![stored, scale, zero];
    writer.node("DequantizeLinear", &format!("{name}/dequantise"), inputs, name, vec![axis]);
    // It has to stand before the node that reads it.
    if let Some(node) = writer.nodes.pop() {
        writer.nodes.insert(0, node);
    }
}

/// The coding of every layer whose tensor is quantised.
fn codings(deployment: &Deployment) -> Result<BTreeMap<&str, Coding>> {
    let spec = &deployment.network;
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    for layer in spec.layers.iter().rev() {
        let passes = matches!(layer.op, Op::Concat | Op::MaxPool { .. }) && wanted.contains(layer.name.as_str());
        if layer.op.is_convolution() || passes {
            wanted.extend(layer.inputs.iter().map(String::as_str));
        }
    }
    let mut codings: BTreeMap<&str, Coding> = BTreeMap::new();
    for layer in spec.layers.iter().filter(|l| wanted.contains(l.name.as_str())) {
        let inputs = || layer.inputs.iter().map(|i| codings[i.as_str()]);
        let coding = match &layer.op {
            Op::MaxPool { .. } => codings[layer.inputs[0].as_str()],
            Op::Concat => {
                let range = inputs().map(range_of).fold(0.0, f32::max);
                coding_of(range, inputs().any(|c| c.zero != 0))
            }
            op => coding_of(range(deployment, &layer.name)?, !cannot_be_negative(op)),
        };
        codings.insert(&layer.name, coding);
    }
    Ok(codings)
}

fn range(deployment: &Deployment, layer: &str) -> Result<f32> {
    let wrong = |reason: String| Error::Network { layer: layer.into(), reason };
    let Some(ranges) = &deployment.ranges else {
        return Err(wrong("8 bits need the range of its values; calibrate the network first".into()));
    };
    let found = ranges.get(layer).ok_or_else(|| wrong("the calibration has no range of its values".into()))?;
    if !found.is_finite() || *found < 0.0 {
        return Err(wrong(format!("its calibrated range is {found}")));
    }
    Ok(*found)
}

fn cannot_be_negative(op: &Op) -> bool {
    match op {
        Op::Relu | Op::Sigmoid | Op::HardSigmoid => true,
        Op::Clamp { low, .. } => *low >= 0.0,
        _ => false,
    }
}

fn coding_of(range: f32, signed: bool) -> Coding {
    // A tensor that is always zero can have any scale.
    let range = if range < f32::MIN_POSITIVE * 1024.0 { 1.0 } else { range };
    if signed { Coding { scale: range / 127.0, zero: 128 } } else { Coding { scale: range / 255.0, zero: 0 } }
}

fn range_of(coding: Coding) -> f32 {
    coding.scale * if coding.zero == 0 { 255.0 } else { 127.0 }
}

/// Puts the two nodes behind every quantised value; all that read it read what they give.
fn activations(writer: &mut Writer<'_>, spec: &NetworkSpec, codings: &BTreeMap<&str, Coding>) {
    let mut done: BTreeSet<String> = BTreeSet::new();
    for layer in &spec.layers {
        let Some(coding) = codings.get(layer.name.as_str()) else { continue };
        let value = writer.values[layer.name.as_str()].clone();
        // Layers that are no nodes, such as concatenations of one tensor, share their input's value.
        if !done.insert(value.clone()) {
            continue;
        }
        let part = |what: &str| format!("{}/{what}", layer.name);
        let restored = part("restored");
        for input in writer.nodes.iter_mut().flat_map(|n| &mut n.input).filter(|i| **i == value) {
            input.clone_from(&restored);
        }
        let scale = writer.floats(&part("value_scale"), &[], &[coding.scale]);
        let zero = writer.initializer(&part("value_zero"), &[], data_type::UINT8, vec![coding.zero]);
        let inputs = vec![value.clone(), scale.clone(), zero.clone()];
        writer.node("QuantizeLinear", &part("quantise"), inputs, &part("quantised"), vec![]);
        writer.node("DequantizeLinear", &part("dequantise"), vec![part("quantised"), scale, zero], &restored, vec![]);
        let at = writer.nodes.iter().position(|n| n.output[0] == value).map_or(0, |i| i + 1);
        let made = writer.nodes.split_off(writer.nodes.len() - 2);
        writer.nodes.splice(at..at, made);
    }
}
