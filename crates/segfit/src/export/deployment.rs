//! [`Deployment`]: everything that an export is written from.

use std::collections::BTreeMap;

use crate::data::{Axis, LabelMap, Normalisation};
use crate::error::{Error, Result};
use crate::network::NetworkSpec;
use crate::onnx::Tensor;
use crate::recipe::{InputSpec, LossKind};

/// A trained network and all that its users need besides.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// The network, without auxiliary heads.
    pub network: NetworkSpec,
    /// One tensor for each of [`NetworkSpec::parameters`], in that order; names as in PyTorch.
    pub weights: Vec<Tensor>,
    /// The image's channels become (value - mean) / std; values lie in 0 to 1 (8 and 16 bit images are divided by their largest value).
    pub normalisation: Normalisation,
    /// Whether frames are resized to a square or run at their own scale, and that size.
    pub input: InputSpec,
    /// The axis that the slices of volumes followed in training, where one was asked for.
    pub axis: Option<Axis>,
    /// What the logits mean: with [`LossKind::CrossEntropyDice`] probabilities are their softmax, with [`LossKind::BinaryDice`]
    /// their sigmoids divided by the sum of these.
    pub loss: LossKind,
    /// Names and values of the classes in masks.
    pub labels: LabelMap,
    /// What is known of the network.
    pub provenance: Provenance,
    /// The largest magnitude of every tensor by the layer that makes it, where the network was calibrated for int8; larger values are cut off.
    /// `None`: not calibrated.
    pub ranges: Option<BTreeMap<String, f32>>,
}

/// Where a network comes from and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Provenance {
    /// Version of segfit.
    pub version: String,
    /// Hash of network, recipe, data and seed.
    pub run: String,
    /// Name of the data set.
    pub dataset: String,
    /// Fingerprint of the data set.
    pub fingerprint: String,
    /// Mean Dice of the test images, if it was evaluated.
    pub dice: Option<f64>,
    /// Number of those images.
    pub test_images: Option<usize>,
    /// The multiplier or budgets by which the network was planned, in words.
    pub plan: Option<String>,
}

impl Deployment {
    /// Drops auxiliary heads and checks that every parameter is there.
    ///
    /// # Errors
    /// [`Error::Network`] when the network does not fit together, or a parameter is missing or of another shape.
    pub fn checked(mut self) -> Result<Self> {
        self.network = self.network.without_auxiliary();
        self.network.validate()?;
        let parameters = self.network.parameters()?;
        let mut kept = Vec::with_capacity(parameters.len());
        for p in &parameters {
            let found = self.weights.iter().find(|t| t.name == p.name);
            let tensor = found.filter(|t| t.shape == p.shape && t.values.len() == p.len()).ok_or_else(|| {
                let got = found.map_or_else(|| "it is missing".into(), |t| format!("it is of {:?}", t.shape));
                let layer = self.network.layers[p.layer].name.clone();
                Error::Network {
                    layer,
                    reason: format!("its parameter {} must be of shape {:?}, {got}", p.name, p.shape),
                }
            })?;
            kept.push(tensor.clone());
        }
        self.weights = kept;
        Ok(self)
    }

    /// The name of every class, background first: the data set's, else the label's value.
    #[must_use]
    pub fn class_names(&self) -> Vec<String> {
        let name = |class: usize| {
            let entry = self.labels.entries.iter().find(|e| usize::from(e.class) == class);
            let named = entry.and_then(|e| e.name.clone());
            named.unwrap_or_else(|| match entry {
                _ if class == 0 => "background".into(),
                Some(e) => format!("label {}", e.value),
                None => format!("class {class}"),
            })
        };
        (0..self.network.classes).map(name).collect()
    }
}
