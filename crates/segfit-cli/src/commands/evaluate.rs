//! `segfit evaluate`.

use crate::context::Global;

/// Options.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
pub fn run(_args: &Args, _global: &Global) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
