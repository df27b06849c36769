//! [`NetworkSpec`]: a network as a list of layers whose channels are named groups.

use serde::{Deserialize, Serialize};

use super::geometry::{self, Geometry, Window};
use super::limits;
use super::shape::{Shapes, TensorShape};
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
    /// Further heads that are trained beside the output (deep supervision) and left out of everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auxiliary: Vec<AuxiliaryHead>,
}

/// A head that only training uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuxiliaryHead {
    /// Name of the layer that holds its logits, as many and as large as those of the output.
    pub layer: String,
    /// Weight of its loss beside the output's, which has 1.
    pub weight: f32,
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
    /// What a derived group's number is the sum of; empty for other groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sum: Vec<Share>,
}

/// A summand of a derived group's number of channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Name of a group that is not derived.
    pub group: String,
    /// How often its channels count.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub multiple: usize,
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
    /// The sum of others ([`Group::sum`]), as in the transitions of dense blocks.
    Derived,
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
    /// Normalisation of every channel of every image over its pixels (Ulyanov et al. 2016).
    InstanceNorm {
        /// Added to the variance.
        eps: f32,
        /// Whether there are a scale and a shift per channel.
        affine: bool,
    },
    /// Normalisation over parts of the channels of every image, with scale and shift per channel (Wu and He 2018).
    GroupNorm {
        /// Parts, each with as many channels.
        groups: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// max(x, 0).
    Relu,
    /// x where positive, otherwise `slope` x.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// Leaky ReLU whose slope is learned (He et al. 2015).
    Prelu {
        /// One slope for all channels; otherwise one for each.
        shared: bool,
    },
    /// x where positive, otherwise exp(x) - 1.
    Elu,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// x / (1 + exp(-x)), also called Swish.
    Silu,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
    /// x times the hard sigmoid of x.
    HardSwish,
    /// min(max(x, low), high); ReLU6 has 0 and 6.
    Clamp {
        /// Smallest value.
        low: f32,
        /// Largest value.
        high: f32,
    },
    /// Maximum over windows; pixels of the padding never are the maximum; sizes rounded down.
    MaxPool {
        /// Window.
        kernel: Vec<usize>,
        /// Step of the window; empty (absent in files): the window.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stride: Vec<usize>,
        /// Pixels added on each side, at most half of the window; zeros when absent.
        #[serde(default = "zeros", skip_serializing_if = "are_zeros")]
        padding: Vec<usize>,
    },
    /// Mean over windows; sizes rounded down.
    AveragePool {
        /// Window.
        kernel: Vec<usize>,
        /// Step of the window; empty (absent in files): the window.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stride: Vec<usize>,
        /// Zeros added on each side, at most half of the window; zeros when absent.
        #[serde(default = "zeros", skip_serializing_if = "are_zeros")]
        padding: Vec<usize>,
        /// Whether the zeros of the padding count in the mean.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        count_padding: bool,
    },
    /// Mean of every channel over all pixels: 1 x 1 pixels remain.
    GlobalAveragePool,
    /// The image enlarged.
    Upsample {
        /// Whole number of times, rows first.
        factor: Vec<usize>,
        /// Where the new values come from.
        interpolation: Interpolation,
    },
    /// Rows and columns added.
    Pad {
        /// Above and left.
        before: Vec<usize>,
        /// Below and right.
        after: Vec<usize>,
        /// What they hold.
        mode: PadMode,
    },
    /// In training, values become zero with this probability and the others grow by 1 / (1 - p); otherwise nothing.
    Dropout {
        /// The probability, at least 0 and less than 1.
        p: f32,
    },
    /// Channels of all inputs, one after the other.
    Concat,
    /// Sum of inputs of one shape and the same channel groups.
    Add,
    /// The first input times the second, which may have one channel instead of as many, and one pixel instead of as many.
    Mul,
}

/// How an enlarged image gets its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The pixel whose area covers the new one (PyTorch's `nearest` for whole factors).
    Nearest,
    /// Bilinear between the centres of pixels (PyTorch's `align_corners=False`).
    Bilinear,
    /// Bilinear, the corner pixels stay at the corners (PyTorch's `align_corners=True`).
    BilinearCorners,
}

/// What added rows and columns hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zeros.
    Zero,
    /// The nearest pixel of the image.
    Replicate,
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

