//! Working through a manifest: one training and one record for each job, resumable at every point.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use segfit::complexity::{Cache, MeasureOptions, profile_dataset};
use segfit::cost::Cost;
use segfit::data::{Dataset, Options, Split};
use segfit::files::write_atomically;
use segfit::network::NetworkSpec;
use segfit::predict::{
    DatasetId, ImageCounts, ImageScore, Job, Manifest, Measures, RECORD_FORMAT, RecipeId, Record, collect,
};
use segfit_engine::backend::Backend;
use segfit_engine::checkpoint::load_weights;
use segfit_engine::experiment::{Attempt, attempt_seed};
use segfit_engine::lineage::Lineage;
use segfit_engine::material::Material;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::run_log::RunLog;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::state::Weights;

use crate::claim::{Claim, lock_path};
use crate::context::Global;
use crate::failure::{Interrupted, is_of_the_disk, message};
use crate::interrupt;
use crate::together::make_folder;
use crate::training::{Training, collapsed_folder, seconds_of_all, train};

/// A data set that several jobs in a row use.
struct Loaded {
    path: String,
    input: segfit::recipe::InputSpec,
    dataset: Dataset,
    material: Material,
    measures: Measures,
}

/// Where a job's record is.
pub fn record_path(out: &Path, job: &str) -> PathBuf {
    out.join("records").join(format!("{job}.jsonl"))
}

/// Where a job trains; removed when its record is written.
pub fn run_folder(out: &Path, job: &str) -> PathBuf {
    out.join("runs").join(job)
}

/// Why a job failed the last time, if it did.
pub fn failure(out: &Path, job: &str) -> Option<String> {
    std::fs::read_to_string(failure_path(out, job)).ok().map(|text| text.trim_end().to_string())
}

fn failure_path(out: &Path, job: &str) -> PathBuf {
    out.join("failed").join(format!("{job}.txt"))
}

/// How a job ended.
enum End {
    Done,
    Failed,
    /// Another process is at it, or has just done it.
    Elsewhere,
}

/// Does the jobs that have no record yet: all, until `time` is over, or only number `index`. A job that fails is noted and
/// the others go on, unless the disk is full or for reading only.
pub fn run(
    manifest: &Manifest,
    out: &Path,
    backend: &dyn Backend,
    index: Option<usize>,
    time: Option<Duration>,
    global: &Global,
) -> Result<()> {
    let start = Instant::now();
    let jobs: Vec<&Job> = match index {
        Some(i) => match manifest.jobs.get(i) {
            Some(job) => vec![job],
            None => bail!("--index {i}: the manifest has {} jobs, counted from 0", manifest.jobs.len()),
        },
        None => manifest.jobs.iter().collect(),
    };
    for folder in ["records", "runs", "locks", "failed"] {
        make_folder(&out.join(folder))?;
    }
    let cache = Cache::open(&out.join("cache"))?;
    let (finished, todo): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|j| record_path(out, &j.id).exists());
    tidy_done(out, &finished)?;
    global.note(&format!("{} of {} trainings are to be done", todo.len(), jobs.len()));
    let mut worker = Worker { manifest, out, backend, cache, loaded: None, global };
    let (mut done, mut failed, mut elsewhere) = (0, 0, 0);
    for job in &todo {
        if time.is_some_and(|t| start.elapsed() >= t) {
            break;
        }
        if interrupt::asked() {
            return Err(Interrupted.into());
        }
        match worker.work(job)? {
            End::Done => done += 1,
            End::Failed => failed += 1,
            End::Elsewhere => elsewhere += 1,
        }
    }
    let left = todo.len() - done - failed - elsewhere;
    let value = serde_json::json!({"done": done, "failed": failed, "elsewhere": elsewhere, "left": left});
    let mut text = format!("{done} trainings done, {left} left");
    if elsewhere > 0 {
        text += &format!(", {elsewhere} worked on by another process");
    }
    if failed > 0 {
        bail!("{text}; {failed} failed: `segfit calibrate status` says why");
    }
    global.print(&value, &text)
}

/// What one process works with.
struct Worker<'a> {
    manifest: &'a Manifest,
    out: &'a Path,
    backend: &'a dyn Backend,
    /// Values of images, so that every job of a data set measures them once.
    cache: Cache,
    loaded: Option<Loaded>,
    global: &'a Global,
}

