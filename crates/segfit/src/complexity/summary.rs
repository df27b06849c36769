//! Mean, deviation and quantiles of a measure over the images of a data set.

use serde::{Deserialize, Serialize};

/// One measure over all images for which it is defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); 0 for a single image.
    pub deviation: f64,
    /// 5% quantile.
    pub q05: f64,
    /// 25% quantile.
    pub q25: f64,
    /// Median.
    pub q50: f64,
    /// 75% quantile.
    pub q75: f64,
    /// 95% quantile.
    pub q95: f64,
    /// Whether a larger value means a more complex image.
    pub larger_is_more_complex: bool,
    /// Unit of the values; the deviation has the same.
    pub unit: String,
    /// Images for which the measure is defined.
    pub images: usize,
}

impl Summary {
    /// The summary of some values, in any order; `None` without values.
    ///
    /// Values are sorted before they are added, so that the result does not depend on their order. A quantile between two
    /// values is interpolated linearly (type 7 of Hyndman and Fan 1996).
    #[must_use]
    pub fn of(mut values: Vec<f64>, unit: &str, larger_is_more_complex: bool) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        Some(Self {
            mean,
            deviation: if values.len() < 2 { 0.0 } else { (squares / (n - 1.0)).sqrt() },
            q05: quantile(&values, 0.05),
            q25: quantile(&values, 0.25),
            q50: quantile(&values, 0.5),
            q75: quantile(&values, 0.75),
            q95: quantile(&values, 0.95),
            larger_is_more_complex,
            unit: unit.into(),
            images: values.len(),
        })
    }
}

/// The quantile of ascending values, interpolated between the two nearest ranks.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (place - low as f64) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_values_have_the_quantiles_one_expects() {
        let s = Summary::of(vec![5.0, 1.0, 4.0, 2.0, 3.0], "x", true).unwrap();
        assert_eq!((s.mean, s.q25, s.q50, s.q75, s.images), (3.0, 2.0, 3.0, 4.0, 5));
        assert!((s.deviation - 2.5_f64.sqrt()).abs() < 1e-12);
        assert!((s.q05 - 1.2).abs() < 1e-12 && (s.q95 - 4.8).abs() < 1e-12);
    }

    #[test]
    fn one_value_has_no_deviation_and_none_has_no_summary() {
        let s = Summary::of(vec![7.0], "x", true).unwrap();
        assert_eq!((s.mean, s.deviation, s.q05, s.q95), (7.0, 0.0, 7.0, 7.0));
        assert_eq!(Summary::of(vec![], "x", true), None);
    }
}
