//! `segfit network import` and `export`, on files that are made here.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use segfit::files::read_json;
use segfit::network::{GroupKind, NETWORK_FORMAT, NetworkSpec};
use segfit::onnx::{ExportOptions, Tensor, export};
use support::{Lab, refused, stderr};

/// Runs the program, which must succeed.
fn run(lab: &Lab, arguments: &[&str]) {
    let output = lab.run(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A U-Net of the program's own as an ONNX file.
fn unet(lab: &Lab) {
    run(lab, &["network", "narrow", "--width", "4", "--depth", "2", "--channels", "1", "--out", "unet.json"]);
    let spec: NetworkSpec = read_json(&lab.path("unet.json"), NETWORK_FORMAT).unwrap();
    let parameters = spec.parameters().unwrap();
    let tensor = |p: &segfit::network::Parameter| Tensor {
        name: p.name.clone(),
        shape: p.shape.clone(),
        values: (0..p.len()).map(|i| (i % 11) as f32 / 8.0 + 0.5).collect(),
    };
    let weights: Vec<Tensor> = parameters.iter().map(tensor).collect();
    std::fs::write(lab.path("unet.onnx"), export(&spec, &weights, &ExportOptions::default()).unwrap()).unwrap();
}

#[test]
fn a_network_is_imported_with_its_weights_and_written_again_with_the_same_bytes() {
    let lab = Lab::empty();
    unet(&lab);
    let report = lab.json(&["network", "import", "unet.onnx", "--out", "back.json"]);
    assert_eq!((report["channels"].as_u64(), report["classes"].as_u64()), (Some(1), Some(2)));
    assert_eq!(report["input_multiple"], 4);
    let back: NetworkSpec = read_json(&lab.path("back.json"), NETWORK_FORMAT).unwrap();
    let free = back.groups.iter().filter(|g| g.kind == GroupKind::Free).count();
    assert_eq!(report["free_groups"].as_u64(), Some(free as u64));
    run(&lab, &["network", "export", "back.json", "--weights", "back.safetensors", "--out", "one.onnx"]);
    run(&lab, &["network", "import", "one.onnx", "--out", "again.json"]);
    run(&lab, &["network", "export", "again.json", "--weights", "again.safetensors", "--out", "two.onnx"]);
    assert_eq!(std::fs::read(lab.path("one.onnx")).unwrap(), std::fs::read(lab.path("two.onnx")).unwrap());
}

#[test]
fn an_imported_network_is_narrowed_and_counted() {
    let lab = Lab::empty();
    unet(&lab);
    run(&lab, &["network", "import", "unet.onnx", "--out", "back.json"]);
    run(&lab, &["network", "narrow", "--network", "back.json", "--multiplier", "0.5", "--out", "half.json"]);
    let params = |file: &str| lab.json(&["network", "cost", "--network", file])["params"].as_u64().unwrap();
    assert_eq!(params("back.json"), params("unet.json"));
    assert!(3 * params("half.json") < params("back.json"));
}

#[test]
fn what_is_no_onnx_file_is_refused_and_nothing_is_written() {
    let lab = Lab::empty();
    unet(&lab);
    std::fs::write(lab.path("text.onnx"), "not a network").unwrap();
    let whole = std::fs::read(lab.path("unet.onnx")).unwrap();
    std::fs::write(lab.path("cut.onnx"), &whole[..whole.len() / 2]).unwrap();
    for file in ["text.onnx", "cut.onnx"] {
        refused(&lab.run(&["network", "import", file, "--out", "never.json"]), &[file, "ONNX"]);
        assert!(!lab.path("never.json").exists() && !lab.path("never.safetensors").exists());
    }
}
