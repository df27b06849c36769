//! Distances between the surfaces of a predicted and a true object: HD95 and the normalised surface Dice.

use crate::complexity::quantile;

/// A grid of pixels or voxels with distances between neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Slices, rows and columns; a picture has one slice.
    pub shape: [usize; 3],
    /// Distances between slices, rows and columns.
    pub spacing: [f64; 3],
}

impl Grid {
    /// A picture whose rows and columns lie `spacing` apart.
    #[must_use]
    pub fn picture(rows: usize, columns: usize, spacing: [f64; 2]) -> Self {
        Self { shape: [1, rows, columns], spacing: [1.0, spacing[0], spacing[1]] }
    }

    /// The distance between opposite corners, from centre to centre.
    #[must_use]
    pub fn diagonal(&self) -> f64 {
        let side = |axis: usize| (self.shape[axis] - 1) as f64 * self.spacing[axis];
        (0..3).map(|axis| side(axis).powi(2)).sum::<f64>().sqrt()
    }

    fn strides(&self) -> [usize; 3] {
        [self.shape[1] * self.shape[2], self.shape[2], 1]
    }
}

/// How far the surfaces of two objects are from each other.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// From each surface pixel of the prediction to the nearest one of the truth, ascending.
    from_predicted: Vec<f64>,
    /// The other way, ascending.
    from_truth: Vec<f64>,
    diagonal: f64,
}

impl SurfaceDistances {
    /// Distances between the surfaces of two objects, given as pixels in or out in the grid's order.
    ///
    /// A surface pixel is a pixel of the object with a neighbour across a side that is not; beyond the grid's edge nothing is
    /// of the object. A grid of one slice has no neighbours above and below. Distances are Euclidean and exact, between
    /// centres of pixels, in the unit of the spacing.
    ///
    /// Source: Felzenszwalb and Huttenlocher, Distance Transforms of Sampled Functions, Theory of Computing 8, 2012,
    /// algorithm 1, for squared distances; surfaces as SciPy's `binary_erosion` makes them.
    ///
    /// # Panics
    /// When the objects are not of the grid's size.
    #[must_use]
    pub fn between(predicted: &[bool], truth: &[bool], grid: Grid) -> Self {
        let pixels = grid.shape.iter().product::<usize>();
        assert!(predicted.len() == pixels && truth.len() == pixels, "objects are as large as their grid");
        let (p, t) = (surface(predicted, grid), surface(truth, grid));
        let far = |from: &[usize], to: &[usize]| {
            if from.is_empty() || to.is_empty() {
                return Vec::new();
            }
            let squared = squared_distances(to, grid);
            let mut all: Vec<f64> = from.iter().map(|&i| squared[i].sqrt()).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let mut both = Self { from_predicted: far(&p, &t), from_truth: far(&t, &p), diagonal: grid.diagonal() };
        if p.is_empty() != t.is_empty() {
            // Nothing is near: every surface pixel is as far away as it can be.
            both.from_predicted = vec![both.diagonal; p.len()];
            both.from_truth = vec![both.diagonal; t.len()];
        }
        both
    }

    /// The 95% Hausdorff distance: the larger of the 95% quantiles of both directions. Smaller is better.
    ///
    /// 0 when neither object has a pixel; the grid's diagonal when one of them has none.
    ///
    /// Source: Huttenlocher et al. 1993 (partial Hausdorff distance); Maier-Hein et al., Metrics Reloaded, Nature Methods 2024.
    #[must_use]
    pub fn hd95(&self) -> f64 {
        let of = |all: &[f64]| if all.is_empty() { 0.0 } else { quantile(all, 0.95) };
        of(&self.from_predicted).max(of(&self.from_truth))
    }

    /// The normalised surface Dice (NSD): the share of all surface pixels of both objects that lie within `tolerance` of the
    /// other one's surface, from 0 to 1; larger is better.
    ///
    /// 1 when neither object has a pixel, 0 when one of them has none.
    ///
    /// Source: Nikolov et al., J Med Internet Res 2021, with counts of surface pixels for their areas.
    #[must_use]
    pub fn nsd(&self, tolerance: f64) -> f64 {
        let all = self.from_predicted.len() + self.from_truth.len();
        let is_lost = self.from_predicted.is_empty() != self.from_truth.is_empty();
        match all {
            0 => 1.0,
            _ if is_lost => 0.0,
            _ => {
                let near = |d: &[f64]| d.partition_point(|&d| d <= tolerance);
                (near(&self.from_predicted) + near(&self.from_truth)) as f64 / all as f64
            }
        }
    }
}

/// Positions of an object's surface pixels, ascending.
fn surface(inside: &[bool], grid: Grid) -> Vec<usize> {
    let strides = grid.strides();
    let at_surface = |i: usize| {
        (0..3).filter(|&axis| grid.shape[axis] > 1).any(|axis| {
            let (n, stride) = (grid.shape[axis], strides[axis]);
            let place = i / stride % n;
            place == 0 || place + 1 == n || !inside[i - stride] || !inside[i + stride]
        })
    };
    let is_single = inside.len() == 1;
    (0..inside.len()).filter(|&i| inside[i] && (is_single || at_surface(i))).collect()
}

/// Squared distances of all pixels to the nearest of `points`.
fn squared_distances(points: &[usize], grid: Grid) -> Vec<f64> {
    let mut field = vec![f64::INFINITY; grid.shape.iter().product()];
    for &i in points {
        field[i] = 0.0;
    }
    for (axis, stride) in grid.strides().into_iter().enumerate() {
        let n = grid.shape[axis];
        if n == 1 {
            continue;
        }
        let mut envelope = Envelope::new(n, grid.spacing[axis]);
        for start in (0..field.len()).filter(|i| i / stride % n == 0) {
            envelope.apply(&mut field, start, stride);
        }
    }
    field
}

/// The lower envelope of parabolas along one line.
struct Envelope {
    spacing: f64,
    line: Vec<f64>,
    /// Places of the parabolas of the envelope.
    places: Vec<usize>,
    /// Where each of them begins to be the lowest.
    begins: Vec<f64>,
}

impl Envelope {
    fn new(n: usize, spacing: f64) -> Self {
        Self { spacing, line: vec![0.0; n], places: Vec::with_capacity(n), begins: Vec::with_capacity(n) }
    }

