//! [`Line`]: one shape of a network at all overall widths, as a nested sequence of width vectors.

use super::space::Level;
use crate::network::round_channels;
use crate::predict::{Hull, Side};

/// Octaves per level by which channels grow faster towards the bottom than in the family's own network. One octave less per level
/// makes a U-Net flat.
const SLOPES: [f64; 7] = [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5];

/// Octaves by which the decoder is wider than in the family's own network.
const RATIOS: [f64; 5] = [-1.5, -1.0, -0.5, 0.0, 0.5];

/// How the channels are divided among the groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bend {
    /// As in the full network.
    Uniform,
    /// The same channels in every group.
    Flat,
    /// 2^(slope scale) times as many as in the full network, and 2^ratio times that in the decoder.
    Bent { slope: f64, ratio: f64 },
}

/// All networks of one depth and shape, from the narrowest to the widest; each has no group narrower than the one before.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Index of the depth in the space.
    pub level: usize,
    pub bend: Bend,
    /// Exact channels of every group at factor 1, in its steps.
    steps: Vec<f64>,
    /// Factors at which some group gets one more step, rising.
    factors: Vec<f64>,
}

/// Share by which a factor may miss a rounding threshold: thresholds that are equal on paper are taken together.
const TOLERANCE: f64 = 1e-9;

impl Line {
    /// The line of `bend` at the depth `level`, with index `index`.
    pub(super) fn new(level: &Level, index: usize, bend: Bend) -> Self {
        let factor = |scale: usize, side: Side, full: usize| match bend {
            Bend::Uniform => 1.0,
            Bend::Flat => 1.0 / full as f64,
            Bend::Bent { slope, ratio } => {
                (slope * scale as f64 + if side == Side::Decoder { ratio } else { 0.0 }).exp2()
            }
        };
        let steps: Vec<f64> = level
            .groups
            .iter()
            .map(|g| {
                let (scale, side) = g.place.map_or((0, Side::Encoder), |p| (p.scale, p.side));
                g.full as f64 / g.step as f64 * factor(scale, side, g.full)
            })
            .collect();
        let mut factors: Vec<f64> = Vec::new();
        for (group, exact) in level.groups.iter().zip(&steps) {
            factors.extend((group.low / group.step..group.high / group.step).map(|k| (k as f64 + 0.5) / exact));
        }
        factors.sort_unstable_by(f64::total_cmp);
        factors.dedup_by(|next, kept| *next <= *kept * (1.0 + TOLERANCE));
        Self { level: index, bend, steps, factors }
    }

    /// The uniform line, and the others of the grid that lie inside the calibrated hull.
    pub(super) fn all(level: &Level, index: usize, hull: &Hull) -> Vec<Self> {
        let shapes = hull.shapes_at(level.full.depth);
        let inside = |slope: f64, ratio: f64| shapes.contains(slope, ratio);
        let grid = SLOPES.iter().flat_map(|&slope| RATIOS.map(|ratio| (slope, ratio)));
        let bent = grid
            .filter(|&(slope, ratio)| (slope, ratio) != (0.0, 0.0) && inside(slope, ratio))
            .map(|(slope, ratio)| Bend::Bent { slope, ratio });
        let flat = std::iter::once(Bend::Flat).filter(|_| inside(-1.0, 0.0));
        let bends = std::iter::once(Bend::Uniform).chain(flat).chain(bent);
        bends.map(|bend| Self::new(level, index, bend)).collect()
    }

    /// Number of networks, at least 1.
    pub(super) fn len(&self) -> usize {
        self.factors.len() + 1
    }

    /// Channels of network `i`, below [`Self::len`].
    pub(super) fn channels(&self, level: &Level, i: usize) -> Vec<usize> {
        let factor = if i == 0 { 0.0 } else { self.factors[i - 1] };
        let rounded = |exact: f64| round_channels(exact * factor * (1.0 + TOLERANCE), 1);
        let groups = level.groups.iter().zip(&self.steps);
        groups.map(|(g, &exact)| (rounded(exact) * g.step).clamp(g.low, g.high)).collect()
    }

    /// Exact channels, before rounding, at the factors at which network `i` begins and ends.
    pub(super) fn exact(&self, level: &Level, i: usize) -> (Vec<f64>, Vec<f64>) {
        let first = if i == 0 { self.factors.first().map_or(1.0, |f| 0.5 * f) } else { self.factors[i - 1] };
        let last = self.factors.get(i).copied().unwrap_or(first);
        let at = |factor: f64| level.groups.iter().zip(&self.steps).map(|(g, s)| s * g.step as f64 * factor).collect();
        (at(first), at(last))
    }

