//! Intervals, and how wide they must be to hold for a new data set.

use serde::{Deserialize, Serialize};

/// A predicted value with its 90% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// The prediction.
    pub mean: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside.
    #[must_use]
    pub fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Data sets from which on the conformal quantile exists: the 90% quantile is the ceil(0.9 (n + 1))-th smallest of n.
pub(crate) const CONFORMAL_SETS: usize = 9;

/// Half width that holds for a new data set with probability 90%, from one residual per held-out data set.
///
/// From nine data sets on, the split-conformal quantile of the leave-one-out residuals (jackknife; Barber, Candes, Ramdas,
/// Tibshirani, Annals of Statistics 2021, who prove 1 - 2 x 10% for its variant jackknife+ and find about the nominal level
/// for stable models; `calibrate check` measures it): the ceil(0.9 (n + 1))-th smallest absolute residual. With fewer that
/// quantile is infinite. Then the largest absolute residual is taken, or the normal prediction interval t(0.95, n - 1) s sqrt(1 + 1/n)
/// with s the root mean square, whichever is wider; this is an assumption, not a guarantee. `None` without residuals.
pub(crate) fn half_width(residuals: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let largest = *sorted.last()?;
    if n >= CONFORMAL_SETS {
        let rank = (0.9 * (n as f64 + 1.0) - 1e-9).ceil() as usize;
        return Some(sorted[rank.min(n) - 1]);
    }
    let rms = (sorted.iter().map(|r| r * r).sum::<f64>() / n as f64).sqrt();
    Some(largest.max(T95[n.saturating_sub(2).min(T95.len() - 1)] * rms * (1.0 + 1.0 / n as f64).sqrt()))
}

/// 95% quantiles of Student's t for 1 to 7 degrees of freedom.
const T95: [f64; 7] = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_residuals_give_the_largest_and_nineteen_the_second_largest() {
        let nine: Vec<f64> = (1..=9).map(f64::from).collect();
        assert_eq!(half_width(&nine), Some(9.0), "ceil(0.9 * 10) = 9");
        let nineteen: Vec<f64> = (1..=19).map(|v| -f64::from(v)).collect();
        assert_eq!(half_width(&nineteen), Some(18.0), "ceil(0.9 * 20) = 18");
    }

    #[test]
    fn few_residuals_are_widened_beyond_the_largest() {
        let half = half_width(&[1.0, -1.0, 1.0]).unwrap();
        assert!((half - 2.920 * (4.0_f64 / 3.0).sqrt()).abs() < 1e-12, "{half}");
        assert_eq!(half_width(&[]), None);
        assert!(half_width(&[0.5]).unwrap() > 3.0);
    }
}
