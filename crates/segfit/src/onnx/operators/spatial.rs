//! Pooling, enlarging, padding and cutting.

use super::convolution::Pads;
use super::{layer, value};
use crate::network::{Interpolation, Op, PadMode};
use crate::onnx::constant::Constant;
use crate::onnx::draft::New;
use crate::onnx::fold::{SliceRange, axis_of};
use crate::onnx::names;
use crate::onnx::node::{Node, small};
use crate::onnx::read::{Reader, Value};

pub fn pool(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let mut input = layer(inputs, 0)?;
    if node.proto.output.iter().filter(|o| !o.is_empty()).count() > 1 {
        return Err("the positions of the maxima (return_indices) are not read".into());
    }
    if node.pair("dilations", 1)? != [1, 1] {
        return Err("a dilated pooling".into());
    }
    let (kernel, stride) = (node.pair("kernel_shape", 0)?, node.pair("strides", 1)?);
    let (_, rows, columns) = reader.draft.layers[input].shape;
    if stride.contains(&0) || kernel.contains(&0) {
        return Err("a kernel or stride of 0".into());
    }
    let pads = Pads::read(node, [rows, columns], kernel, stride)?;
    let average = node.op_type() == "AveragePool";
    let count_padding = average && node.int("count_include_pad", 0) != 0;
    let mut padding = pads.before;
    if pads.before != pads.after {
        if !count_padding {
            return Err(format!("unequal padding {:?} and {:?}", pads.before, pads.after));
        }
        let op = Op::Pad { before: pads.before.to_vec(), after: pads.after.to_vec(), mode: PadMode::Zero };
        let size = (rows + pads.before[0] + pads.after[0], columns + pads.before[1] + pads.after[1]);
        let name = format!("{}.pad", names::without_parameters(node));
        input = reader.draft.push_like(New::plain(name, op, input), size)?;
        padding = [0; 2];
    }
    let written = if stride == kernel { Vec::new() } else { stride.to_vec() };
    let (kernel, padding) = (kernel.to_vec(), padding.to_vec());
    let op = if average {
        let count_padding = count_padding && padding != [0, 0];
        Op::AveragePool { kernel, stride: written, padding, count_padding }
    } else {
        Op::MaxPool { kernel, stride: written, padding }
    };
    let (_, rows, columns) = reader.draft.layers[input].shape;
    let window = op.window().ok_or("a padding of more than half of the kernel")?;
    let size = window.output_size((rows, columns))?;
    if node.int("ceil_mode", 0) != 0 {
        let left = |d: usize, n: usize| (n + 2 * window.padding[d] - window.kernel[d]) % window.stride[d];
        if left(0, rows) != 0 || left(1, columns) != 0 {
            return Err(format!("ceil_mode with {rows}x{columns} pixels, which are not whole windows"));
        }
        reader.note("poolings with ceil_mode round down: the same for images whose sides are whole multiples");
    }
    let new = New::plain(names::without_parameters(node), op, input);
    Ok(Value::Tensor(reader.draft.push_like(new, size)?))
}

/// GlobalAveragePool, or ReduceMean over rows and columns.
pub fn global_mean(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let input = layer(inputs, 0)?;
    let mut keep = true;
    if node.op_type() == "ReduceMean" {
        let given = inputs.get(1).and_then(Option::as_ref).and_then(Value::constant);
        let axes = node.axes(given).iter().map(|&a| axis_of(a, 4)).collect::<Result<Vec<_>, _>>()?;
        if !(axes == [2, 3] || axes == [3, 2]) {
            return Err(format!("a mean over the axes {axes:?}; only over rows and columns is read"));
        }
        keep = node.int("keepdims", 1) != 0;
    }
    let new = New::plain(names::without_parameters(node), Op::GlobalAveragePool, input);
    let made = reader.draft.push_like(new, (1, 1))?;
    Ok(if keep { Value::Tensor(made) } else { Value::Vector(made) })
}

