//! Training, evaluating, segmenting, calibrating, timing: from phantoms to masks with the real program.

use crate::support::{Lab, names, refused, stderr};

/// A phantom set and a small network for it.
fn lab() -> Lab {
    let lab = Lab::new();
    let made =
        lab.run(&["network", "narrow", "--channels", "1", "--width", "2", "--depth", "2", "--out", "network.json"]);
    assert!(made.status.success(), "{}", stderr(&made));
    lab
}

const TRAIN: [&str; 9] = ["train", "network.json", "data", "--size", "32", "--steps", "40", "--out", "run"];

#[test]
fn a_network_is_trained_evaluated_and_segments_images_of_any_size() {
    let lab = lab();
    let trained = lab.json(&TRAIN);
    for file in
        ["weights.safetensors", "checkpoint.safetensors", "log.jsonl", "metrics.json", "per_image.csv", "run.json"]
    {
        assert!(lab.path("run").join(file).exists(), "{file} of {:?}", names(&lab.path("run")));
    }
    let metrics = lab.json(&["evaluate", "run", "data"]);
    assert_eq!(metrics["images"], 2);
    assert_eq!(metrics["dice"]["mean"], trained["dice"]["mean"], "training ends with the same evaluation");
    let dice = metrics["dice"]["mean"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&dice) && metrics["iou"]["mean"].as_f64().unwrap() <= dice);

    let odd = lab.path("odd");
    std::fs::create_dir(&odd).unwrap();
    image::imageops::resize(
        &image::open(lab.image(0)).unwrap().to_luma8(),
        45,
        27,
        image::imageops::FilterType::Triangle,
    )
    .save(odd.join("cell.png"))
    .unwrap();
    lab.json(&["segment", "run", "odd", "--out", "masks"]);
    let mask = image::open(lab.path("masks/cell.png")).unwrap().to_luma8();
    assert_eq!(mask.dimensions(), (45, 27));
    assert!(mask.pixels().all(|p| p.0[0] == 0 || p.0[0] == 255), "the labels of the training masks");
    assert_eq!(image::image_dimensions(lab.path("masks/overlay/cell.png")).unwrap(), (45, 27));
}

#[test]
fn a_trained_network_runs_in_every_precision() {
    let lab = lab();
    let dice = |metrics: &serde_json::Value| metrics["dice"]["mean"].as_f64().unwrap();
    let f32 = dice(&lab.json(&TRAIN));
    for precision in ["bf16", "int8"] {
        let metrics = lab.json(&["evaluate", "run", "data", "--precision", precision]);
        assert!((dice(&metrics) - f32).abs() < 0.05, "{precision}: {metrics}, f32: {f32}");
        assert!(lab.path(&format!("run/metrics.{precision}.json")).exists(), "{:?}", names(&lab.path("run")));
        lab.json(&["segment", "run", "data/images", "--out", precision, "--precision", precision]);
        assert!(!names(&lab.path(precision)).is_empty());
    }
    let stored: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path("run/metrics.json")).unwrap()).unwrap();
    assert_eq!(dice(&stored), f32, "the figures of f32 are left alone");
    let own = ["segment", "run", "data/images", "--out", "own", "--precision", "int8"];
    let said = stderr(&lab.run(&own));
    assert!(said.contains("calibrated on") && said.contains("--calibrate"), "{said}");
    lab.json(&[&own[..], &["--calibrate", "data/images"]].concat());
    refused(
        &lab.run(&["segment", "run", "data/images", "--out", "own", "--calibrate", "data/images"]),
        &["--precision int8"],
    );
}

#[test]
fn bench_times_every_precision_of_inference_and_no_other_training() {
    let lab = Lab::empty();
    let bench = ["bench", "--width", "4", "--depth", "2", "--size", "64", "--seconds", "0.05", "--precision"];
    let bytes = ["f32", "bf16", "int8"].map(|precision| {
        let report = lab.json(&[&bench[..], &[precision]].concat());
        assert_eq!(report["precision"], precision);
        assert!(report["ms"]["min"].as_f64().unwrap() > 0.0);
        report["peak_bytes"].as_u64().unwrap()
    });
    assert!(bytes[0] > bytes[1] && bytes[1] > bytes[2], "{bytes:?}");
    refused(&lab.run(&[&bench[..], &["int8", "--mode", "train"]].concat()), &["f32 only"]);
}

