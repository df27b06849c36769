//! Targets: what a run folder holds, and weights of others.

use std::sync::LazyLock;

use segfit::data::Image;
use segfit::evaluate::{Evaluation, METRICS_FORMAT, per_image_csv};
use segfit::files::read_json;
use segfit::network::NetworkSpec;
use segfit::network::families::{Options, unet};
use segfit_engine::checkpoint::{load_checkpoint, load_weights};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::deploy::deployment;
use segfit_engine::import_weights::import_weights;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::run_log::RunLog;
use segfit_engine::segmenter::Segmenter;

use crate::networks::{forward, is_small};
use crate::place::{file, folder};

/// The network whose weights are read; the seeds are of it.
pub static NETWORK: LazyLock<NetworkSpec> = LazyLock::new(|| {
    unet(&Options { in_channels: 1, classes: 2, base_width: 2, depth: 1, ..Options::default() }).expect("a U-Net")
});
/// The run that a checkpoint belongs to.
pub const RUN: &str = "0123456789abcdef";

/// Weights or a checkpoint of ours.
pub fn checkpoint(bytes: &[u8]) {
    let path = file("checkpoint.safetensors", bytes);
    let _ = load_checkpoint(&path, &NETWORK, RUN);
    if let Ok(weights) = load_weights(&path, &NETWORK) {
        forward(&NETWORK, weights);
    }
}

/// A state dict of others.
pub fn weights(bytes: &[u8]) {
    let path = file("state.safetensors", bytes);
    if let Ok(found) = import_weights(&path, &NETWORK) {
        forward(&found.network, found.weights);
    }
}

/// A file of a run folder, by the first byte: run.json, metrics.json, log.jsonl, plan.json. The rest of the folder is sound.
pub fn run(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else { return };
    let name = ["run.json", "metrics.json", "log.jsonl", "plan.json"][usize::from(*which) % 4];
    let run = folder().join("run");
    let _ = std::fs::remove_dir_all(&run);
    crate::seeds::runs::folder(&run);
    std::fs::write(run.join(name), text).expect("a file");
    let _ = RunLog::lines(&run);
    let _ = RunLog::open(&run, 3);
    if let Ok(metrics) = read_json::<Evaluation>(&run.join("metrics.json"), METRICS_FORMAT) {
        let _ = per_image_csv(&metrics);
    }
    let Ok(opened) = RunFolder::open(&run) else { return };
    if let Ok(deployed) = deployment(&opened, None) {
        let _ = segfit::export::onnx::bytes(&deployed, &segfit::export::onnx::Options::default());
        let _ = deployed.class_names();
    }
    let Ok(weights) = opened.weights() else { return };
    let RunFolder { info, network, .. } = &opened;
    let fits = info.recipe.input.size <= 512;
    if !is_small(network) || !fits {
        return;
    }
    let backend = CpuBackend::detect();
    let mut segmenter = Segmenter::new(&backend, network, weights, info.normalisation.clone(), info.recipe.input)
        .with_loss(info.recipe.loss);
    let image = Image { channels: 1, height: 20, width: 28, data: vec![0.5; 20 * 28] };
    if let Ok(mask) = segmenter.segment(&image) {
        let _ = segfit::data::write_mask(&folder().join("mask.png"), &mask, &info.label_map);
    }
}
