//! What all families are made of: layers by name, groups, blocks, enlargement, heads.

use std::collections::BTreeMap;

use super::Family;
use super::options::{Activation, Norm, Options, Upsampling};
use crate::error::Result;
use crate::network::spec::{
    AuxiliaryHead, Group, GroupKind, Interpolation, Layer, NETWORK_FORMAT, NetworkSpec, Op, Share,
};

/// Name of the first layer.
pub(super) const IMAGE: &str = "image";

/// Parts of a group norm, where the channels allow it.
const NORM_PARTS: usize = 8;

/// A block of convolutions: name of the block and of its group, channels, input; returns its last tensor.
pub(super) type Block = fn(&mut Builder, &str, usize, &str) -> String;

/// A network under construction. Methods that add layers return the name of the last one.
pub(super) struct Builder {
    spec: NetworkSpec,
    channels: BTreeMap<String, usize>,
    norm: Norm,
    activation: Activation,
    residual: bool,
}

impl Builder {
    /// The image only. Norm and activation are batch norm and ReLU unless the options say otherwise.
    pub(super) fn new(family: &Family, options: &Options) -> Result<Self> {
        options.check(family)?;
        let spec = NetworkSpec {
            format: NETWORK_FORMAT.into(),
            family: family.name.into(),
            base_width: options.base_width,
            depth: options.depth,
            rank: 2,
            classes: options.classes,
            groups: Vec::new(),
            layers: Vec::new(),
            output: String::new(),
            auxiliary: Vec::new(),
        };
        let mut net = Self {
            spec,
            channels: BTreeMap::new(),
            norm: options.norm.unwrap_or(Norm::Batch),
            activation: options.activation.unwrap_or(Activation::Relu),
            residual: options.residual,
        };
        net.fixed(IMAGE, options.in_channels);
        net.layer(IMAGE, Op::Input { group: IMAGE.into() }, &[]);
        Ok(net)
    }

    /// A group that narrowing changes.
    pub(super) fn free(&mut self, name: &str, channels: usize) {
        self.group(name, channels.max(1), GroupKind::Free, Vec::new());
    }

    /// A group that stays; once is enough.
    pub(super) fn fixed(&mut self, name: &str, channels: usize) {
        if self.spec.group(name).is_none() {
            self.group(name, channels, GroupKind::Fixed, Vec::new());
        }
    }

    /// A group with as many channels as these groups together, each so many times.
    pub(super) fn derived(&mut self, name: &str, shares: &[(String, usize)]) {
        let sum: Vec<Share> =
            shares.iter().map(|(group, multiple)| Share { group: group.clone(), multiple: *multiple }).collect();
        let channels = sum.iter().map(|s| s.multiple * self.spec.group(&s.group).map_or(0, |g| g.channels)).sum();
        self.group(name, channels, GroupKind::Derived, sum);
    }

    fn group(&mut self, name: &str, channels: usize, kind: GroupKind, sum: Vec<Share>) {
        self.spec.groups.push(Group { name: name.into(), channels, kind, divisible_by: 1, sum });
    }

    pub(super) fn layer(&mut self, name: &str, op: Op, inputs: &[&str]) -> String {
        let of = |name: &str| self.channels.get(name).copied().unwrap_or(0);
        let channels = match (&op, op.group()) {
            (_, Some(group)) => self.spec.group(group).map_or(0, |g| g.channels),
            (Op::Concat, _) => inputs.iter().map(|i| of(i)).sum(),
            _ => inputs.first().map_or(0, |i| of(i)),
        };
        self.channels.insert(name.into(), channels);
        let inputs = inputs.iter().map(|&s| s.to_string()).collect();
        self.spec.layers.push(Layer { name: name.into(), op, inputs });
        name.into()
    }

