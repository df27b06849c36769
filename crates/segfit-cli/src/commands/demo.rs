//! `segfit demo`: the whole story on synthetic images.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use segfit::cost::Cost;
use segfit::data::{Dataset, Options};
use segfit::files::write_json;
use segfit::network::NetworkSpec;
use segfit::network::families::{self, unet};
use segfit::numbers::thousands as count;
use segfit::phantom::{PhantomKind, PhantomOptions};
use segfit::plan::{Bound, Budgets, Freedom, Request, Space};
use segfit::predict::{Mapping, NetworkOptions, curve};
use segfit::recipe::{InputMode, InputSpec, Recipe};
use segfit::report::summary;
use segfit::survey::{SurveyOptions, survey};
use segfit_engine::backend::Backend as _;
use segfit_engine::cpu::CpuBackend;
use segfit_engine::lineage::Lineage;
use segfit_engine::material::Material;
use segfit_engine::segmenter::Segmenter;
use serde::Serialize;

use super::measure::{Measured, describe, profile_of};
use super::phantom::write_set;
use super::plan::write_plan;
use super::report::{Seen, write_whole_story};
use crate::context::Global;
use crate::interrupt;
use crate::report_files::{Extremes, PAGE, write_facts};
use crate::subject::subject;
use crate::table::Table;
use crate::training::{Training, train};

/// The whole story on built-in synthetic images, in about a minute
///
/// Makes a set of images with masks, measures how complex it is, predicts the accuracy of every size of a U-Net, plans
/// the smallest one that should keep 95% of the accuracy, trains that one and the full one on the CPU, compares, and writes all
/// of it as report.html.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep everything in this new folder; without it only report.html stays, in the system's folder for temporary files
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of images
    #[arg(long, default_value_t = 60, value_name = "N")]
    count: usize,
    /// Optimiser steps of each training
    #[arg(long, default_value_t = 160, value_name = "N")]
    steps: usize,
}

const SIZE: usize = 128;
const FULL_WIDTH: usize = 16;
const KEEP: f64 = 0.95;

