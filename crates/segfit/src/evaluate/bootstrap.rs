//! Bootstrap intervals of a mean over images that come from few sources.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::complexity::quantile;
use crate::random::Stream;

/// A mean with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean over images.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What was drawn with replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampled {
    /// Whole sources, with all their images.
    Sources,
    /// Single images, because all come from one source: the interval ignores that they are alike.
    Images,
}

/// The mean of `values` with its 95% interval from the cluster bootstrap, and what was resampled.
///
/// Each of `resamples` draws takes as many sources as there are, with replacement, and averages over the images of those
/// taken; the interval runs from the 2.5% to the 97.5% quantile of these averages. Images of one source (tiles of a
/// slide, frames of a film) stay together, since they are not independent. With a single source, images are drawn
/// instead. `values` and `sources` have the same length; without values all three numbers are 0. Equal seeds give equal
/// intervals.
///
/// ```
/// let sources: Vec<String> = ["a", "a", "b", "b"].map(String::from).to_vec();
/// let (dice, _) = segfit::evaluate::bootstrap_mean(&[0.8, 0.8, 0.9, 0.9], &sources, 2000, 0);
/// assert!((dice.mean - 0.85).abs() < 1e-12 && dice.low == 0.8 && dice.high == 0.9);
/// ```
///
/// Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (clusters, whole).
#[must_use]
pub fn bootstrap_mean(values: &[f64], sources: &[String], resamples: usize, seed: u64) -> (Interval, Resampled) {
    let (clusters, resampled) = clusters(values, sources);
    let total = (values.iter().sum::<f64>(), values.len());
    let mean = total.0 / total.1.max(1) as f64;
    if values.is_empty() || resamples == 0 {
        return (Interval { mean, low: mean, high: mean }, resampled);
    }
    let mut means: Vec<f64> = (0..resamples).map(|r| resample(&clusters, seed, r)).collect();
    means.sort_by(f64::total_cmp);
    (Interval { mean, low: quantile(&means, 0.025), high: quantile(&means, 0.975) }, resampled)
}

/// Sum and number of the values of each source, in the order of the sources' names.
fn clusters(values: &[f64], sources: &[String]) -> (Vec<(f64, usize)>, Resampled) {
    let mut by_source: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for (value, source) in values.iter().zip(sources) {
        let sums = by_source.entry(source).or_default();
        *sums = (sums.0 + value, sums.1 + 1);
    }
    if by_source.len() > 1 {
        (by_source.into_values().collect(), Resampled::Sources)
    } else {
        (values.iter().map(|&v| (v, 1)).collect(), Resampled::Images)
    }
}

fn resample(clusters: &[(f64, usize)], seed: u64, number: usize) -> f64 {
    let mut stream = Stream::new(&[seed, number as u64]);
    let (mut sum, mut count) = (0.0, 0);
    for _ in 0..clusters.len() {
        let (s, n) = clusters[stream.below(clusters.len())];
        sum += s;
        count += n;
    }
    sum / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(n: usize, each: usize) -> Vec<String> {
        (0..n).map(|i| format!("s{}", i / each)).collect()
    }

    #[test]
    fn the_interval_of_independent_images_is_about_two_standard_errors_wide() {
        let mut s = Stream::new(&[5]);
        let values: Vec<f64> = (0..400).map(|_| f64::from(s.normal())).collect();
        let (i, how) = bootstrap_mean(&values, &sources(400, 1), 2000, 1);
        assert_eq!(how, Resampled::Sources);
        assert!((i.high - i.low - 4.0 * 0.98 / 20.0).abs() < 0.02, "{i:?}");
        assert!(i.low < i.mean && i.mean < i.high);
    }

    #[test]
    fn copies_within_a_source_do_not_narrow_the_interval() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i / 10)).collect();
        let (apart, _) = bootstrap_mean(&values, &sources(100, 1), 2000, 1);
        let (together, _) = bootstrap_mean(&values, &sources(100, 10), 2000, 1);
        assert!(together.high - together.low > 2.5 * (apart.high - apart.low), "{together:?} {apart:?}");
        assert_eq!(together.mean, apart.mean);
    }

    #[test]
    fn a_single_source_is_resampled_by_images_and_says_so() {
        let (i, how) = bootstrap_mean(&[0.0, 1.0, 0.0, 1.0], &sources(4, 4), 500, 1);
        assert_eq!(how, Resampled::Images);
        assert!(i.low < 0.5 && i.high > 0.5);
    }

    #[test]
    fn equal_seeds_give_equal_intervals() {
        let values = [0.3, 0.9, 0.5, 0.7];
        let of = |seed| bootstrap_mean(&values, &sources(4, 1), 200, seed).0;
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(bootstrap_mean(&[], &[], 10, 0).0, Interval { mean: 0.0, low: 0.0, high: 0.0 });
    }
}
