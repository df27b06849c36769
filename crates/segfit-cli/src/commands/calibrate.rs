//! `segfit calibrate`: experiments that the prediction learns from.

mod claim;
mod experiments;
mod gather;
mod plan;
mod slurm;
mod status;
mod vary;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use segfit::predict::{Manifest, Mapping, Record, check, collect};

use crate::context::Global;
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
}

#[derive(Debug, clap::Args)]
struct FitArgs {
    /// Record files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The mapping
    #[arg(long, value_name = "FILE", default_value = "mapping.json")]
    out: PathBuf,
    /// A remark that is kept in the mapping
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Record files, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    match &args.command {
        Command::Plan(args) => plan::run(args, global),
        Command::Run(args) => {
            interrupt::listen()?;
            let manifest = Manifest::read(&args.manifest)?;
            experiments::run(&manifest, &args.out, args.index, args.time, global)
        }
        Command::Status(args) => status::run(args, global),
        Command::Collect(args) => gather::run(args, global),
        Command::Vary(args) => vary::run(args, global),
        Command::Slurm(args) => slurm::run(args, global),
        Command::Fit(args) => fit(args, global),
        Command::Check(args) => {
            let result = check(&read_records(&args.paths, global)?)?;
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

fn fit(args: &FitArgs, global: &Global) -> Result<()> {
    let records = read_records(&args.paths, global)?;
    let mut mapping = Mapping::fit(&records)?;
    if let Some(note) = &args.note {
        mapping = mapping.with_note(note);
    }
    mapping.write(&args.out)?;
    global.print(&mapping, &format!("mapping of {} records in {}", records.len(), args.out.display()))
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
