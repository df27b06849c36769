//! Classes that are rare in the training images.

use super::Looked;
use crate::data::Split;
use crate::survey::ClassShare;
use crate::survey::warning::{Warning, WarningKind, percent};

/// Below this share of the pixels a network that never finds the class is right 99 times of 100, and cross-entropy
/// hardly tells it that it is wrong.
const RARE_SHARE: f64 = 0.01;
/// A class in fewer training images than this is learnt from a handful of examples ...
const FEW_HOLDERS: usize = 10;
/// ... unless most of the images hold it: then the set is small, which is another warning.
const MOST: f64 = 0.5;
/// Classes that the words name.
const NAMED: usize = 5;

/// Foreground classes of few pixels or in few training images.
pub(super) fn unbalanced(looked: &Looked<'_>) -> Vec<Warning> {
    let training: Vec<_> = looked.facts.iter().filter(|f| looked.split(f) == Split::Train).collect();
    let few = |c: &ClassShare| c.images < FEW_HOLDERS && (c.images as f64) < MOST * training.len() as f64;
    let is_rare = |c: &&ClassShare| c.class > 0 && (c.share < RARE_SHARE || few(c));
    let rare: Vec<&ClassShare> = looked.classes.iter().filter(is_rare).collect();
    if rare.is_empty() {
        return vec![];
    }
    let named = |c: &&ClassShare| {
        let n = training.len();
        format!("{} has {} of the training pixels, in {} of {n} images", c.label, percent(c.share), c.images)
    };
    let mut list = rare.iter().take(NAMED).map(named).collect::<Vec<_>>().join("; ");
    if rare.len() > NAMED {
        list += &format!("; and {} more classes", rare.len() - NAMED);
    }
    let words = format!(
        "{list}. A class this rare is easily missed, and its Dice varies much: look at each class's own Dice, and add images \
         that hold it."
    );
    let holders = training.iter().filter(|f| rare.iter().any(|c| few(c) && f.pixels_of(c.class) > 0));
    vec![Warning::new(WarningKind::Unbalanced, words, looked.names(holders.copied()))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::testing::{clean, folder, only_warning, standard, warned};

    #[test]
    fn a_class_of_few_pixels_is_rare_and_discs_are_not() {
        let dir = folder(48, standard, |_, s| {
            s.mask.data.fill(0);
            s.mask.data[100..116].fill(1);
            s.mask.data[148..152].fill(1);
            // Not the same for all: that would be another warning.
            let at = 500 + (s.image.data[7] * 255.0) as usize + 200 * (s.image.data[900] * 2.0) as usize;
            s.mask.data[at] = 1;
        });
        let warnings = warned(&dir, WarningKind::Unbalanced);
        assert!(warnings[0].words.contains("foreground has 0.9% of the training pixels, in 32 of 32"), "{warnings:?}");
        assert_eq!(warned(&clean(), WarningKind::Unbalanced), []);
    }

    #[test]
    fn a_class_in_few_images_is_rare_and_named_with_its_images() {
        let with = |images: usize| {
            folder(48, standard, move |i, s| {
                if i < images {
                    s.mask.data[..480].fill(2);
                }
            })
        };
        let warning = only_warning(&with(9), WarningKind::Unbalanced);
        assert_eq!(warning.images.len(), 9);
        assert!(warning.words.contains("class 2 has 5.9% of the training pixels, in 9 of 32"), "{}", warning.words);
        assert_eq!(warned(&with(10), WarningKind::Unbalanced), []);
    }
}
