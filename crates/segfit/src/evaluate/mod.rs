//! How good are predicted masks: Dice and IoU per image and class, with intervals that respect where images come from.

mod bootstrap;
mod constant_mask;
mod evaluation;
mod overlap;

pub use self::bootstrap::{Interval, Resampled, bootstrap_mean};
pub use self::constant_mask::constant_mask_dice;
pub use self::evaluation::{
    Case, ClassScore, Evaluation, EvaluationOptions, ImageScore, METRICS_FORMAT, evaluate, per_image_csv,
};
pub use self::overlap::{Overlap, dice, iou};
