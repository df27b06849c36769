//! A whole U-Net step against PyTorch: `benchmarks/engine/make_reference_step.py` wrote the numbers.

mod stored;

use std::path::Path;

use segfit::network::families::{Options, unet};
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{NetworkSpec, ParameterKind};
use segfit::recipe::LossKind;
use segfit_engine::backend::{Backend, Executor, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::cpu::simd::Isa;
use segfit_engine::state::{ParameterLayout, State, Weights};
use stored::Stored;

const BATCH: usize = 2;
const HEIGHT: usize = 16;
const WIDTH: usize = 24;

struct Reference {
    stored: Stored,
    spec: NetworkSpec,
    layout: ParameterLayout,
}

impl Reference {
    fn read() -> Self {
        let stored = Stored::read("unet_step.safetensors");
        let spec =
            unet(&Options { in_channels: 3, classes: 3, base_width: 4, depth: 2, ..Options::default() }).unwrap();
        let layout = ParameterLayout::new(&spec).unwrap();
        Self { stored, spec, layout }
    }

    /// Parameters and statistics whose names begin with `prefix`.
    fn weights(&self, prefix: &str) -> Weights {
        let mut weights =
            Weights { trained: vec![0.0; self.layout.trained_len], running: vec![0.0; self.layout.running_len] };
        for (parameter, range) in self.layout.parameters.iter().zip(&self.layout.ranges) {
            let into = if parameter.kind.is_trained() { &mut weights.trained } else { &mut weights.running };
            into[range.clone()].copy_from_slice(&self.stored.floats(&format!("{prefix}{}", parameter.name)));
        }
        weights
    }

    fn trainer(&self, isa: Isa, optimiser: Optimiser) -> Box<dyn Executor> {
        let schedule = Schedule::new(&self.spec, Mode::Train, BATCH, HEIGHT, WIDTH).unwrap();
        let training = TrainingSpec { loss: LossKind::CrossEntropyDice, optimiser, average_decay: 0.9, seed: 0 };
        let mut executor = CpuBackend::with_isa(isa).compile(&self.spec, schedule, Some(training)).unwrap();
        executor.set_state(State::fresh(self.weights(""))).unwrap();
        executor
    }

    fn target(&self) -> Vec<u8> {
        self.stored.values("target").iter().map(|&v| v as u8).collect()
    }

    /// A bias in front of a batch norm: its true gradient is zero, what is left is rounding.
    fn has_no_gradient(&self, name: &str) -> bool {
        name.contains(".conv") && name.ends_with(".bias")
    }
}

fn largest_difference(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs()).fold(0.0, f64::max)
}

#[test]
fn one_step_gives_pytorchs_loss_gradients_and_statistics() {
    let reference = Reference::read();
    for isa in Isa::available() {
        // With plain gradient descent and a large rate the step shows the gradients.
        let rate = 64.0_f32;
        let mut executor = reference.trainer(isa, Optimiser::Sgd);
        let loss =
            executor.train_step(&reference.stored.floats("input"), &reference.target(), None, rate).unwrap().total;
        let want = reference.stored.values("f64.loss")[0];
        assert!((loss - want).abs() < 1e-5, "{} loss {loss} {want}", isa.name());
        let (before, after) = (reference.weights("").trained, executor.state().unwrap());
        for (parameter, range) in reference.layout.parameters.iter().zip(&reference.layout.ranges) {
            let name = &parameter.name;
            if !parameter.kind.is_trained() {
                let want = reference.stored.values(&format!("after1.{name}"));
                let difference = largest_difference(&after.running[range.clone()], &want);
                assert!(difference < 1e-5, "{} {name}: {difference}", isa.name());
                continue;
            }
            let gradient: Vec<f32> = range.clone().map(|i| (before[i] - after.trained[i]) / rate).collect();
            let want = reference.stored.values(&format!("f64.grad.{name}"));
            let scale = want.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
            let difference = largest_difference(&gradient, &want) / scale;
            assert!(difference < 1e-4, "{} {name}: {difference} of {scale}", isa.name());
        }
    }
}

#[test]
fn adamw_moves_the_parameters_as_pytorch_does() {
    let reference = Reference::read();
    let mut executor = reference.trainer(Isa::detect(), Optimiser::AdamW { weight_decay: 1e-4 });
    executor.train_step(&reference.stored.floats("input"), &reference.target(), None, 1e-3).unwrap();
    let after = executor.state().unwrap();
    for (parameter, range) in reference.layout.parameters.iter().zip(&reference.layout.ranges) {
        if parameter.kind.is_trained() && !reference.has_no_gradient(&parameter.name) {
            let want = reference.stored.values(&format!("after1.{}", parameter.name));
            let difference = largest_difference(&after.trained[range.clone()], &want);
            assert!(difference < 2e-5, "{}: {difference}", parameter.name);
        }
    }
}

#[test]
fn twenty_losses_follow_pytorchs() {
    let reference = Reference::read();
    let (input, target) = (reference.stored.floats("input"), reference.target());
    let runs = [
        ("losses.adamw", Optimiser::AdamW { weight_decay: 1e-4 }, 1e-3, 1e-3),
        ("losses.sgd", Optimiser::Sgd, 0.05, 1e-4),
    ];
    for isa in Isa::available() {
        for (name, optimiser, rate, tolerance) in runs {
            let mut executor = reference.trainer(isa, optimiser);
            for (step, want) in reference.stored.values(name).iter().enumerate() {
                let got = executor.train_step(&input, &target, None, rate).unwrap().total;
                assert!((got - want).abs() < tolerance * want, "{} {name} step {step}: {got} {want}", isa.name());
            }
        }
    }
}

