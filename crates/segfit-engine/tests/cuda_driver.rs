//! The calls of NVIDIA's driver, against a driver that emulates a GPU (`cuda/driver.cpp`): loading, compiling, capturing a step into
//! a graph, copies, memory, and what goes wrong.

#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

#[path = "cuda/libraries.rs"]
mod libraries;

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::{Library, Symbol};
use segfit::network::NetworkSpec;
use segfit::network::families::{Options, unet};
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::LossKind;
use segfit_engine::Error;
use segfit_engine::backend::{Backend, Executor, Optimiser, TrainingSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::cuda::driver::Driver;
use segfit_engine::cuda::{CudaBackend, check};
use segfit_engine::initialise::initialise;
use segfit_engine::state::{State, Weights};

const TRAINING: TrainingSpec =
    TrainingSpec { loss: LossKind::CrossEntropyDice, optimiser: Optimiser::Sgd, average_decay: 0.0, seed: 5 };
const SIZE: usize = 16;

/// The emulated driver, loaded in front of any other: the system's loader then finds it by its name.
struct Emulated {
    driver: Library,
    _nvrtc: Library,
}

impl Emulated {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let [driver, nvrtc] = libraries::driver_and_nvrtc(folder.path())?;
        // SAFETY: libraries made of this crate's sources just now; their initialisers read a variable.
        unsafe { Some(Self { driver: Library::new(driver).unwrap(), _nvrtc: Library::new(nvrtc).unwrap() }) }
    }

    /// Memory, graphs, streams, modules and contexts that have not been given back.
    fn live(&self) -> i32 {
        // SAFETY: the type in driver.cpp.
        unsafe {
            let live: Symbol<'_, unsafe extern "C" fn() -> i32> = self.driver.get(b"segfit_mock_live").unwrap();
            live()
        }
    }

    fn faults(&self, text: &str) {
        let text = CString::new(text).unwrap();
        // SAFETY: the type in driver.cpp, which copies the text.
        unsafe {
            let set: Symbol<'_, unsafe extern "C" fn(*const i8)> = self.driver.get(b"segfit_mock_faults").unwrap();
            set(text.as_ptr().cast());
        }
    }
}

/// A turn with the driver, which tests take one after the other.
struct Turn {
    emulated: &'static Emulated,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    /// `None`, which is said, where there is no C++ compiler.
    fn take(faults: &str) -> Option<Self> {
        static EMULATED: OnceLock<Option<Emulated>> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(emulated) = EMULATED.get_or_init(Emulated::new) else {
            eprintln!("skipped: there is no C++ compiler to emulate a GPU");
            return None;
        };
        emulated.faults(faults);
        Some(Self { emulated, _turn: turn })
    }
}

/// A small network, images and targets.
fn material() -> (NetworkSpec, Vec<f32>, Vec<u8>) {
    let spec = unet(&Options { in_channels: 1, classes: 2, base_width: 3, depth: 1, ..Options::default() }).unwrap();
    let images: Vec<f32> = (0..2 * SIZE * SIZE).map(|i| (i as f32 * 0.37).sin()).collect();
    let targets = images.iter().map(|&v| u8::from(v > 0.3)).collect();
    (spec, images, targets)
}

fn trainer(backend: &dyn Backend, spec: &NetworkSpec) -> Result<Box<dyn Executor>, Error> {
    let schedule = Schedule::new(spec, Mode::Train, 2, SIZE, SIZE).unwrap();
    let mut executor = backend.compile(spec, schedule, Some(TRAINING))?;
    executor.set_state(State::fresh(initialise(spec, 1).unwrap()))?;
    Ok(executor)
}

/// Losses of five steps, and the weights behind them.
fn trained(backend: &dyn Backend) -> (Vec<f64>, Weights) {
    let (spec, images, targets) = material();
    let mut executor = trainer(backend, &spec).unwrap();
    let losses = (0..5).map(|_| executor.train_step(&images, &targets, None, 0.1).unwrap().total).collect();
    (losses, executor.state().unwrap().averaged())
}

fn logits(backend: &dyn Backend, weights: &Weights) -> Vec<f32> {
    let (spec, images, _) = material();
    let schedule = Schedule::new(&spec, Mode::Infer, 2, SIZE, SIZE).unwrap();
    let mut executor = backend.compile(&spec, schedule, None).unwrap();
    executor.load(weights).unwrap();
    let (mut whole, mut watched, mut parts) = (Vec::new(), Vec::new(), 0);
    executor.infer(&images, &mut whole).unwrap();
    executor.infer_watched(&images, &mut watched, &mut |_| parts += 1).unwrap();
    assert!(whole == watched && parts > 5, "{parts} parts");
    whole
}

