//! Exports through the program: written, compared with the engine, segmented with.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use support::{Lab, names, refused, stderr};

/// A network of two levels that was trained for a few steps, in patches or on resized frames.
fn trained(family: &str, more: &[&str]) -> Lab {
    let lab = Lab::new();
    let narrow = ["network", "narrow", "--network", family, "--channels", "1", "--width", "2", "--depth", "2"];
    let made = lab.run(&[&narrow[..], &["--out", "network.json"]].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    lab.json(&[&["train", "network.json", "data", "--size", "32", "--steps", "20", "--out", "run"], more].concat());
    lab
}

fn difference(report: &serde_json::Value) -> f64 {
    report["files"][0]["check"]["largest_difference"].as_f64().unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn an_exported_network_gives_the_engines_probabilities_in_another_program() {
    for family in ["unet", "cumednet", "attention_unet"] {
        let lab = trained(family, &["--patch"]);
        let report = lab.json(&["export", "run", "--onnx", "--check"]);
        assert!(difference(&report) <= 1e-4, "{family}: {report}");
        assert_eq!(report["files"][0]["check"]["program"], "tract");
        assert_eq!(names(&lab.path("run/export")), ["model.onnx"]);
        let first = std::fs::read(lab.path("run/export/model.onnx")).unwrap();
        lab.json(&["export", "run", "--all", "--out", "again"]);
        assert_eq!(std::fs::read(lab.path("again/model.onnx")).unwrap(), first, "{family}: the same bytes");
    }
}

#[test]
fn every_form_of_the_file_is_what_it_says() {
    let lab = trained("unet", &["--patch"]);
    let check = |more: &[&str]| lab.json(&[&["export", "run", "--onnx", "--check"], more].concat());
    for more in
        [&["--raw"][..], &["--output", "logits"], &["--output", "labels"], &["--output", "mask", "--threshold", "0.3"]]
    {
        assert!(difference(&check(more)) <= 1e-4, "{more:?}");
    }
    let half = check(&["--precision", "f16"]);
    assert!(difference(&half) > 0.0 && difference(&half) < 0.02, "{half}");
    let int8 = check(&["--precision", "int8", "--calibrate", "data/images"]);
    assert!(difference(&int8) > 0.0 && difference(&int8) < 0.2, "{int8}");
    let written = names(&lab.path("run/export"));
    let info = std::fs::read_to_string(lab.path("run/run.json")).unwrap();
    let sigmoids = info.replace("\"cross_entropy_dice\"", "\"binary_dice\"");
    assert_ne!(info, sigmoids);
    std::fs::write(lab.path("run/run.json"), sigmoids).unwrap();
    assert!(difference(&check(&["--out", "sigmoids"])) <= 1e-4, "normalised sigmoids");
    let expected = ["f16", "int8", "labels", "logits", "mask", "raw"].map(|form| format!("model.{form}.onnx"));
    assert_eq!(written, expected);
}

#[test]
fn source_text_is_written_checked_and_refused_with_a_reason() {
    let lab = trained("unet", &["--patch"]);
    let report = lab.json(&["export", "run", "--c", "--image-size", "21x40", "--calibrate", "data/images", "--check"]);
    let files = report["files"].as_array().unwrap();
    let expected = ["segfit_model.h", "segfit_model.rs", "segfit_model_int8.h", "segfit_model_int8.rs"];
    assert_eq!(names(&lab.path("run/export")), expected);
    assert_eq!(files.len(), 4);
    // Without a C compiler there is a note instead.
    if let Some(difference) = files[0]["check"]["largest_difference"].as_f64() {
        assert!(difference <= 1e-4, "{report}");
    }
    let ram = |k: usize| files[k]["footprint"]["ram_bytes"].as_u64().unwrap();
    assert!(ram(2) * 3 < ram(0) && ram(0) == ram(1), "{report}");
    let text = std::fs::read_to_string(lab.path("run/export/segfit_model.h")).unwrap();
    assert!(text.contains("#define SEGFIT_ROWS 21") && text.contains("1 x 21 x 40"));
    lab.json(&["export", "run", "--c", "--out", "plain"]);
    assert_eq!(names(&lab.path("plain")), expected[..2], "without images there is no int8");
    refused(&lab.run(&["export", "run", "--c", "--most-weights", "10"]), &["at most 10 weights"]);
    refused(&lab.run(&["export", "run", "--c", "--image-size", "0x4"]), &["--image-size", "96x128"]);
    let all = lab.run(&["export", "run", "--all", "--most-weights", "10", "--out", "all"]);
    assert!(all.status.success() && stderr(&all).contains("not written in C"), "{}", stderr(&all));
    assert_eq!(names(&lab.path("all")), ["bioimageio", "bioimageio.zip", "model.onnx", "monai", "pytorch"]);
}

#[test]
fn a_file_segments_as_its_run_does() {
    for more in [&["--patch"][..], &[]] {
        let lab = trained("unet", more);
        lab.json(&["export", "run", "--onnx"]);
        lab.json(&["segment", "run", "data/images", "--out", "engine", "--probabilities", "--tile", "24"]);
        let model = ["segment", "run/export/model.onnx", "data/images", "--out", "tract", "--tile", "24"];
        lab.json(&[&model[..], &["--probabilities"]].concat());
        assert_eq!(names(&lab.path("engine")), names(&lab.path("tract")));
        for file in names(&lab.path("engine/probabilities")) {
            let read = |way: &str| std::fs::read(lab.path(way).join("probabilities").join(&file)).unwrap();
            let (engine, tract) = (read("engine"), read("tract"));
            assert_eq!(engine[..128], tract[..128], "{file}: the same shape");
            assert_eq!(engine.len(), 128 + 4 * 2 * 32 * 32);
            for (a, b) in engine[128..].chunks_exact(4).zip(tract[128..].chunks_exact(4)) {
                let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
                assert!((value(a) - value(b)).abs() <= 1e-4, "{file}: {} and {}", value(a), value(b));
            }
        }
    }
}

#[test]
fn what_cannot_be_exported_or_run_is_refused_with_a_reason() {
    let lab = trained("unet", &[]);
    refused(&lab.run(&["export", "run"]), &["--onnx"]);
    let int8 = ["export", "run", "--onnx", "--precision", "int8"];
    refused(&lab.run(&int8), &["hint: ", "--calibrate"]);
    refused(&lab.run(&["export", "run", "--onnx", "--calibrate", "data/images"]), &["--precision int8"]);
    let beyond = ["export", "run", "--onnx", "--output", "mask", "--threshold", "2"];
    refused(&lab.run(&beyond), &["--threshold", "0 to 1"]);
    refused(&lab.run(&["export", "nowhere", "--onnx"]), &["nowhere"]);
    assert!(!lab.path("run/export/model.onnx").exists());

    let weights = ["--weights", "run/weights.safetensors", "--out", "foreign.onnx"];
    let plain = lab.run(&[&["network", "export", "network.json"], &weights[..]].concat());
    assert!(plain.status.success(), "{}", stderr(&plain));
    let segment = |more: &[&str]| lab.run(&[&["segment"], more, &["data/images", "--out", "masks"]].concat());
    refused(&segment(&["foreign.onnx"]), &["segfit export", "hint: "]);
    std::fs::write(lab.path("broken.onnx"), b"no model").unwrap();
    refused(&segment(&["broken.onnx"]), &["broken.onnx", "ONNX"]);
    lab.json(&["export", "run", "--onnx"]);
    refused(&segment(&["run/export/model.onnx", "--precision", "int8"]), &["segfit export"]);
    refused(&segment(&["run/export/model.onnx", "--onnxruntime", "nothing.so"]), &["nothing.so"]);
    refused(&segment(&["run", "--onnxruntime", "nothing.so"]), &["MODEL.onnx"]);
    assert!(!lab.path("masks").exists());
}
