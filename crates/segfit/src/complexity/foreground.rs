//! Foreground fraction: the share of pixels that belong to any object.

use super::{Measure, Pyramid};

/// Share of the pixels of class 1 or higher at full size, in [0, 1]. Rare foreground is harder to learn.
pub(super) const FOREGROUND: Measure = Measure {
    name: "foreground",
    unit: "share of pixels",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: 0,
    compute: |p: &Pyramid, s| p.level(s).map(|l| l.foreground() as f64 / l.classes.len().max(1) as f64),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::pyramid::tests::sample;

    #[test]
    fn every_class_but_zero_is_foreground() {
        let mut classes = vec![0; 64];
        (classes[3], classes[9]) = (1, 4);
        let pyramid = Pyramid::new(&sample(8, 8, vec![0.0; 64], classes));
        assert_eq!((FOREGROUND.compute)(&pyramid, 0), Some(2.0 / 64.0));
    }
}