#[test]
fn training_and_inference_through_the_driver_are_those_of_the_cpu() {
    let Some(turn) = Turn::take("") else { return };
    {
        let backend = CudaBackend::open().unwrap();
        assert_eq!(backend.name(), "cuda/Emulated");
        let ((got, weights), (expected, on_cpu)) = (trained(&backend), trained(&CpuBackend::detect()));
        assert!(expected[4] < expected[0]);
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * b), "{got:?}, on the CPU {expected:?}");
        assert!(weights.trained.iter().zip(&on_cpu.trained).all(|(a, b)| (a - b).abs() < 1e-4));
        let (got, expected) = (logits(&backend, &on_cpu), logits(&CpuBackend::detect(), &on_cpu));
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs())));
        assert!(turn.emulated.live() > 0);
    }
    assert_eq!(turn.emulated.live(), 0, "everything is given back");
}

#[test]
fn threads_share_a_gpu() {
    let Some(_turn) = Turn::take("") else { return };
    let driver = Driver::open().unwrap();
    let alone = trained(&CudaBackend::on(driver.clone()));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| trained(&CudaBackend::on(driver.clone())))).collect();
        for one in all {
            assert!(one.join().unwrap() == alone);
        }
    });
}

/// The message and hint of an error of the device.
fn said(error: &Error) -> (String, String) {
    assert!(matches!(error, Error::Device { .. }), "{error}");
    (error.to_string(), error.hint().unwrap())
}

#[test]
fn what_is_missing_is_said() {
    for (faults, text, hint) in [
        ("init=100", "the driver does not start: error 100", "install NVIDIA's driver"),
        ("version=11020", "the driver is of CUDA 11.2, 12.0 or newer is needed", "install NVIDIA's driver"),
        ("stream=0", "Emulated: no stream: ", "nvidia-smi"),
        ("image=0", "Emulated: the kernels do not load: ", "different CUDA versions"),
        ("missing=adam_w", "Emulated: the kernel adam_w is missing: ", "different CUDA versions"),
        ("gpus=0", "the driver shows no GPU", "--gpus all"),
        (
            "arch=99",
            "NVRTC cannot compile for sm_99: nvrtc: error: invalid value for --gpu-architecture",
            "install NVRTC",
        ),
    ] {
        let Some(turn) = Turn::take(faults) else { return };
        let (got, help) = said(&Driver::open().unwrap_err());
        assert!(got.contains(text) && help.contains(hint), "{faults}: {got}, {help}");
        assert_eq!(turn.emulated.live(), 0, "{faults}");
    }
}

#[test]
fn too_little_memory_is_said_with_figures() {
    let Some(turn) = Turn::take("memory=300000") else { return };
    let driver = Driver::open().unwrap();
    let spec = unet(&Options { in_channels: 1, classes: 2, base_width: 32, depth: 2, ..Options::default() }).unwrap();
    let (text, hint) = said(&trainer(&CudaBackend::on(driver.clone()), &spec).err().expect("too large"));
    assert!(text.contains("MiB of memory are needed, ") && text.contains("OUT_OF_MEMORY"), "{text}");
    assert!(hint.contains("nvidia-smi"), "{hint}");
    drop(driver);
    assert_eq!(turn.emulated.live(), 0);
}

#[test]
fn a_launch_that_is_refused_leaves_nothing_behind() {
    let Some(turn) = Turn::take("refused=loss_value") else { return };
    let driver = Driver::open().unwrap();
    let (text, _) = said(&trainer(&CudaBackend::on(driver.clone()), &material().0).err().expect("refused"));
    assert!(text.contains("launches cannot be captured: error 1 "), "{text}");
    turn.emulated.faults("");
    trainer(&CudaBackend::on(driver.clone()), &material().0).unwrap();
    drop(driver);
    assert_eq!(turn.emulated.live(), 0);
}

#[test]
fn a_gpu_that_fails_in_a_step_is_an_error() {
    let Some(turn) = Turn::take("") else { return };
    let (spec, images, targets) = material();
    let driver = Driver::open().unwrap();
    let mut executor = trainer(&CudaBackend::on(driver), &spec).unwrap();
    executor.train_step(&images, &targets, None, 0.1).unwrap();
    turn.emulated.faults("fail=convolve_4");
    let (text, _) = said(&executor.train_step(&images, &targets, None, 0.1).unwrap_err());
    assert!(text.contains("Emulated: ") && text.contains("CUDA_ERROR_LAUNCH_FAILED"), "{text}");
    said(&executor.state().unwrap_err());
}

#[test]
fn a_gpu_that_computes_something_else_is_not_used() {
    let Some(turn) = Turn::take("skip=convolve_8") else { return };
    let (text, hint) = said(&CudaBackend::open().unwrap_err());
    assert!(text.contains("does not compute what the CPU computes") && hint.contains("--device cpu"), "{text}");
    assert_eq!(turn.emulated.live(), 0);
    turn.emulated.faults("");
    check(&CudaBackend::on(Driver::open().unwrap())).unwrap();
}
