//! `segfit train`: train a planned network.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use segfit::data::Dataset;
use segfit::evaluate::Evaluation;
use segfit::files::{read_json, write_atomically, write_json};
use segfit::network::{NETWORK_FORMAT, NetworkSpec};
use segfit::numbers::bytes;
use segfit::plan::{PLAN_FORMAT, Plan};
use segfit::recipe::{InputMode, InputSpec, Recipe};
use segfit::survey::{SurveyOptions, survey};
use segfit_engine::lineage::LineageRecord;
use segfit_engine::material::Material;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::trainer::checkpoint_path;
use serde::Serialize;

use super::evaluate::summary;
use super::report::{Seen, write_run_report};
use crate::claim::Claim;
use crate::context::Global;
use crate::data_options::{DataOptions, at_least_one, size_in_range};
use crate::device_options::DeviceOptions;
use crate::interrupt;
use crate::lineage_options::LineageOptions;
use crate::new_folder::io;
use crate::report_files::{Extremes, SIZES, write_facts};
use crate::together::make_folder;
use crate::training::{Training, train};

/// Train a planned network; can be interrupted and resumed
///
/// Everything goes into the folder RUN: network.json, recipe.json, checkpoint.safetensors (to go on after an
/// interruption), best.safetensors and weights.safetensors (the result), log.jsonl, TensorBoard events, the test images'
/// metrics.json and per_image.csv, and report.html to look at all of it. Ctrl-C saves and stops; the same command goes on, and ends with the same
/// weights as a training that was never interrupted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// plan.json of `segfit plan`, or any network.json
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    #[command(flatten)]
    data: DataOptions,
    /// The run's folder
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Rows and columns of the network's input, in pixels; the plan's, or else 128
    #[arg(long, value_name = "PIXELS", value_parser = size_in_range)]
    size: Option<usize>,
    /// Train on patches of that size instead of resized images; as the plan says where it was made with --patch
    #[arg(long)]
    patch: bool,
    /// Recipe file instead of the built-in one
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Optimiser steps, instead of the recipe's
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    steps: Option<usize>,
    /// Stop early when the validation Dice has not risen for N of the 20 reports
    #[arg(long, value_name = "N")]
    patience: Option<usize>,
    #[command(flatten)]
    lineage: LineageOptions,
    #[command(flatten)]
    device: DeviceOptions,
    /// Only go on with an interrupted training; an error if there is none
    #[arg(long)]
    resume: bool,
}

#[derive(Serialize)]
struct Report {
    run: PathBuf,
    params: u64,
    steps: usize,
    seconds: f64,
    seconds_per_epoch: f64,
    peak_bytes: u64,
    collapsed: bool,
    #[serde(skip_serializing_if = "LineageRecord::is_empty")]
    lineage: LineageRecord,
    attempts: u32,
    images: usize,
    dice: segfit::evaluate::Interval,
    iou: segfit::evaluate::Interval,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let (network, input) = read_network(&args.plan)?;
    let recipe = recipe(args, input)?;
    check_size(&network, recipe.input.size, args)?;
    if args.resume && !checkpoint_path(&args.out).exists() {
        bail!("{} holds no checkpoint to resume from; leave out --resume to begin", args.out.display());
    }
    let backend = args.device.open(global)?;
    let dataset = args.data.open(global)?;
    check_fit(&network, dataset.channels, dataset.classes, &args.plan)?;
    let lineage = args.lineage.load(&network, &recipe)?;
    let material = Material::prepare(&dataset, &recipe.input)?;
    interrupt::listen()?;
    make_folder(&args.out)?;
    let _claim = Claim::of_run(&args.out)?;
    let kept = kept_inputs(&args.plan)?;
    let training = Training {
        network: &network,
        recipe: &recipe,
        dataset: &dataset,
        material: &material,
        seed: global.seed,
        folder: &args.out,
        patience: args.patience,
        lineage: &lineage,
        kept: &kept,
        title: "train",
    };
    let (run, done, attempt) = train(backend.as_ref(), &training, global)?;
    let trained = &done.trained;
    let normalisation = material.normalisation.clone();
    let mut segmenter =
        Segmenter::new(backend.as_ref(), &network, trained.weights.clone(), normalisation, recipe.input)
            .with_loss(recipe.loss);
    let metrics = material.evaluate(&mut segmenter)?;
    write_json(&run.path.join("metrics.json"), &metrics)?;
    write_atomically(&run.path.join("per_image.csv"), segfit::evaluate::per_image_csv(&metrics)?.as_bytes())?;
    write_facts(&run.path, trained, &run.info.engine)?;
    report(&run, &dataset, &material, &metrics, &mut segmenter, global)?;
    let epoch_steps = material.train.len() as f64 / recipe.batch as f64;
    let report = Report {
        run: run.path,
        params: segfit::cost::parameters(&network)?,
        steps: trained.steps,
        seconds: trained.seconds,
        seconds_per_epoch: trained.seconds / trained.steps_here.max(1) as f64 * epoch_steps,
        peak_bytes: trained.bytes,
        collapsed: done.collapsed,
        lineage: run.info.lineage,
        attempts: attempt + 1,
        images: metrics.images,
        dice: metrics.dice,
        iou: metrics.iou,
    };
    let warning = if report.collapsed { "\nwarning: every attempt collapsed to a constant mask\n" } else { "" };
    let text = format!(
        "{}{} weights trained for {} steps in {:.1} s ({:.2} s per epoch) on {} in {} of memory, planned beforehand\n{}{warning}",
        described(&report.lineage),
        report.params,
        report.steps,
        report.seconds,
        report.seconds_per_epoch,
        backend.name(),
        bytes(report.peak_bytes),
        summary(&metrics)
    );
    global.print(&report, &text)
}

