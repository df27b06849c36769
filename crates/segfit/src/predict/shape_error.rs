//! How well the effective width of a layer-wise shape says what it keeps, for data sets that had no say in it.

use super::axis::Axis;
use super::candidates::{originals, without};
use super::samples::SetSamples;

/// The error that [`super::Mapping::shape_error`] describes; `None` with fewer than three data sets that have promising shapes.
pub(crate) fn shape_error(sets: &[&SetSamples]) -> Option<f64> {
    let of_set = |i: usize| {
        let errors = Axis::fit(&without(sets, &sets[i].name)).promising_errors(sets[i]);
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    };
    let means: Vec<f64> = originals(sets).into_iter().filter_map(of_set).collect();
    if means.len() < FEWEST {
        return None;
    }
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean * mean + variance / n).sqrt())
}

/// Data sets with promising shapes that it takes to say anything.
const FEWEST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    fn error(world: &World) -> Option<f64> {
        shape_error(&Samples::of(&records(world)).unwrap().training(false))
    }

    #[test]
    fn nothing_is_known_of_shapes_without_shaped_records() {
        assert_eq!(error(&World { sets: 5, ..World::default() }), None);
    }

    #[test]
    fn the_error_is_the_scatter_and_not_what_data_sets_differ_by() {
        let shapes = World { sets: 8, shapes: true, ..World::default() };
        let exact = error(&shapes).unwrap();
        assert!(exact < 0.01, "only the curve's straight pieces: {exact}");
        let differing = error(&World { unexplained: 0.5, effect: 1.0, ..shapes }).unwrap();
        assert!(differing < 0.03, "{differing}");
        let noisy = error(&World { noise: 0.03, ..shapes }).unwrap();
        assert!((0.003..0.06).contains(&noisy) && noisy > 2.0 * exact, "{noisy}");
        let many = error(&World { noise: 0.03, sets: 60, ..shapes }).unwrap();
        assert!(many < noisy, "the mean over more data sets is surer: {many} {noisy}");
    }

    #[test]
    fn it_is_the_error_of_the_mean_over_data_sets() {
        let samples = Samples::of(&records(&World { sets: 3, shapes: true, noise: 0.01, ..World::default() })).unwrap();
        let sets = samples.training(false);
        let mean = |set: &SetSamples| {
            let errors = Axis::default().promising_errors(set);
            errors.iter().sum::<f64>() / errors.len() as f64
        };
        let [a, b, c] = [mean(sets[0]), mean(sets[1]), mean(sets[2])];
        let centre = (a + b + c) / 3.0;
        let variance = [a, b, c].iter().map(|m| (m - centre).powi(2)).sum::<f64>() / 2.0;
        let by_hand = (centre * centre + variance / 3.0).sqrt();
        assert!((shape_error(&sets).unwrap() - by_hand).abs() < 1e-12, "two data sets left: equal weights");
        assert_eq!(shape_error(&sets[..2]), None);
    }
}
