//! `segfit network`: what a network consists of and what it costs.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use segfit::cost::{Cost, LayerCost, layer_costs};
use segfit::files::write_json;
use segfit::network::NetworkSpec;
use segfit::network::families::FAMILIES;
use segfit::numbers::{bytes, short, thousands as count};
use serde::Serialize;

use super::network_inherit::{InheritOptions, write_weights};
use crate::commands::network_import;
use crate::context::Global;
use crate::network_options::NetworkSource;
use crate::table::Table;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every layer with its shape, channel groups, parameters, multiply-accumulates and bytes
    ///
    /// Layers that only training uses are shown too; they do not count in the sums.
    Show(Sized),
    /// Parameters, multiply-accumulates and memory
    ///
    /// They are counted exactly, without building or running the network.
    #[command(after_help = "Examples:\n  \
        segfit network cost --network fc_densenet103 --multiplier 0.25 --divisor 4\n  \
        segfit network cost --network unet --channels 3 --classes 2 --size 256\n  \
        segfit network cost --width 16 --depth 3 --json\n  \
        segfit network cost --multiplier 0.125 --widths enc4=32\n  \
        segfit network cost --network plan/network.json")]
    Cost(Sized),
    /// The families of networks
    List,
    /// Write a network with fewer channels as network.json
    #[command(after_help = "Examples:\n  \
        segfit network narrow --width 16 --out network.json\n  \
        segfit network narrow --network network.json --widths 'enc4=32,dec*=4' --out narrow.json\n  \
        segfit network narrow --network run/network.json --multiplier 0.25 --weights run --out narrow.json")]
    Narrow(Narrow),
    /// Read a network and its weights from an ONNX file
    #[command(after_help = network_import::IMPORT_EXAMPLES)]
    Import(network_import::Import),
    /// Write a network with its weights as an ONNX file
    Export(network_import::Export),
}

#[derive(Debug, clap::Args)]
struct Sized {
    #[command(flatten)]
    source: NetworkSource,
    /// Rows and columns of the input in pixels, rounded up to what the network accepts
    #[arg(long, value_name = "PIXELS", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=8192))]
    size: u64,
}

#[derive(Debug, clap::Args)]
struct Narrow {
    #[command(flatten)]
    source: NetworkSource,
    #[command(flatten)]
    inherit: InheritOptions,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    match &args.command {
        Action::Show(options) => show(options, global),
        Action::Cost(options) => cost(options, global),
        Action::List => list(global),
        Action::Narrow(options) => narrow(options, global),
        Action::Import(options) => network_import::import(options, global),
        Action::Export(options) => network_import::export(options, global),
    }
}

impl Sized {
    /// The network and the input size that it accepts.
    fn resolve(&self) -> Result<(NetworkSpec, usize)> {
        let spec = self.source.build()?;
        let size = (self.size as usize).next_multiple_of(spec.input_multiple());
        Ok((spec, size))
    }
}

#[derive(Serialize)]
struct CostReport {
    family: String,
    depth: usize,
    channels: usize,
    classes: usize,
    size: usize,
    #[serde(flatten)]
    cost: Cost,
    memory_bytes: u64,
    widths: segfit::network::Widths,
}

fn cost(options: &Sized, global: &Global) -> Result<()> {
    let (spec, size) = options.resolve()?;
    let cost = Cost::of(&spec, size)?;
    let report = CostReport {
        family: spec.family.clone(),
        depth: spec.depth,
        channels: spec.in_channels(),
        classes: spec.classes,
        size,
        cost,
        memory_bytes: cost.memory_bytes(),
        widths: spec.widths(),
    };
    let mut table = Table::new(&["<cost of one image", "", "<"]);
    let mut row = |name: &str, value: u64, meaning: &str| {
        table.row(vec![name.into(), count(value), meaning.into()]);
    };
    row("parameters", cost.params, "trained values");
    row("MACs", cost.macs, "multiply-accumulates of the convolutions");
    row("activation bytes", cost.peak_activation_bytes, &format!("{} at inference", bytes(cost.peak_activation_bytes)));
    row("weight bytes", cost.weight_bytes, &format!("{} as 32-bit floats", bytes(cost.weight_bytes)));
    row("memory bytes", report.memory_bytes, &format!("{} together", bytes(report.memory_bytes)));
    global.print(&report, &format!("{}\n\n{table}", sentence(&spec, size)))
}

