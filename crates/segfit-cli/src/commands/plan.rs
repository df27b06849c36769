//! `segfit plan`: the smallest network that meets the budgets.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;
use segfit::complexity::ComplexityProfile;
use segfit::data::Dataset;
use segfit::network::NetworkSpec;
use segfit::plan::{
    Bound, Budgets, Freedom, Ladder, Objective, Plan, Precision, Request, Space, compare, parse_bytes, parse_count,
    parse_milliseconds, parse_share,
};

use segfit::predict::Mapping;
use segfit::report::{Content, render, summary};
use segfit::survey::{SurveyOptions, survey};

use crate::commands::predict::{PredictionOptions, network_options};
use crate::context::Global;
use crate::data_options::{DataOptions, InputOptions};
use crate::latency;
use crate::latency::THIS_MACHINE;
use crate::network_options::{FamilyOptions, width_of};
use crate::report_files::{PAGE, SIZES, write_report};
use crate::shell::quoted;
use crate::subject::{anchored, mapping, subject};
use crate::together::{json, write_together};

#[derive(Debug, clap::Args)]
#[command(override_usage = "segfit plan DATA --keep SHARE [OPTIONS]\n       \
    segfit plan DATA --max-params COUNT [OPTIONS]\n       \
    segfit plan --compare PLAN PLAN...")]
#[command(mut_arg("data", |arg| arg.required_unless_present("compare")))]
#[command(mut_arg("network", |arg| arg.value_name("FAMILY|FILE").help(
    "Family of the network (see `segfit network list`), or the network.json of any network, also of an imported one"
)))]
#[command(
    after_help = "Every layer gets its own number of channels. With --keep: the network with the fewest parameters (or \
    the least of what --objective names) that is predicted to keep this share of the accuracy and meets all limits. \
    Without --keep: the most accurate one within the limits. Limits are met exactly, not roughly; if no network meets \
    them, exit code 3, the tightest limit and the nearest network are given.\n\n\
    The layers leave the proportions of the full-size network where others are predicted to keep more accuracy at the same cost, as \
    long as such gains were found in the records of trainings; --explain says why each level is wide or narrow.\n\n\
    Writes plan.json (the choice and why), network.json (its layers), profile.json, sizes.json (the plans of other sizes) and \
    report.html, a page to look at and to choose another size.\n\n\
    Examples:\n  \
    segfit plan DATA --keep 95%\n  \
    segfit plan DATA --keep 95% --keep-bound low --max-memory 1MiB\n  \
    segfit plan DATA --keep 95% --objective macs --explain\n  \
    segfit plan DATA --max-latency 20ms --threads 1\n  \
    segfit plan DATA --keep 95% --max-latency 50ms --device phone.json\n  \
    segfit plan DATA --max-weights 64KiB --precision int8 --divisor 4\n  \
    segfit plan DATA --max-params 50k --max-macs 100M --pin enc0=8 --bound 'dec*=2..16' --out plans/small\n  \
    segfit plan --compare plans/small/plan.json plans/large/plan.json"
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
    freedom: FreedomOptions,
    #[command(flatten)]
    source: PredictionOptions,
    /// Folder to write to, or the plan's file name if it ends in .json
    #[arg(long, value_name = "FOLDER", default_value = ".", help_heading = "Output")]
    out: PathBuf,
    /// Only print the plan, write nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
    /// Write no report.html, which shows the plan and all other sizes, and no sizes.json, which holds their plans
    #[arg(long, help_heading = "Output")]
    no_report: bool,
    /// Print also what a channel costs and is worth in every group, how complex the images are at its scale, and in one
    /// sentence per level why it is wide or narrow (plan.json always holds this)
    #[arg(long, help_heading = "Output")]
    explain: bool,
    /// Make no plan, but print finished ones side by side: what was asked for, costs, predictions, channels
    #[arg(
        long,
        value_name = "PLAN",
        num_args = 2..,
        conflicts_with_all = ["data", "BudgetOptions", "FreedomOptions", "explain"],
        help_heading = "Output"
    )]
    compare: Vec<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Budgets (at least one, any number together)")]
