//! Masks of noise: mostly regions of one or two pixels.
//!
//! A mask that went through a lossy format, or that a bare threshold made, is strewn with single pixels; what a person
//! draws is not.

use super::Looked;
use crate::survey::facts::{Facts, Form};
use crate::survey::warning::{Warning, WarningKind, counted};

/// Fewer tiny regions than this are slips of a pen, or what shrinking left of thin vessels (a few dozen in a tile of a
/// fundus). Noise leaves hundreds.
const TINY_LEAST: usize = 50;
/// More than this share of tiny regions is noise: pixels drawn at random give 3/4 and more at any share of foreground,
/// drawn masks less than 2/3 even where vessels are broken.
const TINY_SHARE: f64 = 2.0 / 3.0;

/// Masks most of whose regions have one or two pixels.
pub(super) fn noisy(looked: &Looked<'_>) -> Vec<Warning> {
    let noisy: Vec<&Facts> = looked.masked().filter(|f| f.form.is_some_and(is_noise)).collect();
    if noisy.is_empty() {
        return vec![];
    }
    let words = format!(
        "{} of {} {} mostly of regions of one or two pixels, as a mask does that was saved as JPEG or cut from a noisy image. \
         A network cannot learn these and its Dice suffers: save masks without loss, or remove the specks.",
        noisy.len(),
        counted(looked.masked().count(), "mask"),
        if noisy.len() == 1 { "consists" } else { "consist" },
    );
    vec![Warning::new(WarningKind::SuspiciousMasks, words, looked.names(noisy))]
}

fn is_noise(form: Form) -> bool {
    form.tiny >= TINY_LEAST && form.tiny as f64 > TINY_SHARE * form.regions as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{resize_image, resize_mask};
    use crate::random::Stream;
    use crate::survey::testing::{clean, folder, only_warning, standard, warned};

    #[test]
    fn random_pixels_are_noise_whatever_their_share() {
        for share in [0.1, 0.5, 0.9] {
            let dir = folder(48, standard, |i, s| {
                if i == 4 {
                    let mut random = Stream::new(&[9]);
                    s.image = resize_image(&s.image, 96, 96);
                    s.mask = resize_mask(&s.mask, 96, 96);
                    s.mask.data.iter_mut().for_each(|c| *c = u8::from(random.range(0.0, 1.0) < share));
                }
            });
            let found = warned(&dir, WarningKind::SuspiciousMasks);
            assert_eq!(found[0].images, ["04"], "{share}: {found:?}");
        }
        assert_eq!(warned(&clean(), WarningKind::SuspiciousMasks), []);
    }

    #[test]
    fn the_labels_of_a_jpeg_are_noise() {
        // Values near 0 and 255 beside every boundary, each a class of its own.
        let dir = folder(48, standard, |i, s| {
            let mut random = Stream::new(&[i as u64]);
            for y in 1..47 {
                for x in 1..47 {
                    let at = y * 48 + x;
                    if (s.mask.data[at] == 1) != (s.mask.data[at - 1] == 1) {
                        s.mask.data[at] = 2 + (random.range(0.0, 4.0)) as u8;
                    }
                }
            }
        });
        let found = warned(&dir, WarningKind::SuspiciousMasks);
        assert!(found[0].words.contains("saved as JPEG") && found[0].images.len() == 20, "{found:?}");
    }

    #[test]
    fn fewer_than_fifty_specks_or_as_many_larger_regions_are_no_noise() {
        let strewn = |specks: usize, larger: usize| {
            folder(48, standard, move |i, s| {
                if i == 4 {
                    s.mask.data.fill(0);
                    let place = |k: usize| 48 * 4 * (k / 12) + 4 * (k % 12);
                    (0..specks + larger).for_each(|k| s.mask.data[place(k)] = 1);
                    (0..larger).for_each(|k| s.mask.data[place(k)..place(k) + 3].fill(1));
                }
            })
        };
        assert_eq!(only_warning(&strewn(50, 0), WarningKind::SuspiciousMasks).images, ["04"]);
        assert_eq!(warned(&strewn(49, 0), WarningKind::SuspiciousMasks), []);
        assert_eq!(warned(&strewn(50, 30), WarningKind::SuspiciousMasks), []);
    }
}
