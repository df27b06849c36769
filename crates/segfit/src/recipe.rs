//! How a network is trained, as data: the same file drives calibration, training and prediction.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How an image becomes the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputMode {
    /// The whole frame is resized to `size` x `size` (antialiased; masks by nearest neighbour).
    Resize,
    /// Crops of `size` x `size` at native resolution; evaluation on the whole image.
    Patch,
}

/// The network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Whole frames or patches.
    pub mode: InputMode,
    /// Rows and columns that the network is trained on, in pixels.
    #[serde(deserialize_with = "input_size")]
    pub size: usize,
}

/// Largest input, in pixels along a side: what a file claims is not made beyond it.
const MOST_PIXELS: usize = 4096;

fn input_size<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<usize, D::Error> {
    let size = usize::deserialize(from)?;
    if (1..=MOST_PIXELS).contains(&size) {
        return Ok(size);
    }
    Err(serde::de::Error::custom(format!("an input of {size} pixels along a side; 1 to {MOST_PIXELS} are possible")))
}

/// Which losses are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Softmax cross-entropy over all classes + 1 - mean soft Dice of the foreground classes.
    CrossEntropyDice,
    /// Sigmoid binary cross-entropy of every class against the rest + 1 - mean soft Dice of the foreground classes.
    BinaryDice,
}

/// Random changes of the training images. Every number is the largest change drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirror left-right and top-bottom with probability 1/2 each, and turn by a random multiple of 90 degrees.
    pub flips_and_turns: bool,
    /// Rotation by up to this many degrees either way.
    pub rotation_degrees: f32,
    /// Scale drawn log-uniformly from [1 / (1 + s), 1 + s].
    pub scale: f32,
    /// Gamma drawn log-uniformly from [1 / (1 + g), 1 + g].
    pub gamma: f32,
    /// Added to the image, in units of its value range.
    pub brightness: f32,
    /// Contrast factor drawn log-uniformly from [1 / (1 + c), 1 + c].
    pub contrast: f32,
    /// Share of the samples that are rotated and scaled (the others are only mirrored and turned).
    pub probability: f32,
}

/// Everything that decides how a network is trained, except its data, its widths and the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// `segfit-recipe/1`.
    pub format: String,
    /// Name, for example `r0`; a changed recipe needs another name.
    pub name: String,
    /// The network's input.
    pub input: InputSpec,
    /// Images per step.
    pub batch: usize,
    /// Optimiser steps at base width 16 and above; see [`Recipe::steps_for`].
    pub steps: usize,
    /// Narrower networks learn less per step and get `steps * (16 / base width) ^ step_exponent` of them. 0: all get the same.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step_exponent: f32,
    /// Never more steps than this. None: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Share of the steps with linearly rising learning rate.
    pub warmup: f32,
    /// Peak learning rate at base width 16.
    pub learning_rate: f32,
    /// The peak learning rate is `learning_rate * (16 / base width) ^ exponent`.
    pub width_exponent: f32,
    /// The peak learning rate never exceeds this.
    pub max_learning_rate: f32,
    /// AdamW's decoupled weight decay (Loshchilov and Hutter 2019), on convolution weights only.
    pub weight_decay: f32,
    /// Decay of the exponential moving average of the weights per step; the average is what is evaluated.
    pub ema: f32,
    /// The loss.
    pub loss: LossKind,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
}

/// `format` of [`Recipe`] files.
pub const RECIPE_FORMAT: &str = "segfit-recipe/1";

impl Recipe {
    /// Reads a recipe file.
    ///
    /// # Errors
    /// As [`crate::files::read_json`]; [`Error::Json`] for a number with which nothing can be trained.
    pub fn read(path: &Path) -> Result<Self> {
        let recipe: Self = crate::files::read_json(path, RECIPE_FORMAT)?;
        let bad = |reason| Error::Json { path: path.into(), expected: RECIPE_FORMAT.into(), reason };
        recipe.check().map_err(bad)?;
        Ok(recipe)
    }

