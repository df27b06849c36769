//! U-Net++ (Zhou, Siddiquee, Tajbakhsh, Liang, DLMIA 2018, arXiv 1807.10165): nested, dense skips.

use super::Family;
use super::builder::{Builder, IMAGE};
use super::options::{Options, Upsampling};
use super::unet::U_SHAPE;
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

pub(super) const FAMILY: Family = Family {
    name: "unetpp",
    title: "U-Net++",
    description: "U-Net++: nested decoders with dense skips",
    paper: "Zhou et al., DLMIA 2018, arXiv 1807.10165",
    base_width: 32,
    depth: 4,
    deepest: 6,
    takes: U_SHAPE,
    build: unetpp,
};

/// The U-Net++ with these options.
///
/// Node `x{i}_{j}` is a block of two convolutions at level i: of the pooled `x{i-1}_0` for j = 0, else of `x{i}_0` to
/// `x{i}_{j-1}` and the enlarged `x{i+1}_{j-1}`. Every node is a free group of `base_width * 2^i` channels. Upsampling is
/// bilinear without a convolution, as in the widely used PyTorch form with 9.16 million parameters; with a transposed
/// convolution (group `up{i}_{j}`) it has the 9.04 million of the publication. Deep supervision adds heads to `x0_1` to
/// `x0_{depth-1}`, each with weight 1.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn unetpp(options: &Options) -> Result<NetworkSpec> {
    let width = |level: usize| options.base_width << level;
    let how = options.upsampling.unwrap_or(Upsampling::Bilinear);
    let mut net = Builder::new(&FAMILY, options)?;
    let mut nodes: Vec<Vec<String>> = Vec::new();
    for level in 0..=options.depth {
        let input = match nodes.last() {
            None => IMAGE.to_string(),
            Some(above) => net.pool(&format!("pool{}", level - 1), &above[0]),
        };
        nodes.push(vec![net.block(&format!("x{level}_0"), width(level), &input)]);
    }
    for column in 1..=options.depth {
        for level in 0..=options.depth - column {
            let name = format!("x{level}_{column}");
            let up = net.enlarge(&format!("up{level}_{column}"), width(level), how, &nodes[level + 1][column - 1]);
            let inputs: Vec<&str> = nodes[level].iter().chain([&up]).map(String::as_str).collect();
            let joined = net.layer(&format!("{name}.concat"), Op::Concat, &inputs);
            let node = net.block(&name, width(level), &joined);
            nodes[level].push(node);
        }
    }
    let head = net.head("head", &nodes[0][options.depth]);
    if options.deep_supervision {
        for (column, node) in nodes[0].iter().enumerate().take(options.depth).skip(1) {
            let logits = net.head(&format!("aux{column}"), node);
            net.auxiliary(&logits, 1.0);
        }
    }
    net.finish(&head)
}
