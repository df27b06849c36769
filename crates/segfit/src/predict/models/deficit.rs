//! Complexity shifts and tilts the curve of log deficit over width, as far as the penalty lets it; see [`crate::predict::problem`].

use serde::{Deserialize, Serialize};

use super::{FEATURES, Model, Traits};
use crate::error::{Error, Result};
use crate::predict::grid::{Grid, Spot};
use crate::predict::linear::Feature;
use crate::predict::problem::{Problem, shift};
use crate::predict::samples::SetSamples;

/// Which measures a regression may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Features {
    /// [`FEATURES`].
    Fixed,
    /// Up to three of all, by forward selection on the data sets that it is fitted to.
    Selected,
}

/// The regression of the module's heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deficit {
    features: Vec<Feature>,
    /// m at every knot.
    log_deficit: Vec<f64>,
    centre: f64,
    /// a and b of each feature in turn.
    coefficients: Vec<f64>,
    penalty: f64,
}

impl Deficit {
    /// # Errors
    /// When there is none of the fixed measures that all data sets have. (Without any measure to select, the mean remains.)
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid, features: Features) -> Result<Self> {
        let names: Vec<&str> = match features {
            Features::Fixed => FEATURES.to_vec(),
            Features::Selected => {
                sets.first().map(|s| s.measures.keys().map(String::as_str).collect()).unwrap_or_default()
            }
        };
        let problem = Problem::new(sets, grid, &names);
        if problem.features.is_empty() && features == Features::Fixed {
            let reason = format!("the regression needs one of the measures {}", names.join(", "));
            return Err(Error::Calibration { reason });
        }
        let chosen = match features {
            Features::Fixed => (0..problem.features.len()).collect(),
            Features::Selected => problem.select(),
        };
        let penalty = problem.best_penalty(&chosen);
        Ok(Self {
            features: chosen.iter().map(|&i| problem.features[i].clone()).collect(),
            coefficients: problem.coefficients(&chosen, penalty),
            log_deficit: problem.log_deficit,
            centre: problem.centre,
            penalty,
        })
    }
}

impl Model for Deficit {
    fn retention(&self, grid: &Grid, of: &Traits<'_>, at: &Spot) -> f64 {
        let z: Vec<f64> = self.features.iter().map(|f| f.value(of.measures)).collect();
        let skill = |i: usize, spot: &Spot| {
            1.0 - (self.log_deficit[i] + shift(&z, &self.coefficients, self.centre, spot)).exp()
        };
        let skill = grid.curve(at, |i, knot| skill(i, &knot.spot())).at(at.log2_width);
        (1.0 - (1.0 - skill) * of.stake).max(0.0)
    }

    fn measures(&self) -> Vec<&str> {
        self.features.iter().map(|f| f.name.as_str()).collect()
    }
}