fn sentence(spec: &NetworkSpec, size: usize) -> String {
    format!(
        "{} with {} level(s) for {size} x {size} pixels, {} channel(s), {} classes",
        spec.family,
        spec.depth + 1,
        spec.in_channels(),
        spec.classes
    )
}

#[derive(Serialize)]
struct ShowReport {
    family: String,
    size: usize,
    params: u64,
    macs: u64,
    layers: Vec<LayerCost>,
}

fn show(options: &Sized, global: &Global) -> Result<()> {
    let (spec, size) = options.resolve()?;
    let layers = layer_costs(&spec, size)?;
    let total = |f: fn(&LayerCost) -> u64| layers.iter().filter(|l| !l.training_only).map(f).sum::<u64>();
    let (params, macs) = (total(|l| l.params), total(|l| l.macs));
    let columns = ["<layer", "<does", "channels", "rows x columns", "parameters", "MACs", "bytes", "<groups"];
    let mut table = Table::new(&columns);
    let blank_if_zero = |text: String, n: u64| if n == 0 { String::new() } else { text };
    for l in &layers {
        table.row(vec![
            l.name.clone(),
            l.op.clone(),
            l.channels.to_string(),
            format!("{} x {}", l.height, l.width),
            blank_if_zero(count(l.params), l.params),
            blank_if_zero(short(l.macs), l.macs),
            bytes(l.activation_bytes),
            l.groups.join(" + ") + if l.training_only { " (training only)" } else { "" },
        ]);
    }
    let blank = String::new;
    table.row(vec!["all".into(), blank(), blank(), blank(), count(params), short(macs), blank(), blank()]);
    let text = format!(
        "{}\n\n{table}\nbytes: the layer's result for one image; `segfit network cost` tells how much lives at once",
        sentence(&spec, size)
    );
    global.print(&ShowReport { family: spec.family, size, params, macs, layers }, &text)
}

fn list(global: &Global) -> Result<()> {
    let mut table = Table::new(&["<family", "<what it is", "<publication", "width", "depth", "parameters"]);
    let mut list = Vec::new();
    for family in FAMILIES {
        let params = segfit::cost::parameters(&family.build(&family.options(3, 2))?)?;
        table.row(vec![
            family.name.into(),
            family.description.into(),
            family.paper.into(),
            family.base_width.to_string(),
            family.depth.to_string(),
            short(params),
        ]);
        list.push(serde_json::json!({
            "name": family.name,
            "description": family.description,
            "paper": family.paper,
            "base_width": family.base_width,
            "depth": family.depth,
            "deepest": family.deepest,
            "params": params,
        }));
    }
    let text = format!("{table}\nWidth and parameters are those of the full size, for RGB images and two classes.");
    global.print(&serde_json::json!({ "families": list }), &text)
}

fn narrow(options: &Narrow, global: &Global) -> Result<()> {
    let spec = options.source.build()?;
    let weights = write_weights(&options.inherit, &options.source, &spec, &options.out)?;
    write_json(&options.out, &spec)?;
    let params = segfit::cost::parameters(&spec)?;
    let mut report = serde_json::json!({ "out": options.out, "params": params, "widths": spec.widths() });
    let mut text = format!("{}: {} parameters\n", options.out.display(), count(params));
    if let Some(file) = weights {
        text += &format!("{}: their values, inherited\n", file.display());
        report["weights"] = serde_json::json!(file);
    }
    global.print(&report, text.trim_end())
}
