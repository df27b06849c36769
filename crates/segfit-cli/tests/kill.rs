//! `kill -9` at random moments: every file is complete or absent, and the same command ends with the same bits. The long
//! version, with full disks and changed inputs, is `benchmarks/robustness/kill.py`.

#![cfg(unix)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Lab, refused, stderr};

const TRAIN: [&str; 9] = ["train", "network.json", "data", "--size", "32", "--steps", "300", "--out", "run"];

/// A phantom set, a small network for it, and a run.
fn lab() -> Lab {
    let lab = Lab::new();
    done(&lab, &["network", "narrow", "--channels", "1", "--width", "4", "--depth", "2", "--out", "network.json"]);
    lab
}

fn done(lab: &Lab, arguments: &[&str]) {
    let output = lab.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
}

/// Numbers from 0 to 1 that are the same every time (SplitMix64).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

/// Starts the program in the laboratory and kills it after a while; false when it had ended before.
fn killed(lab: &Lab, arguments: &[&str], after: Duration) -> bool {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("segfit"))
        .args(arguments)
        .current_dir(lab.path(""))
        .env("XDG_CACHE_HOME", lab.cache())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn is_temporary(name: &str) -> bool {
    name.starts_with(".segfit-")
}

/// Names and contents of all files below a folder or of one file, without times; nothing where there is nothing.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut places = vec![path.to_path_buf()];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(std::fs::read_dir(place).unwrap().map(|e| e.unwrap().path()));
        } else if let Ok(bytes) = std::fs::read(&place) {
            found.insert(place.strip_prefix(path).unwrap().display().to_string(), without_times(&place, bytes));
        }
    }
    found
}

fn without_times(path: &Path, bytes: Vec<u8>) -> Vec<u8> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap();
    let is_record = path.parent().is_some_and(|folder| folder.ends_with("records"));
    if is_record || ["training.json", "log.jsonl"].contains(&name) {
        let lines = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().map(Result::unwrap);
        let rest = lines.map(|mut line| {
            line.as_object_mut().unwrap().remove("seconds").expect("it has a time");
            line.to_string()
        });
        return rest.collect::<String>().into_bytes();
    }
    if name == "report.html" {
        let text = String::from_utf8(bytes).unwrap();
        let (before, time) = text.split_once("time of training</th>").expect("it has a time");
        let (_, after) = time.split_once(" on ").expect("and a device");
        return format!("{before}{after}").into_bytes();
    }
    bytes
}

/// Kills a command, some times in a row where it goes on from where it was, and lets it finish. `check` looks at the output
/// after every kill, and gets what a run without interruption makes.
fn survives(
    lab: &Lab,
    arguments: &[&str],
    output: &str,
    kills: u32,
    check: impl Fn(&BTreeMap<String, Vec<u8>>, &BTreeMap<String, Vec<u8>>),
) {
    let start = Instant::now();
    done(lab, arguments);
    let time = start.elapsed();
    let wanted = contents(&lab.path(output));
    assert!(!wanted.is_empty() && !wanted.keys().any(|name| is_temporary(name)), "{:?}", wanted.keys());
    std::fs::remove_dir_all(lab.path(output)).unwrap();
    let mut moments = Moments(u64::from(kills));
    let hits = (0..kills).filter(|&i| {
        let part = (f64::from(i) + moments.next()) / f64::from(kills);
        let hit = killed(lab, arguments, time.mul_f64(part * 0.9));
        let found = contents(&lab.path(output));
        check(&found.into_iter().filter(|(name, _)| !name.contains(".segfit-")).collect(), &wanted);
        hit
    });
    assert!(hits.count() > 0, "{arguments:?} is too short to be killed");
    done(lab, arguments);
    let found = contents(&lab.path(output));
    let differing = |(name, bytes): &(&String, &Vec<u8>)| found.get(*name) != Some(bytes);
    assert_eq!(wanted.iter().filter(differing).map(|(name, _)| name).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "nothing else is left");
}

/// Every file is the one that a run without interruption writes.
fn all_final(found: &BTreeMap<String, Vec<u8>>, wanted: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in found {
        assert!(wanted.get(name) == Some(bytes), "{name} is not complete");
    }
}

