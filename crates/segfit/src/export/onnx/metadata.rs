//! What an ONNX file says about itself, in its `metadata_props`.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Numbers, Options, Output};
use crate::data::{Axis, LabelMap, MAX_SIDE, Normalisation};
use crate::error::{Error, Result};
use crate::export::Deployment;
use crate::onnx::proto::StringStringEntryProto;
use crate::onnx::{decode, self_contained};
use crate::recipe::{InputSpec, LossKind};

/// `segfit.format` of these files.
pub const FORMAT: &str = "segfit-onnx/1";

/// What a program that runs the file must know, and what a person wants to. Each field is the property `segfit.<field>`, as JSON
/// (texts as they are); absent ones are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// [`FORMAT`].
    pub format: String,
    /// Version of segfit.
    pub version: String,
    /// Names of the classes, background first.
    pub classes: Vec<String>,
    /// Values of the classes in masks.
    pub labels: LabelMap,
    /// Whether frames are resized to a square before they go in, or go in at their own scale; and the size that was trained on.
    pub input: InputSpec,
    /// The axis that the slices of volumes followed in training, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<Axis>,
    /// Statistics of the training images.
    pub normalisation: Normalisation,
    /// Whether the graph normalises; else the caller has to.
    pub normalised_inside: bool,
    /// What comes out.
    pub output: Output,
    /// What the logits mean.
    pub loss: LossKind,
    /// The numbers of weights and activations.
    pub numbers: Numbers,
    /// The network computes with images whose sides are multiples of this; the graph pads and crops.
    pub multiple: usize,
    /// Identity of the training.
    pub run: String,
    /// Name of the data set.
    pub dataset: String,
    /// Fingerprint of the data set.
    pub fingerprint: String,
    /// Mean Dice of the test images, of the f32 network in segfit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dice: Option<f64>,
    /// Their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_images: Option<usize>,
    /// How the network was planned, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

const PREFIX: &str = "segfit.";

impl Metadata {
    /// That of a deployment written with these options.
    #[must_use]
    pub fn of(deployment: &Deployment, options: &Options) -> Self {
        let known = deployment.provenance.clone();
        Self {
            format: FORMAT.into(),
            version: known.version,
            classes: deployment.class_names(),
            labels: deployment.labels.clone(),
            input: deployment.input,
            axis: deployment.axis,
            normalisation: deployment.normalisation.clone(),
            normalised_inside: !options.raw,
            output: options.output,
            loss: deployment.loss,
            numbers: options.numbers,
            multiple: deployment.network.input_multiple(),
            run: known.run,
            dataset: known.dataset,
            fingerprint: known.fingerprint,
            dice: known.dice,
            test_images: known.test_images,
            plan: known.plan,
        }
    }

    pub(super) fn properties(&self) -> Vec<StringStringEntryProto> {
        let serde_json::Value::Object(fields) = serde_json::json!(self) else { return Vec::new() };
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let entry = |(key, value)| StringStringEntryProto { key: format!("{PREFIX}{key}"), value: text(value) };
        fields.into_iter().map(entry).collect()
    }

    /// That of an ONNX file; `path` is only for messages. `None`: segfit did not export it for deployment.
    ///
    /// # Errors
    /// [`Error::Decode`] when it is no ONNX file; [`Error::Json`] when the properties are of another version or damaged;
    /// [`Error::Content`] when running it would read other files.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let model = decode(path, bytes)?;
        let found: Vec<(&str, &str)> =
            model.metadata_props.iter().filter_map(|p| Some((p.key.strip_prefix(PREFIX)?, p.value.as_str()))).collect();
        if found.is_empty() {
            return Ok(None);
        }
        let bad = |reason: String| Error::Json { path: path.into(), expected: FORMAT.into(), reason };
        match found.iter().find(|(key, _)| *key == "format") {
            Some((_, FORMAT)) => {}
            Some((_, other)) => return Err(bad(format!("its format is {other}"))),
            None => return Err(bad("it has no segfit.format".into())),
        }
        self_contained::check(&model).map_err(|got| Error::Content {
            path: path.into(),
            expected: "a file that holds all its values, as `segfit export` writes it".into(),
            got,
            hint: "export the run again".into(),
        })?;
        let metadata: Self = parse(&found).map_err(bad)?;
        metadata.check().map_err(bad)?;
        Ok(Some(metadata))
    }
}

impl Metadata {
    /// Fails for numbers that no exported network has.
    fn check(&self) -> std::result::Result<(), String> {
        self.normalisation.check(self.normalisation.mean.len().max(1))?;
        if !(1..=256).contains(&self.classes.len()) {
            return Err(format!("{} classes, expected 1 to 256", self.classes.len()));
        }
        if !(1..=MAX_SIDE).contains(&self.multiple) {
            return Err(format!("segfit.multiple is {}, expected 1 to {MAX_SIDE}", self.multiple));
        }
        Ok(())
    }
}

/// The object whose fields are these properties: some are texts, the others JSON.
fn parse<T: DeserializeOwned>(found: &[(&str, &str)]) -> std::result::Result<T, String> {
    const TEXTS: [&str; 9] = ["axis", "format", "version", "loss", "numbers", "run", "dataset", "fingerprint", "plan"];
    let mut fields = serde_json::Map::new();
    for (key, value) in found {
        let parsed = if TEXTS.contains(key) {
            serde_json::Value::String((*value).into())
        } else {
            serde_json::from_str(value).map_err(|e| format!("segfit.{key}: {e}"))?
        };
        fields.insert((*key).into(), parsed);
    }
    serde_json::from_value(fields.into()).map_err(|e| e.to_string())
}