#[test]
fn training_again_changes_nothing_and_another_training_does_not_overwrite_it() {
    let lab = lab();
    let first = lab.json(&TRAIN);
    let weights = std::fs::read(lab.path("run/weights.safetensors")).unwrap();
    let again = lab.json(&[&TRAIN[..], &["--resume"]].concat());
    assert_eq!(first["dice"], again["dice"]);
    assert_eq!(weights, std::fs::read(lab.path("run/weights.safetensors")).unwrap());
    refused(
        &lab.run(&[&TRAIN[..], &["--seed", "1"]].concat()),
        &["run", "same network, recipe, data and seed", "hint:"],
    );
    assert_eq!(weights, std::fs::read(lab.path("run/weights.safetensors")).unwrap());
}

/// A trained network, and one of half its channels in `narrow.json`.
fn lab_with_full_run() -> Lab {
    let lab = lab();
    let made = lab.run(&["network", "narrow", "--channels", "1", "--width", "8", "--depth", "2", "--out", "full.json"]);
    assert!(made.status.success(), "{}", stderr(&made));
    lab.json(&["train", "full.json", "data", "--size", "32", "--steps", "60", "--out", "full"]);
    lab
}

#[test]
fn a_narrowed_network_inherits_weights_as_a_file_or_at_the_start_of_its_training() {
    let lab = lab_with_full_run();
    let narrow = ["network", "narrow", "--network", "full.json", "--multiplier", "0.5", "--out", "narrow.json"];
    let weights = "full/weights.safetensors";
    let from_file = lab.json(&[&narrow[..], &["--weights", weights]].concat());
    assert_eq!(from_file["weights"], "narrow.safetensors");
    let bytes = std::fs::read(lab.path("narrow.safetensors")).unwrap();
    lab.json(&[&narrow[..], &["--weights", "full", "--criterion", "batch_norm"]].concat());
    assert_ne!(bytes, std::fs::read(lab.path("narrow.safetensors")).unwrap(), "another criterion, other channels");
    lab.json(&[&narrow[..], &["--weights", "full", "--criterion", "l1"]].concat());
    assert_eq!(bytes, std::fs::read(lab.path("narrow.safetensors")).unwrap(), "a run and its file say the same");

    let train = ["train", "narrow.json", "data", "--size", "32", "--steps", "20", "--out"];
    let inherited = lab.json(&[&train[..], &["inherited", "--init", "full"]].concat());
    assert_eq!(inherited["lineage"]["init"]["inherited"], "l1");
    let exact = lab.json(&[&train[..], &["exact", "--init", "narrow.safetensors"]].concat());
    assert!(exact["lineage"]["init"].get("inherited").is_none());
    let result = |run: &str| std::fs::read(lab.path(run).join("weights.safetensors")).unwrap();
    assert_eq!(result("inherited"), result("exact"), "both ways begin with the same weights");
    lab.json(&[&train[..], &["scratch"]].concat());
    assert_ne!(result("inherited"), result("scratch"));
    let by_norm = lab.json(&[&train[..], &["by-norm", "--init", "full", "--inherit", "batch_norm"]].concat());
    assert_eq!(by_norm["lineage"]["init"]["inherited"], "batch_norm");
    assert_ne!(result("inherited"), result("by-norm"));

    refused(&lab.run(&[&train[..], &["inherited"]].concat()), &["inherited", "initial weights", "hint:"]);
    refused(&lab.run(&[&train[..], &["new", "--init", weights]].concat()), &["--init", "enc0.conv1.weight", "folder"]);
    refused(&lab.run(&[&train[..], &["new", "--inherit", "l1"]].concat()), &["--init"]);
    let deeper = ["network", "narrow", "--channels", "1", "--width", "4", "--depth", "3", "--out", "deeper.json"];
    refused(&lab.run(&[&deeper[..], &["--weights", "full"]].concat()), &["full", "pool2", "narrowed network only"]);
    assert!(!lab.path("new").exists() && !lab.path("deeper.json").exists());
}

