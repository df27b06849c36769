//! How well the effective width of a layer-wise shape says what it keeps, for data sets that had no say in it.

use super::axis::Axis;
use super::candidates::{originals, without};
use super::samples::SetSamples;

/// Root mean square, over the original data sets with shaped networks, of the error that [`super::Mapping::shape_error`]
/// describes; `None` without such data sets.
pub(crate) fn shape_error(sets: &[&SetSamples]) -> Option<f64> {
    let of_set = |i: usize| {
        let axis = Axis::fit(&without(sets, &sets[i].name));
        let errors = axis.shape_errors(sets[i]);
        (!errors.is_empty()).then(|| errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64)
    };
    let squares: Vec<f64> = originals(sets).into_iter().filter_map(of_set).collect();
    (!squares.is_empty()).then(|| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}

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
        let differing = error(&World { unexplained: 0.5, effect: 1.0, ..shapes.clone() }).unwrap();
        assert!(differing < 0.03, "{differing}");
        let noisy = error(&World { noise: 0.03, ..shapes }).unwrap();
        assert!((0.02..0.12).contains(&noisy), "{noisy}");
    }

    #[test]
    fn a_data_set_alone_gives_the_root_mean_square_of_its_errors() {
        let samples = Samples::of(&records(&World { sets: 3, shapes: true, noise: 0.01, ..World::default() })).unwrap();
        let sets = samples.training(false);
        let square = |set: &SetSamples| {
            let errors = Axis::default().shape_errors(set);
            errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64
        };
        let by_hand = (sets.iter().map(|s| square(s)).sum::<f64>() / 3.0).sqrt();
        assert!((shape_error(&sets).unwrap() - by_hand).abs() < 1e-12, "two data sets left: equal weights");
    }
}
