//! Images that occur more than once: equal decoded pixels, whatever the files' names and formats.
//!
//! Images of one value are left out: they are equal without being copies, and have a warning of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::Looked;
use crate::data::Split;
use crate::survey::facts::Facts;
use crate::survey::warning::{Warning, WarningKind, counted};

/// Test images that also train or validate.
pub(super) fn leakage(looked: &Looked<'_>) -> Vec<Warning> {
    let groups = groups(looked, |_| true);
    let crossing: Vec<&Vec<&Facts>> =
        groups.iter().filter(|g| g.iter().any(|f| looked.is_test(f)) && g.iter().any(|f| !looked.is_test(f))).collect();
    let Some(first) = crossing.first() else { return vec![] };
    let of = |is_test: bool| first.iter().find(|f| looked.is_test(f) == is_test).expect("the group crosses");
    let (test, other) = (of(true), of(false));
    let leaked = crossing.iter().flat_map(|g| g.iter()).filter(|f| looked.is_test(f)).count();
    let words = format!(
        "{} also used for training or validation, pixel for pixel: for example {} (test) is {} ({}). The test then \
         measures memory, and its Dice is too good: remove one of each pair.",
        if leaked == 1 { "1 test image is".into() } else { format!("{leaked} test images are") },
        looked.name(test),
        looked.name(other),
        word(looked.split(other)),
    );
    vec![Warning::new(WarningKind::Leakage, words, looked.names(crossing.into_iter().flatten().copied()))]
}

/// Images that occur more than once on one side: among training and validation, or among test images.
pub(super) fn duplicates(looked: &Looked<'_>) -> Vec<Warning> {
    let mut groups = groups(looked, |f| !looked.is_test(f));
    groups.extend(self::groups(looked, |f| looked.is_test(f)));
    let Some(first) = groups.first() else { return vec![] };
    let apart = groups.iter().filter(|g| g.iter().any(|f| looked.split(f) != looked.split(g[0]))).count();
    let across = match apart {
        0 => String::new(),
        n => format!(" {n} of them both train and validate, so that choices are made on images that were learnt."),
    };
    let words = format!(
        "{} more than once, pixel for pixel: for example {} and {}.{across} Copies count twice in training and in every \
         mean: keep one of each.",
        if groups.len() == 1 { "1 image occurs".into() } else { format!("{} images occur", groups.len()) },
        looked.name(first[0]),
        looked.name(first[1]),
    );
    vec![Warning::new(WarningKind::Duplicates, words, looked.names(groups.iter().flatten().copied()))]
}

/// Equal images whose masks differ.
pub(super) fn contradictions(looked: &Looked<'_>) -> Vec<Warning> {
    let mut groups = groups(looked, |f| looked.has_mask(f));
    groups.retain(|g| g.iter().any(|f| f.mask != g[0].mask));
    let Some(first) = groups.first() else { return vec![] };
    let other = first.iter().find(|f| f.mask != first[0].mask).expect("masks differ in the group");
    let words = format!(
        "{} once with different masks: for example {} and {} are the same image. No network can satisfy both: keep the \
         mask that is right, or draw them anew.",
        if groups.len() == 1 {
            "1 image occurs more than".into()
        } else {
            format!("{} more than", counted(groups.len(), "image").replace("images", "images occur"))
        },
        looked.name(first[0]),
        looked.name(other),
    );
    vec![Warning::new(WarningKind::SuspiciousMasks, words, looked.names(groups.iter().flatten().copied()))]
}

/// The groups of two or more equal images among some, in the order of their first.
fn groups<'a>(looked: &Looked<'a>, among: impl Fn(&Facts) -> bool) -> Vec<Vec<&'a Facts>> {
    let mut by_pixels: BTreeMap<[u8; 32], Vec<&Facts>> = BTreeMap::new();
    for facts in looked.facts.iter().filter(|f| !f.is_constant && among(f)) {
        by_pixels.entry(facts.pixels).or_default().push(facts);
    }
    let mut groups: Vec<Vec<&Facts>> = by_pixels.into_values().filter(|g| g.len() > 1).collect();
    groups.sort_by_key(|g| g[0].index);
    groups
}

/// Pixel hashes that occur once only count once: the number of different images among some.
pub(super) fn different(facts: &[&Facts]) -> usize {
    facts.iter().map(|f| f.pixels).collect::<BTreeSet<_>>().len()
}

fn word(split: Split) -> &'static str {
    match split {
        Split::Train => "training",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phantom::{PhantomKind, PhantomOptions, make};
    use crate::survey::testing::{clean, folder, only_warning, standard, warned};

    /// The discs of the folders, with an image copied from one place to another.
    fn copied(from: usize, to: usize, with_mask: bool) -> tempfile::TempDir {
        folder(48, standard, |i, s| {
            if i == to {
                let options = PhantomOptions { size: 48, objects: Some(4), ..PhantomOptions::new(PhantomKind::Discs) };
                let original = make(&options, from);
                s.image = original.image;
                if with_mask {
                    s.mask = original.mask;
                }
            }
        })
    }

    #[test]
    fn a_test_image_in_training_is_leakage_and_both_are_named() {
        let warning = only_warning(&copied(3, 40, true), WarningKind::Leakage);
        assert_eq!(warning.images, ["03", "40"]);
        assert!(warning.words.contains("1 test image is") && warning.words.contains("40 (test) is 03 (training)"));
        let warning = only_warning(&copied(33, 47, true), WarningKind::Leakage);
        assert!(warning.words.contains("47 (test) is 33 (validation)"), "{}", warning.words);
        for kind in [WarningKind::Leakage, WarningKind::Duplicates, WarningKind::SuspiciousMasks] {
            assert_eq!(warned(&clean(), kind), []);
        }
    }

    #[test]
    fn copies_on_one_side_are_duplicates_and_no_leakage() {
        let warning = only_warning(&copied(3, 8, true), WarningKind::Duplicates);
        assert_eq!(warning.images, ["03", "08"]);
        assert!(!warning.words.contains("validate"));
        assert_eq!(only_warning(&copied(40, 41, true), WarningKind::Duplicates).images, ["40", "41"]);
        let warning = only_warning(&copied(3, 33, true), WarningKind::Duplicates);
        assert!(warning.words.contains("1 of them both train and validate"), "{}", warning.words);
    }

    #[test]
    fn equal_images_with_different_masks_contradict_each_other() {
        let dir = copied(3, 8, false);
        let warning = &warned(&dir, WarningKind::SuspiciousMasks)[0];
        assert_eq!(warning.images, ["03", "08"]);
        assert!(warning.words.contains("different masks"), "{}", warning.words);
        assert_eq!(warned(&dir, WarningKind::Duplicates).len(), 1);
    }

    #[test]
    fn another_format_and_name_do_not_hide_a_copy() {
        let dir = copied(3, 40, true);
        let png = dir.path().join("images/40.png");
        image::open(&png).unwrap().to_luma16().save(dir.path().join("images/40.tif")).unwrap();
        std::fs::remove_file(png).unwrap();
        let csv = std::fs::read_to_string(dir.path().join("split.csv")).unwrap();
        std::fs::write(dir.path().join("split.csv"), csv.replace("40.png", "40.tif")).unwrap();
        assert_eq!(only_warning(&dir, WarningKind::Leakage).images, ["03", "40"]);
    }
}
