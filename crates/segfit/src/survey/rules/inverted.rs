//! Masks that are turned round: foreground where the others have background.
//!
//! With x = log(f / (1 - f)), f the foreground's share, a mask that is turned round has -x. Its x lies more than
//! [`FAR`] robust deviations from the median m of all masks while -x lies within [`NEAR`] of it. The robust deviation is
//! 1.4826 times the median of |x - m| (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers).
//!
//! An object that nearly fills its frame leaves background in the corners; a mask that is turned round has little background
//! at its border. So the border's share of background must not exceed [`BORDER`] times that of the whole mask.
//!
//! Where usual shares spread widely (skin lesions) or lie near one half (glands), masks that are turned round are not found.
//! Empty and full masks, and masks of files so large that they are never whole, are left out.

use super::Looked;
use crate::survey::facts::Facts;
use crate::survey::warning::{Warning, WarningKind, counted, percent};

/// Robust deviations beyond which a value is an outlier, as Iglewicz and Hoaglin recommend.
const FAR: f64 = 3.5;
/// Robust deviations within which the mask would be usual if it were turned round.
const NEAR: f64 = 2.0;
/// The robust deviation is not taken as smaller: sets of very even masks have outliers that mean nothing.
const LEAST_DEVIATION: f64 = 0.25;
/// The border of a mask that is turned round has at most so many times the background of the whole.
const BORDER: f64 = 2.0;
/// Fewer masks than this have no usual share.
const LEAST_MASKS: usize = 8;

/// Masks that would be usual only if they were turned round.
pub(super) fn inverted(looked: &Looked<'_>) -> Vec<Warning> {
    let found: Vec<(&Facts, f64)> = looked.masked().filter_map(|f| Some((f, logit(f.foreground())?))).collect();
    if found.len() < LEAST_MASKS {
        return vec![];
    }
    let middle = median(found.iter().map(|(_, x)| *x).collect());
    let deviation = (1.4826 * median(found.iter().map(|(_, x)| (x - middle).abs()).collect())).max(LEAST_DEVIATION);
    let is_opposite = |x: f64| (x - middle).abs() > FAR * deviation && (-x - middle).abs() <= NEAR * deviation;
    let is_inverted =
        |f: &Facts, x: f64| is_opposite(x) && f.form.is_some_and(|form| form.border <= BORDER * f.share(0));
    let inverted: Vec<&Facts> = found.iter().filter(|(f, x)| is_inverted(f, *x)).map(|(f, _)| *f).collect();
    let Some(first) = inverted.first() else { return vec![] };
    let words = format!(
        "{} of {} {} turned round: the foreground fills {} of {}, where {} is usual. Exchange foreground and background in \
         {}, or the network learns both.",
        inverted.len(),
        counted(looked.masked().count(), "mask"),
        if inverted.len() == 1 { "looks" } else { "look" },
        percent(first.foreground()),
        looked.name(first),
        percent(1.0 / (1.0 + (-middle).exp())),
        if inverted.len() == 1 { "it" } else { "them" },
    );
    vec![Warning::new(WarningKind::SuspiciousMasks, words, looked.names(inverted))]
}

/// log(f / (1 - f)), where it is finite.
fn logit(f: f64) -> Option<f64> {
    (f > 0.0 && f < 1.0).then(|| (f / (1.0 - f)).ln())
}

/// The middle value, the upper of two; of at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Sample;
    use crate::survey::testing::{clean, folder, only_warning, standard, surveyed, warned};

    fn turn_round(sample: &mut Sample) {
        sample.mask.data.iter_mut().for_each(|c| *c = 1 - *c);
    }

    #[test]
    fn masks_that_are_turned_round_are_named() {
        let dir = folder(48, standard, |i, s| {
            if i % 9 == 2 {
                turn_round(s);
            }
        });
        let warning = only_warning(&dir, WarningKind::SuspiciousMasks);
        assert_eq!(warning.images, ["02", "11", "20", "29", "38", "47"]);
        assert!(warning.words.starts_with("6 of 48 masks look turned round"), "{}", warning.words);
        assert_eq!(warned(&clean(), WarningKind::SuspiciousMasks), []);
    }

    #[test]
    fn an_object_that_nearly_fills_its_frame_is_not_turned_round() {
        // About nine tenths of the frame, where discs fill about one tenth; all the background lies at the border.
        let dir = folder(48, standard, |i, s| {
            if i == 3 {
                let outer = |p: usize| [0, 47].contains(&(p / 48)) || [0, 47].contains(&(p % 48));
                s.mask.data.iter_mut().enumerate().for_each(|(p, c)| *c = u8::from(!outer(p)));
            }
        });
        let looked = surveyed(&dir);
        assert_eq!(looked.warnings, []);
        // The same share elsewhere would be.
        let dir = folder(48, standard, |i, s| {
            if i == 3 {
                s.mask.data.fill(1);
                (14..28).for_each(|y| s.mask.data[48 * y + 14..48 * y + 27].fill(0));
            }
        });
        assert_eq!(only_warning(&dir, WarningKind::SuspiciousMasks).images, ["03"]);
    }
}
