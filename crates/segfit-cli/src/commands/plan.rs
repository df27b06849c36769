//! `segfit plan`: the smallest network that meets the budgets.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use segfit::complexity::ComplexityProfile;
use segfit::plan::{Bound, Budgets, Plan, parse_bytes, parse_count, parse_share, plan};

use crate::commands::predict::{PredictionOptions, network_options};
use crate::context::Global;
use crate::data_options::{DataOptions, InputOptions};
use crate::network_options::FamilyOptions;
use crate::subject::{anchored, mapping, subject};
use crate::together::{json, write_together};
use crate::units::count;

#[derive(Debug, clap::Args)]
#[command(override_usage = "segfit plan DATA --keep SHARE [OPTIONS]\n       \
    segfit plan DATA --max-params COUNT [OPTIONS]")]
#[command(
    after_help = "With --keep: the network with the fewest parameters that is predicted to keep this share of the \
    accuracy and respects the limits. Without --keep: the most accurate one within the limits. \
    Exit code 3 when there is none; the nearest one is then named.\n\n\
    Writes plan.json (the choice and why), network.json (its layers) and profile.json.\n\n\
    Examples:\n  \
    segfit plan DATA --keep 95%\n  \
    segfit plan DATA --keep 95% --keep-bound low --max-memory 1MiB\n  \
    segfit plan DATA --max-params 50k --max-macs 100M --out plans/small"
)]
pub struct Args {
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    input: InputOptions,
    #[command(flatten)]
    family: FamilyOptions,
    #[command(flatten)]
    budgets: BudgetOptions,
    #[command(flatten)]
    source: PredictionOptions,
    /// Folder to write to, or the plan's file name if it ends in .json
    #[arg(long, value_name = "FOLDER", default_value = ".", help_heading = "Output")]
    out: PathBuf,
    /// Only print the plan, write nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Budgets (at least one)")]
#[group(required = true, multiple = true)]
struct BudgetOptions {
    /// Keep this share of the reference network's Dice, for example 95%
    #[arg(long, value_name = "SHARE", value_parser = of("--keep", parse_share))]
    keep: Option<f64>,
    /// At most this many parameters, for example 250k
    #[arg(long, value_name = "COUNT", value_parser = of("--max-params", parse_count))]
    max_params: Option<u64>,
    /// At most this many multiply-accumulates per image, for example 500M
    #[arg(long, value_name = "COUNT", value_parser = of("--max-macs", parse_count))]
    max_macs: Option<u64>,
    /// At most this much memory for activations and weights at inference, for example 4MiB
    #[arg(long, value_name = "BYTES", value_parser = of("--max-memory", parse_bytes))]
    max_memory: Option<u64>,
    /// What must reach the share to keep: the prediction, or the lower end of its interval
    #[arg(long, value_name = "BOUND", default_value = "mean", requires = "keep")]
    keep_bound: KeepBound,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeepBound {
    /// The prediction itself
    Mean,
    /// The lower end of its 90% interval: the cautious choice
    Low,
}

/// A parser of the method crate as clap wants it.
fn of<T>(what: &'static str, parse: fn(&str, &str) -> segfit::Result<T>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        parse(what, text).map_err(|error| match error {
            segfit::Error::Option { expected, .. } => format!("expected {expected}"),
            other => other.to_string(),
        })
    }
}

impl BudgetOptions {
    fn budgets(&self) -> Budgets {
        Budgets {
            keep: self.keep,
            keep_bound: match self.keep_bound {
                KeepBound::Mean => Bound::Mean,
                KeepBound::Low => Bound::Low,
            },
            max_params: self.max_params,
            max_macs: self.max_macs,
            max_memory: self.max_memory,
        }
    }
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    let mapping = mapping(args.source.mapping.as_deref(), global)?;
    let dataset = args.data.open(global)?;
    let options = network_options(&args.family, &dataset, args.input.size)?;
    let (subject, profile) = subject(&dataset, &args.input.spec(), args.source.profile.as_deref(), global)?;
    let mapping = anchored(mapping, args.source.anchor.as_deref(), &subject, global)?;
    let mut plan = plan(&mapping, &subject, &options, &args.budgets.budgets())?;
    plan.input = Some(args.input.spec());
    if !args.dry_run {
        write_plan(&plan, &profile, &args.out, global)?;
    }
    global.print(&plan, &format!("{}\n\n{}", answer(&plan), plan.table()))
}

/// Writes `plan.json`, `network.json` and `profile.json`: all of them or none.
///
/// # Errors
/// When the folder cannot be made or written, or the disk is full.
pub fn write_plan(plan: &Plan, profile: &ComplexityProfile, out: &Path, global: &Global) -> Result<()> {
    let is_file = out.extension().is_some_and(|e| e == "json");
    let (folder, name) = if is_file {
        (out.parent().unwrap_or(Path::new("")), out.file_name().unwrap_or_default())
    } else {
        (out, "plan.json".as_ref())
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let files = [
        (folder.join("profile.json"), json(profile)?),
        (folder.join("network.json"), json(&plan.spec)?),
        (folder.join(name), json(plan)?),
    ];
    write_together(folder, &files)?;
    let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    global.note(&format!("written: {}", names.join(", ")));
    Ok(())
}

/// The plan in one sentence.
fn answer(plan: &Plan) -> String {
    let (network, kept) = (&plan.network, &plan.predicted.retention);
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    format!(
        "A {} of base width {} and depth {} with {} parameters ({:.0}x fewer than the full {}) is predicted to\n\
         keep {} of the reference network's Dice, between {} and {} nine times in ten{}.",
        network.family,
        network.base_width,
        network.depth,
        count(network.params),
        plan.full.params as f64 / network.params.max(1) as f64,
        count(plan.full.params),
        percent(kept.mean),
        percent(kept.low),
        percent(kept.high),
        if plan.predicted.extrapolated { " if the extrapolation holds" } else { "" }
    )
}
