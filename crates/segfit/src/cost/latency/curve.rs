//! [`Curve`]: from the sum of the steps to the time of the whole network.

use serde::{Deserialize, Serialize};

/// Points (sum, whole) in microseconds, both rising; linear in logarithms between them and in proportion outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Curve(pub Vec<[f64; 2]>);

/// Octaves over which networks are averaged.
const REACH: f64 = 0.7;

impl Curve {
    /// Whether it has no points: then the whole is the sum.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole for a sum.
    #[must_use]
    pub fn at(&self, sum: f64) -> f64 {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return sum };
        if sum <= first[0] {
            return sum * (first[1] / first[0]);
        }
        if sum >= last[0] {
            return sum * (last[1] / last[0]);
        }
        let i = self.0.partition_point(|p| p[0] <= sum) - 1;
        let ([x0, y0], [x1, y1]) = (self.0[i], self.0[i + 1]);
        y0 * ((y1 / y0).ln() * (sum / x0).ln() / (x1 / x0).ln()).exp()
    }

    pub(super) fn flaw(&self) -> Option<String> {
        let above = self.0.iter().flatten().all(|v| *v > 0.0 && v.is_finite());
        let rises = self.0.windows(2).all(|w| w[0][0] < w[1][0] && w[0][1] <= w[1][1]);
        (!above || !rises).then(|| "whole: its points must be above 0 and rise".into())
    }

    /// The curve through measured networks (sum, whole): one point to an octave, with the mean ratio around it.
    pub(super) fn through(pairs: &[[f64; 2]]) -> Self {
        let logs = pairs.iter().map(|p| p[0].log2());
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), l| (low.min(l), high.max(l)));
        if low > high {
            return Self::default();
        }
        let knots = (0..=(high - low).ceil() as usize).map(|k| (low + k as f64).min(high));
        let ratio = |knot: f64| {
            let weighted = pairs.iter().map(|p| {
                let away = (p[0].log2() - knot) / REACH;
                ((-0.5 * away * away).exp(), (p[1] / p[0]).ln())
            });
            let (sum, weight) = weighted.fold((0.0, 0.0), |(s, w), (wk, r)| (s + wk * r, w + wk));
            (sum / weight).exp()
        };
        let mut points: Vec<[f64; 2]> = knots.map(|knot| [knot.exp2(), knot.exp2() * ratio(knot)]).collect();
        points.dedup_by(|next, point| next[0] <= point[0]);
        for i in 1..points.len() {
            points[i][1] = points[i][1].max(points[i - 1][1]);
        }
        Self(points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_a_power_between_its_points_and_a_ratio_outside() {
        let curve = Curve(vec![[1.0, 2.0], [16.0, 8.0]]);
        assert_eq!((curve.at(0.5), curve.at(1.0), curve.at(16.0), curve.at(32.0)), (1.0, 2.0, 8.0, 16.0));
        assert!((curve.at(4.0) - 4.0).abs() < 1e-12);
        assert_eq!(Curve::default().at(3.0), 3.0, "without points: the sum");
    }

    #[test]
    fn the_mean_ratio_around_each_octave_is_found() {
        let pairs: Vec<[f64; 2]> = (0..60)
            .map(|k| f64::from(k).mul_add(0.2, 3.0).exp2())
            .map(|s| [s, if s < 300.0 { 0.8 } else { 1.1 } * s])
            .collect();
        let curve = Curve::through(&pairs);
        assert_eq!(curve.flaw(), None);
        assert!((curve.at(9.0) / 9.0 - 0.8).abs() < 0.01 && (curve.at(2e4) / 2e4 - 1.1).abs() < 0.01, "{curve:?}");
        assert!(Curve::through(&[]).is_empty());
        assert_eq!(Curve::through(&[[8.0, 4.0]]).at(2.0), 1.0);
        assert!(Curve(vec![[1.0, 2.0], [2.0, 1.0]]).flaw().is_some());
    }
}
