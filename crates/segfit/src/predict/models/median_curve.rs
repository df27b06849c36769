//! The median over data sets at every size: as [`super::MeanCurve`], but a single odd data set does not move it.

use serde::{Deserialize, Serialize};

use super::{Model, Traits};
use crate::predict::grid::{Grid, Knot, Spot};
use crate::predict::samples::SetSamples;

/// Median retention at every knot of the grid; isotonic over width, linear between knots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MedianCurve {
    retention: Vec<f64>,
}

impl MedianCurve {
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid) -> Self {
        let all: Vec<f64> = sets.iter().flat_map(|s| s.inner()).map(|p| p.retention()).collect();
        let at = |knot: &Knot| {
            let here = sets.iter().flat_map(|s| s.inner()).filter(|p| {
                let spot = grid.spot(&p.family, &p.size);
                (spot.family, spot.depth) == (knot.family, knot.depth)
                    && (spot.log2_width - knot.log2_width).abs() < 1e-6
            });
            let values: Vec<f64> = here.map(|p| p.retention()).collect();
            median(if values.is_empty() { all.clone() } else { values })
        };
        Self { retention: grid.knots.iter().map(at).collect() }
    }
}

impl Model for MedianCurve {
    fn retention(&self, grid: &Grid, _: &Traits<'_>, at: &Spot) -> f64 {
        grid.curve(at, |i, _| self.retention[i]).at(at.log2_width)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { 1.0 } else { 0.5 * (values[(n - 1) / 2] + values[n / 2]) }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_number_is_the_middle_of_two() {
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0, 2.0, 9.0])), (2.0, 3.0));
    }
}
