//! A training with its judgement: has it collapsed, and if so, once more with another seed.

use segfit::data::Mask;
use segfit::evaluate::constant_mask_dice;
use segfit::network::NetworkSpec;
use segfit::recipe::Recipe;

use crate::backend::Backend;
use crate::error::Result;
use crate::material::Material;
use crate::segmenter::Segmenter;
use crate::trainer::{Outcome, Progress, TrainOptions, Trained, TrainingData, mean_dice, train};

/// Attempts at the same training before a collapse is accepted as its result.
pub const ATTEMPTS: u32 = 3;

/// Added to the seed for each further attempt.
const NEXT_SEED: u64 = 1_000_003;

/// Seed of an attempt.
#[must_use]
pub fn attempt_seed(seed: u64, attempt: u32) -> u64 {
    seed.wrapping_add(NEXT_SEED * u64::from(attempt))
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
        train: &material.train,
        validation: &material.validation,
        normalisation: &material.normalisation,
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
    let segmenter = Segmenter::new(backend, spec, weights, material.normalisation.clone(), recipe.input);
    let dice = mean_dice(&mut segmenter.with_loss(recipe.loss), &material.train)?;
    let masks: Vec<&Mask> = material.train.iter().map(|s| &s.mask).collect();
    Ok(dice <= constant_mask_dice(&masks, &masks, spec.classes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_have_seeds_of_their_own_and_the_first_keeps_its() {
        assert_eq!(attempt_seed(5, 0), 5);
        assert_eq!(attempt_seed(5, 2), 2_000_011);
        assert_eq!(attempt_seed(u64::MAX, 1), 1_000_002, "the largest seed goes on from 0");
    }
}
