//! Object size quantiles: how small the small objects of an image are, and how large the large ones.

use super::{Measure, Object, Pyramid, quantile};

pub(super) const OBJECT_AREA_Q10: Measure = Measure {
    name: "object_area_q10",
    unit: "share of the image, 10% quantile over its objects",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: 0,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| object_area_quantile(l.objects(), l.height * l.width, 0.1)),
};

pub(super) const OBJECT_AREA_Q90: Measure = Measure {
    name: "object_area_q90",
    unit: "share of the image, 90% quantile over its objects",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: 0,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| object_area_quantile(l.objects(), l.height * l.width, 0.9)),
};

/// The quantile of the objects' areas, as a share of the image, in (0, 1]. Larger is less complex.
///
/// Between two areas it is interpolated linearly (type 7 of Hyndman and Fan 1996). `pixels` is height * width, `share` is
/// in [0, 1]. The measure `object_area` is the quantile 0.5. `None` without objects.
///
/// ```
/// use segfit::complexity::{Object, object_area_quantile};
/// // Areas 1, 2 and 6 of 20 pixels; the 10% quantile lies 0.2 of the way from 1 to 2.
/// let objects = [6, 1, 2].map(|area| Object { area, convex_area: area });
/// assert!((object_area_quantile(&objects, 20, 0.1).unwrap() - 1.2 / 20.0).abs() < 1e-15);
/// ```
///
/// Source: granulometry by object area; Hyndman and Fan, Sample quantiles in statistical packages, 1996.
#[must_use]
pub fn object_area_quantile(objects: &[Object], pixels: usize, share: f64) -> Option<f64> {
    let mut areas: Vec<f64> = objects.iter().map(|o| o.area as f64).collect();
    areas.sort_by(f64::total_cmp);
    (!areas.is_empty()).then(|| quantile(&areas, share.clamp(0.0, 1.0)) / pixels.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::pyramid::tests::sample;

    #[test]
    fn a_single_object_is_all_its_quantiles_and_none_has_none() {
        let one = [Object { area: 5, convex_area: 7 }];
        assert_eq!(object_area_quantile(&one, 10, 0.1), Some(0.5));
        assert_eq!(object_area_quantile(&one, 10, 0.9), Some(0.5));
        assert_eq!(object_area_quantile(&[], 10, 0.5), None);
    }

    #[test]
    fn the_middle_quantile_is_the_object_area_of_the_profile() {
        // Objects of 1, 2 and 4 pixels.
        let classes = (0..64).map(|i| u8::from(matches!(i, 0 | 16 | 17 | 40..=43))).collect();
        let pyramid = Pyramid::new(&sample(8, 8, vec![0.0; 64], classes));
        let middle = object_area_quantile(pyramid.level(0).unwrap().objects(), 64, 0.5);
        assert_eq!(middle, Some(2.0 / 64.0));
        let object_area = crate::complexity::MEASURES.iter().find(|m| m.name == "object_area").unwrap();
        assert_eq!((object_area.compute)(&pyramid, 0), middle);
        let q90 = (OBJECT_AREA_Q90.compute)(&pyramid, 0).unwrap();
        assert!((q90 - 3.6 / 64.0).abs() < 1e-15, "{q90}");
    }
}
