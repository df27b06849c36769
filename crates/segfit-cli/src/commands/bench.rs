//! `segfit bench`: speed and memory of a network on this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use segfit::files::read_json;
use segfit::network::families::{UnetOptions, build};
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{NETWORK_FORMAT, NetworkSpec};
use segfit::random::Stream;
use segfit::recipe::LossKind;
use segfit_engine::backend::{Backend, Executor, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::state::State;
use serde::Serialize;

use crate::context::Global;

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
    /// Arithmetic
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// How long to measure
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum BenchMode {
    /// One forward pass
    Infer,
    /// One training step
    Train,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Precision {
    /// 32-bit floats
    F32,
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
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let spec = match &args.network_file {
        Some(path) => {
            let spec: NetworkSpec = read_json(path, NETWORK_FORMAT)?;
            spec.validate()?;
            spec
        }
        None => {
            let Args { channels, classes, width, depth, .. } = *args;
            build(&args.network, &UnetOptions { in_channels: channels, classes, base_width: width, depth })?
        }
    };
    let backend = CpuBackend::detect();
    let mode = if args.mode == BenchMode::Train { Mode::Train } else { Mode::Infer };
    let schedule = Schedule::new(&spec, mode, args.batch, args.size, args.size)?;
    let training = TrainingSpec {
        loss: LossKind::CrossEntropyDice,
        optimiser: Optimiser::AdamW { weight_decay: 1e-4 },
        average_decay: 0.0,
    };
    let mut executor = backend.compile(&spec, schedule, (mode == Mode::Train).then_some(training))?;
    let times = measure(args, &spec, executor.as_mut(), global.seed)?;
    let min = times[0];
    let report = Report {
        mode: args.mode,
        precision: args.precision,
        batch: args.batch,
        size: args.size,
        params: segfit::cost::parameters(&spec)?,
        ms: Milliseconds { min, median: times[times.len() / 2] },
        runs: times.len(),
        images_per_second: args.batch as f64 * 1e3 / min,
        peak_bytes: executor.bytes(),
        threads: rayon::current_num_threads(),
        device: backend.name(),
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
    global.print(&report, &text)
}

/// Milliseconds of each run, sorted, after three runs that are not counted.
fn measure(args: &Args, spec: &NetworkSpec, executor: &mut dyn Executor, seed: u64) -> Result<Vec<f64>> {
    let pixels = args.batch * args.size * args.size;
    let mut stream = Stream::new(&[seed]);
    let images: Vec<f32> = (0..pixels * spec.in_channels()).map(|_| stream.normal()).collect();
    let targets: Vec<u8> = (0..pixels).map(|_| stream.below(spec.classes) as u8).collect();
    let weights = initialise(spec, seed)?;
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
        match args.mode {
            BenchMode::Infer => executor.infer(&images, &mut logits)?,
            BenchMode::Train => {
                executor.train_step(&images, &targets, 1e-3)?;
            }
        }
        if round >= 3 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        if times.len() >= 3 && begin.elapsed() >= Duration::from_secs_f64(args.seconds) {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
