//! The CUDA backend against the CPU: the same networks, the same numbers. The kernels run on a GPU where there is one, and
//! always on the CPU, compiled as C++ (`cuda/emulated.cpp`).

#![allow(clippy::print_stderr, reason = "a test says what it skips")]

mod cuda;
mod layers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use segfit::network::families::{FAMILIES, Options, unet};
use segfit::network::schedule::{Mode, Schedule};
use segfit::network::{NetworkSpec, Op};
use segfit::random::Stream;
use segfit::recipe::LossKind;
use segfit_engine::Error;
use segfit_engine::backend::{Backend, Executor, Optimiser, Part, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::cuda::driver;
use segfit_engine::cuda::kernels::names;
use segfit_engine::cuda::{CudaBackend, check};
use segfit_engine::initialise::initialise;
use segfit_engine::loss::{LossValue, SoftTargets};
use segfit_engine::state::{ParameterLayout, State, Weights};

use cuda::{Without, backends, emulated};
use layers::{SIZE, images, network, weights, with_head};

const ADAM: TrainingSpec = TrainingSpec {
    loss: LossKind::CrossEntropyDice,
    optimiser: Optimiser::AdamW { weight_decay: 0.01 },
    average_decay: 0.9,
    seed: 5,
};

/// The goal of equality in f32, relative to the largest value of a tensor.
const TOLERANCE: f32 = 1e-4;

/// A batch.
struct Batch {
    size: (usize, usize),
    images: Vec<f32>,
    targets: Vec<u8>,
}

impl Batch {
    fn of(spec: &NetworkSpec, count: usize, size: (usize, usize)) -> Self {
        let mut stream = Stream::new(&[31]);
        let pixels = count * size.0 * size.1;
        let images = (0..pixels * spec.in_channels()).map(|_| stream.normal()).collect();
        Self { size, images, targets: (0..pixels).map(|_| stream.below(spec.classes) as u8).collect() }
    }

    fn layers() -> Self {
        let (images, targets) = images(SIZE);
        Self { size: SIZE, images, targets }
    }

    fn count(&self) -> usize {
        self.targets.len() / (self.size.0 * self.size.1)
    }
}

fn trainer(backend: &dyn Backend, spec: &NetworkSpec, batch: &Batch, training: TrainingSpec) -> Box<dyn Executor> {
    let schedule = Schedule::new(spec, Mode::Train, batch.count(), batch.size.0, batch.size.1).unwrap();
    backend.compile(spec, schedule, Some(training)).unwrap()
}

/// Losses of some steps and the state behind them.
fn trained(
    backend: &dyn Backend,
    spec: &NetworkSpec,
    start: &State,
    batch: &Batch,
    training: TrainingSpec,
    steps: usize,
) -> (Vec<LossValue>, State) {
    let mut executor = trainer(backend, spec, batch, training);
    executor.set_state(start.clone()).unwrap();
    let step = |_| executor.train_step(&batch.images, &batch.targets, None, 0.01).unwrap();
    let losses = (0..steps).map(step).collect();
    (losses, executor.state().unwrap())
}

fn inferred(backend: &dyn Backend, spec: &NetworkSpec, weights: &Weights, batch: &Batch) -> Vec<f32> {
    let schedule = Schedule::new(spec, Mode::Infer, batch.count(), batch.size.0, batch.size.1).unwrap();
    let mut executor = backend.compile(spec, schedule, None).unwrap();
    executor.load(weights).unwrap();
    let mut logits = Vec::new();
    executor.infer(&batch.images, &mut logits).unwrap();
    logits
}

/// Largest difference, relative to the largest of the expected values (1e-2 at least: what is smaller is rounding).
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-2_f32, |m, v| m.max(v.abs()));
    let largest = got
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m: f32, d| if d > m || d.is_nan() { d } else { m });
    largest / scale
}

fn assert_losses(got: &[LossValue], expected: &[LossValue], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len());
    for (k, (a, b)) in got.iter().zip(expected).enumerate() {
        for (a, b) in [(a.total, b.total), (a.cross_entropy, b.cross_entropy), (a.dice, b.dice)] {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what}, step {k}: {a}, on the CPU {b}");
        }
    }
}

