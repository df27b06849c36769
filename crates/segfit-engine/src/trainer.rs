//! The training loop: a recipe, step by step, with logs, checkpoints and resumption.

use std::path::{Path, PathBuf};
use std::time::Instant;

use segfit::data::{Normalisation, Sample};
use segfit::evaluate;
use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::Recipe;

use crate::backend::{Backend, Executor, Optimiser, TrainingSpec};
use crate::batches::Batches;
use crate::check::check;
use crate::checkpoint::{load_checkpoint, save_checkpoint, save_weights};
use crate::error::{Error, Result};
use crate::initialise::initialise;
use crate::lineage::Lineage;
use crate::optimiser::learning_rate;
use crate::run_log::{LogLine, RunLog};
use crate::segmenter::Segmenter;
use crate::state::{State, Weights};
use crate::teaching::Teaching;

/// What is trained on; images are at the network's scale and not normalised.
pub struct TrainingData<'a> {
    /// Training images.
    pub train: &'a [Sample],
    /// Validation images, possibly none.
    pub validation: &'a [Sample],
    /// Statistics of the training images.
    pub normalisation: &'a Normalisation,
}

/// How a training is run.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Decides initial weights, order, augmentation and dropout.
    pub seed: u64,
    /// Where logs and checkpoints go; nothing is written without it.
    pub folder: Option<PathBuf>,
    /// Identifies plan, data, recipe and seed; a checkpoint of another run is refused.
    pub run: String,
    /// Steps between log lines (and measurements of the validation Dice).
    pub report_every: usize,
    /// Stop when the validation Dice has not risen for this many reports; needs validation images.
    pub patience: Option<usize>,
    /// What is taken over from earlier trainings.
    pub lineage: Lineage,
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
    /// Mean loss of the last log line; not a number before the first report.
    pub final_loss: f64,
    /// Seconds of this call.
    pub seconds: f64,
    /// Steps done by this call.
    pub steps_here: usize,
    /// Validation Dice at the last report.
    pub validation_dice: Option<f64>,
    /// Bytes that the training executor held, and the teacher's with its logits.
    pub bytes: u64,
}

/// Trains `spec` by `recipe`, from the folder's checkpoint where there is one.
///
/// Auxiliary heads are trained with the output and have their weights in all files; the loss that is reported is the
/// output's, and the validation Dice is that of the deployed network.
///
/// `progress` is called after every step; when it returns false the training saves and stops. Files in the folder:
/// `checkpoint.safetensors`, `weights.safetensors` (the average, at the end), `best.safetensors` (the average with the
/// best validation Dice), `log.jsonl` and TensorBoard events.
///
/// # Errors
/// [`Error::NoTrainingImages`]; an option error when images, recipe and network do not fit together;
/// [`Error::Checkpoint`] when the folder's checkpoint is damaged or of another run; [`Error::Diverged`], the last good
/// checkpoint being kept; or what the device or the disk reports.
pub fn train(
    backend: &dyn Backend,
    spec: &NetworkSpec,
    recipe: &Recipe,
    data: &TrainingData<'_>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Trained> {
    check(spec, recipe, data, options)?;
    let start = Instant::now();
    let mut run = Run::open(backend, spec, recipe, data, options)?;
    let first = run.first_step;
    let outcome = run.work(recipe, data.validation, start, progress)?;
    let state = run.sound_state()?;
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
        bytes: run.executor.bytes() + run.teaching.as_ref().map_or(0, Teaching::bytes),
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
    teaching: Option<Teaching>,
    segmenter: Segmenter<'a>,
    batches: Batches<'a>,
    log: Option<RunLog>,
    /// Steps that were done before this call.
    first_step: usize,
    /// Steps that the checkpoint on disk has done.
    saved_step: Option<usize>,
    /// Validation Dice at each report so far, resumed ones included.
    dice: Vec<f64>,
    /// Loss of the last step.
    loss: f64,
    /// Loss of the last log line.
    mean_loss: f64,
}

impl<'a> Run<'a> {
    fn open(
        backend: &'a dyn Backend,
        spec: &'a NetworkSpec,
        recipe: &Recipe,
        data: &TrainingData<'a>,
        options: &'a TrainOptions,
    ) -> Result<Self> {
        let size = recipe.input.size;
        let schedule = Schedule::new(spec, Mode::Train, recipe.batch, size, size)?;
        spec.check_output_size(size, size)?;
        let training = TrainingSpec {
            loss: recipe.loss,
            optimiser: Optimiser::AdamW { weight_decay: recipe.weight_decay },
            average_decay: recipe.ema,
            seed: options.seed,
        };
        let mut executor = backend.compile(spec, schedule, Some(training))?;
        let teacher = options.lineage.teacher.as_ref();
        let teaching = teacher.map(|t| Teaching::new(backend, t, spec, recipe, data.normalisation)).transpose()?;
        let checkpoint = options.folder.as_deref().map(checkpoint_path).filter(|path| path.exists());
        let state = match &checkpoint {
            Some(path) => load_checkpoint(path, spec, &options.run)?,
            None => State::fresh(match &options.lineage.init {
                Some(init) => init.weights.clone(),
                None => initialise(spec, options.seed)?,
            }),
        };
        let (log, lines) = match options.folder.as_deref() {
            Some(folder) => (Some(RunLog::open(folder, state.step)?), RunLog::lines(folder)?),
            None => (None, Vec::new()),
        };
        let segmenter = Segmenter::new(backend, spec, state.averaged(), data.normalisation.clone(), recipe.input);
        let step = state.step;
        executor.set_state(state)?;
        Ok(Self {
            spec,
            options,
            executor,
            teaching,
            segmenter: segmenter.with_loss(recipe.loss),
            batches: Batches::new(data.train, data.normalisation, recipe, options.seed),
            log,
            first_step: step,
            saved_step: checkpoint.map(|_| step),
            dice: lines.iter().filter_map(|line| line.validation_dice).collect(),
            loss: f64::NAN,
            mean_loss: lines.last().map_or(f64::NAN, |line| line.loss),
        })
    }

