//! The batches of a training: which image stands where, augmented and normalised.

use rayon::prelude::*;
use segfit::data::{Normalisation, Sample};
use segfit::random::Stream;
use segfit::recipe::{Augmentation, InputSpec, Recipe};

use crate::augment::{self, Source};

const ORDER: u64 = 1;
const VIEW: u64 = 2;

/// One batch at a time, in memory that is used again.
pub(crate) struct Batches<'a> {
    seed: u64,
    input: InputSpec,
    augmentation: Augmentation,
    normalisation: &'a Normalisation,
    sources: Vec<Source<'a>>,
    order: EpochOrder,
    /// Sample at each place of the batch.
    chosen: Vec<usize>,
    /// `[batch][channels][size][size]`.
    pub(crate) images: Vec<f32>,
    /// Class indices `[batch][size][size]`.
    pub(crate) targets: Vec<u8>,
}

impl<'a> Batches<'a> {
    /// Memory for the batches of `recipe`; there must be a sample, and all must have the same channels.
    pub(crate) fn new(samples: &'a [Sample], normalisation: &'a Normalisation, recipe: &Recipe, seed: u64) -> Self {
        let pixels = recipe.batch * recipe.input.size * recipe.input.size;
        Self {
            seed,
            input: recipe.input,
            augmentation: recipe.augmentation,
            normalisation,
            sources: samples.iter().map(Source::new).collect(),
            order: EpochOrder::new(seed, samples.len()),
            chosen: vec![0; recipe.batch],
            images: vec![0.0; pixels * samples[0].image.channels],
            targets: vec![0; pixels],
        }
    }

    /// Makes the batch of step `step`, counted from 0; it depends on nothing but the seed and the step.
    pub(crate) fn fill(&mut self, step: usize) {
        let pixels = self.input.size * self.input.size;
        let first = step * self.chosen.len();
        for (i, chosen) in self.chosen.iter_mut().enumerate() {
            *chosen = self.order.at(first + i);
        }
        let (input, augmentation, seed) = (&self.input, &self.augmentation, self.seed);
        let (sources, normalisation) = (&self.sources, self.normalisation);
        let images = self.images.par_chunks_exact_mut(pixels * normalisation.mean.len());
        let targets = self.targets.par_chunks_exact_mut(pixels);
        images.zip(targets).zip(&self.chosen).enumerate().for_each(|(i, ((image, target), &chosen))| {
            let mut stream = Stream::new(&[seed, VIEW, (first + i) as u64]);
            augment::draw(&sources[chosen], input, augmentation, &mut stream, image, target);
            normalise(normalisation, image, pixels);
        });
    }
}

fn normalise(normalisation: &Normalisation, image: &mut [f32], pixels: usize) {
    for (c, plane) in image.chunks_exact_mut(pixels).enumerate() {
        let (mean, scale) = (normalisation.mean[c], 1.0 / normalisation.std[c]);
        plane.iter_mut().for_each(|v| *v = (*v - mean) * scale);
    }
}

/// The order of the samples, drawn anew for each epoch from (seed, epoch).
struct EpochOrder {
    seed: u64,
    samples: usize,
    epoch: Option<usize>,
    order: Vec<usize>,
}

impl EpochOrder {
    fn new(seed: u64, samples: usize) -> Self {
        Self { seed, samples, epoch: None, order: Vec::new() }
    }

    /// The sample at a position of the training; epochs follow each other without a gap.
    fn at(&mut self, position: usize) -> usize {
        let (epoch, within) = (position / self.samples, position % self.samples);
        if self.epoch != Some(epoch) {
            self.order = Stream::new(&[self.seed, ORDER, epoch as u64]).permutation(self.samples);
            self.epoch = Some(epoch);
        }
        self.order[within]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_shows_every_sample_once_and_can_be_entered_anywhere() {
        let mut order = EpochOrder::new(3, 7);
        let all: Vec<usize> = (0..21).map(|i| order.at(i)).collect();
        for epoch in all.chunks(7) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6]);
        }
        assert_ne!(all[..7], all[7..14], "epochs differ");
        for i in [20, 0, 13, 7, 6] {
            assert_eq!(order.at(i), all[i], "position {i}");
            assert_eq!(EpochOrder::new(3, 7).at(i), all[i], "position {i}, resumed");
        }
        assert_eq!(EpochOrder::new(3, 1).at(5), 0);
    }
}