/// Every tensor of parameters by itself, as the difference to what it was.
fn assert_same_steps(spec: &NetworkSpec, start: &State, got: &State, expected: &State, what: &str) {
    let layout = ParameterLayout::new(spec).unwrap();
    for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
        let range = range.clone();
        let (before, a, b) = if parameter.kind.is_trained() {
            (&start.trained, &got.trained, &expected.trained)
        } else {
            (&start.running, &got.running, &expected.running)
        };
        let moved = |now: &[f32]| -> Vec<f32> {
            now[range.clone()].iter().zip(&before[range.clone()]).map(|(now, before)| now - before).collect()
        };
        let d = difference(&moved(a), &moved(b));
        assert!(d <= TOLERANCE, "{what}: {} differs by {d} of its largest change", parameter.name);
    }
}

/// With plain gradient descent and a rate of 1, a step shows all gradients.
fn assert_gradients(backend: &CudaBackend, spec: &NetworkSpec, start: &State, batch: &Batch, loss: LossKind) {
    let training = TrainingSpec { loss, optimiser: Optimiser::Sgd, average_decay: 0.0, seed: 5 };
    let step = |backend: &dyn Backend| {
        let mut executor = trainer(backend, spec, batch, training);
        executor.set_state(start.clone()).unwrap();
        let loss = executor.train_step(&batch.images, &batch.targets, None, 1.0).unwrap();
        (loss, executor.state().unwrap())
    };
    let (got, expected) = (step(backend), step(&CpuBackend::detect()));
    let what = format!("{} on {}", spec.family, backend.name());
    assert_losses(&[got.0], &[expected.0], 1e-5, &what);
    assert_same_steps(spec, start, &got.1, &expected.1, &what);
}

#[test]
fn every_layer_has_the_cpus_gradients() {
    for backend in backends() {
        for spec in [network(), with_head(0.4)] {
            for loss in [LossKind::CrossEntropyDice, LossKind::BinaryDice] {
                assert_gradients(&backend, &spec, &State::fresh(weights(&spec)), &Batch::layers(), loss);
            }
        }
    }
}

#[test]
fn every_layer_has_the_cpus_logits() {
    let spec = network();
    let weights = weights(&spec);
    let expected = inferred(&CpuBackend::detect(), &spec, &weights, &Batch::layers());
    for backend in backends() {
        let d = difference(&inferred(&backend, &spec, &weights, &Batch::layers()), &expected);
        assert!(d <= TOLERANCE, "{}: {d}", backend.name());
    }
}

/// Planes of several parts, a batch of one, odd sizes.
#[test]
fn every_layer_has_the_cpus_gradients_on_larger_images() {
    let spec = with_head(0.3);
    for backend in backends() {
        for (count, size) in [(1, (74, 70)), (3, (18, 6))] {
            let start = State::fresh(weights(&spec));
            assert_gradients(&backend, &spec, &start, &Batch::of(&spec, count, size), LossKind::CrossEntropyDice);
        }
    }
}

/// A chain of convolutions between an image of 6 channels and 3 classes; `middle` goes from 6 channels to 6.
fn around(middle: &str) -> NetworkSpec {
    let text = format!(
        r#"{{"format": "segfit-network/1", "family": "other", "base_width": 6, "depth": 0, "rank": 2, "classes": 3,
        "groups": [{{"name": "image", "channels": 6, "kind": "fixed"}}, {{"name": "a", "channels": 6, "kind": "free"}},
            {{"name": "wide", "channels": 70, "kind": "free"}}, {{"name": "classes", "channels": 3, "kind": "fixed"}}],
        "layers": [{{"name": "image", "op": "input", "group": "image"}},
            {{"name": "first", "op": "conv2d", "group": "a", "kernel": [1, 1], "padding": [0, 0], "bias": true, "inputs": ["image"]}},
            {middle},
            {{"name": "head", "op": "conv2d", "group": "classes", "kernel": [1, 1], "padding": [0, 0], "bias": true, "inputs": ["last"]}}],
        "output": "head"}}"#
    );
    let spec: NetworkSpec = serde_json::from_str(&text).unwrap();
    spec.validate().unwrap();
    spec
}

