//! U-Net of depthwise-separable convolutions (Chollet, CVPR 2017; Howard et al. 2017, arXiv 1704.04861).

use super::Family;
use super::builder::{Builder, IMAGE};
use super::options::{Choice, Options};
use super::unet::u_shape;
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

pub(super) const FAMILY: Family = Family {
    name: "separable_unet",
    title: "separable U-Net",
    description: "U-Net of depthwise-separable convolutions",
    paper: "Chollet, CVPR 2017; Howard et al. 2017, arXiv 1704.04861",
    base_width: 64,
    depth: 4,
    deepest: 6,
    takes: &[Choice::Norm, Choice::GroupNorm, Choice::Activation, Choice::DeepSupervision, Choice::Upsampling],
    build: separable_unet,
};

/// The [`super::unet`] whose 3x3 convolutions are a 3x3 depthwise convolution without bias and a 1x1 convolution, with
/// nothing between them, as in Xception.
///
/// The first convolution, which sees the few channels of the image, stays whole, and so do the transposed ones. Groups are
/// those of the U-Net: a depthwise convolution has its input's.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn separable_unet(options: &Options) -> Result<NetworkSpec> {
    u_shape(&FAMILY, options, &|level| options.base_width << level, block)
}

fn block(net: &mut Builder, name: &str, channels: usize, input: &str) -> String {
    net.free(name, channels);
    let mut last = input.to_string();
    for index in ["1", "2"] {
        last = if last == IMAGE {
            net.conv_norm_activation(name, index, name, &last)
        } else {
            let depthwise = Op::DepthwiseConv2d {
                kernel: vec![3, 3],
                stride: vec![1, 1],
                padding: vec![1, 1],
                dilation: vec![1, 1],
                bias: false,
            };
            let depthwise = net.layer(&format!("{name}.depthwise{index}"), depthwise, &[&last]);
            let pointwise = net.conv(&format!("{name}.conv{index}"), name, 1, 1, &depthwise);
            net.norm_activation(name, index, &pointwise)
        };
    }
    last
}
