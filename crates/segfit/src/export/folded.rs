//! Folding of batch norms into the convolutions before them: the form in which a network is deployed.

use std::collections::{BTreeMap, HashMap};

use super::Deployment;
use crate::error::{Error, Result};
use crate::network::{NetworkSpec, Op};
use crate::onnx::Tensor;

impl Deployment {
    /// The same function with fewer layers: a batch norm whose only input is a convolution that nothing else reads becomes part
    /// of that convolution, and dropout is left out.
    ///
    /// With scale g, shift b, running mean m and variance v of the norm, the convolution's weights become s w and its bias
    /// s (bias - m) + b, s = g / sqrt(v + eps), computed in f64. Such a convolution always has a bias. Norms behind anything else (as in
    /// dense blocks) stay. The folded convolution keeps its name; a range that was found under the norm's name is found under its.
    ///
    /// # Errors
    /// [`Error::Network`] when the network does not fit together or a parameter is missing.
    pub fn folded(&self) -> Result<Self> {
        let mut folding = Folding { spec: self.network.clone(), weights: HashMap::new(), ranges: self.ranges.clone() };
        folding.weights = self.weights.iter().map(|t| (t.name.clone(), t.clone())).collect();
        while let Some(dropout) = folding.spec.layers.iter().position(|l| matches!(l.op, Op::Dropout { .. })) {
            let input = folding.spec.layers[dropout].inputs[0].clone();
            folding.bypass(dropout, &input);
        }
        while let Some((convolution, norm)) = folding.next_pair() {
            folding.fold(convolution, norm)?;
        }
        let Folding { spec, weights, ranges } = folding;
        let weights = weights.into_values().collect();
        Self { network: spec, weights, ranges, ..self.clone() }.checked()
    }
}

struct Folding {
    spec: NetworkSpec,
    weights: HashMap<String, Tensor>,
    ranges: Option<BTreeMap<String, f32>>,
}

impl Folding {
    /// A convolution and the norm that is to be folded into it.
    fn next_pair(&self) -> Option<(usize, usize)> {
        let layers = &self.spec.layers;
        layers.iter().enumerate().filter(|(_, l)| matches!(l.op, Op::BatchNorm { .. })).find_map(|(norm, layer)| {
            let convolution = self.spec.layer_index(&layer.inputs[0])?;
            let name = &layers[convolution].name;
            let uses = layers.iter().flat_map(|l| &l.inputs).filter(|i| *i == name).count();
            let foldable = layers[convolution].op.is_convolution() && uses == 1 && self.spec.output != *name;
            foldable.then_some((convolution, norm))
        })
    }

    /// Removes a layer; what read it reads `instead`.
    fn bypass(&mut self, layer: usize, instead: &str) {
        let removed = self.spec.layers.remove(layer).name;
        let readers = self.spec.layers.iter_mut().flat_map(|l| &mut l.inputs);
        readers.chain([&mut self.spec.output]).filter(|name| **name == removed).for_each(|name| *name = instead.into());
    }

    fn fold(&mut self, convolution: usize, norm: usize) -> Result<()> {
        let (name, norm_name) = (self.spec.layers[convolution].name.clone(), self.spec.layers[norm].name.clone());
        let Op::BatchNorm { eps, .. } = self.spec.layers[norm].op else { return Ok(()) };
        let kinds = ["weight", "bias", "running_mean", "running_var"];
        let mut of_norm = Vec::with_capacity(kinds.len());
        for kind in kinds {
            of_norm.push(self.take(&norm_name, kind)?.values);
        }
        let channels = of_norm[0].len();
        let scale = |c: usize| f64::from(of_norm[0][c]) / (f64::from(of_norm[3][c]) + f64::from(eps)).sqrt();
        let mut weight = self.take(&name, "weight")?;
        let transposed = matches!(self.spec.layers[convolution].op, Op::ConvTranspose2d { .. });
        // [out][in][k][k], transposed ones [in][out][k][k].
        let per_channel: usize = weight.shape[if transposed { 2 } else { 1 }..].iter().product();
        for (i, value) in weight.values.iter_mut().enumerate() {
            *value = (f64::from(*value) * scale(i / per_channel % channels)) as f32;
        }
        let bias = match &mut self.spec.layers[convolution].op {
            Op::Conv2d { bias, .. } | Op::DepthwiseConv2d { bias, .. } | Op::ConvTranspose2d { bias, .. } => bias,
            _ => unreachable!("only convolutions are chosen"),
        };
        let had_bias = std::mem::replace(bias, true);
        let old = if had_bias { self.take(&name, "bias")?.values } else { vec![0.0; channels] };
        let folded = |c: usize| scale(c) * (f64::from(old[c]) - f64::from(of_norm[2][c])) + f64::from(of_norm[1][c]);
        let bias = Tensor {
            name: format!("{name}.bias"),
            shape: vec![channels],
            values: (0..channels).map(|c| folded(c) as f32).collect(),
        };
        self.weights.extend([weight, bias].map(|t| (t.name.clone(), t)));
        if let Some(ranges) = &mut self.ranges {
            // The convolution's own range, where there is one, is that of values that are no longer made.
            ranges.remove(&name);
            if let Some(range) = ranges.remove(&norm_name) {
                ranges.insert(name.clone(), range);
            }
        }
        self.bypass(norm, &name);
        Ok(())
    }

