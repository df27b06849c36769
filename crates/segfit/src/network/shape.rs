//! Shape inference: the channel segments and the spatial size of every tensor.

use std::fmt;

use super::limits::check_tensor;
use super::spec::{GroupKind, Layer, NetworkSpec, Op, PadMode};
use crate::error::{Error, Result};

/// A run of channels that belong to one group, `multiple` times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`NetworkSpec::groups`].
    pub group: usize,
    /// How often the group's channels stand in a row.
    pub multiple: usize,
}

/// Shape of one tensor (without the batch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorShape {
    /// What the channels are, in order.
    pub segments: Vec<Segment>,
    /// Their number.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl fmt::Display for TensorShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {} (channels, rows, columns)", self.channels, self.height, self.width)
    }
}

impl TensorShape {
    /// Rows times columns.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}

/// The shapes of all tensors for one input size.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// One per layer, in the order of [`NetworkSpec::layers`].
    pub tensors: Vec<TensorShape>,
    /// Indices of each layer's inputs.
    pub inputs: Vec<Vec<usize>>,
}

impl Shapes {
    /// Infers all shapes for an image of `height` x `width` pixels.
    ///
    /// # Errors
    /// [`Error::Network`] naming the first layer whose inputs do not fit.
    pub fn infer(spec: &NetworkSpec, height: usize, width: usize) -> Result<Self> {
        let mut shapes = Self { tensors: Vec::new(), inputs: Vec::new() };
        for layer in &spec.layers {
            let fail = |reason: String| Error::Network { layer: layer.name.clone(), reason };
            let inputs = layer
                .inputs
                .iter()
                .map(|n| spec.layer_index(n).filter(|&i| i < shapes.tensors.len()))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| fail("an input is not an earlier layer".into()))?;
            let given: Vec<&TensorShape> = inputs.iter().map(|&i| &shapes.tensors[i]).collect();
            let shape = infer_one(spec, layer, &given, (height, width)).map_err(fail)?;
            check_tensor(&layer.op, &given, &shape).map_err(fail)?;
            shapes.tensors.push(shape);
            shapes.inputs.push(inputs);
        }
        Ok(shapes)
    }
}

type Inferred = std::result::Result<TensorShape, String>;

fn infer_one(spec: &NetworkSpec, layer: &Layer, inputs: &[&TensorShape], image: (usize, usize)) -> Inferred {
    let arity = match layer.op {
        Op::Input { .. } => 0..=0,
        Op::Concat | Op::Add => 1..=usize::MAX,
        Op::Mul => 2..=2,
        _ => 1..=1,
    };
    if !arity.contains(&inputs.len()) {
        return Err(format!("has {} inputs", inputs.len()));
    }
    match &layer.op {
        Op::Input { group } => fresh(spec, group, image.0, image.1),
        Op::Conv2d { group, groups, .. } => {
            let (height, width) = output_size(layer, inputs[0])?;
            let made = fresh(spec, group, height, width)?;
            divides(*groups, inputs[0].channels, "input")?;
            divides(*groups, made.channels, "output")?;
            Ok(made)
        }
        Op::ConvTranspose2d { group, .. } => {
            let (height, width) = output_size(layer, inputs[0])?;
            fresh(spec, group, height, width)
        }
        Op::DepthwiseConv2d { .. } => {
            let (height, width) = output_size(layer, inputs[0])?;
            Ok(TensorShape { height, width, ..inputs[0].clone() })
        }
        Op::GroupNorm { groups, .. } => {
            divides(*groups, inputs[0].channels, "input")?;
            Ok(inputs[0].clone())
        }
        Op::Dropout { p } if !(0.0..1.0).contains(p) => Err(format!("a probability of {p}, must be 0 to less than 1")),
        Op::Clamp { low, high } if low > high => Err(format!("no value is at least {low} and at most {high}")),
        Op::MaxPool { .. } | Op::AveragePool { .. } => {
            let window = layer.op.window().ok_or(
                "every spatial list needs two numbers, kernel and stride at least 1, padding at most half of the kernel",
            )?;
            let (height, width) = window.output_size((inputs[0].height, inputs[0].width))?;
            Ok(TensorShape { height, width, ..inputs[0].clone() })
        }
        Op::GlobalAveragePool => Ok(TensorShape { height: 1, width: 1, ..inputs[0].clone() }),
        Op::Upsample { factor, .. } => {
            let (rows, columns) = pair(factor)?;
            if rows == 0 || columns == 0 {
                return Err("a factor is 0".into());
            }
            Ok(TensorShape { height: inputs[0].height * rows, width: inputs[0].width * columns, ..inputs[0].clone() })
        }
        Op::Pad { before, after, mode } => padded(inputs[0], pair(before)?, pair(after)?, *mode),
        Op::Concat => {
            same_pixels(inputs)?;
            let segments = merged(inputs.iter().flat_map(|s| s.segments.iter().cloned()));
            Ok(TensorShape { segments, channels: inputs.iter().map(|s| s.channels).sum(), ..inputs[0].clone() })
        }
        Op::Add => {
            same_pixels(inputs)?;
            inputs[1..].iter().try_for_each(|s| same_channels(spec, inputs[0], s))?;
            Ok(inputs[0].clone())
        }
        Op::Mul => {
            let (x, gate) = (inputs[0], inputs[1]);
            if (gate.height, gate.width) != (1, 1) {
                same_pixels(inputs)?;
            }
            if gate.channels != 1 {
                same_channels(spec, x, gate)?;
            }
            Ok(x.clone())
        }
        _ => Ok(inputs[0].clone()),
    }
}

