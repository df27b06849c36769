//! Attention U-Net (Oktay et al., MIDL 2018, arXiv 1804.03999): the decoder gates what the skips bring.

use super::Family;
use super::builder::Builder;
use super::options::{Options, Upsampling};
use super::unet::U_SHAPE;
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

pub(super) const FAMILY: Family = Family {
    name: "attention_unet",
    title: "Attention U-Net",
    description: "U-Net whose skips pass additive attention gates",
    paper: "Oktay et al., MIDL 2018, arXiv 1804.03999",
    base_width: 64,
    depth: 4,
    deepest: 6,
    takes: U_SHAPE,
    build: attention_unet,
};

/// The Attention U-Net with these options.
///
/// Blocks and widths are the U-Net's. Upsampling is nearest neighbour and a 3x3 convolution. The gate of level k is
/// `x * sigmoid(psi(relu(W_g g + W_x x)))`: x is the encoder's tensor, g the decoder's at the same resolution, W_g and W_x
/// are 1x1 convolutions to half of the level's channels (group `att{k}`), psi is one to a single channel (fixed group
/// `gate`), each with bias and norm. This is the form of LeeJunHyun's `AttU_Net`, whose parameter counts it has; the
/// paper computes gates at the lower resolution, in 3D.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn attention_unet(options: &Options) -> Result<NetworkSpec> {
    let width = |level: usize| options.base_width << level;
    let how = options.upsampling.unwrap_or(Upsampling::Nearest);
    let mut net = Builder::new(&FAMILY, options)?;
    let mut levels = net.encoder(&width, Builder::block);
    for level in (0..options.depth).rev() {
        let up = net.up_conv(&format!("up{level}"), width(level), how, &levels[level + 1]);
        let gated = gate(&mut net, &format!("att{level}"), width(level) / 2, &levels[level], &up);
        let joined = net.layer(&format!("dec{level}.concat"), Op::Concat, &[&gated, &up]);
        levels[level] = net.block(&format!("dec{level}"), width(level), &joined);
    }
    let head = net.head("head", &levels[0]);
    if options.deep_supervision {
        net.deep_supervision(&levels[..options.depth]);
    }
    net.finish(&head)
}

fn gate(net: &mut Builder, name: &str, channels: usize, skip: &str, signal: &str) -> String {
    net.free(name, channels);
    net.fixed("gate", 1);
    let mut sides = Vec::new();
    for (side, input) in [("signal", signal), ("skip", skip)] {
        let conv = net.conv(&format!("{name}.{side}"), name, 1, 1, input);
        sides.push(net.norm(&format!("{name}.{side}_norm"), &conv));
    }
    let sum = net.layer(&format!("{name}.add"), Op::Add, &[&sides[0], &sides[1]]);
    let active = net.activation(name, "", &sum);
    let psi = net.conv(&format!("{name}.psi"), "gate", 1, 1, &active);
    let psi = net.norm(&format!("{name}.psi_norm"), &psi);
    let share = net.layer(&format!("{name}.sigmoid"), Op::Sigmoid, &[&psi]);
    net.layer(&format!("{name}.mul"), Op::Mul, &[skip, &share])
}
