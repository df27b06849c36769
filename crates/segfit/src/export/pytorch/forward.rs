//! `Network.forward`: one line for a convolution with what stands around it, variables named after the blocks.

use super::modules::{access, is_identifier};
use super::{number, pair, wrapped};
use crate::error::{Error, Result};
use crate::network::{Interpolation, NetworkSpec, Op, PadMode, Shapes, TensorShape};

/// Columns of a line.
const WIDTH: usize = 118;

/// Names that a variable must not have.
const TAKEN: [&str; 6] = ["F", "image", "nn", "self", "torch", "x"];

/// The lines of `forward`.
///
/// # Errors
/// [`Error::Network`] with a layer that cannot be written.
pub fn body(spec: &NetworkSpec, shapes: &Shapes) -> Result<String> {
    let uses = uses(spec, shapes);
    let joined = joined(spec, shapes, &uses);
    let roots: Vec<usize> = (0..spec.layers.len()).filter(|&i| joined[i].is_none() && !is_input(spec, i)).collect();
    let names = variables(spec, &uses, &joined, &roots);
    let image = &shapes.tensors[(0..spec.layers.len()).find(|&i| is_input(spec, i)).unwrap_or(0)];
    let mut lines = Vec::new();
    let mut block = "";
    let mut values: Vec<String> = Vec::new();
    for (i, layer) in spec.layers.iter().enumerate() {
        let inputs: Vec<String> = shapes.inputs[i].iter().map(|&j| values[j].clone()).collect();
        let value = if is_input(spec, i) { "image".into() } else { expression(spec, i, &inputs)? };
        values.push(value);
        if is_input(spec, i) || joined[i].is_some() {
            continue;
        }
        let of = layer.name.split('.').next().unwrap_or_default();
        if of != block {
            lines.push(format!("        # {}: {}", comment(of), size(&shapes.tensors[i], image)));
            block = of;
        }
        if layer.name == spec.output {
            lines.push(line("return", &values[i]));
            return Ok(lines.join("\n"));
        }
        lines.push(line(&format!("{} =", names[i]), &values[i]));
        values[i].clone_from(&names[i]);
    }
    let output = spec.layer_index(&spec.output).map_or("image", |i| values[i].as_str());
    lines.push(format!("        return {output}"));
    Ok(lines.join("\n"))
}

/// A line; a long list of tensors to join is broken.
fn line(begin: &str, value: &str) -> String {
    let whole = format!("        {begin} {value}");
    let list = value.strip_prefix("torch.cat([").and_then(|v| v.strip_suffix("], 1)"));
    match list.filter(|_| whole.len() > WIDTH) {
        None => whole,
        Some(list) => {
            let list = wrapped(list, WIDTH - 12).replace('\n', "\n            ");
            format!("        {begin} torch.cat([\n            {list},\n        ], 1)")
        }
    }
}

