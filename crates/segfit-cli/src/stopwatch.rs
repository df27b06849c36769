//! The time of every part of an inference run.

use std::time::Instant;

use anyhow::Result;
use segfit::cost::latency::TimedStep;
use segfit_engine::backend::{Executor, Part};
use serde::Serialize;

use crate::table::Table;

/// Microseconds of the parts of one run after another: the least of each, and of whole runs.
pub struct Stopwatch {
    /// Part of [`segfit::cost::latency::timed_steps`] that a step of the schedule belongs to.
    part_of: Vec<usize>,
    /// Of the run under way.
    now: Vec<f64>,
    /// The least of each part.
    pub least: Vec<f64>,
    /// Whole runs, in order.
    pub runs: Vec<f64>,
}

impl Stopwatch {
    /// A watch for these parts of a network.
    pub fn new(parts: &[TimedStep]) -> Self {
        let part_of = parts.iter().enumerate().flat_map(|(i, p)| p.steps.clone().map(move |_| i)).collect();
        Self { part_of, now: vec![0.0; parts.len()], least: vec![f64::INFINITY; parts.len()], runs: Vec::new() }
    }

    /// Runs the network once.
    ///
    /// # Errors
    /// When the images do not fit.
    pub fn run(&mut self, executor: &mut dyn Executor, images: &[f32], logits: &mut Vec<f32>) -> Result<()> {
        let Self { part_of, now, .. } = self;
        now.fill(0.0);
        let last = now.len() - 1;
        let start = Instant::now();
        let mut before = start;
        executor.infer_watched(images, logits, &mut |part| {
            let time = Instant::now();
            let index = match part {
                Part::Image => 0,
                Part::Step(step) => part_of[step],
                Part::Logits => last,
            };
            now[index] += (time - before).as_secs_f64() * 1e6;
            before = time;
        })?;
        self.runs.push(start.elapsed().as_secs_f64() * 1e6);
        for (least, now) in self.least.iter_mut().zip(&self.now) {
            *least = least.min(*now);
        }
        Ok(())
    }
}

/// A part of a network and its time.
#[derive(Serialize)]
pub struct Layer {
    name: String,
    step: String,
    rows: usize,
    columns: usize,
    inputs: usize,
    outputs: usize,
    ms: f64,
    share: f64,
}

/// The parts with the least time of each; shares are of their sum.
pub fn layers(spec: &segfit::network::NetworkSpec, parts: &[TimedStep], watch: &Stopwatch) -> Vec<Layer> {
    let all: f64 = watch.least.iter().sum();
    let layer = |(part, &us): (&TimedStep, &f64)| Layer {
        name: part.name.clone(),
        step: part.kind.what.clone(),
        rows: part.kind.rows,
        columns: part.kind.columns,
        inputs: part.inputs.of(spec),
        outputs: part.outputs.of(spec),
        ms: us / 1e3,
        share: us / all,
    };
    parts.iter().zip(&watch.least).map(layer).collect()
}

/// The table for a person.
pub fn table(layers: &[Layer]) -> String {
    let mut table = Table::new(&["<writes", "<step", "pixels", "channels", "ms", "share"]);
    for layer in layers {
        table.row(vec![
            layer.name.clone(),
            layer.step.clone(),
            format!("{}x{}", layer.rows, layer.columns),
            format!("{} to {}", layer.inputs, layer.outputs),
            format!("{:.4}", layer.ms),
            format!("{:.1}%", 100.0 * layer.share),
        ]);
    }
    table.to_string()
}
