//! Solidity: how much of its convex hull an object fills.

use super::{Measure, Object, Pyramid, pyramid};

pub(super) const SOLIDITY: Measure = Measure {
    name: "solidity",
    unit: "area / convex area, mean over objects by area",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| solidity(l.objects())),
};

/// Mean over the objects of area / convex area, each weighted with its area, in (0, 1]. Larger is less complex: at 1 all
/// objects are convex.
///
/// The convex area is the number of pixels whose centres lie in the convex hull of the object's pixel centres (see
/// [`Object`]), the convention of `skimage.morphology.convex_hull_image` with `offset_coordinates=False`. The hull of
/// `skimage.measure.regionprops` also covers half a pixel around each centre; its solidity is lower by a few percent for
/// small objects. `None` without objects.
///
/// ```
/// use segfit::complexity::{objects_of, solidity};
/// // A plus of 5 pixels is its own hull; a ring of 8 pixels has one hole.
/// assert_eq!(solidity(&objects_of(&[0, 1, 0, 1, 1, 1, 0, 1, 0], 3, 3)), Some(1.0));
/// assert_eq!(solidity(&objects_of(&[1, 1, 1, 1, 0, 1, 1, 1, 1], 3, 3)), Some(8.0 / 9.0));
/// ```
///
/// Source: solidity or convexity as in Gonzalez and Woods, Digital Image Processing; the weights are ours.
#[must_use]
pub fn solidity(objects: &[Object]) -> Option<f64> {
    let area: u64 = objects.iter().map(|o| o.area).sum();
    let filled: f64 = objects.iter().map(|o| o.area as f64 * (o.area as f64 / o.convex_area as f64)).sum();
    (area > 0).then(|| filled / area as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_weigh_the_mean_over_objects() {
        let objects = [Object { area: 9, convex_area: 15 }, Object { area: 1, convex_area: 1 }];
        let value = solidity(&objects).unwrap();
        assert!((value - (9.0 * 0.6 + 1.0) / 10.0).abs() < 1e-15, "{value}");
        assert_eq!(solidity(&[]), None);
    }
}
