//! The form of CC-Net (Mishra, Chen, Hu): at every size, accuracy is linear in two complexities of the data set.
//!
//! Theirs are J (JPEG based) and B. J is `j` where all data sets have it, otherwise `jpeg`; B is our `blob_density`; accuracy is
//! retention.

use serde::{Deserialize, Serialize};

use super::{Model, Traits};
use crate::error::{Error, Result};
use crate::predict::Measures;
use crate::predict::grid::{Grid, Knot, Spot};
use crate::predict::linear::{Feature, ridge};
use crate::predict::samples::SetSamples;

/// Three coefficients can be fitted at a knot from this many data sets on; with fewer its mean is used.
const SMALLEST: usize = 5;

/// Ordinary least squares at every knot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PaperForm {
    features: Vec<Feature>,
    /// Per knot: retention at the average complexity, then one coefficient per feature.
    knots: Vec<(f64, Vec<f64>)>,
}

impl PaperForm {
    /// # Errors
    /// When some data set lacks a complexity.
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        let measures: Vec<&Measures> = sets.iter().map(|s| &s.measures).collect();
        let j = if measures.iter().all(|m| m.contains_key("j")) { "j" } else { "jpeg" };
        let features = Feature::fit(&[j, "blob_density"], &measures);
        if features.len() < 2 {
            let reason = format!("the paper's form needs {j} and blob_density, varying over the data sets");
            return Err(Error::Calibration { reason });
        }
        let means = grid.means(sets.iter().flat_map(|s| s.inner()).map(|p| (p, p.retention())));
        let knots = grid.knots.iter().enumerate().map(|(i, k)| fit_knot(sets, grid, k, means[i], &features)).collect();
        Ok(Self { features, knots })
    }
}

impl Model for PaperForm {
    fn retention(&self, grid: &Grid, of: &Traits<'_>, at: &Spot) -> f64 {
        let z: Vec<f64> = self.features.iter().map(|f| f.value(of.measures)).collect();
        let value = |i: usize| self.knots[i].0 + z.iter().zip(&self.knots[i].1).map(|(z, b)| z * b).sum::<f64>();
        grid.curve(at, |i, _| value(i)).at(at.log2_width).max(0.0)
    }

    fn measures(&self) -> Vec<&str> {
        self.features.iter().map(|f| f.name.as_str()).collect()
    }
}

fn fit_knot(sets: &[&SetSamples], grid: &Grid, knot: &Knot, mean: f64, features: &[Feature]) -> (f64, Vec<f64>) {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for set in sets {
        for point in set.inner() {
            let spot = grid.spot(&point.family, &point.size);
            let same = (spot.family, spot.depth) == (knot.family, knot.depth);
            if same && (spot.log2_width - knot.log2_width).abs() < 1e-6 {
                rows.push(features.iter().map(|f| f.value(&set.measures)).collect::<Vec<f64>>());
                values.push(point.retention());
            }
        }
    }
    if rows.len() < SMALLEST {
        return (mean, vec![0.0; features.len()]);
    }
    let n = rows.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let centre: Vec<f64> = (0..features.len()).map(|j| rows.iter().map(|r| r[j]).sum::<f64>() / n).collect();
    rows.iter_mut().for_each(|r| r.iter_mut().zip(&centre).for_each(|(v, c)| *v -= c));
    let centred: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let coefficients = ridge(&rows, &centred, 0.0);
    let offset: f64 = coefficients.iter().zip(&centre).map(|(b, c)| b * c).sum();
    (mean - offset, coefficients)
}