#[test]
fn convolutions_of_all_shapes_have_the_cpus_gradients() {
    let conv = |rest: &str, bias: bool| format!(r#"{{"name": "down", {rest}, "bias": {bias}, "inputs": ["first"]}}"#);
    let up = |rest: &str| format!(r#"{{"name": "last", {rest}, "bias": true, "inputs": ["down"]}}"#);
    let cases = [
        // Stride and back; kernels smaller and larger than the stride.
        (
            conv(r#""op": "conv2d", "group": "a", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1]"#, true),
            up(
                r#""op": "conv_transpose2d", "group": "a", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "output_padding": [1, 1]"#,
            ),
        ),
        (
            conv(r#""op": "conv2d", "group": "a", "kernel": [2, 1], "stride": [2, 3], "padding": [0, 0]"#, false),
            up(
                r#""op": "conv_transpose2d", "group": "a", "kernel": [5, 4], "stride": [2, 3], "padding": [2, 1], "output_padding": [1, 1]"#,
            ),
        ),
        // Dilated, grouped, depthwise.
        (
            conv(
                r#""op": "conv2d", "group": "a", "kernel": [3, 5], "padding": [2, 4], "dilation": [2, 2], "groups": 3"#,
                true,
            ),
            up(r#""op": "depthwise_conv2d", "kernel": [5, 3], "padding": [2, 1]"#),
        ),
        // More than 32 and than 64 channels: the tiles of the matrix product, in and out.
        (
            conv(r#""op": "conv2d", "group": "wide", "kernel": [3, 3], "padding": [1, 1]"#, true),
            up(r#""op": "conv2d", "group": "wide", "kernel": [3, 3], "padding": [1, 1]"#),
        ),
        (
            conv(r#""op": "conv2d", "group": "wide", "kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]"#, true),
            up(r#""op": "conv_transpose2d", "group": "wide", "kernel": [2, 2]"#),
        ),
    ];
    for backend in backends() {
        for (down, last) in &cases {
            let spec = around(&format!("{down}, {last}"));
            let batch = Batch::of(&spec, 2, (12, 18));
            let start = State::fresh(initialise(&spec, 3).unwrap());
            assert_gradients(&backend, &spec, &start, &batch, LossKind::CrossEntropyDice);
            let logits = [&backend as &dyn Backend, &CpuBackend::detect()]
                .map(|b| inferred(b, &spec, &initialise(&spec, 3).unwrap(), &batch));
            let d = difference(&logits[0], &logits[1]);
            assert!(d <= TOLERANCE, "{last}: {d}");
        }
    }
}

#[test]
fn every_family_takes_the_cpus_step() {
    for backend in backends() {
        for family in FAMILIES {
            let options = Options { base_width: 4, depth: 2.min(family.deepest), ..family.options(3, 3) };
            let spec = family.build(&options).unwrap();
            let size = 2 * spec.input_multiple();
            let batch = Batch::of(&spec, 2, (size, size));
            let start = State::fresh(initialise(&spec, 1).unwrap());
            assert_gradients(&backend, &spec, &start, &batch, LossKind::CrossEntropyDice);
            let logits = [&backend as &dyn Backend, &CpuBackend::detect()]
                .map(|b| inferred(b, &spec, &initialise(&spec, 1).unwrap(), &batch));
            assert!(difference(&logits[0], &logits[1]) <= TOLERANCE, "logits of {}", family.name);
        }
    }
}

fn small_unet(base_width: usize, depth: usize) -> NetworkSpec {
    unet(&Options { in_channels: 1, classes: 2, base_width, depth, ..Options::default() }).unwrap()
}

#[test]
fn steps_of_adamw_move_parameters_moments_and_averages_as_on_the_cpu() {
    let spec = small_unet(4, 2);
    let batch = Batch::of(&spec, 2, (16, 24));
    let start = State::fresh(initialise(&spec, 1).unwrap());
    let expected = trained(&CpuBackend::detect(), &spec, &start, &batch, ADAM, 3);
    for backend in backends() {
        let got = trained(&backend, &spec, &start, &batch, ADAM, 3);
        let what = backend.name();
        assert_losses(&got.0, &expected.0, 1e-5, &what);
        assert_eq!(got.1.step, 3);
        let (a, b) = (&got.1, &expected.1);
        // AdamW divides by the gradient's size: where that is rounding alone, as of a bias in front of a norm, so is the step, and
        // with it the mean behind it.
        let layout = ParameterLayout::new(&spec).unwrap();
        let idle = |name: &str| name.ends_with("running_mean") || (name.ends_with("bias") && name.contains("conv"));
        for (p, range) in layout.parameters.iter().zip(&layout.ranges).filter(|(p, _)| !idle(&p.name)) {
            let range = range.clone();
            let pairs = if p.kind.is_trained() {
                vec![
                    (&a.trained, &b.trained),
                    (&a.average_trained, &b.average_trained),
                    (&a.moment1, &b.moment1),
                    (&a.moment2, &b.moment2),
                ]
            } else {
                vec![(&a.running, &b.running), (&a.average_running, &b.average_running)]
            };
            for (k, (a, b)) in pairs.into_iter().enumerate() {
                let d = difference(&a[range.clone()], &b[range.clone()]);
                assert!(d <= 1e-3, "{what}: {} ({k}) differs by {d}", p.name);
            }
        }
    }
}

/// Two hundred steps with a falling rate: the losses stay together, and both trainings learn.
#[test]
fn two_hundred_losses_stay_together() {
    let spec = small_unet(2, 1);
    let mut batch = Batch::of(&spec, 2, (16, 16));
    batch.targets = batch.images.iter().map(|&v| u8::from(v > 0.3)).collect();
    let start = State::fresh(initialise(&spec, 1).unwrap());
    let run = |backend: &dyn Backend| -> Vec<f64> {
        let mut executor = trainer(backend, &spec, &batch, ADAM);
        executor.set_state(start.clone()).unwrap();
        let rate = |k: usize| 0.01 * (200 - k) as f32 / 200.0;
        (0..200).map(|k| executor.train_step(&batch.images, &batch.targets, None, rate(k)).unwrap().total).collect()
    };
    let expected = run(&CpuBackend::detect());
    assert!(expected[199] < 0.7 * expected[0], "{} {}", expected[0], expected[199]);
    for backend in backends() {
        let got = run(&backend);
        let differences: Vec<f64> = got.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b).collect();
        let worst = |some: &[f64]| some.iter().copied().fold(0.0, f64::max);
        let (first, all) = (worst(&differences[..10]), worst(&differences));
        assert!(first < 1e-3 && all < 0.1, "{}: losses differ by {first} in ten steps, {all} in all", backend.name());
    }
}

#[test]
fn a_training_goes_on_on_the_other_device() {
    let spec = with_head(0.3);
    let batch = Batch::layers();
    let start = State::fresh(weights(&spec));
    let sgd = TrainingSpec { optimiser: Optimiser::Sgd, ..ADAM };
    let cpu = CpuBackend::detect();
    let whole = trained(&cpu, &spec, &start, &batch, sgd, 4);
    for backend in backends() {
        for order in [[&backend as &dyn Backend, &cpu], [&cpu, &backend]] {
            let (mut losses, half) = trained(order[0], &spec, &start, &batch, sgd, 2);
            let (rest, end) = trained(order[1], &spec, &half, &batch, sgd, 2);
            losses.extend(rest);
            assert_losses(&losses, &whole.0, 1e-4, "two steps on each device");
            assert_eq!(end.step, 4);
            assert!(difference(&end.average_trained, &whole.1.average_trained) <= 1e-3);
        }
    }
}

#[test]
fn a_teacher_has_its_share_as_on_the_cpu() {
    let spec = network();
    let batch = Batch::layers();
    let mut stream = Stream::new(&[77]);
    let logits: Vec<f32> = (0..3 * batch.targets.len()).map(|_| 2.0 * stream.normal()).collect();
    for loss in [LossKind::CrossEntropyDice, LossKind::BinaryDice] {
        let training = TrainingSpec { loss, optimiser: Optimiser::Sgd, average_decay: 0.0, seed: 5 };
        let start = State::fresh(weights(&spec));
        let run = |backend: &dyn Backend| {
            let mut executor = trainer(backend, &spec, &batch, training);
            executor.set_state(start.clone()).unwrap();
            let mut step = |temperature: f32| {
                let soft = SoftTargets { logits: &logits, weight: 0.7, temperature };
                executor.train_step(&batch.images, &batch.targets, Some(soft), 0.5).unwrap()
            };
            let losses = vec![step(1.0), step(3.0)];
            let alone = executor.train_step(&batch.images, &batch.targets, None, 0.5).unwrap();
            ([losses, vec![alone]].concat(), executor.state().unwrap())
        };
        let expected = run(&CpuBackend::detect());
        for backend in backends() {
            let got = run(&backend);
            assert_losses(&got.0, &expected.0, 1e-4, &backend.name());
            assert!(difference(&got.1.trained, &expected.1.trained) < 1e-3);
        }
    }
}

#[test]
fn the_same_bits_come_again() {
    let spec = with_head(0.3);
    let start = State::fresh(weights(&spec));
    for backend in backends() {
        let runs = [0, 1].map(|_| trained(&backend, &spec, &start, &Batch::layers(), ADAM, 2));
        assert!(runs[0] == runs[1], "{}", backend.name());
    }
}

#[test]
fn watched_inference_ends_every_part_and_gives_the_same_logits() {
    let spec = small_unet(4, 2);
    let batch = Batch::of(&spec, 1, (16, 24));
    let weights = initialise(&spec, 1).unwrap();
    for backend in backends() {
        let schedule = Schedule::new(&spec, Mode::Infer, 1, 16, 24).unwrap();
        let steps = schedule.forward.len();
        let mut executor = backend.compile(&spec, schedule, None).unwrap();
        executor.load(&weights).unwrap();
        let (mut logits, mut parts) = (Vec::new(), Vec::new());
        executor.infer_watched(&batch.images, &mut logits, &mut |part| parts.push(part)).unwrap();
        assert_eq!(logits, inferred(&backend, &spec, &weights, &batch));
        assert_eq!((parts.len(), parts[0], parts[steps + 1]), (steps + 2, Part::Image, Part::Logits));
        assert_eq!(parts[1..=steps], (0..steps).map(Part::Step).collect::<Vec<_>>());
    }
}

#[test]
fn memory_is_given_back_and_counted() {
    let Some(device) = emulated() else { return };
    let backend = CudaBackend::on(device.clone());
    let (spec, batch) = (small_unet(4, 2), Batch::of(&small_unet(4, 2), 2, (16, 16)));
    let training = trainer(&backend, &spec, &batch, ADAM);
    assert!(device.pieces() > 10);
    // Four numbers for each parameter, the gradient and the average beside the two moments, and its weight decay.
    let parameters = ParameterLayout::new(&spec).unwrap().trained_len as u64;
    assert!(training.bytes() > 4 * 6 * parameters, "{}", training.bytes());
    drop(training);
    assert_eq!(device.pieces(), 0);
}

#[test]
fn a_device_that_computes_what_the_cpu_computes_passes_the_check() {
    for backend in backends() {
        check(&backend).unwrap();
    }
}

/// Each kernel that the check runs is missed by it.
#[test]
fn a_device_with_a_faulty_kernel_is_refused() {
    let Some(device) = emulated() else { return };
    let mut run = 0;
    for kernel in names() {
        let without = Arc::new(Without { device: device.clone(), kernel, left_out: AtomicUsize::new(0) });
        let result = check(&CudaBackend::on(without.clone()));
        if without.left_out.load(Ordering::Relaxed) == 0 {
            result.unwrap();
            continue;
        }
        run += 1;
        let text = result.expect_err(kernel).to_string();
        assert!(text.contains("cuda/emulated") && text.contains("does not compute"), "{text}");
    }
    assert!(run > 20, "{run} kernels");
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulated() else { return };
    let backend = CudaBackend::on(device);
    let (spec, batch) = (small_unet(2, 1), Batch::of(&small_unet(2, 1), 1, (8, 8)));
    let schedule = Schedule::new(&spec, Mode::Train, 1, 8, 8).unwrap();
    let unsupported = |result: Option<Error>| match result {
        Some(error @ Error::Unsupported { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let text = unsupported(backend.compile(&spec, schedule, None).err());
    assert!(text.contains("belong together") && text.contains("cuda/emulated"), "{text}");
    let mut training = trainer(&backend, &spec, &batch, ADAM);
    assert!(unsupported(training.infer(&batch.images, &mut Vec::new()).err()).contains("inference"));
    assert!(training.train_step(&batch.images[1..], &batch.targets, None, 0.1).is_err());
    assert!(training.train_step(&batch.images, &batch.targets[1..], None, 0.1).is_err());
    // A batch norm of a single value.
    let mut lonely = small_unet(2, 1);
    lonely.layers.retain(|layer| !matches!(layer.op, Op::Dropout { .. }));
    let schedule = Schedule::new(&lonely, Mode::Train, 1, 2, 2).unwrap();
    let text = unsupported(backend.compile(&lonely, schedule, Some(ADAM)).err());
    assert!(text.contains("more than one pixel"), "{text}");
}

/// Bytes of spills in a line of the assembler's log.
fn spills(line: &str) -> usize {
    let number = line.split(" bytes spill stores").next().and_then(|before| before.rsplit(' ').next());
    number.and_then(|n| n.parse().ok()).expect("the line behind a function's name counts its spills")
}

/// Architectures from Turing to Blackwell, without a GPU.
#[test]
fn nvrtc_compiles_every_kernel_and_convolutions_hardly_spill() {
    for architecture in ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"] {
        let compiled = match driver::compile(architecture, &["--ptxas-options=-v"]) {
            Ok(compiled) => compiled,
            Err(error) if error.to_string().contains("is not installed") => {
                eprintln!("skipped: {error}");
                return;
            }
            // Older and newer than this NVRTC.
            Err(error) if error.to_string().contains("invalid value for --gpu-architecture") => {
                assert!(!["sm_80", "sm_86", "sm_89", "sm_90"].contains(&architecture), "{error}");
                eprintln!("skipped: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(compiled.code.starts_with(b"\x7fELF"), "machine code");
        assert!(!compiled.log.contains("warning"), "{}", compiled.log);
        for name in names() {
            assert!(compiled.log.contains(&format!("'{name}' for '{architecture}'")), "{name}");
        }
        // The kernels that take the time keep their sums in registers, but for a few bytes.
        let lines: Vec<&str> = compiled.log.lines().collect();
        let heavy =
            |line: &str| line.contains("properties for convolve") || line.contains("properties for weight_gradient");
        let spilled = lines.windows(2).filter(|two| heavy(two[0]) && spills(two[1]) > 32);
        let spilled: Vec<_> = spilled.collect();
        assert!(spilled.is_empty(), "{architecture}: {spilled:?}");
    }
}

#[test]
fn without_a_gpu_the_error_says_what_is_missing() {
    let Err(error) = driver::Driver::open() else { return };
    let (text, hint) = (error.to_string(), error.hint().unwrap_or_default());
    assert!(matches!(error, Error::Device { .. }), "{text}");
    // Where there is a GPU that does not open, the message begins with its name.
    if text.starts_with("CUDA: ") {
        assert!(["driver", "libnvrtc", "GPU", "NVRTC"].iter().any(|what| text.contains(what)), "{text}");
        assert!(hint.contains("install"), "{hint}");
    }
}
