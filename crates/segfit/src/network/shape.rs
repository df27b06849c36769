//! Shape inference: the channel segments and the spatial size of every tensor.

use super::spec::{Layer, NetworkSpec, Op};
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
        Op::Concat => 1..=usize::MAX,
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
        Op::DepthwiseConv2d { .. } => {
            let (height, width) = output_size(layer, inputs[0])?;
            Ok(TensorShape { height, width, ..inputs[0].clone() })
        }
        Op::ConvTranspose2d { group, .. } => {
            let (height, width) = output_size(layer, inputs[0])?;
            fresh(spec, group, height, width)
        }
        Op::BatchNorm { .. } | Op::Relu => Ok(inputs[0].clone()),
        Op::MaxPool { kernel } => {
            let kernel = pair(kernel)?;
            let (height, width) = (inputs[0].height / kernel.0, inputs[0].width / kernel.1);
            if height == 0 || width == 0 {
                return Err("nothing is left after pooling".into());
            }
            Ok(TensorShape { height, width, ..inputs[0].clone() })
        }
        Op::Concat => {
            let first = inputs[0];
            if let Some(other) = inputs.iter().find(|s| (s.height, s.width) != (first.height, first.width)) {
                let reason =
                    format!("inputs of {}x{} and {}x{} pixels", first.height, first.width, other.height, other.width);
                return Err(reason);
            }
            Ok(TensorShape {
                segments: inputs.iter().flat_map(|s| s.segments.iter().cloned()).collect(),
                channels: inputs.iter().map(|s| s.channels).sum(),
                ..first.clone()
            })
        }
    }
}

fn fresh(spec: &NetworkSpec, group: &str, height: usize, width: usize) -> Inferred {
    let index = spec.groups.iter().position(|g| g.name == group).ok_or_else(|| format!("no group {group}"))?;
    let channels = spec.groups[index].channels;
    Ok(TensorShape { segments: vec![Segment { group: index, multiple: 1 }], channels, height, width })
}

/// Height and width of a convolution's output.
fn output_size(layer: &Layer, input: &TensorShape) -> std::result::Result<(usize, usize), String> {
    let geometry = layer.op.geometry().ok_or(
        "every spatial list needs two numbers, kernel, stride and dilation at least 1, output_padding less than the stride",
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
