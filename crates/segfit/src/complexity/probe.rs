//! Ridge probe: the Dice of a linear pixel classifier, cross-validated over images.
//!
//! Unlike a [`Measure`](super::Measure) it belongs to a data set: what is learned on some images is tested on others.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::filter_bank::Responses;

/// Name of the probe in a profile.
pub const PROBE_DICE: &str = "probe_dice";

/// Unit of the probe's values.
pub(super) const PROBE_UNIT: &str = "Dice, cross-validated";

/// At most this many images take part.
pub const PROBE_IMAGES: usize = 200;

/// Parts of the cross-validation.
const FOLDS: usize = 5;

/// Penalty of a squared standardised weight, per pixel.
const PENALTY: f64 = 1e-3;

/// Scores are sorted into this many bins of width 1/1024, from -1/2 on.
const BINS: usize = 2048;

/// Pixels that are converted to f64 together.
const BLOCK: usize = 256;

/// What the probe keeps of an image.
#[derive(Clone, Debug)]
pub struct ProbeImage {
    /// What the image was taken from; images of one source are never divided between training and test.
    pub source: String,
    /// The filter responses at some of its pixels.
    pub responses: Responses,
}

/// The images that take part: all, or the [`PROBE_IMAGES`] whose names have the lowest BLAKE3 hashes. One value per
/// name.
#[must_use]
pub fn probed(names: &[&str]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|&i| (*blake3::hash(names[i].as_bytes()).as_bytes(), names[i]));
    let mut chosen = vec![false; names.len()];
    order.iter().take(PROBE_IMAGES).for_each(|&i| chosen[i] = true);
    chosen
}

/// The Dice of every image under a linear pixel classifier that was fitted to other images, in [0, 1]. Larger is less
/// complex: local filters and one weight for each tell foreground from background.
///
/// The classifier is ridge regression from the filters of [`responses`](super::responses) to the mask (foreground 1, background
/// 0): with z the filters standardised on the training pixels, it minimises
/// the mean of (mask - b - w z)^2 plus 0.001 |w|^2, solved by the normal equations. A pixel is foreground when its score
/// b + w z reaches the threshold with the largest Dice over all training pixels together (a multiple of 1/1024 from -1/2
/// to 3/2, the lowest of equals; scores beyond count as these). Each image is scored on the pixels of its grid; two empty
/// masks have Dice 1.
///
/// Five folds over sources: sources in the order of the BLAKE3 hash of their name go to the fold with the fewest images
/// (the first of equals). `images` must come in an order that depends on nothing but their names; all have the same
/// filters. The result has one value per image, and is the same for any number of threads. `None` for fewer than two
/// sources, without foreground, or without background.
///
/// Source: ridge regression, Hoerl and Kennard 1970; as a probe of a fixed representation, Alain and Bengio 2016. Filters,
/// penalty and folds are ours.
#[must_use]
pub fn probe_dice(images: &[ProbeImage]) -> Option<Vec<f64>> {
    let folds = folds(&images.iter().map(|i| i.source.as_str()).collect::<Vec<_>>());
    let both = [true, false].iter().all(|v| images.iter().any(|i| i.responses.foreground.contains(v)));
    let count = folds.iter().max().map_or(0, |last| last + 1);
    if count < 2 || !both {
        return None;
    }
    let each: Vec<Moments> = images.par_iter().map(|i| Moments::of(&i.responses)).collect();
    let held_out = |fold: usize| {
        let mut sum = Moments::default();
        each.iter().zip(&folds).filter(|(_, f)| **f != fold).for_each(|(m, _)| sum.add(m));
        let model = Model::fit(&sum);
        let mut trained = Histogram::default();
        let (test, train): (Vec<usize>, _) = (0..images.len()).partition(|&i| folds[i] == fold);
        train.iter().for_each(|&i| trained.add(&model, &images[i].responses));
        let threshold = trained.best_threshold();
        let dice = |&i: &usize| {
            let mut own = Histogram::default();
            own.add(&model, &images[i].responses);
            (i, own.dice(threshold))
        };
        test.iter().map(dice).collect::<Vec<_>>()
    };
    let mut values = vec![0.0; images.len()];
    let parts: Vec<Vec<(usize, f64)>> = (0..count).into_par_iter().map(held_out).collect();
    parts.iter().flatten().for_each(|&(i, dice)| values[i] = dice);
    Some(values)
}

