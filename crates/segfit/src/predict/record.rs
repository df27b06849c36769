//! [`Record`]: one trained network, one line of JSON.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Measures;
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::network::families::{self, build};
use crate::network::{NetworkSpec, Widths};
use crate::recipe::{InputSpec, Recipe};

/// `format` of record lines.
pub const RECORD_FORMAT: &str = "segfit-record/1";

/// A data set by name and content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DatasetId {
    /// Name, usually that of its folder.
    pub name: String,
    /// Hash of its files and reading options.
    pub fingerprint: String,
}

/// Images per part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// Trained on.
    pub train: usize,
    /// Tested on.
    pub test: usize,
}

/// Which recipe trained a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeId {
    /// Its name.
    pub name: String,
    /// Hash of everything in it except the input, which a record holds beside it.
    pub digest: String,
}

impl RecipeId {
    /// Name and digest of `recipe`. The input is left out of the digest, so that whole frames and patches trained by the
    /// same recipe can be calibrated together.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        let mut value = serde_json::to_value(recipe).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("input");
        }
        Self { name: recipe.name.clone(), digest: short_hash(&value.to_string()) }
    }
}

/// Result on one test image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageScore {
    /// Name of the image.
    pub name: String,
    /// What it was cut from; images of one source are not independent.
    pub source: String,
    /// Dice, 0 to 1, larger is better.
    pub dice: f64,
    /// Intersection over union, 0 to 1, larger is better.
    pub iou: f64,
}

/// Keys that a line must have; those that are not here have a default, and others are passed over.
const REQUIRED: [&str; 23] = [
    "job",
    "dataset",
    "measures",
    "images",
    "family",
    "in_channels",
    "classes",
    "base_width",
    "depth",
    "widths",
    "input",
    "recipe",
    "cost",
    "engine",
    "version",
    "seed",
    "constant_dice",
    "dice",
    "iou",
    "steps",
    "seconds",
    "final_loss",
    "collapsed",
];

/// One trained network and its result on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_FORMAT`].
    pub format: String,
    /// Identity of the [`super::Job`] that was run.
    pub job: String,
    /// 0 for the first training, 1 for the first retry after a collapse, and so on.
    #[serde(default)]
    pub attempt: u32,
    /// The data set.
    pub dataset: DatasetId,
    /// Complexity of its training images.
    pub measures: Measures,
    /// Images trained and tested on.
    pub images: ImageCounts,
    /// Network family.
    pub family: String,
    /// Channels of the image.
    pub in_channels: usize,
    /// Classes including background.
    pub classes: usize,
    /// Channels at full resolution of the uniform network.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
    /// Channels of every free group.
    pub widths: Widths,
    /// The network's input.
    pub input: InputSpec,
    /// The recipe.
    pub recipe: RecipeId,
    /// What the network costs at `input.size`.
    pub cost: Cost,
    /// Device and instruction set, for example `cpu/avx512`.
    pub engine: String,
    /// Version of segfit.
    pub version: String,
    /// Seed of initialisation, order and augmentation.
    pub seed: u64,
    /// Dice on the test images of the constant mask that is best on the training masks: D0.
    pub constant_dice: f64,
    /// Mean Dice over the test images.
    pub dice: f64,
    /// Mean intersection over union over the test images.
    pub iou: f64,
    /// Each test image.
    #[serde(default)]
    pub per_image: Vec<ImageScore>,
    /// Optimiser steps taken.
    pub steps: usize,
    /// Wall time of the training; not part of the record's identity.
    pub seconds: f64,
    /// Training loss at the end.
    pub final_loss: f64,
    /// Whether the training was judged to have collapsed.
    pub collapsed: bool,
    /// Name of the data set that this one was made from (blurred, cropped, ...); the two are never separated by a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the images are drawn by a program; such data sets never count in a reported error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub synthetic: bool,
}

/// Lines without the field stay as they were.
fn is_false(value: &bool) -> bool {
    !*value
}

