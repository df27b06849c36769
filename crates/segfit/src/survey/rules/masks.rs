//! Masks that are empty, full, missing, or all the same.

use std::collections::BTreeMap;

use super::Looked;
use super::copies::different;
use crate::survey::facts::Facts;
use crate::survey::warning::{Warning, WarningKind, counted};

/// One mask for this share of the images or more cannot come from their contents ...
const EQUAL_SHARE: f64 = 0.5;
/// ... of at least this many different images: two may agree by chance.
const EQUAL_LEAST: usize = 3;

/// Masks without foreground.
pub(super) fn empty(looked: &Looked<'_>) -> Vec<Warning> {
    let empty: Vec<&Facts> = looked.masked().filter(|f| is_empty(f)).collect();
    if empty.is_empty() {
        return vec![];
    }
    let words = format!(
        "{} of {} {} no object. That is right where there is none to see; otherwise a network learns to miss them: look \
         at these images.",
        empty.len(),
        counted(looked.masked().count(), "mask"),
        if empty.len() == 1 { "holds" } else { "hold" },
    );
    vec![Warning::new(WarningKind::EmptyMasks, words, looked.names(empty))]
}

/// Masks without background.
pub(super) fn full(looked: &Looked<'_>) -> Vec<Warning> {
    let full: Vec<&Facts> = looked.masked().filter(|f| f.pixels_of(0) == 0).collect();
    if full.is_empty() {
        return vec![];
    }
    let words = format!(
        "{} of {} {} no background: every pixel is foreground. Such a mask is often an error of export or a wrong \
         threshold: look at these images.",
        full.len(),
        counted(looked.masked().count(), "mask"),
        if full.len() == 1 { "has" } else { "have" },
    );
    vec![Warning::new(WarningKind::FullMasks, words, looked.names(full))]
}

/// Some images without a mask, where others have one.
pub(super) fn missing(looked: &Looked<'_>) -> Vec<Warning> {
    let without: Vec<&Facts> = looked.facts.iter().filter(|f| !looked.has_mask(f)).collect();
    if without.is_empty() || without.len() == looked.facts.len() {
        return vec![];
    }
    let words = format!(
        "{} of {} {} no mask and count as background. If they show objects, a network learns to miss them: add the masks, \
         or remove the images.",
        without.len(),
        counted(looked.facts.len(), "image"),
        if without.len() == 1 { "has" } else { "have" },
    );
    vec![Warning::new(WarningKind::MissingMasks, words, looked.names(without))]
}

/// One mask for most of the images.
pub(super) fn equal(looked: &Looked<'_>) -> Vec<Warning> {
    let mut by_mask: BTreeMap<[u8; 32], Vec<&Facts>> = BTreeMap::new();
    for facts in looked.masked().filter(|f| !is_empty(f)) {
        by_mask.entry(facts.mask).or_default().push(facts);
    }
    let Some(group) = by_mask.into_values().max_by_key(|g| (g.len(), std::cmp::Reverse(g[0].index))) else {
        return vec![];
    };
    let masks = looked.masked().count();
    if different(&group) < EQUAL_LEAST || (group.len() as f64) < EQUAL_SHARE * masks as f64 {
        return vec![];
    }
    let words = format!(
        "{} of {} are the same although their images differ. A network then learns a place, not an object: check that each \
         mask was drawn for its image.",
        group.len(),
        counted(masks, "mask"),
    );
    vec![Warning::new(WarningKind::SuspiciousMasks, words, looked.names(group))]
}

fn is_empty(facts: &Facts) -> bool {
    facts.counts.iter().skip(1).all(|&n| n == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Options};
    use crate::survey::testing::{INPUT, clean, folder, only_warning, standard, warned};
    use crate::survey::{SurveyOptions, survey};

    #[test]
    fn empty_and_full_masks_are_named_and_others_are_not() {
        let dir = folder(48, standard, |i, s| match i {
            5 | 40 => s.mask.data.fill(0),
            7 => s.mask.data.fill(1),
            _ => {}
        });
        let warning = &warned(&dir, WarningKind::EmptyMasks)[0];
        assert_eq!(warning.images, ["05", "40"]);
        assert!(warning.words.starts_with("2 of 48 masks hold no object"), "{}", warning.words);
        assert_eq!(warned(&dir, WarningKind::FullMasks)[0].images, ["07"]);
        for kind in [WarningKind::EmptyMasks, WarningKind::FullMasks, WarningKind::SuspiciousMasks] {
            assert_eq!(warned(&clean(), kind), []);
        }
    }

    #[test]
    fn one_mask_for_half_of_the_images_is_suspicious_and_for_fewer_is_not() {
        let with = |images: usize| {
            folder(48, standard, move |i, s| {
                if i < images {
                    s.mask.data.fill(0);
                    s.mask.data[..480].fill(1);
                }
            })
        };
        let warning = only_warning(&with(24), WarningKind::SuspiciousMasks);
        assert!(warning.words.starts_with("24 of 48 masks are the same"), "{}", warning.words);
        assert_eq!(warning.images.len(), 20);
        assert_eq!(warned(&with(23), WarningKind::SuspiciousMasks), []);
    }

    #[test]
    fn missing_masks_are_named_where_others_are_there() {
        let dir = clean();
        std::fs::remove_file(dir.path().join("masks/06.png")).unwrap();
        let options = Options { masks_optional: true, ..Options::new(dir.path()) };
        let warnings = survey(&Dataset::open(&options).unwrap(), &SurveyOptions::new(INPUT)).unwrap().warnings;
        assert_eq!((warnings[0].kind, warnings.len()), (WarningKind::MissingMasks, 1));
        assert_eq!(warnings[0].images, ["06"]);
    }
}