/// The fold of every image, given its source.
fn folds(sources: &[&str]) -> Vec<usize> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    sources.iter().for_each(|s| *sizes.entry(s).or_insert(0) += 1);
    let mut order: Vec<&str> = sizes.keys().copied().collect();
    order.sort_by_cached_key(|s| (*blake3::hash(s.as_bytes()).as_bytes(), *s));
    let mut filled = vec![0; FOLDS.min(order.len())];
    let mut place = BTreeMap::new();
    for source in order {
        if let Some(fold) = (0..filled.len()).min_by_key(|&f| filled[f]) {
            filled[fold] += sizes[source];
            place.insert(source, fold);
        }
    }
    sources.iter().map(|s| place[s]).collect()
}

/// Sums over pixels of the filters, the mask, and their products.
#[derive(Clone, Debug, Default)]
struct Moments {
    pixels: f64,
    /// Sum of each filter, then of the mask.
    sums: Vec<f64>,
    /// Row i holds the sums of the products of column i with columns 0 to i; the mask is the last column.
    products: Vec<f64>,
}

impl Moments {
    fn of(responses: &Responses) -> Self {
        let columns = responses.filters.len() + 1;
        let pixels = responses.foreground.len();
        let mut made =
            Self { pixels: pixels as f64, sums: vec![0.0; columns], products: vec![0.0; columns * (columns + 1) / 2] };
        // Filled up with zeros, the last block adds nothing more.
        let mut block = vec![[0.0_f64; BLOCK]; columns];
        for start in (0..pixels).step_by(BLOCK) {
            let taken = start..(start + BLOCK).min(pixels);
            block.iter_mut().for_each(|column| column[taken.len()..].fill(0.0));
            for (column, filter) in block.iter_mut().zip(&responses.filters) {
                column.iter_mut().zip(&filter[taken.clone()]).for_each(|(to, &v)| *to = f64::from(v));
            }
            let mask = responses.foreground[taken].iter();
            block[columns - 1].iter_mut().zip(mask).for_each(|(to, &v)| *to = f64::from(u8::from(v)));
            made.add_block(&block);
        }
        made
    }

    fn add_block(&mut self, block: &[[f64; BLOCK]]) {
        let mut products = self.products.iter_mut();
        for (i, column) in block.iter().enumerate() {
            self.sums[i] += column.iter().sum::<f64>();
            block[..=i].iter().zip(&mut products).for_each(|(other, sum)| *sum += dot(column, other));
        }
    }

    fn add(&mut self, other: &Self) {
        self.sums.resize(other.sums.len(), 0.0);
        self.products.resize(other.products.len(), 0.0);
        self.pixels += other.pixels;
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        self.products.iter_mut().zip(&other.products).for_each(|(a, b)| *a += b);
    }

    fn mean(&self, i: usize) -> f64 {
        self.sums[i] / self.pixels
    }

    /// Covariance of columns i and j, divided by n.
    fn covariance(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.max(j), i.min(j));
        self.products[i * (i + 1) / 2 + j] / self.pixels - self.mean(i) * self.mean(j)
    }

    /// The standard deviation of a column; 0 where it is lost in rounding.
    fn deviation(&self, i: usize) -> f64 {
        let (variance, mean) = (self.covariance(i, i), self.mean(i));
        if variance > 1e-12 * mean * mean { variance.sqrt() } else { 0.0 }
    }
}

/// Eight running sums, so that the compiler can use vectors without changing the order.
fn dot(a: &[f64; BLOCK], b: &[f64; BLOCK]) -> f64 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        (0..8).for_each(|k| sums[k] += a[k] * b[k]);
    }
    sums.iter().sum()
}

/// A linear score of the filters.
#[derive(Debug)]
struct Model {
    weights: Vec<f64>,
    bias: f64,
}

