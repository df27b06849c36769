//! What the candidate models share: the sizes they were fitted at, and the trait they implement.

mod mean_curve;
mod paper_form;
mod reference;
mod ridge;

use serde::{Deserialize, Serialize};

pub(crate) use mean_curve::MeanCurve;
pub(crate) use paper_form::PaperForm;
pub(crate) use reference::Reference;
pub(crate) use ridge::Ridge;

use super::Measures;
use super::monotone::Monotone;
use super::samples::SetSamples;
use crate::error::Result;

/// Measures that the regressions may use, in this order; those that some calibrated set lacks are not used.
pub(crate) const FEATURES: [&str; 5] = ["jpeg", "edge", "median_frequency", "foreground", "survival@1/4"];

/// A model of the skill of every size on any data set.
pub(crate) trait Model: Sized {
    /// Fits to `sets`, whose sizes are those of `grid`.
    fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self>;

    /// Skill over effective log2 width, for a data set and one of the depths of `grid`.
    fn curve(&self, grid: &Grid, depth: usize, measures: &Measures) -> Monotone;
}

/// A size at which records exist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Knot {
    /// Depth.
    pub depth: usize,
    /// Effective log2 width.
    pub log2_width: f64,
    /// Data sets that were measured at it.
    pub sets: usize,
}

impl Knot {
    /// Whether it is the size of this depth and width.
    pub(crate) fn is(&self, depth: usize, log2_width: f64) -> bool {
        self.depth == depth && (self.log2_width - log2_width).abs() < 1e-6
    }
}

/// All sizes at which records exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grid {
    /// By depth, then width.
    pub knots: Vec<Knot>,
    /// The reference network, where skill is 1 by definition.
    pub reference: Knot,
}

impl Grid {
    /// The sizes of `sets`, of which there must be at least one.
    pub(crate) fn of(sets: &[&SetSamples]) -> Self {
        let mut knots: Vec<Knot> = Vec::new();
        let mut reference = Knot { depth: 0, log2_width: 0.0, sets: sets.len() };
        for point in sets.iter().flat_map(|s| &s.points) {
            let (depth, log2_width) = (point.size.depth, point.size.log2_width);
            match knots.iter_mut().find(|k| k.is(depth, log2_width)) {
                Some(knot) => knot.sets += 1,
                None => knots.push(Knot { depth, log2_width, sets: 1 }),
            }
            if point.is_reference {
                (reference.depth, reference.log2_width) = (depth, log2_width);
            }
        }
        knots.sort_by(|a, b| a.depth.cmp(&b.depth).then(a.log2_width.total_cmp(&b.log2_width)));
        Self { knots, reference }
    }

    /// Calibrated depths, rising.
    pub(crate) fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = self.knots.iter().map(|k| k.depth).collect();
        depths.dedup();
        depths
    }

    /// `depth` itself when calibrated, otherwise the nearest calibrated depth, the shallower of two.
    pub(crate) fn nearest_depth(&self, depth: usize) -> usize {
        self.depths().into_iter().min_by_key(|d| (d.abs_diff(depth), *d)).unwrap_or(depth)
    }

    /// Calibrated range of the effective log2 width at a calibrated depth.
    pub(crate) fn width_range(&self, depth: usize) -> (f64, f64) {
        let widths = || self.knots.iter().filter(|k| k.depth == depth).map(|k| k.log2_width);
        (widths().fold(f64::INFINITY, f64::min), widths().fold(f64::NEG_INFINITY, f64::max))
    }

    /// The rising curve through `skill` of the knots of one depth; it is 1 at the reference.
    pub(crate) fn curve(&self, depth: usize, skill: impl Fn(usize, &Knot) -> f64) -> Monotone {
        let at_depth = self.knots.iter().enumerate().filter(|(_, k)| k.depth == depth && !self.is_reference(k));
        let curve = Monotone::fit(at_depth.map(|(i, k)| (k.log2_width, skill(i, k), k.sets as f64)).collect());
        if depth == self.reference.depth { curve.through(self.reference.log2_width, 1.0) } else { curve }
    }

    /// Whether this knot is the reference.
    pub(crate) fn is_reference(&self, knot: &Knot) -> bool {
        self.reference.is(knot.depth, knot.log2_width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::MEASURES;

    #[test]
    fn every_feature_is_a_measure_that_a_profile_has() {
        for feature in FEATURES {
            let (name, scale) = feature.split_once("@1/").unwrap_or((feature, "1"));
            let index = scale.parse::<usize>().unwrap().ilog2() as usize;
            let measure = MEASURES.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no measure {name}"));
            assert!((measure.first_scale..=measure.last_scale).contains(&index), "{feature}");
        }
    }
}
