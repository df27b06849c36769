//! Measuring a latency table: many networks, each a little at a time.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use segfit::cost::latency::{
    Conditions, LatencyTable, MeasuredNetwork, MeasuredStep, TimedStep, networks_to_measure, timed_steps,
};
use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::random::Stream;
use segfit_engine::backend::{ActivationRanges, Backend, Precision};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;

use crate::context::Global;
use crate::stopwatch::Stopwatch;

/// Networks of the deepest kind that are measured, and of all shallower kinds together.
const NETWORKS: [usize; 2] = [120, 42];
/// Times that every network is visited. What disturbs the machine for a while then spoils no network's least time.
const PASSES: usize = 3;
/// Runs of a visit that count, at least; one before them does not.
const LEAST_RUNS: usize = 2;
/// How long measuring takes where nobody says, in seconds, without the time to prepare networks.
pub const SECONDS: f64 = 30.0;

/// What a table is to be measured of.
pub struct Wanted<'a> {
    /// The widest networks, the deepest last.
    pub full: &'a [NetworkSpec],
    /// They, in words.
    pub networks: String,
    /// Rows and columns of the image.
    pub size: usize,
    pub precision: Precision,
    /// Time spent in runs that count.
    pub seconds: f64,
}

impl Wanted<'_> {
    /// How and where it is measured.
    pub fn conditions(&self) -> Conditions {
        Conditions {
            device: device(&CpuBackend::detect().name()),
            threads: rayon::current_num_threads(),
            precision: self.precision.name().into(),
            size: self.size,
            networks: self.networks.clone(),
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// When the engine does not execute one of the networks.
    pub fn measure(&self, global: &Global) -> Result<LatencyTable> {
        let mut networks = self.drawn(global.seed)?;
        let count = networks.len();
        let time = Duration::from_secs_f64(self.seconds / (PASSES * count) as f64);
        let bar = global.bar(PASSES * count, "latency");
        global.note(&format!(
            "measuring a latency table: {count} networks ({}), {PASSES} times, for about {:.0} s and the time to prepare them",
            self.networks, self.seconds
        ));
        for pass in 0..PASSES {
            for i in Stream::new(&[global.seed, pass as u64]).permutation(count) {
                self.visit(&mut networks[i], time, global.seed)?;
                bar.inc(1);
            }
        }
        ProgressBar::finish_and_clear(&bar);
        let measured: Vec<MeasuredNetwork> = networks.iter().map(Drawn::measured).collect();
        Ok(LatencyTable::of(self.conditions(), &measured))
    }

    fn drawn(&self, seed: u64) -> Result<Vec<Drawn>> {
        let Some((deepest, others)) = self.full.split_last() else { return Ok(Vec::new()) };
        let mut specs = networks_to_measure(deepest, NETWORKS[0], seed)?;
        for (k, full) in others.iter().enumerate() {
            specs.extend(networks_to_measure(full, NETWORKS[1].div_ceil(others.len()), seed + 1 + k as u64)?);
        }
        specs.into_iter().map(|spec| Drawn::new(spec, self.size)).collect()
    }

    /// Runs a network for some time and keeps the least times.
    fn visit(&self, network: &mut Drawn, time: Duration, seed: u64) -> Result<()> {
        let (spec, size) = (&network.spec, network.size);
        let schedule = Schedule::new(spec, Mode::Infer, 1, size, size)?;
        // Which values int8 cuts off makes no difference to its time.
        let ranges = ActivationRanges { ranges: schedule.tensors.iter().map(|t| (t.name.clone(), 4.0)).collect() };
        let ranges = (self.precision == Precision::Int8).then_some(&ranges);
        let backend = CpuBackend::detect();
        let mut executor = backend.compile_low_precision(spec, schedule, self.precision, ranges)?;
        executor.load(&initialise(spec, seed)?)?;
        let mut stream = Stream::new(&[seed]);
        let image: Vec<f32> = (0..size * size * spec.in_channels()).map(|_| stream.normal()).collect();
        let mut logits = Vec::new();
        executor.infer(&image, &mut logits)?;
        let (begin, runs) = (Instant::now(), network.watch.runs.len());
        while network.watch.runs.len() < runs + LEAST_RUNS || begin.elapsed() < time {
            network.watch.run(executor.as_mut(), &image, &mut logits)?;
        }
        Ok(())
    }
}

/// A network that is being measured.
struct Drawn {
    spec: NetworkSpec,
    size: usize,
    parts: Vec<TimedStep>,
    watch: Stopwatch,
}

impl Drawn {
    fn new(spec: NetworkSpec, size: usize) -> Result<Self> {
        let size = size.max(1).next_multiple_of(spec.input_multiple());
        let parts = timed_steps(&spec, &Schedule::new(&spec, Mode::Infer, 1, size, size)?)?;
        Ok(Self { watch: Stopwatch::new(&parts), spec, size, parts })
    }

    fn measured(&self) -> MeasuredNetwork {
        let step = |(part, &us): (&TimedStep, &f64)| MeasuredStep {
            kind: part.kind.clone(),
            inputs: part.inputs.of(&self.spec),
            outputs: part.outputs.of(&self.spec),
            us: us.max(1e-3),
        };
        MeasuredNetwork {
            steps: self.parts.iter().zip(&self.watch.least).map(step).collect(),
            us: self.watch.runs.iter().copied().fold(f64::INFINITY, f64::min),
        }
    }
}

/// The processor's name where the system tells it, and the engine's name of its instruction set.
fn device(backend: &str) -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| backend.into(), |(_, name)| format!("{}, {backend}", name.trim()))
}