impl Model {
    /// Ridge regression of the last column on the others; a constant filter has weight 0.
    fn fit(moments: &Moments) -> Self {
        let n = moments.sums.len() - 1;
        let deviations: Vec<f64> = (0..n).map(|i| moments.deviation(i)).collect();
        let varied: Vec<usize> = (0..n).filter(|&i| deviations[i] > 0.0).collect();
        let correlation = |&i: &usize, &j: &usize| moments.covariance(i, j) / (deviations[i] * deviations[j]);
        let mut matrix: Vec<Vec<f64>> =
            varied.iter().map(|i| varied.iter().map(|j| correlation(i, j)).collect()).collect();
        (0..varied.len()).for_each(|k| matrix[k][k] += PENALTY);
        let right = varied.iter().map(|&i| moments.covariance(i, n) / deviations[i]).collect();
        let mut weights = vec![0.0; n];
        for (&i, w) in varied.iter().zip(solved(matrix, right)) {
            weights[i] = w / deviations[i];
        }
        let bias = moments.mean(n) - (0..n).map(|i| weights[i] * moments.mean(i)).sum::<f64>();
        Self { weights, bias }
    }

    fn scores(&self, filters: &[Vec<f32>], pixels: usize) -> Vec<f64> {
        let mut scores = vec![self.bias; pixels];
        for (filter, &weight) in filters.iter().zip(&self.weights) {
            scores.iter_mut().zip(filter).for_each(|(s, &v)| *s += weight * f64::from(v));
        }
        scores
    }
}

/// The solution x of A x = b for a symmetric positive definite A, by A = L L^T (Cholesky).
fn solved(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let sum = a[i][j] - (0..j).map(|k| a[i][k] * a[j][k]).sum::<f64>();
            a[i][j] = if i == j { sum.sqrt() } else { sum / a[j][j] };
        }
        b[i] = (b[i] - (0..i).map(|k| a[i][k] * b[k]).sum::<f64>()) / a[i][i];
    }
    for i in (0..n).rev() {
        b[i] = (b[i] - (i + 1..n).map(|k| a[k][i] * b[k]).sum::<f64>()) / a[i][i];
    }
    b
}

/// Pixels by score, and those of the foreground among them.
struct Histogram {
    all: Vec<u64>,
    foreground: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { all: vec![0; BINS], foreground: vec![0; BINS] }
    }
}

impl Histogram {
    fn add(&mut self, model: &Model, responses: &Responses) {
        let scores = model.scores(&responses.filters, responses.foreground.len());
        for (score, &foreground) in scores.iter().zip(&responses.foreground) {
            // `as` takes negative numbers to 0.
            let bin = (((score + 0.5) * 1024.0) as usize).min(BINS - 1);
            self.all[bin] += 1;
            self.foreground[bin] += u64::from(foreground);
        }
    }

    /// The first bin that counts as foreground.
    fn best_threshold(&self) -> usize {
        let truth: u64 = self.foreground.iter().sum();
        let (mut taken, mut hits): (u64, u64) = (self.all.iter().sum(), truth);
        let mut best = (-1.0, 0);
        for bin in 0..BINS {
            let dice = 2.0 * hits as f64 / (taken + truth).max(1) as f64;
            if dice > best.0 {
                best = (dice, bin);
            }
            taken -= self.all[bin];
            hits -= self.foreground[bin];
        }
        best.1
    }

