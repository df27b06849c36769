//! The program as a user meets it: what it prints, writes and refuses.

mod calibration;
mod device;
mod import;
mod report;
mod support;
mod training;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Lab, SmallDisk, is_root, names, refused, segfit, skipped, stderr, write_gray, write_rgb};

const COMMANDS: [&str; 16] = [
    "demo",
    "inspect",
    "measure",
    "predict",
    "plan",
    "report",
    "network",
    "train",
    "evaluate",
    "segment",
    "export",
    "import-weights",
    "calibrate",
    "phantom",
    "bench",
    "completions",
];

// Help and plumbing

#[test]
fn every_command_has_help_that_fits_eighty_columns() {
    let nested = ["network show", "network cost", "network list", "network narrow"];
    for command in COMMANDS.into_iter().chain(nested).chain([""]) {
        let output = segfit().args(command.split_whitespace()).arg("--help").env("COLUMNS", "80").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage: segfit"), "{help}");
        let wide: Vec<&str> = help.lines().filter(|l| l.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{command}: {wide:#?}");
        let first = help.lines().next().unwrap();
        assert!(first.len() > 20 && !first.starts_with("Options"), "{command} says what it does: {first}");
    }
}

#[test]
fn a_wrong_command_or_option_is_refused_with_usage() {
    for arguments in [vec!["mesure"], vec!["plan", "data", "--keeep", "95%"], vec![]] {
        let output = segfit().args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains("Usage"), "{}", stderr(&output));
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused_by_name() {
    let cases = [
        ("--keep", "95", "95% or 0.95"),
        ("--max-params", "many", "250k"),
        ("--max-memory", "4 apples", "4MiB"),
        ("--size", "3", "16"),
    ];
    for (option, value, expected) in cases {
        let output = segfit().args(["plan", "data", "--max-macs", "1M", option, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let message = stderr(&output);
        assert!(message.contains(option) && message.contains(expected), "{message}");
    }
}

#[test]
fn the_limit_of_decoded_images_is_said_and_can_be_changed() {
    let lab = Lab::new();
    let image = lab.image(0);
    let image = image.to_str().unwrap();
    let output = lab.run(&["inspect", image, "--max-image-bytes", "1000"]);
    refused(&output, &["nuclei-0000.png", "32 x 32", "1000 bytes", "--max-image-bytes"]);
    assert_eq!(lab.json(&["inspect", image, "--max-image-bytes", "1KiB"])[0]["rows"], 32);
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    for arguments in [vec!["completions", "bash"], vec!["network", "show"], vec!["network", "cost", "--json"]] {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("segfit"))
            .args(&arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(output.stderr.is_empty(), "{}", stderr(&output));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("segfit"))
        .args(["network", "show"])
        .stdout(full)
        .output()
        .unwrap();
    refused(&output, &["No space left"]);
}

// Contracts

#[test]
fn measure_prints_the_keys_of_its_contract() {
    let lab = Lab::new();
    let report = lab.json(&["measure", "data", "--size", "32"]);
    assert!(report["images"].as_u64().unwrap() > 0);
    for name in ["jpeg", "blob_density", "edge", "entropy", "si_mean", "median_frequency", "foreground", "objects"] {
        assert!(report["measures"][name]["mean"].is_f64(), "{name}");
    }
    assert!(report["measures"]["jpeg@1/2"]["mean"].is_f64());
    assert_eq!(names(&lab.path("")), ["data"], "without --out nothing is written");
}

#[test]
fn measure_prints_the_same_for_any_number_of_threads_and_the_file_holds_the_same() {
    let lab = Lab::new();
    let one = lab.run(&["measure", "data", "--size", "32", "--json", "--threads", "1"]);
    let two = lab.run(&["measure", "data", "--size", "32", "--json", "--threads", "2", "--out", "p.json"]);
    assert_eq!(one.stdout, two.stdout);
    assert_eq!(std::fs::read(lab.path("p.json")).unwrap(), two.stdout);
}

#[test]
fn only_training_images_are_measured_unless_all_are_asked_for() {
    let lab = Lab::new();
    let images = |split: &str| lab.json(&["measure", "data", "--size", "32", "--split", split])["images"].clone();
    assert_eq!(images("all"), 10);
    assert!(images("train").as_u64().unwrap() <= 8, "two of ten test");
}

#[test]
fn patches_are_measured_tile_by_tile() {
    let lab = Lab::new();
    let whole = lab.json(&["measure", "data", "--size", "16"]);
    let tiles = lab.json(&["measure", "data", "--size", "16", "--patch"]);
    assert_eq!(tiles["images"].as_u64().unwrap(), 4 * whole["images"].as_u64().unwrap());
    assert_eq!(tiles["input"]["mode"], "patch");
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn measuring_a_second_time_finds_every_image_in_the_cache_and_prints_the_same() {
    let lab = Lab::new();
    let measure = ["measure", "data", "--split", "all", "--size", "32", "--json", "--verbose"];
    let first = lab.run(&measure);
    assert!(stderr(&first).contains("0 image(s) were measured before"), "{}", stderr(&first));
    let second = lab.run(&measure);
    assert!(stderr(&second).contains("10 image(s) were measured before"), "{}", stderr(&second));
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(names(lab.cache()), ["segfit"]);
    assert_eq!(names(&lab.path("")), ["data"]);
    for file in files_below(lab.cache()) {
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() - 9]).unwrap();
    }
    let damaged = lab.run(&measure);
    assert!(stderr(&damaged).contains("0 image(s) were measured before"), "{}", stderr(&damaged));
    assert_eq!(damaged.stdout, first.stdout);
}

#[test]
fn a_cache_can_be_placed_or_left_out() {
    let lab = Lab::new();
    let measure = ["measure", "data", "--size", "32", "--json"];
    let plain = lab.run(&[&measure[..], &["--no-cache"]].concat());
    assert!(names(lab.cache()).is_empty());
    let placed = lab.run(&[&measure[..], &["--cache", "kept"]].concat());
    assert_eq!(plain.stdout, placed.stdout);
    assert!(names(lab.cache()).is_empty() && files_below(&lab.path("kept")).len() > 1);
    std::fs::write(lab.path("file"), "in the way").unwrap();
    refused(&lab.run(&[&measure[..], &["--cache", "file"]].concat()), &["file"]);
    std::fs::write(lab.cache().join("segfit"), "in the way").unwrap();
    let without = lab.run(&measure);
    assert!(stderr(&without).contains("warning: no cache"), "{}", stderr(&without));
    assert_eq!(without.stdout, plain.stdout);
}

#[test]
fn the_values_of_every_image_go_to_a_csv_file_or_into_the_profile() {
    let lab = Lab::new();
    let profile = lab.json(&["measure", "data", "--split", "all", "--size", "32", "--per-image"]);
    let other = lab.json(&["measure", "data", "--split", "all", "--size", "32", "--per-image", "images.csv"]);
    assert!(other.get("per_image").is_none());
    let text = std::fs::read_to_string(lab.path("images.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), &lines[0][..4]), (11, &["name", "source", "j", "jpeg"][..]));
    for (line, image) in lines[1..].iter().zip(profile["per_image"].as_array().unwrap()) {
        assert_eq!(line[0], image["name"].as_str().unwrap());
        for (column, cell) in lines[0].iter().zip(line).skip(2) {
            assert_eq!(cell.parse().ok(), image["values"][column].as_f64(), "{column}");
        }
    }
    let swallowed = lab.run(&["measure", "--per-image", "data"]);
    assert!(swallowed.status.code() == Some(2) && stderr(&swallowed).contains(".csv"), "{}", stderr(&swallowed));
    refused(&lab.run(&["measure", "data", "--per-image", "none/images.csv"]), &["none", "hint:"]);
}

#[test]
fn samples_are_nested_and_recorded() {
    let lab = Lab::new();
    let sample = |n: &str, seed: &str| {
        let arguments =
            ["measure", "data", "--split", "all", "--size", "32", "--per-image", "--sample", n, "--seed", seed];
        lab.json(&arguments)
    };
    let names = |report: &Value| -> Vec<String> {
        report["per_image"].as_array().unwrap().iter().map(|i| i["name"].to_string()).collect()
    };
    let (three, six, other) = (sample("3", "1"), sample("6", "1"), sample("3", "2"));
    assert_eq!((&three["sample"]["n"], &three["sample"]["of"], &three["images"]), (&3.into(), &10.into(), &3.into()));
    assert!(names(&three).iter().all(|name| names(&six).contains(name)));
    assert_ne!(names(&three), names(&other));
    assert!(sample("10", "1").get("sample").is_none(), "all images are no sample");
}

#[test]
fn the_jpeg_file_behind_j_can_be_chosen() {
    let lab = Lab::new();
    let j = |more: &[&str]| {
        let report = lab.json(&[&["measure", "data", "--size", "32"][..], more].concat());
        (report["measures"]["j"]["mean"].as_f64().unwrap(), report["jpeg"].clone(), report["measures"]["jpeg"].clone())
    };
    let (paper, options, jpeg) = j(&[]);
    assert_eq!(options, serde_json::json!({"size": 512, "quality": 80, "colour": "gray"}));
    let (coarse, options, same) = j(&["--jpeg-size", "64", "--jpeg-quality", "20", "--jpeg-colour", "rgb"]);
    assert_eq!(options, serde_json::json!({"size": 64, "quality": 20, "colour": "rgb"}));
    assert!(paper != coarse && jpeg == same, "the measure of the scales stays");
    let output = lab.run(&["measure", "data", "--jpeg-quality", "101"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("100"), "{}", stderr(&output));
}

fn assert_interval(value: &Value) {
    let [low, mean, high] = ["low", "mean", "high"].map(|k| value[k].as_f64().unwrap());
    assert!(low <= mean && mean <= high && low >= 0.0, "{value}");
}

#[test]
fn predict_prints_the_keys_of_its_contract() {
    let lab = Lab::new();
    let report = lab.json(&["predict", "data", "--size", "32", "--width", "16"]);
    assert!(report["full"]["params"].as_u64().unwrap() > 1_000_000);
    let sizes = report["sizes"].as_array().unwrap();
    assert!(sizes.len() >= 5);
    for size in sizes {
        assert!(size["widths"]["enc0"].as_u64().unwrap() >= 1);
        assert!(size["params"].is_u64() && size["macs"].is_u64() && size["extrapolated"].is_boolean());
        assert_interval(&size["dice"]);
        assert_interval(&size["retention"]);
    }
}

#[test]
fn plan_prints_the_keys_of_its_contract_and_writes_files_that_agree() {
    let lab = Lab::new();
    let plan = lab.json(&["plan", "data", "--size", "32", "--keep", "90%", "--out", "plans/a"]);
    assert!(plan["network"]["params"].as_u64().unwrap() < plan["full"]["params"].as_u64().unwrap());
    assert!(plan["network"]["macs"].is_u64() && plan["full"]["macs"].is_u64());
    assert_eq!(plan["network"]["size"], 32);
    assert_interval(&plan["predicted"]["dice"]);
    assert_interval(&plan["predicted"]["retention"]);
    assert!(plan["predicted"]["extrapolated"].is_boolean());
    let width = &plan["widths"][0];
    assert!(width["group"].is_string() && width["full"].is_u64() && width["channels"].is_u64());
    let files = ["network.json", "plan.json", "profile.json", "report", "report.html", "sizes.json"];
    assert_eq!(names(&lab.path("plans/a")), files);
    let written: Value = serde_json::from_slice(&std::fs::read(lab.path("plans/a/plan.json")).unwrap()).unwrap();
    assert_eq!(written, plan);
    let cost = lab.json(&["network", "cost", "--network", "plans/a/network.json", "--size", "32"]);
    assert_eq!(cost["params"], plan["network"]["params"]);
    assert_eq!(cost["macs"], plan["network"]["macs"]);
}

#[test]
fn a_plan_can_be_named_and_a_dry_run_writes_nothing() {
    let lab = Lab::new();
    lab.json(&["plan", "data", "--size", "32", "--max-params", "20k", "--dry-run"]);
    assert_eq!(names(&lab.path("")), ["data"]);
    let plan = lab.json(&["plan", "data", "--size", "32", "--max-params", "20k", "--out", "out/small.json"]);
    assert!(plan["network"]["params"].as_u64().unwrap() <= 20_000);
    let files = ["network.json", "profile.json", "sizes.json", "small", "small.html", "small.json"];
    assert_eq!(names(&lab.path("out")), files);
    let quiet = ["plan", "data", "--size", "32", "--max-params", "20k", "--no-report", "--out", "quiet"];
    assert_eq!(lab.json(&quiet), plan);
    assert_eq!(names(&lab.path("quiet")), ["network.json", "plan.json", "profile.json"]);
}

#[test]
fn a_profile_is_used_when_it_fits_and_measured_again_when_not() {
    let lab = Lab::new();
    let measure = ["measure", "data", "--size", "32", "--out", "profile.json"];
    assert!(lab.run(&measure).status.success());
    let predict = |size: &str| lab.run(&["predict", "data", "--size", size, "--profile", "profile.json"]);
    assert!(!stderr(&predict("32")).contains("measuring again"));
    assert!(stderr(&predict("16")).contains("another input size"), "{}", stderr(&predict("16")));
}

#[test]
fn budgets_that_nothing_meets_give_code_three_and_the_nearest_network() {
    let lab = Lab::new();
    let output = lab.run(&["plan", "data", "--size", "32", "--max-params", "50", "--out", "plan"]);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("no network meets the budgets") && message.contains("--max-params 50"), "{message}");
    assert!(message.contains("hint: the nearest network"), "{message}");
    assert!(output.stdout.is_empty() && !lab.path("plan").exists());
}

#[test]
fn network_cost_prints_the_published_number_of_parameters() {
    let lab = Lab::empty();
    let cost =
        lab.json(&["network", "cost", "--network", "unet", "--channels", "3", "--classes", "2", "--size", "256"]);
    assert_eq!(cost["params"], 31_045_506);
    assert!(cost["macs"].as_u64().unwrap() > 40_000_000_000 && cost["peak_activation_bytes"].is_u64());
    let eighth = lab.json(&["network", "cost", "--multiplier", "0.125"]);
    assert_eq!(eighth["params"], 487_538);
    let report = lab.json(&["network", "cost", "--width", "8", "--widths", "enc4=7"]);
    assert_eq!(report["widths"]["enc4"], 7);
}

#[test]
fn layers_add_up_to_the_cost_and_a_narrowed_network_comes_back() {
    let lab = Lab::empty();
    let options = ["--width", "4", "--depth", "2", "--widths", "dec0=3"];
    let shown = lab.json(&[&["network", "show"][..], &options].concat());
    let cost = lab.json(&[&["network", "cost"][..], &options].concat());
    assert_eq!((&shown["params"], &shown["macs"]), (&cost["params"], &cost["macs"]));
    lab.json(&[&["network", "narrow", "--out", "n.json"][..], &options].concat());
    assert_eq!(lab.json(&["network", "cost", "--network", "n.json"])["params"], cost["params"]);
    assert_eq!(lab.json(&["network", "list"])["families"][0]["name"], "unet");
}

#[test]
fn every_listed_family_is_shown_and_costed() {
    let lab = Lab::empty();
    let list = lab.json(&["network", "list"]);
    let families = list["families"].as_array().unwrap();
    assert_eq!(families.len(), 10);
    for family in families {
        let options = ["--network", family["name"].as_str().unwrap(), "--width", "6", "--size", "32"];
        let shown = lab.json(&[&["network", "show"][..], &options].concat());
        let cost = lab.json(&[&["network", "cost"][..], &options].concat());
        assert_eq!((&shown["params"], &shown["macs"]), (&cost["params"], &cost["macs"]), "{family}");
        assert!(cost["peak_activation_bytes"].as_u64().unwrap() > 0 && family["paper"].is_string());
    }
}

#[test]
fn groups_are_narrowed_by_patterns_and_rounded() {
    let lab = Lab::empty();
    let narrow = ["--network", "attention_unet", "--width", "20", "--depth", "2", "--multiplier", "0.5"];
    let patterns = ["--divisor", "4", "--widths", "dec*=7,dec1=5", "--multipliers", "att*=1"];
    let widths = lab.json(&[&["network", "cost"][..], &narrow, &patterns].concat())["widths"].clone();
    assert_eq!((&widths["dec0"], &widths["dec1"]), (&7.into(), &5.into()));
    assert_eq!((&widths["enc0"], &widths["enc1"], &widths["att1"]), (&12.into(), &20.into(), &20.into()));
    let supervised = ["network", "show", "--width", "2", "--deep-supervision"];
    let shown = lab.json(&supervised);
    let layers = shown["layers"].as_array().unwrap();
    assert!(layers.iter().any(|l| l["training_only"] == true && l["groups"][0] == "classes"));
    assert_eq!(shown["params"], 30_998, "heads that only training uses do not count");
}

#[test]
fn other_families_are_predicted_and_planned_as_extrapolations() {
    let lab = Lab::new();
    let options = ["data", "--size", "32", "--network", "resunet", "--width", "4", "--depth", "2"];
    let curve = lab.json(&[&["predict"][..], &options].concat());
    assert!(curve["family"] == "resunet" && curve["full"]["extrapolated"] == true);
    assert!(curve["reasons"].to_string().contains("family resunet"), "{}", curve["reasons"]);
    let plan = lab.json(&[&["plan", "--max-params", "20k", "--dry-run"][..], &options].concat());
    assert!(plan["predicted"]["extrapolated"] == true && plan["network"]["params"].as_u64().unwrap() <= 20_000);
}

#[test]
fn networks_that_cannot_be_are_refused_by_name() {
    let lab = Lab::empty();
    let cost = |options: &[&str]| lab.run(&[&["network", "cost"][..], options].concat());
    refused(&cost(&["--network", "vnet"]), &["--network", "unet", "vnet"]);
    refused(&cost(&["--widths", "enc9=4"]), &["--widths", "enc0", "enc9"]);
    refused(&cost(&["--multiplier", "0"]), &["--multiplier"]);
    refused(&cost(&["--depth", "20"]), &["--depth", "1 to 6", "20"]);
    refused(&cost(&["--growth", "4"]), &["--growth", "unet"]);
    refused(&cost(&["--norm", "layer"]), &["--norm", "instance"]);
    refused(&cost(&["--network", "missing.json"]), &["missing.json", "hint:"]);
    std::fs::write(lab.path("broken.json"), "{\"format\": \"segfit-network/1\"").unwrap();
    refused(&cost(&["--network", "broken.json"]), &["broken.json", "segfit-network/1", "hint:"]);
    std::fs::write(lab.path("plan.json"), "{\"format\": \"segfit-plan/1\"}").unwrap();
    refused(&cost(&["--network", "plan.json"]), &["plan.json", "segfit-network/1", "segfit-plan/1"]);
}

// Phantoms

#[test]
fn phantoms_are_the_same_for_the_same_seed_and_complete() {
    let lab = Lab::empty();
    let make = |out: &str, seed: &str| {
        let report = lab.json(&["phantom", "glands", "--count", "6", "--size", "32", "--out", out, "--seed", seed]);
        assert_eq!(report["images"], 6);
        std::fs::read(lab.path(out).join("images/glands-0003.png")).unwrap()
    };
    assert_eq!(make("a", "1"), make("b", "1"));
    assert_ne!(make("c", "1"), make("d", "2"));
    assert_eq!(names(&lab.path("a")), ["PHANTOM.json", "images", "masks", "split.csv"]);
    assert_eq!(names(&lab.path("a/images")), names(&lab.path("a/masks")));
    assert_eq!(names(&lab.path("")), ["a", "b", "c", "d"], "no temporary folder is left");
}

#[test]
fn a_knob_of_a_scene_changes_what_it_says_and_nothing_else() {
    let lab = Lab::empty();
    let make = |out: &str, knobs: &[&str]| {
        let report = lab.json(&[&["phantom", "scene", "--count", "5", "--size", "64", "--out", out], knobs].concat());
        assert_eq!((&report["options"]["size"], &report["options"]["count"]), (&64.into(), &5.into()));
        ["images", "masks"].map(|kind| std::fs::read(lab.path(&format!("{out}/{kind}/scene-0003.png"))).unwrap())
    };
    let neutral = make("neutral", &[]);
    assert_eq!(make("same", &["--noise", "0.02", "--objects", "16", "--roughness", "0.1", "--scale", "1"]), neutral);
    for (knob, value, keeps_masks) in [
        ("--noise", "0.1", true),
        ("--contrast", "0.5", true),
        ("--objects", "12", false),
        ("--roughness", "0.3", false),
        ("--scale", "2", false),
    ] {
        let turned = make(&knob[2..], &[knob, value]);
        assert_ne!(turned[0], neutral[0], "{knob}");
        assert_eq!(turned[1] == neutral[1], keeps_masks, "{knob}");
    }
}

#[test]
fn knobs_of_another_kind_of_phantom_are_refused() {
    let lab = Lab::empty();
    let refuses = |arguments: &[&str], words: &[&str]| {
        refused(&lab.run(&[&["phantom"], arguments, &["--out", "x"]].concat()), words);
    };
    refuses(&["scene", "--complexity", "0.7"], &["--complexity", "0.7", "--roughness"]);
    refuses(&["nuclei", "--scale", "2"], &["--scale", "scene", "nuclei"]);
    refuses(&["scene", "--channels", "3"], &["--channels", "gray"]);
    refuses(&["scene", "--objects", "65"], &["scene objects", "0 to 64", "65"]);
    refuses(&["scene", "--scale", "0"], &["scene scale", "1/8 to 8"]);
    assert!(names(&lab.path("")).is_empty());
}

#[test]
fn a_folder_with_files_is_not_overwritten() {
    let lab = Lab::new();
    let output = lab.run(&["phantom", "discs", "--out", "data"]);
    refused(&output, &["data", "a new or empty folder", "hint:"]);
    assert!(lab.image(0).exists());
    refused(&lab.run(&["phantom", "discs", "--out", "x", "--complexity", "2"]), &["complexity", "0 to 1", "2"]);
    assert_eq!(names(&lab.path("")), ["data"]);
}

// Bad input

#[test]
fn a_missing_folder_is_named() {
    let lab = Lab::empty();
    for command in ["measure", "predict"] {
        refused(&lab.run(&[command, "nowhere"]), &["nowhere", "expected a folder", "nothing of that name"]);
    }
    lab_file(&lab);
    refused(&lab.run(&["measure", "file"]), &["file", "expected a folder", "found a file"]);
}

fn lab_file(lab: &Lab) {
    std::fs::write(lab.path("file"), "x").unwrap();
}

#[test]
fn an_empty_folder_is_refused() {
    let lab = Lab::empty();
    std::fs::create_dir(lab.path("data")).unwrap();
    lab.refuses_the_data(&["data", "images", "hint:"]);
}

#[test]
fn an_image_without_a_mask_is_named() {
    let lab = Lab::new();
    std::fs::remove_file(lab.mask(3)).unwrap();
    lab.refuses_the_data(&["nuclei-0003", "mask", "hint:"]);
}

#[test]
fn a_mask_of_another_size_is_named_with_both_sizes() {
    let lab = Lab::new();
    write_gray(&lab.mask(2), 31, 40, 255);
    lab.refuses_the_data(&["masks/nuclei-0002.png", "32", "31", "40", "hint:"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let lab = Lab::new();
    std::fs::write(lab.image(1), "this is no image").unwrap();
    lab.refuses_the_data(&["images/nuclei-0001.png", "hint:"]);
}

#[test]
fn a_truncated_file_is_named() {
    let lab = Lab::new();
    let bytes = std::fs::read(lab.image(4)).unwrap();
    std::fs::write(lab.image(4), &bytes[..bytes.len() / 2]).unwrap();
    lab.refuses_the_data(&["images/nuclei-0004.png", "hint:"]);
}

#[test]
fn a_file_without_bytes_is_named() {
    let lab = Lab::new();
    std::fs::write(lab.image(0), "").unwrap();
    lab.refuses_the_data(&["images/nuclei-0000.png", "hint:"]);
}

#[test]
fn an_image_without_pixels_is_named() {
    let lab = Lab::new();
    // A PNG whose header says 0 x 0.
    let mut bytes = std::fs::read(lab.image(0)).unwrap();
    bytes[16..24].fill(0);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(lab.image(0), bytes).unwrap();
    lab.refuses_the_data(&["images/nuclei-0000.png", "hint:"]);
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn training_masks_without_any_foreground_are_refused() {
    let lab = Lab::new();
    for index in 0..10 {
        write_gray(&lab.mask(index), 32, 32, 0);
    }
    lab.refuses_the_data(&["data", "training masks", "foreground", "hint:"]);
}

#[test]
fn an_image_of_one_pixel_is_named() {
    let lab = Lab::new();
    write_gray(&lab.image(5), 1, 1, 9);
    write_gray(&lab.mask(5), 1, 1, 255);
    lab.refuses_the_data(&["images/nuclei-0005.png", "1 x 1", "hint:"]);
}

#[test]
fn values_that_are_not_finite_are_named() {
    for value in [f32::NAN, f32::INFINITY] {
        let lab = Lab::new();
        std::fs::remove_file(lab.image(0)).unwrap();
        let pixels = image::Rgb32FImage::from_fn(32, 32, |x, _| image::Rgb([if x == 3 { value } else { 0.5 }; 3]));
        image::DynamicImage::ImageRgb32F(pixels).save(lab.path("data/images/nuclei-0000.tif")).unwrap();
        lab.refuses_the_data(&["images/nuclei-0000.tif", "finite", "hint:"]);
    }
}

#[test]
fn images_of_different_channel_counts_are_refused() {
    let lab = Lab::new();
    write_rgb(&lab.image(6), 32, 32);
    lab.refuses_the_data(&["images/nuclei-0006.png", "channel", "hint:"]);
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let lab = Lab::new();
    let disk = lab.path("disk");
    let Some(_mounted) = SmallDisk::mount(&disk, 8) else {
        return skipped("full disk: a small file system can only be mounted by root");
    };
    refused(
        &lab.run(&["plan", "data", "--size", "32", "--keep", "90%", "--out", "disk/plan"]),
        &["disk/plan", "hint:"],
    );
    refused(
        &lab.run(&["measure", "data", "--size", "32", "--out", "disk/profile.json"]),
        &["disk/profile.json", "hint:"],
    );
    refused(&lab.run(&["phantom", "discs", "--out", "disk/set"]), &["disk/set", "hint:"]);
    assert!(names(&disk).is_empty(), "{:?}", names(&disk));
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let lab = Lab::new();
    lab_file(&lab);
    for out in ["file/plan", "/proc/segfit"] {
        refused(&lab.run(&["plan", "data", "--size", "32", "--keep", "90%", "--out", out]), &[out]);
        refused(&lab.run(&["phantom", "discs", "--out", &format!("{out}/set")]), &[out]);
    }
    refused(&lab.run(&["measure", "data", "--size", "32", "--out", "none/profile.json"]), &["none", "hint:"]);
    assert_eq!(names(&lab.path("")), ["data", "file"]);
}

#[cfg(unix)]
#[test]
fn a_folder_without_write_permission_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    if is_root() {
        return skipped("no write permission: root may write everywhere");
    }
    let lab = Lab::new();
    let locked = lab.path("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    let output = lab.run(&["plan", "data", "--size", "32", "--keep", "90%", "--out", "locked"]);
    refused(&output, &["locked", "permission", "hint:"]);
    assert!(names(&locked).is_empty());
}
