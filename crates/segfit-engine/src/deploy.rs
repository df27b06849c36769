//! A run folder as a [`Deployment`]: what exports are written from.

use segfit::data::Image;
use segfit::evaluate::{Evaluation, METRICS_FORMAT};
use segfit::export::{Deployment, Provenance};
use segfit::files::read_json;
use segfit::onnx::Tensor;
use segfit::plan::{PLAN_FORMAT, Plan};

use crate::backend::{ActivationRanges, Backend, Precision};
use crate::error::Result;
use crate::run_folder::RunFolder;
use crate::segmenter::Segmenter;
use crate::state::{ParameterLayout, Weights};

/// A finished training, ready to be exported; with `ranges` also in int8.
///
/// Dice comes from `metrics.json`, the plan in words from `plan.json`, where the folder has them.
///
/// # Errors
/// When the training has not finished, or a file of the folder is damaged.
pub fn deployment(run: &RunFolder, ranges: Option<ActivationRanges>) -> Result<Deployment> {
    let RunFolder { info, network, .. } = run;
    let metrics = run.path.join("metrics.json");
    let metrics: Option<Evaluation> = metrics.exists().then(|| read_json(&metrics, METRICS_FORMAT)).transpose()?;
    let plan = run.path.join("plan.json");
    let plan: Option<Plan> = plan.exists().then(|| read_json(&plan, PLAN_FORMAT)).transpose()?;
    let deployment = Deployment {
        network: network.clone(),
        weights: tensors(&ParameterLayout::new(network)?, &run.weights()?),
        normalisation: info.normalisation.clone(),
        input: info.recipe.input,
        loss: info.recipe.loss,
        axis: info.axis,
        labels: info.label_map.clone(),
        provenance: Provenance {
            version: info.version.clone(),
            run: info.id.clone(),
            dataset: info.dataset.clone(),
            fingerprint: info.fingerprint.clone(),
            dice: metrics.as_ref().map(|m| m.dice.mean),
            test_images: metrics.as_ref().map(|m| m.images),
            plan: plan.map(|p| p.choice.join(" ")),
        },
        ranges: ranges.map(|r| r.ranges),
    };
    Ok(deployment.checked()?)
}

/// The ranges of all tensors of a run's network on these images, as they lie on disk: what int8 needs.
///
/// # Errors
/// When there are no images, or an image's channels do not fit the network.
pub fn calibrate(run: &RunFolder, backend: &dyn Backend, images: &[Image]) -> Result<ActivationRanges> {
    let RunFolder { info, network, .. } = run;
    let segmenter = Segmenter::new(backend, network, run.weights()?, info.normalisation.clone(), info.recipe.input)
        .with_precision(Precision::Int8, images)?;
    Ok(segmenter.ranges().cloned().unwrap_or_default())
}

/// Every parameter under its name.
fn tensors(layout: &ParameterLayout, weights: &Weights) -> Vec<Tensor> {
    let all = layout.parameters.iter().zip(&layout.ranges);
    all.map(|(p, range)| {
        let from = if p.kind.is_trained() { &weights.trained } else { &weights.running };
        Tensor { name: p.name.clone(), shape: p.shape.clone(), values: from[range.clone()].to_vec() }
    })
    .collect()
}