fn comment(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `32 channels, 1/2 of the rows and columns`.
fn size(shape: &TensorShape, image: &TensorShape) -> String {
    let channels = if shape.channels == 1 { "1 channel".into() } else { format!("{} channels", shape.channels) };
    let part = |n: usize, of: usize| (of.is_multiple_of(n.max(1))).then(|| of / n.max(1));
    match (part(shape.height, image.height), part(shape.width, image.width)) {
        (Some(1), Some(1)) => channels,
        _ if (shape.height, shape.width) == (1, 1) && image.height > 1 => channels,
        (Some(a), Some(b)) if a == b => format!("{channels}, 1/{a} of the rows and columns"),
        _ => channels,
    }
}

fn is_input(spec: &NetworkSpec, i: usize) -> bool {
    matches!(spec.layers[i].op, Op::Input { .. })
}

/// The layers that read each layer, one entry for each time.
fn uses(spec: &NetworkSpec, shapes: &Shapes) -> Vec<Vec<usize>> {
    let mut uses = vec![Vec::new(); spec.layers.len()];
    for (i, inputs) in shapes.inputs.iter().enumerate() {
        inputs.iter().for_each(|&j| uses[j].push(i));
    }
    uses
}

/// Layers that are written inside of the expression of the layer that alone reads them: norms and activations around
/// one other layer.
fn joined(spec: &NetworkSpec, shapes: &Shapes, uses: &[Vec<usize>]) -> Vec<Option<usize>> {
    let light = |i: usize| {
        let op = &spec.layers[i].op;
        let norm = matches!(op, Op::BatchNorm { .. } | Op::InstanceNorm { .. } | Op::GroupNorm { .. });
        norm || op.is_activation() || matches!(op, Op::Prelu { .. } | Op::Dropout { .. })
    };
    let mut joined = vec![None; spec.layers.len()];
    // Per layer: other layers than light ones in its expression, and about how long it is.
    let mut heavy: Vec<usize> = (0..spec.layers.len()).map(|i| usize::from(!light(i))).collect();
    let mut length: Vec<usize> = spec.layers.iter().map(|l| access(&l.name).len() + 12).collect();
    for i in 0..spec.layers.len() {
        let [reader] = uses[i][..] else { continue };
        let unary = shapes.inputs[reader].len() == 1 && !matches!(spec.layers[reader].op, Op::Concat | Op::Add);
        let fits = heavy[i] + heavy[reader] <= 1 && length[i] + length[reader] + 30 <= WIDTH;
        if unary && fits && !is_input(spec, i) && spec.layers[i].name != spec.output {
            joined[i] = Some(reader);
            heavy[reader] += heavy[i];
            length[reader] += length[i];
        }
    }
    joined
}

/// A variable for every root: `x` where only the next line reads it, else its block's name or its own.
fn variables(spec: &NetworkSpec, uses: &[Vec<usize>], joined: &[Option<usize>], roots: &[usize]) -> Vec<String> {
    let root = |mut i: usize| {
        while let Some(reader) = joined[i] {
            i = reader;
        }
        i
    };
    let mut names = vec![String::new(); spec.layers.len()];
    let mut long = Vec::new();
    for (place, &i) in roots.iter().enumerate() {
        let next = roots.get(place + 1);
        if !uses[i].is_empty() && uses[i].iter().all(|&reader| Some(&root(reader)) == next) {
            names[i] = "x".into();
        } else {
            long.push(i);
        }
    }
    let block =
        |i: usize| spec.layers[i].name.rsplit_once('.').map_or(spec.layers[i].name.as_str(), |(block, _)| block);
    let mut taken: Vec<String> = TAKEN.iter().map(|t| (*t).into()).collect();
    for &i in &long {
        let alone = long.iter().filter(|&&j| block(j) == block(i)).count() == 1;
        let mut name = variable(if alone { block(i) } else { &spec.layers[i].name });
        while taken.contains(&name) {
            name.push('_');
        }
        taken.push(name.clone());
        names[i] = name;
    }
    names
}

/// A name that Python takes.
fn variable(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if is_identifier(&plain) { plain } else { format!("t_{plain}") }
}

/// What layer `i` computes of these inputs.
fn expression(spec: &NetworkSpec, i: usize, inputs: &[String]) -> Result<String> {
    let layer = &spec.layers[i];
    let x = inputs.first().map_or("", String::as_str);
    let window = || layer.op.window().ok_or_else(|| fail(&layer.name));
    Ok(match &layer.op {
        Op::Relu => format!("F.relu({x})"),
        Op::LeakyRelu { slope } => format!("F.leaky_relu({x}, {})", number(*slope)),
        Op::Elu => format!("F.elu({x})"),
        Op::Sigmoid => format!("torch.sigmoid({x})"),
        Op::Tanh => format!("torch.tanh({x})"),
        Op::Silu => format!("F.silu({x})"),
        Op::HardSigmoid => format!("F.hardsigmoid({x})"),
        Op::HardSwish => format!("F.hardswish({x})"),
        Op::Clamp { low, high } => format!("torch.clamp({x}, {}, {})", number(*low), number(*high)),
        Op::MaxPool { .. } => format!("F.max_pool2d({x}, {})", window_arguments(window()?)),
        Op::AveragePool { count_padding, .. } => {
            let window = window()?;
            let counted = match *count_padding || window.padding == [0, 0] {
                true => "",
                false => ", count_include_pad=False",
            };
            format!("F.avg_pool2d({x}, {}{counted})", window_arguments(window))
        }
        Op::GlobalAveragePool => format!("F.adaptive_avg_pool2d({x}, 1)"),
        Op::Upsample { factor, interpolation } => {
            let factor = pair(spatial(factor).ok_or_else(|| fail(&layer.name))?);
            let how = match interpolation {
                Interpolation::Nearest => "\"nearest\"",
                Interpolation::Bilinear => "\"bilinear\", align_corners=False",
                Interpolation::BilinearCorners => "\"bilinear\", align_corners=True",
            };
            format!("F.interpolate({x}, scale_factor={factor}, mode={how})")
        }
        Op::Pad { before, after, mode } => {
            let [top, left] = spatial(before).ok_or_else(|| fail(&layer.name))?;
            let [bottom, right] = spatial(after).ok_or_else(|| fail(&layer.name))?;
            let mode = match mode {
                PadMode::Zero => "constant",
                PadMode::Replicate => "replicate",
                PadMode::Reflect => "reflect",
            };
            format!("F.pad({x}, ({left}, {right}, {top}, {bottom}), mode=\"{mode}\")")
        }
        Op::Dropout { p } => format!("F.dropout({x}, {}, self.training)", number(*p)),
        Op::Concat if inputs.len() > 1 => format!("torch.cat([{}], 1)", inputs.join(", ")),
        Op::Add if inputs.len() > 1 => inputs.join(" + "),
        Op::Concat | Op::Add => x.into(),
        Op::Mul => inputs.join(" * "),
        Op::Conv2d { .. }
        | Op::DepthwiseConv2d { .. }
        | Op::ConvTranspose2d { .. }
        | Op::BatchNorm { .. }
        | Op::InstanceNorm { .. }
        | Op::GroupNorm { .. }
        | Op::Prelu { .. } => format!("{}({x})", access(&layer.name)),
        Op::Input { .. } => "image".into(),
    })
}

fn fail(layer: &str) -> Error {
    Error::Network { layer: layer.into(), reason: "its spatial lists are not two numbers each".into() }
}

fn spatial(list: &[usize]) -> Option<[usize; 2]> {
    list.try_into().ok()
}

/// Window, and step and padding where they are not PyTorch's default.
fn window_arguments(window: crate::network::Window) -> String {
    let mut text = pair(window.kernel);
    if window.stride != window.kernel {
        text += &format!(", {}", pair(window.stride));
    }
    if window.padding != [0, 0] {
        text += &format!(", padding={}", pair(window.padding));
    }
    text
}
