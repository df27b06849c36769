//! A training with its judgement: has it collapsed, and if so, once more with another seed.

use segfit::data::Mask;
use segfit::evaluate::{constant_mask_dice, dice};
use segfit::network::NetworkSpec;
use segfit::recipe::Recipe;

use crate::backend::Backend;
use crate::error::Result;
use crate::material::Material;
use crate::segmenter::Segmenter;
use crate::trainer::{Outcome, Progress, TrainOptions, Trained, TrainingData, sources, train};

/// Attempts at the same training before a collapse is accepted as its result.
pub const ATTEMPTS: u32 = 3;

/// Added to the seed for each further attempt.
const NEXT_SEED: u64 = 1_000_003;

/// Seed of an attempt.
#[must_use]
pub fn attempt_seed(seed: u64, attempt: u32) -> u64 {
    seed + NEXT_SEED * u64::from(attempt)
}

/// One training and whether it collapsed.
pub struct Attempt {
    /// The training.
    pub trained: Trained,
    /// Whether the network segments its own training images no better than the best constant mask does. Test images
    /// are not looked at.
    pub collapsed: bool,
}

/// Trains once with the seed in `options` and judges the result on the training images.
///
/// # Errors
/// As [`train`].
pub fn attempt(
    backend: &dyn Backend,
    spec: &NetworkSpec,
    recipe: &Recipe,
    material: &Material,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Attempt> {
    let data = TrainingData {
        train: sources(material.train.clone()),
        validation: &material.validation,
        normalisation: material.normalisation.clone(),
    };
    let trained = train(backend, spec, recipe, &data, options, progress)?;
    let collapsed =
        trained.outcome != Outcome::Interrupted && has_collapsed(backend, spec, recipe, material, &trained)?;
    Ok(Attempt { trained, collapsed })
}

fn has_collapsed(
    backend: &dyn Backend,
    spec: &NetworkSpec,
    recipe: &Recipe,
    material: &Material,
    trained: &Trained,
) -> Result<bool> {
    let weights = trained.weights.clone();
    let mut segmenter = Segmenter::new(backend, spec, weights, material.normalisation.clone(), recipe.input);
    let (mut sum, mut count) = (0.0, 0_u32);
    for sample in &material.train {
        let predicted = segmenter.segment_prepared(&sample.image)?;
        for class in 1..spec.classes {
            sum += dice(&predicted, &sample.mask, class as u8);
            count += 1;
        }
    }
    let masks: Vec<&Mask> = material.train.iter().map(|s| &s.mask).collect();
    Ok(sum / f64::from(count) <= constant_mask_dice(&masks, &masks, spec.classes)?)
}
