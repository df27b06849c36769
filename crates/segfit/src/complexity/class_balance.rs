//! Class balance: how evenly the pixels are shared among the classes.

use super::{Measure, Pyramid};

pub(super) const CLASS_BALANCE: Measure = Measure {
    name: "class_balance",
    unit: "entropy / largest entropy",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: 0,
    compute: |p: &Pyramid, s| p.level(s).map(|l| class_balance(&l.classes, p.classes)),
};

/// Entropy of the classes' shares over the largest it can be, -sum p_c log p_c / log K, in [0, 1]. Larger is less complex:
/// at 1 all classes have equally many pixels, at 0 the image has one class only.
///
/// p_c is the share of the pixels of class c, background included. K is `class_count`, the number of classes of the data
/// set with background (2 if smaller); a class that an image lacks counts, so that balance can be compared between images.
/// `classes` are indices below K, in any order.
///
/// ```
/// use segfit::complexity::class_balance;
/// assert_eq!(class_balance(&[0, 1, 0, 1], 2), 1.0);
/// assert_eq!(class_balance(&[0, 2, 0, 2], 4), 0.5);
/// ```
///
/// Source: Pielou's evenness (1966) of the class shares.
#[must_use]
pub fn class_balance(classes: &[u8], class_count: usize) -> f64 {
    let mut counts = [0_u64; 256];
    for &c in classes {
        counts[usize::from(c)] += 1;
    }
    let n = classes.len().max(1) as f64;
    let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| -(c as f64 / n) * (c as f64 / n).ln()).sum();
    entropy.max(0.0) / (class_count.max(2) as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_has_no_balance_and_rare_foreground_little() {
        assert_eq!(class_balance(&[1; 9], 2), 0.0);
        assert_eq!(class_balance(&[], 2), 0.0);
        // One pixel in four: (log 4 - 3/4 log 3) / log 2 = 2 - 0.75 log2 3.
        let value = class_balance(&[0, 0, 0, 1], 2);
        assert!((value - (2.0 - 0.75 * 3.0_f64.log2())).abs() < 1e-15, "{value}");
    }
}
