//! [`NetworkSpec`]: a network as a list of layers whose channels are named groups.

use serde::{Deserialize, Serialize};

use super::geometry::{self, Geometry};
use super::shape::Shapes;
use crate::error::{Error, Result};

/// `format` of network files.
pub const NETWORK_FORMAT: &str = "segfit-network/1";

/// A network: layers in execution order, each naming its inputs and, where it makes new channels, their group.
///
/// A *group* is a set of channels that must be equal in number wherever it appears, so that narrowing only changes
/// the numbers of groups and can never break a skip connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// [`NETWORK_FORMAT`].
    pub format: String,
    /// Name of the family, for example `unet`.
    pub family: String,
    /// Channels at full resolution of the family's full-size form, for naming only.
    pub base_width: usize,
    /// Number of resolution levels below the first.
    pub depth: usize,
    /// Spatial dimensions; 2 is what is executed.
    pub rank: usize,
    /// Classes including background; the head has one channel for each.
    pub classes: usize,
    /// All channel groups.
    pub groups: Vec<Group>,
    /// Layers in execution order.
    pub layers: Vec<Layer>,
    /// Name of the layer whose tensor holds the logits.
    pub output: String,
}

/// A set of channels with one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Unique name, for example `enc1`.
    pub name: String,
    /// Channels, at least 1.
    pub channels: usize,
    /// Who decides the number.
    pub kind: GroupKind,
    /// The number must be a multiple of this.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub divisible_by: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(n: &usize) -> bool {
    *n == 1
}

fn ones() -> Vec<usize> {
    vec![1; 2]
}

fn are_ones(list: &[usize]) -> bool {
    list.iter().all(|&n| n == 1)
}

fn zeros() -> Vec<usize> {
    vec![0; 2]
}

fn are_zeros(list: &[usize]) -> bool {
    list.iter().all(|&n| n == 0)
}

/// Who decides a group's number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// Given by the task: image channels, classes.
    Fixed,
    /// Free to be narrowed.
    Free,
}

/// One layer; its output tensor has the layer's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Unique name, for example `enc0.conv1`; parameters are named after it.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub op: Op,
    /// Names of earlier layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
}

/// What a layer does. Spatial fields have one entry per spatial dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// The image.
    Input {
        /// Group of its channels.
        group: String,
    },
    /// Convolution (PyTorch's `Conv2d`).
    Conv2d {
        /// Group of the output channels.
        group: String,
        /// Kernel size.
        kernel: Vec<usize>,
        /// Step of the kernel; ones when absent.
        #[serde(default = "ones", skip_serializing_if = "are_ones")]
        stride: Vec<usize>,
        /// Zeros added on each side.
        padding: Vec<usize>,
        /// Distance of neighbouring kernel positions; ones when absent.
        #[serde(default = "ones", skip_serializing_if = "are_ones")]
        dilation: Vec<usize>,
        /// Parts into which input and output channels are divided, each part seeing its own only; one when absent.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        groups: usize,
        /// Whether there is a bias per output channel.
        bias: bool,
    },
    /// Convolution of every channel with a kernel of its own; the output has the input's channels.
    DepthwiseConv2d {
        /// Kernel size.
        kernel: Vec<usize>,
        /// Step of the kernel; ones when absent.
        #[serde(default = "ones", skip_serializing_if = "are_ones")]
        stride: Vec<usize>,
        /// Zeros added on each side.
        padding: Vec<usize>,
        /// Distance of neighbouring kernel positions; ones when absent.
        #[serde(default = "ones", skip_serializing_if = "are_ones")]
        dilation: Vec<usize>,
        /// Whether there is a bias per channel.
        bias: bool,
    },
    /// Transposed convolution (PyTorch's `ConvTranspose2d`).
    ConvTranspose2d {
        /// Group of the output channels.
        group: String,
        /// Kernel size.
        kernel: Vec<usize>,
        /// Step of the output; empty (absent in files): the kernel size.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stride: Vec<usize>,
        /// Pixels cut off on each side; zeros when absent.
        #[serde(default = "zeros", skip_serializing_if = "are_zeros")]
        padding: Vec<usize>,
        /// Pixels added at the end, fewer than the stride; zeros when absent.
        #[serde(default = "zeros", skip_serializing_if = "are_zeros")]
        output_padding: Vec<usize>,
        /// Whether there is a bias per output channel.
        bias: bool,
    },
    /// Batch normalisation with scale and shift (Ioffe and Szegedy 2015).
    BatchNorm {
        /// Added to the variance.
        eps: f32,
        /// Weight of the newest batch in the running statistics.
        momentum: f32,
    },
    /// max(x, 0).
    Relu,
    /// Maximum over windows of `kernel`, stride = kernel, sizes rounded down.
    MaxPool {
        /// Window and stride.
        kernel: Vec<usize>,
    },
    /// Channels of all inputs, one after the other.
    Concat,
}

