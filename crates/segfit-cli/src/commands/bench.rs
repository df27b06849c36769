//! `segfit bench`: speed and memory of a network on this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use segfit::cost::latency::{Conditions, LatencyError, timed_steps};
use segfit::files::write_atomically;
use segfit::network::NetworkSpec;
use segfit::network::families::{self, build};
use segfit::network::schedule::{Mode, Schedule};
use segfit::random::Stream;
use segfit::recipe::LossKind;
use segfit_engine::backend::{CalibrationImage, Executor, Optimiser, Precision, TrainingSpec};
use segfit_engine::initialise::initialise;
use segfit_engine::state::{State, Weights};
use serde::Serialize;

use crate::context::Global;
use crate::device_options::DeviceOptions;
use crate::latency::{self, SECONDS, Wanted, in_words};
use crate::precision_options::PrecisionOptions;
use crate::stopwatch::{Layer, Stopwatch, layers, table};

/// Speed and memory of a network on this machine
///
/// Times one run of the network (--mode infer) or one training step with loss, gradients and AdamW (--mode train) on
/// random images. The minimum is the best estimate on a machine that others use too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Family of the network
    #[arg(long, default_value = "unet", value_name = "NAME")]
    network: String,
    /// A network.json, for example of a plan, instead of a family
    #[arg(long, value_name = "FILE")]
    network_file: Option<PathBuf>,
    /// Channels at full resolution
    #[arg(long, default_value_t = 16, value_name = "N")]
    width: usize,
    /// Poolings
    #[arg(long, default_value_t = 4, value_name = "N")]
    depth: usize,
    /// Channels of the image
    #[arg(long, default_value_t = 1, value_name = "N")]
    channels: usize,
    /// Classes, background included
    #[arg(long, default_value_t = 2, value_name = "N")]
    classes: usize,
    /// Rows and columns of the image
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    size: usize,
    /// Images at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,
    /// What is timed
    #[arg(long, value_enum, default_value_t = BenchMode::Infer)]
    mode: BenchMode,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    precision: PrecisionOptions,
    /// How long to measure [default: 2, with --table 30]
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    seconds: Option<f64>,
    /// Also time every step as it is executed: layers that are fused are one step. Each step's least time is given
    #[arg(long)]
    layers: bool,
    /// Also say what this latency table predicts for the network
    #[arg(long, value_name = "FILE", conflicts_with_all = ["table", "batch"])]
    latency_table: Option<PathBuf>,
    /// Measure a latency table for `segfit plan --device` instead: the time of every step of these networks, from 1 channel to
    /// those of --width or of the file in every group, and at all depths to --depth, in f32 or in --precision with
    /// --threads threads. Takes a minute or two; shows how far predictions from it are from whole networks
    #[arg(long, value_name = "FILE", conflicts_with_all = ["layers", "mode", "batch", "device"])]
    table: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum BenchMode {
    /// One forward pass
    Infer,
    /// One training step
    Train,
}

#[derive(Serialize)]
struct Milliseconds {
    min: f64,
    median: f64,
}

#[derive(Serialize)]
struct Report {
    mode: BenchMode,
    precision: Precision,
    batch: usize,
    size: usize,
    params: u64,
    ms: Milliseconds,
    runs: usize,
    images_per_second: f64,
    peak_bytes: u64,
    threads: usize,
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_ms: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer>,
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    match &args.table {
        Some(path) => measure_table(args, path, global),
        None => measure_network(args, global),
    }
}

/// `--table`.
fn measure_table(args: &Args, path: &Path, global: &Global) -> Result<()> {
    // Minutes of measuring must not end at a folder that is not there.
    if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(segfit::Error::Io { path: path.into(), source: std::io::ErrorKind::NotFound.into() }.into());
    }
    let depths = if args.network_file.is_some() { args.depth..=args.depth } else { 1..=args.depth };
    let full = depths.map(|depth| network(args, depth)).collect::<Result<Vec<_>>>()?;
    let wanted = Wanted {
        networks: in_words(&full[full.len() - 1]),
        full: &full,
        size: args.size,
        precision: args.precision.engine(),
        seconds: args.seconds.unwrap_or(SECONDS),
    };
    let table = wanted.measure(global)?;
    write_atomically(path, &table.to_json())?;
    let about = &table.conditions;
    let error = table.error.map_or_else(String::new, |e| {
        format!(
            "Predicted against measured, {} networks, each from the others: median error {:.1}%, 90th percentile {:.1}%;\n\
             19 of 20 take at most {:.1}% longer than predicted.\n",
            e.networks,
            100.0 * e.median,
            100.0 * e.p90,
            100.0 * e.late
        )
    });
    let text = format!(
        "{file}: {} steps of {}, {size}x{size} pixels, {}, {} threads, {}\n{error}\
         Use it: segfit plan DATA --max-latency 20ms --device {file}",
        table.steps.len(),
        about.networks,
        about.precision,
        about.threads,
        about.device,
        file = path.display(),
        size = about.size,
    );
    let summary = Summary { table: path, conditions: about, steps: table.steps.len(), error: table.error };
    global.print(&summary, &text)
}

/// A time in seconds that can be waited for.
fn duration(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.0..=1e6).contains(s)).ok_or_else(|| "expected a number of seconds from 0".into())
}

/// The network that is asked for, with this depth if it is of a family.
fn network(args: &Args, depth: usize) -> Result<NetworkSpec> {
    let Some(path) = &args.network_file else {
        let Args { channels: in_channels, classes, width: base_width, .. } = *args;
        let options = families::Options { in_channels, classes, base_width, depth, ..families::Options::default() };
        return Ok(build(&args.network, &options)?);
    };
    Ok(NetworkSpec::read(path)?)
}

