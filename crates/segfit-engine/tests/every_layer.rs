//! A network with a layer of every kind: its gradient against finite differences, the same bits for any number of threads
//! and after a resumption, auxiliary heads, and inference.

mod layers;

use segfit::network::families::{Options, unet};
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{NetworkSpec, Op, ParameterKind};
use segfit::random::Stream;
use segfit::recipe::LossKind;
use segfit_engine::Error;
use segfit_engine::backend::{Backend, Executor, Optimiser, Precision, TrainingSpec};
use segfit_engine::checkpoint::{load_weights, save_weights};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::state::{ParameterLayout, State, Weights};

use layers::{BATCH, SIZE, images, network, weights, with_head};

const TRAINING: TrainingSpec =
    TrainingSpec { loss: LossKind::CrossEntropyDice, optimiser: Optimiser::Sgd, average_decay: 0.0, seed: 5 };

fn trainer(spec: &NetworkSpec, (height, width): (usize, usize)) -> Box<dyn Executor> {
    let schedule = Schedule::new(spec, Mode::Train, BATCH, height, width).unwrap();
    CpuBackend::detect().compile(spec, schedule, Some(TRAINING)).unwrap()
}

/// The loss with some parameters, and their gradient: what a step of rate 1 takes off.
fn loss_and_gradient(executor: &mut dyn Executor, weights: &Weights) -> (f64, Vec<f32>) {
    let (images, targets) = images(SIZE);
    executor.set_state(State::fresh(weights.clone())).unwrap();
    let loss = executor.train_step(&images, &targets, None, 1.0).unwrap().total;
    let after = executor.state().unwrap().trained;
    (loss, weights.trained.iter().zip(after).map(|(before, after)| before - after).collect())
}

/// Central differences along the gradient of each parameter tensor and along a random direction. Kinks of the activations spoil
/// large steps and the rounding of f32 small ones, so the nearest of three counts; it may differ by 1% of the gradient's
/// length (and 1e-4).
#[test]
fn the_gradient_of_every_parameter_is_that_of_finite_differences() {
    let spec = network();
    let layout = ParameterLayout::new(&spec).unwrap();
    let start = weights(&spec);
    let mut executor = trainer(&spec, SIZE);
    let (_, gradient) = loss_and_gradient(executor.as_mut(), &start);
    let mut stream = Stream::new(&[11]);
    let (mut worst, mut checked) = (0.0_f64, 0);
    for (parameter, range) in layout.parameters.iter().zip(&layout.ranges).filter(|(p, _)| p.kind.is_trained()) {
        let own = &gradient[range.clone()];
        let length = own.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        if parameter.name.starts_with("lost") || parameter.name.starts_with("aside") {
            assert_eq!(length, 0.0, "{} reaches no head", parameter.name);
            continue;
        }
        let random: Vec<f64> = own.iter().map(|_| f64::from(stream.normal())).collect();
        let along: Vec<f64> = own.iter().map(|g| f64::from(*g)).collect();
        for direction in [random, along] {
            let norm = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            if norm < 1e-6 {
                continue;
            }
            let mut at = |step: f64| {
                let mut moved = start.clone();
                for (value, d) in moved.trained[range.clone()].iter_mut().zip(&direction) {
                    *value = (f64::from(*value) + step * d / norm) as f32;
                }
                loss_and_gradient(executor.as_mut(), &moved).0
            };
            let got: f64 = own.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d / norm).sum();
            let expected = [4e-3, 1e-3, 2.5e-4].map(|step| (at(step) - at(-step)) / (2.0 * step));
            let nearest = expected.iter().map(|e| (got - e).abs()).fold(f64::INFINITY, f64::min);
            let error = nearest / (0.01 * length + 1e-4);
            assert!(error < 1.0, "{}: {got}, by differences {expected:?}, length {length}", parameter.name);
            worst = worst.max(error);
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked} directions, worst {worst}");
}

#[test]
fn an_auxiliary_head_adds_its_weighted_gradient_and_not_its_loss() {
    let (with, without) = (with_head(0.4), network());
    let alone = NetworkSpec { output: "aside".into(), ..network() };
    let start = weights(&without);
    let [total, output, aside] =
        [&with, &without, &alone].map(|spec| loss_and_gradient(trainer(spec, SIZE).as_mut(), &start));
    assert_eq!(total.0, output.0);
    for (i, got) in total.1.iter().enumerate() {
        let expected = output.1[i] + 0.4 * aside.1[i];
        assert!((got - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{i}: {got} {expected}");
    }
    assert_ne!(total.1, output.1);
    let layout = ParameterLayout::new(&with).unwrap();
    let bias = layout.parameters.iter().position(|p| p.name == "aside.bias").unwrap();
    assert!(total.1[layout.ranges[bias].clone()].iter().all(|&g| g != 0.0), "the head itself is trained");
}

#[test]
fn steps_have_the_same_bits_for_any_number_of_threads_and_after_a_resumption() {
    let (spec, size) = (with_head(0.3), (48, 40));
    let (images, targets) = images(size);
    let run = |threads: usize, stops: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut state = State::fresh(weights(&spec));
            let mut losses = Vec::new();
            for steps in [stops, 4 - stops] {
                let mut executor = trainer(&spec, size);
                executor.set_state(state.clone()).unwrap();
                for _ in 0..steps {
                    losses.push(executor.train_step(&images, &targets, None, 0.05).unwrap().total);
                }
                state = executor.state().unwrap();
            }
            (state, losses)
        })
    };
    let reference = run(1, 0);
    assert!(reference.1.windows(2).all(|l| l[0] != l[1]));
    for (threads, stops) in [(2, 0), (3, 1), (1, 3)] {
        assert!(run(threads, stops) == reference, "{threads} threads, stopped after {stops} steps");
    }
}

