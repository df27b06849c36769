//! A finished run of the smallest U-Net, its weights and its checkpoint.

use std::path::Path;

use segfit::data::{LabelCoding, LabelEntry, LabelKind, LabelMap, Mask, Normalisation};
use segfit::evaluate::{Case, EvaluationOptions, METRICS_FORMAT, evaluate};
use segfit::files::write_json;
use segfit::recipe::{InputMode, InputSpec, Recipe};
use segfit_engine::checkpoint::{save_checkpoint, save_weights};
use segfit_engine::deploy::deployment;
use segfit_engine::initialise::initialise;
use segfit_engine::run_folder::{RUN_FORMAT, RunFolder, RunInfo};
use segfit_engine::state::State;

use super::{Made, put};
use crate::runs::{NETWORK, RUN};

pub fn write(to: &Path) -> Made {
    let scratch = to.join("scratch");
    folder(&scratch);
    let read = |name: &str| std::fs::read(scratch.join(name));
    let weights = read("weights.safetensors")?;
    put(to, "checkpoint", "weights", &weights)?;
    put(to, "weights", "ours", &weights)?;
    let checkpoint = scratch.join("checkpoint.safetensors");
    let state = State::fresh(initialise(&NETWORK, 2).expect("a network"));
    save_checkpoint(&checkpoint, &NETWORK, &state, RUN).expect("a checkpoint");
    put(to, "checkpoint", "checkpoint", &std::fs::read(checkpoint)?)?;
    for (which, name) in [(0u8, "run.json"), (1, "metrics.json"), (2, "log.jsonl")] {
        let text: serde_json::Value = serde_json::from_slice(&read(name)?).unwrap_or_default();
        let text = if text.is_null() { read(name)? } else { text.to_string().into_bytes() };
        put(to, "run", name, &[vec![which], text].concat())?;
    }
    let plan = serde_json::to_vec(&super::method::plan())?;
    put(to, "run", "plan.json", &[vec![3], plan].concat())?;
    std::fs::remove_dir_all(scratch)
}

/// The bytes of an ONNX file of the run.
pub fn exported() -> Vec<u8> {
    let run = crate::place::folder().join("export");
    folder(&run);
    let run = RunFolder::open(&run).expect("a run");
    let deployed = deployment(&run, None).expect("a deployment");
    segfit::export::onnx::bytes(&deployed, &segfit::export::onnx::Options::default()).expect("a file")
}

/// Writes the files of a run folder.
pub fn folder(to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let recipe = Recipe::r0(InputSpec { mode: InputMode::Resize, size: 16 });
    let entry = |class: u8| LabelEntry { value: 255 * u32::from(class), class, name: None };
    let entries = (0..2).map(entry).collect();
    let info = RunInfo {
        format: RUN_FORMAT.into(),
        version: "0.1.0".into(),
        id: RUN.into(),
        engine: "cpu".into(),
        dataset: "a".into(),
        fingerprint: "0123456789abcdef".into(),
        label_map: LabelMap { kind: LabelKind::Classes, coding: LabelCoding::Value, entries },
        normalisation: Normalisation { mean: vec![0.5], std: vec![0.25] },
        recipe: recipe.clone(),
        seed: 1,
        axis: None,
        lineage: Default::default(),
    };
    write_json(&to.join("run.json"), &info).expect("run.json");
    write_json(&to.join("recipe.json"), &recipe).expect("recipe.json");
    write_json(&to.join("network.json"), &*NETWORK).expect("network.json");
    let weights = initialise(&NETWORK, 1).expect("weights");
    save_weights(&to.join("weights.safetensors"), &NETWORK, &weights).expect("weights");
    let log = "{\"step\":1,\"loss\":0.7,\"learning_rate\":0.001,\"seconds\":0.1}\n\
               {\"step\":2,\"loss\":0.6,\"learning_rate\":0.001,\"validation_dice\":0.5,\"seconds\":0.2}\n";
    std::fs::write(to.join("log.jsonl"), log).expect("log.jsonl");
    let mask = |n: usize| Mask { height: 4, width: 4, data: (0..16).map(|i| u8::from(i > n)).collect() };
    let (a, b) = (mask(4), mask(7));
    let case = |name| Case { name, source: name, predicted: &a, truth: &b, spacing: [1.0, 1.0] };
    let metrics = evaluate(&[case("a"), case("b")], &EvaluationOptions::new(2)).expect("scores");
    assert_eq!(metrics.format, METRICS_FORMAT);
    write_json(&to.join("metrics.json"), &metrics).expect("metrics.json");
}