#[test]
fn a_run_teaches_a_narrower_network_and_the_record_says_so() {
    let lab = lab_with_full_run();
    let train = ["train", "network.json", "data", "--size", "32", "--steps", "20", "--out"];
    let taught = lab.json(&[&train[..], &["taught", "--teacher", "full"]].concat());
    let teacher = &taught["lineage"]["teacher"];
    assert_eq!((teacher["weight"].as_f64(), teacher["temperature"].as_f64()), (Some(0.5), Some(2.0)));
    let alone = lab.json(&[&train[..], &["alone"]].concat());
    let bytes = |report: &serde_json::Value| report["peak_bytes"].as_u64().unwrap();
    assert!(bytes(&taught) > bytes(&alone), "the teacher's memory counts");
    let result = |run: &str| std::fs::read(lab.path(run).join("weights.safetensors")).unwrap();
    assert_ne!(result("taught"), result("alone"));
    let again = lab.json(&[&train[..], &["taught", "--teacher", "full", "--resume"]].concat());
    assert_eq!(again["dice"], taught["dice"]);
    let record = std::fs::read_to_string(lab.path("taught/run.json")).unwrap();
    assert!(record.contains("\"temperature\": 2"), "{record}");
    let hotter = ["taught", "--teacher", "full", "--temperature", "3"];
    refused(&lab.run(&[&train[..], &hotter].concat()), &["taught", "teacher", "hint:"]);
    refused(&lab.run(&[&train[..], &["new", "--teacher", "full", "--teacher-weight", "2"]].concat()), &["0 to 1"]);
    refused(&lab.run(&[&train[..], &["new", "--teacher", "data"]].concat()), &["--teacher data"]);
    refused(&lab.run(&[&train[..], &["new", "--temperature", "3"]].concat()), &["--teacher"]);
    assert!(!lab.path("new").exists());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let lab = lab();
    refused(&lab.run(&[&TRAIN[..], &["--resume"]].concat()), &["run", "no checkpoint"]);
    let wide = lab.run(&["network", "narrow", "--channels", "3", "--width", "2", "--out", "rgb.json"]);
    assert!(wide.status.success());
    refused(&lab.run(&["train", "rgb.json", "data", "--size", "32", "--out", "run"]), &["rgb.json", "3 channel(s)"]);
    refused(&lab.run(&["evaluate", "run", "data"]), &["run"]);
    refused(&lab.run(&["segment", "nowhere", "data/images", "--out", "masks"]), &["nowhere"]);
    assert!(!lab.path("run").exists() && !lab.path("masks").exists());
}

#[test]
fn a_calibration_runs_resumes_collects_and_is_checked() {
    let lab = Lab::empty();
    let mut recipe = built_in_recipe();
    for kind in ["nuclei", "glands", "discs", "lesions"] {
        let made = lab.run(&["phantom", kind, "--count", "10", "--size", "32", "--out", kind]);
        assert!(made.status.success(), "{}", stderr(&made));
    }
    recipe["steps"] = 12.into();
    std::fs::write(lab.path("recipe.json"), recipe.to_string()).unwrap();
    let plan = [
        "calibrate",
        "plan",
        "nuclei",
        "glands",
        "discs",
        "lesions",
        "--widths",
        "3,1",
        "--depths",
        "1",
        "--size",
        "32",
        "--recipe",
        "recipe.json",
    ];
    assert_eq!(lab.json(&plan)["jobs"].as_array().unwrap().len(), 8);
    assert_eq!(lab.json(&["calibrate", "run", "manifest.json", "--out", "work", "--index", "2"])["done"], 1);
    assert_eq!(
        lab.json(&["calibrate", "run", "manifest.json", "--out", "work"])["done"],
        7,
        "the first is not repeated"
    );
    assert_eq!(lab.json(&["calibrate", "status", "manifest.json", "--out", "work"])["done"], 8);
    let collected = lab.json(&["calibrate", "collect", "work/records", "--out", "records.jsonl"]);
    assert!(collected["records"].as_u64().unwrap() >= 8);
    refused(
        &lab.run(&["calibrate", "run", "manifest.json", "--out", "work", "--index", "8"]),
        &["--index 8", "8 jobs"],
    );
    let text = std::fs::read_to_string(lab.path("records.jsonl")).unwrap();
    let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(record["steps"], 12);
    assert_eq!(record["per_image"].as_array().unwrap().len(), 2);
    assert!(!lab.path("work/runs").join(record["job"].as_str().unwrap()).exists(), "finished trainings are removed");
}

