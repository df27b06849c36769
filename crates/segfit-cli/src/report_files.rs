//! Where a report is written, and what of a run it shows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use segfit::data::Sample;
use segfit::evaluate::{Evaluation, ImageScore};
use segfit::files::{read_json, write_atomically, write_json};
use segfit::plan::{LADDER_FORMAT, Ladder, Plan};
use segfit::report::{Facts, LogPoint, Rendered, ShownImage};
use segfit::survey::thumbnail;
use segfit_engine::run_folder::RunInfo;
use segfit_engine::run_log::RunLog;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::trainer::Trained;
use serde::{Deserialize, Serialize};

use crate::context::Global;
use crate::together::write_together;
use crate::training::seconds_of_all;

/// Name of the page in the folder of a plan or a run.
pub const PAGE: &str = "report.html";

/// Name of the plans of other sizes, beside a plan.
pub const SIZES: &str = "sizes.json";

/// Images of highest and of lowest Dice that are shown.
const SHOWN: usize = 4;

/// Pixels of the longer side of a thumbnail.
const SIDE: usize = 160;

/// Writes the page, and its figures into the folder of the same name without `.html`.
///
/// # Errors
/// When something cannot be written.
pub fn write_report(rendered: &Rendered, page: &Path, global: &Global) -> Result<()> {
    let folder = page.with_extension("");
    let files: Vec<(PathBuf, Vec<u8>)> =
        rendered.files.iter().map(|(name, text)| (folder.join(name), text.clone().into_bytes())).collect();
    write_together(&folder, &files)?;
    write_atomically(page, rendered.html.as_bytes())?;
    global.note(&format!("report: {} (open it in a browser)", page.display()));
    Ok(())
}

/// The plans of other sizes beside a plan, where they are of the same data and mapping.
///
/// # Errors
/// When the file cannot be read.
pub fn ladder_beside(plan: &Plan, folder: &Path) -> Result<Option<Ladder>> {
    let path = folder.join(SIZES);
    if !path.exists() {
        return Ok(None);
    }
    let ladder: Ladder = read_json(&path, LADDER_FORMAT)?;
    let fits = |other: &Plan| other.dataset == plan.dataset && other.mapping == plan.mapping && other.full == plan.full;
    Ok(Some(ladder).filter(|l| l.rungs.iter().all(|r| fits(&r.plan))))
}

/// `training.json`: what a training took.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TrainingFacts {
    /// [`TRAINING_FORMAT`].
    format: String,
    /// Optimiser steps.
    steps: usize,
    /// Seconds of all steps, as [`seconds_of_all`] knows them.
    seconds: f64,
    /// Bytes that training needed at most.
    peak_bytes: u64,
    /// Device and instruction set.
    engine: String,
}

/// `format` of [`TrainingFacts`].
const TRAINING_FORMAT: &str = "segfit-training/1";

/// Name of [`TrainingFacts`] in a run's folder.
const TRAINING: &str = "training.json";

/// Writes `training.json`; an earlier call's stays when this one had nothing left to do.
///
/// # Errors
/// When it cannot be written, or the log cannot be read.
pub fn write_facts(folder: &Path, trained: &Trained, engine: &str) -> Result<()> {
    let path = folder.join(TRAINING);
    if trained.steps_here == 0 && path.exists() {
        return Ok(());
    }
    let facts = TrainingFacts {
        format: TRAINING_FORMAT.into(),
        steps: trained.steps,
        seconds: seconds_of_all(folder, trained)?,
        peak_bytes: trained.bytes,
        engine: engine.into(),
    };
    Ok(write_json(&path, &facts)?)
}

/// What is known of a run's training.
///
/// # Errors
/// When `training.json` or the log cannot be read.
pub fn facts(folder: &Path, info: &RunInfo) -> Result<(Facts, Vec<LogPoint>)> {
    let path = folder.join(TRAINING);
    let took: Option<TrainingFacts> = path.exists().then(|| read_json(&path, TRAINING_FORMAT)).transpose()?;
    let log: Vec<LogPoint> = RunLog::lines(folder)?
        .iter()
        .map(|l| LogPoint { step: l.step, loss: l.loss, validation_dice: l.validation_dice })
        .collect();
    let facts = Facts {
        steps: took.as_ref().map_or_else(|| log.last().map_or(0, |l| l.step), |t| t.steps),
        seconds: took.as_ref().map(|t| t.seconds),
        peak_bytes: took.as_ref().map(|t| t.peak_bytes),
        engine: took.as_ref().map_or_else(|| info.engine.clone(), |t| t.engine.clone()),
        recipe: info.recipe.name.clone(),
        seed: info.seed,
    };
    Ok((facts, log))
}

/// Names of the test images to show: the highest Dice first, then the lowest, and none twice.
fn extremes<'a>(evaluation: &'a Evaluation) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut ranked: Vec<&'a ImageScore> = evaluation.per_image.iter().collect();
    ranked.sort_by(|a, b| a.dice.total_cmp(&b.dice).then_with(|| a.name.cmp(&b.name)));
    let low = SHOWN.min(ranked.len().div_ceil(2));
    let high = SHOWN.min(ranked.len() - low);
    let names = |images: &[&'a ImageScore]| images.iter().map(|i| i.name.as_str()).collect::<Vec<&'a str>>();
    let mut best = names(&ranked[ranked.len() - high..]);
    best.reverse();
    (best, names(&ranked[..low]))
}

/// The test images that a report shows of a run.
#[derive(Clone, Debug, Default)]
pub struct Extremes {
    /// Those of highest Dice.
    pub best: Vec<ShownImage>,
    /// Those of lowest Dice.
    pub worst: Vec<ShownImage>,
}

impl Extremes {
    /// The images that an evaluation says, with the outlines of their true and predicted masks.
    ///
    /// # Errors
    /// As [`shown`].
    pub fn of(
        evaluation: &Evaluation,
        segmenter: &mut Segmenter<'_>,
        sample: impl Fn(&str) -> Result<Option<Sample>>,
    ) -> Result<Self> {
        let (best, worst) = extremes(evaluation);
        Ok(Self {
            best: shown(&best, evaluation, segmenter, &sample)?,
            worst: shown(&worst, evaluation, segmenter, &sample)?,
        })
    }
}

/// Some test images with the outlines of their true and predicted masks.
///
/// # Errors
/// When the device fails.
fn shown(
    names: &[&str],
    evaluation: &Evaluation,
    segmenter: &mut Segmenter<'_>,
    sample: &impl Fn(&str) -> Result<Option<Sample>>,
) -> Result<Vec<ShownImage>> {
    let mut images = Vec::new();
    for &name in names {
        let Some(sample) = sample(name)? else { continue };
        let predicted = segmenter.segment_prepared(&sample.image).with_context(|| format!("segmenting {name}"))?;
        let (height, width, png) = thumbnail(&sample.image, Some(&sample.mask), Some(&predicted), SIDE);
        let dice = evaluation.per_image.iter().find(|i| i.name == name).map_or(f64::NAN, |i| i.dice);
        images.push(ShownImage { name: name.into(), words: format!("Dice {dice:.3}"), height, width, png });
    }
    Ok(images)
}