impl Record {
    /// Reads one line, of any engine; keys that are not known are passed over.
    ///
    /// # Errors
    /// [`Error::Json`] at `path:line` when it is malformed, of another format, lacks keys (all of them are named), or holds
    /// a number out of range.
    pub fn parse(text: &str, path: &Path, line: usize) -> Result<Self> {
        let bad = |reason: String| Error::Json {
            path: format!("{}:{line}", path.display()).into(),
            expected: RECORD_FORMAT.into(),
            reason,
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if value.get("format").and_then(|f| f.as_str()).is_none() {
            return Err(bad("it has no \"format\" of its own".into()));
        }
        let missing: Vec<&str> = REQUIRED.into_iter().filter(|key| value.get(key).is_none()).collect();
        if !missing.is_empty() {
            return Err(bad(format!("keys are missing: {}", missing.join(", "))));
        }
        let record: Self = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
        record.validate().map_err(bad)?;
        Ok(record)
    }

    /// The record as one line of JSON without the line end.
    ///
    /// # Errors
    /// [`Error::Json`] when a number is not finite.
    pub fn line(&self) -> Result<String> {
        let bad = |reason: String| Error::Json { path: "record".into(), expected: RECORD_FORMAT.into(), reason };
        self.validate().map_err(bad)?;
        serde_json::to_string(self).map_err(|e| bad(e.to_string()))
    }

    /// The network that was trained.
    ///
    /// # Errors
    /// When its family is unknown or the widths do not fit.
    pub fn network(&self) -> Result<NetworkSpec> {
        self.uniform_network(self.base_width)?.with_widths(&self.widths)
    }

    /// The network of the same family and depth, for the same images and classes, at a uniform width.
    ///
    /// # Errors
    /// When the family is unknown or the width out of range.
    pub fn uniform_network(&self, base_width: usize) -> Result<NetworkSpec> {
        let (in_channels, classes) = (self.in_channels, self.classes);
        let options =
            families::Options { in_channels, classes, base_width, depth: self.depth, ..families::Options::default() };
        build(&self.family, &options)
    }

    /// Whether two records say the same; wall time may differ.
    #[must_use]
    pub fn same_result(&self, other: &Self) -> bool {
        Self { seconds: 0.0, ..self.clone() } == Self { seconds: 0.0, ..other.clone() }
    }

    fn validate(&self) -> std::result::Result<(), String> {
        if self.format != RECORD_FORMAT {
            return Err(format!("its format is {}", self.format));
        }
        let scores = [("constant_dice", self.constant_dice), ("dice", self.dice), ("iou", self.iou)];
        for (name, value) in scores {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{name} is {value}, expected 0 to 1"));
            }
        }
        if let Some((name, value)) = self.measures.iter().find(|(_, v)| !v.is_finite()) {
            return Err(format!("measure {name} is {value}"));
        }
        if self.job.is_empty() || self.dataset.name.is_empty() {
            return Err("job and dataset.name must not be empty".into());
        }
        Ok(())
    }
}

/// First 16 hexadecimal digits of the BLAKE3 hash.
pub(crate) fn short_hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, records};
    use crate::recipe::InputMode;

    #[test]
    fn a_record_comes_back_from_its_line_and_its_network_has_its_cost() {
        let record = &records(&World::default())[0];
        let back = Record::parse(&record.line().unwrap(), Path::new("r.jsonl"), 1).unwrap();
        assert!((back.dice - record.dice).abs() < 1e-12);
        let cost = Cost::of(&back.network().unwrap(), back.input.size).unwrap();
        assert_eq!(cost.params, record.cost.params);
    }

    #[test]
    fn a_bad_line_is_named_with_file_and_line() {
        let error = Record::parse("{}", Path::new("r.jsonl"), 7).unwrap_err();
        assert!(error.to_string().starts_with("r.jsonl:7: expected segfit-record/1: it has no"), "{error}");
        let mut record = records(&World::default()).remove(0);
        record.dice = 1.5;
        assert!(record.line().unwrap_err().to_string().contains("dice is 1.5"));
    }

    #[test]
    fn missing_keys_are_all_named_and_unknown_keys_are_passed_over() {
        let line = records(&World::default())[0].line().unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let parse = |value: &serde_json::Value| Record::parse(&value.to_string(), Path::new("r.jsonl"), 1);
        let mut foreign = value.clone();
        foreign["engine"] = "pytorch/2.15 cuda".into();
        foreign["gpu_seconds"] = serde_json::json!({"wall": 3});
        assert_eq!(parse(&foreign).unwrap().engine, "pytorch/2.15 cuda");
        for key in value.as_object().unwrap().keys() {
            let mut less = value.clone();
            less.as_object_mut().unwrap().shift_remove(key);
            let optional = ["attempt", "per_image"].contains(&key.as_str());
            assert_eq!(parse(&less).is_ok(), optional, "{key}");
        }
        let (mut less, object) = (value, serde_json::Map::new());
        less["dataset"] = object.into();
        assert!(parse(&less).is_err());
        for key in ["cost", "seconds"] {
            less.as_object_mut().unwrap().shift_remove(key);
        }
        assert!(parse(&less).unwrap_err().to_string().ends_with("keys are missing: cost, seconds"));
    }

    #[test]
    fn a_line_of_before_there_were_variants_comes_back_as_it_was() {
        let record = records(&World::default()).remove(0);
        let line = record.line().unwrap();
        assert!(!line.contains("\"parent\":") && !line.contains("\"synthetic\":"), "{line}");
        let variant = Record { parent: Some("glas".into()), synthetic: true, ..record };
        assert_eq!(Record::parse(&variant.line().unwrap(), Path::new("r"), 1).unwrap().parent.as_deref(), Some("glas"));
    }

    #[test]
    fn the_digest_follows_the_recipe_but_not_its_input() {
        let recipe = |mode, size| Recipe::r0(InputSpec { mode, size });
        let a = RecipeId::of(&recipe(InputMode::Resize, 128));
        assert_eq!(a, RecipeId::of(&recipe(InputMode::Patch, 64)));
        let other = Recipe { steps: 801, ..recipe(InputMode::Resize, 128) };
        assert_ne!(a.digest, RecipeId::of(&other).digest);
    }
}
