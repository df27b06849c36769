//! [`Axis`]: one number for the size of a layer-wise shape, and which levels count in it.

use serde::{Deserialize, Serialize};

use super::monotone::Monotone;
use super::samples::{Point, SetSamples};
use super::size::{Cell, Side, SizeFeatures};

/// Weights of the cells in the effective log2 width: u = sum of w_c l_c, w_c > 0, sum 1.
///
/// ln w_c = `bottom` (scale / depth - 1/2) + `decoder` / 2 (minus for the encoder) + constant. As every weight is positive, u
/// rises with every width, and a uniform network of base width w has u = log2 w whatever the weights. Two numbers are all
/// that few shapes can tell; both are 0 (equal weights) unless the records say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Axis {
    /// Positive: channels near the bottom count more.
    pub bottom: f64,
    /// Positive: channels of the decoder count more.
    pub decoder: f64,
}

/// Candidates of `bottom`.
const BOTTOM: [f64; 7] = [0.0, -1.0, 1.0, -2.0, 2.0, -4.0, 4.0];

/// Candidates of `decoder`.
const DECODER: [f64; 5] = [0.0, -1.0, 1.0, -2.0, 2.0];

impl Axis {
    /// The effective log2 width of a network.
    pub(crate) fn log2_width(self, size: &SizeFeatures) -> f64 {
        if self == Self::default() {
            return size.log2_width;
        }
        let (mut sum, mut total) = (0.0, 0.0);
        for cell in &size.cells {
            let weight = self.weight(cell, size.depth);
            sum += weight * cell.log2_width;
            total += weight;
        }
        sum / total
    }

    fn weight(self, cell: &Cell, depth: usize) -> f64 {
        let level = cell.place.scale as f64 / depth.max(1) as f64 - 0.5;
        let side = if cell.place.side == Side::Decoder { 0.5 } else { -0.5 };
        (self.bottom * level + self.decoder * side).exp()
    }

    /// The weights under which the shaped networks of each data set lie nearest to the curve of its own uniform networks of
    /// the same depth; equal weights unless others are nearer by more than the standard error, over data sets, of the
    /// difference. No complexity measure plays a part.
    pub(crate) fn fit(sets: &[&SetSamples]) -> Self {
        let error = |axis: Self| -> Vec<f64> { sets.iter().filter_map(|s| axis.shape_error(s)).collect() };
        let equal = error(Self::default());
        let mut best = (Self::default(), 0.0);
        if equal.len() < 3 {
            return best.0;
        }
        for (bottom, decoder) in BOTTOM.iter().flat_map(|&b| DECODER.map(|d| (b, d))) {
            let axis = Self { bottom, decoder };
            let gains: Vec<f64> = equal.iter().zip(error(axis)).map(|(a, b)| a - b).collect();
            let (mean, standard_error) = mean_and_error(&gains);
            if mean > standard_error && mean > best.1 + 1e-12 {
                best = (axis, mean);
            }
        }
        best.0
    }

    /// Mean |measured - own uniform curve| of retention over the shaped networks; `None` without any.
    fn shape_error(self, set: &SetSamples) -> Option<f64> {
        let errors = self.shape_errors(set);
        (!errors.is_empty()).then(|| errors.iter().map(|e| e.abs()).sum::<f64>() / errors.len() as f64)
    }

    /// The data set's own uniform curve at the effective width, minus what was measured, for each of its shaped networks.
    pub(crate) fn shape_errors(self, set: &SetSamples) -> Vec<f64> {
        self.shapes(set).map(|(_, error)| error).collect()
    }

    /// Predicted and measured gain over the uniform network of as many parameters, of the shaped networks that are predicted to gain.
    pub(crate) fn promising_gains(self, set: &SetSamples) -> Vec<(f64, f64)> {
        let promising = self.shapes(set).filter(|(gain, _)| *gain > 0.0);
        promising.map(|(gain, error)| (gain, gain - error)).collect()
    }

    /// Of every shaped network beside uniform ones of its depth: predicted gain over the uniform network of as many parameters, and
    /// prediction minus measurement.
    fn shapes(self, set: &SetSamples) -> impl Iterator<Item = (f64, f64)> {
        set.points.iter().filter(|p| !p.is_uniform).filter_map(move |shaped| {
            let like = |p: &&Point| p.is_uniform && p.family == shaped.family && p.size.depth == shaped.size.depth;
            let curve = |x: fn(&SizeFeatures) -> f64| {
                let uniform: Vec<_> =
                    set.points.iter().filter(like).map(|p| (x(&p.size), p.retention(), 1.0)).collect();
                (uniform.len() >= 2).then(|| Monotone::fit(uniform))
            };
            let predicted = curve(|s| s.log2_width)?.at(self.log2_width(&shaped.size));
            let uniform = curve(|s| s.log2_params)?.at(shaped.size.log2_params);
            Some((predicted - uniform, predicted - shaped.retention()))
        })
    }
}

/// Mean and its standard error.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn equal_weights_stay_when_only_the_mean_width_counts() {
        let world = World { sets: 8, shapes: true, noise: 0.004, ..World::default() };
        let samples = Samples::of(&records(&world)).unwrap();
        assert_eq!(Axis::fit(&samples.training(false)), Axis::default());
    }

    #[test]
    fn levels_that_count_are_found() {
        let truth = Axis { bottom: -4.0, decoder: 0.0 };
        let world = World { sets: 8, shapes: true, axis: truth, noise: 0.001, ..World::default() };
        let samples = Samples::of(&records(&world)).unwrap();
        let found = Axis::fit(&samples.training(false));
        assert!(found.bottom <= -2.0 && found.decoder.abs() <= 1.0, "{found:?}");
    }

    #[test]
    fn a_uniform_network_has_its_base_width_whatever_the_weights() {
        let samples = Samples::of(&records(&World::default())).unwrap();
        for point in &samples.sets[0].points {
            let u = Axis { bottom: 3.0, decoder: -1.0 }.log2_width(&point.size);
            assert!((u - (point.base_width as f64).log2()).abs() < 1e-12);
        }
    }
}