/// The built-in recipe, as a run writes it.
fn built_in_recipe() -> serde_json::Value {
    let trained = lab();
    assert!(trained.run(&TRAIN).status.success());
    let text = std::fs::read_to_string(trained.path("run/recipe.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn training_takes_the_input_that_was_planned() {
    let lab = Lab::new();
    let plan = ["plan", "data", "--max-params", "20k", "--width", "4", "--size", "16", "--patch", "--out", "plan"];
    assert_eq!(lab.json(&plan)["input"], serde_json::json!({"mode": "patch", "size": 16}));
    lab.json(&["train", "plan/plan.json", "data", "--steps", "2", "--out", "run"]);
    let recipe: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path("run/recipe.json")).unwrap()).unwrap();
    assert_eq!(recipe["input"], serde_json::json!({"mode": "patch", "size": 16}));
    lab.json(&["train", "plan/plan.json", "data", "--steps", "2", "--size", "32", "--out", "other"]);
    let recipe: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path("other/recipe.json")).unwrap()).unwrap();
    assert_eq!(recipe["input"]["size"], 32);
}

#[test]
fn bench_prints_the_keys_of_its_contract() {
    let lab = Lab::empty();
    for mode in ["infer", "train"] {
        let report = lab.json(&[
            "bench",
            "--network",
            "unet",
            "--width",
            "2",
            "--size",
            "32",
            "--batch",
            "2",
            "--mode",
            mode,
            "--seconds",
            "0.05",
        ]);
        let (min, median) = (report["ms"]["min"].as_f64().unwrap(), report["ms"]["median"].as_f64().unwrap());
        assert!(0.0 < min && min <= median, "{report}");
        assert!(report["images_per_second"].as_f64().unwrap() > 0.0);
        assert!(report["peak_bytes"].as_u64().unwrap() > 0 && report["threads"].as_u64().unwrap() > 0);
        assert!(report["device"].as_str().unwrap().starts_with("cpu/"));
    }
}

#[test]
fn the_demo_tells_the_whole_story() {
    let lab = Lab::empty();
    let report = lab.json(&["demo", "--count", "12", "--steps", "4", "--out", "demo"]);
    assert!(report["planned"]["params"].as_u64().unwrap() < report["full"]["params"].as_u64().unwrap());
    assert!(report["predicted_retention"]["low"].as_f64() <= report["predicted_retention"]["high"].as_f64());
    for file in ["plan.json", "demo.json", "planned/weights.safetensors", "full/metrics.json", "data/split.csv"] {
        assert!(lab.path("demo").join(file).exists(), "{file}");
    }
}

#[test]
fn a_second_process_in_a_run_is_refused_and_one_after_it_is_not() {
    let lab = lab();
    std::fs::create_dir(lab.path("run")).unwrap();
    let other = std::fs::File::create(lab.path("run/.lock")).unwrap();
    other.lock().unwrap();
    refused(&lab.run(&TRAIN), &["run", "no other process", "hint:"]);
    assert_eq!(names(&lab.path("run")), [".lock"], "nothing is written");
    // As when a process is killed: the file stays, the lock does not.
    drop(other);
    lab.json(&TRAIN);
    lab.json(&TRAIN);
}