/// What one network cost and reached.
#[derive(Clone, Debug, Serialize)]
struct Reached {
    params: u64,
    macs: u64,
    memory_bytes: u64,
    seconds: f64,
    dice: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Report {
    images: usize,
    constant_dice: f64,
    predicted_retention: segfit::predict::Interval,
    full: Reached,
    planned: Reached,
    retention: f64,
    seconds: f64,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let start = Instant::now();
    interrupt::listen()?;
    let temporary = tempfile::tempdir().context("making a temporary folder")?;
    let folder = args.out.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let say = |text: &str| global.say(text);

    let phantoms =
        PhantomOptions { count: args.count, size: SIZE, seed: global.seed, ..PhantomOptions::new(PhantomKind::Nuclei) };
    say(&format!("1. {} synthetic images of nuclei, {SIZE} x {SIZE} pixels, with masks\n", args.count))?;
    let data = folder.join("data");
    write_set(&phantoms, &data)?;
    let dataset = Dataset::open(&Options::new(&data))?;

    say("2. How complex are they?\n")?;
    let input = InputSpec { mode: InputMode::Resize, size: SIZE };
    say(&describe(&profile_of(&dataset, Measured::Train, &input, false)?))?;

    say("3. What accuracy will each size of a U-Net reach? Nothing is trained for this\n")?;
    let mapping = Mapping::embedded();
    let options = NetworkOptions {
        family: "unet".into(),
        in_channels: dataset.channels,
        classes: dataset.classes,
        full_width: FULL_WIDTH,
        depth: 4,
        size: SIZE,
    };
    let (subject, profile) = subject(&dataset, &input, None, global)?;
    say(&curve(mapping, &subject, &options)?.table())?;

    say("4. The smallest network that should keep 95% of the accuracy\n")?;
    let budgets = Budgets { keep: Some(KEEP), keep_bound: Bound::Likely, ..Budgets::default() };
    let space = Space::of_family(&options, &Freedom::default())?;
    let request = Request { mapping, subject: &subject, space: &space, budgets, objective: None, latency: None };
    let mut plan = request.plan()?;
    plan.input = Some(input);
    let command = format!("segfit plan DATA --width {FULL_WIDTH}");
    let ladder = request.ladder()?.completed(command, input, |_| Ok::<_, anyhow::Error>(None))?;
    say(&format!("{}\n\n{}", summary(&plan, global.columns()), plan.table()))?;
    if args.out.is_some() {
        write_plan(&plan, &profile, Some(&ladder), &folder, global)?;
    }

    say("5. Both are trained and tested on images that were not used so far\n")?;
    let recipe = Recipe { name: "demo".into(), steps: args.steps, ema: 0.97, ..Recipe::r0(input) };
    let material = Material::prepare(&dataset, &input)?;
    let full = unet(&families::Options {
        in_channels: dataset.channels,
        classes: dataset.classes,
        base_width: FULL_WIDTH,
        depth: 4,
        ..families::Options::default()
    })?;
    let judge = |network: &NetworkSpec, name: &str| {
        one(network, &recipe, &dataset, &material, &folder.join(name), name, global)
    };
    let (planned, planned_images) = judge(&plan.spec, "planned")?;
    let (full, full_images) = judge(&full, "full")?;
    let report = Report {
        images: material.test.len(),
        constant_dice: material.constant_dice()?,
        predicted_retention: plan.predicted.retention,
        retention: planned.dice / full.dice,
        full,
        planned,
        seconds: start.elapsed().as_secs_f64(),
    };
    if args.out.is_some() {
        write_json(&folder.join("demo.json"), &report)?;
    }
    global.print(&report, &compare(&report, args.steps))?;
    let seen =
        Seen { survey: survey(&dataset, &SurveyOptions::new(input))?, images: vec![planned_images, full_images] };
    let page = args.out.clone().unwrap_or_else(|| std::env::temp_dir().join("segfit-demo")).join(PAGE);
    let runs = [folder.join("planned"), folder.join("full")];
    write_whole_story(profile, plan, ladder, &runs, &seen, &page, global)
}

fn one(
    network: &NetworkSpec,
    recipe: &Recipe,
    dataset: &Dataset,
    material: &Material,
    folder: &Path,
    title: &str,
    global: &Global,
) -> Result<(Reached, Extremes)> {
    let backend = CpuBackend::detect();
    let lineage = &Lineage::default();
    let seed = global.seed;
    let training =
        Training { network, recipe, dataset, material, seed, folder, patience: None, lineage, kept: &[], title };
    let (run, done, _) = train(&backend, &training, global)?;
    let weights = done.trained.weights.clone();
    let mut segmenter =
        Segmenter::new(&backend, network, weights, material.normalisation.clone(), recipe.input).with_loss(recipe.loss);
    let metrics = material.evaluate(&mut segmenter)?;
    write_json(&folder.join("metrics.json"), &metrics)?;
    write_facts(folder, &done.trained, &run.info.engine)?;
    let sample = |name: &str| Ok(material.test.iter().find(|s| s.name == name).cloned());
    let images = Extremes::of(&metrics, &mut segmenter, sample)?;
    let cost = Cost::of(network, recipe.input.size)?;
    global.detail(&format!("{title}: {} steps on {}", done.trained.steps, backend.name()));
    let reached = Reached {
        params: cost.params,
        macs: cost.macs,
        memory_bytes: cost.memory_bytes(),
        seconds: done.trained.seconds,
        dice: metrics.dice.mean,
        low: metrics.dice.low,
        high: metrics.dice.high,
    };
    Ok((reached, images))
}

fn compare(report: &Report, steps: usize) -> String {
    let mut table = Table::new(&["<network", "parameters", "MACs", "memory", "training", "test Dice (95%)"]);
    for (name, r) in [("full", &report.full), ("planned", &report.planned)] {
        table.row(vec![
            name.to_string(),
            count(r.params),
            count(r.macs),
            format!("{:.0} KiB", r.memory_bytes as f64 / 1024.0),
            format!("{:.1} s", r.seconds),
            format!("{:.3} ({:.3} to {:.3})", r.dice, r.low, r.high),
        ]);
    }
    let predicted = report.predicted_retention;
    format!(
        "{}\n{:.0}x fewer parameters kept {:.1}% of the accuracy; predicted: {:.1}% ({:.1} to {:.1}%).\nThe best mask \
         that is the same for all images has Dice {:.3}. The prediction stands for longer trainings than these {steps} \
         steps.\n{:.0} s in all. Next: segfit plan --help",
        table,
        report.full.params as f64 / report.planned.params as f64,
        100.0 * report.retention,
        100.0 * predicted.mean,
        100.0 * predicted.low,
        100.0 * predicted.high,
        report.constant_dice,
        report.seconds
    )
}