    /// The last network whose factor is at most `factor` times full width.
    #[cfg(test)]
    pub(super) fn index(&self, factor: f64) -> usize {
        self.factors.partition_point(|&f| f <= factor * (1.0 + TOLERANCE))
    }

    /// Networks about `per_octave` to an octave of the factor, rising, the first and the last among them.
    pub(super) fn stations(&self, per_octave: f64) -> Vec<usize> {
        let mut found = vec![0];
        let mut next = 0.0;
        for (i, &factor) in self.factors.iter().enumerate() {
            if factor >= next {
                found.push(i + 1);
                next = factor * (1.0 / per_octave).exp2();
            }
        }
        if found.last() != Some(&self.factors.len()) {
            found.push(self.factors.len());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Widths;
    use crate::plan::space::{Freedom, Space};
    use crate::predict::ShapeHull;
    use crate::predict::{NetworkOptions, SizeFeatures};
    use proptest::prelude::*;

    fn space(full_width: usize, divisor: usize) -> Space {
        let family = "unet".into();
        let options = NetworkOptions { family, in_channels: 1, classes: 2, full_width, depth: 3, size: 32 };
        Space::of_family(&options, &Freedom { divisor, ..Freedom::default() }).unwrap()
    }

    fn widths(level: &Level, line: &Line, i: usize) -> Widths {
        level.widths(&line.channels(level, i))
    }

    #[test]
    fn the_flat_line_has_equal_channels_and_is_the_slope_of_minus_one() {
        let space = space(16, 1);
        let level = space.full();
        let flat = Line::new(level, 2, Bend::Flat);
        assert_eq!(flat.len(), 128, "1 to 128 channels, one at a time; 16 is the most at the top");
        assert!(widths(level, &flat, 4).values().all(|&c| c == 5));
        let bent = Line::new(level, 2, Bend::Bent { slope: -1.0, ratio: 0.0 });
        assert_eq!((bent.len(), widths(level, &bent, 7)), (128, widths(level, &flat, 7)));
    }

    #[test]
    fn slope_and_ratio_can_be_read_back_from_the_channels() {
        let space = space(64, 1);
        let level = space.full();
        let line = Line::new(level, 2, Bend::Bent { slope: -0.5, ratio: -1.0 });
        let spec = level.network(&line.channels(level, line.index(0.5)), 1).unwrap();
        let channels = |name: &str| spec.group(name).unwrap().channels;
        assert_eq!((channels("enc0"), channels("enc2"), channels("dec2")), (32, 64, 32));
        let features = SizeFeatures::of(&spec).unwrap();
        assert!((features.decoder_ratio + 1.0).abs() < 0.05, "{}", features.decoder_ratio);
    }

    #[test]
    fn only_shapes_inside_the_hull_are_lines() {
        let space = space(16, 1);
        let hull = |slope, decoder_ratio| Hull {
            measures: std::collections::BTreeMap::new(),
            constant_dice: [0.0, 1.0],
            shapes: [(4, ShapeHull { slope, decoder_ratio })].into(),
            least_params: std::collections::BTreeMap::new(),
        };
        let narrow = Line::all(space.full(), 2, &hull([-0.1, 0.1], [-0.1, 0.1]));
        assert_eq!(narrow.iter().map(|l| l.bend).collect::<Vec<_>>(), [Bend::Uniform]);
        let wide = Line::all(space.full(), 2, &hull([-1.1, 0.6], [-1.6, 0.6]));
        assert_eq!(wide.len(), 36, "seven slopes and five ratios, one of them uniform, and the flat shape");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_line_is_nested_and_holds_every_multiplier(
            full in 1_usize..20, divisor in 1_usize..4, factor in 0.001..1.0_f64,
            slope in -1.0..0.5_f64, ratio in -1.5..0.5_f64,
        ) {
            let space = space(full, divisor);
            let level = space.full();
            for bend in [Bend::Uniform, Bend::Flat, Bend::Bent { slope, ratio }] {
                let line = Line::new(level, 2, bend);
                let vectors: Vec<_> = (0..line.len()).map(|i| line.channels(level, i)).collect();
                for pair in vectors.windows(2) {
                    prop_assert!(pair[0] != pair[1]);
                    prop_assert!(pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b));
                }
                prop_assert!(vectors[0].iter().zip(&level.groups).all(|(&c, g)| c == g.low));
                prop_assert!(vectors.last().unwrap().iter().zip(&level.groups).all(|(&c, g)| c == g.high));
            }
            if divisor == 1 {
                let line = Line::new(level, 2, Bend::Uniform);
                let multiplied = level.full.with_multiplier(factor).unwrap().widths();
                prop_assert_eq!(widths(level, &line, line.index(factor)), multiplied);
            }
        }
    }
}