pub fn resize(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let input = layer(inputs, 0)?;
    let factor = factors(reader, node, inputs, input)?;
    if factor == [1, 1] {
        return Ok(Value::Tensor(input));
    }
    if reader.draft.layers[input].global {
        let reason = "it spreads one pixel over the whole image, so that its factor depends on the image's size";
        return Err(reason.into());
    }
    let interpolation = interpolation(node, factor)?;
    let (_, rows, columns) = reader.draft.layers[input].shape;
    let op = Op::Upsample { factor: factor.to_vec(), interpolation };
    let size = (rows.saturating_mul(factor[0]), columns.saturating_mul(factor[1]));
    Ok(Value::Tensor(reader.draft.push_like(New::plain(names::without_parameters(node), op, input), size)?))
}

/// Whole factors of rows and columns, from `scales` or `sizes`.
fn factors(reader: &Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>], input: usize) -> Result<[usize; 2], String> {
    let given = |i: usize| match inputs.get(i).and_then(Option::as_ref) {
        Some(Value::Constant(c)) if c.len() > 0 => Ok(Some(&**c)),
        None | Some(Value::Constant(_)) => Ok(None),
        Some(_) => Err("its size is not constant".to_string()),
    };
    let (_, rows, columns) = reader.draft.layers[input].shape;
    let old = node.op_type() == "Upsample" || node.opset < 11;
    let scales = given(if old { 1 } else { 2 })?.map(Constant::to_floats);
    let scales = scales.or_else(|| node.floats("scales").map(<[f32]>::to_vec));
    let sizes = if old { None } else { given(3)?.map(Constant::to_ints) };
    let wanted: Vec<f64> = match (scales, sizes) {
        (Some(list), _) => list.iter().map(|&s| f64::from(s)).collect(),
        (None, Some(list)) => {
            if node.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
                return Err("keep_aspect_ratio_policy is not read".into());
            }
            let (channels, ..) = reader.draft.layers[input].shape;
            let from: &[usize] = match list.len() {
                4 => &[reader.batch, channels, rows, columns],
                2 => &[rows, columns],
                _ => return Err(format!("sizes {list:?}")),
            };
            list.iter().zip(from).map(|(&to, &from)| to as f64 / from as f64).collect()
        }
        (None, None) => return Err("it has neither scales nor sizes".into()),
    };
    let spatial = match wanted[..] {
        [n, c, y, x] if n == 1.0 && c == 1.0 => [y, x],
        [y, x] if node.ints("axes").is_some_and(|a| matches!(a, [2, 3] | [-2, -1])) => [y, x],
        _ => return Err(format!("factors {wanted:?}; only rows and columns can be enlarged")),
    };
    let whole = |f: f64| (f.fract() == 0.0 && (1.0..=256.0).contains(&f)).then_some(f as usize);
    match spatial.map(whole) {
        [Some(y), Some(x)] => Ok([y, x]),
        _ => Err(format!(
            "factors {} and {} of {rows}x{columns} pixels; only whole factors from 1 to 256 are read",
            spatial[0], spatial[1]
        )),
    }
}

/// How ONNX's coordinate transformations are called here, where whole factors allow it.
fn interpolation(node: &Node<'_>, factor: [usize; 2]) -> Result<Interpolation, String> {
    let old = node.op_type() == "Upsample" || node.opset < 11;
    let transformation = if old { "asymmetric" } else { node.text("coordinate_transformation_mode", "half_pixel") };
    let rounding = if old { "floor" } else { node.text("nearest_mode", "round_prefer_floor") };
    let mode = node.text("mode", "nearest");
    if node.int("exclude_outside", 0) != 0 && mode != "nearest" {
        return Err("exclude_outside is not read".into());
    }
    match (mode, transformation, rounding) {
        ("nearest", "asymmetric", "floor") => Ok(Interpolation::Nearest),
        // The nearest centre is that of the pixel that covers the new one.
        ("nearest", "half_pixel" | "half_pixel_symmetric", "round_prefer_floor" | "round_prefer_ceil") => {
            Ok(Interpolation::Nearest)
        }
        ("nearest", "asymmetric", "round_prefer_floor") if factor.iter().all(|&f| f <= 2) => Ok(Interpolation::Nearest),
        ("linear", "half_pixel" | "pytorch_half_pixel" | "half_pixel_symmetric", _) => Ok(Interpolation::Bilinear),
        ("linear", "align_corners", _) => Ok(Interpolation::BilinearCorners),
        _ => Err(format!("mode {mode} with {transformation} and {rounding} is not read")),
    }
}

