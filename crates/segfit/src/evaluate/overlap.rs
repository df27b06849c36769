//! Dice and intersection over union of two masks.

use crate::data::Mask;

/// Pixel counts of one class in a predicted and in a true mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Pixels of the class in both.
    pub both: u64,
    /// Pixels of the class in the prediction.
    pub predicted: u64,
    /// Pixels of the class in the truth.
    pub truth: u64,
}

impl Overlap {
    /// Counts one class in two masks of the same size.
    #[must_use]
    pub fn of(predicted: &Mask, truth: &Mask, class: u8) -> Self {
        let mut counts = Self { both: 0, predicted: 0, truth: 0 };
        for (&p, &t) in predicted.data.iter().zip(&truth.data) {
            counts.both += u64::from(p == class && t == class);
            counts.predicted += u64::from(p == class);
            counts.truth += u64::from(t == class);
        }
        counts
    }

    /// 2 |P and T| / (|P| + |T|); 1 when both are empty.
    #[must_use]
    pub fn dice(self) -> f64 {
        ratio(2 * self.both, self.predicted + self.truth)
    }

    /// |P and T| / |P or T|; 1 when both are empty.
    #[must_use]
    pub fn iou(self) -> f64 {
        ratio(self.both, self.predicted + self.truth - self.both)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Dice of one class, in [0, 1]; larger is better.
///
/// 2 |P and T| / (|P| + |T|) with P and T the pixels of `class` in the predicted and the true mask; 1 when both are
/// empty. The masks have the same size.
///
/// ```
/// use segfit::data::Mask;
/// let predicted = Mask { height: 1, width: 4, data: vec![1, 1, 0, 0] };
/// let truth = Mask { height: 1, width: 4, data: vec![0, 1, 1, 0] };
/// assert_eq!(segfit::evaluate::dice(&predicted, &truth, 1), 0.5);
/// ```
///
/// Source: Dice 1945; Zijdenbos et al. 1994.
#[must_use]
pub fn dice(predicted: &Mask, truth: &Mask, class: u8) -> f64 {
    Overlap::of(predicted, truth, class).dice()
}

/// Intersection over union (Jaccard 1901) of one class, in [0, 1]; larger is better. Arguments and the empty case as
/// [`dice`].
#[must_use]
pub fn iou(predicted: &Mask, truth: &Mask, class: u8) -> f64 {
    Overlap::of(predicted, truth, class).iou()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(data: &[u8]) -> Mask {
        Mask { height: 1, width: data.len(), data: data.to_vec() }
    }

    #[test]
    fn two_of_three_and_three_pixels_in_common() {
        let (p, t) = (mask(&[1, 1, 1, 0, 2]), mask(&[0, 1, 1, 1, 2]));
        assert_eq!(dice(&p, &t, 1), 4.0 / 6.0);
        assert_eq!(iou(&p, &t, 1), 0.5);
        assert_eq!((dice(&p, &t, 2), iou(&p, &t, 2)), (1.0, 1.0));
    }

    #[test]
    fn a_class_in_neither_mask_is_perfect_and_in_one_is_missed() {
        let (empty, full) = (mask(&[0, 0]), mask(&[1, 1]));
        assert_eq!((dice(&empty, &empty, 1), iou(&empty, &empty, 1)), (1.0, 1.0));
        assert_eq!((dice(&empty, &full, 1), iou(&full, &empty, 1)), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn dice_is_symmetric_and_follows_from_iou(pairs in prop::collection::vec((0_u8..3, 0_u8..3), 1..60)) {
            let p = mask(&pairs.iter().map(|v| v.0).collect::<Vec<_>>());
            let t = mask(&pairs.iter().map(|v| v.1).collect::<Vec<_>>());
            for class in 0..3 {
                let (d, j) = (dice(&p, &t, class), iou(&p, &t, class));
                prop_assert_eq!(d, dice(&t, &p, class));
                prop_assert!((d - 2.0 * j / (1.0 + j)).abs() < 1e-12);
                prop_assert!((0.0..=1.0).contains(&d) && j <= d);
                prop_assert_eq!(dice(&p, &p, class), 1.0);
            }
        }
    }
}
