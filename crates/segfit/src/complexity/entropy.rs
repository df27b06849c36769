//! Shannon entropy of the gray values.

use super::{Measure, Pyramid, pyramid};

pub(super) const ENTROPY: Measure = Measure {
    name: "entropy",
    unit: "bits",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| entropy(&l.bytes)),
};

/// Shannon entropy of the histogram of an 8-bit image, in bits, 0 to 8. Larger is more complex.
///
/// H = - sum over the 256 values of p log2 p, with p the share of pixels of that value. It is blind to where pixels are.
/// `None` without pixels.
///
/// ```
/// assert_eq!(segfit::complexity::entropy(&[3, 3, 9, 9]), Some(1.0));
/// ```
///
/// Source: Shannon, A Mathematical Theory of Communication, 1948.
#[must_use]
pub fn entropy(bytes: &[u8]) -> Option<f64> {
    let mut counts = [0_u32; 256];
    for &b in bytes {
        counts[usize::from(b)] += 1;
    }
    let n = bytes.len() as f64;
    let bits = |&c: &u32| if c == 0 { 0.0 } else { f64::from(c) / n * (n / f64::from(c)).log2() };
    (!bytes.is_empty()).then(|| counts.iter().map(bits).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_zero_for_one_value_and_eight_bits_for_all_values() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(entropy(&[7; 10]), Some(0.0));
        assert_eq!(entropy(&all), Some(8.0));
        assert_eq!(entropy(&[]), None);
        // 1/4, 3/4: 0.25 * 2 + 0.75 * 0.41504
        assert!((entropy(&[0, 1, 1, 1]).unwrap() - 0.811_278).abs() < 1e-6);
    }
}
