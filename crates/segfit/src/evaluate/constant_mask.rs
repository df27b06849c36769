//! D0: what a mask that ignores the image would score.

use crate::data::Mask;
use crate::error::{Error, Result};
use crate::evaluate::Overlap;

/// Dice of the best constant mask, D0, in [0, 1]: the score below which a network has learned nothing of the images.
///
/// For each foreground class, a constant mask holds the pixels where at least k of the n training masks have the class,
/// for k = 0 (everything) to n + 1 (nothing). The k with the largest mean Dice on the *training* masks is chosen (the
/// lowest of equals); D0 is the mean Dice of that one mask on the *evaluation* masks, averaged over the foreground classes.
/// Masks of another size than the first training mask are resized to it by nearest neighbour for counting, and the
/// constant mask to theirs for evaluation. `classes` counts the background, so it is 2 for one kind of object.
///
/// # Errors
/// [`Error::Option`] when there are no training masks, no evaluation masks, or fewer than two classes.
///
/// ```
/// use segfit::data::Mask;
/// let mask = |data: [u8; 4]| Mask { height: 2, width: 2, data: data.to_vec() };
/// let training = [mask([1, 1, 0, 0]), mask([1, 0, 0, 0])];
/// // The candidates score, in training: all 2/3 and 2/5, both left pixels 1 and 2/3, the first pixel 2/3 and 1. Equal
/// // means go to the larger mask.
/// let d0 = segfit::evaluate::constant_mask_dice(&training.each_ref(), &[&mask([1, 1, 1, 1])], 2)?;
/// assert_eq!(d0, 2.0 / 3.0);
/// # Ok::<(), segfit::Error>(())
/// ```
pub fn constant_mask_dice(training: &[&Mask], evaluation: &[&Mask], classes: usize) -> Result<f64> {
    let (Some(first), false) = (training.first(), evaluation.is_empty()) else {
        return Err(missing("training and evaluation masks", "at least one of each", "none"));
    };
    if !(2..=256).contains(&classes) {
        return Err(missing("classes", "2 to 256", &classes.to_string()));
    }
    let (height, width) = (first.height, first.width);
    let training: Vec<Mask> = training.iter().map(|m| nearest(m, height, width)).collect();
    let mut sum = 0.0;
    for class in 1..classes {
        let constant = best_constant(&training, class as u8);
        let dice = |truth: &&Mask| {
            let constant = nearest(&constant, truth.height, truth.width);
            Overlap::of(&constant, &only(truth, class as u8), 1).dice()
        };
        sum += evaluation.iter().map(dice).sum::<f64>() / evaluation.len() as f64;
    }
    Ok(sum / (classes - 1) as f64)
}

fn missing(what: &str, expected: &str, got: &str) -> Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.into() }
}

/// 1 where the mask has the class.
fn only(mask: &Mask, class: u8) -> Mask {
    Mask { data: mask.data.iter().map(|&c| u8::from(c == class)).collect(), ..*mask }
}

/// The mask whose threshold on the class's frequency scores best on the masks themselves, as 0 and 1.
fn best_constant(masks: &[Mask], class: u8) -> Mask {
    let mut counts = vec![0_usize; masks[0].data.len()];
    for mask in masks {
        for (count, &c) in counts.iter_mut().zip(&mask.data) {
            *count += usize::from(c == class);
        }
    }
    let scores = threshold_scores(masks, class, &counts);
    let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0);
    Mask { data: counts.iter().map(|&n| u8::from(n >= best)).collect(), ..masks[0] }
}

/// Sum over the masks of the Dice of {count >= k}, for k = 0 to n + 1; one pass per mask.
fn threshold_scores(masks: &[Mask], class: u8, counts: &[usize]) -> Vec<f64> {
    let n = masks.len();
    let at_least = |selected: &dyn Fn(usize) -> bool| {
        let mut sizes = vec![0_u64; n + 2];
        counts.iter().enumerate().filter(|(i, _)| selected(*i)).for_each(|(_, &k)| sizes[k] += 1);
        for k in (0..=n).rev() {
            sizes[k] += sizes[k + 1];
        }
        sizes
    };
    let predicted = at_least(&|_| true);
    let mut scores = vec![0.0; n + 2];
    for mask in masks {
        let both = at_least(&|i| mask.data[i] == class);
        for (k, score) in scores.iter_mut().enumerate() {
            *score += Overlap { both: both[k], predicted: predicted[k], truth: both[0] }.dice();
        }
    }
    scores
}

