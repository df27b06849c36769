//! `segfit network import` and `export`: networks from and to ONNX files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use segfit::files::{write_atomically, write_json};
use segfit::network::{GroupKind, NetworkSpec};
use segfit::numbers::thousands as count;
use segfit::onnx::{self, ExportOptions, ImportOptions, Imported, Tensor};
use segfit_engine::checkpoint::{load_weights, save_weights};
use segfit_engine::state::{ParameterLayout, Weights};
use serde::Serialize;

use crate::context::Global;

/// Shown below the options of `segfit network import`.
pub const IMPORT_EXAMPLES: &str = "Examples:\n  \
    segfit network import unet.onnx --out unet.json\n  \
    segfit network narrow --network unet.json --multiplier 0.25 --out narrow.json";

#[derive(Debug, clap::Args)]
pub struct Import {
    /// The ONNX file, with its weights inside
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The network file to write
    #[arg(long, value_name = "NETWORK.json")]
    out: PathBuf,
    /// The file of weights to write [default: --out with the ending .safetensors]
    #[arg(long, value_name = "FILE")]
    weights_out: Option<PathBuf>,
    /// Rows and columns of the image, where the file leaves them open [default: 256]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u64).range(1..=8192))]
    size: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub struct Export {
    /// The network
    #[arg(value_name = "NETWORK.json")]
    network: PathBuf,
    /// Its weights
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The ONNX file to write
    #[arg(long, value_name = "MODEL.onnx")]
    out: PathBuf,
    /// Write probabilities (softmax over the classes) instead of logits
    #[arg(long)]
    softmax: bool,
}

#[derive(Serialize)]
struct ImportReport {
    network: PathBuf,
    weights: PathBuf,
    opset: i64,
    channels: usize,
    classes: usize,
    params: u64,
    layers: usize,
    groups: usize,
    free_groups: usize,
    input_multiple: usize,
    notes: Vec<String>,
}

pub fn import(options: &Import, global: &Global) -> Result<()> {
    let size = options.size.map(|n| (n as usize, n as usize));
    let imported = onnx::import(&options.model, &ImportOptions { size })?;
    let weights_out = options.weights_out.clone().unwrap_or_else(|| options.out.with_extension("safetensors"));
    save_weights(&weights_out, &imported.spec, &flat(&imported)?)?;
    write_json(&options.out, &imported.spec)?;
    let spec = &imported.spec;
    let report = ImportReport {
        network: options.out.clone(),
        weights: weights_out,
        opset: imported.opset,
        channels: spec.in_channels(),
        classes: spec.classes,
        params: segfit::cost::parameters(spec)?,
        layers: spec.layers.len(),
        groups: spec.groups.len(),
        free_groups: spec.groups.iter().filter(|g| g.kind == GroupKind::Free).count(),
        input_multiple: spec.input_multiple(),
        notes: imported.notes.clone(),
    };
    global.print(&report, &describe(&options.model, &report))
}

fn describe(model: &Path, report: &ImportReport) -> String {
    let mut text = format!(
        "{}: {} parameters in {} layers, {} channel(s), {} class(es); sides of the image are multiples of {}\n\
         {} channel groups, {} of them free to be narrowed\n",
        model.display(),
        count(report.params),
        report.layers,
        report.channels,
        report.classes,
        report.input_multiple,
        report.groups,
        report.free_groups,
    );
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text + &format!("wrote {} and {}", report.network.display(), report.weights.display())
}

/// The weights as the engine holds them.
fn flat(imported: &Imported) -> Result<Weights> {
    let layout = ParameterLayout::new(&imported.spec)?;
    let mut weights = Weights { trained: vec![0.0; layout.trained_len], running: vec![0.0; layout.running_len] };
    for ((parameter, range), tensor) in layout.parameters.iter().zip(&layout.ranges).zip(&imported.weights) {
        let into = if parameter.kind.is_trained() { &mut weights.trained } else { &mut weights.running };
        into[range.clone()].copy_from_slice(&tensor.values);
    }
    Ok(weights)
}

/// The engine's weights by name.
fn by_name(spec: &NetworkSpec, weights: &Weights) -> Result<Vec<Tensor>> {
    let layout = ParameterLayout::new(spec)?;
    let tensors = layout.parameters.iter().zip(&layout.ranges).map(|(parameter, range)| {
        let from = if parameter.kind.is_trained() { &weights.trained } else { &weights.running };
        Tensor { name: parameter.name.clone(), shape: parameter.shape.clone(), values: from[range.clone()].to_vec() }
    });
    Ok(tensors.collect())
}

pub fn export(options: &Export, global: &Global) -> Result<()> {
    let spec = NetworkSpec::read(&options.network)?;
    let weights = by_name(&spec, &load_weights(&options.weights, &spec)?)?;
    let bytes = onnx::export(&spec, &weights, &ExportOptions { softmax: options.softmax, ..Default::default() })?;
    write_atomically(&options.out, &bytes)?;
    let report = serde_json::json!({ "out": options.out, "bytes": bytes.len() });
    global.print(&report, &format!("{}: {} bytes", options.out.display(), count(bytes.len() as u64)))
}
