//! U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) as Mishra, Chen and Hu use it: batch norm after every convolution
//! and transposed convolution, zero padding, channels doubling per level.

use super::super::spec::{Group, GroupKind, Layer, NETWORK_FORMAT, NetworkSpec, Op};
use crate::error::{Error, Result};

/// Options of [`unet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnetOptions {
    /// Channels of the image, at least 1.
    pub in_channels: usize,
    /// Classes including background, at least 2.
    pub classes: usize,
    /// Channels at full resolution, at least 1; level k has `base_width * 2^k`.
    pub base_width: usize,
    /// Poolings, 1 to 6; the original has 4.
    pub depth: usize,
}

/// The U-Net with these options.
///
/// Level k of the encoder: two times (3x3 convolution with bias, batch norm, ReLU), then 2x2 max-pooling. Level k of the
/// decoder: 2x2 transposed convolution with bias, batch norm, ReLU; concatenation behind the encoder's tensor; two
/// convolutions as before. Head: 1x1 convolution to one channel per class. Free groups: `enc0..enc{depth}`,
/// `up{k}`, `dec{k}`.
///
/// # Errors
/// [`Error::Option`] when an option is out of range.
///
/// ```
/// use segfit::network::families::{UnetOptions, unet};
/// let net = unet(&UnetOptions { in_channels: 3, classes: 2, base_width: 64, depth: 4 }).unwrap();
/// assert_eq!(segfit::cost::parameters(&net).unwrap(), 31_045_506);
/// ```
pub fn unet(options: &UnetOptions) -> Result<NetworkSpec> {
    check(options)?;
    let mut net = Builder { groups: Vec::new(), layers: Vec::new() };
    net.group("image", options.in_channels, GroupKind::Fixed);
    net.layer("image", Op::Input { group: "image".into() }, &[]);
    let width = |level: usize| options.base_width << level;
    let mut last = "image".to_string();
    for level in 0..=options.depth {
        if level > 0 {
            let pool = format!("pool{}", level - 1);
            net.layer(&pool, Op::MaxPool { kernel: vec![2, 2], stride: Vec::new(), padding: vec![0; 2] }, &[&last]);
            last = pool;
        }
        last = net.block(&format!("enc{level}"), width(level), &last);
    }
    for level in (0..options.depth).rev() {
        let up = format!("up{level}");
        net.group(&up, width(level), GroupKind::Free);
        let conv = Op::ConvTranspose2d {
            group: up.clone(),
            kernel: vec![2, 2],
            stride: Vec::new(),
            padding: vec![0; 2],
            output_padding: vec![0; 2],
            bias: true,
        };
        net.layer(&format!("{up}.conv"), conv, &[&last]);
        let up = net.norm_relu(&up, "", &format!("{up}.conv"));
        let joined = format!("dec{level}.concat");
        net.layer(&joined, Op::Concat, &[&format!("enc{level}.relu2"), &up]);
        last = net.block(&format!("dec{level}"), width(level), &joined);
    }
    net.group("classes", options.classes, GroupKind::Fixed);
    net.layer("head", conv("classes", 1), &[&last]);
    let spec = NetworkSpec {
        format: NETWORK_FORMAT.into(),
        family: "unet".into(),
        base_width: options.base_width,
        depth: options.depth,
        rank: 2,
        classes: options.classes,
        groups: net.groups,
        layers: net.layers,
        output: "head".into(),
        auxiliary: Vec::new(),
    };
    spec.validate()?;
    Ok(spec)
}

fn check(options: &UnetOptions) -> Result<()> {
    let ranges = [
        ("image channels", options.in_channels, 1, 1024),
        ("--classes", options.classes, 2, 256),
        ("--width", options.base_width, 1, 1024),
        ("--depth", options.depth, 1, 6),
    ];
    for (what, got, low, high) in ranges {
        if !(low..=high).contains(&got) {
            let expected = format!("{low} to {high}");
            return Err(Error::Option { what: what.into(), expected, got: got.to_string() });
        }
    }
    Ok(())
}

fn conv(group: &str, kernel: usize) -> Op {
    Op::Conv2d {
        group: group.into(),
        kernel: vec![kernel; 2],
        stride: vec![1; 2],
        padding: vec![kernel / 2; 2],
        dilation: vec![1; 2],
        groups: 1,
        bias: true,
    }
}

struct Builder {
    groups: Vec<Group>,
    layers: Vec<Layer>,
}

impl Builder {
    fn group(&mut self, name: &str, channels: usize, kind: GroupKind) {
        self.groups.push(Group { name: name.into(), channels, kind, divisible_by: 1, sum: Vec::new() });
    }

    fn layer(&mut self, name: &str, op: Op, inputs: &[&str]) {
        let inputs = inputs.iter().map(|&s| s.to_string()).collect();
        self.layers.push(Layer { name: name.into(), op, inputs });
    }

    fn norm_relu(&mut self, prefix: &str, suffix: &str, input: &str) -> String {
        let (norm, relu) = (format!("{prefix}.norm{suffix}"), format!("{prefix}.relu{suffix}"));
        self.layer(&norm, Op::BatchNorm { eps: 1e-5, momentum: 0.1 }, &[input]);
        self.layer(&relu, Op::Relu, &[&norm]);
        relu
    }

    /// Two convolutions of one group; returns the name of the last tensor.
    fn block(&mut self, name: &str, channels: usize, input: &str) -> String {
        self.group(name, channels, GroupKind::Free);
        let mut last = input.to_string();
        for index in ["1", "2"] {
            let layer = format!("{name}.conv{index}");
            self.layer(&layer, conv(name, 3), &[&last]);
            last = self.norm_relu(name, index, &layer);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost;

    fn rgb(base_width: usize) -> NetworkSpec {
        unet(&UnetOptions { in_channels: 3, classes: 2, base_width, depth: 4 }).unwrap()
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
    fn options_out_of_range_are_named() {
        let error = unet(&UnetOptions { in_channels: 1, classes: 1, base_width: 4, depth: 4 }).unwrap_err();
        assert!(error.to_string().contains("--classes"), "{error}");
    }
}