    /// A convolution with bias that keeps the size (`stride` 1) or halves it (2).
    pub(super) fn conv(&mut self, name: &str, group: &str, kernel: usize, stride: usize, input: &str) -> String {
        let op = Op::Conv2d {
            group: group.into(),
            kernel: vec![kernel; 2],
            stride: vec![stride; 2],
            padding: vec![kernel / 2; 2],
            dilation: vec![1; 2],
            groups: 1,
            bias: true,
        };
        self.layer(name, op, &[input])
    }

    /// The chosen norm; without one, `input` itself.
    pub(super) fn norm(&mut self, name: &str, input: &str) -> String {
        let op = match self.norm {
            Norm::Batch => Op::BatchNorm { eps: 1e-5, momentum: 0.1 },
            Norm::Instance => Op::InstanceNorm { eps: 1e-5, affine: true },
            Norm::Group => {
                let channels = self.channels.get(input).copied().unwrap_or(1);
                Op::GroupNorm { groups: 1 << channels.trailing_zeros().min(NORM_PARTS.ilog2()), eps: 1e-5 }
            }
            Norm::None => return input.into(),
        };
        self.layer(name, op, &[input])
    }

    /// The chosen activation as `prefix.relu{suffix}`, or `prefix.act{suffix}` for others.
    pub(super) fn activation(&mut self, prefix: &str, suffix: &str, input: &str) -> String {
        let (word, op) = match self.activation {
            Activation::Relu => ("relu", Op::Relu),
            Activation::LeakyRelu => ("act", Op::LeakyRelu { slope: 0.01 }),
            Activation::Prelu => ("act", Op::Prelu { shared: true }),
            Activation::Elu => ("act", Op::Elu),
            Activation::Silu => ("act", Op::Silu),
            Activation::HardSwish => ("act", Op::HardSwish),
        };
        self.layer(&format!("{prefix}.{word}{suffix}"), op, &[input])
    }

    /// `prefix.norm{suffix}`, then the activation.
    pub(super) fn norm_activation(&mut self, prefix: &str, suffix: &str, input: &str) -> String {
        let norm = self.norm(&format!("{prefix}.norm{suffix}"), input);
        self.activation(prefix, suffix, &norm)
    }

    /// `prefix.conv{suffix}`, a 3x3 convolution, then norm and activation.
    pub(super) fn conv_norm_activation(&mut self, prefix: &str, suffix: &str, group: &str, input: &str) -> String {
        let conv = self.conv(&format!("{prefix}.conv{suffix}"), group, 3, 1, input);
        self.norm_activation(prefix, suffix, &conv)
    }

    /// Two times (3x3 convolution, norm, activation) of one group; if residual, a 1x1 convolution of the input with norm
    /// is added before the last activation (He et al. 2016, option B).
    pub(super) fn block(&mut self, name: &str, channels: usize, input: &str) -> String {
        self.free(name, channels);
        let first = self.conv_norm_activation(name, "1", name, input);
        if !self.residual {
            return self.conv_norm_activation(name, "2", name, &first);
        }
        let second = self.conv(&format!("{name}.conv2"), name, 3, 1, &first);
        let second = self.norm(&format!("{name}.norm2"), &second);
        let shortcut = self.conv(&format!("{name}.shortcut"), name, 1, 1, input);
        let shortcut = self.norm(&format!("{name}.shortcut_norm"), &shortcut);
        let sum = self.layer(&format!("{name}.add"), Op::Add, &[&second, &shortcut]);
        self.activation(name, "2", &sum)
    }

    /// 2x2 max-pooling.
    pub(super) fn pool(&mut self, name: &str, input: &str) -> String {
        let op = Op::MaxPool { kernel: vec![2, 2], stride: Vec::new(), padding: vec![0; 2] };
        self.layer(name, op, &[input])
    }