    fn work(
        &mut self,
        recipe: &Recipe,
        validation: &[Sample],
        start: Instant,
        progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Outcome> {
        let peak = recipe.peak_learning_rate(self.spec.base_width);
        let steps = recipe.steps_for(self.spec.base_width);
        let (mut sum, mut count) = (0.0, 0_u32);
        // A run that was interrupted just when it would have stopped, or had stopped, stops again.
        if self.first_step < steps && self.has_stopped_rising() {
            return Ok(Outcome::StoppedEarly);
        }
        for step in self.first_step..steps {
            let (done, last) = (step + 1, step + 1 == steps);
            let rate = learning_rate(step, steps, recipe.warmup, peak);
            self.batches.fill(step);
            let Batches { images, targets, .. } = &self.batches;
            let soft = self.teaching.as_mut().map(|teaching| teaching.soft_targets(images)).transpose()?;
            self.loss = self.executor.train_step(images, targets, soft, rate)?.total;
            if !self.loss.is_finite() {
                return Err(Error::Diverged { step: done, loss: self.loss });
            }
            (sum, count) = (sum + self.loss, count + 1);
            let report = last || done.is_multiple_of(self.options.report_every.max(1));
            if report {
                self.mean_loss = sum / f64::from(count);
                (sum, count) = (0.0, 0);
                self.report(validation, done, rate, start)?;
            }
            let (loss, validation_dice) = (self.loss, self.dice.last().copied());
            if !progress(&Progress { step: done, steps, loss, validation_dice }) && !last {
                return Ok(Outcome::Interrupted);
            }
            if report && !last && self.has_stopped_rising() {
                return Ok(Outcome::StoppedEarly);
            }
        }
        Ok(Outcome::Finished)
    }

    fn report(&mut self, validation: &[Sample], step: usize, rate: f32, start: Instant) -> Result<()> {
        let state = self.sound_state()?;
        let validation_dice = match validation {
            [] => None,
            _ => Some(self.measure(validation, &state)?),
        };
        if let Some(log) = &mut self.log {
            let seconds = start.elapsed().as_secs_f64();
            log.append(&LogLine { step, loss: self.mean_loss, learning_rate: rate, validation_dice, seconds })?;
        }
        self.save(&state)
    }

    /// The Dice of the averaged weights; the best so far are kept in a file.
    fn measure(&mut self, validation: &[Sample], state: &State) -> Result<f64> {
        self.segmenter.set_weights(state.averaged())?;
        let dice = mean_dice(&mut self.segmenter, validation)?;
        let best = self.dice.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.dice.push(dice);
        if dice > best
            && let Some(folder) = &self.options.folder
        {
            save_weights(&folder.join("best.safetensors"), self.spec, self.segmenter.weights())?;
        }
        Ok(dice)
    }

    /// The executor's state if all of it is finite: a last step can break the weights and still have a finite loss.
    fn sound_state(&self) -> Result<State> {
        let state = self.executor.state()?;
        let all = [&state.trained, &state.running, &state.average_trained, &state.average_running];
        if all.iter().any(|values| values.iter().any(|v| !v.is_finite())) {
            return Err(Error::Diverged { step: state.step, loss: self.loss });
        }
        Ok(state)
    }

    fn save(&mut self, state: &State) -> Result<()> {
        if let Some(folder) = &self.options.folder
            && self.saved_step != Some(state.step)
        {
            save_checkpoint(&checkpoint_path(folder), self.spec, state, &self.options.run)?;
            self.saved_step = Some(state.step);
        }
        Ok(())
    }

    fn has_stopped_rising(&self) -> bool {
        let Some(patience) = self.options.patience else { return false };
        let best = (0..self.dice.len()).fold(0, |b, i| if self.dice[i] > self.dice[b] { i } else { b });
        self.dice.len() > best + patience
    }
}

/// Mean over images of the mean Dice of the foreground classes, at the network's scale: from 0 to 1, larger is better,
/// and not a number when there are no images.
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
