//! What a linear pixel classifier reaches without any training of a network tells how much capacity the images need.
//!
//! With r the retention and z the standardised `probe_dice` of a data set: `ln(max(1 - r, 0) + 0.01) = m + z (a + b (u_c - u) / 2 +
//! c (D - d) / 2)`. m is the mean over data sets at a size; u the effective log2 width and u_c the mean of the calibrated ones; d the depth and
//! D the reference's. a, b and c are penalised, so that with a large penalty the (geometric) mean curve of the deficit remains. The
//! penalty is chosen by leaving one data set out.

use serde::{Deserialize, Serialize};

use super::{Model, Traits};
use crate::complexity::PROBE_DICE;
use crate::error::{Error, Result};
use crate::predict::grid::{Grid, Spot};
use crate::predict::linear::{Feature, PENALTIES, solve, strongest_of_the_best};
use crate::predict::samples::{Point, SetSamples};

/// Added to the deficit: about the noise between seeds, so that smaller ones are hardly told apart.
const FLOOR: f64 = 0.01;

/// Numbers that are fitted besides the mean curve.
const TERMS: usize = 3;

/// The regression of the module's heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    feature: Feature,
    /// m at every knot.
    log_deficit: Vec<f64>,
    /// u_c.
    centre: f64,
    /// D of every family of the grid.
    depths: Vec<usize>,
    /// a, b, c.
    coefficients: [f64; TERMS],
    penalty: f64,
}

impl Probe {
    /// # Errors
    /// When a data set was not probed.
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        let measures: Vec<_> = sets.iter().map(|s| &s.measures).collect();
        let Some(feature) = Feature::fit(&[PROBE_DICE], &measures).pop() else {
            let reason = format!("not every data set has the measure {PROBE_DICE}, or all have the same");
            return Err(Error::Calibration { reason });
        };
        let centre = grid.knots.iter().map(|k| k.log2_width).sum::<f64>() / grid.knots.len().max(1) as f64;
        let depth = |family: usize| grid.references.iter().find(|r| r.family == family).map_or(0, |r| r.depth);
        let depths = (0..grid.families.len()).map(depth).collect();
        let empty = Self { feature, log_deficit: Vec::new(), centre, depths, coefficients: [0.0; TERMS], penalty: 0.0 };
        let penalty = strongest_of_the_best(&PENALTIES, |penalty| {
            let originals = sets.iter().filter(|s| s.is_original());
            let error = |held: &&SetSamples| {
                let rest: Vec<&SetSamples> = sets.iter().filter(|s| s.root() != held.root()).copied().collect();
                empty.fitted(&rest, grid, penalty).error(held, grid)
            };
            originals.map(error).sum()
        });
        Ok(empty.fitted(sets, grid, penalty))
    }

    /// Fitted to `sets` with this penalty; the standardisation stays.
    fn fitted(&self, sets: &[&SetSamples], grid: &Grid, penalty: f64) -> Self {
        let points = || sets.iter().flat_map(|s| s.inner().map(move |p| (*s, p)));
        let log_deficit = grid.means(points().map(|(_, p)| (p, log_deficit(p))));
        let (mut a, mut b, mut count) = (vec![vec![0.0; TERMS]; TERMS], vec![0.0; TERMS], 0.0);
        for (set, point) in points() {
            let spot = grid.spot(&point.family, &point.size);
            let terms = self.terms(self.feature.value(&set.measures), &spot);
            let rest = self::log_deficit(point) - grid.between(&log_deficit, &spot);
            for i in 0..TERMS {
                b[i] += terms[i] * rest;
                (0..TERMS).for_each(|j| a[i][j] += terms[i] * terms[j]);
            }
            count += 1.0;
        }
        (0..TERMS).for_each(|i| a[i][i] += penalty * count);
        let solved = solve(a, b);
        Self { log_deficit, coefficients: [solved[0], solved[1], solved[2]], penalty, ..self.clone() }
    }

    fn terms(&self, z: f64, at: &Spot) -> [f64; TERMS] {
        let depth = self.depths.get(at.family).copied().unwrap_or(at.depth) as f64;
        [z, z * (self.centre - at.log2_width) / 2.0, z * (depth - at.depth as f64) / 2.0]
    }

    fn deficit(&self, z: f64, knot: usize, at: &Spot) -> f64 {
        let shift: f64 = self.terms(z, at).iter().zip(self.coefficients).map(|(t, c)| t * c).sum();
        (self.log_deficit[knot] + shift).exp() - FLOOR
    }

    /// Mean |error| of retention on a data set.
    fn error(&self, set: &SetSamples, grid: &Grid) -> f64 {
        let z = self.feature.value(&set.measures);
        let one = |p: &Point| {
            let spot = grid.spot(&p.family, &p.size);
            (1.0 - self.retention_at(z, grid, &spot) - (1.0 - p.retention())).abs()
        };
        let errors: Vec<f64> = set.inner().map(one).collect();
        errors.iter().sum::<f64>() / errors.len().max(1) as f64
    }

    fn retention_at(&self, z: f64, grid: &Grid, at: &Spot) -> f64 {
        grid.curve(at, |i, knot| 1.0 - self.deficit(z, i, &knot.spot())).at(at.log2_width).max(0.0)
    }
}