    /// A transposed convolution of kernel `kernel` that enlarges `stride` times; `name` is also its group.
    pub(super) fn transposed(&mut self, name: &str, group: &str, kernel: usize, stride: usize, input: &str) -> String {
        // Sizes come out `stride` times as large when 2 padding = kernel - stride + output_padding.
        let output_padding = (kernel - stride) % 2;
        let op = Op::ConvTranspose2d {
            group: group.into(),
            kernel: vec![kernel; 2],
            stride: if kernel == stride { Vec::new() } else { vec![stride; 2] },
            padding: vec![(kernel - stride + output_padding) / 2; 2],
            output_padding: vec![output_padding; 2],
            bias: true,
        };
        self.layer(name, op, &[input])
    }

    /// Twice the size without a norm: a transposed convolution of a new group `name`, or interpolation of the same channels.
    pub(super) fn enlarge(&mut self, name: &str, channels: usize, how: Upsampling, input: &str) -> String {
        if how == Upsampling::Transposed {
            self.free(name, channels);
            return self.transposed(name, name, 2, 2, input);
        }
        self.upsample(name, 2, how, input)
    }

    fn upsample(&mut self, name: &str, factor: usize, how: Upsampling, input: &str) -> String {
        let interpolation = if how == Upsampling::Nearest { Interpolation::Nearest } else { Interpolation::Bilinear };
        self.layer(name, Op::Upsample { factor: vec![factor; 2], interpolation }, &[input])
    }

    /// Twice the size with `channels` channels of a new group `name`: a transposed convolution, or interpolation and a 3x3
    /// convolution; then norm and activation.
    pub(super) fn up_conv(&mut self, name: &str, channels: usize, how: Upsampling, input: &str) -> String {
        self.free(name, channels);
        let conv = format!("{name}.conv");
        let made = if how == Upsampling::Transposed {
            self.transposed(&conv, name, 2, 2, input)
        } else {
            let large = self.upsample(&format!("{name}.upsample"), 2, how, input);
            self.conv(&conv, name, 3, 1, &large)
        };
        self.norm_activation(name, "", &made)
    }

    /// Blocks `enc0` to `enc{depth}` with poolings between them; their last tensors.
    pub(super) fn encoder(&mut self, width: &dyn Fn(usize) -> usize, block: Block) -> Vec<String> {
        let mut levels: Vec<String> = Vec::new();
        for level in 0..=self.spec.depth {
            let input = match levels.last() {
                None => IMAGE.to_string(),
                Some(last) => {
                    let last = last.clone();
                    self.pool(&format!("pool{}", level - 1), &last)
                }
            };
            let made = block(self, &format!("enc{level}"), width(level), &input);
            levels.push(made);
        }
        levels
    }

    /// A 1x1 convolution to one channel per class.
    pub(super) fn head(&mut self, name: &str, input: &str) -> String {
        self.fixed("classes", self.spec.classes);
        self.conv(name, "classes", 1, 1, input)
    }

    /// Heads `aux{k}` at `2^-k` of the resolution, for k from 1: `decoder[k]` is the tensor of level k. Their logits are
    /// enlarged bilinearly; the weights 2^-k are those of nnU-Net (Isensee et al. 2021).
    pub(super) fn deep_supervision(&mut self, decoder: &[String]) {
        for (level, tensor) in decoder.iter().enumerate().skip(1) {
            let head = self.head(&format!("aux{level}"), tensor);
            let logits = self.upsample(&format!("aux{level}.upsample"), 1 << level, Upsampling::Bilinear, &head);
            self.auxiliary(&logits, 0.5_f32.powi(level as i32));
        }
    }

    /// Logits that are trained beside the output.
    pub(super) fn auxiliary(&mut self, logits: &str, weight: f32) {
        self.spec.auxiliary.push(AuxiliaryHead { layer: logits.into(), weight });
    }

    /// The network, checked.
    pub(super) fn finish(mut self, output: &str) -> Result<NetworkSpec> {
        self.spec.output = output.into();
        self.spec.validate()?;
        Ok(self.spec)
    }
}
