//! Boundary fraction: how much of the image is the rim of an object.

use super::{Measure, Pyramid, pyramid};

pub(super) const BOUNDARY: Measure = Measure {
    name: "boundary",
    unit: "share of pixels",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).map(|l| boundary_fraction(&l.classes, l.height, l.width)),
};

/// Share of the image's pixels that are foreground and have a 4-neighbour of another class, in [0, 1]. Larger is more
/// complex: a network's errors lie there.
///
/// The image's own border is no boundary. `classes` has `height * width` values.
///
/// ```
/// // A 3 x 3 square in the middle of 5 x 5: all but its centre are boundary.
/// let square: Vec<u8> = (0..25).map(|i| u8::from((1..4).contains(&(i / 5)) && (1..4).contains(&(i % 5)))).collect();
/// assert_eq!(segfit::complexity::boundary_fraction(&square, 5, 5), 8.0 / 25.0);
/// ```
///
/// Source: the inner boundary of mathematical morphology, M minus its erosion by the 4-neighbourhood (Serra 1982).
#[must_use]
pub fn boundary_fraction(classes: &[u8], height: usize, width: usize) -> f64 {
    let count: usize = boundary_pixels(classes, height, width).iter().map(|&b| usize::from(b)).sum();
    count as f64 / classes.len().max(1) as f64
}

/// 1 for the pixels that are foreground and have a 4-neighbour of another class.
pub(super) fn boundary_pixels(classes: &[u8], height: usize, width: usize) -> Vec<u8> {
    let mut boundary = Vec::with_capacity(height * width);
    for y in 0..height {
        for x in 0..width {
            let i = y * width + x;
            let class = classes[i];
            let differs = |inside: bool, j: usize| inside && classes[j] != class;
            let rim = class > 0
                && (differs(x > 0, i.wrapping_sub(1))
                    || differs(x + 1 < width, i + 1)
                    || differs(y > 0, i.wrapping_sub(width))
                    || differs(y + 1 < height, i + width));
            boundary.push(u8::from(rim));
        }
    }
    boundary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_of_the_image_is_no_boundary() {
        assert_eq!(boundary_fraction(&[1; 12], 3, 4), 0.0);
        assert_eq!(boundary_fraction(&[0; 12], 3, 4), 0.0);
        assert_eq!(boundary_fraction(&[1, 1, 0, 0], 1, 4), 0.25);
    }

    #[test]
    fn two_classes_that_touch_are_each_others_boundary() {
        assert_eq!(boundary_fraction(&[1, 1, 2, 2], 1, 4), 0.5);
    }
}
