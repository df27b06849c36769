//! [`Grid`]: the sizes that a model is fitted at, and where any other network lies between them.

use serde::{Deserialize, Serialize};

use super::axis::Axis;
use super::linear::solve;
use super::monotone::Monotone;
use super::samples::{Point, SetSamples};
use super::size::SizeFeatures;

/// A size that enough data sets were measured at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Knot {
    /// Index of the family.
    pub family: usize,
    /// Depth.
    pub depth: usize,
    /// Effective log2 width.
    pub log2_width: f64,
    /// Data sets that were measured at it.
    pub sets: usize,
    /// Mean log2 of the trained parameters.
    pub log2_params: f64,
}

impl Knot {
    fn is(&self, family: usize, depth: usize, log2_width: f64) -> bool {
        self.family == family && self.depth == depth && (self.log2_width - log2_width).abs() < 1e-6
    }

    /// The place of the knot itself.
    pub(crate) fn spot(&self) -> Spot {
        let Self { family, depth, log2_width, log2_params, .. } = *self;
        Spot { family, depth, log2_width, log2_params }
    }
}

/// Where a network lies: a calibrated family and depth, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spot {
    pub family: usize,
    pub depth: usize,
    pub log2_width: f64,
    pub log2_params: f64,
}

/// The sizes of a calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grid {
    /// Names of the families; the main one is the first.
    pub families: Vec<String>,
    /// By family, depth, width.
    pub knots: Vec<Knot>,
    /// The reference network of every family, where retention is 1 by definition.
    pub references: Vec<Knot>,
    /// How layer-wise shapes become an effective width.
    pub axis: Axis,
}

impl Grid {
    /// The sizes of `sets`, of which there must be at least one. Knots are the sizes of uniform networks (of all, where a row
    /// has fewer than two) that at least half as many data sets were measured at as the most common one of these of the same family
    /// and depth; the others lie between them. So every family and depth has a knot.
    pub(crate) fn of(sets: &[&SetSamples]) -> Self {
        let axis = Axis::fit(sets);
        let mut families: Vec<(String, usize)> = Vec::new();
        for point in sets.iter().flat_map(|s| &s.points) {
            match families.iter_mut().find(|f| f.0 == point.family) {
                Some(family) => family.1 += 1,
                None => families.push((point.family.clone(), 1)),
            }
        }
        families.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let families: Vec<String> = families.into_iter().map(|f| f.0).collect();
        let mut grid = Self { families, knots: Vec::new(), references: Vec::new(), axis };
        let mut knots: Vec<(Knot, bool)> = Vec::new();
        for point in sets.iter().flat_map(|s| &s.points) {
            let (family, depth) = (grid.family(&point.family), point.size.depth);
            let log2_width = axis.log2_width(&point.size);
            let index = match knots.iter().position(|k| k.1 == point.is_uniform && k.0.is(family, depth, log2_width)) {
                Some(index) => index,
                None => {
                    knots.push((Knot { family, depth, log2_width, sets: 0, log2_params: 0.0 }, point.is_uniform));
                    knots.len() - 1
                }
            };
            let knot = &mut knots[index].0;
            knot.log2_params += (point.size.log2_params - knot.log2_params) / (knot.sets + 1) as f64;
            knot.sets += 1;
            if point.is_reference && grid.references.iter().all(|r| r.family != family) {
                grid.references.push(*knot);
            }
        }
        let alike = |a: &Knot, b: &Knot| a.family == b.family && a.depth == b.depth;
        let enough_uniform = |k: &Knot| knots.iter().filter(|o| o.1 && alike(&o.0, k)).count() >= 2;
        let may_be = |k: &&(Knot, bool)| k.1 || !enough_uniform(&k.0);
        let eligible: Vec<Knot> = knots.iter().filter(may_be).map(|k| k.0).collect();
        let most = |k: &Knot| eligible.iter().filter(|o| alike(o, k)).map(|o| o.sets).max().unwrap_or(0);
        grid.knots = eligible.iter().filter(|k| 2 * k.sets >= most(k)).copied().collect();
        grid.knots
            .sort_by(|a, b| (a.family, a.depth).cmp(&(b.family, b.depth)).then(a.log2_width.total_cmp(&b.log2_width)));
        grid
    }

    fn family(&self, name: &str) -> usize {
        self.families.iter().position(|f| f == name).unwrap_or(0)
    }

    /// Where a network lies. Unknown families are taken for the main one, other depths for the nearest calibrated one, the
    /// shallower of two.
    pub(crate) fn spot(&self, family: &str, size: &SizeFeatures) -> Spot {
        let family = self.family(family);
        Spot {
            family,
            depth: self.nearest_depth(family, size.depth),
            log2_width: self.axis.log2_width(size),
            log2_params: size.log2_params,
        }
    }

    /// The nearest calibrated depth of a family.
    pub(crate) fn nearest_depth(&self, family: usize, depth: usize) -> usize {
        let depths = self.knots.iter().filter(|k| k.family == family).map(|k| k.depth);
        depths.min_by_key(|d| (d.abs_diff(depth), *d)).unwrap_or(depth)
    }

    /// Indices and knots of one family and depth, rising in width.
    pub(crate) fn row(&self, family: usize, depth: usize) -> impl Iterator<Item = (usize, &Knot)> {
        self.knots.iter().enumerate().filter(move |(_, k)| k.family == family && k.depth == depth)
    }

    /// Calibrated range of the effective log2 width where `spot` is.
    pub(crate) fn width_range(&self, spot: &Spot) -> (f64, f64) {
        let widths = || self.row(spot.family, spot.depth).map(|(_, k)| k.log2_width);
        (widths().fold(f64::INFINITY, f64::min), widths().fold(f64::NEG_INFINITY, f64::max))
    }

