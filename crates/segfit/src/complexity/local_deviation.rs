//! Local deviation: how much texture the neighbourhood of a pixel has.

use super::{Measure, Pyramid, pyramid};

pub(super) const LOCAL_DEVIATION: Measure = Measure {
    name: "local_deviation",
    unit: "gray levels (0 to 255)",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| local_deviation(&l.bytes, l.height, l.width)),
};

/// Rows and columns of a neighbourhood.
const WINDOW: usize = 5;

/// Mean of the standard deviation within all windows of 5 x 5 pixels, in gray levels, 0 to 127.5. Larger is more complex.
///
/// The deviation is the population's, sqrt(mean of squares - square of mean), over windows that lie wholly inside of the
/// image. Slow changes of brightness count little, texture and edges much. `gray` has `height * width` values of 8 bits.
/// `None` below 5 x 5.
///
/// ```
/// let mut gray = [10; 25];
/// gray[12] = 35; // mean 11, mean of squares 145: a variance of 24
/// let deviation = segfit::complexity::local_deviation(&gray, 5, 5).unwrap();
/// assert!((deviation - 24_f64.sqrt()).abs() < 1e-12);
/// ```
///
/// Source: the local standard deviation as a texture, for example Gonzalez and Woods, Digital Image Processing, section on
/// local statistics.
#[must_use]
pub fn local_deviation(gray: &[u8], height: usize, width: usize) -> Option<f64> {
    if height < WINDOW || width < WINDOW || gray.len() != height * width {
        return None;
    }
    let n = (WINDOW * WINDOW) as i32;
    let (mut sums, mut squares) = (vec![0_i32; width], vec![0_i32; width]);
    let mut spread = vec![0_i32; width + 1 - WINDOW];
    let mut total = 0.0;
    for (y, row) in gray.chunks(width).enumerate() {
        add_row(row, 1, &mut sums, &mut squares);
        if y + 1 >= WINDOW {
            let across =
                |lines: &[i32], x: usize| (lines[x] + lines[x + 4]) + (lines[x + 1] + lines[x + 3]) + lines[x + 2];
            // n^2 times the variance; exact: the squares are at most 25^2 * 255^2 < 2^31 - 1.
            for (x, v) in spread.iter_mut().enumerate() {
                *v = n * across(&squares, x) - across(&sums, x).pow(2);
            }
            total += sum_of_roots(&spread);
            let first = (y + 1 - WINDOW) * width;
            add_row(&gray[first..first + width], -1, &mut sums, &mut squares);
        }
    }
    let windows = (height - WINDOW + 1) * (width - WINDOW + 1);
    Some(total / f64::from(n) / windows as f64)
}

/// Adds a row, times `sign`, to the sums of the values and of their squares down the columns.
fn add_row(row: &[u8], sign: i32, sums: &mut [i32], squares: &mut [i32]) {
    for ((s, q), &v) in sums.iter_mut().zip(squares).zip(row) {
        let v = i32::from(v);
        *s += sign * v;
        *q += sign * v * v;
    }
}

/// The sum of the square roots, in eight parts so that they are added side by side.
fn sum_of_roots(values: &[i32]) -> f64 {
    let mut sums = [0.0; 8];
    let parts = values.chunks_exact(sums.len());
    let rest: f64 = parts.remainder().iter().map(|&v| f64::from(v).sqrt()).sum();
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, &v)| *sum += f64::from(v).sqrt());
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_constant_image_has_none_and_stripes_have_that_of_their_values() {
        assert_eq!(local_deviation(&[77; 100], 10, 10), Some(0.0));
        // A window holds two or three columns of each value: 10, 15 or 15, 10 pixels; variance 0.24 * 100^2.
        let stripes: Vec<u8> = (0..100).map(|i| 100 * (i % 2) as u8).collect();
        assert!((local_deviation(&stripes, 10, 10).unwrap() - 2400_f64.sqrt()).abs() < 1e-12);
        assert_eq!(local_deviation(&[0; 40], 4, 10), None);
    }

    #[test]
    fn the_largest_spread_does_not_overflow() {
        let halves: Vec<u8> = (0..25).map(|i| if i < 12 { 255 } else { 0 }).collect();
        let truth = 255.0 * (12.0_f64 * 13.0).sqrt() / 25.0;
        assert!((local_deviation(&halves, 5, 5).unwrap() - truth).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn sliding_sums_agree_with_every_window_by_itself(h in 5_usize..14, w in 5_usize..14, seed in 0_u64..1000) {
            let mut s = crate::random::Stream::new(&[seed]);
            let gray: Vec<u8> = (0..h * w).map(|_| s.below(256) as u8).collect();
            let mut deviations = Vec::new();
            for y in 0..h - 4 {
                for x in 0..w - 4 {
                    let v: Vec<f64> = (0..25).map(|i| f64::from(gray[(y + i / 5) * w + x + i % 5])).collect();
                    let mean = v.iter().sum::<f64>() / 25.0;
                    deviations.push((v.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / 25.0).sqrt());
                }
            }
            let truth = deviations.iter().sum::<f64>() / deviations.len() as f64;
            prop_assert!((local_deviation(&gray, h, w).unwrap() - truth).abs() < 1e-9);
        }
    }
}
