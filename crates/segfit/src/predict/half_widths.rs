//! How wide the 90% intervals are: one score for each data set left out.
//!
//! The networks of one data set err together, so that its widths are not independent evidence. Its score is the largest of its
//! errors, each divided by the spread usual at that size and by a unit that differs between data sets. The conformal
//! quantile q of the scores then holds for the *whole curve* of a new data set in nine cases of ten; a single size is inside
//! more often. (The mean over sizes of a score would not say that any interval holds.)

use serde::{Deserialize, Serialize};

use super::candidates::{Estimate, HeldOut};
use super::grid::{Grid, Spot};
use super::interval::{Interval, half_width};

/// What an error of retention is measured in, so that data sets compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Retention itself, or logit Dice: the same width for all data sets.
    Plain,
    /// Skill: in proportion to the predicted 1 - D0 / D_ref.
    Skill,
    /// Dice: in inverse proportion to the predicted D_ref.
    Dice,
    /// The predicted deficit 1 - r, from .02 on.
    Deficit,
}

/// Units that are tried for retention.
const UNITS: [Unit; 4] = [Unit::Plain, Unit::Skill, Unit::Dice, Unit::Deficit];

/// Below this stake, errors are not divided further.
const SMALLEST_STAKE: f64 = 0.05;

/// Deficits are not told apart below this: about the noise of a training.
const SMALLEST_DEFICIT: f64 = 0.02;

/// Pseudo-observations of the mean spread over all sizes that the spread of one size is drawn to.
const SHRINKAGE: f64 = 3.0;

impl Unit {
    fn of(self, estimate: &Estimate) -> f64 {
        match self {
            Self::Plain => 1.0,
            Self::Skill => estimate.stake.max(SMALLEST_STAKE),
            Self::Dice => 1.0 / estimate.reference,
            Self::Deficit => (1.0 - estimate.retention).max(0.0) + SMALLEST_DEFICIT,
        }
    }
}

/// What a model that has not seen a data set says of one network on it, and how far that is off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Residual {
    /// Number of the data set.
    pub set: usize,
    pub spot: Spot,
    /// Whether retention is 1 by definition.
    pub is_reference: bool,
    /// Measured minus predicted retention.
    pub retention: f64,
    /// Measured minus predicted logit Dice.
    pub logit: f64,
    pub estimate: Estimate,
}

impl Residual {
    /// Of predictions of data sets left out.
    pub(crate) fn of(held: &[HeldOut], grid: &Grid) -> Vec<Self> {
        let one = |h: &HeldOut| Self {
            set: h.set,
            spot: grid.spot(&h.family, &h.size),
            is_reference: h.is_reference,
            retention: h.retention - h.estimate.retention,
            logit: h.logit_error(),
            estimate: h.estimate,
        };
        held.iter().map(one).collect()
    }
}

/// Half widths of one quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Band {
    unit: Unit,
    /// q.
    quantile: f64,
    /// Mean |error| in `unit` at every knot.
    spread: Vec<f64>,
    /// Median of the spreads.
    typical: f64,
}

impl Band {
    /// From errors on data sets left out; `exact` are the knots without an error by definition.
    fn of(residuals: &[&Residual], error: fn(&Residual) -> f64, grid: &Grid, unit: Unit, exact: &[bool]) -> Self {
        let scaled = |r: &Residual| error(r).abs() / unit.of(&r.estimate);
        let pooled = residuals.iter().map(|r| scaled(r)).sum::<f64>() / residuals.len().max(1) as f64;
        let mut sums = vec![(SHRINKAGE * pooled, SHRINKAGE); grid.knots.len()];
        for r in residuals {
            for (i, w) in grid.around(&r.spot) {
                sums[i] = (sums[i].0 + w * scaled(r), sums[i].1 + w);
            }
        }
        let spread: Vec<f64> =
            sums.iter().zip(exact).map(|(&(sum, n), &exact)| if exact { 0.0 } else { sum / n }).collect();
        let mut inner: Vec<f64> = spread.iter().copied().filter(|s| *s > 0.0).collect();
        inner.sort_by(f64::total_cmp);
        let typical = inner.get(inner.len() / 2).copied().unwrap_or(0.0);
        let mut scores: std::collections::BTreeMap<usize, f64> = std::collections::BTreeMap::new();
        for r in residuals {
            let usual = grid.between(&spread, &r.spot);
            let score = if usual > 0.0 { scaled(r) / usual } else { 0.0 };
            let largest = scores.entry(r.set).or_default();
            *largest = largest.max(score);
        }
        let quantile = half_width(&scores.into_values().collect::<Vec<_>>()).unwrap_or(0.0);
        Self { unit, quantile, spread, typical }
    }