#[test]
fn dropout_draws_anew_in_every_step_and_for_every_seed() {
    let spec = network();
    let (images, targets) = images(SIZE);
    let losses = |seed: u64| {
        let schedule = Schedule::new(&spec, Mode::Train, BATCH, SIZE.0, SIZE.1).unwrap();
        let training = TrainingSpec { seed, ..TRAINING };
        let mut executor = CpuBackend::detect().compile(&spec, schedule, Some(training)).unwrap();
        executor.set_state(State::fresh(weights(&spec))).unwrap();
        [0, 1].map(|_| executor.train_step(&images, &targets, None, 0.0).unwrap().total)
    };
    let (first, second) = (losses(1), losses(2));
    assert!(first[0] != first[1] && first[0] != second[0]);
    assert_eq!(first, losses(1));
}

/// With the statistics of one batch, inference on that batch gives the logits that its training step had. The variance that
/// is kept is the unbiased one, the one that normalises is not.
#[test]
fn inference_gives_the_loss_of_training_when_statistics_are_those_of_the_batch() {
    let mut spec = with_head(0.3);
    for layer in &mut spec.layers {
        if let Op::Dropout { p } = &mut layer.op {
            *p = 0.0;
        }
    }
    let layout = ParameterLayout::new(&spec).unwrap();
    let (images, targets) = images(SIZE);
    let mut executor = trainer(&spec, SIZE);
    executor.set_state(State::fresh(weights(&spec))).unwrap();
    let loss = executor.train_step(&images, &targets, None, 0.0).unwrap();
    let State { trained, mut running, .. } = executor.state().unwrap();
    for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
        if parameter.kind == ParameterKind::RunningVariance {
            let pixels = SIZE.0 * SIZE.1 / if parameter.name.starts_with('d') { 4 } else { 1 };
            let n = (BATCH * pixels) as f32;
            running[range.clone()].iter_mut().for_each(|v| *v *= (n - 1.0) / n);
        }
    }
    let all = Weights { trained, running };
    let deployed = spec.without_auxiliary();
    let selected = all.select(&spec, &deployed).unwrap();
    let logits_of = |spec: &NetworkSpec, weights: &Weights| {
        let schedule = Schedule::new(spec, Mode::Infer, BATCH, SIZE.0, SIZE.1).unwrap();
        let mut executor = CpuBackend::detect().compile(spec, schedule, None).unwrap();
        executor.load(weights).unwrap();
        let mut logits = Vec::new();
        executor.infer(&images, &mut logits).unwrap();
        (logits, executor.bytes())
    };
    let ((logits, bytes), (small, fewer)) = (logits_of(&spec, &all), logits_of(&deployed, &selected));
    assert_eq!(logits, small, "the head that only training uses changes nothing");
    assert_eq!(bytes, fewer);
    let n = SIZE.0 * SIZE.1;
    let entropy = |i: usize| {
        let z: Vec<f64> = (0..3).map(|c| f64::from(logits[(i / n * 3 + c) * n + i % n])).collect();
        z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[usize::from(targets[i])]
    };
    let mean = (0..BATCH * n).map(entropy).sum::<f64>() / (BATCH * n) as f64;
    assert!((mean - loss.cross_entropy).abs() < 1e-5, "{mean} {}", loss.cross_entropy);
}

#[test]
fn the_deployed_network_finds_its_weights_by_name() {
    let spec = with_head(0.3);
    let (deployed, all) = (spec.without_auxiliary(), weights(&spec));
    let selected = all.select(&spec, &deployed).unwrap();
    assert!(selected.trained.len() < all.trained.len() && selected.running == all.running);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    save_weights(&path, &spec, &all).unwrap();
    assert_eq!(load_weights(&path, &deployed).unwrap(), selected);
    let error = selected.select(&deployed, &spec).unwrap_err().to_string();
    assert!(error.contains("lost.weight"), "{error}");
    assert!(all.select(&deployed, &spec).is_err(), "weights of another network");
}

#[test]
fn low_precision_names_the_layer_that_it_does_not_have() {
    let mut spec =
        unet(&Options { in_channels: 1, classes: 2, base_width: 2, depth: 1, ..Options::default() }).unwrap();
    let layer = spec.layer_index("enc0.relu1").unwrap();
    spec.layers[layer].op = Op::LeakyRelu { slope: 0.01 };
    for precision in [Precision::Bf16, Precision::Int8] {
        let schedule = Schedule::new(&spec, Mode::Infer, 1, 8, 8).unwrap();
        let made = CpuBackend::detect().compile_low_precision(&spec, schedule, precision, Some(&Default::default()));
        match made.map(|_| ()) {
            Err(error @ Error::Unsupported { .. }) if precision == Precision::Bf16 => {
                let text = error.to_string();
                assert!(text.contains("enc0.relu1") && text.contains("leaky_relu"), "{text}");
            }
            Err(Error::Unsupported { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
