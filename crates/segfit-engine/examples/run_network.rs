//! Runs a network on given pixels, to compare it with other programs.
//!
//! ```text
//! run_network random NETWORK.json WEIGHTS.safetensors SEED
//! run_network run NETWORK.json WEIGHTS.safetensors ROWS COLUMNS IMAGE.raw LOGITS.raw
//! ```
//!
//! `random` writes random weights, running statistics included, and nothing else. `run` reads `[channels][rows][columns]` as
//! little-endian f32 and writes `[classes][rows][columns]` in the same way.

use std::error::Error;
use std::path::Path;

use segfit::files::{read_json, write_atomically};
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{NETWORK_FORMAT, NetworkSpec, ParameterKind};
use segfit::random::Stream;
use segfit_engine::backend::Backend as _;
use segfit_engine::checkpoint::{load_weights, save_weights};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::state::{ParameterLayout, Weights};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["random", network, weights, seed] => random(network, weights, seed.parse()?),
        ["run", network, weights, rows, columns, image, logits] => {
            run(network, weights, (rows.parse()?, columns.parse()?), image, logits)
        }
        _ => Err("see the head of run_network.rs for its arguments".into()),
    }
}

fn random(network: &str, out: &str, seed: u64) -> Result<(), Box<dyn Error>> {
    let spec: NetworkSpec = read_json(Path::new(network), NETWORK_FORMAT)?;
    let layout = ParameterLayout::new(&spec)?;
    let mut weights = initialise(&spec, seed)?;
    let mut stream = Stream::new(&[seed]);
    for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
        let Weights { trained, running } = &mut weights;
        match parameter.kind {
            ParameterKind::Scale => trained[range.clone()].fill_with(|| stream.range(0.5, 1.5)),
            ParameterKind::Bias | ParameterKind::Shift => trained[range.clone()].fill_with(|| 0.2 * stream.normal()),
            ParameterKind::RunningMean => running[range.clone()].fill_with(|| 0.2 * stream.normal()),
            ParameterKind::RunningVariance => running[range.clone()].fill_with(|| stream.range(0.5, 1.5)),
            ParameterKind::Weight | ParameterKind::Slope => {}
        }
    }
    Ok(save_weights(Path::new(out), &spec, &weights)?)
}

fn run(network: &str, weights: &str, size: (usize, usize), image: &str, out: &str) -> Result<(), Box<dyn Error>> {
    let spec: NetworkSpec = read_json(Path::new(network), NETWORK_FORMAT)?;
    let bytes = std::fs::read(image)?;
    let pixels: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let schedule = Schedule::new(&spec, Mode::Infer, 1, size.0, size.1)?;
    let mut executor = CpuBackend::detect().compile(&spec, schedule, None)?;
    executor.load(&load_weights(Path::new(weights), &spec)?)?;
    let mut logits = Vec::new();
    executor.infer(&pixels, &mut logits)?;
    let bytes: Vec<u8> = logits.iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(write_atomically(Path::new(out), &bytes)?)
}
