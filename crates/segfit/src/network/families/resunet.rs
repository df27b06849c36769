//! Deep residual U-Net (Zhang, Liu, Wang, "Road extraction by deep residual U-Net", IEEE GRSL 2018): full pre-activation
//! (He et al. 2016, arXiv 1603.05027), strides instead of poolings.

use super::Family;
use super::builder::{Builder, IMAGE};
use super::options::{Choice, Options, Upsampling};
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

pub(super) const FAMILY: Family = Family {
    name: "resunet",
    title: "ResU-Net",
    description: "U-Net of pre-activated residual units, strides instead of poolings",
    paper: "Zhang, Liu, Wang, IEEE GRSL 2018",
    base_width: 64,
    depth: 3,
    deepest: 6,
    takes: &[Choice::Norm, Choice::GroupNorm, Choice::Activation, Choice::DeepSupervision, Choice::Upsampling],
    build: resunet,
};

/// The ResU-Net with these options.
///
/// A unit is two times (norm, ReLU, 3x3 convolution) plus a 1x1 convolution of its input, all of one group (`enc{k}`,
/// `dec{k}`); the first unit begins with its convolution. Below full resolution the first convolution of the
/// encoder's units and its shortcut have stride 2. The decoder enlarges by nearest neighbour without a convolution (with
/// a transposed one if asked, group `up{k}`) and puts the encoder's tensor behind.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn resunet(options: &Options) -> Result<NetworkSpec> {
    let width = |level: usize| options.base_width << level;
    let how = options.upsampling.unwrap_or(Upsampling::Nearest);
    let mut net = Builder::new(&FAMILY, options)?;
    let mut levels: Vec<String> = Vec::new();
    for level in 0..=options.depth {
        let input = levels.last().map_or(IMAGE, String::as_str).to_string();
        let stride = if level == 0 { 1 } else { 2 };
        levels.push(unit(&mut net, &format!("enc{level}"), width(level), stride, &input));
    }
    for level in (0..options.depth).rev() {
        let up = net.enlarge(&format!("up{level}"), width(level), how, &levels[level + 1]);
        let joined = net.layer(&format!("dec{level}.concat"), Op::Concat, &[&up, &levels[level]]);
        levels[level] = unit(&mut net, &format!("dec{level}"), width(level), 1, &joined);
    }
    let head = net.head("head", &levels[0]);
    if options.deep_supervision {
        net.deep_supervision(&levels[..options.depth]);
    }
    net.finish(&head)
}

fn unit(net: &mut Builder, name: &str, channels: usize, stride: usize, input: &str) -> String {
    net.free(name, channels);
    let before = if input == IMAGE { input.to_string() } else { net.norm_activation(name, "1", input) };
    let first = net.conv(&format!("{name}.conv1"), name, 3, stride, &before);
    let between = net.norm_activation(name, "2", &first);
    let second = net.conv(&format!("{name}.conv2"), name, 3, 1, &between);
    let shortcut = net.conv(&format!("{name}.shortcut"), name, 1, stride, input);
    net.layer(&format!("{name}.add"), Op::Add, &[&second, &shortcut])
}
