//! [`LayerCost`]: what every layer of a network does and costs.

use serde::{Deserialize, Serialize};

use super::layer_macs;
use crate::error::Result;
use crate::network::{Interpolation, NetworkSpec, Op, Segment, Shapes};

/// One layer of a network at an input size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCost {
    /// Its name.
    pub name: String,
    /// What it does, in a few words.
    pub op: String,
    /// Channels of its result.
    pub channels: usize,
    /// Rows of its result.
    pub height: usize,
    /// Columns of its result.
    pub width: usize,
    /// Trained values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Bytes of its result for one image as 32-bit floats.
    pub activation_bytes: u64,
    /// Channel groups of its result.
    pub groups: Vec<String>,
    /// Whether only training uses it.
    pub training_only: bool,
}

/// Every layer of `spec` for one image of `size` x `size` pixels, in the order of execution.
///
/// # Errors
/// When the network does not fit together at this size.
pub fn layer_costs(spec: &NetworkSpec, size: usize) -> Result<Vec<LayerCost>> {
    let shapes = Shapes::infer(spec, size, size)?;
    let macs = layer_macs(spec, size)?;
    let parameters = spec.parameters()?;
    let deployed = spec.without_auxiliary();
    let of_layer = |i: usize| {
        let trained = parameters.iter().filter(|p| p.layer == i && p.kind.is_trained());
        LayerCost {
            name: spec.layers[i].name.clone(),
            op: in_words(&spec.layers[i].op),
            channels: shapes.tensors[i].channels,
            height: shapes.tensors[i].height,
            width: shapes.tensors[i].width,
            params: trained.map(|p| p.len() as u64).sum(),
            macs: macs[i],
            activation_bytes: 4 * (shapes.tensors[i].channels * shapes.tensors[i].pixels()) as u64,
            groups: shapes.tensors[i].segments.iter().map(|s| segment(spec, s)).collect(),
            training_only: deployed.layer_index(&spec.layers[i].name).is_none(),
        }
    };
    Ok((0..spec.layers.len()).map(of_layer).collect())
}

/// `enc0`, or `4 down0` where a group stands four times in a row.
fn segment(spec: &NetworkSpec, segment: &Segment) -> String {
    let name = &spec.groups[segment.group].name;
    if segment.multiple == 1 { name.clone() } else { format!("{} {name}", segment.multiple) }
}

/// What a layer does, in a few words.
fn in_words(op: &Op) -> String {
    let by = |kernel: &[usize]| kernel.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
    match op {
        Op::Input { .. } => "input".into(),
        Op::Conv2d { kernel, groups, .. } => {
            let parts = if *groups == 1 { String::new() } else { format!(" in {groups} groups") };
            format!("convolution {}{}{parts}", by(kernel), extras(op))
        }
        Op::DepthwiseConv2d { kernel, .. } => format!("depthwise convolution {}{}", by(kernel), extras(op)),
        Op::ConvTranspose2d { kernel, .. } => format!("transposed convolution {}{}", by(kernel), extras(op)),
        Op::BatchNorm { .. } => "batch norm".into(),
        Op::InstanceNorm { .. } => "instance norm".into(),
        Op::GroupNorm { groups, .. } => format!("group norm in {groups} groups"),
        Op::Relu => "ReLU".into(),
        Op::LeakyRelu { slope } => format!("leaky ReLU {slope}"),
        Op::Prelu { .. } => "PReLU".into(),
        Op::Elu => "ELU".into(),
        Op::Sigmoid => "sigmoid".into(),
        Op::Tanh => "tanh".into(),
        Op::Silu => "SiLU".into(),
        Op::HardSigmoid => "hard sigmoid".into(),
        Op::HardSwish => "hard swish".into(),
        Op::Clamp { low, high } => format!("clamp to {low} .. {high}"),
        Op::MaxPool { kernel, .. } => format!("max-pooling {}", by(kernel)),
        Op::AveragePool { kernel, .. } => format!("average pooling {}", by(kernel)),
        Op::GlobalAveragePool => "mean over all pixels".into(),
        Op::Upsample { factor, interpolation } => match interpolation {
            Interpolation::Nearest => format!("nearest-neighbour upsampling {}", by(factor)),
            _ => format!("bilinear upsampling {}", by(factor)),
        },
        Op::Pad { .. } => "padding".into(),
        Op::Dropout { p } => format!("dropout {p}"),
        Op::Concat => "concatenation".into(),
        Op::Add => "sum".into(),
        Op::Mul => "product".into(),
    }
}

/// What a convolution has beyond the usual: stride (other than the kernel, if transposed), dilation.
fn extras(op: &Op) -> String {
    let Some(g) = op.geometry() else { return String::new() };
    let by = |n: [usize; 2]| if n[0] == n[1] { n[0].to_string() } else { format!("{}x{}", n[0], n[1]) };
    let mut text = String::new();
    if g.stride != (if g.transposed { g.kernel } else { [1, 1] }) {
        text += &format!(" stride {}", by(g.stride));
    }
    if g.dilation != [1, 1] {
        text += &format!(" dilation {}", by(g.dilation));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::network::families::{self, unet};

    #[test]
    fn the_layers_add_up_to_the_network() {
        let spec = unet(&families::Options { base_width: 4, depth: 2, ..families::Options::default() }).unwrap();
        let layers = layer_costs(&spec, 64).unwrap();
        let cost = Cost::of(&spec, 64).unwrap();
        assert_eq!(layers.iter().map(|l| l.params).sum::<u64>(), cost.params);
        assert_eq!(layers.iter().map(|l| l.macs).sum::<u64>(), cost.macs);
        assert!(layers.iter().any(|l| l.op == "max-pooling 2x2"));
        assert!(layers.iter().all(|l| !l.training_only && !l.op.is_empty()));
    }
}