/// The page in the run's folder.
fn report(
    run: &RunFolder,
    dataset: &Dataset,
    material: &Material,
    metrics: &Evaluation,
    segmenter: &mut Segmenter<'_>,
    global: &Global,
) -> Result<()> {
    let sample = |name: &str| Ok(material.test.iter().find(|s| s.name == name).cloned());
    let images = Extremes::of(metrics, segmenter, sample)?;
    let seen = Seen { survey: survey(dataset, &SurveyOptions::new(run.info.recipe.input))?, images: vec![images] };
    write_run_report(&run.path, seen, global)
}

/// A line for each thing that was taken over.
fn described(lineage: &LineageRecord) -> String {
    let mut text = String::new();
    if let Some(init) = &lineage.init {
        let how = init.inherited.map_or(String::new(), |c| format!(", channels chosen by {}", c.name()));
        text += &format!("begun with the weights of {}{how}\n", init.source);
    }
    if let Some(teacher) = &lineage.teacher {
        let (source, weight, temperature) = (&teacher.source, teacher.weight, teacher.temperature);
        text += &format!("taught by {source} (weight {weight}, temperature {temperature}), whose memory is included\n");
    }
    text
}

/// The network of a plan.json with the input that it was planned for, or a network.json.
///
/// # Errors
/// When the file is neither, or its network does not fit together.
pub fn read_network(path: &Path) -> Result<(NetworkSpec, Option<InputSpec>)> {
    let expected = || format!("{PLAN_FORMAT} or {NETWORK_FORMAT}");
    let bad =
        |e: serde_json::Error| segfit::Error::Json { path: path.into(), expected: expected(), reason: e.to_string() };
    let text = std::fs::read(path).map_err(|source| segfit::Error::Io { path: path.into(), source })?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(bad)?;
    // What calls itself a plan is one, of whatever version; everything else should be a network.
    if !value["format"].as_str().is_some_and(|format| format.starts_with("segfit-plan/")) {
        return Ok((NetworkSpec::read(path)?, None));
    }
    let plan: Plan = read_json(path, PLAN_FORMAT)?;
    plan.spec.validate_file(path)?;
    Ok((plan.spec, plan.input))
}

/// The recipe; its input is that of the recipe file, or else the plan's, unless the options say otherwise.
fn recipe(args: &Args, planned: Option<InputSpec>) -> Result<Recipe> {
    let mut recipe: Recipe = match &args.recipe {
        Some(path) => Recipe::read(path)?,
        None => Recipe::r1(planned.unwrap_or(InputSpec { mode: InputMode::Resize, size: 128 })),
    };
    recipe.input.size = args.size.unwrap_or(recipe.input.size);
    if args.patch {
        recipe.input.mode = InputMode::Patch;
    }
    if let Some(steps) = args.steps {
        (recipe.steps, recipe.step_exponent) = (steps, 0.0);
        recipe.name = format!("{}-{steps}", recipe.name);
    }
    Ok(recipe)
}

/// The input must be divisible as often as the network halves it.
fn check_size(network: &NetworkSpec, size: usize, args: &Args) -> Result<()> {
    let multiple = network.input_multiple();
    if size.is_multiple_of(multiple) {
        return Ok(());
    }
    let from = match (args.size, &args.recipe) {
        (Some(_), _) => "--size".into(),
        (None, Some(recipe)) => recipe.display().to_string(),
        (None, None) => args.plan.display().to_string(),
    };
    bail!(segfit::Error::Option {
        what: format!("{from}: rows and columns of the network's input"),
        expected: format!("a multiple of {multiple}"),
        got: size.to_string(),
    })
}

/// Images and network must agree before anything is written.
fn check_fit(network: &NetworkSpec, channels: usize, classes: usize, plan: &Path) -> Result<()> {
    if (network.in_channels(), network.classes) == (channels, classes) {
        return Ok(());
    }
    bail!(
        "{} is for images of {} channel(s) and {} classes, the data set has {channels} and {classes}; plan a network for it",
        plan.display(),
        network.in_channels(),
        network.classes
    )
}

/// The plan and, where they lie beside it, the profile and the plans of other sizes are kept with the run.
fn kept_inputs(plan: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut files = Vec::new();
    if read_json::<serde_json::Value>(plan, PLAN_FORMAT).is_ok() {
        files.push((plan.to_path_buf(), "plan.json"));
    }
    let beside = ["profile.json", SIZES].map(|name| (plan.with_file_name(name), name));
    files.extend(beside.into_iter().filter(|(from, _)| from.exists()));
    let read = |(from, name): (PathBuf, _)| Ok((name, std::fs::read(&from).map_err(io(&from))?));
    files.into_iter().map(read).collect()
}
