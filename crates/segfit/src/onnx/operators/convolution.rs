//! Convolutions, and fully connected layers on pooled tensors, which are 1x1 convolutions.

use super::{floats, layer, per_channel, value};
use crate::network::{Op, PadMode};
use crate::onnx::constant::Constant;
use crate::onnx::draft::New;
use crate::onnx::names;
use crate::onnx::node::{Node, small};
use crate::onnx::read::{Reader, Value};

/// Pixels added before and after, rows first.
pub struct Pads {
    pub before: [usize; 2],
    pub after: [usize; 2],
}

impl Pads {
    /// From `pads` or `auto_pad`; `size` is the input's, `span` the reach of the kernel.
    pub fn read(node: &Node<'_>, size: [usize; 2], span: [usize; 2], stride: [usize; 2]) -> Result<Self, String> {
        let auto = node.text("auto_pad", "NOTSET");
        match (auto, node.ints("pads")) {
            ("NOTSET", None) | ("VALID", _) => Ok(Self { before: [0; 2], after: [0; 2] }),
            ("NOTSET", Some([a, b, c, d])) => Ok(Self {
                before: [small("pads", *a)?, small("pads", *b)?],
                after: [small("pads", *c)?, small("pads", *d)?],
            }),
            ("NOTSET", Some(list)) => Err(format!("pads of {} dimensions; only images are read", list.len() / 2)),
            ("SAME_UPPER" | "SAME_LOWER", _) => {
                let all = |d: usize| {
                    let out = size[d].div_ceil(stride[d]);
                    ((out - 1) * stride[d] + span[d]).saturating_sub(size[d])
                };
                let (small, large) = ([all(0) / 2, all(1) / 2], [all(0).div_ceil(2), all(1).div_ceil(2)]);
                let lower = auto == "SAME_LOWER";
                Ok(Self { before: if lower { large } else { small }, after: if lower { small } else { large } })
            }
            (other, _) => Err(format!("auto_pad {other} is not read")),
        }
    }
}

/// The weight of a convolution: a constant of four dimensions.
fn weight<'a>(inputs: &'a [Option<Value>], node: &Node<'_>) -> Result<(&'a Constant, [usize; 4]), String> {
    let Value::Constant(weight) = value(inputs, 1)? else { return Err("its weight is not constant".into()) };
    let [a, b, height, width] = weight.dims[..] else {
        return Err(format!("a weight of {} dimensions; only images are read", weight.dims.len()));
    };
    if let Some(kernel) = node.ints("kernel_shape").filter(|k| **k != [height as i64, width as i64]) {
        return Err(format!("kernel_shape {kernel:?} for a weight of {height}x{width}"));
    }
    if weight.dims.contains(&0) || height.max(width) > 4096 {
        return Err(format!("a weight of shape {:?}", weight.dims));
    }
    Ok((weight, [a, b, height, width]))
}

fn weight_name(node: &Node<'_>) -> String {
    names::with_parameters(node, node.proto.input.get(1).map_or("", String::as_str))
}

/// Strides and dilations, at least 1.
fn steps(node: &Node<'_>, name: &str) -> Result<[usize; 2], String> {
    match node.pair(name, 1)? {
        [0, _] | [_, 0] => Err(format!("{name} of 0")),
        found => Ok(found),
    }
}

pub fn conv(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let mut input = layer(inputs, 0)?;
    let (weight, [out, per_group, height, width]) = weight(inputs, node)?;
    let (stride, dilation) = (steps(node, "strides")?, steps(node, "dilations")?);
    let groups = usize::try_from(node.int("group", 1)).ok().filter(|&g| g > 0).ok_or("group must be at least 1")?;
    let (channels, rows, columns) = reader.draft.layers[input].shape;
    if per_group.checked_mul(groups) != Some(channels) || !out.is_multiple_of(groups) {
        return Err(format!("a weight of shape {:?} in {groups} groups for {channels} channels", weight.dims));
    }
    let span = [dilation[0] * (height - 1) + 1, dilation[1] * (width - 1) + 1];
    let pads = Pads::read(node, [rows, columns], span, stride)?;
    let mut padding = pads.before;
    if pads.before != pads.after {
        let op = Op::Pad { before: pads.before.to_vec(), after: pads.after.to_vec(), mode: PadMode::Zero };
        let size = (rows + pads.before[0] + pads.after[0], columns + pads.before[1] + pads.after[1]);
        let name = format!("{}.pad", weight_name(node));
        input = reader.draft.push_like(New::plain(name, op, input), size)?;
        padding = [0; 2];
    } else if let Some((source, added)) = zeros_around(reader, input) {
        padding = [padding[0] + added[0], padding[1] + added[1]];
        input = source;
    }
    let bias = match inputs.get(2) {
        Some(Some(_)) => Some(per_channel(inputs, 2, out)?),
        _ => None,
    };
    let (kernel, stride, padding, dilation) =
        (vec![height, width], stride.to_vec(), padding.to_vec(), dilation.to_vec());
    let depthwise = groups > 1 && groups == channels && groups == out;
    let has_bias = bias.is_some();
    let op = if depthwise {
        Op::DepthwiseConv2d { kernel, stride, padding, dilation, bias: has_bias }
    } else {
        Op::Conv2d { group: String::new(), kernel, stride, padding, dilation, groups, bias: has_bias }
    };
    let (_, rows, columns) = reader.draft.layers[input].shape;
    let size = op.geometry().ok_or("its geometry cannot be read")?.output_size((rows, columns))?;
    let weights = std::iter::once(weight.to_floats()).chain(bias).collect();
    let new = New { name: weight_name(node), op, inputs: vec![input], weights };
    let made = if depthwise { reader.draft.push_like(new, size) } else { reader.draft.push_new(new, out, size) }?;
    Ok(Value::Tensor(made))
}

