//! `--device`: without a GPU, `cuda` says what is missing and `auto` takes the CPU; with an emulated one, commands use it.

#[path = "../../../segfit-engine/tests/cuda/libraries.rs"]
mod libraries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use segfit_engine::cuda::driver::Driver;

use serde_json::Value;

use crate::support::{Lab, names, refused, skipped, stderr};

/// Ends a test on a machine that has a GPU, of whatever state.
fn has_gpu() -> bool {
    let has = Driver::open().map_or_else(|error| !error.to_string().starts_with("CUDA: "), |_| true);
    if has {
        skipped("this machine has a GPU, the test is of machines that have none");
    }
    has
}

/// A network, a list of one training, and a run.
fn lab() -> Lab {
    let lab = Lab::new();
    let commands: [&[&str]; 3] = [
        &["network", "narrow", "--channels", "1", "--width", "2", "--depth", "1", "--out", "network.json"],
        &["train", "network.json", "data", "--size", "32", "--steps", "20", "--out", "run"],
        &["calibrate", "plan", "data", "--widths", "2", "--depths", "1", "--size", "32", "--recipe", "run/recipe.json"],
    ];
    for command in commands {
        let output = lab.run(command);
        assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    }
    lab
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

/// The only record of a folder, without its time.
fn record(folder: &Path) -> Vec<u8> {
    let names = names(folder);
    assert_eq!(names.len(), 1);
    let mut record: Value = serde_json::from_slice(&std::fs::read(folder.join(&names[0])).unwrap()).unwrap();
    record["seconds"].take();
    record.to_string().into_bytes()
}

/// Every command that takes a device, with what it writes.
const COMMANDS: [(&[&str], &str); 4] = [
    (&["train", "network.json", "data", "--size", "32", "--steps", "20", "--out", "new"], "new/weights.safetensors"),
    (&["segment", "run", "data/images", "--out", "new"], "new/nuclei-0003.png"),
    (&["evaluate", "run", "data"], "run/per_image.csv"),
    (&["calibrate", "run", "manifest.json", "--out", "new"], "new/records"),
];

#[test]
fn cuda_without_a_gpu_is_refused_before_anything_is_written() {
    if has_gpu() {
        return;
    }
    let lab = lab();
    let before = files(&lab.path(""));
    for (command, _) in COMMANDS {
        let output = lab.run(&[command, &["--device", "cuda"]].concat());
        refused(&output, &["error: CUDA: ", "hint: install "]);
        assert!(files(&lab.path("")) == before, "{command:?}");
    }
    refused(&lab.run(&["bench", "--width", "2", "--size", "32", "--device", "cuda"]), &["error: CUDA: "]);
    let low = lab.run(&["segment", "run", "data/images", "--out", "new", "--device", "cuda", "--precision", "int8"]);
    refused(&low, &["int8", "CUDA", "f32 only"]);
    std::fs::write(lab.path("model.onnx"), "").unwrap();
    let onnx = lab.run(&["segment", "model.onnx", "data/images", "--out", "new", "--device", "cuda"]);
    refused(&onnx, &["model.onnx", "--device cuda is for runs"]);
}

#[test]
fn auto_without_a_gpu_says_so_and_does_what_the_cpu_does() {
    if has_gpu() {
        return;
    }
    let lab = lab();
    for (command, file) in COMMANDS {
        let results = ["cpu", "auto"].map(|device| {
            let output = lab.run(&[command, &["--device", device]].concat());
            let said = stderr(&output);
            assert!(output.status.success(), "{command:?}: {said}");
            assert_eq!(said.contains("device: cpu/") && said.contains("(CUDA: "), device == "auto", "{said}");
            let file = lab.path(file);
            let content = if file.is_dir() { record(&file) } else { std::fs::read(&file).unwrap() };
            match lab.path("new").exists() {
                true => std::fs::remove_dir_all(lab.path("new")).unwrap(),
                false => std::fs::remove_file(&file).unwrap(),
            }
            content
        });
        assert!(!results[0].is_empty() && results[0] == results[1], "{command:?}");
    }
}

/// The emulated driver and NVRTC, in a folder that programs find their libraries in.
struct Gpu {
    folder: tempfile::TempDir,
}

impl Gpu {
    /// `None`, which is said, where they cannot be made.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        if cfg!(target_os = "linux") && libraries::driver_and_nvrtc(folder.path()).is_some() {
            return Some(Self { folder });
        }
        skipped("there is no C++ compiler to emulate a GPU, or the system is not Linux");
        None
    }

    fn command(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let program: PathBuf = assert_cmd::cargo::cargo_bin("segfit");
        let mut command = Command::new(program);
        command.current_dir(lab.path("")).env("XDG_CACHE_HOME", lab.cache()).env("LD_LIBRARY_PATH", self.folder.path());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, lab: &Lab, arguments: &[&str]) -> Output {
        self.command(lab, arguments).output().unwrap()
    }

    fn json(&self, lab: &Lab, arguments: &[&str]) -> Value {
        let output = self.run(lab, &[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn engine(lab: &Lab, run: &str) -> String {
    let info: Value = serde_json::from_slice(&std::fs::read(lab.path(run).join("run.json")).unwrap()).unwrap();
    info["engine"].as_str().unwrap().into()
}

#[test]
fn a_gpu_trains_evaluates_segments_and_is_timed() {
    let Some(gpu) = Gpu::new() else { return };
    let lab = lab();
    let dice = |metrics: &Value| metrics["dice"]["mean"].as_f64().unwrap();
    let train = ["train", "network.json", "data", "--size", "32", "--steps", "20", "--out", "new", "--device", "auto"];
    let trained = gpu.json(&lab, &train);
    assert_eq!(engine(&lab, "new"), "cuda/Emulated");
    let on_cpu = lab.json(&["evaluate", "new", "data"]);
    assert!((dice(&trained) - dice(&on_cpu)).abs() < 1e-3, "{trained} and {on_cpu}");
    let on_gpu = gpu.json(&lab, &["evaluate", "run", "data", "--device", "cuda"]);
    let on_cpu = lab.json(&["evaluate", "run", "data"]);
    assert!((dice(&on_gpu) - dice(&on_cpu)).abs() < 1e-3, "{on_gpu} and {on_cpu}");
    gpu.json(&lab, &["segment", "run", "data/images", "--out", "there", "--device", "cuda", "--no-overlay"]);
    lab.json(&["segment", "run", "data/images", "--out", "here", "--no-overlay"]);
    let masks = |folder: &str| {
        let all = names(&lab.path(folder));
        assert_eq!(all.len(), 10);
        all.iter()
            .flat_map(|n| image::open(lab.path(folder).join(n)).unwrap().to_luma8().into_raw())
            .collect::<Vec<u8>>()
    };
    let (there, here) = (masks("there"), masks("here"));
    let differing = there.iter().zip(&here).filter(|(a, b)| a != b).count();
    assert!(differing * 1000 <= here.len(), "{differing} of {} pixels", here.len());
    for mode in ["infer", "train"] {
        let small = ["bench", "--width", "2", "--depth", "1", "--size", "16", "--seconds", "0", "--device", "cuda"];
        let report = gpu.json(&lab, &[&small[..], &["--mode", mode]].concat());
        assert_eq!((report["device"].as_str(), report["runs"].as_u64()), (Some("cuda/Emulated"), Some(3)));
    }
}

#[test]
fn a_training_goes_on_on_another_device_and_says_so() {
    let Some(gpu) = Gpu::new() else { return };
    let lab = lab();
    let train = ["train", "network.json", "data", "--size", "32", "--steps", "300", "--out", "new"];
    let mut child = gpu.command(&lab, &[&train[..], &["--device", "cuda"]].concat());
    let mut child = child.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let begun = || lab.path("new/log.jsonl").metadata().is_ok_and(|m| m.len() > 0);
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(engine(&lab, "new"), "cuda/Emulated");
    let done = lab.json(&[&train[..], &["--resume"]].concat());
    assert_eq!(done["steps"], 300);
    let both = engine(&lab, "new");
    assert!(both.starts_with("cuda/Emulated, then cpu/"), "{both}");
    gpu.json(&lab, &[&train[..], &["--device", "cuda"]].concat());
    assert_eq!(engine(&lab, "new"), both, "nothing was left to do");
}

#[test]
fn records_of_experiments_name_the_gpu() {
    let Some(gpu) = Gpu::new() else { return };
    let lab = lab();
    gpu.json(&lab, &["calibrate", "run", "manifest.json", "--out", "work", "--device", "cuda"]);
    let file = lab.path("work/records").join(&names(&lab.path("work/records"))[0]);
    let record: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(record["engine"], "cuda/Emulated");
}

#[test]
fn a_gpu_that_computes_something_else_is_refused_and_auto_takes_the_cpu() {
    let Some(gpu) = Gpu::new() else { return };
    let lab = lab();
    let evaluate = |device: &str| {
        let mut command = gpu.command(&lab, &["evaluate", "run", "data", "--device", device]);
        command.env("SEGFIT_MOCK_DRIVER", "skip=adam_w").output().unwrap()
    };
    refused(
        &evaluate("cuda"),
        &["cuda/Emulated: it does not compute what the CPU computes", "hint: run on the CPU with --device cpu"],
    );
    let output = evaluate("auto");
    assert!(output.status.success() && stderr(&output).contains("device: cpu/"), "{}", stderr(&output));
}
