//! Fisher ratio: how far apart the gray values of foreground and background are for their spread.

use super::{Measure, Pyramid, pyramid};

pub(super) const FISHER: Measure = Measure {
    name: "fisher",
    unit: "squared distance of means / sum of variances",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| fisher_ratio(&l.gray, &l.classes)),
};

/// Fisher's discriminant ratio (m1 - m0)^2 / (v1 + v0) of the gray values, 0 or more. Larger is less complex: foreground
/// and background differ by more than they vary.
///
/// m and v are mean and variance (divided by n) of the foreground (any class but 0) and of the background. It does not
/// change when brightness or contrast do. `gray` and `classes` have the same length. `None` when one of the two is
/// empty, or both are constant.
///
/// ```
/// // Means 3 and 1, variances 1 and 0.
/// assert_eq!(segfit::complexity::fisher_ratio(&[1.0, 1.0, 2.0, 4.0], &[0, 0, 1, 1]), Some(4.0));
/// ```
///
/// Source: Fisher, The use of multiple measurements in taxonomic problems, 1936; as a data complexity, F1 of Ho and Basu
/// 2002.
#[must_use]
pub fn fisher_ratio(gray: &[f32], classes: &[u8]) -> Option<f64> {
    let n = gray.len().min(classes.len());
    let foreground = classes[..n].iter().filter(|&&c| c > 0).count();
    if foreground == 0 || foreground == n {
        return None;
    }
    let sides = [(n - foreground) as f64, foreground as f64];
    let sum = sums(gray, classes, |v, _| v);
    let mean = [sum[0] / sides[0], sum[1] / sides[1]];
    let squares = sums(gray, classes, |v, inside| (v - if inside { mean[1] } else { mean[0] }).powi(2));
    let spread = squares[0] / sides[0] + squares[1] / sides[1];
    (spread > 0.0).then(|| (mean[1] - mean[0]).powi(2) / spread)
}

/// The sums of `term(gray value, whether it is foreground)` over background and foreground.
fn sums(gray: &[f32], classes: &[u8], term: impl Fn(f64, bool) -> f64) -> [f64; 2] {
    // Eight pixels at a time, each with sums of its own, so that they are added side by side.
    const PARTS: usize = 8;
    let mut sums = [[0.0; PARTS]; 2];
    let mut add = |gray: &[f32], classes: &[u8]| {
        for k in 0..gray.len().min(PARTS) {
            let inside = classes[k] > 0;
            let value = term(f64::from(gray[k]), inside);
            sums[0][k] += if inside { 0.0 } else { value };
            sums[1][k] += if inside { value } else { 0.0 };
        }
    };
    let (grays, sides) = (gray.chunks_exact(PARTS), classes.chunks_exact(PARTS));
    let rest = (grays.remainder(), sides.remainder());
    grays.zip(sides).for_each(|(g, c)| add(&g[..PARTS], &c[..PARTS]));
    add(rest.0, rest.1);
    sums.map(|parts| parts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_defined_for_one_side_or_without_any_spread() {
        assert_eq!(fisher_ratio(&[0.1, 0.9], &[1, 1]), None);
        assert_eq!(fisher_ratio(&[0.1, 0.9], &[0, 0]), None);
        assert_eq!(fisher_ratio(&[0.25, 0.75], &[0, 3]), None);
        assert_eq!(fisher_ratio(&[0.0, 1.0, 0.0, 1.0], &[0, 0, 1, 1]), Some(0.0));
    }

    #[test]
    fn brightness_and_contrast_change_nothing() {
        let gray = [0.25, 0.5, 0.125, 1.0, 0.75, 0.875];
        let changed = gray.map(|g| 4.0 * g + 3.0);
        let classes = [0, 0, 0, 1, 1, 2];
        let (before, after) = (fisher_ratio(&gray, &classes).unwrap(), fisher_ratio(&changed, &classes).unwrap());
        assert!((before - after).abs() < 1e-12, "{before} {after}");
    }
}
