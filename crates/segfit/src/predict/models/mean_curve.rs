//! The mean over data sets at every size: what a model of complexity must beat.

use serde::{Deserialize, Serialize};

use super::{Model, Traits};
use crate::predict::grid::{Grid, Spot};
use crate::predict::samples::SetSamples;

/// Mean retention at every knot of the grid, so for each family and depth its own; isotonic over width, linear between knots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeanCurve {
    retention: Vec<f64>,
}

impl MeanCurve {
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid) -> Self {
        let points = sets.iter().flat_map(|s| s.inner());
        Self { retention: grid.means(points.map(|p| (p, p.retention()))) }
    }
}

impl Model for MeanCurve {
    fn retention(&self, grid: &Grid, _: &Traits<'_>, at: &Spot) -> f64 {
        grid.curve(at, |i, _| self.retention[i]).at(at.log2_width)
    }
}