/// The numbers u(t, i) of `make_reference_step.py`.
fn uniform(number: u64, count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut z = ((number << 32) + i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// Initial weights of `make_reference_step.py` for any network.
fn formula_weights(spec: &NetworkSpec) -> Weights {
    let layout = ParameterLayout::new(spec).unwrap();
    let mut weights = Weights { trained: vec![0.0; layout.trained_len], running: vec![0.0; layout.running_len] };
    for (number, (parameter, range)) in layout.parameters.iter().zip(&layout.ranges).enumerate() {
        let u = uniform(number as u64, range.len());
        let into = if parameter.kind.is_trained() { &mut weights.trained } else { &mut weights.running };
        let fan: usize = parameter.shape[1..].iter().product();
        let (factor, shift) = match parameter.kind {
            ParameterKind::Weight => ((6.0 / fan as f64).sqrt() as f32, 0.0),
            ParameterKind::Scale | ParameterKind::RunningVariance => (0.2, 1.0),
            _ => (0.1, 0.0),
        };
        into[range.clone()].iter_mut().zip(u).for_each(|(w, u)| *w = shift + factor * u);
    }
    weights
}

/// A disc of class 1 and a rectangle of class 2 in each of two images, as in `make_reference_step.py`.
fn formula_target(rows: i64, columns: i64) -> Vec<u8> {
    let class = |n: i64, r: i64, c: i64| {
        let in_rectangle = (9 - 5 * n..13 - 5 * n).contains(&r) && (13 - 10 * n..22 - 10 * n).contains(&c);
        let in_disc = (r - 6 - 2 * n).pow(2) + (c - 7 - 5 * n).pow(2) <= 20;
        if in_rectangle { 2 } else { u8::from(in_disc) }
    };
    let pixels = |n| (0..rows).flat_map(move |r| (0..columns).map(move |c| class(n, r, c)));
    (0..2).flat_map(pixels).collect()
}

#[test]
fn twenty_losses_of_a_wider_network_follow_pytorchs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/unet_losses.json");
    let reference: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let spec = unet(&Options { in_channels: 3, classes: 3, base_width: 16, depth: 3, ..Options::default() }).unwrap();
    let (size, weights, target) = (64, formula_weights(&spec), formula_target(64, 64));
    let mut input = uniform(1000, 2 * 3 * size * size);
    for (k, v) in input.iter_mut().enumerate() {
        let (image, channel, pixel) = (k / (3 * size * size), k / (size * size) % 3, k % (size * size));
        *v = 0.5 * *v + if usize::from(target[image * size * size + pixel]) == channel { 0.4 } else { 0.0 };
    }
    let adamw = Optimiser::AdamW { weight_decay: 1e-4 };
    for isa in Isa::available() {
        for (name, optimiser, rate, tolerance) in [("adamw", adamw, 2e-4, 1e-3), ("sgd", Optimiser::Sgd, 0.01, 1e-4)] {
            let schedule = Schedule::new(&spec, Mode::Train, 2, size, size).unwrap();
            let training = TrainingSpec { loss: LossKind::CrossEntropyDice, optimiser, average_decay: 0.9, seed: 0 };
            let mut executor = CpuBackend::with_isa(isa).compile(&spec, schedule, Some(training)).unwrap();
            executor.set_state(State::fresh(weights.clone())).unwrap();
            let mut worst = 0.0_f64;
            for want in reference[name].as_array().unwrap() {
                let (got, want) =
                    (executor.train_step(&input, &target, None, rate).unwrap().total, want.as_f64().unwrap());
                worst = worst.max((got - want).abs() / want);
            }
            assert!(worst < tolerance, "{} {name}: {worst}", isa.name());
        }
    }
}

#[test]
fn inference_with_folded_norms_gives_pytorchs_logits() {
    let reference = Reference::read();
    for isa in Isa::available() {
        let schedule = Schedule::new(&reference.spec, Mode::Infer, BATCH, HEIGHT, WIDTH).unwrap();
        let mut executor = CpuBackend::with_isa(isa).compile(&reference.spec, schedule, None).unwrap();
        let mut weights = reference.weights("");
        let mut logits = Vec::new();
        for (name, prefix) in [("eval.initial.logits", ""), ("eval.updated_stats.logits", "after1.")] {
            weights.running = reference.weights(prefix).running;
            executor.load(&weights).unwrap();
            executor.infer(&reference.stored.floats("input"), &mut logits).unwrap();
            let difference = largest_difference(&logits, &reference.stored.values(name));
            assert!(difference < 1e-4, "{} {name}: {difference}", isa.name());
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let reference = Reference::read();
    let (input, target) = (reference.stored.floats("input"), reference.target());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut executor = reference.trainer(Isa::detect(), Optimiser::AdamW { weight_decay: 1e-4 });
            for _ in 0..3 {
                executor.train_step(&input, &target, None, 1e-3).unwrap();
            }
            executor.state().unwrap()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}