    /// Whether this knot is a reference network.
    pub(crate) fn is_reference(&self, knot: &Knot) -> bool {
        self.references.iter().any(|r| r.is(knot.family, knot.depth, knot.log2_width))
    }

    /// The two knots around `spot` with the weights of linear interpolation; the end knots hold outside.
    pub(crate) fn around(&self, spot: &Spot) -> [(usize, f64); 2] {
        let mut below: Option<(usize, f64)> = None;
        for (i, knot) in self.row(spot.family, spot.depth) {
            if knot.log2_width >= spot.log2_width - 1e-9 {
                let Some((j, x)) = below else { return [(i, 1.0), (i, 0.0)] };
                let t = ((spot.log2_width - x) / (knot.log2_width - x)).min(1.0);
                return [(j, 1.0 - t), (i, t)];
            }
            below = Some((i, knot.log2_width));
        }
        let last = below.map_or(0, |b| b.0);
        [(last, 1.0), (last, 0.0)]
    }

    /// Linear interpolation of `values` (one per knot) at `spot`.
    pub(crate) fn between(&self, values: &[f64], spot: &Spot) -> f64 {
        self.around(spot).iter().map(|&(i, w)| w * values[i]).sum()
    }

    /// The values at the knots whose interpolation is nearest (least squares) to the values of the points, all data sets
    /// together; the plain mean at each knot where networks were measured at knots only.
    pub(crate) fn means<'a>(&self, points: impl Iterator<Item = (&'a Point, f64)>) -> Vec<f64> {
        let n = self.knots.len();
        let (mut a, mut b) = (vec![vec![0.0; n]; n], vec![0.0; n]);
        let (mut total, mut count) = (0.0, 0.0);
        for (point, value) in points {
            let around = self.around(&self.spot(&point.family, &point.size));
            for (i, wi) in around {
                b[i] += wi * value;
                around.iter().for_each(|&(j, wj)| a[i][j] += wi * wj);
            }
            (total, count) = (total + value, count + 1.0);
        }
        // A knot that only the left-out data sets were measured at gets the mean over all.
        for (i, row) in a.iter_mut().enumerate().filter(|(i, row)| row[*i] < 1e-9) {
            (row[i], b[i]) = (1.0, total / f64::max(count, 1.0));
        }
        solve(a, b)
    }

    /// The rising curve through `value` of the knots of one row; it is 1 at the reference.
    pub(crate) fn curve(&self, spot: &Spot, value: impl Fn(usize, &Knot) -> f64) -> Monotone {
        let row = self.row(spot.family, spot.depth).filter(|(_, k)| !self.is_reference(k));
        let curve = Monotone::fit(row.map(|(i, k)| (k.log2_width, value(i, k), k.sets as f64)).collect());
        match self.references.iter().find(|r| r.family == spot.family && r.depth == spot.depth) {
            Some(reference) => curve.through(reference.log2_width, 1.0),
            None => curve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn uniform_widths_are_the_knots_and_shapes_lie_between() {
        let samples = Samples::of(&records(&World { sets: 4, shapes: true, ..World::default() })).unwrap();
        let sets = samples.training(false);
        let grid = Grid::of(&sets);
        let widths: Vec<f64> = grid.knots.iter().map(|k| k.log2_width).collect();
        assert_eq!(widths, [0.0, 1.0, 2.0, 3.0, 4.0]);
        let mut wider = sets[0].clone();
        wider.points[4].size.log2_width = 5.0;
        wider.points[4].is_reference = false;
        assert_eq!(Grid::of(&[&wider, sets[1], sets[2], sets[3]]).knots.len(), 5, "measured on one set of four");
        assert!(grid.is_reference(grid.knots.last().unwrap()));
    }

    #[test]
    fn shapes_that_more_sets_were_measured_at_do_not_crowd_out_the_uniform_widths() {
        let samples = Samples::of(&records(&World { sets: 4, shapes: true, ..World::default() })).unwrap();
        let mut sets: Vec<_> = samples.training(false).into_iter().cloned().collect();
        sets[1..].iter_mut().for_each(|set| set.points.retain(|p| !p.is_uniform));
        let sets: Vec<&SetSamples> = sets.iter().collect();
        assert!(sets[3].points.iter().all(|p| sets[0].points.iter().any(|o| o.size == p.size)), "the same shapes");
        assert_eq!(Grid::of(&sets).knots.iter().map(|k| k.sets).collect::<Vec<_>>(), [1; 5]);
        assert_eq!(Grid::of(&sets[1..]).knots.len(), sets[3].points.len(), "shapes alone");
    }

    #[test]
    fn means_at_knots_are_plain_and_a_point_between_counts_for_both() {
        let samples = Samples::of(&records(&World { sets: 3, ..World::default() })).unwrap();
        let sets = samples.training(false);
        let grid = Grid::of(&sets);
        let retention = |points: usize| {
            let values = sets.iter().flat_map(|s| s.points.iter().take(points).map(|p| (p, p.retention())));
            grid.means(values)
        };
        let expected = sets.iter().map(|s| s.points[0].retention()).sum::<f64>() / 3.0;
        assert!((retention(5)[0] - expected).abs() < 1e-9);
        assert!((retention(1)[3] - expected).abs() < 1e-9, "nothing known there: the mean over all");
        let spot = Spot { log2_width: 0.25, ..grid.knots[0].spot() };
        assert_eq!(grid.around(&spot), [(0, 0.75), (1, 0.25)]);
        assert_eq!(grid.around(&Spot { log2_width: 9.0, ..spot })[0], (4, 1.0));
    }
}
