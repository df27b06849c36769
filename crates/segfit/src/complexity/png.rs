//! PNG complexity: how many bytes each pixel costs without any loss.

mod deflate;
mod huffman;
mod matches;

use self::deflate::deflated_size;
use super::{Measure, Pyramid};

/// PNG's number of the filter Up.
const UP: u8 = 2;

pub(super) const PNG: Measure = Measure {
    name: "png",
    unit: "bytes per pixel",
    larger_is_more_complex: true,
    first_scale: 0,
    // Below 32 x 32 the code tables are most of the stream, and encoders differ.
    last_scale: 3,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| png_complexity(&l.bytes, l.height, l.width)),
};

/// Bytes of the image as the compressed data of a gray PNG, per raw byte. Larger is more complex.
///
/// Every row is filtered by PNG's Up (the difference to the row above, modulo 256; the first row is kept), preceded by the
/// filter's number 2, and the rows together are compressed by deflate (the method of zip) as zlib does at level 6, the
/// default of most PNG writers. Only the deflate stream counts, not the headers of zlib and PNG, so that small images
/// compare with large ones. Near 0 for a constant image, a little above 1 for white noise. `gray` has `height * width` values of 8 bits. `None` without pixels.
///
/// ```
/// let flat = segfit::complexity::png_complexity(&[128; 4096], 64, 64).unwrap();
/// assert!(flat < 0.02, "two symbols, each in long runs");
/// ```
///
/// Source: the compressed size as a complexity, Machado et al., Computerized measures of visual complexity, 2015; filter
/// and deflate of RFC 2083 and RFC 1951. One fixed filter instead of a choice by row, so that the value depends on no
/// encoder's heuristics; other encoders' streams of level 6 differ by up to 3%.
#[must_use]
pub fn png_complexity(gray: &[u8], height: usize, width: usize) -> Option<f64> {
    if gray.is_empty() || gray.len() != height * width {
        return None;
    }
    Some(deflated_size(filtered(gray, width)) as f64 / gray.len() as f64)
}

/// The rows under the filter Up, each after the filter's number.
fn filtered(gray: &[u8], width: usize) -> Vec<u8> {
    let mut rows = Vec::with_capacity(gray.len() + gray.len() / width);
    let mut above = &vec![0; width][..];
    for row in gray.chunks(width) {
        rows.push(UP);
        rows.extend(row.iter().zip(above).map(|(v, a)| v.wrapping_sub(*a)));
        above = row;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_replaced_by_its_difference_to_the_row_above() {
        assert_eq!(filtered(&[5, 9, 6, 8], 2), [2, 5, 9, 2, 1, 255]);
    }

    #[test]
    fn a_constant_image_costs_nothing_and_noise_costs_all_its_bytes() {
        let mut s = crate::random::Stream::new(&[7]);
        let noise: Vec<u8> = (0..4096).map(|_| s.below(256) as u8).collect();
        let flat = png_complexity(&[9; 4096], 64, 64).unwrap();
        let noise = png_complexity(&noise, 64, 64).unwrap();
        assert!(flat < 0.02, "{flat}");
        assert!((1.0..1.04).contains(&noise), "65 bytes for the filters of 4096: {noise}");
        assert_eq!(png_complexity(&[], 0, 5), None);
    }

    #[test]
    fn rows_that_repeat_cost_as_little_as_one() {
        let mut s = crate::random::Stream::new(&[8]);
        let row: Vec<u8> = (0..64).map(|_| s.below(256) as u8).collect();
        let stripes = png_complexity(&row.repeat(64), 64, 64).unwrap();
        assert!(stripes < 0.05, "64 of 4096 bytes hold the image: {stripes}");
    }
}
