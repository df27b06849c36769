//! Edge agreement: whether the visible edges of the image are the boundaries of the mask.

use super::boundary::boundary_pixels;
use super::edges::EDGE_THRESHOLD;
use super::{Measure, Pyramid, pyramid};

pub(super) const EDGE_AGREEMENT: Measure = Measure {
    name: "edge_agreement",
    unit: "F-measure",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| edge_agreement(l.gradient(), &l.classes, l.height, l.width)),
};

/// F-measure between the edges of the image and the boundary of the mask, with a tolerance of two pixels, in [0, 1].
/// Larger is less complex: the boundaries can be seen, and little else can.
///
/// F = 2 P R / (P + R). R is the share of the mask's boundary pixels with an edge pixel at most 2 pixels away (Euclidean,
/// between centres), P the share of the edge pixels with a boundary pixel at most 2 pixels away. Boundary pixels are
/// those of [`boundary_fraction`](super::boundary_fraction); edge pixels have a Sobel magnitude of at least
/// [`EDGE_THRESHOLD`]. F is 0 when there are no edges or none near a boundary. R alone would be 1 for any image full of
/// edges.
///
/// `gradient` has the `(height - 2) * (width - 2)` values of [`sobel_magnitude`](super::sobel_magnitude), `classes` has
/// `height * width`. `None` without boundary pixels, and below 3 x 3.
///
/// ```
/// use segfit::complexity::{edge_agreement, sobel_magnitude};
/// // The left half is bright and foreground: the step is the boundary.
/// let classes: Vec<u8> = (0..64).map(|i| u8::from(i % 8 < 4)).collect();
/// let gray: Vec<f32> = classes.iter().map(|&c| f32::from(c)).collect();
/// assert_eq!(edge_agreement(&sobel_magnitude(&gray, 8, 8), &classes, 8, 8), Some(1.0));
/// ```
///
/// Source: the boundary F-measure of Martin, Fowlkes and Malik 2004, with dilation for their matching.
#[must_use]
pub fn edge_agreement(gradient: &[f32], classes: &[u8], height: usize, width: usize) -> Option<f64> {
    if height < 3 || width < 3 {
        return None;
    }
    let boundary = boundary_pixels(classes, height, width);
    let mut edges = vec![0_u8; height * width];
    for (y, row) in gradient.chunks(width - 2).enumerate() {
        let start = (y + 1) * width + 1;
        edges[start..start + width - 2].iter_mut().zip(row).for_each(|(e, &g)| *e = u8::from(g >= EDGE_THRESHOLD));
    }
    // Up to 255 pixels are counted in a byte.
    let all = |map: &[u8]| map.chunks(255).map(|part| u64::from(part.iter().sum::<u8>())).sum::<u64>();
    let near = |map: &[u8], other: &[u8]| {
        let wide = within_two(other, height, width);
        let both = |(a, b): (&[u8], &[u8])| u64::from(a.iter().zip(b).map(|(&a, &b)| a & b).sum::<u8>());
        map.chunks(255).zip(wide.chunks(255)).map(both).sum::<u64>()
    };
    let (boundaries, edge_count) = (all(&boundary), all(&edges));
    if boundaries == 0 {
        return None;
    }
    let recall = near(&boundary, &edges) as f64 / boundaries as f64;
    let precision = near(&edges, &boundary) as f64 / edge_count.max(1) as f64;
    Some(if recall + precision > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 })
}

