//! U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) as Mishra, Chen and Hu use it: batch norm after every convolution
//! and transposed convolution, zero padding, channels doubling per level.

use super::Family;
use super::builder::{Block, Builder};
use super::options::{Choice, Options, Upsampling};
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

pub(super) const FAMILY: Family = Family {
    name: "unet",
    title: "U-Net",
    description: "encoder, decoder and skips, with batch norm after every convolution",
    paper: "Ronneberger, Fischer, Brox, MICCAI 2015",
    base_width: 64,
    depth: 4,
    deepest: 6,
    takes: U_SHAPE,
    build: unet,
};

/// What all U-shaped families of ordinary blocks leave to the user.
pub(super) const U_SHAPE: &[Choice] = &[
    Choice::Norm,
    Choice::GroupNorm,
    Choice::Activation,
    Choice::Residual,
    Choice::DeepSupervision,
    Choice::Upsampling,
];

/// The U-Net with these options.
///
/// Level k of the encoder: two times (3x3 convolution with bias, batch norm, ReLU), then 2x2 max-pooling. Level k of the
/// decoder: 2x2 transposed convolution with bias, batch norm, ReLU; concatenation behind the encoder's tensor; two
/// convolutions as before. Head: 1x1 convolution to one channel per class. Free groups: `enc0..enc{depth}`,
/// `up{k}`, `dec{k}`; level k has `base_width * 2^k` channels. With another upsampling, a 3x3 convolution follows it.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
///
/// ```
/// use segfit::network::families::{Options, unet};
/// let net = unet(&Options { in_channels: 3, classes: 2, base_width: 64, depth: 4, ..Options::default() }).unwrap();
/// assert_eq!(segfit::cost::parameters(&net).unwrap(), 31_045_506);
/// ```
pub fn unet(options: &Options) -> Result<NetworkSpec> {
    u_shape(&FAMILY, options, &|level| options.base_width << level, Builder::block)
}

/// Encoder, decoder and skips, with `width(k)` channels at level k.
pub(super) fn u_shape(
    family: &Family,
    options: &Options,
    width: &dyn Fn(usize) -> usize,
    block: Block,
) -> Result<NetworkSpec> {
    let how = options.upsampling.unwrap_or(Upsampling::Transposed);
    let mut net = Builder::new(family, options)?;
    let mut levels = net.encoder(width, block);
    for level in (0..options.depth).rev() {
        let up = net.up_conv(&format!("up{level}"), width(level), how, &levels[level + 1]);
        let joined = net.layer(&format!("dec{level}.concat"), Op::Concat, &[&levels[level], &up]);
        levels[level] = block(&mut net, &format!("dec{level}"), width(level), &joined);
    }
    let head = net.head("head", &levels[0]);
    if options.deep_supervision {
        net.deep_supervision(&levels[..options.depth]);
    }
    net.finish(&head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost;

    fn rgb(base_width: usize) -> NetworkSpec {
        unet(&Options { base_width, ..Options::default() }).unwrap()
    }

    #[test]
    fn parameter_counts_are_the_published_ladder() {
        let ladder = [(64, 31_045_506), (32, 7_766_978), (16, 1_944_546), (8, 487_538), (4, 122_586), (2, 30_998)];
        for (width, parameters) in ladder {
            assert_eq!(cost::parameters(&rgb(width)).unwrap(), parameters, "width {width}");
            let narrowed = rgb(64).with_multiplier(width as f64 / 64.0).unwrap();
            assert_eq!(cost::parameters(&narrowed).unwrap(), parameters, "multiplier for width {width}");
        }
    }

    #[test]
    fn a_network_file_comes_back_equal() {
        let net = rgb(4);
        let text = serde_json::to_string(&net).unwrap();
        assert_eq!(serde_json::from_str::<NetworkSpec>(&text).unwrap(), net);
        assert_eq!(net.input_multiple(), 16);
        assert_eq!(net.in_channels(), 3);
    }

    #[test]
    fn layers_and_groups_have_the_names_and_order_of_stored_runs() {
        let net = unet(&Options { base_width: 1, depth: 1, ..Options::default() }).unwrap();
        let groups: Vec<&str> = net.groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(groups, ["image", "enc0", "enc1", "up0", "dec0", "classes"]);
        let layers: Vec<&str> = net.layers.iter().map(|l| l.name.as_str()).collect();
        let block = |name: &str| ["conv1", "norm1", "relu1", "conv2", "norm2", "relu2"].map(|l| format!("{name}.{l}"));
        let mut expected = vec!["image".to_string()];
        expected.extend(block("enc0"));
        expected.push("pool0".into());
        expected.extend(block("enc1"));
        expected.extend(["up0.conv", "up0.norm", "up0.relu", "dec0.concat"].map(String::from));
        expected.extend(block("dec0"));
        expected.push("head".into());
        assert_eq!(layers, expected);
        assert_eq!(net.layers[17].inputs, ["enc0.relu2", "up0.relu"]);
    }
}
