//! `segfit network narrow --weights`: the narrowed network gets weights of the trained full one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use segfit::network::NetworkSpec;
use segfit_engine::checkpoint::{load_weights, save_weights};
use segfit_engine::lineage::inherit_weights;
use segfit_engine::run_folder::RunFolder;

use crate::lineage_options::CriterionName;
use crate::network_options::NetworkSource;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Trained weights")]
pub struct InheritOptions {
    /// The full network's run, or its weights file: writes the narrowed network's weights beside it, as .safetensors
    #[arg(long, value_name = "RUN|FILE")]
    weights: Option<PathBuf>,
    /// Which channels to keep [default: l1]
    #[arg(long, value_enum, value_name = "CRITERION", requires = "weights")]
    criterion: Option<CriterionName>,
}

/// The weights of a narrowed network, where asked for: the path of the file that is written beside `network_file`.
///
/// A weights file is of the network that `source` names before it is narrowed; a run knows its network.
///
/// # Errors
/// When the weights cannot be read, or the networks differ in more than their channels.
pub fn write_weights(
    options: &InheritOptions,
    source: &NetworkSource,
    narrowed: &NetworkSpec,
    network_file: &Path,
) -> Result<Option<PathBuf>> {
    let Some(path) = &options.weights else { return Ok(None) };
    let (full, weights) = if path.is_dir() {
        let run = RunFolder::open(path)?;
        let weights = run.weights()?;
        (run.network, weights)
    } else {
        let full = source.full()?;
        let weights = load_weights(path, &full).context("--weights must be of the network before it is narrowed")?;
        (full, weights)
    };
    let criterion = options.criterion.unwrap_or(CriterionName::L1).criterion();
    let cut = inherit_weights(&full, &weights, narrowed, criterion)
        .with_context(|| format!("--weights {}: its network does not fit", path.display()))?;
    let file = network_file.with_extension("safetensors");
    save_weights(&file, narrowed, &cut)?;
    Ok(Some(file))
}
