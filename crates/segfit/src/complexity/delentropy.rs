//! Delentropy: the entropy of the gradient, which sees where gray values lie.

use std::cell::RefCell;
use std::sync::LazyLock;

use super::{Measure, Pyramid, pyramid};

pub(super) const DELENTROPY: Measure = Measure {
    name: "delentropy",
    unit: "bits",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| delentropy(&l.bytes, l.height, l.width)),
};

/// Differences of two bytes: -255 to 255.
const DIFFERENCES: usize = 511;

/// Half of the joint entropy of the two components of the gradient, in bits. Larger is more complex.
///
/// H = -1/2 sum over (i, j) of p log2 p, with p(i, j), the deldensity, the share of interior pixels where
/// f(y, x + 1) - f(y, x - 1) = i and f(y + 1, x) - f(y - 1, x) = j. Unlike the Shannon entropy of the gray values it falls
/// when pixels of the same values are put in order. 0 for a constant image and for a ramp, at most half of
/// log2 of the number of interior pixels. `gray` has `height * width` values of 8 bits. `None` below 3 x 3.
///
/// ```
/// // Two interior pixels with different gradients: (0, 0) and (9, 0).
/// let gray = [5, 5, 5, 9, 5, 5, 5, 14, 5, 5, 5, 9];
/// assert_eq!(segfit::complexity::delentropy(&gray, 3, 4), Some(0.5));
/// ```
///
/// Source: Larkin, Reflections on Shannon information, arXiv 1609.01117, 2016: deldensity, and the half from Papoulis'
/// sampling expansion. Bins are one gray level of the plain central difference, border pixels do not count.
#[must_use]
pub fn delentropy(gray: &[u8], height: usize, width: usize) -> Option<f64> {
    if height < 3 || width < 3 || gray.len() != height * width {
        return None;
    }
    let bins = bins(gray, height, width);
    let sum = COUNTS.with_borrow_mut(|counts| {
        for &b in &bins {
            counts[b as usize] += 1;
        }
        // Every bin is added, and emptied for the next image, when its first pixel comes by; most bins are empty.
        let mut sums = [0.0; 4];
        for pixels in bins.chunks(sums.len()) {
            for (sum, &b) in sums.iter_mut().zip(pixels) {
                *sum += weighted_log(std::mem::take(&mut counts[b as usize]));
            }
        }
        sums.iter().sum::<f64>()
    });
    let n = bins.len() as f64;
    Some(0.5 * (n.log2() - sum / n).max(0.0))
}

thread_local! {
    /// The number of pixels of every bin, all 0 between two images: a megabyte, too much to clear for every one.
    static COUNTS: RefCell<Vec<u32>> = RefCell::new(vec![0; DIFFERENCES * DIFFERENCES]);
}

/// c log2 c, which is 0 for c = 0 and 1.
fn weighted_log(count: u32) -> f64 {
    static SMALL: LazyLock<[f64; 512]> = LazyLock::new(|| std::array::from_fn(|c| of(c.max(1) as u32)));
    fn of(count: u32) -> f64 {
        f64::from(count) * f64::from(count).log2()
    }
    SMALL.get(count as usize).copied().unwrap_or_else(|| of(count))
}

/// The bin of the gradient at every interior pixel.
fn bins(gray: &[u8], height: usize, width: usize) -> Vec<u32> {
    let difference = |plus: u8, minus: u8| 255 + u32::from(plus) - u32::from(minus);
    let mut bins = Vec::with_capacity((height - 2) * (width - 2));
    for y in 1..height - 1 {
        let row = |y: usize| &gray[y * width..(y + 1) * width];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        bins.extend(
            (1..width - 1)
                .map(|x| difference(here[x + 1], here[x - 1]) * DIFFERENCES as u32 + difference(below[x], above[x])),
        );
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(f: impl Fn(usize, usize) -> u8) -> f64 {
        let gray: Vec<u8> = (0..18 * 18).map(|i| f(i / 18, i % 18)).collect();
        delentropy(&gray, 18, 18).unwrap()
    }

    #[test]
    fn one_gradient_everywhere_has_no_entropy() {
        assert_eq!(of(|_, _| 7), 0.0);
        assert_eq!(of(|y, x| (3 * y + 5 * x) as u8), 0.0, "a ramp");
        assert_eq!(of(|y, x| 255 * ((x + y) % 2) as u8), 0.0, "two steps away a checkerboard is the same");
    }

    #[test]
    fn an_edge_is_two_of_sixteen_columns() {
        // p = 1/8 and 7/8: H = 0.543564 bits, half of it counts.
        assert!((of(|_, x| if x < 9 { 20 } else { 220 }) - 0.271_782).abs() < 1e-6);
    }

    #[test]
    fn shuffled_pixels_have_more_although_the_gray_values_are_the_same() {
        let ramp: Vec<u8> = (0..64 * 64).map(|i| (i % 64 + i / 64) as u8).collect();
        let mut s = crate::random::Stream::new(&[2]);
        let mut shuffled = ramp.clone();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, s.below(i + 1));
        }
        assert_eq!(delentropy(&ramp, 64, 64), Some(0.0));
        let all_different = 0.5 * (62.0_f64 * 62.0).log2();
        let h = delentropy(&shuffled, 64, 64).unwrap();
        assert!(h > 5.0 && h <= all_different, "{h}");
        assert_eq!(delentropy(&[1; 10], 2, 5), None);
    }
}
