//! The form of CC-Net (Mishra, Chen, Hu): at every size, accuracy is linear in two complexities of the data set.
//!
//! Theirs are J (JPEG based) and B; here `jpeg` and `blob_density`, our definitions, and skill in place of accuracy.

use serde::{Deserialize, Serialize};

use super::mean_curve::at;
use super::{Grid, Model};
use crate::error::{Error, Result};
use crate::predict::Measures;
use crate::predict::linear::{Feature, ridge};
use crate::predict::monotone::Monotone;
use crate::predict::samples::SetSamples;

/// Three coefficients can be fitted at a knot from this many data sets on; with fewer its mean is used.
const SMALLEST: usize = 5;

/// Ordinary least squares at every knot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PaperForm {
    features: Vec<Feature>,
    /// Per knot: mean skill, then one coefficient per feature, on the features centred at that knot.
    knots: Vec<(f64, Vec<f64>)>,
}

impl Model for PaperForm {
    fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        let measures: Vec<&Measures> = sets.iter().map(|s| &s.measures).collect();
        let features = Feature::fit(&["jpeg", "blob_density"], &measures);
        if features.len() < 2 {
            let reason = "the paper's form needs jpeg and blob_density, varying over the data sets".into();
            return Err(Error::Calibration { reason });
        }
        let knots = (0..grid.knots.len()).map(|i| fit_knot(sets, grid, i, &features)).collect();
        Ok(Self { features, knots })
    }

    fn curve(&self, grid: &Grid, depth: usize, measures: &Measures) -> Monotone {
        let z: Vec<f64> = self.features.iter().map(|f| f.value(measures)).collect();
        grid.curve(depth, |i, _| self.knots[i].0 + z.iter().zip(&self.knots[i].1).map(|(z, b)| z * b).sum::<f64>())
    }
}

fn fit_knot(sets: &[&SetSamples], grid: &Grid, i: usize, features: &[Feature]) -> (f64, Vec<f64>) {
    let mut rows = Vec::new();
    let mut skills = Vec::new();
    for set in sets {
        for skill in at(set, grid, i) {
            rows.push(features.iter().map(|f| f.value(&set.measures)).collect::<Vec<f64>>());
            skills.push(skill);
        }
    }
    let n = rows.len() as f64;
    let mean = skills.iter().sum::<f64>() / n;
    if rows.len() < SMALLEST {
        return (mean, vec![0.0; features.len()]);
    }
    let centre: Vec<f64> = (0..features.len()).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n).collect();
    rows.iter_mut().for_each(|r| r.iter_mut().zip(&centre).for_each(|(v, c)| *v -= c));
    let centred: Vec<f64> = skills.iter().map(|s| s - mean).collect();
    let coefficients = ridge(&rows, &centred, 0.0);
    let offset: f64 = coefficients.iter().zip(&centre).map(|(b, c)| b * c).sum();
    (mean - offset, coefficients)
}
