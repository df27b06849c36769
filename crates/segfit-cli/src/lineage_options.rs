//! Options that say what a training takes over from earlier ones.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use segfit::network::{Criterion, NetworkSpec};
use segfit::recipe::Recipe;
use segfit_engine::checkpoint::load_weights;
use segfit_engine::lineage::{InitialWeights, Lineage, Teacher, inherit_weights};
use segfit_engine::run_folder::RunFolder;

/// A criterion as the user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CriterionName {
    /// The largest filters, by the sum of their magnitudes
    #[value(name = "l1")]
    L1,
    /// The largest scales of the norms behind them
    #[value(name = "batch_norm", alias = "batch-norm")]
    BatchNorm,
}

impl CriterionName {
    /// The criterion.
    pub fn criterion(self) -> Criterion {
        match self {
            Self::L1 => Criterion::L1,
            Self::BatchNorm => Criterion::BatchNorm,
        }
    }
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Earlier trainings")]
pub struct LineageOptions {
    /// Begin with these weights instead of random ones: a weights file of this very network, or a run's folder
    ///
    /// Of a run whose network has the same layers and more channels, the channels that --inherit chooses are taken.
    #[arg(long, value_name = "WEIGHTS|RUN")]
    init: Option<PathBuf>,
    /// Which channels to take from a wider network [default: l1]
    #[arg(long, value_enum, value_name = "CRITERION", requires = "init")]
    inherit: Option<CriterionName>,
    /// Learn from the outputs of this finished run, too (distillation)
    #[arg(long, value_name = "RUN")]
    teacher: Option<PathBuf>,
    /// Share of the teacher in the loss, 0 to 1 [default: 0.5]
    #[arg(long, value_name = "W", requires = "teacher")]
    teacher_weight: Option<f32>,
    /// Divide both networks' logits by this, so that the teacher's doubts show [default: 2]
    #[arg(long, value_name = "T", requires = "teacher")]
    temperature: Option<f32>,
}

impl LineageOptions {
    /// Reads what is taken over by the training of `network`.
    ///
    /// # Errors
    /// When a file cannot be read or does not fit the network.
    pub fn load(&self, network: &NetworkSpec, recipe: &Recipe) -> Result<Lineage> {
        let criterion = self.inherit.unwrap_or(CriterionName::L1).criterion();
        let init = self.init.as_deref().map(|path| initial_weights(path, network, criterion)).transpose()?;
        let teacher = self.teacher.as_deref().map(|path| self.read_teacher(path, recipe)).transpose()?;
        if let Some(teacher) = &teacher {
            teacher.check(network, recipe.input.size).with_context(|| format!("--teacher {}", teacher.source))?;
        }
        Ok(Lineage { init, teacher })
    }

    fn read_teacher(&self, path: &Path, recipe: &Recipe) -> Result<Teacher> {
        let run = RunFolder::open(path).with_context(|| format!("--teacher {}", path.display()))?;
        if run.info.recipe.loss != recipe.loss {
            bail!("--teacher {}: it was trained with another loss, its outputs mean something else", path.display());
        }
        Ok(Teacher {
            weights: run.weights()?,
            network: run.network,
            normalisation: run.info.normalisation,
            source: path.display().to_string(),
            weight: self.teacher_weight.unwrap_or(0.5),
            temperature: self.temperature.unwrap_or(2.0),
        })
    }
}

/// The weights of a file or of a run, the run's cut to `network` where it is wider.
fn initial_weights(path: &Path, network: &NetworkSpec, criterion: Criterion) -> Result<InitialWeights> {
    let source = path.display().to_string();
    if !path.is_dir() {
        let weights = load_weights(path, network).with_context(|| {
            format!("--init {source}: a file must be of this very network; of a wider one, name the run's folder")
        })?;
        return Ok(InitialWeights { weights, source, inherited: None });
    }
    let run = RunFolder::open(path).with_context(|| format!("--init {source}"))?;
    let weights = run.weights()?;
    let inherited = (run.network.parameters()? != network.parameters()?).then_some(criterion);
    let weights = match inherited {
        Some(criterion) => inherit_weights(&run.network, &weights, network, criterion)
            .with_context(|| format!("--init {source}: its network does not fit"))?,
        None => weights,
    };
    Ok(InitialWeights { weights, source, inherited })
}
