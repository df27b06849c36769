//! `segfit calibrate`: experiments that the prediction learns from.

mod experiments;
mod gather;
mod plan;
mod slurm;
mod status;
mod vary;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use segfit::predict::{CheckOptions, Choices, Manifest, Mapping, Record, check_with, collect};

use crate::context::Global;
use crate::device_options::DeviceOptions;
use crate::interrupt;

/// Calibrate the prediction with experiments
///
/// The prediction that segfit ships was learned from networks that were really trained. These commands repeat that, or
/// add your own data sets: `plan` lists trainings, `run` works through them (it can be stopped and goes on later),
/// on a cluster by the scripts of `slurm`, `collect` gathers their records, `fit` makes a mapping for `segfit predict --mapping`, `check` shows how well it
/// predicts data sets that it has not seen.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the trainings: every data set in every family, width or shape, depth and seed
    Plan(plan::Args),
    /// Train what the list says and write one record for each training
    Run(RunArgs),
    /// How much of the list is done, running, failed, and how long the rest will take
    Status(status::Args),
    /// Gather records into one file, without duplicates
    Collect(gather::Args),
    /// Make a further data set from the images of one: blurred, noisier, paler, enlarged, reduced, or a part of it
    Vary(vary::Args),
    /// Write the scripts that run a list on a cluster: Slurm, Snakemake, submitit
    Slurm(slurm::Args),
    /// Learn a mapping from records
    Fit(FitArgs),
    /// Errors of every model on data sets that it was not fitted to
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// List written by `calibrate plan`
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Folder of records and unfinished trainings
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Do only job N, counted from 0 (for job arrays of a cluster)
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Begin no new training after this time, for example 150m, 2h, 90s
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    device: DeviceOptions,
}

/// Which records are used.
#[derive(Debug, clap::Args)]
struct Source {
    /// Record files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Only records of this recipe, by its name or digest; records of two recipes are never mixed
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
}

#[derive(Debug, clap::Args)]
struct FitArgs {
    #[command(flatten)]
    source: Source,
    /// The mapping
    #[arg(long, value_name = "FILE", default_value = "mapping.json")]
    out: PathBuf,
    /// A remark that is kept in the mapping
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Your own records, learned from together with the others
    #[arg(long, value_name = "PATH", num_args = 1..)]
    add: Vec<PathBuf>,
    /// Learn from data sets that were made from others or by a program, too
    #[arg(long)]
    with_variants: bool,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    source: Source,
    /// Check also with data sets in the training that were made from others or by a program
    #[arg(long)]
    with_variants: bool,
    /// Share of the full network's Dice that the choice of a size is to keep
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = keep_share)]
    keep: f64,
    /// What another method chose for each data set, to be compared with (segfit-choices/1)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    choices: Vec<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    match &args.command {
        Command::Plan(args) => plan::run(args, global),
        Command::Run(args) => {
            interrupt::listen()?;
            let manifest = Manifest::read(&args.manifest)?;
            let backend = args.device.open(global)?;
            experiments::run(&manifest, &args.out, backend.as_ref(), args.index, args.time, global)
        }
        Command::Status(args) => status::run(args, global),
        Command::Collect(args) => gather::run(args, global),
        Command::Vary(args) => vary::run(args, global),
        Command::Slurm(args) => slurm::run(args, global),
        Command::Fit(args) => fit(args, global),
        Command::Check(args) => {
            let others = args.choices.iter().map(|path| Choices::read(path)).collect::<segfit::Result<_>>()?;
            let options = CheckOptions { variants: args.with_variants, keep: args.keep, others };
            let result = check_with(&args.source.records(&[], global)?, &options)?;
            global.print(&result, &result.table())
        }
    }
}

fn read_records(paths: &[PathBuf], global: &Global) -> Result<Vec<Record>> {
    let found = collect(paths)?;
    for torn in &found.torn {
        global.note(&format!("warning: {torn}: unfinished line skipped"));
    }
    for conflict in &found.conflicts {
        global.note(&format!("warning: job {} has contradicting records: {conflict:?}", conflict.job));
    }
    global.detail(&format!("{} records, {} duplicates", found.records.len(), found.duplicates));
    Ok(found.records)
}

impl Source {
    /// The records of one recipe in the paths and in `more`.
    ///
    /// # Errors
    /// When a file cannot be read, or there are records of two recipes and none was named, or none of the one named.
    fn records(&self, more: &[PathBuf], global: &Global) -> Result<Vec<Record>> {
        let records = read_records(&[&self.paths, more].concat(), global)?;
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for record in &records {
            *counts.entry((record.recipe.name.clone(), record.recipe.digest.clone())).or_default() += 1;
        }
        let is_wanted = |name: &str, digest: &str| self.recipe.as_ref().is_none_or(|r| r == name || r == digest);
        let wanted = counts.keys().filter(|(name, digest)| is_wanted(name, digest)).count();
        if wanted == 1 || counts.is_empty() {
            let (used, other): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|r| is_wanted(&r.recipe.name, &r.recipe.digest));
            if !other.is_empty() {
                global.note(&format!("{} records of other recipes are not used", other.len()));
            }
            return Ok(used);
        }
        let found = counts.iter().map(|((name, digest), n)| format!("{n} of {name} ({digest})"));
        let found = found.collect::<Vec<_>>().join(", ");
        match &self.recipe {
            Some(recipe) if wanted == 0 => bail!("no records of recipe {recipe}; there are {found}"),
            _ => bail!("records of several recipes cannot be mixed: {found}; choose one with --recipe NAME or DIGEST"),
        }
    }
}

fn fit(args: &FitArgs, global: &Global) -> Result<()> {
    let records = args.source.records(&args.add, global)?;
    let from = || args.source.paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut mapping = Mapping::fit_with(&records, args.with_variants).with_context(|| format!("fitting {}", from()))?;
    if let Some(note) = &args.note {
        mapping = mapping.with_note(note);
    }
    mapping.write(&args.out)?;
    global.print(&mapping, &format!("mapping of {} records in {}", records.len(), args.out.display()))
}

fn keep_share(text: &str) -> Result<f64, String> {
    segfit::plan::parse_share("--keep", text).map_err(|error| error.to_string())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?}: expected a number with s, m or h, for example 150m");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    if !(0.0..1e7).contains(&number) {
        return Err(bad());
    }
    Ok(Duration::from_secs_f64(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("150m").unwrap(), Duration::from_secs(9000));
        assert_eq!(parse_duration("1.5h").unwrap(), Duration::from_secs(5400));
        for bad in ["", "10", "m", "-3s", "3d", "é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