/// Neighbouring segments of one group become one.
fn merged(segments: impl Iterator<Item = Segment>) -> Vec<Segment> {
    let mut list: Vec<Segment> = Vec::new();
    for segment in segments {
        match list.last_mut().filter(|last| last.group == segment.group) {
            Some(last) => last.multiple += segment.multiple,
            None => list.push(segment),
        }
    }
    list
}

fn same_pixels(inputs: &[&TensorShape]) -> std::result::Result<(), String> {
    let first = inputs[0];
    match inputs.iter().find(|s| (s.height, s.width) != (first.height, first.width)) {
        None => Ok(()),
        Some(other) => {
            Err(format!("inputs of {}x{} and {}x{} pixels", first.height, first.width, other.height, other.width))
        }
    }
}

/// Whether two tensors have the same groups, so that they stay equal whatever is narrowed; fixed groups only need to be as
/// many channels.
fn same_channels(spec: &NetworkSpec, a: &TensorShape, b: &TensorShape) -> std::result::Result<(), String> {
    let mut all = a.segments.iter().chain(&b.segments);
    let fixed = all.all(|s| spec.groups[s.group].kind == GroupKind::Fixed);
    if a.segments == b.segments || (fixed && a.channels == b.channels) {
        return Ok(());
    }
    let names = |t: &TensorShape| {
        let list = t.segments.iter().map(|s| match (spec.groups[s.group].name.as_str(), s.multiple) {
            (name, 1) => name.to_string(),
            (name, n) => format!("{n} {name}"),
        });
        format!("{} channels ({})", t.channels, list.collect::<Vec<_>>().join(" + "))
    };
    Err(format!("inputs of {} and of {}: they must be of the same groups", names(a), names(b)))
}

fn padded(input: &TensorShape, before: (usize, usize), after: (usize, usize), mode: PadMode) -> Inferred {
    let most = |n: usize| if mode == PadMode::Reflect { n - 1 } else { usize::MAX };
    let fits = before.0.max(after.0) <= most(input.height) && before.1.max(after.1) <= most(input.width);
    if !fits {
        return Err(format!("{}x{} pixels are too few to be mirrored that far", input.height, input.width));
    }
    let (height, width) = (input.height + before.0 + after.0, input.width + before.1 + after.1);
    Ok(TensorShape { height, width, ..input.clone() })
}

fn fresh(spec: &NetworkSpec, group: &str, height: usize, width: usize) -> Inferred {
    let index = spec.groups.iter().position(|g| g.name == group).ok_or_else(|| format!("no group {group}"))?;
    let channels = spec.groups[index].channels;
    Ok(TensorShape { segments: vec![Segment { group: index, multiple: 1 }], channels, height, width })
}

/// Height and width of a convolution's output.
fn output_size(layer: &Layer, input: &TensorShape) -> std::result::Result<(usize, usize), String> {
    let geometry = layer.op.geometry().ok_or(
        "every spatial list needs two numbers, kernel, stride and dilation at least 1, output_padding less than the \
         stride",
    )?;
    geometry.output_size((input.height, input.width))
}

fn divides(groups: usize, channels: usize, side: &str) -> std::result::Result<(), String> {
    if groups > 0 && channels.is_multiple_of(groups) {
        return Ok(());
    }
    Err(format!("{channels} {side} channels cannot be divided into {groups} groups"))
}

fn pair(list: &[usize]) -> std::result::Result<(usize, usize), String> {
    match list {
        [a, b] => Ok((*a, *b)),
        _ => Err(format!("{} spatial values for two dimensions", list.len())),
    }
}
