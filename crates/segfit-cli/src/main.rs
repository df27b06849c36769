//! The `segfit` command: words and wiring, nothing else.

mod cache_folder;
mod claim;
mod commands;
mod context;
mod data_options;
mod device_options;
mod failure;
mod image_files;
mod interrupt;
mod latency;
mod lineage_options;
mod network_options;
mod new_folder;
mod onnx_model;
mod precision_options;
mod report_files;
mod shell;
mod stopwatch;
mod subject;
mod table;
mod together;
mod training;

use clap::{CommandFactory as _, Parser, Subcommand};

use commands::{
    bench, calibrate, demo, evaluate, export, import_weights, inspect, measure, network, phantom, plan, predict,
    report, segment, train,
};
use context::Global;

/// How small can a segmentation network be for these images?
///
/// segfit measures how complex a set of images with masks is, predicts the accuracy that every size of a network would
/// reach on it, without training, and picks the smallest network that meets your budgets. Then it trains that
/// network, evaluates it and segments with it.
///
/// Start with `segfit demo`, or with your own images in DATA/images and masks of the same names in DATA/masks:
/// `segfit plan DATA --keep 95%`, `segfit train plan.json DATA --out RUN`, `segfit segment RUN IMAGES --out DIR`.
#[derive(Debug, Parser)]
#[command(name = "segfit", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole story on built-in synthetic images, in about a minute
    Demo(demo::Args),
    /// What image files hold, and how they will be read
    Inspect(inspect::Args),
    /// How complex a data set is: a table and profile.json
    Measure(measure::Args),
    /// The accuracy to expect at every size of a network, without training
    Predict(predict::Args),
    /// The smallest network that meets your budgets: plan.json and network.json
    Plan(plan::Args),
    /// Layers, shapes and costs of a network
    Network(network::Args),
    /// Train a planned network; can be interrupted and resumed
    Train(train::Args),
    /// Dice and IoU of a trained network, per image and class
    Evaluate(evaluate::Args),
    /// Plans, runs and profiles as a page to look at
    Report(report::Args),
    /// Masks for new images of any size
    Segment(segment::Args),
    /// A trained network as files that other programs run
    Export(export::Args),
    /// A run with weights that PyTorch trained further
    ImportWeights(import_weights::Args),
    /// Calibrate the prediction with experiments: plan, run, collect, fit, check
    Calibrate(calibrate::Args),
    /// Synthetic images and masks of chosen complexity
    Phantom(phantom::Args),
    /// Speed and memory of a network on this machine
    Bench(bench::Args),
    /// Completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> std::process::ExitCode {
    failure::keep_quiet_about_decoders();
    let cli = Cli::parse();
    let result = cli.global.apply().and_then(|()| run(cli.command, &cli.global));
    failure::report(result)
}

fn run(command: Command, global: &Global) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(&args, global),
        Command::Inspect(args) => inspect::run(&args, global),
        Command::Measure(args) => measure::run(&args, global),
        Command::Predict(args) => predict::run(&args, global),
        Command::Plan(args) => plan::run(&args, global),
        Command::Network(args) => network::run(&args, global),
        Command::Train(args) => train::run(&args, global),
        Command::Evaluate(args) => evaluate::run(&args, global),
        Command::Report(args) => report::run(&args, global),
        Command::Segment(args) => segment::run(&args, global),
        Command::Export(args) => export::run(&args, global),
        Command::ImportWeights(args) => import_weights::run(&args, global),
        Command::Calibrate(args) => calibrate::run(&args, global),
        Command::Phantom(args) => phantom::run(&args, global),
        Command::Bench(args) => bench::run(&args, global),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "segfit", &mut script);
            Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?)
        }
    }
}
