//! FC-DenseNet (Jégou, Drozdzal, Vazquez, Romero, Bengio, "The One Hundred Layers Tiramisu", CVPRW 2017, arXiv 1611.09326):
//! a U-shape of dense blocks.

use super::Family;
use super::builder::{Builder, IMAGE};
use super::options::{Choice, Options};
use crate::error::Result;
use crate::network::spec::{NetworkSpec, Op};

const PAPER: &str = "Jégou et al., CVPRW 2017, arXiv 1611.09326";
const TAKES: &[Choice] = &[Choice::Norm, Choice::Activation, Choice::Growth, Choice::Dropout];

/// The published dropout.
const DROPOUT: f32 = 0.2;

/// Layers of the dense blocks.
struct Blocks {
    family: Family,
    /// Down, from full resolution; the way up mirrors it.
    down: [usize; 5],
    bottom: usize,
    /// Growth is the base width divided by this.
    growth_divisor: usize,
}

const DENSE56: Blocks = Blocks { family: FC_DENSENET56, down: [4; 5], bottom: 4, growth_divisor: 4 };
const DENSE67: Blocks = Blocks { family: FC_DENSENET67, down: [5; 5], bottom: 5, growth_divisor: 3 };
const DENSE103: Blocks = Blocks { family: FC_DENSENET103, down: [4, 5, 7, 10, 12], bottom: 15, growth_divisor: 3 };

pub(super) const FC_DENSENET56: Family =
    family("fc_densenet56", "FC-DenseNet56", "U-shape of dense blocks, 56 layers, growth 12", fc_densenet56);
pub(super) const FC_DENSENET67: Family =
    family("fc_densenet67", "FC-DenseNet67", "U-shape of dense blocks, 67 layers, growth 16", fc_densenet67);
pub(super) const FC_DENSENET103: Family =
    family("fc_densenet103", "FC-DenseNet103", "U-shape of dense blocks, 103 layers, growth 16", fc_densenet103);

const fn family(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    build: fn(&Options) -> Result<NetworkSpec>,
) -> Family {
    Family { name, title, description, paper: PAPER, base_width: 48, depth: 5, deepest: 5, takes: TAKES, build }
}

/// FC-DenseNet56: dense blocks of 4 layers; growth 12 at its base width of 48, otherwise a quarter of the base width.
///
/// Every layer of a block is norm, ReLU, 3x3 convolution, dropout, and adds *growth* channels to what it has seen. `stem`, a
/// 3x3 convolution, has `base_width` channels. Transitions down: norm, ReLU, 1x1 convolution of all channels, dropout, 2x2
/// max-pooling; up: 3x3 transposed convolution of stride 2 of the channels that the block below has added. Free groups are `stem`
/// and one growth per block (`down{k}`, `bottom`, `up{k}`); the transitions `td{k}` and `tu{k}` are derived from them. With less
/// depth the lowest blocks on both sides are missing.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn fc_densenet56(options: &Options) -> Result<NetworkSpec> {
    fc_densenet(&DENSE56, options)
}

/// FC-DenseNet67: as [`fc_densenet56`], with 5 layers per block; the growth is a third of the base width, 16 of 48.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn fc_densenet67(options: &Options) -> Result<NetworkSpec> {
    fc_densenet(&DENSE67, options)
}

/// FC-DenseNet103: as [`fc_densenet56`], with 4, 5, 7, 10, 12 layers in the blocks on both sides and 15 in the lowest; the
/// growth is a third of the base width, 16 of 48.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn fc_densenet103(options: &Options) -> Result<NetworkSpec> {
    fc_densenet(&DENSE103, options)
}

fn fc_densenet(blocks: &Blocks, options: &Options) -> Result<NetworkSpec> {
    let mut net = Builder::new(&blocks.family, options)?;
    let published = (options.base_width as f64 / blocks.growth_divisor as f64).round() as usize;
    let dense =
        Dense { growth: options.growth.unwrap_or(published).max(1), dropout: options.dropout.unwrap_or(DROPOUT) };
    net.free("stem", options.base_width);
    let mut last = net.conv("stem", "stem", 3, 1, IMAGE);
    let mut shares = vec![("stem".to_string(), 1)];
    let mut skips = Vec::new();
    for (level, &layers) in blocks.down[..options.depth].iter().enumerate() {
        let name = format!("down{level}");
        let skip = dense.block(&mut net, &name, layers, &last, true);
        shares.push((name, layers));
        net.derived(&format!("td{level}"), &shares);
        last = dense.transition_down(&mut net, &format!("td{level}"), &skip);
        skips.push(skip);
    }
    let (mut below, mut layers_below) = ("bottom".to_string(), blocks.bottom);
    last = dense.block(&mut net, "bottom", blocks.bottom, &last, false);
    for level in (0..options.depth).rev() {
        let (name, transition) = (format!("up{level}"), format!("tu{level}"));
        net.derived(&transition, &[(below, layers_below)]);
        let up = net.transposed(&transition, &transition, 3, 2, &last);
        let joined = net.layer(&format!("{name}.concat"), Op::Concat, &[&up, &skips[level]]);
        last = dense.block(&mut net, &name, blocks.down[level], &joined, level == 0);
        (below, layers_below) = (name, blocks.down[level]);
    }
    let head = net.head("head", &last);
    net.finish(&head)
}

struct Dense {
    growth: usize,
    dropout: f32,
}

impl Dense {
    /// A dense block whose growth is the group `name`. Returns everything it has seen and made (`with_input`), or only what it
    /// has made.
    fn block(&self, net: &mut Builder, name: &str, layers: usize, input: &str, with_input: bool) -> String {
        net.free(name, self.growth);
        let mut seen = input.to_string();
        let mut made = Vec::new();
        for i in 1..=layers {
            let active = net.norm_activation(name, &i.to_string(), &seen);
            let conv = net.conv(&format!("{name}.conv{i}"), name, 3, 1, &active);
            made.push(self.dropped(net, &format!("{name}.dropout{i}"), &conv));
            if i < layers || with_input {
                seen = net.layer(&format!("{name}.seen{i}"), Op::Concat, &[&seen, &made[i - 1]]);
            }
        }
        if with_input {
            return seen;
        }
        let made: Vec<&str> = made.iter().map(String::as_str).collect();
        net.layer(&format!("{name}.made"), Op::Concat, &made)
    }

    fn transition_down(&self, net: &mut Builder, name: &str, input: &str) -> String {
        let active = net.norm_activation(name, "", input);
        let conv = net.conv(&format!("{name}.conv"), name, 1, 1, &active);
        let dropped = self.dropped(net, &format!("{name}.dropout"), &conv);
        net.pool(&format!("{name}.pool"), &dropped)
    }

    fn dropped(&self, net: &mut Builder, name: &str, input: &str) -> String {
        if self.dropout == 0.0 { input.into() } else { net.layer(name, Op::Dropout { p: self.dropout }, &[input]) }
    }
}