    fn take(&mut self, layer: &str, kind: &str) -> Result<Tensor> {
        let name = format!("{layer}.{kind}");
        let missing = || Error::Network { layer: layer.into(), reason: format!("its parameter {name} is missing") };
        self.weights.remove(&name).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LabelCoding, LabelKind, LabelMap, Normalisation};
    use crate::export::Provenance;
    use crate::recipe::{InputMode, InputSpec, LossKind};

    /// One channel: a convolution of two, its norm, dropout, a second norm that stays, a head.
    fn deployment() -> Deployment {
        let text = r#"{"format": "segfit-network/1", "family": "other", "base_width": 1, "depth": 0, "rank": 2, "classes": 2,
            "groups": [{"name": "image", "channels": 1, "kind": "fixed"}, {"name": "two", "channels": 2, "kind": "fixed"}],
            "layers": [{"name": "image", "op": "input", "group": "image"},
                {"name": "up", "op": "conv_transpose2d", "group": "two", "kernel": [1, 1], "bias": false, "inputs": ["image"]},
                {"name": "up.norm", "op": "batch_norm", "eps": 0.5, "momentum": 0.1, "inputs": ["up"]},
                {"name": "drop", "op": "dropout", "p": 0.5, "inputs": ["up.norm"]},
                {"name": "again", "op": "batch_norm", "eps": 0.5, "momentum": 0.1, "inputs": ["drop"]},
                {"name": "head", "op": "conv2d", "group": "two", "kernel": [1, 1], "padding": [0, 0], "bias": true, "inputs": ["again"]}],
            "output": "head"}"#;
        let network: NetworkSpec = serde_json::from_str(text).unwrap();
        let values = |name: &str| match name.rsplit('.').next().unwrap() {
            "running_mean" => 3.0,
            "running_var" => 3.5,
            "bias" => 1.0,
            _ => 4.0,
        };
        let weights = network.parameters().unwrap().into_iter().map(|p| {
            let n = p.len();
            Tensor { values: (0..n).map(|i| values(&p.name) + i as f32).collect(), name: p.name, shape: p.shape }
        });
        Deployment {
            weights: weights.collect(),
            network,
            normalisation: Normalisation { mean: vec![0.5], std: vec![0.25] },
            input: InputSpec { mode: InputMode::Patch, size: 8 },
            axis: None,
            loss: LossKind::CrossEntropyDice,
            labels: LabelMap { kind: LabelKind::Binary, coding: LabelCoding::Value, entries: Vec::new() },
            provenance: Provenance {
                version: "0".into(),
                run: "r".into(),
                dataset: "d".into(),
                fingerprint: "f".into(),
                dice: None,
                test_images: None,
                plan: None,
            },
            ranges: Some(["image", "up.norm", "again"].iter().zip(1..).map(|(n, r)| ((*n).into(), r as f32)).collect()),
        }
    }

    #[test]
    fn a_norm_behind_a_transposed_convolution_by_hand() {
        let folded = deployment().folded().unwrap();
        let names: Vec<&str> = folded.network.layers.iter().map(|l| l.name.as_str()).collect();
        // The second norm folds as well once dropout is gone and the first norm is part of the convolution.
        assert_eq!(names, ["image", "up", "head"]);
        let values = |name: &str| folded.weights.iter().find(|t| t.name == name).unwrap().values.clone();
        // First: s = 4 / sqrt(3.5 + 0.5) = 2 and 5 / sqrt(4.5 + 0.5). Weights s w = 8 and 5 sqrt 5, biases s (0 - m) + b: -5 and 2 - 4 sqrt 5.
        // Second, the same norm again: 2 * 8 and sqrt 5 * 5 sqrt 5; 2 (-5 - 3) + 1 and sqrt 5 (2 - 4 sqrt 5 - 4) + 2.
        let near =
            |got: Vec<f32>, want: [f32; 2]| assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?}");
        near(values("up.weight"), [16.0, 25.0]);
        near(values("up.bias"), [-15.0, -18.0 - 2.0 * 5.0_f32.sqrt()]);
        let ranges = folded.ranges.unwrap();
        assert_eq!(ranges, [("image".into(), 1.0), ("up".into(), 3.0)].into());
    }

    #[test]
    fn a_norm_stays_where_its_convolution_is_read_twice() {
        let mut deployment = deployment();
        let head = deployment.network.layers.len() - 1;
        deployment.network.layers[head].op = Op::Add;
        deployment.network.layers[head].inputs = vec!["again".into(), "up".into()];
        let folded = deployment.folded().unwrap();
        let norms = folded.network.layers.iter().filter(|l| matches!(l.op, Op::BatchNorm { .. })).count();
        assert_eq!(norms, 2);
        assert_eq!(folded.folded().unwrap(), folded, "folding again changes nothing");
    }

    #[test]
    fn a_missing_parameter_is_named() {
        let mut deployment = deployment();
        deployment.weights.retain(|t| t.name != "up.norm.running_var");
        let error = deployment.folded().unwrap_err().to_string();
        assert!(error.contains("up.norm.running_var"), "{error}");
    }
}
