//! `segfit report`: plans, runs and profiles as a page.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::complexity::{ComplexityProfile, PROFILE_FORMAT};
use segfit::data::{Dataset, prepare};
use segfit::evaluate::{Evaluation, METRICS_FORMAT};
use segfit::files::read_json;
use segfit::plan::{Ladder, PLAN_FORMAT, Plan};
use segfit::predict::Mapping;
use segfit::recipe::InputSpec;
use segfit::report::{Content, Facts, LogPoint, Run, render, summary};
use segfit::survey::{Survey, SurveyOptions, survey};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::run_folder::RunFolder;
use segfit_engine::segmenter::Segmenter;
use serde::Serialize;

use crate::context::Global;
use crate::data_options::{FolderOptions, announce};
use crate::report_files::{Extremes, PAGE, facts, ladder_beside, write_report};

/// What segfit found, as a page to look at
///
/// Makes one HTML file that needs no network and no other program than a browser: the answer in one sentence, the curve of
/// accuracy and size to play with, the network as a picture, the images with warnings about them, and for runs the
/// learning curves, the Dice of every test image, and the best and worst masks. Several runs are compared on the same images.
/// The figures lie beside the page as SVG and CSV files. `segfit plan`, `train` and `demo` write such a page by themselves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    segfit report plan/plan.json\n  \
    segfit report run --data DATA\n  \
    segfit report run-small run-large --out comparison.html\n  \
    segfit report profile.json")]
pub struct Args {
    /// A plan.json or its folder, a profile.json, or the folders of one or more runs
    #[arg(value_name = "PLAN|RUN|PROFILE", required = true)]
    what: Vec<PathBuf>,
    /// The data set: shows images, and masks of runs, and warns of what looks wrong
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    folders: FolderOptions,
    /// Mapping that made the plan, where it is not the built-in one: shows its data sets
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// The page to write [default: report.html beside what is reported; for several runs, in this folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Written {
    report: PathBuf,
    files: Vec<String>,
    bytes: usize,
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    let parts = Parts::read(&args.what)?;
    let page = args.out.clone().unwrap_or_else(|| parts.place(&args.what));
    if page.extension().is_none_or(|e| e != "html") {
        bail!(segfit::Error::Option {
            what: "--out".into(),
            expected: "a file whose name ends in .html".into(),
            got: page.display().to_string(),
        });
    }
    let dataset = (args.data.is_some() || args.folders.images.is_some())
        .then(|| open(&args.folders, args.data.as_deref(), global))
        .transpose()?;
    let seen = dataset.as_ref().map(|d| parts.see(d)).transpose()?;
    let given = args.mapping.as_deref().map(Mapping::read).transpose()?;
    let written = parts.write(seen.as_ref(), given.as_ref(), &page, global)?;
    let text = match (&parts.plan, parts.runs.len()) {
        (Some(plan), 0) => summary(plan, global.columns()),
        _ => format!("{} KiB, {} figures and tables", written.bytes / 1024, written.files.len()),
    };
    global.print(&written, &text)
}

/// The page of a run, in its folder.
///
/// # Errors
/// When a file of the run cannot be read, or the page cannot be written.
pub fn write_run_report(folder: &Path, seen: Seen, global: &Global) -> Result<()> {
    let parts = Parts::read(&[folder.to_path_buf()])?;
    parts.write(Some(&seen), None, &folder.join(PAGE), global)?;
    Ok(())
}

/// The page of a plan with the runs that show how good it is.
///
/// # Errors
/// As [`write_run_report`].
pub fn write_whole_story(
    profile: ComplexityProfile,
    plan: Plan,
    ladder: Ladder,
    runs: &[PathBuf],
    seen: &Seen,
    page: &Path,
    global: &Global,
) -> Result<()> {
    let runs = runs.iter().map(|folder| ReadRun::open(folder)).collect::<Result<_>>()?;
    let parts = Parts { profile: Some(profile), plan: Some(plan), ladder: Some(ladder), runs };
    parts.write(Some(seen), None, page, global)?;
    Ok(())
}

fn open(folders: &FolderOptions, data: Option<&Path>, global: &Global) -> Result<Dataset> {
    let dataset = Dataset::open(&folders.options(data))?;
    announce(&dataset, global);
    Ok(dataset)
}