    /// Half width at a size.
    pub(crate) fn at(&self, grid: &Grid, spot: &Spot, estimate: &Estimate) -> f64 {
        self.quantile * grid.between(&self.spread, spot) * self.unit.of(estimate)
    }

    /// Half width at the median calibrated size.
    pub(crate) fn typical(&self, estimate: &Estimate) -> f64 {
        self.quantile * self.typical * self.unit.of(estimate)
    }
}

/// Half widths of the 90% intervals of retention and of logit Dice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HalfWidths {
    pub retention: Band,
    pub logit: Band,
    /// No interval of retention ends above this (or above its mean): beyond 1 by twice the largest excess measured, so that a
    /// symmetric interval does not promise what no network has kept.
    cap: f64,
}

impl HalfWidths {
    /// From errors on data sets left out; the unit of retention is the one with the narrowest intervals on them.
    pub(crate) fn of(residuals: &[Residual], grid: &Grid) -> Self {
        let exact: Vec<bool> = grid.knots.iter().map(|k| grid.is_reference(k)).collect();
        let all: Vec<&Residual> = residuals.iter().collect();
        let inner: Vec<&Residual> = residuals.iter().filter(|r| !r.is_reference).collect();
        let bands = UNITS.map(|unit| Band::of(&inner, |r| r.retention, grid, unit, &exact));
        let [mut narrowest, rest @ ..] = bands;
        for band in rest {
            if band.mean(&inner, grid) < narrowest.mean(&inner, grid) * (1.0 - 1e-9) {
                narrowest = band;
            }
        }
        let logit = Band::of(&all, |r| r.logit, grid, Unit::Plain, &vec![false; grid.knots.len()]);
        let highest = inner.iter().map(|r| r.estimate.retention + r.retention).fold(1.0, f64::max);
        Self { retention: narrowest, logit, cap: 2.0 * highest - 1.0 }
    }

    /// The interval of retention at a size.
    pub(crate) fn interval(&self, grid: &Grid, spot: &Spot, estimate: &Estimate) -> Interval {
        self.around(estimate.retention, self.retention.at(grid, spot, estimate))
    }

    /// `mean` and `half` on both sides, cut at 0 and at the cap.
    pub(crate) fn around(&self, mean: f64, half: f64) -> Interval {
        Interval { low: (mean - half).max(0.0), mean, high: (mean + half).min(self.cap.max(mean)) }
    }
}

impl Band {
    /// Mean half width over `residuals`.
    pub(crate) fn mean(&self, residuals: &[&Residual], grid: &Grid) -> f64 {
        residuals.iter().map(|r| self.at(grid, &r.spot, &r.estimate)).sum::<f64>() / residuals.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn the_largest_score_of_each_data_set_counts_once() {
        let samples = Samples::of(&records(&World { sets: 2, ..World::default() })).unwrap();
        let grid = Grid::of(&samples.training(false));
        let estimate = Estimate { retention: 0.9, reference: 0.8, stake: 0.5 };
        let residual = |set: usize, knot: usize, retention: f64| Residual {
            set,
            spot: grid.knots[knot].spot(),
            is_reference: false,
            retention,
            logit: 0.0,
            estimate,
        };
        // Nine sets; set 8 errs by .3 at one size, the others by .1 everywhere.
        let list: Vec<Residual> =
            (0..9).flat_map(|s| [residual(s, 0, 0.1), residual(s, 1, if s == 8 { -0.3 } else { 0.1 })]).collect();
        let widths = HalfWidths::of(&list, &grid);
        assert_eq!(widths.retention.unit, Unit::Plain, "all estimates are alike, the first unit stays");
        let half = widths.retention.at(&grid, &grid.knots[1].spot(), &estimate);
        assert!((half - 0.3).abs() < 1e-9, "of nine scores the largest: {half}");
        let interval = widths.interval(&grid, &grid.knots[1].spot(), &estimate);
        assert!((interval.low - 0.6).abs() < 1e-9 && interval.high <= 1.0 + 1e-9, "nothing was measured above 1");
        assert_eq!(widths.retention.at(&grid, &grid.references[0].spot(), &estimate), 0.0);
    }
}
