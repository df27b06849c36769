//! [`Options`]: what a user chooses of a family.

use super::Family;
use crate::error::{Error, Result};

/// Options of all families. `None` and `false` stand for the family's own; a family refuses what it cannot do.
///
/// The default is the U-Net of the publication for RGB images with two classes. [`Family::options`] gives those of
/// other families.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Channels of the image, at least 1.
    pub in_channels: usize,
    /// Classes including background, at least 2.
    pub classes: usize,
    /// Channels at full resolution, at least 1; what the levels below have is the family's.
    pub base_width: usize,
    /// Times that the image is halved, at least 1.
    pub depth: usize,
    /// Normalisation.
    pub norm: Option<Norm>,
    /// Activation behind the convolutions.
    pub activation: Option<Activation>,
    /// Whether a shortcut is added to every block of convolutions.
    pub residual: bool,
    /// Whether heads at lower levels are trained beside the output.
    pub deep_supervision: bool,
    /// How the decoder enlarges.
    pub upsampling: Option<Upsampling>,
    /// Channels that each layer of a dense block adds, at least 1.
    pub growth: Option<usize>,
    /// Probability of dropout, at least 0 and less than 1.
    pub dropout: Option<f32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_channels: 3,
            classes: 2,
            base_width: 64,
            depth: 4,
            norm: None,
            activation: None,
            residual: false,
            deep_supervision: false,
            upsampling: None,
            growth: None,
            dropout: None,
        }
    }
}

/// Normalisation layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Batch normalisation (Ioffe and Szegedy 2015).
    Batch,
    /// Instance normalisation with scale and shift (Ulyanov et al. 2016).
    Instance,
    /// Group normalisation (Wu and He 2018) in 8 parts, or in the largest power of two below that divides the channels.
    Group,
    /// None.
    None,
}

impl Norm {
    /// All of them with their names.
    pub const ALL: [(&str, Self); 4] =
        [("batch", Self::Batch), ("instance", Self::Instance), ("group", Self::Group), ("none", Self::None)];
}

/// Activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// ReLU with slope 0.01 below zero.
    LeakyRelu,
    /// ReLU with one learned slope per layer.
    Prelu,
    /// Exponential linear unit.
    Elu,
    /// x / (1 + exp(-x)).
    Silu,
    /// The piecewise linear approximation of SiLU.
    HardSwish,
}

impl Activation {
    /// All of them with their names.
    pub const ALL: [(&str, Self); 6] = [
        ("relu", Self::Relu),
        ("leaky_relu", Self::LeakyRelu),
        ("prelu", Self::Prelu),
        ("elu", Self::Elu),
        ("silu", Self::Silu),
        ("hard_swish", Self::HardSwish),
    ];
}

/// How a decoder doubles rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsampling {
    /// Transposed 2x2 convolution of stride 2.
    Transposed,
    /// Bilinear interpolation.
    Bilinear,
    /// Nearest neighbour.
    Nearest,
}

impl Upsampling {
    /// All of them with their names.
    pub const ALL: [(&str, Self); 3] =
        [("transposed", Self::Transposed), ("bilinear", Self::Bilinear), ("nearest", Self::Nearest)];
}

/// An option that a family may leave to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Norm,
    GroupNorm,
    Activation,
    Residual,
    DeepSupervision,
    Upsampling,
    Growth,
    Dropout,
}

impl Options {
    /// Refuses values out of range and what `family` does not leave to the user.
    pub(super) fn check(&self, family: &Family) -> Result<()> {
        let ranges = [
            ("image channels", self.in_channels, 1, 1024),
            ("--classes", self.classes, 2, 256),
            ("--width", self.base_width, 1, 1024),
            ("--depth", self.depth, 1, family.deepest),
            ("--growth", self.growth.unwrap_or(1), 1, 1024),
        ];
        for (what, got, low, high) in ranges {
            if !(low..=high).contains(&got) {
                return Err(option(what, format!("{low} to {high}"), got.to_string()));
            }
        }
        if let Some(p) = self.dropout.filter(|p| !(0.0..1.0).contains(p)) {
            return Err(option("--dropout", "0 to below 1".into(), p.to_string()));
        }
        let given = [
            (Choice::Norm, "--norm", self.norm.is_some()),
            (Choice::GroupNorm, "--norm group", self.norm == Some(Norm::Group)),
            (Choice::Activation, "--activation", self.activation.is_some()),
            (Choice::Residual, "--residual", self.residual),
            (Choice::DeepSupervision, "--deep-supervision", self.deep_supervision),
            (Choice::Upsampling, "--upsampling", self.upsampling.is_some()),
            (Choice::Growth, "--growth", self.growth.is_some()),
            (Choice::Dropout, "--dropout", self.dropout.is_some()),
        ];
        match given.into_iter().find(|(choice, _, given)| *given && !family.takes.contains(choice)) {
            None => Ok(()),
            Some((_, what, _)) => {
                let expected = format!("it to be left out: {} has no such option", family.name);
                Err(option(what, expected, "it".into()))
            }
        }
    }
}

fn option(what: &str, expected: String, got: String) -> Error {
    Error::Option { what: what.into(), expected, got }
}
