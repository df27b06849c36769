//! Whether a device computes what the CPU computes.

use std::ops::Range;

use segfit::network::NetworkSpec;
use segfit::network::families::{Options, unet};
use segfit::network::schedule::{Mode, Schedule};
use segfit::random::Stream;
use segfit::recipe::LossKind;

use crate::backend::{Backend, Optimiser, TrainingSpec};
use crate::cpu::CpuBackend;
use crate::error::{Error, Result};
use crate::initialise::initialise;
use crate::state::{ParameterLayout, State, Weights};

/// Largest difference as a share of a tensor's largest change; rounding, in another order of sums, makes a tenth of
/// it.
const TOLERANCE: f32 = 1e-3;
/// Tensors that change by less than this share of the largest change of all are measured by that: a bias in front of a norm has
/// no gradient but rounding.
const FLOOR: f32 = 1e-2;

const TRIALS: u64 = 3;
const BATCH: usize = 2;
const SIZE: usize = 32;

const TRAINING: TrainingSpec = TrainingSpec {
    loss: LossKind::CrossEntropyDice,
    optimiser: Optimiser::AdamW { weight_decay: 0.01 },
    average_decay: 0.5,
    seed: 1,
};

/// What one device makes of the small network.
struct Outcome {
    loss: f64,
    state: State,
    logits: Vec<f32>,
}

/// Trains a small U-Net (8 to 64 channels, batch norm) for one step of AdamW and runs it, on `backend` and on the CPU: loss,
/// gradients, moments, parameters, running statistics, averages and logits must be equal but for rounding. Takes a moment.
///
/// Where a value is so near to the kink of ReLU, or to another value in max-pooling, that rounding decides, gradients differ by those of
/// a pixel: a device is refused when it fails in three trials with other weights and images.
///
/// # Errors
/// [`Error::Device`] with what differs; what the device reports.
pub fn check(backend: &dyn Backend) -> Result<()> {
    let options = Options { in_channels: 1, classes: 2, base_width: 8, depth: 3, ..Options::default() };
    let spec = unet(&options)?;
    let layout = ParameterLayout::new(&spec)?;
    let mut differs = String::new();
    for seed in 1..=TRIALS {
        let start = start(&spec, seed)?;
        let expected = compute(&CpuBackend::detect(), &spec, &start, None, seed)?;
        let got = compute(backend, &spec, &start, Some(&expected.state), seed)?;
        match difference(&layout, &start, &got, &expected) {
            None => return Ok(()),
            Some(what) => differs = what,
        }
    }
    Err(Error::Device {
        device: backend.name(),
        reason: format!("it does not compute what the CPU computes: in one training step of a small U-Net {differs}"),
        hint: "run on the CPU with --device cpu, and report the GPU and the versions of driver and NVRTC as a bug"
            .into(),
    })
}

/// Second moments of 1 make AdamW's step a smooth function of the gradient, which the first moments then show.
fn start(spec: &NetworkSpec, seed: u64) -> Result<State> {
    let mut state = State::fresh(initialise(spec, seed)?);
    state.moment2.fill(1.0);
    state.step = 9;
    Ok(state)
}

/// One step from `start`, and the logits of its end (or of `end`).
fn compute(
    backend: &dyn Backend,
    spec: &NetworkSpec,
    start: &State,
    end: Option<&State>,
    seed: u64,
) -> Result<Outcome> {
    let mut stream = Stream::new(&[seed]);
    let pixels = BATCH * SIZE * SIZE;
    let images: Vec<f32> = (0..pixels * spec.in_channels()).map(|_| stream.normal()).collect();
    let targets: Vec<u8> = (0..pixels).map(|_| stream.below(spec.classes) as u8).collect();
    let schedule = |mode| Schedule::new(spec, mode, BATCH, SIZE, SIZE);
    let mut training = backend.compile(spec, schedule(Mode::Train)?, Some(TRAINING))?;
    training.set_state(start.clone())?;
    let loss = training.train_step(&images, &targets, None, 10.0)?.total;
    let state = training.state()?;
    let mut inference = backend.compile(spec, schedule(Mode::Infer)?, None)?;
    let State { trained, running, .. } = end.unwrap_or(&state).clone();
    inference.load(&Weights { trained, running })?;
    let mut logits = Vec::new();
    inference.infer(&images, &mut logits)?;
    Ok(Outcome { loss, state, logits })
}

/// A parameter's name and its place in a part of the state.
type Tensor<'a> = (&'a str, Range<usize>);
/// A part of the state.
type Part = fn(&State) -> &Vec<f32>;

/// What differs.
fn difference(layout: &ParameterLayout, start: &State, got: &Outcome, expected: &Outcome) -> Option<String> {
    let (a, b) = (got.loss, expected.loss);
    if a.is_nan() || (a - b).abs() > f64::from(TOLERANCE) * b.abs() {
        return Some(format!("the loss is {a}, not {b}"));
    }
    let of = |trained: bool| -> Vec<Tensor<'_>> {
        let all = layout.parameters.iter().zip(&layout.ranges);
        all.filter(|(p, _)| p.kind.is_trained() == trained).map(|(p, r)| (p.name.as_str(), r.clone())).collect()
    };
    let (trained, running) = (of(true), of(false));
    let parts: [(&str, &[Tensor<'_>], Part); 6] = [
        ("gradient", &trained, |s| &s.moment1),
        ("second moment", &trained, |s| &s.moment2),
        ("change", &trained, |s| &s.trained),
        ("average", &trained, |s| &s.average_trained),
        ("change", &running, |s| &s.running),
        ("average", &running, |s| &s.average_running),
    ];
    for (what, tensors, part) in parts {
        let change = |now: &State| -> Vec<f32> { part(now).iter().zip(part(start)).map(|(a, b)| a - b).collect() };
        if let Some((name, share)) = furthest(&change(&got.state), &change(&expected.state), tensors) {
            return Some(format!("the {what} of {name} is off by {:.2}%", 100.0 * share));
        }
    }
    let all = [("all pixels", 0..expected.logits.len())];
    let (_, share) = furthest(&got.logits, &expected.logits, &all)?;
    Some(format!("the logits are off by {:.2}%", 100.0 * share))
}

/// The first tensor that is off by more than the tolerance, and by how much.
fn furthest<'a>(got: &[f32], expected: &[f32], tensors: &[Tensor<'a>]) -> Option<(&'a str, f32)> {
    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let floor = FLOOR * largest(expected);
    tensors.iter().find_map(|(name, range)| {
        let (got, expected) = (&got[range.clone()], &expected[range.clone()]);
        let scale = largest(expected).max(floor);
        let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / scale);
        let worst = off.fold(0.0, |m: f32, d| if d > m || d.is_nan() { d } else { m });
        (worst.is_nan() || worst > TOLERANCE).then_some((*name, worst))
    })
}
