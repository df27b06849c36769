//! Too few images to learn from, or to test with.

use std::collections::BTreeSet;

use super::Looked;
use crate::data::Split;
use crate::survey::warning::{Warning, WarningKind, counted};

/// The mapping was calibrated on sets of at least this many training images: below, predictions are extrapolated.
const FEW_TRAINING: usize = 30;
/// With fewer specimens than this, one that is unusual is a large part of all that is learnt.
const FEW_SOURCES: usize = 5;
/// With fewer test images than this, the mean Dice is known to worse than 0.06 at the usual [`SPREAD`].
const FEW_TEST: usize = 10;
/// Bootstrap intervals over fewer sources than this are too narrow: there are few different draws.
const FEW_TEST_SOURCES: usize = 5;
/// Standard deviation of Dice from image to image that is usual for segmented biomedical images.
const SPREAD: f64 = 0.1;

/// Few training images or sources.
pub(super) fn training(looked: &Looked<'_>) -> Vec<Warning> {
    let (images, sources) = counts(looked, Split::Train);
    if images >= FEW_TRAINING && sources >= FEW_SOURCES {
        return vec![];
    }
    let from = from(images, sources);
    let words = format!(
        "There {} {}{from} to train on. Predictions are calibrated on sets of {FEW_TRAINING} and more, and a network learns \
         little variety from so few: add images of other specimens.",
        if images == 1 { "is" } else { "are" },
        counted(images, "image"),
    );
    vec![Warning::new(WarningKind::FewImages, words, [])]
}

/// Few test images or sources.
pub(super) fn test(looked: &Looked<'_>) -> Vec<Warning> {
    let (images, sources) = counts(looked, Split::Test);
    if images >= FEW_TEST && sources >= FEW_TEST_SOURCES {
        return vec![];
    }
    let words = if images == 0 {
        "There are no test images: the accuracy on new images cannot be measured. Mark some as test in split.csv."
            .into()
    } else {
        format!(
            "There {} {}{} to test with. If the Dice varies by {SPREAD} between them, their mean is known to within {:.2} only: \
             report the interval, and test on more.",
            if images == 1 { "is" } else { "are" },
            counted(images, "image"),
            from(images, sources),
            half_width(sources),
        )
    };
    vec![Warning::new(WarningKind::FewTestImages, words, [])]
}

/// Half of the 95% interval of the mean of `n` values that vary by [`SPREAD`].
fn half_width(n: usize) -> f64 {
    1.96 * SPREAD / (n.max(1) as f64).sqrt()
}

/// Images and sources of a split.
fn counts(looked: &Looked<'_>, split: Split) -> (usize, usize) {
    let pairs = || looked.dataset.pairs.iter().filter(|p| p.split == split);
    (pairs().count(), pairs().map(|p| &p.source).collect::<BTreeSet<_>>().len())
}

fn from(images: usize, sources: usize) -> String {
    if sources < images { format!(" from {}", counted(sources, "source")) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::testing::{folder, only_warning, surveyed, warned};

    fn split(train: usize, test: usize, sources: usize) -> tempfile::TempDir {
        let of = |i: usize| {
            let split = if i < train {
                "train"
            } else if i < train + test {
                "test"
            } else {
                "val"
            };
            format!("{split},{split}{}", i % sources)
        };
        folder(train + test + 1, of, |_, _| {})
    }

    #[test]
    fn thirty_training_and_ten_test_images_of_five_sources_are_enough() {
        assert_eq!(surveyed(&split(30, 10, 5)).warnings, []);
        let warning = only_warning(&split(29, 10, 50), WarningKind::FewImages);
        assert!(warning.words.contains("are 29 images to train on"), "{}", warning.words);
        let warning = only_warning(&split(30, 9, 50), WarningKind::FewTestImages);
        assert!(warning.words.contains("within 0.07 only"), "{}", warning.words);
    }

    #[test]
    fn many_images_of_few_sources_are_few() {
        let dir = split(40, 12, 4);
        assert!(warned(&dir, WarningKind::FewImages)[0].words.contains("40 images from 4 sources"));
        let words = &warned(&dir, WarningKind::FewTestImages)[0].words;
        assert!(words.contains("12 images from 4 sources") && words.contains("0.10 only"), "{words}");
    }

    #[test]
    fn no_test_image_at_all_is_told() {
        let dir = folder(41, |i| if i < 40 { "train".into() } else { "val".into() }, |_, _| {});
        assert!(only_warning(&dir, WarningKind::FewTestImages).words.contains("no test images"));
    }
}
