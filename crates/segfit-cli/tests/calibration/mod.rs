//! Lists of trainings, their state and their records, variants of data sets, scripts for clusters: with the real program.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Lab, names, refused, stderr};

/// Two phantom sets and a recipe of few steps.
fn lab(steps: usize) -> Lab {
    let lab = Lab::empty();
    for kind in ["nuclei", "discs"] {
        let made = lab.run(&["phantom", kind, "--count", "10", "--size", "32", "--out", kind]);
        assert!(made.status.success(), "{}", stderr(&made));
    }
    write_recipe(&lab, steps);
    lab
}

/// The built-in recipe, as a list holds it, with fewer steps.
fn write_recipe(lab: &Lab, steps: usize) {
    let listed = lab.json(&["calibrate", "plan", "nuclei", "--widths", "1", "--out", "one.json"]);
    let mut recipe = listed["jobs"][0]["recipe"].clone();
    recipe["steps"] = steps.into();
    recipe["step_exponent"] = 0.into();
    std::fs::write(lab.path("recipe.json"), recipe.to_string()).unwrap();
    std::fs::remove_file(lab.path("one.json")).unwrap();
}

/// A list of the discs at widths 2 and 1.
fn planned(steps: usize) -> Lab {
    let lab = lab(steps);
    let jobs = lab.json(&[
        "calibrate",
        "plan",
        "discs",
        "--widths",
        "2,1",
        "--depths",
        "1",
        "--size",
        "32",
        "--recipe",
        "recipe.json",
    ]);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
    lab
}

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_lists_of_the_three_runs_are_one_list_made_by_appending() {
    let lab = lab(5);
    let plan = |arguments: &[&str]| {
        let base = ["calibrate", "plan", "nuclei", "--patch", "discs", "--out", "all.json"];
        lab.json(&[&base[..], arguments].concat())["jobs"].as_array().unwrap().clone()
    };
    let a = plan(&["--widths", "16,8,4,2,1"]);
    assert_eq!(a.len(), 10);
    let seeds = plan(&["--widths", "4,2,1", "--seeds", "0,1,2", "--append"]);
    assert_eq!(seeds.len(), 10 + 12, "what was listed is not listed again");
    assert_eq!(seeds[..10], a[..]);
    let shapes = plan(&["--widths", "4,2", "--shapes", "8", "--append", "--seed", "7"]);
    assert_eq!(shapes.len(), 22 + 16);
    for job in &shapes[22..] {
        assert_eq!(job["widths"].as_object().unwrap().len(), 13, "explicit widths of all groups");
    }
    let families = plan(&["--families", "cumednet,fc_densenet56", "--widths", "12,4", "--append"]);
    assert_eq!(families.len(), 38 + 8);
    let depths: BTreeSet<_> = families[38..].iter().map(|j| (j["family"].as_str(), j["depth"].as_u64())).collect();
    assert_eq!(depths, [(Some("cumednet"), Some(3)), (Some("fc_densenet56"), Some(5))].into());
    let ids: BTreeSet<_> = families.iter().map(|j| j["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), families.len());
    refused(&lab.run(&["calibrate", "plan", "nuclei", "--families", "vnet"]), &["vnet", "unet"]);
    refused(
        &lab.run(&["calibrate", "plan", "nuclei", "--widths", "1", "--depths", "1", "--shapes", "100"]),
        &["too narrow", "100"],
    );
}

#[test]
fn running_shows_no_test_scores_and_the_record_holds_them() {
    let lab = planned(4);
    let output = lab.run(&["calibrate", "run", "manifest.json", "--out", "work"]);
    let shown = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("training loss") && !shown.to_lowercase().contains("dice"), "{shown}");
    for file in names(&lab.path("work/records")) {
        for record in records(&lab.path("work/records").join(&file)) {
            let dice = record["dice"].as_f64().unwrap();
            assert!(!shown.contains(&format!("{dice:.4}")) || dice == 0.0, "{dice} in {shown}");
            assert_eq!((record["synthetic"].as_bool(), record.get("parent")), (Some(true), None), "phantoms say so");
        }
    }
    assert!(names(&lab.path("work/runs")).is_empty() && names(&lab.path("work/locks")).is_empty());
}

#[test]
fn the_status_tells_what_is_done_and_failed_and_how_long_the_rest_takes() {
    let lab = planned(4);
    let status = || lab.json(&["calibrate", "status", "manifest.json", "--out", "work"]);
    assert_eq!((status()["left"].as_u64(), status()["eta_seconds"].as_f64()), (Some(2), None));
    lab.json(&["calibrate", "run", "manifest.json", "--out", "work", "--index", "0"]);
    let half = status();
    assert_eq!((half["done"].as_u64(), half["running"].as_u64()), (Some(1), Some(0)));
    assert!(half["eta_seconds"].as_f64().unwrap() > 0.0);

    std::fs::rename(lab.path("discs"), lab.path("away")).unwrap();
    refused(&lab.run(&["calibrate", "run", "manifest.json", "--out", "work"]), &["1 failed", "status"]);
    let failed = status();
    assert_eq!(failed["failed"][0]["index"], 1);
    assert!(failed["failed"][0]["error"].as_str().unwrap().contains("discs"), "{failed}");
    std::fs::rename(lab.path("away"), lab.path("discs")).unwrap();
    lab.json(&["calibrate", "run", "manifest.json", "--out", "work"]);
    let done = status();
    assert_eq!(
        (done["done"].as_u64(), done["left"].as_u64(), done["failed"].as_array().unwrap().len()),
        (Some(2), Some(0), 0)
    );
}

#[test]
fn what_a_kill_left_of_a_job_that_is_done_is_removed() {
    let lab = planned(4);
    let run = ["calibrate", "run", "manifest.json", "--out", "work"];
    lab.json(&run);
    let job = names(&lab.path("work/records")).remove(0).replace(".jsonl", "");
    std::fs::create_dir(lab.path("work/runs").join(&job)).unwrap();
    for file in [format!("work/runs/{job}/run.json"), format!("work/locks/{job}"), format!("work/failed/{job}.txt")] {
        std::fs::write(lab.path(&file), "").unwrap();
    }
    assert_eq!(lab.json(&run)["done"], 0);
    for folder in ["work/runs", "work/locks", "work/failed"] {
        assert_eq!(names(&lab.path(folder)), [""; 0], "{folder}");
    }
}

#[test]
fn jobs_of_a_data_set_that_changed_after_the_first_of_them_fail() {
    let lab = planned(4);
    let run = ["calibrate", "run", "manifest.json", "--out", "work"];
    lab.json(&[&run[..], &["--index", "1"]].concat());
    let image = lab.path("discs/images/discs-0001.png");
    let old = std::fs::read(&image).unwrap();
    std::fs::copy(lab.path("discs/images/discs-0002.png"), &image).unwrap();
    let output = lab.run(&run);
    refused(&output, &["discs", "the images, masks and split that", "1 failed"]);
    assert_eq!(names(&lab.path("work/records")).len(), 1);
    std::fs::write(&image, old).unwrap();
    assert_eq!(lab.json(&run)["done"], 1);
}

#[cfg(unix)]
#[test]
fn a_training_that_is_terminated_saves_itself_and_goes_on_to_the_same_record() {
    use std::process::{Command, Stdio};
    let lab = planned(1500);
    lab.json(&["calibrate", "run", "manifest.json", "--out", "whole", "--index", "0"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_segfit"))
        .args(["calibrate", "run", "manifest.json", "--out", "work", "--index", "0"])
        .current_dir(lab.path(""))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Wait for the first log line: the training has begun.
    let begun = || {
        let runs = std::fs::read_dir(lab.path("work/runs")).into_iter().flatten().flatten();
        runs.map(|run| run.path().join("log.jsonl")).any(|log| log.metadata().is_ok_and(|m| m.len() > 0))
    };
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    let running = || lab.json(&["calibrate", "status", "manifest.json", "--out", "work"]);
    let _ = Command::new("kill").args(["-TERM", &pid]).status();
    let code = child.wait().unwrap().code();
    assert!(code == Some(130) || code == Some(0), "{code:?}");
    if code == Some(130) {
        assert_eq!((running()["interrupted"].as_u64(), running()["done"].as_u64()), (Some(1), Some(0)));
    }
    lab.json(&["calibrate", "run", "manifest.json", "--out", "work", "--index", "0"]);
    let of = |folder: &str| {
        let file = names(&lab.path(folder)).remove(0);
        let mut all = records(&lab.path(folder).join(file));
        all.iter_mut().for_each(|r| r["seconds"] = 0.into());
        all
    };
    assert_eq!(of("work/records"), of("whole/records"));
}

#[test]
fn contradictions_are_refused_and_other_engines_and_unknown_keys_are_welcome() {
    let lab = planned(3);
    lab.json(&["calibrate", "run", "manifest.json", "--out", "work"]);
    let folder = lab.path("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    let file = names(&lab.path("work/records")).remove(0);
    let mut record = records(&lab.path("work/records").join(file)).remove(0);
    record["engine"] = "pytorch/cuda".into();
    record["gpu"] = json!({"name": "any"});
    record["dice"] = 0.5.into();
    std::fs::write(folder.join("a.jsonl"), format!("{record}\n")).unwrap();
    let collect = ["calibrate", "collect", "work/records", "elsewhere", "work/records", "--out", "all.jsonl"];
    let found = lab.json(&collect);
    let own = records(&lab.path("all.jsonl")).iter().filter(|r| r["engine"] != "pytorch/cuda").count();
    assert_eq!(found["records"].as_u64(), Some(own as u64 + 1));
    assert_eq!((found["duplicates"].as_u64(), found["conflicts"].as_u64()), (Some(own as u64), Some(0)));

    record["dice"] = 0.6.into();
    std::fs::write(folder.join("b.jsonl"), format!("{record}\n")).unwrap();
    std::fs::remove_file(lab.path("all.jsonl")).unwrap();
    refused(&lab.run(&collect), &["a.jsonl:1", "b.jsonl:1", "--keep-conflicts"]);
    assert!(!lab.path("all.jsonl").exists());
    let kept = lab.json(&[&collect[..], &["--keep-conflicts"]].concat());
    assert_eq!(kept["conflicts"], 1);
    assert!(records(&lab.path("all.jsonl")).iter().any(|r| r["dice"] == 0.5));

    record.as_object_mut().unwrap().remove("cost");
    record.as_object_mut().unwrap().remove("seconds");
    std::fs::write(folder.join("b.jsonl"), format!("{record}\n")).unwrap();
    refused(&lab.run(&collect), &["b.jsonl:1", "cost, seconds"]);
}

#[test]
fn a_variant_has_the_splits_and_sources_of_its_parent_and_says_what_was_done() {
    let lab = lab(3);
    let vary = |data: &str, out: &str, arguments: &[&str]| {
        lab.json(&[&["calibrate", "vary", data, "--out", out], arguments].concat())
    };
    vary("discs", "pale", &["--contrast", "0.5"]);
    assert_eq!(names(&lab.path("pale")), ["VARIANT.json", "images", "masks", "split.csv"]);
    assert_eq!(names(&lab.path("pale/images")), names(&lab.path("discs/images")));
    let image = |set: &str| image::open(lab.path(set).join("images/discs-0003.png")).unwrap().to_luma8();
    let spread =
        |i: &image::GrayImage| i.pixels().map(|p| p.0[0]).max().unwrap() - i.pixels().map(|p| p.0[0]).min().unwrap();
    assert!(spread(&image("pale")) <= spread(&image("discs")) / 2 + 1);
    let mask = |set: &str| std::fs::read(lab.path(set).join("masks/discs-0003.png")).unwrap();
    assert_eq!(mask("pale"), mask("discs"));
    let rows = |set: &str| std::fs::read_to_string(lab.path(set).join("split.csv")).unwrap();
    let tests = |set: &str| rows(set).lines().filter(|l| l.contains(",test,")).map(String::from).collect::<Vec<_>>();
    assert_eq!(tests("pale"), tests("discs"));

    for out in ["noisy", "again"] {
        vary("discs", out, &["--noise", "0.1", "--seed", "4"]);
    }
    assert_eq!(image("noisy"), image("again"));
    assert_ne!(image("noisy"), image("discs"));
    let more = vary("noisy", "both", &["--blur", "1"]);
    assert_eq!((&more["variant"]["parent"], &more["variant"]["synthetic"]), (&json!("discs"), &json!(true)));
    let operations: Vec<_> =
        more["variant"]["operations"].as_array().unwrap().iter().map(|o| &o["operation"]).collect();
    assert_eq!(operations, ["noise", "blur"]);

    for zoom in ["2", "0.5"] {
        let out = format!("zoom{zoom}");
        vary("discs", &out, &["--zoom", zoom]);
        assert_eq!(image(&out).dimensions(), (32, 32));
    }
    lab.json(&["phantom", "nuclei", "--count", "30", "--size", "32", "--out", "many"]);
    let small = vary("many", "small", &["--objects", "small"])["images"].as_u64().unwrap();
    let large = vary("many", "large", &["--objects", "large"])["images"].as_u64().unwrap();
    assert!(small > 0 && large > 0 && small + large >= 30, "{small} {large}");
    let few = vary("discs", "few", &["--train-images", "3"]);
    let listed = rows("few").lines().filter(|l| l.contains(",train,")).count();
    assert_eq!((listed, few["images"].as_u64().unwrap() > 3), (3, true));

    let plan =
        ["calibrate", "plan", "pale", "--widths", "1", "--depths", "1", "--size", "32", "--recipe", "recipe.json"];
    lab.json(&plan);
    lab.json(&["calibrate", "run", "manifest.json", "--out", "work"]);
    let record = records(&lab.path("work/records").join(&names(&lab.path("work/records"))[0])).remove(0);
    assert_eq!((&record["parent"], &record["synthetic"]), (&json!("discs"), &json!(true)));
}

#[test]
fn variants_that_cannot_be_are_refused() {
    let lab = lab(3);
    let vary = |arguments: &[&str]| lab.run(&[&["calibrate", "vary", "discs", "--out", "new"], arguments].concat());
    refused(&vary(&[]), &["--blur"]);
    refused(&vary(&["--blur", "1", "--noise", "0.1"]), &["--noise"]);
    refused(&vary(&["--blur", "-1"]), &["--blur"]);
    refused(&vary(&["--train-images", "99"]), &["training", "at least 99"]);
    refused(&vary(&["--train-images", "0"]), &["at least 1"]);
    refused(&lab.run(&["calibrate", "vary", "discs", "--blur", "1", "--out", "nuclei"]), &["nuclei", "new or empty"]);
    assert!(!lab.path("new").exists());
}

#[test]
fn scripts_for_a_cluster_stand_in_one_folder_with_the_list() {
    let lab = planned(3);
    let made =
        lab.json(&["calibrate", "slurm", "manifest.json", "--out", "cluster", "--array-limit", "4", "--mem", "512M"]);
    assert_eq!(made["jobs"], 2);
    assert_eq!(
        names(&lab.path("cluster")),
        ["README.md", "Snakefile", "logs", "manifest.json", "run.sbatch", "submitit_example.py"]
    );
    let script = std::fs::read_to_string(lab.path("cluster/run.sbatch")).unwrap();
    for line in ["--array=0-1%4", "--mem=512M", "--time=2:00:00", "--requeue", "--signal=B:USR1@120"] {
        assert!(script.contains(line), "{line} in {script}");
    }
    let checked = std::process::Command::new("bash").arg("-n").arg(lab.path("cluster/run.sbatch")).status();
    assert!(checked.is_ok_and(|status| status.success()), "the script is good bash");
    refused(&lab.run(&["calibrate", "slurm", "manifest.json", "--out", "x", "--time", "1h"]), &["--time"]);
    refused(&lab.run(&["calibrate", "slurm", "manifest.json", "--out", "x", "--partition", "a b"]), &["--partition"]);
}

#[test]
fn a_data_set_measured_in_parts_has_the_profile_of_the_whole_byte_for_byte() {
    let lab = Lab::new();
    let measure = |arguments: &[&str]| {
        let output = lab.run(&[&["measure"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    };
    for (mode, size) in [(&["--size", "32"][..], "resized"), (&["--size", "16", "--patch"][..], "tiles")] {
        let of = |arguments: &[&str]| measure(&[&["data"], mode, arguments].concat());
        of(&["--out", "whole.json", "--no-cache", "--per-image"]);
        for i in ["1", "2", "3"] {
            of(&["--part", &format!("{i}/3"), "--out", &format!("part{i}.json")]);
        }
        measure(&["--merge", "part3.json", "part1.json", "part2.json", "--out", "merged.json", "--per-image"]);
        let bytes = |name: &str| std::fs::read(lab.path(name)).unwrap();
        assert!(bytes("whole.json") == bytes("merged.json"), "{size}");
        of(&["--part", "1/1", "--out", "one.json", "--no-cache"]);
        measure(&["--merge", "one.json", "--out", "merged.json", "--per-image"]);
        assert!(bytes("whole.json") == bytes("merged.json"), "{size}");
    }
    refused(&lab.run(&["measure", "--merge", "part1.json", "part3.json"]), &["missing: 2", "hint:"]);
    refused(&lab.run(&["measure", "data", "--merge", "part1.json"]), &["--merge"]);
    refused(&lab.run(&["measure", "data", "--part", "4/3", "--out", "x.json"]), &["4/3"]);
    refused(&lab.run(&["measure", "data", "--part", "1/3"]), &["--out"]);
    refused(&lab.run(&["measure"]), &["DATA"]);
}
