//! What `train`, `calibrate run` and `demo` share: a training with a progress bar that Ctrl-C stops cleanly.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use segfit::data::Dataset;
use segfit::files::{write_atomically, write_json};
use segfit::network::NetworkSpec;
use segfit::recipe::Recipe;
use segfit_engine::backend::Backend;
use segfit_engine::experiment::{ATTEMPTS, Attempt, attempt, attempt_seed};
use segfit_engine::lineage::Lineage;
use segfit_engine::material::Material;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::run_log::RunLog;
use segfit_engine::trainer::{Outcome, Progress, TrainOptions, Trained};
use serde::{Deserialize, Serialize};

use crate::context::Global;
use crate::failure::Interrupted;
use crate::interrupt;

/// What is trained.
pub struct Training<'a> {
    /// The network.
    pub network: &'a NetworkSpec,
    /// How.
    pub recipe: &'a Recipe,
    /// On what.
    pub dataset: &'a Dataset,
    /// The same, prepared.
    pub material: &'a Material,
    /// Seed of the first attempt.
    pub seed: u64,
    /// The run folder.
    pub folder: &'a Path,
    /// Stop when the validation Dice has not risen for this many reports.
    pub patience: Option<usize>,
    /// What is taken over from earlier trainings.
    pub lineage: &'a Lineage,
    /// Names and contents of files that are kept with the run.
    pub kept: &'a [(&'static str, Vec<u8>)],
    /// Words in front of the progress bar.
    pub title: &'a str,
}

/// `attempts.json`: trainings of this run that collapsed, with their seeds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Attempts {
    format: String,
    collapsed_seeds: Vec<u64>,
}

const ATTEMPTS_FORMAT: &str = "segfit-attempts/1";

/// Trains into the run folder, going on where an earlier call stopped. A collapsed training is moved to
/// `collapsed-K/` and tried again with another seed.
///
/// # Errors
/// [`Interrupted`] after a clean stop; whatever the training reports.
pub fn train(backend: &dyn Backend, training: &Training<'_>, global: &Global) -> Result<(RunFolder, Attempt, u32)> {
    let file = training.folder.join("attempts.json");
    let mut attempts = if file.exists() {
        segfit::files::read_json(&file, ATTEMPTS_FORMAT)?
    } else {
        Attempts { format: ATTEMPTS_FORMAT.into(), collapsed_seeds: Vec::new() }
    };
    loop {
        let number = attempts.collapsed_seeds.len() as u32;
        let (run, done) = one_attempt(backend, training, number, global)?;
        if done.trained.outcome == Outcome::Interrupted {
            return Err(Interrupted.into());
        }
        if !done.collapsed || number + 1 >= ATTEMPTS {
            return Ok((run, done, number));
        }
        global.note(&format!(
            "{}: attempt {} collapsed (no better than a constant mask on the training images); trying another seed",
            training.title,
            number + 1
        ));
        set_aside(training.folder, number)?;
        attempts.collapsed_seeds.push(attempt_seed(training.seed, number));
        write_json(&file, &attempts)?;
    }
}

fn one_attempt(
    backend: &dyn Backend,
    training: &Training<'_>,
    number: u32,
    global: &Global,
) -> Result<(RunFolder, Attempt)> {
    let Training { network, recipe, dataset, material, folder, lineage, kept, title, .. } = *training;
    let steps = recipe.steps_for(network.base_width);
    let seed = attempt_seed(training.seed, number);
    let run = RunFolder::create(
        folder,
        network,
        recipe,
        dataset,
        &material.normalisation,
        &backend.name(),
        seed,
        lineage.record(),
    )?;
    for (name, bytes) in kept {
        write_atomically(&folder.join(name), bytes)?;
    }
    let options = TrainOptions {
        seed,
        folder: Some(folder.to_path_buf()),
        run: run.info.id.clone(),
        report_every: (steps / 20).max(1),
        patience: training.patience,
        lineage: lineage.clone(),
    };
    let bar = global.bar(steps, title);
    let mut show = |p: &Progress| {
        bar.set_position(p.step as u64);
        let dice = p.validation_dice.map(|d| format!(", validation Dice {d:.3}")).unwrap_or_default();
        bar.set_message(format!("loss {:.3}{dice}", p.loss));
        !interrupt::asked()
    };
    let done = attempt(backend, network, recipe, material, &options, &mut show)
        .with_context(|| format!("training into {}", folder.display()))?;
    bar.finish_and_clear();
    Ok((run, done))
}

/// Seconds of all steps: extrapolated from those of this call, or those of the log where none was left.
///
/// # Errors
/// When the log cannot be read.
pub fn seconds_of_all(folder: &Path, trained: &Trained) -> Result<f64> {
    if trained.steps_here == 0 {
        return Ok(RunLog::seconds(&RunLog::lines(folder)?));
    }
    Ok(trained.seconds / trained.steps_here as f64 * trained.steps as f64)
}

/// Where a collapsed attempt is kept.
pub fn collapsed_folder(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("collapsed-{number}"))
}

/// Moves what a collapsed attempt wrote into a folder of its own.
fn set_aside(folder: &Path, number: u32) -> Result<()> {
    let aside = collapsed_folder(folder, number);
    std::fs::create_dir_all(&aside)?;
    for name in ["run.json", "checkpoint.safetensors", "weights.safetensors", "best.safetensors", "log.jsonl"] {
        let from: PathBuf = folder.join(name);
        if from.exists() {
            std::fs::rename(&from, aside.join(name))?;
        }
    }
    Ok(())
}
