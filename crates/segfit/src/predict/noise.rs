//! How much of an error is noise: trainings differ between seeds, and test images are few.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::samples::{Point, SetSamples};
use crate::random::Stream;

/// Standard deviations over draws of the test images' sources.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSpread {
    /// Of Dice.
    pub dice: f64,
    /// Of retention; both networks are scored on the same draw.
    pub retention: f64,
}

/// What no prediction can get below, pooled over data sets and networks as root mean squares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Standard deviation of Dice between seeds; `None` without repeated seeds.
    pub seed_sd_dice: Option<f64>,
    /// The same of retention, without that of D_ref.
    pub seed_sd_retention: Option<f64>,
    /// Standard deviation of Dice over draws of the test images' sources.
    pub source_sd_dice: Option<f64>,
    /// The same of retention.
    pub source_sd_retention: Option<f64>,
    /// Expected absolute error of retention of a model that knows the mean over all seeds, from the spread between seeds.
    pub floor_seeds: Option<f64>,
    /// Expected absolute error of retention of a model that knows what the networks reach on endless test images.
    pub floor_sources: Option<f64>,
}

/// Draws of the bootstrap.
const DRAWS: usize = 400;

/// The cluster bootstrap over sources of the mean Dice of `records` (seeds of one network) and of its ratio to that of
/// `reference`. `None` when single images have no scores, the two were tested on other images, or there is only one source:
/// then nothing is known of how others would do.
pub(crate) fn source_spread(records: &[&Record], reference: &[&Record]) -> Option<SourceSpread> {
    let (own, best) = (by_source(records), by_source(reference));
    if own.len() < 2 || own.keys().ne(best.keys()) {
        return None;
    }
    let sums: Vec<[f64; 3]> = own.values().zip(best.values()).map(|(a, b)| [a.0, b.0, a.1]).collect();
    if own.values().zip(best.values()).any(|(a, b)| (a.1 - b.1).abs() > 1e-9) {
        return None;
    }
    let (mut dice, mut retention) = (Vec::with_capacity(DRAWS), Vec::with_capacity(DRAWS));
    for draw in 0..DRAWS {
        let mut stream = Stream::new(&[0x50_0c_e5, draw as u64]);
        let mut total = [0.0; 3];
        for _ in 0..sums.len() {
            let source = sums[stream.below(sums.len())];
            (0..3).for_each(|i| total[i] += source[i]);
        }
        dice.push(total[0] / total[2]);
        retention.push(total[0] / total[1].max(1e-9));
    }
    Some(SourceSpread { dice: deviation(&dice), retention: deviation(&retention) })
}

/// Sum of Dice (mean over seeds) and number of images of every source.
fn by_source(records: &[&Record]) -> BTreeMap<String, (f64, f64)> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let seeds = records.len() as f64;
    for image in records.iter().flat_map(|r| &r.per_image) {
        let sum = sums.entry(image.source.clone()).or_default();
        *sum = (sum.0 + image.dice / seeds, sum.1 + 1.0 / seeds);
    }
    sums
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt()
}

/// E|x| of a normal x of standard deviation 1.
fn mean_absolute() -> f64 {
    (2.0 / std::f64::consts::PI).sqrt()
}

impl Noise {
    /// The noise in these data sets' points; without the reference networks where retention is concerned.
    #[must_use]
    pub fn of(sets: &[&SetSamples]) -> Self {
        let points = || sets.iter().flat_map(|s| &s.points);
        let inner = || sets.iter().flat_map(|s| s.inner());
        // Variances between seeds have n - 1 degrees of freedom each.
        let pooled = |scale: fn(&Point) -> f64, list: Vec<&Point>| {
            let (mut sum, mut degrees) = (0.0, 0.0);
            for point in list {
                if let Some(deviation) = point.deviation {
                    sum += (point.seeds - 1) as f64 * (deviation * scale(point)).powi(2);
                    degrees += (point.seeds - 1) as f64;
                }
            }
            (degrees > 0.0).then(|| f64::sqrt(sum / degrees))
        };
        let spreads =
            |of: fn(&SourceSpread) -> f64| root_mean_square(inner().filter_map(|p| p.spread.as_ref().map(of)));
        Self {
            seed_sd_dice: pooled(|_| 1.0, points().collect()),
            seed_sd_retention: pooled(|p| 1.0 / p.reference_dice, inner().collect()),
            source_sd_dice: root_mean_square(points().filter_map(|p| p.spread.map(|s| s.dice))),
            source_sd_retention: spreads(|s| s.retention),
            floor_seeds: seed_floor(sets),
            floor_sources: mean(inner().filter_map(|p| Some(mean_absolute() * p.spread?.retention))),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn root_mean_square(values: impl Iterator<Item = f64>) -> Option<f64> {
    mean(values.map(|v| v * v)).map(f64::sqrt)
}

/// Expected |mean over the seeds - true value| of retention: sqrt(2 / pi) times the standard error, averaged over the
/// networks with repeated seeds; the error of D_ref counts where the reference was repeated.
fn seed_floor(sets: &[&SetSamples]) -> Option<f64> {
    let error = |p: &Point| p.deviation.map(|d| d / (p.seeds as f64).sqrt() / p.reference_dice);
    let floors = sets.iter().flat_map(|set| {
        set.inner().filter_map(move |point| {
            let same = |p: &&Point| p.is_reference && p.family == point.family;
            let reference = set.points.iter().find(same).and_then(error).unwrap_or(0.0);
            let both = (error(point)?.powi(2) + (point.retention() * reference).powi(2)).sqrt();
            Some(mean_absolute() * both)
        })
    });
    mean(floors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::record::ImageScore;
    use crate::predict::samples::Samples;
    use crate::predict::synthetic::{World, records};

    fn image(source: &str, dice: f64) -> ImageScore {
        ImageScore { name: source.into(), source: source.into(), dice, iou: dice / (2.0 - dice) }
    }

    #[test]
    fn two_sources_spread_by_half_their_difference_over_the_square_root_of_two() {
        // Draws of two of {0.2, 0.6}: 0.2, 0.4, 0.4, 0.6; variance 0.02.
        let mut record = records(&World::default()).remove(0);
        record.per_image = vec![image("a", 0.2), image("b", 0.6)];
        let spread = source_spread(&[&record], &[&record]).unwrap();
        assert!((spread.dice - 0.02_f64.sqrt()).abs() < 0.01, "{spread:?}");
        assert!(spread.retention < 1e-12, "a network against itself");
        record.per_image.pop();
        assert_eq!(source_spread(&[&record], &[&record]), None, "one source");
    }

    #[test]
    fn the_planted_noise_between_seeds_is_found() {
        let world = World { sets: 12, seeds: 4, noise: 0.01, ..World::default() };
        let samples = Samples::of(&records(&world)).unwrap();
        let noise = Noise::of(&samples.training(false));
        let sd = noise.seed_sd_dice.unwrap();
        assert!((0.008..0.012).contains(&sd), "{sd}");
        assert!(noise.seed_sd_retention.unwrap() > sd, "divided by a D_ref below 1");
        assert!(noise.floor_seeds.unwrap() < sd, "four seeds average");
        assert_eq!(noise.source_sd_dice, None, "one source only");
    }

    #[test]
    fn single_seeds_say_nothing_of_their_noise() {
        let samples = Samples::of(&records(&World::default())).unwrap();
        assert_eq!(Noise::of(&samples.training(false)).seed_sd_dice, None);
    }
}
