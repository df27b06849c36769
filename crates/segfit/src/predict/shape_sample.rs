//! [`Shape`]: few numbers for the widths of all groups of a network, and samples that fill their space.

use serde::{Deserialize, Serialize};

use super::size::{Side, places};
use crate::cost::parameters;
use crate::error::Result;
use crate::network::{GroupKind, NetworkSpec, Widths, round_channels};

/// Range of log2 of the slope in [`shape_samples`]: from flat to a little more than the U-Net's doubling.
pub const LOG2_SLOPE: (f64, f64) = (-1.0, 0.5);

/// Range of log2 of the decoder's ratio in [`shape_samples`].
pub const LOG2_RATIO: (f64, f64) = (-1.5, 0.5);

/// How a network's width is divided among its levels and sides.
///
/// A group whose first convolution stands at level l (2^-l of the input's resolution) has
/// `factor * c * slope^l * ratio` channels, where c are those of the uniform network (base * 2^l in a U-Net) and the ratio
/// is `decoder_ratio` behind the first upsampling, 1 before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Factor per level, above 0. 1 doubles the channels of a U-Net from level to level.
    pub slope: f64,
    /// Factor of the decoder, above 0.
    pub decoder_ratio: f64,
}

impl Shape {
    /// The family's own shape.
    pub const UNIFORM: Self = Self { slope: 1.0, decoder_ratio: 1.0 };

    /// One width at all levels, in families that double it from level to level: lean U-Net (arXiv 2512.03834).
    pub const FLAT: Self = Self { slope: 0.5, decoder_ratio: 1.0 };

    /// Channels of every free group of a uniform network that is bent to this shape and multiplied by `factor`: the
    /// nearest numbers that its layers accept, at least 1.
    ///
    /// # Errors
    /// When the network does not fit together.
    ///
    /// ```
    /// use segfit::network::families::{Options, unet};
    /// use segfit::predict::Shape;
    /// let uniform = unet(&Options { base_width: 8, depth: 2, ..Options::default() }).unwrap();
    /// let widths = Shape { slope: 0.5, decoder_ratio: 0.75 }.widths(&uniform, 1.0).unwrap();
    /// assert_eq!((widths["enc0"], widths["enc1"], widths["enc2"]), (8, 8, 8));
    /// assert_eq!((widths["dec0"], widths["up1"]), (6, 6));
    /// ```
    pub fn widths(&self, uniform: &NetworkSpec, factor: f64) -> Result<Widths> {
        let (places, multiples) = (places(uniform)?, uniform.channel_multiples()?);
        let groups = uniform.groups.iter().zip(places).zip(multiples);
        let free = groups.filter(|((group, _), _)| group.kind == GroupKind::Free);
        Ok(free
            .map(|((group, place), multiple)| {
                let bend = place.map_or(1.0, |p| {
                    let side = if p.side == Side::Decoder { self.decoder_ratio } else { 1.0 };
                    self.slope.powi(p.scale as i32) * side
                });
                (group.name.clone(), round_channels(group.channels as f64 * factor * bend, multiple))
            })
            .collect())
    }

    /// [`Shape::widths`] with the factor for which the network has as nearly as possible the parameters of `uniform`.
    ///
    /// Rounding leaves a difference: a few percent, but up to a fifth for base widths of 1 and 2.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub fn widths_of_equal_parameters(&self, uniform: &NetworkSpec) -> Result<Widths> {
        let wanted = parameters(uniform)? as f64;
        let at = |log2: f64| -> Result<(Widths, f64)> {
            let widths = self.widths(uniform, log2.exp2())?;
            let ratio = parameters(&uniform.with_widths(&widths)?)? as f64 / wanted;
            Ok((widths, ratio.ln()))
        };
        let (mut low, mut high) = (-WIDEST_SEARCH, WIDEST_SEARCH);
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            if at(middle)?.1 < 0.0 { low = middle } else { high = middle }
        }
        let (below, above) = (at(low)?, at(high)?);
        Ok(if below.1.abs() <= above.1.abs() { below.0 } else { above.0 })
    }
}

/// Octaves either way in which the factor is sought.
const WIDEST_SEARCH: f64 = 8.0;

/// Halvings of these 16 octaves: finer than a channel in a million.
const BISECTIONS: usize = 24;

