//! Complexity shifts and tilts the curve of log deficit over width, as far as the penalty lets it.
//!
//! With deficit d = max(1 - k, floor) and m the mean of ln d over the data sets at a size,
//! `ln d = m + a.z + (u_c - u) b.z`, where z are the standardised measures, u the effective log2 width and u_c the mean
//! of the calibrated ones. a and b are penalised; with a large penalty the (geometric) mean curve remains.

use serde::{Deserialize, Serialize};

use super::mean_curve::at;
use super::{FEATURES, Grid, Knot, Model};
use crate::error::{Error, Result};
use crate::predict::Measures;
use crate::predict::linear::{Feature, ridge};
use crate::predict::monotone::Monotone;
use crate::predict::samples::SetSamples;

/// Smaller deficits are not told apart: about the noise between seeds.
const FLOOR: f64 = 0.01;

/// Penalties that leave-one-data-set-out chooses from, the strongest first.
pub(super) const PENALTIES: [f64; 7] = [1e6, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03];

/// The model of the module's heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ridge {
    features: Vec<Feature>,
    /// m at every knot.
    log_deficit: Vec<f64>,
    centre: f64,
    /// a, then b.
    coefficients: Vec<f64>,
    penalty: f64,
}

impl Model for Ridge {
    fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        let penalty = strongest_of_the_best(&PENALTIES, |penalty| left_out_error(sets, penalty));
        Self::with_penalty(sets, grid, penalty)
    }

    fn curve(&self, grid: &Grid, depth: usize, measures: &Measures) -> Monotone {
        let z: Vec<f64> = self.features.iter().map(|f| f.value(measures)).collect();
        grid.curve(depth, |i, knot| {
            let row = self.row(&z, knot);
            let shift: f64 = row.iter().zip(&self.coefficients).map(|(x, b)| x * b).sum();
            1.0 - (self.log_deficit[i] + shift).exp()
        })
    }
}

impl Ridge {
    fn with_penalty(sets: &[&SetSamples], grid: &Grid, penalty: f64) -> Result<Self> {
        let measures: Vec<&Measures> = sets.iter().map(|s| &s.measures).collect();
        let features = Feature::fit(&FEATURES, &measures);
        if features.is_empty() {
            let reason = format!("the ridge model needs one of the measures {}", FEATURES.join(", "));
            return Err(Error::Calibration { reason });
        }
        let log_deficit: Vec<f64> = (0..grid.knots.len()).map(|i| mean_log_deficit(sets, grid, i)).collect();
        let centre = grid.knots.iter().map(|k| k.log2_width).sum::<f64>() / grid.knots.len() as f64;
        let mut model = Self { features, log_deficit, centre, coefficients: Vec::new(), penalty };
        let (mut rows, mut y) = (Vec::new(), Vec::new());
        for set in sets {
            let z: Vec<f64> = model.features.iter().map(|f| f.value(&set.measures)).collect();
            for (i, knot) in grid.knots.iter().enumerate().filter(|(_, k)| !grid.is_reference(k)) {
                for skill in at(set, grid, i) {
                    rows.push(model.row(&z, knot));
                    y.push(log_deficit_of(skill) - model.log_deficit[i]);
                }
            }
        }
        model.coefficients = ridge(&rows, &y, penalty);
        Ok(model)
    }

    fn row(&self, z: &[f64], knot: &Knot) -> Vec<f64> {
        z.iter().copied().chain(z.iter().map(|z| z * (self.centre - knot.log2_width))).collect()
    }
}

fn log_deficit_of(skill: f64) -> f64 {
    (1.0 - skill).max(FLOOR).ln()
}

fn mean_log_deficit(sets: &[&SetSamples], grid: &Grid, i: usize) -> f64 {
    let values: Vec<f64> = sets.iter().flat_map(|s| at(s, grid, i)).map(log_deficit_of).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean absolute error of skill on data sets left out, one after the other; infinite when it cannot be told.
fn left_out_error(sets: &[&SetSamples], penalty: f64) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (i, held) in sets.iter().enumerate().filter(|_| sets.len() > 2) {
        let rest: Vec<&SetSamples> = sets.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s).collect();
        let grid = Grid::of(&rest);
        let Ok(model) = Ridge::with_penalty(&rest, &grid, penalty) else { continue };
        for point in held.points.iter().filter(|p| !p.is_reference) {
            let curve = model.curve(&grid, grid.nearest_depth(point.size.depth), &held.measures);
            sum += (held.skill(point.dice) - curve.at(point.size.log2_width)).abs();
            count += 1.0;
        }
    }
    if count == 0.0 { f64::INFINITY } else { sum / count }
}

/// The first of `penalties` (strongest first) whose error no other undercuts.
pub(super) fn strongest_of_the_best(penalties: &[f64], error: impl Fn(f64) -> f64) -> f64 {
    let mut best = (penalties[0], error(penalties[0]));
    for &penalty in &penalties[1..] {
        let error = error(penalty);
        if error < best.1 - 1e-12 {
            best = (penalty, error);
        }
    }
    best.0
}
