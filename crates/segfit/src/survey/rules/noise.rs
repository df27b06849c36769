//! Masks of noise: mostly regions of one or two pixels.
//!
//! A mask that went through a lossy format, or that a bare threshold made, is strewn with single pixels; what a person
//! draws is not.

use super::Looked;
use crate::survey::facts::{Facts, Regions};
use crate::survey::warning::{Warning, WarningKind, counted};

/// Fewer tiny regions than this are slips of a pen.
const TINY_LEAST: usize = 10;
/// More than this share of tiny regions is noise: of the regions that were meant, few are so small.
const TINY_SHARE: f64 = 0.5;

/// Masks most of whose regions have one or two pixels.
pub(super) fn noisy(looked: &Looked<'_>) -> Vec<Warning> {
    let noisy: Vec<&Facts> = looked.masked().filter(|f| f.regions.is_some_and(is_noise)).collect();
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

fn is_noise(regions: Regions) -> bool {
    regions.tiny >= TINY_LEAST && regions.tiny as f64 > TINY_SHARE * regions.all as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::survey::testing::{clean, folder, only_warning, standard, warned};

    #[test]
    fn random_pixels_are_noise_whatever_their_share() {
        for share in [0.1, 0.5, 0.9] {
            let dir = folder(48, standard, |i, s| {
                if i == 4 {
                    let mut random = Stream::new(&[9]);
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
    fn a_few_specks_are_no_noise() {
        let strewn = |n: usize| {
            folder(48, standard, move |i, s| {
                if i == 4 {
                    s.mask.data.fill(0);
                    s.mask.data[48 * 40..48 * 44].fill(1);
                    (0..n).for_each(|k| s.mask.data[48 * 2 * (k / 12) + 4 * (k % 12)] = 1);
                }
            })
        };
        assert_eq!(only_warning(&strewn(10), WarningKind::SuspiciousMasks).images, ["04"]);
        assert_eq!(warned(&strewn(9), WarningKind::SuspiciousMasks), []);
    }
}