impl Model for Probe {
    fn retention(&self, grid: &Grid, of: &Traits<'_>, at: &Spot) -> f64 {
        self.retention_at(self.feature.value(of.measures), grid, at)
    }

    fn measures(&self) -> Vec<&str> {
        vec![PROBE_DICE]
    }
}

fn log_deficit(point: &Point) -> f64 {
    ((1.0 - point.retention()).max(0.0) + FLOOR).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    fn probed(effect: f64) -> Samples {
        let mut records = records(&World { sets: 7, effect, noise: 0.002, ..World::default() });
        // A complex data set (z of the world high, so jpeg, too) is one that a linear classifier segments badly.
        for record in &mut records {
            let dice = 1.0 - 2.0 * record.measures["jpeg"];
            record.measures.insert(PROBE_DICE.into(), dice);
        }
        Samples::of(&records).unwrap()
    }

    #[test]
    fn a_planted_dependence_is_found_on_a_data_set_left_out() {
        let samples = probed(0.6);
        let sets = samples.training(false);
        let (held, rest) = (sets[6], &sets[..6]);
        let grid = Grid::of(rest);
        let model = Probe::fit(rest, &grid).unwrap();
        let mean = crate::predict::models::MeanCurve::fit(rest, &grid);
        let (mut ours, mut theirs) = (0.0, 0.0);
        for point in held.inner() {
            let spot = grid.spot(&point.family, &point.size);
            let traits = Traits { measures: &held.measures, stake: 0.5 };
            ours += (model.retention(&grid, &traits, &spot) - point.retention()).abs();
            theirs += (mean.retention(&grid, &traits, &spot) - point.retention()).abs();
        }
        assert!(model.coefficients[0] < 0.0, "harder to classify, more is lost: {:?}", model.coefficients);
        assert!(ours < 0.5 * theirs, "{ours} {theirs}");
    }

    #[test]
    fn without_a_dependence_the_mean_curve_remains() {
        let samples = probed(0.0);
        let sets = samples.training(false);
        let model = Probe::fit(&sets, &Grid::of(&sets)).unwrap();
        let [a, ..] = model.coefficients;
        assert!(a.abs() < 0.15, "{:?}", model.coefficients);
    }

    #[test]
    fn data_sets_that_were_not_probed_are_refused() {
        let samples = Samples::of(&records(&World::default())).unwrap();
        let sets = samples.training(false);
        let error = Probe::fit(&sets, &Grid::of(&sets)).unwrap_err();
        assert!(error.to_string().contains(PROBE_DICE), "{error}");
    }
}
