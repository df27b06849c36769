//! Thinness: how much of the foreground is too thin to hold a 3 x 3 square.

use super::{Measure, Pyramid, pyramid};

pub(super) const THINNESS: Measure = Measure {
    name: "thinness",
    unit: "share of the foreground",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| thinness(&l.classes, l.height, l.width)),
};

/// Share of the foreground that opening with a 3 x 3 square removes, in [0, 1]. Larger is more complex.
///
/// The opening keeps the pixels covered by some 3 x 3 square of foreground. Outside of the image counts as foreground,
/// so that an object cut by the border is not called thin. All foreground classes count as one. `classes` has
/// `height * width` values. `None` without foreground.
///
/// ```
/// // A square of nine pixels with a tail of three.
/// let mask = [0, 0, 0, 0, 0, 0, 0, 0,
///             0, 1, 1, 1, 0, 0, 0, 0,
///             0, 1, 1, 1, 1, 1, 1, 0,
///             0, 1, 1, 1, 0, 0, 0, 0,
///             0, 0, 0, 0, 0, 0, 0, 0];
/// assert_eq!(segfit::complexity::thinness(&mask, 5, 8), Some(0.25));
/// ```
///
/// Source: the first bin of the granulometry of Matheron, Random Sets and Integral Geometry, 1975.
#[must_use]
pub fn thinness(classes: &[u8], height: usize, width: usize) -> Option<f64> {
    let before = classes.iter().filter(|&&c| c > 0).count();
    if before == 0 {
        return None;
    }
    let (h, w) = (height + 2 * RIM, width + 2 * RIM);
    let opened =
        filtered(&filtered(&padded(classes, height, width), h, w, |a, b, c| a && b && c), h, w, |a, b, c| a || b || c);
    let inner = (0..height).flat_map(|y| &opened[(y + RIM) * w + RIM..(y + RIM) * w + RIM + width]);
    let after = inner.filter(|&&kept| kept).count();
    Some((before - after) as f64 / before as f64)
}

/// Squares may reach two pixels out of the image.
const RIM: usize = 2;

/// The foreground with a rim of foreground around the image.
fn padded(classes: &[u8], height: usize, width: usize) -> Vec<bool> {
    let w = width + 2 * RIM;
    let mut plane = vec![true; (height + 2 * RIM) * w];
    for y in 0..height {
        for x in 0..width {
            plane[(y + RIM) * w + x + RIM] = classes[y * width + x] > 0;
        }
    }
    plane
}

/// A separable 3 x 3 filter by `join`; what lies beyond the plane counts as true.
fn filtered(plane: &[bool], height: usize, width: usize, join: fn(bool, bool, bool) -> bool) -> Vec<bool> {
    let mut rows = vec![true; plane.len()];
    for (out, row) in rows.chunks_mut(width).zip(plane.chunks(width)) {
        for x in 1..width - 1 {
            out[x] = join(row[x - 1], row[x], row[x + 1]);
        }
    }
    let mut out = vec![true; plane.len()];
    for i in width..(height - 1) * width {
        out[i] = join(rows[i - width], rows[i], rows[i + width]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_all_thin_and_a_square_is_not() {
        let line: Vec<u8> = (0..49).map(|i| u8::from(i / 7 == 3 && (1..6).contains(&(i % 7)))).collect();
        assert_eq!(thinness(&line, 7, 7), Some(1.0));
        let square: Vec<u8> =
            (0..49).map(|i| u8::from((2..5).contains(&(i / 7)) && (2..5).contains(&(i % 7)))).collect();
        assert_eq!(thinness(&square, 7, 7), Some(0.0));
        assert_eq!(thinness(&[0; 49], 7, 7), None);
    }

    #[test]
    fn an_object_cut_by_the_border_is_not_thin() {
        let cut: Vec<u8> = (0..49).map(|i| u8::from(i / 7 == 0)).collect();
        assert_eq!(thinness(&cut, 7, 7), Some(0.0), "one row at the border: outside may hold the rest");
    }

    /// Squares whose centre may lie outside of the image by one pixel.
    fn slow(mask: &[u8], h: i64, w: i64) -> usize {
        let on = |y: i64, x: i64| !(0..h).contains(&y) || !(0..w).contains(&x) || mask[(y * w + x) as usize] > 0;
        let square = |y: i64, x: i64| (-1..=1).all(|a| (-1..=1).all(|b| on(y + a, x + b)));
        let kept = |y: i64, x: i64| (-1..=1).any(|a| (-1..=1).any(|b| square(y + a, x + b)));
        (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).filter(|&(y, x)| on(y, x) && !kept(y, x)).count()
    }

    proptest! {
        #[test]
        fn the_opening_agrees_with_placing_every_square(h in 1_usize..12, w in 1_usize..12, seed in 0_u64..5000) {
            let mut s = crate::random::Stream::new(&[seed]);
            let mask: Vec<u8> = (0..h * w).map(|_| u8::from(s.below(4) > 0)).collect();
            let before = mask.iter().filter(|&&m| m > 0).count();
            if let Some(t) = thinness(&mask, h, w) {
                prop_assert_eq!((t * before as f64).round() as usize, slow(&mask, h as i64, w as i64));
            }
        }
    }
}
