//! The training loop: a recipe, step by step, with logs, checkpoints and resumption.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use segfit::data::{Normalisation, Sample};
use segfit::evaluate;
use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::random::Stream;
use segfit::recipe::Recipe;

use crate::augment::{self, Source};
use crate::backend::{Backend, Executor, Optimiser, TrainingSpec};
use crate::checkpoint::{load_checkpoint, save_checkpoint, save_weights};
use crate::error::{Error, Result};
use crate::initialise::initialise;
use crate::optimiser::learning_rate;
use crate::run_log::{LogLine, RunLog};
use crate::segmenter::Segmenter;
use crate::state::{State, Weights};

const ORDER: u64 = 1;
const VIEW: u64 = 2;

/// What is trained on; images are at the network's scale and not normalised.
pub struct TrainingData<'a> {
    /// Training images.
    pub train: Vec<Source>,
    /// Validation images, possibly none.
    pub validation: &'a [Sample],
    /// Statistics of the training images.
    pub normalisation: Normalisation,
}

/// How a training is run.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Decides initial weights, order and augmentation.
    pub seed: u64,
    /// Where logs and checkpoints go; nothing is written without it.
    pub folder: Option<PathBuf>,
    /// Identifies plan, data, recipe and seed; a checkpoint of another run is refused.
    pub run: String,
    /// Steps between log lines (and measurements of the validation Dice).
    pub report_every: usize,
    /// Stop when the validation Dice has not risen for this many reports.
    pub patience: Option<usize>,
}

/// What is reported while training.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss of the last step.
    pub loss: f64,
    /// Last validation Dice, where measured.
    pub validation_dice: Option<f64>,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were done.
    Finished,
    /// The validation Dice had stopped rising.
    StoppedEarly,
    /// The caller asked for a stop; the checkpoint holds everything that a resumed training needs.
    Interrupted,
}

/// The result of a training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The averaged weights.
    pub weights: Weights,
    /// Why it ended.
    pub outcome: Outcome,
    /// Steps done in all.
    pub steps: usize,
    /// Mean loss since the last report but one.
    pub final_loss: f64,
    /// Seconds of this call.
    pub seconds: f64,
    /// Steps done by this call.
    pub steps_here: usize,
    /// Validation Dice at the last report.
    pub validation_dice: Option<f64>,
    /// Bytes that the training executor held.
    pub bytes: u64,
}

/// Trains `spec` by `recipe`, from the folder's checkpoint where there is one.
///
/// `progress` is called after every step; when it returns false the training saves and stops. Files in the folder:
/// `checkpoint.safetensors`, `weights.safetensors` (the average, at the end), `best.safetensors` (the average with the
/// best validation Dice), `log.jsonl` and TensorBoard events.
///
/// # Errors
/// [`Error::NoTrainingImages`], [`Error::Diverged`], or what the device or the disk reports.
pub fn train(
    backend: &dyn Backend,
    spec: &NetworkSpec,
    recipe: &Recipe,
    data: &TrainingData<'_>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Trained> {
    if data.train.is_empty() {
        return Err(Error::NoTrainingImages);
    }
    let start = Instant::now();
    let mut run = Run::open(backend, spec, recipe, data, options)?;
    let first = run.state_step;
    let outcome = run.work(recipe, data, options, start, progress)?;
    let state = run.executor.state()?;
    run.save(&state)?;
    let weights = state.averaged();
    if outcome != Outcome::Interrupted
        && let Some(folder) = &options.folder
    {
        save_weights(&folder.join("weights.safetensors"), spec, &weights)?;
    }
    Ok(Trained {
        weights,
        outcome,
        steps: state.step,
        final_loss: run.mean_loss,
        seconds: start.elapsed().as_secs_f64(),
        steps_here: state.step - first,
        validation_dice: run.dice.last().copied(),
        bytes: run.executor.bytes(),
    })
}

/// Where a run folder keeps its checkpoint.
#[must_use]
pub fn checkpoint_path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

struct Run<'a> {
    spec: &'a NetworkSpec,
    options: &'a TrainOptions,
    executor: Box<dyn Executor>,
    segmenter: Segmenter<'a>,
    log: Option<RunLog>,
    state_step: usize,
    images: Vec<f32>,
    targets: Vec<u8>,
    /// Validation Dice at each report so far, resumed ones included.
    dice: Vec<f64>,
    mean_loss: f64,
}

impl<'a> Run<'a> {
    fn open(
        backend: &'a dyn Backend,
        spec: &'a NetworkSpec,
        recipe: &Recipe,
        data: &TrainingData<'_>,
        options: &'a TrainOptions,
    ) -> Result<Self> {
        let size = recipe.input.size;
        let schedule = Schedule::new(spec, Mode::Train, recipe.batch, size, size)?;
        let training = TrainingSpec {
            loss: recipe.loss,
            optimiser: Optimiser::AdamW { weight_decay: recipe.weight_decay },
            average_decay: recipe.ema,
        };
        let mut executor = backend.compile(spec, schedule, Some(training))?;
        let state = match options.folder.as_deref().map(checkpoint_path) {
            Some(path) if path.exists() => load_checkpoint(&path, spec, &options.run)?,
            _ => State::fresh(initialise(spec, options.seed)?),
        };
        executor.set_state(&state)?;
        let log = options.folder.as_deref().map(|f| RunLog::open(f, state.step)).transpose()?;
        let dice = match &options.folder {
            Some(folder) => RunLog::validation_dice(folder)?,
            None => Vec::new(),
        };
        let weights = state.averaged();
        let pixels = recipe.batch * size * size;
        Ok(Self {
            spec,
            options,
            executor,
            segmenter: Segmenter::new(backend, spec, weights, data.normalisation.clone(), recipe.input),
            log,
            state_step: state.step,
            images: vec![0.0; pixels * spec.in_channels()],
            targets: vec![0; pixels],
            dice,
            mean_loss: f64::NAN,
        })
    }