pub fn pad(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let input = layer(inputs, 0)?;
    let constant = |i: usize| inputs.get(i).and_then(Option::as_ref).and_then(Value::constant);
    let pads = match constant(1) {
        Some(c) => c.to_ints(),
        None => node.ints("pads").ok_or("its pads are not constant")?.to_vec(),
    };
    let axes = match constant(3) {
        Some(c) => c.to_ints(),
        None => (0..pads.len() as i64 / 2).collect(),
    };
    if pads.len() != 2 * axes.len() || (constant(3).is_none() && axes.len() != 4) {
        return Err(format!("{} pads", pads.len()));
    }
    let (mut before, mut after) = ([0; 4], [0; 4]);
    for (i, &axis) in axes.iter().enumerate() {
        let axis = axis_of(axis, 4)?;
        before[axis] = small("pads", pads[i]).map_err(|e| format!("{e}; cropping is not read"))?;
        after[axis] = small("pads", pads[axes.len() + i]).map_err(|e| format!("{e}; cropping is not read"))?;
    }
    if [before[0], before[1], after[0], after[1]] != [0; 4] {
        return Err("padding of channels is not read".into());
    }
    if before == [0; 4] && after == [0; 4] {
        return Ok(Value::Tensor(input));
    }
    let filled = constant(2).and_then(|c| c.to_floats().first().copied()).unwrap_or_else(|| node.float("value", 0.0));
    let mode = match node.text("mode", "constant") {
        "constant" if filled == 0.0 => PadMode::Zero,
        "constant" => return Err(format!("padding with {filled}; only zeros are read")),
        "edge" => PadMode::Replicate,
        "reflect" => PadMode::Reflect,
        other => return Err(format!("mode {other} is not read")),
    };
    let (_, rows, columns) = reader.draft.layers[input].shape;
    let most = before[2].max(after[2]) < rows && before[3].max(after[3]) < columns;
    if mode == PadMode::Reflect && !most {
        return Err(format!("{rows}x{columns} pixels are too few to be mirrored that far"));
    }
    let op = Op::Pad { before: before[2..].to_vec(), after: after[2..].to_vec(), mode };
    let size = (rows + before[2] + after[2], columns + before[3] + after[3]);
    Ok(Value::Tensor(reader.draft.push_like(New::plain(names::without_parameters(node), op, input), size)?))
}

/// A cut that leaves everything; no other is read.
pub fn slice(reader: &mut Reader<'_>, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Value, String> {
    let input = layer(inputs, 0)?;
    let constant = |i: usize| inputs.get(i).and_then(Option::as_ref).and_then(Value::constant);
    let range = SliceRange::read(node, &[constant(1), constant(2), constant(3), constant(4)])?;
    let dims = reader.dims(value(inputs, 0)?);
    for (axis, kept) in range.positions(&dims)? {
        if !kept.iter().copied().eq(0..dims[axis]) {
            let what = ["images", "channels", "rows", "columns"][axis.min(3)];
            return Err(format!("it cuts {} of {} {what} out; segfit has no layer for that", kept.len(), dims[axis]));
        }
    }
    Ok(Value::Tensor(input))
}