/// Pixels (1) whose centre is at most 2 away from a pixel of the map: dilation by the disc of 13 pixels, which is 5
/// columns wide in its own row, 3 in the rows beside it and 1 in the rows after.
fn within_two(map: &[u8], height: usize, width: usize) -> Vec<u8> {
    let mut out = map.to_vec();
    let (mut three, mut five) = (map.to_vec(), map.to_vec());
    for (y, row) in map.chunks(width).enumerate() {
        let rows = y * width..(y + 1) * width;
        widen(row, 1, &mut three[rows.clone()]);
        five[rows.clone()].copy_from_slice(&three[rows.clone()]);
        widen(row, 2, &mut five[rows]);
    }
    for y in 0..height {
        let target = &mut out[y * width..(y + 1) * width];
        join(target, &five[y * width..(y + 1) * width]);
        for (plane, away) in [(&three[..], 1), (map, 2)] {
            for source in [y.checked_sub(away), Some(y + away).filter(|&r| r < height)].into_iter().flatten() {
                join(target, &plane[source * width..(source + 1) * width]);
            }
        }
    }
    out
}

/// Joins a row, moved by `steps` to both sides, to the target.
fn widen(row: &[u8], steps: usize, target: &mut [u8]) {
    let kept = row.len().saturating_sub(steps);
    join(&mut target[row.len() - kept..], &row[..kept]);
    join(&mut target[..kept], &row[row.len() - kept..]);
}

fn join(target: &mut [u8], source: &[u8]) {
    target.iter_mut().zip(source).for_each(|(t, &s)| *t |= s);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::sobel_magnitude;
    use proptest::prelude::*;

    #[test]
    fn a_constant_image_shows_no_boundary_and_a_full_mask_has_none() {
        let half: Vec<u8> = (0..64).map(|i| u8::from(i % 8 < 4)).collect();
        assert_eq!(edge_agreement(&[0.0; 36], &half, 8, 8), Some(0.0));
        assert_eq!(edge_agreement(&[1.0; 36], &[1; 64], 8, 8), None);
        assert_eq!(edge_agreement(&[], &[1, 0], 1, 2), None);
    }

    #[test]
    fn edges_everywhere_find_all_boundaries_but_are_seldom_one() {
        // 16 columns, the boundary in column 7; edges in columns 1 to 14 of rows 1 to 14; 5 to 9 are near the boundary.
        let classes: Vec<u8> = (0..256).map(|i| u8::from(i % 16 < 8)).collect();
        let precision = 5.0 / 14.0;
        let value = edge_agreement(&[1.0; 196], &classes, 16, 16).unwrap();
        assert!((value - 2.0 * precision / (1.0 + precision)).abs() < 1e-15, "{value}");
    }

    #[test]
    fn an_edge_three_pixels_off_is_no_boundary() {
        // The step between columns 8 and 9 gives edges in columns 8 and 9; the boundary is column 5 or 6.
        let gray: Vec<f32> = (0..256).map(|i| if i % 16 < 9 { 0.0 } else { 1.0 }).collect();
        let value = |last| {
            let classes: Vec<u8> = (0..256).map(|i| u8::from(i % 16 <= last)).collect();
            edge_agreement(&sobel_magnitude(&gray, 16, 16), &classes, 16, 16).unwrap()
        };
        assert_eq!(value(5), 0.0);
        // One of the two edge columns is near; edges have no first and last row, so 14 of 16 boundary pixels are.
        let (precision, recall) = (0.5, 14.0 / 16.0);
        assert!((value(6) - 2.0 * precision * recall / (precision + recall)).abs() < 1e-15, "{}", value(6));
    }

    proptest! {
        #[test]
        fn dilation_agrees_with_measuring_every_distance(h in 1_usize..9, w in 1_usize..9, seed in 0_u64..1000) {
            let mut s = crate::random::Stream::new(&[seed]);
            let map: Vec<u8> = (0..h * w).map(|_| u8::from(s.below(8) == 0)).collect();
            let wide = within_two(&map, h, w);
            for (i, &within) in wide.iter().enumerate() {
                let close = |j: usize| (i / w).abs_diff(j / w).pow(2) + (i % w).abs_diff(j % w).pow(2) <= 4;
                prop_assert_eq!(within > 0, (0..h * w).any(|j| map[j] > 0 && close(j)));
            }
        }
    }
}