struct BudgetOptions {
    /// Keep this share of the reference network's Dice, for example 95%
    #[arg(long, value_name = "SHARE", value_parser = of("--keep", parse_share))]
    keep: Option<f64>,
    /// What must reach the share to keep
    #[arg(long, value_name = "BOUND", default_value = "likely", requires = "keep")]
    keep_bound: KeepBound,
    /// At most this many parameters (trained values), for example 250k
    #[arg(long, value_name = "COUNT", value_parser = of("--max-params", parse_count))]
    max_params: Option<u64>,
    /// At most this many multiply-accumulates per image, for example 500M; for time see --max-latency
    #[arg(long, value_name = "COUNT", value_parser = of("--max-macs", parse_count))]
    max_macs: Option<u64>,
    /// At most this many bytes for the stored weights, for example 64KiB; see --precision
    #[arg(long, value_name = "BYTES", value_parser = of("--max-weights", parse_bytes))]
    max_weights: Option<u64>,
    /// How the weights of --max-weights are stored: 4, 2 or about 1 byte for each
    #[arg(long, value_name = "NUMBERS", default_value = "f32", requires = "max_weights")]
    precision: StoredAs,
    /// At most this much memory for activations and weights at inference, one image at a time, for example 4MiB
    #[arg(long, value_name = "BYTES", value_parser = of("--max-memory", parse_bytes))]
    max_memory: Option<u64>,
    /// At most this much time for one image of --size, for example 20ms. Times are predicted from a table of measured steps: one
    /// of this machine with --threads threads in f32, which is measured when it is first needed (a minute or two) and
    /// kept, or --device. What the network takes is held below the limit by the error of such predictions
    #[arg(long, value_name = "TIME", value_parser = of("--max-latency", parse_milliseconds))]
    max_latency: Option<f64>,
    /// The latency table of the device that is to run the network, made there by `segfit bench --table FILE`; its threads and
    /// precision count. 'this' is this machine. Without a limit the plan only states the time
    #[arg(long, value_name = "FILE")]
    device: Option<PathBuf>,
    /// What is made as small (accuracy: as large) as the budgets allow [default: params with --keep, otherwise accuracy]
    #[arg(long, value_name = "WHAT")]
    objective: Option<ObjectiveName>,
}

