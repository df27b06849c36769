//! How good are predicted masks: Dice, IoU, HD95 and NSD per image and class, with intervals that respect where images come from.

mod bootstrap;
mod constant_mask;
mod evaluation;
mod judge;
mod overlap;
mod surface;

pub use self::bootstrap::{Interval, Resampled, bootstrap_mean};
pub use self::constant_mask::constant_mask_dice;
pub use self::evaluation::{
    ClassScore, Evaluation, EvaluationOptions, ImageScore, LengthUnit, METRICS_FORMAT, SurfaceOptions, SurfaceScores,
    evaluate, per_image_csv, summarise,
};
pub use self::judge::{Case, Judged, count, judge, judge_volume};
pub use self::overlap::{Overlap, dice, iou};
pub use self::surface::{Grid, SurfaceDistances};
