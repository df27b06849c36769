//! `segfit import-weights`: weights that PyTorch trained come back.

use std::path::PathBuf;

use anyhow::Result;
use segfit::files::write_atomically;
use segfit_engine::import_weights::{import_for_run, write_run};
use segfit_engine::run_folder::RunFolder;
use serde::Serialize;

use crate::context::Global;
use crate::new_folder::new_folder;

/// A run with weights that PyTorch trained further
///
/// STATE is a state dict as a safetensors file: what `save` of an exported model.py or `safetensors.torch.save_file`
/// writes. All names and shapes must be those of the run's network; prefixes of wrappers (`module.`, `_orig_mod.`) are
/// understood. The new folder is one that `evaluate`, `segment`, `export` and `train --init` take.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run whose network was trained on: its network, recipe and data are taken over
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The state dict, a safetensors file
    #[arg(value_name = "STATE")]
    state: PathBuf,
    /// The new run's folder
    #[arg(long, value_name = "RUN2")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Report {
    run: PathBuf,
    params: usize,
    without_auxiliary_heads: bool,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let run = RunFolder::open(&args.run)?;
    let imported = import_for_run(&run, &args.state)?;
    new_folder(&args.out, |folder| {
        write_run(folder, &run, &imported, &args.state.display().to_string())?;
        for name in ["plan.json", "profile.json"] {
            if let Ok(bytes) = std::fs::read(args.run.join(name)) {
                write_atomically(&folder.join(name), &bytes)?;
            }
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let report = Report {
        run: args.out.clone(),
        params: imported.weights.trained.len(),
        without_auxiliary_heads: imported.is_without_heads,
    };
    let heads =
        if report.without_auxiliary_heads { ", without the auxiliary heads, which it does not have" } else { "" };
    let text = format!(
        "{} weights of {} in {}{heads}; evaluate them with `segfit evaluate {} DATA`",
        report.params,
        args.state.display(),
        args.out.display(),
        args.out.display()
    );
    global.print(&report, &text)
}