impl Worker<'_> {
    /// Does one job.
    fn work(&mut self, job: &Job) -> Result<End> {
        let Some(claim) = Claim::of(self.out, &job.id)? else {
            self.global.note(&format!("{}: another process is at it", title(job)));
            return Ok(End::Elsewhere);
        };
        if record_path(self.out, &job.id).exists() {
            return Ok(End::Elsewhere);
        }
        match self.train(job) {
            Ok(line) => {
                self.global.note(&line);
                tidy(self.out, job)?;
                claim.done();
                Ok(End::Done)
            }
            // Where nothing can be written every other job would fail, too.
            Err(error) if error.is::<Interrupted>() || is_of_the_disk(&error) => Err(error),
            Err(error) => {
                let reason = message(&error);
                self.global.note(&format!("{}: failed: {reason}", title(job)));
                write_atomically(&failure_path(self.out, &job.id), format!("{reason}\n").as_bytes())?;
                Ok(End::Failed)
            }
        }
    }

    fn train(&mut self, job: &Job) -> Result<String> {
        let current = match self.loaded.take() {
            Some(l) if l.path == job.dataset.path && l.input == job.recipe.input => l,
            _ => self.load(job)?,
        };
        let line = one(job, &current, self.backend, self.out, self.global);
        self.loaded = Some(current);
        line
    }

    fn load(&self, job: &Job) -> Result<Loaded> {
        let input = job.recipe.input;
        let dataset = Dataset::open(&Options::new(&job.dataset.path))?;
        self.check_unchanged(job, &dataset)?;
        let material = Material::prepare(&dataset, &input)?;
        let options = MeasureOptions { cache: Some(&self.cache), ..MeasureOptions::new(input, "train") };
        let profile = profile_dataset(&dataset, &dataset.indices(Split::Train), &options)?.profile;
        let measures = profile.measures.iter().map(|(name, s)| (name.clone(), s.mean)).collect();
        Ok(Loaded { path: job.dataset.path.clone(), input, dataset, material, measures })
    }

    /// Records of one data set are fitted together, so all of its jobs must see the same images, masks and split.
    fn check_unchanged(&self, job: &Job, dataset: &Dataset) -> Result<()> {
        let of_same = self.manifest.jobs.iter().filter(|other| other.dataset.name == job.dataset.name);
        let Some(record) = of_same.map(|other| record_path(self.out, &other.id)).find(|path| path.exists()) else {
            return Ok(());
        };
        let records = collect(std::slice::from_ref(&record))?.records;
        if records.iter().all(|r| r.dataset.fingerprint == dataset.fingerprint) {
            return Ok(());
        }
        Err(segfit::Error::Content {
            path: PathBuf::from(&job.dataset.path),
            expected: format!("the images, masks and split that {} was made with", record.display()),
            got: "others".into(),
            hint: "put the old ones back, or calibrate the new ones into another folder with --out".into(),
        }
        .into())
    }
}

/// Removes what a job no longer needs when its record is written. The caller has the claim to it.
fn tidy(out: &Path, job: &Job) -> Result<()> {
    let (folder, failed) = (run_folder(out, &job.id), failure_path(out, &job.id));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    if failed.exists() {
        std::fs::remove_file(&failed).with_context(|| format!("removing {}", failed.display()))?;
    }
    Ok(())
}

/// The same for jobs whose process was killed between its record and this.
fn tidy_done(out: &Path, done: &[&Job]) -> Result<()> {
    for job in done {
        let leftovers = [run_folder(out, &job.id), failure_path(out, &job.id), lock_path(out, &job.id)];
        if leftovers.iter().any(|path| path.exists())
            && let Some(claim) = Claim::of(out, &job.id)?
        {
            tidy(out, job)?;
            claim.done();
        }
    }
    Ok(())
}

/// What a job trains, in a few words.
fn title(job: &Job) -> String {
    let Job { family, base_width, depth, seed, widths, .. } = job;
    let bent = match widths {
        Some(widths) => {
            format!(" bent ({})", widths.iter().map(|(g, n)| format!("{g}={n}")).collect::<Vec<_>>().join(" "))
        }
        None => String::new(),
    };
    format!("{} {family} width {base_width}{bent} depth {depth} seed {seed}", job.dataset.name)
}