/// What is left to the planner.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Channels (names as in `segfit network show`, * and ? as in file names)")]
struct FreedomOptions {
    /// Exactly this many channels in some groups, for example 'enc1=16,head*=8'
    #[arg(long, value_name = "GROUP=N,...", value_delimiter = ',', value_parser = width_of)]
    pin: Vec<(String, usize)>,
    /// Fewest and most channels of some groups, for example 'enc*=4..32'
    #[arg(long, value_name = "GROUP=LEAST..MOST,...", value_delimiter = ',', value_parser = bound_of)]
    bound: Vec<(String, [usize; 2])>,
    /// Only multiples of this many channels (in groups that have as many)
    #[arg(long, value_name = "N", default_value_t = 1)]
    divisor: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StoredAs {
    /// 32-bit floats
    F32,
    /// 16-bit floats
    F16,
    /// 8-bit integers for the convolutions, 32-bit floats for the little that remains
    Int8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ObjectiveName {
    /// Fewest parameters
    Params,
    /// Fewest multiply-accumulates
    Macs,
    /// Least memory
    Memory,
    /// Least time per image, see --max-latency
    Latency,
    /// Most accurate
    Accuracy,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KeepBound {
    /// The prediction itself: about half of such choices keep the share
    Mean,
    /// The prediction less a margin: nine in ten choices kept the share on data sets that had been left out
    Likely,
    /// The lower end of the 90% interval of the whole curve: the cautious choice
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

fn bound_of(text: &str) -> Result<(String, [usize; 2]), String> {
    let parsed = text.split_once('=').and_then(|(name, range)| {
        let (least, most) = range.split_once("..")?;
        Some((name.trim().to_string(), [least.trim().parse().ok()?, most.trim().parse().ok()?]))
    });
    parsed.ok_or_else(|| "expected group=least..most, for example 'enc*=4..32'".into())
}

impl BudgetOptions {
    fn budgets(&self) -> Budgets {
        Budgets {
            keep: self.keep,
            keep_bound: match self.keep_bound {
                KeepBound::Mean => Bound::Mean,
                KeepBound::Likely => Bound::Likely,
                KeepBound::Low => Bound::Low,
            },
            keep_margin: None,
            max_params: self.max_params,
            max_macs: self.max_macs,
            max_weights: self.max_weights,
            precision: match self.precision {
                StoredAs::F32 => Precision::F32,
                StoredAs::F16 => Precision::F16,
                StoredAs::Int8 => Precision::Int8,
            },
            max_memory: self.max_memory,
            max_latency_ms: self.max_latency,
        }
    }

    /// Whether times have to be known.
    fn needs_latency(&self) -> bool {
        self.max_latency.is_some() || self.device.is_some() || matches!(self.objective, Some(ObjectiveName::Latency))
    }

    fn objective(&self) -> Option<Objective> {
        self.objective.map(|name| match name {
            ObjectiveName::Params => Objective::Params,
            ObjectiveName::Macs => Objective::Macs,
            ObjectiveName::Memory => Objective::Memory,
            ObjectiveName::Latency => Objective::Latency,
            ObjectiveName::Accuracy => Objective::Accuracy,
        })
    }
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    if !args.compare.is_empty() {
        return print_comparison(&args.compare, global);
    }
    let budgets = args.budgets.budgets();
    if budgets == (Budgets { precision: budgets.precision, ..Budgets::default() }) {
        bail!(segfit::Error::Option {
            what: "budgets".into(),
            expected: "at least one of --keep, --max-params, --max-macs, --max-weights, --max-memory, --max-latency"
                .into(),
            got: "none".into(),
        });
    }
    let mapping = mapping(args.source.mapping.as_deref(), global)?;
    let dataset = args.data.open(global)?;
    let space = space(args, &dataset)?;
    let (subject, profile) = subject(&dataset, &args.input.spec(), args.source.profile.as_deref(), global)?;
    let mapping = anchored(mapping, args.source.anchor.as_deref(), &subject, global)?;
    let model = args.budgets.needs_latency().then(|| {
        let full: Vec<NetworkSpec> = space.networks().cloned().collect();
        latency::model(args.budgets.device.as_deref(), &full, args.input.size, global)
    });
    let model = model.transpose()?;
    let at_most = model.as_ref().map(|model| |spec: &NetworkSpec| model.at_most(spec));
    let request = Request {
        mapping: &mapping,
        subject: &subject,
        space: &space,
        budgets,
        objective: args.budgets.objective(),
        latency: at_most.as_ref().map(|at_most| at_most as &segfit::plan::Latency<'_>),
    };
    let mut plan = request.plan()?;
    plan.input = Some(args.input.spec());
    let time = |spec: &NetworkSpec| model.as_ref().map(|model| latency::planned(model, spec)).transpose();
    plan.latency = time(&plan.spec)?;
    if !args.dry_run && args.no_report {
        write_plan(&plan, &profile, None, &args.out, global)?;
    } else if !args.dry_run {
        let ladder = request.ladder()?.completed(command(args), args.input.spec(), time)?;
        write_plan(&plan, &profile, Some(&ladder), &args.out, global)?;
        report(&plan, &profile, &ladder, &mapping, &dataset, &args.out, global)?;
    }
    let why = plan.explanation.as_ref().filter(|_| args.explain);
    let why = why.map_or_else(String::new, |e| format!("\n{}", e.table()));
    global.print(&plan, &format!("{}\n\n{}{why}", summary(&plan, global.columns()), plan.table()))
}

/// Writes the page beside the plan.
fn report(
    plan: &Plan,
    profile: &ComplexityProfile,
    ladder: &Ladder,
    mapping: &Mapping,
    dataset: &Dataset,
    out: &Path,
    global: &Global,
) -> Result<()> {
    let survey = survey(dataset, &SurveyOptions::new(profile.input))?;
    let content = Content {
        title: dataset.name.clone(),
        profile: Some(profile),
        survey: Some(&survey),
        mapping: Some(mapping),
        plan: Some(plan),
        ladder: Some(ladder),
        runs: Vec::new(),
    };
    write_report(&render(&content)?, &page_of(out), global)
}

/// The command without budgets and output, for the report: what other sizes are planned with.
fn command(args: &Args) -> String {
    let Args { data, input, family, freedom, source, budgets, .. } = args;
    let path =
        |name: &str, path: &Option<PathBuf>| path.as_ref().map(|p| format!("{name} {}", quoted(&p.to_string_lossy())));
    let listed =
        |name: &str, items: Vec<String>| (!items.is_empty()).then(|| format!("{name} {}", quoted(&items.join(","))));
    let device = match (&budgets.device, budgets.needs_latency()) {
        (None, true) => Some(format!("--device {THIS_MACHINE}")),
        (device, _) => path("--device", device),
    };
    let options = [
        path("--images", &data.folders.images),
        path("--masks", &data.folders.masks),
        data.folders.instances.then(|| "--instances".into()),
        data.folders.slices.axis.map(|axis| format!("--axis {axis}")),
        (input.size != 128).then(|| format!("--size {}", input.size)),
        input.patch.then(|| "--patch".into()),
        family.typed(),
        listed("--pin", freedom.pin.iter().map(|(name, n)| format!("{name}={n}")).collect()),
        listed("--bound", freedom.bound.iter().map(|(name, [low, high])| format!("{name}={low}..{high}")).collect()),
        (freedom.divisor != 1).then(|| format!("--divisor {}", freedom.divisor)),
        path("--mapping", &source.mapping),
        path("--anchor", &source.anchor),
        device,
    ];
    let options = options.into_iter().flatten().map(|option| format!(" {option}"));
    format!("segfit plan{}{}", if data.data.is_some() { " DATA" } else { "" }, options.collect::<String>())
}

/// The networks to choose from: a family at all depths, or the one in a file.
fn space(args: &Args, dataset: &Dataset) -> Result<Space> {
    let FreedomOptions { pin, bound, divisor } = args.freedom.clone();
    let freedom = Freedom { pins: pin, bounds: bound, divisor };
    if !args.family.network.ends_with(".json") {
        return Ok(Space::of_family(&network_options(&args.family, dataset, args.input.size)?, &freedom)?);
    }
    let path = Path::new(&args.family.network);
    let given = [("--width", args.family.width), ("--depth", args.family.depth)];
    if let Some((what, Some(got))) = given.into_iter().find(|(_, value)| value.is_some()) {
        let expected = "nothing: the network file says it".into();
        bail!(segfit::Error::Option { what: what.into(), expected, got: got.to_string() });
    }
    let full = NetworkSpec::read(path)?;
    if (full.in_channels(), full.classes) != (dataset.channels, dataset.classes) {
        bail!(segfit::Error::Content {
            path: path.into(),
            expected: format!("a network for {} channel(s) and {} classes", dataset.channels, dataset.classes),
            got: format!("one for {} channel(s) and {} classes", full.in_channels(), full.classes),
            hint: "import or build it for these images, or choose a family with --network".into(),
        });
    }
    Ok(Space::of_network(&full, args.input.size, &freedom)?)
}

fn print_comparison(paths: &[PathBuf], global: &Global) -> Result<()> {
    let read = |path: &PathBuf| Ok((path.display().to_string(), Plan::read(path)?));
    let comparison = compare(&paths.iter().map(read).collect::<segfit::Result<Vec<_>>>()?);
    global.print(&comparison, &comparison.table())
}

/// `report.html`, or the name of the plan with that ending.
fn page_of(out: &Path) -> PathBuf {
    let (folder, name) = folder_of(out);
    folder.join(if name == "plan.json" { PAGE.into() } else { Path::new(name).with_extension("html") })
}

/// The folder to write to, and the plan's name in it.
fn folder_of(out: &Path) -> (&Path, &std::ffi::OsStr) {
    let is_file = out.extension().is_some_and(|e| e == "json");
    let (folder, name) = if is_file {
        (out.parent().unwrap_or(Path::new("")), out.file_name().unwrap_or_default())
    } else {
        (out, "plan.json".as_ref())
    };
    (if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, name)
}

/// Writes `plan.json`, `network.json`, `profile.json` and, where there is a ladder, `sizes.json`: all of them or none.
///
/// # Errors
/// When the folder cannot be made or written, or the disk is full.
pub fn write_plan(
    plan: &Plan,
    profile: &ComplexityProfile,
    ladder: Option<&Ladder>,
    out: &Path,
    global: &Global,
) -> Result<()> {
    let (folder, name) = folder_of(out);
    let mut files = vec![
        (folder.join("profile.json"), json(profile)?),
        (folder.join("network.json"), json(&plan.spec)?),
        (folder.join(name), json(plan)?),
    ];
    if let Some(ladder) = ladder {
        files.push((folder.join(SIZES), serde_json::to_vec(ladder)?));
    }
    write_together(folder, &files)?;
    let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
    global.note(&format!("written: {}", names.join(", ")));
    Ok(())
}
