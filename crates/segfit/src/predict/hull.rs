//! [`Hull`]: what was calibrated; outside of it a prediction is an extrapolation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::candidates::Fitted;
use super::samples::SetSamples;
use super::size::SizeFeatures;

/// What was calibrated; outside of it a prediction is an extrapolation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hull {
    /// Smallest and largest value of each measure over the data sets, widened by [`MARGIN`] of their distance.
    pub measures: BTreeMap<String, [f64; 2]>,
    /// The same of the Dice of the best constant mask.
    pub constant_dice: [f64; 2],
    /// Shapes by depth; at least one.
    pub shapes: BTreeMap<usize, ShapeHull>,
    /// Fewest parameters of a calibrated network, by family and depth.
    pub least_params: BTreeMap<String, BTreeMap<usize, u64>>,
}

/// Shapes of the calibrated networks of one depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShapeHull {
    /// Range of their slope over depth, widened by [`SHAPE_MARGIN`] octaves per level.
    pub slope: [f64; 2],
    /// Range of their decoder-to-encoder ratio, widened by [`SHAPE_MARGIN`] octaves.
    pub decoder_ratio: [f64; 2],
}

/// Share of a range that may lie outside before it counts as extrapolation.
pub const MARGIN: f64 = 0.1;

/// Octaves by which rounding may bend a shape before it counts as another one.
pub const SHAPE_MARGIN: f64 = 0.1;

impl Hull {
    pub(super) fn of(sets: &[&SetSamples], fitted: &Fitted) -> Self {
        let names = fitted.measures();
        let range = |name: &&str| {
            let values = sets.iter().map(|s| s.measures.get(*name).copied()).collect::<Option<Vec<f64>>>()?;
            Some(((*name).to_string(), widened(values.into_iter(), MARGIN, 0.0)))
        };
        let sizes: Vec<&SizeFeatures> = sets.iter().flat_map(|s| &s.points).map(|p| &p.size).collect();
        let shapes = |depth: usize| {
            let own = || sizes.iter().filter(move |s| s.depth == depth);
            let slope = widened(own().map(|s| s.slope), 0.0, SHAPE_MARGIN);
            (depth, ShapeHull { slope, decoder_ratio: widened(own().map(|s| s.decoder_ratio), 0.0, SHAPE_MARGIN) })
        };
        Self {
            measures: names.iter().filter_map(range).collect(),
            constant_dice: widened(sets.iter().map(|s| s.constant_dice), MARGIN, 0.0),
            shapes: sizes.iter().map(|s| shapes(s.depth)).collect(),
            least_params: Self::least_params(sets),
        }
    }

    fn least_params(sets: &[&SetSamples]) -> BTreeMap<String, BTreeMap<usize, u64>> {
        let mut least = BTreeMap::<String, BTreeMap<usize, u64>>::new();
        for point in sets.iter().flat_map(|s| &s.points) {
            let params = least.entry(point.family.clone()).or_default().entry(point.size.depth).or_insert(u64::MAX);
            *params = point.params.min(*params);
        }
        least
    }

    /// Whether a network of this size has clearly fewer parameters than any calibrated one of its family and depth.
    #[must_use]
    pub fn is_smaller(&self, family: &str, size: &SizeFeatures) -> bool {
        let least = self.least_params.get(family).and_then(|depths| depths.get(&size.depth));
        least.is_some_and(|least| size.log2_params < (*least as f64).log2() - SHAPE_MARGIN)
    }

    /// The shapes of the calibrated depth nearest to this one, the smaller of two.
    ///
    /// # Panics
    /// When there are no shapes, which no fitted or read mapping has.
    #[must_use]
    pub fn shapes_at(&self, depth: usize) -> &ShapeHull {
        self.shapes.iter().min_by_key(|(d, _)| d.abs_diff(depth)).expect("a hull has shapes").1
    }
}

impl ShapeHull {
    /// Whether a shape of this slope and decoder-to-encoder ratio is inside.
    #[must_use]
    pub fn contains(&self, slope: f64, decoder_ratio: f64) -> bool {
        let within = |value: f64, [low, high]: [f64; 2]| (low..=high).contains(&value);
        within(slope, self.slope) && within(decoder_ratio, self.decoder_ratio)
    }
}

fn widened(values: impl Iterator<Item = f64>, share: f64, more: f64) -> [f64; 2] {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let margin = share * (high - low) + more;
    [low - margin, high + margin]
}