/// Trains, evaluates and writes the record; a line for a person.
fn one(job: &Job, loaded: &Loaded, backend: &dyn Backend, out: &Path, global: &Global) -> Result<String> {
    let Loaded { dataset, material, .. } = loaded;
    let network = job.network(dataset.channels, dataset.classes)?;
    let folder = run_folder(out, &job.id);
    let title = title(job);
    let training = Training {
        network: &network,
        recipe: &job.recipe,
        dataset,
        material,
        seed: job.seed,
        folder: &folder,
        patience: None,
        lineage: &Lineage::default(),
        kept: &[],
        title: &title,
    };
    let (run, done, number) = train(backend, &training, global)?;
    let judged = Judged { job, loaded, network: &network, backend };
    let mut lines = String::new();
    for earlier in 0..number {
        let ended = Ended::collapsed(&collapsed_folder(&folder, earlier), &network, earlier)?;
        lines += &judged.record(ended)?.line()?;
        lines.push('\n');
    }
    let record = judged.record(Ended::of(&done, number, seconds_of_all(&folder, &done.trained)?, run.info.engine))?;
    lines += &record.line()?;
    lines.push('\n');
    write_atomically(&record_path(out, &job.id), lines.as_bytes())?;
    // What a person sees while experiments run must not tempt to choose by test images: the scores are in the record only.
    let note = if record.collapsed { ", COLLAPSED" } else { "" };
    Ok(format!(
        "{title}: {:.0} s, training loss {:.4}, attempt {}{note}",
        record.seconds,
        record.final_loss,
        number + 1
    ))
}

/// How one attempt ended.
struct Ended {
    weights: Weights,
    number: u32,
    collapsed: bool,
    steps: usize,
    seconds: f64,
    final_loss: f64,
    /// What it was trained on.
    engine: String,
}

impl Ended {
    fn of(done: &Attempt, number: u32, seconds: f64, engine: String) -> Self {
        let trained = &done.trained;
        Self {
            weights: trained.weights.clone(),
            number,
            collapsed: done.collapsed,
            steps: trained.steps,
            seconds,
            final_loss: trained.final_loss,
            engine,
        }
    }

    /// A collapsed attempt that was set aside.
    fn collapsed(folder: &Path, network: &NetworkSpec, number: u32) -> Result<Self> {
        let lines = RunLog::lines(folder)?;
        let last = lines.last().with_context(|| format!("{}: log.jsonl is empty", folder.display()))?;
        Ok(Self {
            weights: load_weights(&folder.join("weights.safetensors"), network)?,
            number,
            collapsed: true,
            steps: last.step,
            seconds: RunLog::seconds(&lines),
            final_loss: last.loss,
            engine: RunFolder::info(folder)?.engine,
        })
    }
}

/// What the records of one job share.
struct Judged<'a> {
    job: &'a Job,
    loaded: &'a Loaded,
    network: &'a NetworkSpec,
    backend: &'a dyn Backend,
}

impl Judged<'_> {
    /// Evaluates an attempt on the test images.
    fn record(&self, ended: Ended) -> Result<Record> {
        let Self { job, loaded: Loaded { dataset, material, measures, .. }, network, backend } = self;
        let normalisation = material.normalisation.clone();
        let mut segmenter = Segmenter::new(*backend, network, ended.weights, normalisation, job.recipe.input)
            .with_loss(job.recipe.loss);
        let metrics = material.evaluate(&mut segmenter)?;
        let score = |i: &segfit::evaluate::ImageScore| ImageScore {
            name: i.name.clone(),
            source: i.source.clone(),
            dice: round(i.dice),
            iou: round(i.iou),
        };
        Ok(Record {
            format: RECORD_FORMAT.into(),
            job: job.id.clone(),
            attempt: ended.number,
            dataset: DatasetId { name: dataset.name.clone(), fingerprint: dataset.fingerprint.clone() },
            measures: measures.clone(),
            images: ImageCounts { train: material.train.len(), test: material.test.len() },
            family: job.family.clone(),
            in_channels: dataset.channels,
            classes: dataset.classes,
            base_width: job.base_width,
            depth: job.depth,
            widths: network.widths(),
            input: job.recipe.input,
            recipe: RecipeId::of(&job.recipe),
            cost: Cost::of(network, job.recipe.input.size)?,
            engine: ended.engine,
            version: env!("CARGO_PKG_VERSION").into(),
            seed: attempt_seed(job.seed, ended.number),
            constant_dice: material.constant_dice()?,
            dice: metrics.dice.mean,
            iou: metrics.iou.mean,
            per_image: metrics.per_image.iter().map(score).collect(),
            steps: ended.steps,
            seconds: ended.seconds,
            final_loss: ended.final_loss,
            collapsed: ended.collapsed,
            parent: dataset.origin.parent.clone(),
            synthetic: dataset.origin.synthetic,
        })
    }
}

/// Five decimals are enough for one image.
fn round(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}
