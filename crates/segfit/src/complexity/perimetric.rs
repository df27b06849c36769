//! Perimetric complexity: how long the outline of an object is for its area.

use std::f64::consts::{PI, SQRT_2};

use super::{Measure, Pyramid, pyramid};

pub(super) const PERIMETRIC: Measure = Measure {
    name: "perimetric",
    unit: "perimeter^2 / (4 pi area), mean over objects by area",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| {
        p.level(s).and_then(|l| {
            let labels = l.runs().labels(l.height, l.width);
            let lengths = perimeters(&labels, l.runs().count, l.height, l.width);
            perimetric_complexity(&lengths, l.objects().iter().map(|o| o.area).sum())
        })
    },
};

/// The perimeter of every object, in pixels.
///
/// An object's rim is its pixels with a 4-neighbour outside of it; outside of the image is outside. A rim pixel with
/// s rim pixels beside it and d rim pixels diagonal to it (of the same object) adds the length of the outline in it:
///
/// | (s, d) | length |
/// | --- | --- |
/// | (2 or 3, 0), (2 or 3, 1), (2 or 3, 2) | 1 |
/// | (0, 2), (1, 3) | sqrt 2 |
/// | (1, 1), (1, 2) | (1 + sqrt 2) / 2 |
/// | any other | 0 |
///
/// So a single pixel has perimeter 0, and a square of n >= 3 pixels 4 (n - 1): the outline runs through pixel centres.
///
/// `labels` has `height * width` values: 0 is background, objects are 1 to `count`. The result has `count` values, that
/// of label i at i - 1.
///
/// ```
/// // A square of 3 x 3: the eight rim pixels have length 1.
/// assert_eq!(segfit::complexity::perimeters(&[1; 9], 1, 3, 3), [8.0]);
/// ```
///
/// Source: Benkrid, Crookes and Benkrid, Design and FPGA implementation of a perimeter estimator, 2000; the same as
/// `skimage.measure.perimeter` with 4 neighbours.
#[must_use]
pub fn perimeters(labels: &[u32], count: usize, height: usize, width: usize) -> Vec<f64> {
    if count == 0 || labels.is_empty() {
        return vec![0.0; count];
    }
    let stride = width + 2;
    let rim = rim(labels, height, width);
    let mut found = vec![[0_u64; 3]; count];
    for (at, part) in rim.chunks(PART).enumerate().filter(|(_, part)| part.iter().fold(0, |any, l| any | l) > 0) {
        for i in (at * PART..at * PART + part.len()).filter(|&i| rim[i] > 0) {
            if let Some(kind) = outline(&rim, i, stride) {
                found[rim[i] as usize - 1][kind] += 1;
            }
        }
    }
    let length = |n: &[u64; 3]| n[0] as f64 + n[1] as f64 * SQRT_2 + n[2] as f64 * ((1.0 + SQRT_2) / 2.0);
    found.iter().map(length).collect()
}

/// Most of a plane is no rim, and is passed over by so many pixels.
const PART: usize = 16;

/// The labels of rim pixels, 0 elsewhere, in a frame of 0 so that every pixel has eight neighbours.
fn rim(labels: &[u32], height: usize, width: usize) -> Vec<u32> {
    let stride = width + 2;
    let mut framed = vec![0; (height + 2) * stride];
    for (to, row) in framed[stride..].chunks_mut(stride).zip(labels.chunks(width)) {
        to[1..=width].copy_from_slice(row);
    }
    let mut rim = vec![0; framed.len()];
    for y in 1..=height {
        let line = |start: usize| &framed[start..start + width];
        let at = y * stride + 1;
        let (above, below, left, right) = (line(at - stride), line(at + stride), line(at - 1), line(at + 1));
        for (x, (to, &label)) in rim[at..at + width].iter_mut().zip(line(at)).enumerate() {
            let differs = (above[x] ^ label) | (below[x] ^ label) | (left[x] ^ label) | (right[x] ^ label);
            *to = if differs == 0 { 0 } else { label };
        }
    }
    rim
}

/// The kind of a rim pixel: 0, 1 or 2 for the first rows of the table of [`perimeters`].
fn outline(rim: &[u32], i: usize, stride: usize) -> Option<usize> {
    let same = |j: usize| usize::from(rim[j] == rim[i]);
    let beside = same(i - 1) + same(i + 1) + same(i - stride) + same(i + stride);
    let diagonal = same(i - stride - 1) + same(i - stride + 1) + same(i + stride - 1) + same(i + stride + 1);
    match (beside, diagonal) {
        (2 | 3, 0..=2) => Some(0),
        (0, 2) | (1, 3) => Some(1),
        (1, 1 | 2) => Some(2),
        _ => None,
    }
}