/// The mask at another size, by the pixel whose area holds the new pixel's centre.
fn nearest(mask: &Mask, height: usize, width: usize) -> Mask {
    if (mask.height, mask.width) == (height, width) {
        return mask.clone();
    }
    let from = |i: usize, old: usize, new: usize| (2 * i + 1) * old / (2 * new);
    let pixel =
        |i: usize| mask.data[from(i / width, mask.height, height) * mask.width + from(i % width, mask.width, width)];
    Mask { height, width, data: (0..height * width).map(pixel).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use proptest::prelude::*;

    fn mask(width: usize, data: &[u8]) -> Mask {
        Mask { height: data.len() / width, width, data: data.to_vec() }
    }

    #[test]
    fn all_foreground_is_best_where_objects_may_be_anywhere() {
        let training = [mask(4, &[1, 1, 1, 0]), mask(4, &[0, 1, 1, 1]), mask(4, &[1, 0, 1, 1]), mask(4, &[1, 1, 0, 1])];
        let d0 = constant_mask_dice(&training.each_ref(), &[&training[0]], 2).unwrap();
        assert_eq!(d0, 6.0 / 7.0);
    }

    #[test]
    fn nothing_is_best_where_most_masks_are_empty() {
        let (empty, full) = (mask(2, &[0, 0]), mask(2, &[1, 1]));
        let d0 = constant_mask_dice(&[&empty, &empty, &full], &[&empty, &full], 2).unwrap();
        assert_eq!(d0, 0.5, "right on the empty one, wrong on the full one");
    }

    #[test]
    fn the_choice_is_made_on_training_masks_only() {
        let (left, right) = (mask(4, &[1, 1, 0, 0]), mask(4, &[0, 0, 1, 1]));
        assert_eq!(constant_mask_dice(&[&left], &[&right], 2).unwrap(), 0.0);
        assert_eq!(constant_mask_dice(&[&left], &[&left], 2).unwrap(), 1.0);
    }

    #[test]
    fn masks_of_other_sizes_are_resized_and_classes_are_averaged() {
        let small = mask(2, &[1, 2]);
        let large = Mask { height: 2, width: 4, data: vec![1, 1, 2, 2, 1, 1, 2, 2] };
        assert_eq!(constant_mask_dice(&[&small], &[&large], 3).unwrap(), 1.0);
        let half = Mask { height: 2, width: 4, data: vec![1, 1, 0, 0, 1, 1, 0, 0] };
        assert_eq!(constant_mask_dice(&[&small], &[&half], 3).unwrap(), 0.5);
        assert!(constant_mask_dice(&[], &[&half], 2).is_err());
        assert!(constant_mask_dice(&[&small], &[&half], 1).is_err());
    }

    proptest! {
        #[test]
        fn the_chosen_mask_is_the_best_of_all_thresholds(seed in 0_u64..2000, n in 1_usize..6) {
            let mut s = Stream::new(&[seed]);
            let masks: Vec<Mask> =
                (0..n).map(|_| mask(3, &(0..9).map(|_| s.below(2) as u8).collect::<Vec<_>>())).collect();
            let mean = |m: &Mask| masks.iter().map(|t| Overlap::of(m, t, 1).dice()).sum::<f64>() / n as f64;
            let count = |i: usize| masks.iter().filter(|m| m.data[i] == 1).count();
            let truth = (0..=n + 1)
                .map(|k| mean(&mask(3, &(0..9).map(|i| u8::from(count(i) >= k)).collect::<Vec<_>>())))
                .fold(0.0, f64::max);
            let refs: Vec<&Mask> = masks.iter().collect();
            prop_assert!((constant_mask_dice(&refs, &refs, 2).unwrap() - truth).abs() < 1e-12);
        }
    }
}