impl Op {
    /// Where the kernel of a convolution (ordinary, depthwise or transposed) lies; `None` for other layers, and where a
    /// list does not hold two numbers, a kernel, stride or dilation is 0, or an output padding reaches the stride.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        geometry::of(self)
    }

    /// The group of the channels that the layer makes; `None` where they are its input's.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Input { group } | Self::Conv2d { group, .. } | Self::ConvTranspose2d { group, .. } => Some(group),
            _ => None,
        }
    }

    /// Where the window of a pooling lies; `None` for other layers, and where a list does not hold two numbers, a window or
    /// step is 0, or the padding is more than half of the window.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        geometry::window(self)
    }

    /// Whether it changes every value by itself, with no parameters.
    #[must_use]
    pub fn is_activation(&self) -> bool {
        matches!(
            self,
            Self::Relu
                | Self::LeakyRelu { .. }
                | Self::Elu
                | Self::Sigmoid
                | Self::Tanh
                | Self::Silu
                | Self::HardSigmoid
                | Self::HardSwish
                | Self::Clamp { .. }
        )
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
            let inputs = layer.inputs.iter().filter_map(|n| self.layer_index(n)).filter(|&j| j < i);
            let input = inputs.map(|j| factor[j]).max().unwrap_or(1);
            let down = |stride: [usize; 2]| input.saturating_mul(stride[0].max(stride[1]));
            factor[i] = match (&layer.op, layer.op.geometry(), layer.op.window()) {
                (Op::GlobalAveragePool, ..) => 1,
                (Op::Upsample { factor, .. }, ..) => (input / factor.iter().copied().max().unwrap_or(1).max(1)).max(1),
                (_, Some(g), _) if g.transposed => (input / g.stride[0].max(g.stride[1])).max(1),
                (_, Some(g), _) => down(g.stride),
                (_, _, Some(w)) => down(w.stride),
                _ => input,
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
        limits::check(self)?;
        self.validate_groups()?;
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
        let output = match self.layer_index(&self.output) {
            None => return fail(&self.output, "the output names no layer".into()),
            Some(i) => &shapes.tensors[i],
        };
        if output.channels != self.classes {
            return fail(&self.output, format!("{} channels for {} classes", output.channels, self.classes));
        }
        for head in &self.auxiliary {
            let Some(i) = self.layer_index(&head.layer) else {
                return fail(&head.layer, "an auxiliary head names no layer".into());
            };
            let size = |t: &TensorShape| (t.channels, t.height, t.width);
            if size(&shapes.tensors[i]) != size(output) {
                let reason = format!("its logits are of {}, the output's of {output}", shapes.tensors[i]);
                return fail(&head.layer, reason);
            }
        }
        Ok(())
    }

    /// Checks that the output has the size of the image, which every mask has, for images of `height` x `width` pixels. A network that only
    /// its costs are asked of need not be like that.
    ///
    /// # Errors
    /// [`Error::Network`] with the output's layer when it has another size, or with the first layer that does not fit.
    pub fn check_output_size(&self, height: usize, width: usize) -> Result<()> {
        let shapes = Shapes::infer(self, height, width)?;
        let output = self.layer_index(&self.output).map(|i| &shapes.tensors[i]);
        let Some(output) = output.filter(|o| (o.height, o.width) != (height, width)) else { return Ok(()) };
        let reason = format!(
            "its output of {} x {} pixels has not the size of the image, {height} x {width}",
            output.height, output.width
        );
        Err(Error::Network { layer: self.output.clone(), reason })
    }

    fn validate_groups(&self) -> Result<()> {
        let fail = |group: &str, reason: String| Err(Error::Network { layer: group.into(), reason });
        for (i, group) in self.groups.iter().enumerate() {
            if self.groups[..i].iter().any(|g| g.name == group.name) {
                return fail(&group.name, "two groups have this name".into());
            }
            if group.channels == 0 || group.divisible_by == 0 || !group.channels.is_multiple_of(group.divisible_by) {
                let reason = format!("{} channels, must be a multiple of {}", group.channels, group.divisible_by);
                return fail(&group.name, reason);
            }
            if (group.kind == GroupKind::Derived) == group.sum.is_empty() {
                return fail(&group.name, "a sum belongs to derived groups and to no others".into());
            }
            if group.kind == GroupKind::Derived && self.derived_channels(group)? != group.channels {
                let reason = format!("{} channels, its sum is {}", group.channels, self.derived_channels(group)?);
                return fail(&group.name, reason);
            }
        }
        Ok(())
    }

    /// The number of channels that a derived group must have.
    ///
    /// # Errors
    /// [`Error::Network`] when a summand names no group or a derived one.
    pub(super) fn derived_channels(&self, group: &Group) -> Result<usize> {
        let mut sum = 0;
        for share in &group.sum {
            let found = self.group(&share.group).filter(|g| g.kind != GroupKind::Derived);
            let found = found.ok_or_else(|| Error::Network {
                layer: group.name.clone(),
                reason: format!("its sum names {}, which is no group or is derived itself", share.group),
            })?;
            sum += share.multiple * found.channels;
        }
        Ok(sum)
    }

    /// The network that is deployed: without the auxiliary heads, and without the layers and groups that only they need.
    #[must_use]
    pub fn without_auxiliary(&self) -> Self {
        let mut needed = vec![false; self.layers.len()];
        for i in (0..self.layers.len()).rev() {
            let layer = &self.layers[i];
            needed[i] |= layer.name == self.output || matches!(layer.op, Op::Input { .. });
            if needed[i] {
                for input in layer.inputs.iter().filter_map(|n| self.layer_index(n)) {
                    needed[input] = true;
                }
            }
        }
        let layers: Vec<Layer> =
            self.layers.iter().zip(needed).filter(|(_, needed)| *needed).map(|(l, _)| l.clone()).collect();
        let named = |name: &str| layers.iter().any(|l| l.op.group() == Some(name));
        let summed =
            |name: &str| self.groups.iter().any(|g| named(&g.name) && g.sum.iter().any(|share| share.group == name));
        let groups = self.groups.iter().filter(|g| named(&g.name) || summed(&g.name)).cloned().collect();
        Self { groups, layers, auxiliary: Vec::new(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{Options, unet};

    #[test]
    fn outputs_of_another_size_than_the_image_are_found() {
        let mut spec = unet(&Options { base_width: 2, depth: 1, ..Options::default() }).unwrap();
        spec.check_output_size(8, 6).unwrap();
        let Some(Op::Conv2d { kernel, .. }) = spec.layers.last_mut().map(|l| &mut l.op) else { unreachable!() };
        *kernel = vec![2, 1];
        let text = spec.check_output_size(8, 6).unwrap_err().to_string();
        assert!(text.contains("head: its output of 7 x 6 pixels has not the size of the image, 8 x 6"), "{text}");
    }
}