/// Mean over the objects of P^2 / (4 pi A), each weighted with its area A; at least 0. Larger is more complex.
///
/// P is the perimeter of [`perimeters`], in pixels. A disc has about 1.1 (1 in the continuum; P is 5% too long for round
/// outlines), a square of n x n pixels 4 (n - 1)^2 / (pi n^2), at most 1.27; rough, thin and branching objects have more. With the areas as weights the mean is the sum of P^2 over
/// 4 pi times the sum of A. `area` is the sum of the objects' areas in pixels. `None` without objects.
///
/// ```
/// use segfit::complexity::{perimeters, perimetric_complexity};
/// // 5 x 5 pixels: P = 16, A = 25.
/// let square = perimeters(&[1; 25], 1, 5, 5);
/// let value = perimetric_complexity(&square, 25).unwrap();
/// assert!((value - 256.0 / (100.0 * std::f64::consts::PI)).abs() < 1e-12);
/// ```
///
/// Source: Attneave and Arnoult, The quantitative study of shape and pattern perception, 1956; the weights are ours.
#[must_use]
pub fn perimetric_complexity(perimeters: &[f64], area: u64) -> Option<f64> {
    let squares: f64 = perimeters.iter().map(|p| p * p).sum();
    (area > 0).then(|| squares / (4.0 * PI * area as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::pyramid::tests::sample;

    fn of(rows: &[&str]) -> Vec<f64> {
        let labels: Vec<u32> = rows.iter().flat_map(|r| r.bytes().map(|b| u32::from(b - b'0'))).collect();
        let count = labels.iter().max().map_or(0, |&m| m as usize);
        perimeters(&labels, count, rows.len(), rows[0].len())
    }

    #[test]
    fn an_outline_runs_through_the_centres_of_the_rim() {
        assert_eq!(of(&["1"]), [0.0], "a point has no outline");
        assert_eq!(of(&["0000", "0110", "0110", "0000"]), [4.0], "four rim pixels of length 1");
        assert_eq!(of(&["11111", "11111", "11111", "11111", "11111"]), [16.0]);
        assert_eq!(of(&["010", "111", "010"]), [4.0 * SQRT_2], "a plus: four diagonal steps around the centre");
    }

    #[test]
    fn touching_objects_have_outlines_of_their_own() {
        assert_eq!(of(&["111222", "111222", "111222"]), [8.0, 8.0]);
    }

    #[test]
    fn areas_weigh_the_mean_over_objects() {
        // A square of 5 x 5 (P 16) and one of 3 x 3 (P 8): (256 + 64) / (4 pi 34).
        let mut classes = vec![0; 256];
        (0..25).for_each(|i| classes[(1 + i / 5) * 16 + 1 + i % 5] = 1);
        (0..9).for_each(|i| classes[(9 + i / 3) * 16 + 9 + i % 3] = 1);
        let pyramid = Pyramid::new(&sample(16, 16, vec![0.0; 256], classes));
        let value = (PERIMETRIC.compute)(&pyramid, 0).unwrap();
        assert!((value - 320.0 / (136.0 * PI)).abs() < 1e-12, "{value}");
        let empty = Pyramid::new(&sample(16, 16, vec![0.0; 256], vec![0; 256]));
        assert_eq!((PERIMETRIC.compute)(&empty, 0), None);
    }

    #[test]
    fn a_disc_has_one_and_a_tenth_and_a_comb_far_above() {
        let (mut disc, mut comb) = (vec![0_u32; 64 * 64], vec![0_u32; 64 * 64]);
        for i in 0..64 * 64 {
            let (y, x) = ((i / 64) as i64 - 32, (i % 64) as i64 - 32);
            disc[i] = u32::from(y * y + x * x <= 25 * 25);
            comb[i] = u32::from(y == -30 || (x % 4 == 0 && y > -30));
        }
        let value = |labels: &[u32]| {
            let area = labels.iter().filter(|&&l| l > 0).count() as u64;
            perimetric_complexity(&perimeters(labels, 1, 64, 64), area).unwrap()
        };
        assert!((value(&disc) - 1.1).abs() < 0.02, "{}", value(&disc));
        assert!(value(&comb) > 10.0, "{}", value(&comb));
    }
}