    fn dice(&self, threshold: usize) -> f64 {
        let truth: u64 = self.foreground.iter().sum();
        let taken: u64 = self.all[threshold..].iter().sum();
        let hits: u64 = self.foreground[threshold..].iter().sum();
        if taken + truth == 0 { 1.0 } else { 2.0 * hits as f64 / (taken + truth) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Images of two filters: the first decides with noise, the second is noise.
    fn images(count: usize, noise: f32) -> Vec<ProbeImage> {
        let one = |i: usize| {
            let mut s = Stream::new(&[i as u64]);
            let foreground: Vec<bool> = (0..600).map(|_| s.below(4) == 0).collect();
            let first = foreground.iter().map(|&f| f32::from(u8::from(f)) + noise * s.normal()).collect();
            let second = (0..600).map(|_| s.normal()).collect();
            ProbeImage { source: format!("s{i}"), responses: Responses { filters: vec![first, second], foreground } }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_filter_that_decides_gives_one_and_noise_gives_all_foreground() {
        assert_eq!(probe_dice(&images(6, 0.0)), Some(vec![1.0; 6]));
        let blind = probe_dice(&images(20, 50.0)).unwrap();
        let mean = blind.iter().sum::<f64>() / 20.0;
        assert!((mean - 0.4).abs() < 0.02, "2 / 4 over 1 + 1 / 4 is 0.4: {mean}");
    }

    #[test]
    fn the_probe_is_not_defined_for_one_source_or_one_class() {
        let mut one = images(4, 0.1);
        one.iter_mut().for_each(|i| i.source = "same".into());
        assert_eq!(probe_dice(&one), None);
        let mut empty = images(4, 0.1);
        empty.iter_mut().for_each(|i| i.responses.foreground.fill(false));
        assert_eq!(probe_dice(&empty), None);
        assert_eq!(probe_dice(&[]), None);
    }

    #[test]
    fn sources_stay_together_and_folds_are_about_even() {
        let names: Vec<String> = (0..40).map(|i| format!("s{}", i / 4)).collect();
        let sources: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = folds(&sources);
        assert!(found.chunks(4).all(|c| c.iter().all(|f| *f == c[0])));
        assert!((0..FOLDS).all(|f| found.iter().filter(|&&v| v == f).count() == 8));
        let reversed: Vec<&str> = sources.iter().rev().copied().collect();
        assert_eq!(folds(&reversed).into_iter().rev().collect::<Vec<_>>(), found);
        assert_eq!(folds(&["a", "b"]).iter().max(), Some(&1), "as many folds as sources");
    }

    #[test]
    fn the_normal_equations_of_one_filter_are_those_of_a_regression_line() {
        // x = 0, 1, 2, 3 with mask 0, 0, 1, 1: covariance 1/2, variance 5/4, weight 0.4 / 1.001.
        let responses = Responses {
            filters: vec![vec![0.0, 1.0, 2.0, 3.0], vec![7.0; 4]],
            foreground: vec![false, false, true, true],
        };
        let model = Model::fit(&Moments::of(&responses));
        assert!((model.weights[0] - 0.4 / 1.001).abs() < 1e-12 && model.weights[1] == 0.0, "{model:?}");
        assert!((model.bias - (0.5 - 1.5 * 0.4 / 1.001)).abs() < 1e-12);
    }

    #[test]
    fn moments_agree_with_plain_sums_over_more_than_one_block() {
        let image = &images(1, 0.3)[0].responses;
        let moments = Moments::of(image);
        let (a, b) = (&image.filters[0], &image.filters[1]);
        let plain: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        assert!((moments.products[1] - plain).abs() < 1e-9 * plain.abs().max(1.0));
        assert_eq!(moments.sums[2], image.foreground.iter().filter(|&&f| f).count() as f64);
        assert_eq!((moments.products[5], moments.pixels), (moments.sums[2], 600.0));
    }

    #[test]
    fn cholesky_solves_a_system_that_can_be_checked_by_hand() {
        let x = solved(vec![vec![4.0, 2.0], vec![2.0, 3.0]], vec![8.0, 8.0]);
        assert!((x[0] - 1.0).abs() < 1e-15 && (x[1] - 2.0).abs() < 1e-15);
    }

    #[test]
    fn only_the_named_number_of_images_takes_part_whatever_their_order() {
        let names: Vec<String> = (0..PROBE_IMAGES + 30).map(|i| format!("i{i}")).collect();
        let forward: Vec<&str> = names.iter().map(String::as_str).collect();
        let backward: Vec<&str> = forward.iter().rev().copied().collect();
        let chosen = probed(&forward);
        assert_eq!(chosen.iter().filter(|&&c| c).count(), PROBE_IMAGES);
        assert_eq!(probed(&backward).into_iter().rev().collect::<Vec<_>>(), chosen);
    }
}
