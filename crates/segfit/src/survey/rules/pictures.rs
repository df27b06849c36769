//! Images that show nothing, and images that do not fit together.

use super::Looked;
use crate::recipe::InputMode;
use crate::survey::facts::Facts;
use crate::survey::warning::{Warning, WarningKind, counted};

/// Sides that differ more than so many times: resized to one frame, the same object then has another size, and a network
/// must learn it twice. Training varies the scale by a quarter only.
const SIDES: f64 = 2.0;
/// Longer to shorter side beyond which resizing to a square visibly squashes objects.
const FORM: f64 = 2.0;

/// Images of which every channel has one value.
pub(super) fn constant(looked: &Looked<'_>) -> Vec<Warning> {
    let constant: Vec<&Facts> = looked.facts.iter().filter(|f| f.is_constant).collect();
    if constant.is_empty() {
        return vec![];
    }
    let words = format!(
        "{} of {} {} a single value everywhere. There is nothing to see or to learn in {}: look whether the export failed, and \
         remove {}.",
        constant.len(),
        counted(looked.facts.len(), "image"),
        if constant.len() == 1 { "has" } else { "have" },
        if constant.len() == 1 { "it" } else { "them" },
        if constant.len() == 1 { "it" } else { "them" },
    );
    vec![Warning::new(WarningKind::ConstantImages, words, looked.names(constant))]
}

/// Images of very different sizes, or much longer than wide, that are resized to one square.
pub(super) fn sizes(looked: &Looked<'_>) -> Vec<Warning> {
    if looked.input.mode == InputMode::Patch {
        return vec![];
    }
    let longer = |f: &&Facts| f.height.max(f.width);
    let (Some(small), Some(large)) = (looked.facts.iter().min_by_key(longer), looked.facts.iter().max_by_key(longer))
    else {
        return vec![];
    };
    let mut warnings = Vec::new();
    let times = longer(&large) as f64 / longer(&small) as f64;
    if times > SIDES {
        let words = format!(
            "Images are of very different sizes, from {} ({}) to {} ({}). Resized to one frame, equal objects differ up to \
             {times:.1} times in size: bring the images to one scale, or train on patches.",
            size(small),
            looked.name(small),
            size(large),
            looked.name(large),
        );
        warnings.push(Warning::new(WarningKind::DifferentSizes, words, looked.names([small, large])));
    }
    let form = |f: &&Facts| longer(f) as f64 / f.height.min(f.width) as f64;
    let long: Vec<&Facts> = looked.facts.iter().filter(|f| form(f) > FORM).collect();
    if let Some(first) = long.first() {
        let words = format!(
            "{} of {} {} more than twice as long as wide, for example {} ({}). Resized to a square, objects are squashed: cut \
             the images, or train on patches.",
            long.len(),
            counted(looked.facts.len(), "image"),
            if long.len() == 1 { "is" } else { "are" },
            looked.name(first),
            size(first),
        );
        warnings.push(Warning::new(WarningKind::DifferentSizes, words, looked.names(long)));
    }
    warnings
}

/// Columns and rows, as people give them.
fn size(facts: &Facts) -> String {
    format!("{} x {} pixels", facts.width, facts.height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Sample, resize_image, resize_mask};
    use crate::recipe::InputSpec;
    use crate::survey::testing::{INPUT, clean, folder, only_warning, open, standard, warned};
    use crate::survey::{SurveyOptions, survey};

    fn resized(s: &mut Sample, height: usize, width: usize) {
        s.image = resize_image(&s.image, height, width);
        s.mask = resize_mask(&s.mask, height, width);
    }

    #[test]
    fn constant_images_are_named_and_are_no_duplicates() {
        let dir = folder(48, standard, |i, s| {
            if i % 40 == 1 {
                s.image.data.fill(0.0);
            }
        });
        assert_eq!(only_warning(&dir, WarningKind::ConstantImages).images, ["01", "41"]);
        assert_eq!(warned(&clean(), WarningKind::ConstantImages), []);
    }

    #[test]
    fn sizes_beyond_twice_are_told_unless_the_network_sees_patches() {
        let with = |side: usize| {
            folder(48, standard, move |i, s| {
                if i == 2 {
                    resized(s, side, side);
                }
            })
        };
        let dir = with(120);
        let warning = only_warning(&dir, WarningKind::DifferentSizes);
        assert_eq!(warning.images, ["00", "02"]);
        assert!(warning.words.contains("2.5 times"), "{}", warning.words);
        let patches = SurveyOptions::new(InputSpec { mode: InputMode::Patch, ..INPUT });
        assert_eq!(survey(&open(&dir), &patches).unwrap().warnings, []);
        assert_eq!(warned(&with(96), WarningKind::DifferentSizes), []);
    }

    #[test]
    fn long_images_are_told_where_they_become_squares() {
        let dir = folder(48, standard, |i, s| match i {
            2 => resized(s, 36, 90),
            3 => resized(s, 36, 72),
            _ => {}
        });
        let warning = only_warning(&dir, WarningKind::DifferentSizes);
        assert_eq!(warning.images, ["02"]);
        assert!(warning.words.contains("90 x 36 pixels"), "{}", warning.words);
    }
}