/// JSON and tensors of a training can be read to their end.
fn all_whole(found: &BTreeMap<String, Vec<u8>>, _: &BTreeMap<String, Vec<u8>>) {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("whole");
    for (name, bytes) in found.iter().filter(|(name, _)| !name.starts_with("cache/")) {
        if name.ends_with(".json") {
            json(bytes);
        } else if name.ends_with(".safetensors") {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let header = json(&bytes[8..8 + length]);
            let ends = header.as_object().unwrap().values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
            assert_eq!(bytes.len(), 8 + length + ends.max().unwrap() as usize, "{name}");
        }
    }
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_with_the_same_bits() {
    survives(&lab(), &TRAIN, "run", 4, all_whole);
}

#[test]
fn a_calibration_that_is_killed_again_and_again_ends_with_the_same_records() {
    let lab = lab();
    done(&lab, &[&TRAIN[..6], &["80", "--out", "run"]].concat());
    let plan = ["calibrate", "plan", "data", "--widths", "2,1", "--depths", "2", "--size", "32"];
    done(&lab, &[&plan[..], &["--recipe", "run/recipe.json"]].concat());
    survives(&lab, &["calibrate", "run", "manifest.json", "--out", "work"], "work", 2, all_whole);
}

#[test]
fn segmenting_exporting_and_measuring_leave_whole_files_only() {
    let lab = lab();
    done(&lab, &[&TRAIN[..6], &["20", "--out", "trained"]].concat());
    survives(&lab, &["segment", "trained", "data/images", "--probabilities", "--out", "masks"], "masks", 2, all_final);
    survives(&lab, &["export", "trained", "--all", "--out", "export"], "export", 2, all_final);
    std::fs::create_dir(lab.path("measured")).unwrap();
    let measure = [
        "measure",
        "data",
        "--size",
        "32",
        "--cache",
        "measured/cache",
        "--out",
        "measured/profile.json",
        "--threads",
        "1",
    ];
    done(&lab, &measure);
    let wanted = contents(&lab.path("measured"));
    for part in [0.3, 0.7] {
        std::fs::remove_dir_all(lab.path("measured")).unwrap();
        std::fs::create_dir(lab.path("measured")).unwrap();
        let start = Instant::now();
        done(&lab, &[&measure[..4], &["--no-cache"]].concat());
        killed(&lab, &measure, start.elapsed().mul_f64(part));
        let found = contents(&lab.path("measured"));
        all_final(&found.into_iter().filter(|(name, _)| !name.contains(".segfit-")).collect(), &wanted);
        done(&lab, &measure);
        assert!(contents(&lab.path("measured")) == wanted, "measured again after a kill");
    }
}

#[test]
fn two_exports_into_one_folder_at_once_both_succeed_with_the_files_of_one() {
    let lab = lab();
    done(&lab, &[&TRAIN[..6], &["20", "--out", "trained"]].concat());
    let export = ["export", "trained", "--all", "--out", "one"];
    done(&lab, &export);
    let wanted = contents(&lab.path("one"));
    for _ in 0..4 {
        let both = std::thread::scope(|scope| {
            let run = || lab.run(&[&export[..4], &["both"]].concat());
            [scope.spawn(run), scope.spawn(run)].map(|running| running.join().unwrap())
        });
        for output in both {
            assert!(output.status.success(), "{}", stderr(&output));
        }
        assert!(contents(&lab.path("both")) == wanted);
        std::fs::remove_dir_all(lab.path("both")).unwrap();
    }
}

#[test]
fn what_a_kill_left_half_written_is_removed_by_the_next_run() {
    let lab = lab();
    let short = [&TRAIN[..6], &["20", "--out", "run"]].concat();
    std::fs::create_dir(lab.path("run")).unwrap();
    let half = lab.path("run/.segfit-aB3dE9.tmp");
    std::fs::write(&half, "half").unwrap();
    // Another process that is at work writes in the same folder.
    let used = lab.path("run/.segfit-aB3dE8.tmp");
    let writer = std::fs::File::create(&used).unwrap();
    writer.lock().unwrap();
    done(&lab, &short);
    assert!(!half.exists() && used.exists());
    drop(writer);
    done(&lab, &short);
    assert!(!used.exists());
}

#[test]
fn a_training_whose_data_changed_meanwhile_is_refused_and_its_folder_stays_as_it_was() {
    let lab = lab();
    done(
        &lab,
        &["plan", "data", "--size", "32", "--max-params", "5k", "--width", "4", "--depth", "2", "--out", "plan"],
    );
    let train = ["train", "plan/plan.json", "data", "--steps", "20", "--out", "run"];
    done(&lab, &train);
    let before = contents(&lab.path("run"));
    let image = std::fs::read(lab.image(1)).unwrap();
    std::fs::copy(lab.image(2), lab.image(1)).unwrap();
    refused(&lab.run(&train), &["run", "other images, masks or split than data has now", "hint:"]);
    std::fs::write(lab.image(1), image).unwrap();
    let plan = ["plan", "data", "--size", "32", "--max-params", "2k", "--width", "4", "--depth", "2", "--out", "plan"];
    done(&lab, &plan);
    refused(&lab.run(&train), &["run", "another network", "hint:"]);
    refused(&lab.run(&[&train[..], &["--seed", "1"]].concat()), &["run", "seed 0", "hint:"]);
    assert!(contents(&lab.path("run")) == before, "a refused training changes nothing, not even the plan that is kept");
}

#[test]
fn a_run_that_was_killed_after_its_last_step_gets_all_its_files() {
    let lab = lab();
    done(&lab, &TRAIN);
    let wanted = contents(&lab.path("run"));
    for name in ["training.json", "metrics.json", "per_image.csv", "report.html", "weights.safetensors"] {
        std::fs::remove_file(lab.path("run").join(name)).unwrap();
    }
    done(&lab, &TRAIN);
    assert!(contents(&lab.path("run")) == wanted);
    let facts: Value = serde_json::from_slice(&std::fs::read(lab.path("run/training.json")).unwrap()).unwrap();
    let log = std::fs::read_to_string(lab.path("run/log.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(facts["seconds"], last["seconds"], "the time that the log knows");
}