    /// Replaces the values f of a line by the least of f(q) + (distance to q)^2 over q.
    fn apply(&mut self, field: &mut [f64], start: usize, stride: usize) {
        for (i, value) in self.line.iter_mut().enumerate() {
            *value = field[start + i * stride];
        }
        self.places.clear();
        self.begins.clear();
        let at = |i: usize| i as f64 * self.spacing;
        for q in (0..self.line.len()).filter(|&q| self.line[q].is_finite()) {
            let mut begin = f64::NEG_INFINITY;
            while let (Some(&p), Some(&from)) = (self.places.last(), self.begins.last()) {
                let height = |i: usize| self.line[i] + at(i).powi(2);
                begin = (height(q) - height(p)) / (2.0 * (at(q) - at(p)));
                if begin > from {
                    break;
                }
                self.places.pop();
                self.begins.pop();
                begin = f64::NEG_INFINITY;
            }
            self.places.push(q);
            self.begins.push(begin);
        }
        if self.places.is_empty() {
            return;
        }
        let mut k = 0;
        for i in 0..self.line.len() {
            while self.begins.get(k + 1).is_some_and(|&b| b < at(i)) {
                k += 1;
            }
            let p = self.places[k];
            field[start + i * stride] = self.line[p] + (at(i) - at(p)).powi(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(rows: &[&str]) -> (Vec<bool>, Grid) {
        let pixels = rows.iter().flat_map(|r| r.chars().map(|c| c == '#')).collect();
        (pixels, Grid::picture(rows.len(), rows[0].len(), [1.0, 1.0]))
    }

    #[test]
    fn a_square_moved_by_two_pixels() {
        let (a, grid) = object(&["###.....", "###.....", "###....."]);
        let (b, _) = object(&["..###...", "..###...", "..###..."]);
        let d = SurfaceDistances::between(&a, &b, grid);
        // The inner pixel is no surface; eight are. From a's first column it is 2, from its second 1, from its third 0.
        assert_eq!(d.from_predicted, [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert_eq!(d.hd95(), 2.0);
        assert_eq!((d.nsd(0.5), d.nsd(1.0), d.nsd(2.0)), (6.0 / 16.0, 10.0 / 16.0, 1.0));
        let mm = SurfaceDistances::between(&a, &b, Grid::picture(3, 8, [5.0, 0.5]));
        assert_eq!((mm.hd95(), mm.nsd(0.5)), (1.0, 10.0 / 16.0));
    }

    #[test]
    fn nothing_against_nothing_and_against_something() {
        let (none, grid) = object(&["....", "....", "...."]);
        let (some, _) = object(&["....", ".##.", "...."]);
        let both = SurfaceDistances::between(&none, &none, grid);
        assert_eq!((both.hd95(), both.nsd(1.0)), (0.0, 1.0));
        for (p, t) in [(&none, &some), (&some, &none)] {
            let d = SurfaceDistances::between(p, t, grid);
            assert_eq!((d.hd95(), d.nsd(100.0)), (13f64.sqrt(), 0.0));
        }
    }

    #[test]
    fn the_edge_of_the_picture_is_a_surface_and_slices_are_neighbours_in_a_volume() {
        let full = vec![true; 27];
        let flat = surface(&full, Grid::picture(3, 9, [1.0, 1.0]));
        assert_eq!(flat.len(), 27 - 7);
        assert_eq!(surface(&full, Grid { shape: [3, 3, 3], spacing: [1.0; 3] }).len(), 26);
        assert_eq!(surface(&[true], Grid::picture(1, 1, [1.0, 1.0])), [0]);
    }

    proptest! {
        #[test]
        fn distances_are_those_of_trying_all_pairs(
            shape in (1usize..4, 1usize..7, 1usize..7), spacing in (0.3f64..4.0, 0.3f64..4.0, 0.3f64..4.0), seed in 0u64..1000
        ) {
            let grid = Grid { shape: [shape.0, shape.1, shape.2], spacing: [spacing.0, spacing.1, spacing.2] };
            let n = grid.shape.iter().product::<usize>();
            let mut random = crate::random::Stream::new(&[seed]);
            let mut draw = || (0..n).map(|_| random.unit() < 0.3).collect::<Vec<bool>>();
            let (a, b) = (draw(), draw());
            let (p, t) = (surface(&a, grid), surface(&b, grid));
            prop_assume!(!p.is_empty() && !t.is_empty());
            let place = |i: usize| {
                let s = grid.strides();
                [0, 1, 2].map(|k| (i / s[k] % grid.shape[k]) as f64 * grid.spacing[k])
            };
            let distance = |i: usize, j: usize| {
                place(i).iter().zip(place(j)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            };
            let nearest = |i: usize| t.iter().map(|&j| distance(i, j)).fold(f64::INFINITY, f64::min);
            let mut expected: Vec<f64> = p.iter().map(|&i| nearest(i)).collect();
            expected.sort_by(f64::total_cmp);
            let found = SurfaceDistances::between(&a, &b, grid);
            for (x, y) in found.from_predicted.iter().zip(&expected) {
                prop_assert!((x - y).abs() < 1e-9, "{x} {y}");
            }
            let other = SurfaceDistances::between(&b, &a, grid);
            prop_assert_eq!(found.hd95(), other.hd95());
            prop_assert_eq!(found.nsd(1.0), other.nsd(1.0));
        }
    }
}
