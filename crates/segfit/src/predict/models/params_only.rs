//! The number of parameters alone, whatever family, depth, shape and data set.

use serde::{Deserialize, Serialize};

use super::{Model, Traits};
use crate::predict::grid::{Grid, Spot};
use crate::predict::monotone::Monotone;
use crate::predict::samples::SetSamples;

/// Isotonic regression of retention over log2 of the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ParamsOnly {
    /// log2 of the parameters, mean retention and number of points of every group of networks of about the same size.
    sizes: Vec<(f64, f64, f64)>,
}

/// Networks whose parameters differ by less than this many octaves are one size: gray and color images differ that little.
const GROUP: f64 = 0.125;

impl ParamsOnly {
    pub(crate) fn fit(sets: &[&SetSamples]) -> Self {
        let mut points: Vec<(f64, f64)> =
            sets.iter().flat_map(|s| &s.points).map(|p| (p.size.log2_params, p.retention())).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sizes: Vec<(f64, f64, f64)> = Vec::new();
        let mut start = f64::NEG_INFINITY;
        for (x, y) in points {
            match sizes.last_mut() {
                Some(last) if x - start < GROUP => {
                    let n = last.2 + 1.0;
                    *last = (last.0 + (x - last.0) / n, last.1 + (y - last.1) / n, n);
                }
                _ => {
                    start = x;
                    sizes.push((x, y, 1.0));
                }
            }
        }
        Self { sizes }
    }
}

impl Model for ParamsOnly {
    fn retention(&self, _: &Grid, _: &Traits<'_>, at: &Spot) -> f64 {
        Monotone::fit(self.sizes.clone()).at(at.log2_params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn networks_of_one_size_have_one_value_whatever_their_family() {
        let samples = Samples::of(&records(&World { sets: 3, ..World::default() })).unwrap();
        let sets = samples.training(false);
        let (model, grid) = (ParamsOnly::fit(&sets), Grid::of(&sets));
        assert_eq!(model.sizes.len(), 5);
        let measures = crate::predict::Measures::new();
        let at = |log2_params: f64, depth: usize| {
            let spot = Spot { family: 0, depth, log2_width: 0.0, log2_params };
            model.retention(&grid, &Traits { measures: &measures, stake: 0.5 }, &spot)
        };
        assert_eq!(at(15.0, 4), at(15.0, 2));
        assert!(at(13.0, 4) < at(17.0, 4) && (at(30.0, 4) - 1.0).abs() < 1e-9);
    }
}
