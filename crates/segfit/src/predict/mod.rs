//! Predicts the accuracy of every size of a network for a data set, without training.
//!
//! [`Record`]s of trained networks are collected, reduced to the skill of [`SetSamples`], and fitted to a [`Mapping`] by
//! the candidate models of [`ModelKind`]; leave-one-data-set-out chooses the model and gives the intervals. The mapping
//! then predicts Dice and retention of any network from its widths and the complexity of the images.

mod anchor;
mod axis;
mod calibrated_on;
mod candidates;
mod check;
mod choices;
mod collect;
mod curve;
mod decision;
mod grid;
mod half_widths;
mod hull;
mod interval;
mod linear;
mod manifest;
mod mapping;
mod models;
mod monotone;
mod noise;
mod problem;
mod record;
mod samples;
mod scores;
mod shape_gain;
mod shape_sample;
mod size;
mod statistics;
#[cfg(test)]
pub(crate) mod synthetic;
pub(crate) mod table;

use std::collections::BTreeMap;

pub use anchor::KnownRun;
pub use calibrated_on::{CalibratedOn, ReferenceNetwork};
pub use candidates::ModelKind;
pub use check::{CHECK_FORMAT, Check, CheckOptions, LeftOut, check, check_with};
pub use choices::{CHOICES_FORMAT, Choices, ChosenNetwork};
pub use collect::{Collected, Conflict, collect};
pub use curve::{CURVE_FORMAT, Curve, NetworkOptions, SizeRow, Subject, curve};
pub(crate) use curve::{reference_in_words, size_rows};
pub use decision::{Choice, Decision, Rule};
pub use hull::{Hull, MARGIN, SHAPE_MARGIN, ShapeHull};
pub use interval::Interval;
pub use manifest::{DatasetPath, Job, MANIFEST_FORMAT, Manifest, ShapeSweep, Sweep};
pub use mapping::{MAPPING_FORMAT, Mapping, Prediction};
pub use noise::{Noise, SourceSpread};
pub use record::{DatasetId, ImageCounts, ImageScore, RECORD_FORMAT, RecipeId, Record};
pub use samples::{Point, Samples, SetSamples};
pub use scores::{ModelScore, Paired};
pub use shape_gain::ShapeGain;
pub use shape_sample::{LOG2_RATIO, LOG2_SLOPE, Shape, shape_samples};
pub(crate) use size::layer_places;
pub use size::{Cell, Place, Side, SizeFeatures, places};

/// Mean over the training images of each complexity measure, by name, for example `jpeg` or `survival@1/4`.
pub type Measures = BTreeMap<String, f64>;