impl Op {
    /// Where the kernel of a convolution (ordinary, depthwise or transposed) lies; `None` for other layers, and where a
    /// list does not hold two numbers, a kernel, stride or dilation is 0, or an output padding reaches the stride.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        geometry::of(self)
    }

    /// Whether it is a convolution: ordinary, depthwise or transposed.
    #[must_use]
    pub fn is_convolution(&self) -> bool {
        matches!(self, Self::Conv2d { .. } | Self::DepthwiseConv2d { .. } | Self::ConvTranspose2d { .. })
    }
}

impl NetworkSpec {
    /// Index of the layer called `name`.
    #[must_use]
    pub fn layer_index(&self, name: &str) -> Option<usize> {
        self.layers.iter().position(|l| l.name == name)
    }

    /// The group called `name`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }

    /// Channels of the image.
    #[must_use]
    pub fn in_channels(&self) -> usize {
        self.layers
            .iter()
            .find_map(|l| if let Op::Input { group } = &l.op { self.group(group) } else { None })
            .map_or(0, |g| g.channels)
    }

    /// Height and width of the input must be multiples of this (2 to the number of poolings in U-Net); strided
    /// convolutions count like poolings, the larger of two strides for both.
    #[must_use]
    pub fn input_multiple(&self) -> usize {
        let mut factor = vec![1_usize; self.layers.len()];
        for (i, layer) in self.layers.iter().enumerate() {
            let input = layer.inputs.first().and_then(|n| self.layer_index(n)).map_or(1, |j| factor[j]);
            factor[i] = match &layer.op {
                Op::MaxPool { kernel } => input * kernel[0],
                op => match op.geometry() {
                    Some(g) if g.transposed => (input / g.stride[0].max(g.stride[1])).max(1),
                    Some(g) => input * g.stride[0].max(g.stride[1]),
                    None => input,
                },
            };
        }
        factor.into_iter().max().unwrap_or(1)
    }

    /// The shapes for the smallest square image that the network accepts: the smallest of [`Self::input_multiple`] times
    /// 1, 2, 4, ..., 256 that every kernel fits into.
    ///
    /// # Errors
    /// [`Error::Network`] with the first layer whose inputs do not fit at any of these sizes.
    pub fn smallest_shapes(&self) -> Result<Shapes> {
        let multiple = self.input_multiple();
        let infer = |doublings: u32| Shapes::infer(self, multiple << doublings, multiple << doublings);
        (0..8).find_map(|doublings| infer(doublings).ok()).map_or_else(|| infer(8), Ok)
    }

    /// Checks names, references, groups and, by inferring all shapes at the smallest input, that everything fits.
    ///
    /// # Errors
    /// [`Error::Network`] with the first layer that does not fit.
    pub fn validate(&self) -> Result<()> {
        let fail = |layer: &str, reason: String| Err(Error::Network { layer: layer.into(), reason });
        if self.rank != 2 {
            return fail(&self.output, format!("rank {} cannot be executed, only rank 2", self.rank));
        }
        for (i, group) in self.groups.iter().enumerate() {
            if self.groups[..i].iter().any(|g| g.name == group.name) {
                return fail(&group.name, "two groups have this name".into());
            }
            if group.channels == 0 || group.divisible_by == 0 || !group.channels.is_multiple_of(group.divisible_by) {
                let reason = format!("{} channels, must be a multiple of {}", group.channels, group.divisible_by);
                return fail(&group.name, reason);
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            if self.layers[..i].iter().any(|l| l.name == layer.name) {
                return fail(&layer.name, "two layers have this name".into());
            }
            for input in &layer.inputs {
                if !self.layers[..i].iter().any(|l| l.name == *input) {
                    return fail(&layer.name, format!("its input {input} is not an earlier layer"));
                }
            }
        }
        let shapes = self.smallest_shapes()?;
        match self.layer_index(&self.output) {
            None => fail(&self.output, "the output names no layer".into()),
            Some(i) if shapes.tensors[i].channels != self.classes => {
                fail(&self.output, format!("{} channels for {} classes", shapes.tensors[i].channels, self.classes))
            }
            Some(_) => Ok(()),
        }
    }
}