/// What was read of the paths.
#[derive(Default)]
struct Parts {
    profile: Option<ComplexityProfile>,
    plan: Option<Plan>,
    ladder: Option<Ladder>,
    runs: Vec<ReadRun>,
}

/// A run as it lies on disk.
struct ReadRun {
    folder: RunFolder,
    plan: Option<Plan>,
    evaluation: Option<Evaluation>,
    facts: Facts,
    log: Vec<LogPoint>,
}

/// What the data set shows.
pub struct Seen {
    /// Of the images.
    pub survey: Survey,
    /// Best and worst images of every run.
    pub images: Vec<Extremes>,
}

impl Parts {
    fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut parts = Self::default();
        for path in paths {
            parts.add(path).with_context(|| format!("reading {}", path.display()))?;
        }
        if parts.plan.is_some() && !parts.runs.is_empty() {
            bail!("a report is of one plan or of runs, not of both; `segfit plan --compare` compares plans");
        }
        if let [run] = &parts.runs[..] {
            let folder = run.folder.path.clone();
            parts.plan = run.plan.clone();
            parts.beside(&folder)?;
        }
        Ok(parts)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        if path.join("run.json").exists() {
            self.runs.push(ReadRun::open(path)?);
            return Ok(());
        }
        let file = if path.is_dir() { path.join("plan.json") } else { path.to_path_buf() };
        let value: serde_json::Value = read_any(&file)?;
        match value["format"].as_str() {
            Some(PROFILE_FORMAT) => self.profile = Some(read_json(&file, PROFILE_FORMAT)?),
            Some(PLAN_FORMAT) if self.plan.is_none() => {
                self.plan = Some(Plan::read(&file)?);
                self.beside(file.parent().unwrap_or(Path::new("")))?;
            }
            Some(PLAN_FORMAT) => bail!("a report is of one plan; `segfit plan --compare` compares several"),
            got => bail!(segfit::Error::Content {
                path: file,
                expected: format!("a run's folder, or a file of format {PLAN_FORMAT} or {PROFILE_FORMAT}"),
                got: got.map_or_else(|| "a file without a format".into(), |f| format!("format {f}")),
                hint: "give what `segfit plan`, `train` or `measure --out` wrote".into(),
            }),
        }
        Ok(())
    }

    /// Writes the page; `given` is the mapping that made the plan, where it is not the built-in one.
    fn write(&self, seen: Option<&Seen>, given: Option<&Mapping>, page: &Path, global: &Global) -> Result<Written> {
        // The data sets of another mapping than the plan's would mislead.
        let embedded = || Some(Mapping::embedded()).filter(|m| self.plan.as_ref().is_none_or(|p| p.mapping == m.id));
        let images = seen.map_or(&[][..], |s| &s.images);
        let content = Content {
            title: self.title(),
            profile: self.profile.as_ref(),
            survey: seen.map(|s| &s.survey),
            mapping: given.or_else(embedded),
            plan: self.plan.as_ref(),
            ladder: self.ladder.as_ref(),
            runs: self.runs.iter().enumerate().map(|(i, r)| r.shown(images.get(i))).collect(),
        };
        let rendered = render(&content)?;
        write_report(&rendered, page, global)?;
        let files = rendered.files.iter().map(|(name, _)| name.clone()).collect();
        Ok(Written { report: page.into(), files, bytes: rendered.html.len() })
    }

    /// The profile and the other sizes that lie beside the plan.
    fn beside(&mut self, folder: &Path) -> Result<()> {
        let profile = folder.join("profile.json");
        if self.profile.is_none() && profile.exists() {
            let profile: ComplexityProfile = read_json(&profile, PROFILE_FORMAT)?;
            let fits = self.plan.as_ref().is_none_or(|p| p.dataset.fingerprint == profile.fingerprint);
            self.profile = Some(profile).filter(|_| fits);
        }
        self.ladder = self.plan.as_ref().map(|plan| ladder_beside(plan, folder)).transpose()?.flatten();
        Ok(())
    }

    fn title(&self) -> String {
        match (&self.runs[..], &self.plan, &self.profile) {
            ([run], ..) => format!("{} on {}", run.name(), run.folder.info.dataset),
            (_, Some(plan), _) => plan.dataset.name.clone(),
            ([first, ..], ..) => format!("{} runs on {}", self.runs.len(), first.folder.info.dataset),
            (.., Some(profile)) => profile.dataset.clone(),
            _ => String::new(),
        }
    }

    fn place(&self, paths: &[PathBuf]) -> PathBuf {
        match (&self.runs[..], paths.first()) {
            ([run], _) => run.folder.path.join(PAGE),
            ([], Some(path)) if path.is_dir() => path.join(PAGE),
            ([], Some(path)) => path.with_file_name(PAGE),
            _ => PAGE.into(),
        }
    }

    /// How the images were prepared.
    fn input(&self) -> InputSpec {
        let of_run = self.runs.first().map(|r| r.folder.info.recipe.input);
        let of_plan = self.plan.as_ref().and_then(|p| p.input);
        let of_profile = self.profile.as_ref().map(|p| p.input);
        of_run.or(of_plan).or(of_profile).unwrap_or(InputSpec { mode: segfit::recipe::InputMode::Resize, size: 128 })
    }

    fn see(&self, dataset: &Dataset) -> Result<Seen> {
        let known = self.runs.iter().map(|r| &r.folder.info.fingerprint);
        let known = known.chain(self.plan.iter().map(|p| &p.dataset.fingerprint));
        let known = known.chain(self.profile.iter().map(|p| &p.fingerprint));
        for fingerprint in known {
            if *fingerprint != dataset.fingerprint {
                bail!("{} holds other files than what is reported was made from", dataset.name);
            }
        }
        let survey = survey(dataset, &SurveyOptions::new(self.input()))?;
        let images = self.runs.iter().map(|r| r.images(dataset)).collect::<Result<_>>()?;
        Ok(Seen { survey, images })
    }
}

