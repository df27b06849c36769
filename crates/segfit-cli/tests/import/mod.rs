//! Weights that come back from another program.

use crate::support::{Lab, names, refused, stderr};

/// A phantom set, a network and a short training in `run`.
fn lab() -> Lab {
    let lab = Lab::new();
    let narrow = ["network", "narrow", "--channels", "1", "--depth", "2", "--deep-supervision", "--width"];
    for (width, file) in [("2", "network.json"), ("3", "other.json")] {
        let made = lab.run(&[&narrow[..], &[width, "--out", file]].concat());
        assert!(made.status.success(), "{}", stderr(&made));
    }
    lab.json(&["train", "network.json", "data", "--size", "32", "--steps", "20", "--out", "run"]);
    lab
}

#[test]
fn a_state_dict_becomes_a_run_that_every_command_takes() {
    let lab = lab();
    let made = lab.json(&["import-weights", "run", "run/weights.safetensors", "--out", "back"]);
    assert_eq!(made["without_auxiliary_heads"], false);
    assert!(made["params"].as_u64().unwrap() > 100);
    let dice = |run: &str| lab.json(&["evaluate", run, "data"])["dice"]["mean"].clone();
    assert_eq!(dice("run"), dice("back"));
    assert_eq!(
        std::fs::read(lab.path("run/weights.safetensors")).unwrap(),
        std::fs::read(lab.path("back/weights.safetensors")).unwrap()
    );
    lab.json(&["segment", "back", "data/images", "--out", "masks"]);
    // What a run hands on is its deployed network, without auxiliary heads.
    let plain =
        lab.run(&["network", "narrow", "--channels", "1", "--depth", "2", "--width", "2", "--out", "plain.json"]);
    assert!(plain.status.success(), "{}", stderr(&plain));
    let train = ["train", "plain.json", "data", "--size", "32", "--steps", "5", "--out"];
    let after = lab.json(&[&train[..], &["after", "--init", "back"]].concat());
    assert!(after["lineage"]["init"]["hash"].is_string(), "{after}");
    // The same command would overwrite what was imported.
    let same = ["train", "network.json", "data", "--size", "32", "--steps", "20", "--out", "back"];
    refused(&lab.run(&same), &["back", "hint:"]);
    let again = ["import-weights", "run", "run/weights.safetensors", "--out", "back"];
    refused(&lab.run(&again), &["a new or empty folder"]);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let lab = lab();
    lab.json(&["train", "other.json", "data", "--size", "32", "--steps", "2", "--out", "other"]);
    std::fs::write(lab.path("state.pt"), b"PK\x03\x04").unwrap();
    std::fs::write(lab.path("short.safetensors"), b"\x10\0\0\0\0\0\0\0{").unwrap();
    let before = names(&lab.path(""));
    let import = |state: &str| lab.run(&["import-weights", "run", state, "--out", "back"]);
    refused(&import("other/weights.safetensors"), &["enc0.conv1.weight", "[2, 1, 3, 3]", "[3, 1, 3, 3]", "hint:"]);
    refused(&import("state.pt"), &["a file of torch.save", "hint:", "save_file"]);
    refused(&import("short.safetensors"), &["a safetensors file"]);
    refused(&import("none.safetensors"), &["none.safetensors"]);
    assert_eq!(names(&lab.path("")), before);
}

#[test]
fn packages_are_written_whole_and_always_the_same() {
    let lab = lab();
    let export = |out: &str| {
        let formats = ["--pytorch", "--bioimageio", "--monai", "--licence", "MIT", "--author", "A. Uthor"];
        lab.json(&[&["export", "run", "--out", out][..], &formats].concat())
    };
    let made = export("one");
    let files = made["files"].as_array().unwrap();
    assert_eq!(files.len(), 4, "{made}");
    assert!(files.iter().all(|f| f["bytes"].as_u64().unwrap() > 1000), "{made}");
    for file in
        ["pytorch/model.py", "pytorch/weights.safetensors", "monai/configs/inference.json", "monai/models/model.pt"]
    {
        assert!(lab.path("one").join(file).exists(), "{file}");
    }
    let package = names(&lab.path("one/bioimageio"));
    let expected =
        ["README.md", "cover.png", "model.py", "rdf.yaml", "test_input.npy", "test_output.npy", "weights.onnx"];
    assert_eq!(package, [&expected[..], &["weights.pt"]].concat());
    let description = std::fs::read_to_string(lab.path("one/bioimageio/rdf.yaml")).unwrap();
    assert!(description.contains("license: \"MIT\"") && description.contains("- name: \"A. Uthor\""), "{description}");
    export("two");
    let zip = |out: &str| std::fs::read(lab.path(out).join("bioimageio.zip")).unwrap();
    assert_eq!(zip("one"), zip("two"));
    let back = lab.json(&["import-weights", "run", "one/pytorch/weights.safetensors", "--out", "back"]);
    assert_eq!(back["without_auxiliary_heads"], true, "an export has none");
    let dice = |run: &str| lab.json(&["evaluate", run, "data"])["dice"]["mean"].clone();
    assert_eq!(dice("run"), dice("back"));
}