/// Shapes without end whose log2 slope and log2 ratio fill [`LOG2_SLOPE`] x [`LOG2_RATIO`] evenly, however many are taken.
///
/// The additive recurrence R2 of Roberts (2018, "The unreasonable effectiveness of quasirandom sequences"): point i is the
/// fractional part of (x + i / g, y + i / g^2), g = 1.3247... the root of g^3 = g + 1. The start (x, y) is drawn for the
/// name and the seed, so that every data set has points of its own.
pub fn shape_samples(name: &str, seed: u64) -> impl Iterator<Item = Shape> + use<> {
    let hash = blake3::Hasher::new().update(&seed.to_le_bytes()).update(name.as_bytes()).finalize();
    let start = |at: usize| {
        let bytes = hash.as_bytes()[at..at + 4].iter().fold(0_u32, |sum, &b| sum << 8 | u32::from(b));
        f64::from(bytes) / 2_f64.powi(32)
    };
    let (x, y) = (start(0), start(4));
    (0_u32..).map(move |i| {
        let point =
            |start: f64, step: f64, (low, high): (f64, f64)| low + (high - low) * (start + f64::from(i) * step).fract();
        Shape {
            slope: point(x, 1.0 / PLASTIC, LOG2_SLOPE).exp2(),
            decoder_ratio: point(y, 1.0 / (PLASTIC * PLASTIC), LOG2_RATIO).exp2(),
        }
    })
}

const PLASTIC: f64 = 1.324_717_957_244_746;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{FAMILIES, Options, lean_unet, unet};
    use crate::predict::SizeFeatures;

    fn net(base_width: usize, depth: usize) -> NetworkSpec {
        unet(&Options { in_channels: 1, base_width, depth, ..Options::default() }).unwrap()
    }

    #[test]
    fn the_uniform_shape_changes_nothing_and_the_flat_one_is_the_lean_unet() {
        let uniform = net(8, 3);
        assert_eq!(Shape::UNIFORM.widths(&uniform, 1.0).unwrap(), uniform.widths());
        assert_eq!(Shape::UNIFORM.widths_of_equal_parameters(&uniform).unwrap(), uniform.widths());
        let lean = lean_unet(&Options { in_channels: 1, base_width: 8, depth: 3, ..Options::default() }).unwrap();
        assert_eq!(Shape::FLAT.widths(&uniform, 1.0).unwrap(), lean.widths());
    }

    #[test]
    fn slope_and_ratio_are_those_that_the_size_of_a_network_is_described_with() {
        let bent = Shape { slope: 0.5_f64.sqrt(), decoder_ratio: 0.5 };
        let uniform = net(256, 4);
        let features = SizeFeatures::of(&uniform.with_widths(&bent.widths(&uniform, 1.0).unwrap()).unwrap()).unwrap();
        assert!((features.decoder_ratio + 1.0).abs() < 0.01, "{}", features.decoder_ratio);
        let encoder = |s: usize| features.cells.iter().find(|c| c.place.scale == s && c.place.side == Side::Encoder);
        let fall = encoder(4).unwrap().log2_width - encoder(0).unwrap().log2_width;
        assert!((fall + 2.0).abs() < 0.01, "half an octave per level: {fall}");
    }

    #[test]
    fn equal_parameters_are_nearly_equal_in_every_family() {
        for family in FAMILIES {
            let uniform = family.build(&Options { base_width: 12, ..family.options(3, 2) }).unwrap();
            for shape in shape_samples("x", 1).take(2) {
                let widths = shape.widths_of_equal_parameters(&uniform).unwrap();
                let bent = parameters(&uniform.with_widths(&widths).unwrap()).unwrap() as f64;
                let ratio = bent / parameters(&uniform).unwrap() as f64;
                assert!((0.9..1.11).contains(&ratio), "{} {shape:?}: {ratio}", family.name);
            }
        }
    }

    #[test]
    fn samples_stay_in_range_and_leave_no_quarter_empty() {
        for seed in 0..20 {
            let mut quarters = [0; 4];
            for shape in shape_samples("glas", seed).take(16) {
                let place = |v: f64, (low, high): (f64, f64)| (v.log2() - low) / (high - low);
                let (x, y) = (place(shape.slope, LOG2_SLOPE), place(shape.decoder_ratio, LOG2_RATIO));
                assert!((-1e-9..1.0 + 1e-9).contains(&x) && (-1e-9..1.0 + 1e-9).contains(&y), "{shape:?}");
                quarters[2 * usize::from(x >= 0.5) + usize::from(y >= 0.5)] += 1;
            }
            assert!(quarters.iter().all(|&n| (2..=6).contains(&n)), "seed {seed}: {quarters:?}");
        }
        let first = |name: &str| shape_samples(name, 0).next().unwrap();
        assert_eq!(first("a"), first("a"));
        assert_ne!(first("a"), first("b"));
    }
}
