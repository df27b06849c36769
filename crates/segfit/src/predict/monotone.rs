//! Rising curves through few points.

/// A piecewise linear, never falling function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Monotone {
    knots: Vec<(f64, f64)>,
}

impl Monotone {
    /// The isotonic regression of `(x, y, weight)`, by pooling adjacent violators (Ayer et al. 1955); x in any order.
    pub(crate) fn fit(mut points: Vec<(f64, f64, f64)>) -> Self {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        for &(_, y, weight) in &points {
            blocks.push((y, weight, 1));
            while let [.., (y0, w0, n0), (y1, w1, n1)] = *blocks.as_slice() {
                if y0 <= y1 {
                    break;
                }
                blocks.truncate(blocks.len() - 2);
                blocks.push(((y0 * w0 + y1 * w1) / (w0 + w1), w0 + w1, n0 + n1));
            }
        }
        let values = blocks.iter().flat_map(|&(y, _, n)| std::iter::repeat_n(y, n));
        Self { knots: points.iter().map(|p| p.0).zip(values).collect() }
    }

    /// Goes through (x, y): no value before x is larger, none behind is smaller.
    pub(crate) fn through(mut self, x: f64, y: f64) -> Self {
        for knot in &mut self.knots {
            knot.1 = if knot.0 <= x { knot.1.min(y) } else { knot.1.max(y) };
        }
        self.knots.retain(|k| (k.0 - x).abs() > 1e-9);
        let at = self.knots.partition_point(|k| k.0 < x);
        self.knots.insert(at, (x, y));
        self
    }

    /// The value at x. Behind the last knot it stays; before the first it continues with the slope of the first two
    /// knots, not below 0 (or the first knot, if that is negative). 0 without knots.
    pub(crate) fn at(&self, x: f64) -> f64 {
        let (Some(&first), Some(&last)) = (self.knots.first(), self.knots.last()) else { return 0.0 };
        if x >= last.0 {
            return last.1;
        }
        let next = self.knots.partition_point(|k| k.0 <= x);
        let (a, b) = match next {
            0 => (first, *self.knots.get(1).unwrap_or(&first)),
            i => (self.knots[i - 1], self.knots[i]),
        };
        let slope = if b.0 > a.0 { (b.1 - a.1) / (b.0 - a.0) } else { 0.0 };
        let value = a.1 + slope * (x - a.0);
        if next == 0 { value.max(first.1.min(0.0)) } else { value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_violators_become_their_mean() {
        let curve = Monotone::fit(vec![(0.0, 0.1, 1.0), (1.0, 0.6, 1.0), (2.0, 0.4, 1.0), (3.0, 0.9, 1.0)]);
        assert_eq!(curve.at(1.0), 0.5);
        assert_eq!(curve.at(2.0), 0.5);
        assert_eq!(curve.at(2.5), 0.7);
        assert_eq!(curve.at(9.0), 0.9, "flat behind the last knot");
        assert!((curve.at(-0.1) - 0.06).abs() < 1e-12, "the first slope goes on");
        assert_eq!(curve.at(-5.0), 0.0, "but not below zero");
    }

    #[test]
    fn a_pinned_point_bounds_both_sides() {
        let curve = Monotone::fit(vec![(0.0, 0.5, 1.0), (1.0, 1.2, 1.0), (3.0, 0.7, 1.0)]).through(2.0, 1.0);
        assert_eq!((curve.at(0.0), curve.at(2.0), curve.at(3.0)), (0.5, 1.0, 1.0));
        assert!((0.94..=0.96).contains(&curve.at(1.0)), "the pooled 0.95 stays");
    }

    proptest! {
        #[test]
        fn the_curve_never_falls_and_has_the_weighted_mean(ys in prop::collection::vec((-1.0..2.0_f64, 0.5..3.0_f64), 1..9)) {
            let points: Vec<_> = ys.iter().enumerate().map(|(i, &(y, w))| (i as f64, y, w)).collect();
            let curve = Monotone::fit(points.clone());
            let mut last = f64::NEG_INFINITY;
            for i in -20..100 {
                let value = curve.at(f64::from(i) / 8.0);
                prop_assert!(value >= last - 1e-12);
                last = value;
            }
            let off: f64 = points.iter().map(|&(x, y, w)| w * (y - curve.at(x))).sum();
            prop_assert!(off.abs() < 1e-9, "isotonic regression keeps the weighted mean");
        }
    }
}
