//! The mean over data sets at every size: what a model of complexity must beat.

use serde::{Deserialize, Serialize};

use super::{Grid, Model};
use crate::error::Result;
use crate::predict::Measures;
use crate::predict::monotone::Monotone;
use crate::predict::samples::SetSamples;

/// Mean skill at every knot of the grid; isotonic over width, linear between knots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeanCurve {
    skill: Vec<f64>,
}

impl Model for MeanCurve {
    fn fit(sets: &[&SetSamples], grid: &Grid) -> Result<Self> {
        let skill_of = |i: usize| {
            let values: Vec<f64> = sets.iter().flat_map(|s| at(s, grid, i)).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        Ok(Self { skill: (0..grid.knots.len()).map(skill_of).collect() })
    }

    fn curve(&self, grid: &Grid, depth: usize, _: &Measures) -> Monotone {
        grid.curve(depth, |i, _| self.skill[i])
    }
}

/// Skills of a data set at knot `i`.
pub(super) fn at(set: &SetSamples, grid: &Grid, i: usize) -> Vec<f64> {
    let here = |p: &&crate::predict::Point| grid.knots[i].is(p.size.depth, p.size.log2_width);
    set.points.iter().filter(here).map(|p| set.skill(p.dice)).collect()
}
