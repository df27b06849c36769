//! A training step of a network with every form of convolution against PyTorch: `benchmarks/engine/make_shapes_step.py` wrote
//! the numbers.

mod stored;

use std::path::Path;

use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::LossKind;
use segfit_engine::backend::{Backend, Executor, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::cpu::simd::Isa;
use segfit_engine::state::{ParameterLayout, State, Weights};
use stored::Stored;

const BATCH: usize = 2;
const HEIGHT: usize = 20;
const WIDTH: usize = 28;

struct Reference {
    stored: Stored,
    spec: NetworkSpec,
    layout: ParameterLayout,
}

impl Reference {
    fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let stored = Stored::read("shapes_step.safetensors");
        let text = std::fs::read_to_string(folder.join("shapes_network.json")).unwrap();
        let spec: NetworkSpec = serde_json::from_str(&text).unwrap();
        spec.validate().unwrap();
        let layout = ParameterLayout::new(&spec).unwrap();
        Self { stored, spec, layout }
    }

    fn weights(&self) -> Weights {
        let mut weights =
            Weights { trained: vec![0.0; self.layout.trained_len], running: vec![0.0; self.layout.running_len] };
        for (parameter, range) in self.layout.parameters.iter().zip(&self.layout.ranges) {
            let into = if parameter.kind.is_trained() { &mut weights.trained } else { &mut weights.running };
            into[range.clone()].copy_from_slice(&self.stored.floats(&parameter.name));
        }
        weights
    }

    fn trainer(&self, isa: Isa) -> Box<dyn Executor> {
        let schedule = Schedule::new(&self.spec, Mode::Train, BATCH, HEIGHT, WIDTH).unwrap();
        let (loss, optimiser) = (LossKind::CrossEntropyDice, Optimiser::Sgd);
        let training = TrainingSpec { loss, optimiser, average_decay: 0.9, seed: 0 };
        let mut executor = CpuBackend::with_isa(isa).compile(&self.spec, schedule, Some(training)).unwrap();
        executor.set_state(State::fresh(self.weights())).unwrap();
        executor
    }

    fn target(&self) -> Vec<u8> {
        self.stored.values("target").iter().map(|&v| v as u8).collect()
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
        let mut executor = reference.trainer(isa);
        let loss =
            executor.train_step(&reference.stored.floats("input"), &reference.target(), None, rate).unwrap().total;
        let want = reference.stored.values("loss")[0];
        assert!((loss - want).abs() < 1e-5, "{} loss {loss} {want}", isa.name());
        let (before, after) = (reference.weights().trained, executor.state().unwrap());
        for (parameter, range) in reference.layout.parameters.iter().zip(&reference.layout.ranges) {
            let name = &parameter.name;
            if !parameter.kind.is_trained() {
                let want = reference.stored.values(&format!("after1.{name}"));
                let difference = largest_difference(&after.running[range.clone()], &want);
                assert!(difference < 1e-5, "{} {name}: {difference}", isa.name());
                continue;
            }
            let gradient: Vec<f32> = range.clone().map(|i| (before[i] - after.trained[i]) / rate).collect();
            let want = reference.stored.values(&format!("grad.{name}"));
            // The gradient of a bias in front of a norm is rounding alone.
            let scale = want.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
            let difference = largest_difference(&gradient, &want) / scale;
            assert!(difference < 1e-4, "{} {name}: {difference} of {scale}", isa.name());
        }
    }
}

#[test]
fn ten_losses_follow_pytorchs() {
    let reference = Reference::read();
    for isa in Isa::available() {
        let mut executor = reference.trainer(isa);
        for (step, want) in reference.stored.values("losses.sgd").iter().enumerate() {
            let loss =
                executor.train_step(&reference.stored.floats("input"), &reference.target(), None, 0.05).unwrap().total;
            assert!((loss - want).abs() < 1e-4 * want, "{} step {step}: {loss} {want}", isa.name());
        }
    }
}

#[test]
fn inference_with_folded_norms_gives_pytorchs_logits() {
    let reference = Reference::read();
    for isa in Isa::available() {
        let schedule = Schedule::new(&reference.spec, Mode::Infer, BATCH, HEIGHT, WIDTH).unwrap();
        let mut executor = CpuBackend::with_isa(isa).compile(&reference.spec, schedule, None).unwrap();
        executor.load(&reference.weights()).unwrap();
        let mut logits = Vec::new();
        executor.infer(&reference.stored.floats("input"), &mut logits).unwrap();
        let difference = largest_difference(&logits, &reference.stored.values("eval.logits"));
        assert!(difference < 1e-4, "{} {difference}", isa.name());
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let reference = Reference::read();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut executor = reference.trainer(Isa::detect());
            for _ in 0..3 {
                executor.train_step(&reference.stored.floats("input"), &reference.target(), None, 0.05).unwrap();
            }
            executor.state().unwrap()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}