/// The input and the symmetric zeros of a padding layer that only this convolution reads.
fn zeros_around(reader: &Reader<'_>, layer: usize) -> Option<(usize, [usize; 2])> {
    let found = &reader.draft.layers[layer];
    match &found.op {
        Op::Pad { before, after, mode: PadMode::Zero } if before == after && !found.shared => {
            Some((found.inputs[0], [before[0], before[1]]))
        }
        _ => None,
    }
}

pub fn conv_transpose(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let input = layer(inputs, 0)?;
    let (weight, [from, out, height, width]) = weight(inputs, node)?;
    let (channels, rows, columns) = reader.draft.layers[input].shape;
    if node.int("group", 1) != 1 {
        return Err(format!("a transposed convolution in {} groups", node.int("group", 1)));
    }
    if from != channels {
        return Err(format!("a weight of shape {:?} for {channels} channels", weight.dims));
    }
    if node.pair("dilations", 1)? != [1, 1] {
        return Err("a transposed convolution with dilation".into());
    }
    if node.has("output_shape") {
        return Err("a transposed convolution with output_shape, which only fits one image size".into());
    }
    let stride = steps(node, "strides")?;
    let pads = Pads::read(node, [rows, columns], [height, width], stride)?;
    let mut output_padding = node.pair("output_padding", 0)?;
    for axis in 0..2 {
        // Cutting less at the end is the same as adding there.
        let more = pads.before[axis].checked_sub(pads.after[axis]);
        output_padding[axis] += more.ok_or("it cuts off more at the end than at the start")?;
        if output_padding[axis] >= stride[axis] {
            return Err(format!("output_padding {} for a stride of {}", output_padding[axis], stride[axis]));
        }
    }
    let bias = match inputs.get(2) {
        Some(Some(_)) => Some(per_channel(inputs, 2, out)?),
        _ => None,
    };
    let kernel = vec![height, width];
    let op = Op::ConvTranspose2d {
        group: String::new(),
        stride: if stride[..] == kernel[..] { Vec::new() } else { stride.to_vec() },
        kernel,
        padding: pads.before.to_vec(),
        output_padding: output_padding.to_vec(),
        bias: bias.is_some(),
    };
    let size = op.geometry().ok_or("its geometry cannot be read")?.output_size((rows, columns))?;
    let weights = std::iter::once(weight.to_floats()).chain(bias).collect();
    let new = New { name: weight_name(node), op, inputs: vec![input], weights };
    Ok(Value::Tensor(reader.draft.push_new(new, out, size)?))
}

/// A fully connected layer on channels without pixels.
pub fn linear(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let Value::Vector(input) = *value(inputs, 0)? else {
        return Err("a fully connected layer is only read behind a global average pooling".into());
    };
    let Value::Constant(weight) = value(inputs, 1)? else { return Err("its weight is not constant".into()) };
    let channels = reader.draft.layers[input].shape.0;
    let gemm = node.op_type() == "Gemm";
    let transposed = gemm && node.int("transB", 0) != 0;
    let [a, b] = weight.dims[..] else { return Err(format!("a weight of shape {:?}", weight.dims)) };
    let (out, from) = if transposed { (a, b) } else { (b, a) };
    let plain = node.float("alpha", 1.0) == 1.0 && node.float("beta", 1.0) == 1.0 && node.int("transA", 0) == 0;
    if from != channels || out == 0 || (gemm && !plain) {
        return Err(format!("a weight of shape {:?} for {channels} channels, or alpha, beta, transA", weight.dims));
    }
    let stored = weight.to_floats();
    let values = if transposed {
        stored
    } else {
        (0..out).flat_map(|o| (0..from).map(move |i| (i, o))).map(|(i, o)| stored[i * out + o]).collect()
    };
    let bias = if gemm && floats(inputs, 2)?.is_some() { Some(per_channel(inputs, 2, out)?) } else { None };
    let op = Op::Conv2d {
        group: String::new(),
        kernel: vec![1; 2],
        stride: vec![1; 2],
        padding: vec![0; 2],
        dilation: vec![1; 2],
        groups: 1,
        bias: bias.is_some(),
    };
    let weights = std::iter::once(values).chain(bias).collect();
    let new = New { name: weight_name(node), op, inputs: vec![input], weights };
    Ok(Value::Vector(reader.draft.push_new(new, out, (1, 1))?))
}