    /// The first number with which nothing can be trained.
    fn check(&self) -> std::result::Result<(), String> {
        let is = |name: &str, fits: bool, expected: &str, got: String| {
            if fits { Ok(()) } else { Err(format!("{name} is {got}, expected {expected}")) }
        };
        let positive = |v: f32| v.is_finite() && v > 0.0;
        is("steps", self.steps > 0, "at least 1", self.steps.to_string())?;
        is("batch", self.batch > 0, "at least 1", self.batch.to_string())?;
        is("learning_rate", positive(self.learning_rate), "a number above 0", self.learning_rate.to_string())?;
        let most = self.max_learning_rate;
        is("max_learning_rate", positive(most), "a number above 0", most.to_string())?;
        is("warmup", (0.0..=1.0).contains(&self.warmup), "a share from 0 to 1", self.warmup.to_string())?;
        is("ema", (0.0..1.0).contains(&self.ema), "a decay from 0 to below 1", self.ema.to_string())?;
        let decay = self.weight_decay;
        is("weight_decay", decay.is_finite() && decay >= 0.0, "0 or a number above it", decay.to_string())
    }

    /// The provisional recipe `r0` that the first calibration uses.
    #[must_use]
    pub fn r0(input: InputSpec) -> Self {
        Self {
            format: RECIPE_FORMAT.into(),
            name: "r0".into(),
            input,
            batch: 4,
            steps: 1000,
            step_exponent: 0.0,
            max_steps: None,
            warmup: 0.05,
            learning_rate: 4e-3,
            width_exponent: 0.5,
            max_learning_rate: 2e-2,
            weight_decay: 1e-4,
            ema: 0.99,
            loss: LossKind::CrossEntropyDice,
            augmentation: Augmentation {
                flips_and_turns: true,
                rotation_degrees: 30.0,
                scale: 0.25,
                gamma: 0.3,
                brightness: 0.1,
                contrast: 0.2,
                probability: 0.5,
            },
        }
    }

    /// The recipe `r1` of the calibration: chosen by the validation images of two data sets (`calibration/tune_recipe.py`).
    ///
    /// As [`Recipe::r0`], with twice its steps; up to four times its steps for narrower networks, whose learning rate grows
    /// faster: 0.004 at base width 16, 0.008 at 8, 0.016 at 4 and below.
    #[must_use]
    pub fn r1(input: InputSpec) -> Self {
        Self {
            name: "r1".into(),
            steps: 2000,
            step_exponent: 0.5,
            max_steps: Some(4000),
            width_exponent: 1.0,
            max_learning_rate: 1.6e-2,
            ..Self::r0(input)
        }
    }

    /// Optimiser steps for a network of this base width (channels at full resolution), rounded to the nearest.
    ///
    /// ```
    /// use segfit::recipe::{InputMode, InputSpec, Recipe};
    /// let recipe = Recipe::r1(InputSpec { mode: InputMode::Resize, size: 128 });
    /// assert_eq!([32, 16, 8, 4, 1].map(|width| recipe.steps_for(width)), [2000, 2000, 2828, 4000, 4000]);
    /// assert_eq!([32, 16, 8, 4, 1].map(|width| recipe.peak_learning_rate(width)), [2e-3, 4e-3, 8e-3, 1.6e-2, 1.6e-2]);
    /// ```
    #[must_use]
    pub fn steps_for(&self, base_width: usize) -> usize {
        let ratio = (16.0 / base_width.max(1) as f64).max(1.0);
        let steps = (self.steps as f64 * ratio.powf(f64::from(self.step_exponent))).round() as usize;
        self.max_steps.map_or(steps, |most| steps.min(most.max(self.steps)))
    }

    /// Peak learning rate for a network of this base width (channels at full resolution).
    #[must_use]
    pub fn peak_learning_rate(&self, base_width: usize) -> f32 {
        let ratio = 16.0 / base_width.max(1) as f32;
        (self.learning_rate * ratio.powf(self.width_exponent)).min(self.max_learning_rate)
    }
}

/// For serde: a recipe without the field reads as before.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(x: &f32) -> bool {
    *x == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_can_be_trained_with_and_spoiled_ones_say_what_is_wrong() {
        let input = InputSpec { mode: InputMode::Resize, size: 128 };
        assert_eq!((Recipe::r0(input).check(), Recipe::r1(input).check()), (Ok(()), Ok(())));
        let reason = |recipe: Recipe| recipe.check().unwrap_err();
        assert!(reason(Recipe { steps: 0, ..Recipe::r1(input) }).contains("steps is 0"));
        assert!(reason(Recipe { learning_rate: f32::INFINITY, ..Recipe::r1(input) }).contains("learning_rate is inf"));
        let input: serde_json::Result<InputSpec> = serde_json::from_str("{\"mode\": \"resize\", \"size\": 0}");
        assert!(input.unwrap_err().to_string().contains("0 pixels"));
    }
}