/// The JSON of a file, whatever it is.
fn read_any(path: &Path) -> Result<serde_json::Value> {
    let bytes = std::fs::read(path).map_err(|source| segfit::Error::Io { path: path.into(), source })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let expected = "a plan.json, a profile.json or the folder of a run".into();
        segfit::Error::Json { path: path.into(), expected, reason: e.to_string() }.into()
    })
}

impl ReadRun {
    fn open(path: &Path) -> Result<Self> {
        let folder = RunFolder::open(path)?;
        let metrics = path.join("metrics.json");
        let plan = path.join("plan.json");
        let (facts, log) = facts(path, &folder.info)?;
        Ok(Self {
            evaluation: metrics.exists().then(|| read_json(&metrics, METRICS_FORMAT)).transpose()?,
            plan: plan.exists().then(|| Plan::read(&plan)).transpose()?,
            facts,
            log,
            folder,
        })
    }

    fn name(&self) -> String {
        let path = std::path::absolute(&self.folder.path).unwrap_or_else(|_| self.folder.path.clone());
        path.file_name().map_or_else(|| "run".into(), |n| n.to_string_lossy().into_owned())
    }

    fn shown(&self, images: Option<&Extremes>) -> Run<'_> {
        let Extremes { best, worst } = images.cloned().unwrap_or_default();
        let map = &self.folder.info.label_map;
        let class = |i: usize| map.name_of(i as u8).unwrap_or_else(|| format!("class {i}"));
        Run {
            name: self.name(),
            network: &self.folder.network,
            size: self.folder.info.recipe.input.size,
            plan: self.plan.as_ref(),
            evaluation: self.evaluation.as_ref(),
            classes: (0..self.folder.network.classes).map(class).collect(),
            log: self.log.clone(),
            facts: Some(self.facts.clone()),
            best,
            worst,
        }
    }

    /// The best and the worst test images.
    fn images(&self, dataset: &Dataset) -> Result<Extremes> {
        let Some(evaluation) = &self.evaluation else { return Ok(Default::default()) };
        let RunFolder { info, network, .. } = &self.folder;
        let backend = CpuBackend::detect();
        let weights = self.folder.weights()?;
        let mut segmenter = Segmenter::new(&backend, network, weights, info.normalisation.clone(), info.recipe.input)
            .with_loss(info.recipe.loss);
        let sample = |name: &str| {
            let Some(index) = dataset.pairs.iter().position(|p| p.name == name) else { return Ok(None) };
            Ok(prepare(&dataset.load(&[index])?, &info.recipe.input).into_iter().next())
        };
        Extremes::of(evaluation, &mut segmenter, sample)
    }
}
