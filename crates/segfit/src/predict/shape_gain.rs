//! [`ShapeGain`]: what the predicted gains of layer-wise shapes are worth, on data sets that had no say in them.

use serde::{Deserialize, Serialize};

use super::axis::Axis;
use super::candidates::{originals, without};
use super::samples::SetSamples;

/// Which share of the predicted gain of layer-wise shapes was measured.
///
/// A gain is the retention of a shape minus that of the uniform network of the same depth and as many parameters. Of the shapes that
/// are predicted to gain, the mean measured and predicted gain of every data set are taken; each data set is judged by levels weighed on
/// the others. As both are differences on one data set, its general error cancels. The noise of the uniform networks is in both, too, so that
/// `realised` is a little too large where predicted gains are as small as that noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShapeGain {
    /// Sum over data sets of the measured gains over that of the predicted ones: 1 when predictions are right, 0 when shapes gain nothing.
    pub realised: f64,
    /// Standard error of `realised` over data sets, that of a ratio estimator (Cochran 1977, Sampling Techniques, equation 6.9).
    pub error: f64,
    /// Number of data sets, at least 3.
    pub sets: usize,
}

impl ShapeGain {
    /// Whether a predicted gain is to be expected at all: the measured share is above zero by two standard errors. The error of a
    /// predicted gain is a share of it; so this holds for gains of every size or for none.
    #[must_use]
    pub fn pays(&self) -> bool {
        self.realised > 2.0 * self.error
    }

    /// For example `121% +- 26%`.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{:.0}% +- {:.0}%", 100.0 * self.realised, 100.0 * self.error)
    }
}

/// `None` with fewer than three data sets that have promising shapes.
pub(crate) fn shape_gain(sets: &[&SetSamples]) -> Option<ShapeGain> {
    let of_set = |i: usize| {
        let gains = Axis::fit(&without(sets, &sets[i].name)).promising_gains(sets[i]);
        let n = gains.len() as f64;
        (n > 0.0).then(|| gains.iter().fold((0.0, 0.0), |sum, gain| (sum.0 + gain.0 / n, sum.1 + gain.1 / n)))
    };
    of_means(&originals(sets).into_iter().filter_map(of_set).collect::<Vec<_>>())
}

/// From the mean predicted and measured gain of every data set.
fn of_means(means: &[(f64, f64)]) -> Option<ShapeGain> {
    let n = means.len() as f64;
    let predicted: f64 = means.iter().map(|m| m.0).sum();
    if means.len() < FEWEST || predicted <= 0.0 {
        return None;
    }
    let realised = means.iter().map(|m| m.1).sum::<f64>() / predicted;
    let squares: f64 = means.iter().map(|m| (m.1 - realised * m.0).powi(2)).sum();
    Some(ShapeGain { realised, error: (squares * n / (n - 1.0)).sqrt() / predicted, sets: means.len() })
}

/// Data sets with promising shapes that it takes to say anything.
const FEWEST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    fn gain(world: &World) -> Option<ShapeGain> {
        shape_gain(&Samples::of(&records(world)).unwrap().training(false))
    }

    #[test]
    fn nothing_is_known_of_shapes_without_shaped_records() {
        assert_eq!(gain(&World { sets: 5, ..World::default() }), None);
    }

    #[test]
    fn gains_that_the_world_has_are_realised_whatever_else_data_sets_differ_by() {
        let shapes = World { sets: 8, shapes: true, ..World::default() };
        for world in [shapes.clone(), World { unexplained: 0.5, effect: 1.0, ..shapes }] {
            let exact = gain(&world).unwrap();
            assert!((exact.realised - 1.0).abs() < 0.3 && exact.error < 0.2, "{exact:?}");
            assert!(exact.pays() && exact.sets == 8);
        }
        let noisy = gain(&World { noise: 0.03, ..shapes }).unwrap();
        let many = gain(&World { noise: 0.03, sets: 60, ..shapes }).unwrap();
        assert!(noisy.error > gain(&shapes).unwrap().error, "{noisy:?}");
        assert!(many.error < noisy.error, "the mean over more data sets is surer: {many:?} {noisy:?}");
    }

    #[test]
    fn where_only_parameters_count_no_shape_is_promising() {
        let world = World { sets: 12, shapes: true, by_params: true, ..World::default() };
        assert_eq!(gain(&world), None, "levels are weighed on the records, after which nothing is predicted to gain");
    }

    #[test]
    fn it_is_the_ratio_of_sums_with_its_standard_error() {
        let found = of_means(&[(0.02, 0.03), (0.04, 0.02), (0.04, 0.05)]).unwrap();
        assert!((found.realised - 1.0).abs() < 1e-12);
        let by_hand = ((0.01_f64.powi(2) + 0.02_f64.powi(2) + 0.01_f64.powi(2)) * 1.5).sqrt() / 0.1;
        assert!((found.error - by_hand).abs() < 1e-12 && found.sets == 3, "{found:?}");
        assert!(found.pays());
        assert_eq!(found.in_words(), "100% +- 30%");
        assert!(!of_means(&[(0.02, 0.03), (0.04, -0.04), (0.04, 0.05)]).unwrap().pays(), "one of three lost");
        assert_eq!(of_means(&[(0.02, 0.03), (0.04, 0.02)]), None);
    }
}
