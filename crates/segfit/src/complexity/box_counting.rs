//! Fractal dimension of the outlines: how fast their number of pixels falls at coarser scales.

use super::line::fitted_slope;
use super::{Measure, Pyramid, pyramid};

pub(super) const FRACTAL_DIMENSION: Measure = Measure {
    name: "fractal_dimension",
    unit: "dimension",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| box_dimension(l.edges(), l.height, l.width)),
};

/// Box-counting dimension of a set of pixels, 0 to 2. Larger is more complex.
///
/// D = - the least-squares slope of log N(s) over log s, where N(s) is the number of boxes of s x s pixels that hold a
/// pixel of the set, for s = 1, 2, 4, ... up to a quarter of the smaller side; boxes start at the upper left corner, those
/// at the right and lower edge may be cut. 0 for a point, 1 for a smooth line, 2 for a filled plane; an
/// image's measure takes the Canny edges ([`canny_edges`](super::canny_edges)). `set` has `height * width` values. `None`
/// for an empty set and below 16 x 16, where there are fewer than three sizes of boxes.
///
/// ```
/// let line: Vec<bool> = (0..1024).map(|i| i / 32 == 5).collect();
/// assert_eq!(segfit::complexity::box_dimension(&line, 32, 32), Some(1.0));
/// ```
///
/// Source: Mandelbrot, The Fractal Geometry of Nature, 1982 (box counting).
#[must_use]
pub fn box_dimension(set: &[bool], height: usize, width: usize) -> Option<f64> {
    if set.len() != height * width || !set.contains(&true) {
        return None;
    }
    let (mut boxes, mut h, mut w) = (set.to_vec(), height, width);
    let mut points = Vec::new();
    for doublings in 0_u32.. {
        if 4 << doublings > height.min(width) {
            break;
        }
        if doublings > 0 {
            (boxes, h, w) = (halved(&boxes, h, w), h.div_ceil(2), w.div_ceil(2));
        }
        let count = boxes.iter().filter(|&&b| b).count();
        points.push((f64::from(doublings), (count as f64).log2()));
    }
    // From 0 and not -0: a point has dimension 0.
    fitted_slope(&points).map(|slope| 0.0 - slope)
}

/// Whether each block of 2 x 2 holds a pixel of the set.
fn halved(set: &[bool], height: usize, width: usize) -> Vec<bool> {
    let half = width.div_ceil(2);
    let mut out = vec![false; height.div_ceil(2) * half];
    for (y, row) in set.chunks(width).enumerate() {
        for (block, pair) in out[y / 2 * half..].iter_mut().zip(row.chunks(2)) {
            *block |= pair.contains(&true);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_point_a_line_and_a_plane_have_dimension_0_1_and_2() {
        let of = |f: fn(usize, usize) -> bool| {
            let set: Vec<bool> = (0..64 * 64).map(|i| f(i / 64, i % 64)).collect();
            box_dimension(&set, 64, 64)
        };
        assert_eq!(of(|y, x| (y, x) == (17, 40)), Some(0.0));
        assert_eq!(of(|y, x| y == x), Some(1.0));
        assert!((of(|_, _| true).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(of(|_, _| false), None);
        assert_eq!(box_dimension(&[true; 225], 15, 15), None, "boxes of 1 and 2 only");
    }

    #[test]
    fn the_sierpinski_triangle_has_log_3_over_log_2() {
        // Pascal's triangle modulo 2: three of four blocks at every scale.
        let set: Vec<bool> = (0..64 * 64).map(|i| (i / 64) & (i % 64) == 0).collect();
        assert!((box_dimension(&set, 64, 64).unwrap() - 3.0_f64.log2()).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn boxes_are_counted_as_by_hand(h in 1_usize..40, w in 1_usize..40, seed in 0_u64..1000) {
            let mut s = crate::random::Stream::new(&[seed]);
            let set: Vec<bool> = (0..h * w).map(|_| s.below(20) == 0).collect();
            let half = halved(&set, h, w);
            for (i, &b) in half.iter().enumerate() {
                let (y, x) = (i / w.div_ceil(2), i % w.div_ceil(2));
                let any = (2 * y..(2 * y + 2).min(h)).any(|r| (2 * x..(2 * x + 2).min(w)).any(|c| set[r * w + c]));
                prop_assert_eq!(b, any);
            }
        }
    }
}
