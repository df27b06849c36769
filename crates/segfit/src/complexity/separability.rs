//! Separability: how well the gray value alone tells foreground from background.

use super::{Measure, Pyramid, pyramid};

pub(super) const SEPARABILITY: Measure = Measure {
    name: "separability",
    unit: "Dice",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| best_threshold_dice(&l.bytes, &l.classes)),
};

/// The best Dice that thresholding can reach when the threshold is chosen with the mask in sight, in (0, 1]. Larger is
/// less complex.
///
/// The maximum over all t in 0..=256 of the Dice of {gray >= t} and of {gray < t} with the foreground (any class but 0).
/// It is at least the Dice of the all-foreground mask. `gray` and `classes` have the same length. `None` without
/// foreground.
///
/// ```
/// // Foreground is dark, one background pixel is as dark: 2 * 2 / (2 + 3).
/// let dice = segfit::complexity::best_threshold_dice(&[10, 20, 15, 200], &[1, 1, 0, 0]);
/// assert_eq!(dice, Some(0.8));
/// ```
///
/// Source: the definition is ours, after the oracle threshold of segmentation benchmarks.
#[must_use]
pub fn best_threshold_dice(gray: &[u8], classes: &[u8]) -> Option<f64> {
    let mut counts = [[0_u64; 2]; 256];
    for (&g, &c) in gray.iter().zip(classes) {
        counts[usize::from(g)][usize::from(c > 0)] += 1;
    }
    let (all, object) = (counts.map(|[out, inside]| out + inside), counts.map(|[_, inside]| inside));
    let (pixels, foreground) = (all.iter().sum::<u64>(), object.iter().sum::<u64>());
    let dice = |hits: u64, taken: u64| 2.0 * hits as f64 / (taken + foreground) as f64;
    let (mut hits, mut taken, mut best) = (0, 0, dice(foreground, pixels));
    for t in 0..256 {
        hits += object[t];
        taken += all[t];
        best = best.max(dice(hits, taken)).max(dice(foreground - hits, pixels - taken));
    }
    (foreground > 0).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clean_threshold_reaches_one_either_way_round() {
        assert_eq!(best_threshold_dice(&[0, 0, 255, 255], &[0, 0, 1, 2]), Some(1.0));
        assert_eq!(best_threshold_dice(&[0, 0, 255, 255], &[1, 1, 0, 0]), Some(1.0));
        assert_eq!(best_threshold_dice(&[0, 1], &[0, 0]), None);
        assert_eq!(best_threshold_dice(&[5, 5, 5, 5], &[1, 0, 0, 0]), Some(0.4), "all foreground: 2 / (4 + 1)");
    }

    proptest! {
        #[test]
        fn the_running_sums_agree_with_trying_every_threshold(seed in 0_u64..5000, n in 1_usize..40) {
            let mut s = crate::random::Stream::new(&[seed]);
            let gray: Vec<u8> = (0..n).map(|_| s.below(6) as u8 * 51).collect();
            let classes: Vec<u8> = (0..n).map(|_| s.below(2) as u8).collect();
            let foreground = classes.iter().filter(|&&c| c > 0).count();
            let mut best = None;
            for t in 0..=256_u32 {
                for above in [false, true] {
                    let on = |i: usize| (u32::from(gray[i]) >= t) == above;
                    let taken = (0..n).filter(|&i| on(i)).count();
                    let hits = (0..n).filter(|&i| on(i) && classes[i] > 0).count();
                    let dice = 2.0 * hits as f64 / (taken + foreground).max(1) as f64;
                    best = best.max(Some(dice).filter(|_| foreground > 0).map(f64::to_bits));
                }
            }
            prop_assert_eq!(best_threshold_dice(&gray, &classes).map(f64::to_bits), best);
        }
    }
}
