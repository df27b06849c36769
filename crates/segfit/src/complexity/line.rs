//! The straight line through points, for measures that are exponents.

/// Slope of the least-squares line through points (x, y); `None` for fewer than three points or a single x.
pub(super) fn fitted_slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let joint: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let spread: f64 = points.iter().map(|p| (p.0 - x) * (p.0 - x)).sum();
    (points.len() >= 3 && spread > 0.0).then(|| joint / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_point_of_three_does_not_turn_the_line() {
        assert_eq!(fitted_slope(&[(0.0, 1.0), (1.0, 9.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(fitted_slope(&[(0.0, 1.0), (2.0, 5.0)]), None);
        assert_eq!(fitted_slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