    fn work(
        &mut self,
        recipe: &Recipe,
        data: &TrainingData<'_>,
        options: &TrainOptions,
        start: Instant,
        progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Outcome> {
        let peak = recipe.peak_learning_rate(self.spec.base_width);
        let (mut sum, mut count) = (0.0, 0_u32);
        for step in self.state_step..recipe.steps {
            self.fill_batch(recipe, data, step);
            let rate = learning_rate(step, recipe.steps, recipe.warmup, peak);
            let loss = self.executor.train_step(&self.images, &self.targets, rate)?.total;
            if !loss.is_finite() {
                return Err(Error::Diverged { step: step + 1, loss });
            }
            (sum, count) = (sum + loss, count + 1);
            let done = step + 1;
            let report = done.is_multiple_of(options.report_every.max(1)) || done == recipe.steps;
            if report {
                self.mean_loss = sum / f64::from(count);
                (sum, count) = (0.0, 0);
                self.report(data, done, rate, start)?;
            }
            let now = Progress { step: done, steps: recipe.steps, loss, validation_dice: self.dice.last().copied() };
            if !progress(&now) && done < recipe.steps {
                return Ok(Outcome::Interrupted);
            }
            if report && done < recipe.steps && self.has_stopped_rising() {
                return Ok(Outcome::StoppedEarly);
            }
        }
        Ok(Outcome::Finished)
    }

    fn fill_batch(&mut self, recipe: &Recipe, data: &TrainingData<'_>, step: usize) {
        let pixels = recipe.input.size * recipe.input.size;
        let seed = self.options.seed;
        let n = data.train.len();
        let images = self.images.par_chunks_exact_mut(pixels * self.spec.in_channels());
        let targets = self.targets.par_chunks_exact_mut(pixels);
        images.zip(targets).enumerate().for_each(|(i, (image, target))| {
            let position = step * recipe.batch + i;
            let (epoch, within) = (position / n, position % n);
            let order = Stream::new(&[seed, ORDER, epoch as u64]).permutation(n);
            let mut stream = Stream::new(&[seed, VIEW, position as u64]);
            let source = &data.train[order[within]];
            augment::draw(source, &recipe.input, &recipe.augmentation, &mut stream, image, target);
            normalise(&data.normalisation, image, pixels);
        });
    }

    fn report(&mut self, data: &TrainingData<'_>, done: usize, rate: f32, start: Instant) -> Result<()> {
        let state = self.executor.state()?;
        let mut validation_dice = None;
        if !data.validation.is_empty() {
            self.segmenter.set_weights(state.averaged())?;
            let dice = mean_dice(&mut self.segmenter, data.validation)?;
            validation_dice = Some(dice);
            let best = self.dice.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            self.dice.push(dice);
            if dice > best
                && let Some(folder) = &self.options.folder
            {
                save_weights(&folder.join("best.safetensors"), self.spec, &state.averaged())?;
            }
        }
        if let Some(log) = &mut self.log {
            let seconds = start.elapsed().as_secs_f64();
            log.append(&LogLine { step: done, loss: self.mean_loss, learning_rate: rate, validation_dice, seconds })?;
        }
        self.save(&state)
    }

    fn save(&self, state: &State) -> Result<()> {
        match &self.options.folder {
            Some(folder) => save_checkpoint(&checkpoint_path(folder), self.spec, state, &self.options.run),
            None => Ok(()),
        }
    }

    fn has_stopped_rising(&self) -> bool {
        let Some(patience) = self.options.patience else { return false };
        let best = (0..self.dice.len()).fold(0, |b, i| if self.dice[i] > self.dice[b] { i } else { b });
        self.dice.len() > best + patience
    }
}

fn normalise(normalisation: &Normalisation, image: &mut [f32], pixels: usize) {
    for (c, plane) in image.chunks_exact_mut(pixels).enumerate() {
        let (mean, scale) = (normalisation.mean[c], 1.0 / normalisation.std[c]);
        plane.iter_mut().for_each(|v| *v = (*v - mean) * scale);
    }
}

/// Mean over images of the mean Dice of the foreground classes, at the network's scale.
///
/// # Errors
/// When the device fails.
pub fn mean_dice(segmenter: &mut Segmenter<'_>, samples: &[Sample]) -> Result<f64> {
    let mut sum = 0.0;
    for Sample { image, mask, .. } in samples {
        let predicted = segmenter.segment_prepared(image)?;
        let classes = segmenter.classes();
        let each = (1..classes).map(|c| evaluate::dice(&predicted, mask, c as u8));
        sum += each.sum::<f64>() / (classes - 1) as f64;
    }
    Ok(sum / samples.len() as f64)
}

/// Samples at the network's scale, ready to be drawn from.
#[must_use]
pub fn sources(samples: Vec<Sample>) -> Vec<Source> {
    samples.into_iter().map(Source::new).collect()
}
