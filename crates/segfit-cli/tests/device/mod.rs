//! `--device`: without a GPU, `cuda` says what is missing and `auto` takes the CPU.

use segfit_engine::cuda::driver::Driver;

use crate::support::{Lab, names, refused, skipped, stderr};

/// Ends a test on a machine that has a GPU.
fn has_gpu() -> bool {
    let has = Driver::open().is_ok();
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
    let before = names(&lab.path(""));
    for (command, _) in COMMANDS {
        let output = lab.run(&[command, &["--device", "cuda"]].concat());
        refused(&output, &["error: CUDA: ", "hint: install "]);
        assert_eq!(names(&lab.path("")), before, "{command:?}");
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
            let content = if file.is_dir() { names(&file).concat().into_bytes() } else { std::fs::read(file).unwrap() };
            if lab.path("new").exists() {
                std::fs::remove_dir_all(lab.path("new")).unwrap();
            }
            content
        });
        assert!(!results[0].is_empty() && results[0] == results[1], "{command:?}");
    }
}
