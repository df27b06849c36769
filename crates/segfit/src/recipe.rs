//! How a network is trained, as data: the same file drives calibration, training and prediction.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::data::MAX_SIDE;

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
    #[serde(deserialize_with = "side")]
    pub size: usize,
}

/// A size from a file: images of no pixels, or of more than there are, are nobody's.
fn side<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let size = usize::deserialize(from)?;
    if (1..=MAX_SIDE).contains(&size) {
        return Ok(size);
    }
    Err(D::Error::custom(format!("an input size of {size} pixels, expected 1 to {MAX_SIDE}")))
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
