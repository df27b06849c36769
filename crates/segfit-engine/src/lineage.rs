//! What a training takes over from earlier ones: initial weights, a teacher, and the record of both.

use segfit::data::Normalisation;
use segfit::network::{Criterion, NetworkSpec, inherit};
use segfit::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::state::{ParameterLayout, Weights};

/// What a training takes over; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// Where the weights begin, instead of random ones.
    pub init: Option<InitialWeights>,
    /// A trained network that is imitated.
    pub teacher: Option<Teacher>,
}

/// Weights that a training begins with.
#[derive(Clone, Debug)]
pub struct InitialWeights {
    /// The weights, of the network that is trained.
    pub weights: Weights,
    /// Where they come from, for people.
    pub source: String,
    /// How their channels were chosen, where they were cut out of a wider network.
    pub inherited: Option<Criterion>,
}

/// A trained network whose logits are soft targets ([`crate::loss::SoftTargets`]).
#[derive(Clone, Debug)]
pub struct Teacher {
    /// The network.
    pub network: NetworkSpec,
    /// Its trained weights.
    pub weights: Weights,
    /// Statistics of the images that it was trained on.
    pub normalisation: Normalisation,
    /// Where it comes from, for people.
    pub source: String,
    /// Share in the loss, from 0 to 1.
    pub weight: f32,
    /// Both networks' logits are divided by this, above 0.
    pub temperature: f32,
}

impl Teacher {
    /// Checks that it can teach `student` on images of `size` x `size` pixels.
    ///
    /// # Errors
    /// [`Error::Option`] that names what does not fit or is out of range.
    pub fn check(&self, student: &NetworkSpec, size: usize) -> Result<()> {
        let wrong = |what: &str, expected: String, got: String| Err(Error::Option { what: what.into(), expected, got });
        if !(0.0..=1.0).contains(&self.weight) {
            return wrong("weight of the teacher", "a share from 0 to 1".into(), self.weight.to_string());
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return wrong("temperature of the teacher", "a number above 0".into(), self.temperature.to_string());
        }
        let form = |n: &NetworkSpec| format!("{} image channel(s) and {} classes", n.in_channels(), n.classes);
        if form(&self.network) != form(student) {
            return wrong("teacher", form(student), form(&self.network));
        }
        let multiple = self.network.input_multiple();
        if !size.is_multiple_of(multiple) {
            return wrong("input size", format!("a multiple of {multiple}, as the teacher needs"), size.to_string());
        }
        Ok(())
    }
}

/// What a run folder says of its lineage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LineageRecord {
    /// Initial weights; random ones without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRecord>,
    /// The teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherRecord>,
    /// Weights that another program trained, beginning with those of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportRecord>,
}

/// Imported weights, as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// Where they came from.
    pub source: String,
    /// Their hash.
    pub hash: String,
    /// The run that lent network, recipe and data.
    pub run: String,
}

impl ImportRecord {
    /// The record of these weights.
    #[must_use]
    pub fn new(source: &str, weights: &Weights, run: &str) -> Self {
        Self { source: source.into(), hash: hash(&[], weights), run: run.into() }
    }
}

/// Initial weights, as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitRecord {
    /// Where they came from.
    pub source: String,
    /// Hash of the weights that the training began with.
    pub hash: String,
    /// How their channels were chosen, where they were cut out of a wider network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<Criterion>,
}

/// A teacher, as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeacherRecord {
    /// Where it came from.
    pub source: String,
    /// Hash of its network and weights.
    pub hash: String,
    /// Share in the loss.
    pub weight: f32,
    /// Both networks' logits are divided by this.
    pub temperature: f32,
}

impl Lineage {
    /// What a run folder keeps.
    #[must_use]
    pub fn record(&self) -> LineageRecord {
        let init = self.init.as_ref().map(|i| InitRecord {
            source: i.source.clone(),
            hash: hash(&[], &i.weights),
            inherited: i.inherited,
        });
        let teacher = self.teacher.as_ref().map(|t| TeacherRecord {
            source: t.source.clone(),
            hash: hash(&serde_json::to_vec(&t.network).expect("plain data is JSON"), &t.weights),
            weight: t.weight,
            temperature: t.temperature,
        });
        LineageRecord { init, teacher, imported: None }
    }
}

impl LineageRecord {
    /// Whether nothing is taken over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What must be equal in two runs for these to be the same: all but the places that things came from.
    pub(crate) fn identity(&self) -> impl Serialize + use<> {
        let teacher = self.teacher.as_ref().map(|t| (t.hash.clone(), t.weight, t.temperature));
        let trained = (self.init.as_ref().map(|i| i.hash.clone()), teacher);
        match &self.imported {
            None => serde_json::json!(trained),
            Some(imported) => serde_json::json!([trained, imported.hash, imported.run]),
        }
    }
}

fn hash(network: &[u8], weights: &Weights) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(network);
    for value in weights.trained.iter().chain(&weights.running) {
        hasher.update(&value.to_le_bytes());
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// The weights of `narrowed`, cut out of those of `full`: [`segfit::network::inherit`].
///
/// # Errors
/// As there.
pub fn inherit_weights(
    full: &NetworkSpec,
    weights: &Weights,
    narrowed: &NetworkSpec,
    criterion: Criterion,
) -> Result<Weights> {
    let layout = ParameterLayout::new(full)?;
    let of = |(p, range): (&segfit::network::Parameter, &std::ops::Range<usize>)| {
        let from = if p.kind.is_trained() { &weights.trained } else { &weights.running };
        from.get(range.clone()).unwrap_or(&[])
    };
    let values: Vec<&[f32]> = layout.parameters.iter().zip(&layout.ranges).map(of).collect();
    let cut = inherit(full, &values, narrowed, criterion)?;
    let mut result = Weights { trained: Vec::new(), running: Vec::new() };
    for (parameter, values) in narrowed.parameters()?.iter().zip(cut) {
        let into = if parameter.kind.is_trained() { &mut result.trained } else { &mut result.running };
        into.extend(values);
    }
    Ok(result)
}