/// One network.
fn measure_network(args: &Args, global: &Global) -> Result<()> {
    let spec = network(args, args.depth)?;
    let mode = if args.mode == BenchMode::Train { Mode::Train } else { Mode::Infer };
    let schedule = Schedule::new(&spec, mode, args.batch, args.size, args.size)?;
    let training = TrainingSpec {
        loss: LossKind::CrossEntropyDice,
        optimiser: Optimiser::AdamW { weight_decay: 1e-4 },
        average_decay: 0.0,
        seed: global.seed,
    };
    if args.layers && mode == Mode::Train {
        bail!("--layers is for --mode infer");
    }
    let predicted_ms = match &args.latency_table {
        Some(path) if mode == Mode::Infer => Some(latency::given(path, args.size)?.milliseconds(&spec)?),
        Some(_) => bail!("--latency-table is for --mode infer"),
        None => None,
    };
    let steps = if args.layers { timed_steps(&spec, &schedule)? } else { Vec::new() };
    let precision = args.precision.engine();
    let backend = args.device.open_for(precision, global)?;
    let samples = Samples::new(args, &spec, global.seed)?;
    let mut executor = match (mode, precision) {
        (Mode::Train, Precision::F32) => backend.compile(&spec, schedule, Some(training))?,
        (Mode::Train, _) => bail!("training is in f32 only; {} is for --mode infer", precision.name()),
        (Mode::Infer, Precision::Int8) => {
            let ranges = backend.calibrate(&spec, &samples.weights, &samples.calibration(args))?;
            backend.compile_low_precision(&spec, schedule, precision, Some(&ranges))?
        }
        (Mode::Infer, _) => backend.compile_low_precision(&spec, schedule, precision, None)?,
    };
    let mut watch = args.layers.then(|| Stopwatch::new(&steps));
    let times = measure(args, samples, executor.as_mut(), watch.as_mut())?;
    let min = times[0];
    let report = Report {
        mode: args.mode,
        precision,
        batch: args.batch,
        size: args.size,
        params: segfit::cost::parameters(&spec)?,
        ms: Milliseconds { min, median: times[times.len() / 2] },
        runs: times.len(),
        images_per_second: args.batch as f64 * 1e3 / min,
        peak_bytes: executor.bytes(),
        threads: rayon::current_num_threads(),
        device: backend.name(),
        predicted_ms,
        layers: watch.map(|watch| layers(&spec, &steps, &watch)).unwrap_or_default(),
    };
    let text = format!(
        "{:.3} ms at best, {:.3} ms in the median of {} runs; {:.1} images/s; {:.1} MiB; {} threads on {}",
        report.ms.min,
        report.ms.median,
        report.runs,
        report.images_per_second,
        report.peak_bytes as f64 / 1_048_576.0,
        report.threads,
        report.device
    );
    let predicted = report.predicted_ms.map_or_else(String::new, |ms| {
        format!("\n{ms:.3} ms predicted, {:+.1}% from the best", 100.0 * (ms / report.ms.min - 1.0))
    });
    let steps = if report.layers.is_empty() { String::new() } else { format!("\n\n{}", table(&report.layers)) };
    global.print(&report, &(text + &predicted + &steps))
}

/// What `--table` prints with `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    table: &'a Path,
    #[serde(flatten)]
    conditions: &'a Conditions,
    steps: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<LatencyError>,
}

/// Random images, targets and weights.
struct Samples {
    images: Vec<f32>,
    targets: Vec<u8>,
    weights: Weights,
}

impl Samples {
    fn new(args: &Args, spec: &NetworkSpec, seed: u64) -> Result<Self> {
        let pixels = args.batch * args.size * args.size;
        let mut stream = Stream::new(&[seed]);
        Ok(Self {
            images: (0..pixels * spec.in_channels()).map(|_| stream.normal()).collect(),
            targets: (0..pixels).map(|_| stream.below(spec.classes) as u8).collect(),
            weights: initialise(spec, seed)?,
        })
    }

    /// The images one by one.
    fn calibration(&self, args: &Args) -> Vec<CalibrationImage> {
        let image = |data: &[f32]| CalibrationImage { height: args.size, width: args.size, data: data.to_vec() };
        self.images.chunks_exact(self.images.len() / args.batch).map(image).collect()
    }
}

/// Milliseconds of each run, sorted, after three runs that are not counted.
fn measure(
    args: &Args,
    samples: Samples,
    executor: &mut dyn Executor,
    mut watch: Option<&mut Stopwatch>,
) -> Result<Vec<f64>> {
    let Samples { images, targets, weights } = samples;
    match args.mode {
        BenchMode::Infer => executor.load(&weights)?,
        BenchMode::Train => executor.set_state(State::fresh(weights))?,
    }
    let mut logits = Vec::new();
    let mut times = Vec::new();
    let mut begin = Instant::now();
    for round in 0.. {
        if round == 3 {
            begin = Instant::now();
        }
        let start = Instant::now();
        match (args.mode, &mut watch) {
            (BenchMode::Infer, Some(watch)) => watch.run(executor, &images, &mut logits)?,
            (BenchMode::Infer, None) => executor.infer(&images, &mut logits)?,
            (BenchMode::Train, _) => {
                executor.train_step(&images, &targets, None, 1e-3)?;
            }
        }
        if round >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        if times.len() >= 3 && begin.elapsed() >= Duration::from_secs_f64(args.seconds.unwrap_or(2.0)) {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
