//! Faults of the files of a calibration: records, mapping, manifest, table of times.

use std::path::Path;

use serde_json::json;

use crate::case::Case;
use crate::files::{change, put, set};

const MAPPING: &str = include_str!("../../../../../calibration/mapping.json");
const RECORDS: &str = include_str!("../../../../../calibration/records.jsonl");

const PREDICT: &str = "predict data --size 32 --width 4 --depth 2 --mapping mapping.json";
const FIT: &str = "calibrate fit records.jsonl --out fitted.json";
const RUN: &str = "calibrate run manifest.json --out work";

pub fn cases() -> Vec<Case> {
    let manifest = "manifest.json";
    vec![
        Case::new("a mapping that is not there", PREDICT, |_| (), "mapping.json: {not there}\nhint: {spelling}"),
        Case::new(
            "a mapping that is cut short",
            PREDICT,
            |lab| put(lab, "mapping.json", &MAPPING[..MAPPING.len() / 2]),
            "mapping.json: expected segfit-mapping/5: EOF while parsing a value at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a mapping of an earlier version",
            PREDICT,
            mapping("/format", json!("segfit-mapping/4")),
            "mapping.json: expected segfit-mapping/5: its format is segfit-mapping/4\n\
             hint: {edited}",
        ),
        Case::new(
            "a mapping without depths",
            PREDICT,
            mapping("/hull/shapes", json!({})),
            "mapping.json: expected segfit-mapping/5: hull.shapes holds no depth, expected at least one\n\
             hint: {edited}",
        ),
        Case::new(
            "a mapping whose model is a text",
            PREDICT,
            mapping("/fitted", json!("best")),
            "mapping.json: expected segfit-mapping/5: invalid type: string \"best\", expected struct Fitted\n\
             hint: {edited}",
        ),
        Case::new(
            "a mapping whose measure has an empty range",
            PREDICT,
            mapping("/fitted/model/probe/feature/low", json!(1e9)),
            "mapping.json: expected segfit-mapping/5: probe_dice runs from 1000000000 to * with deviation *\n\
             hint: {edited}",
        ),
        Case::new("records that are not there", FIT, |_| (), "records.jsonl: {not there}\nhint: {spelling}"),
        Case::new(
            "empty records",
            FIT,
            |lab| put(lab, "records.jsonl", ""),
            "fitting records.jsonl: calibration: there are no records",
        ),
        Case::new(
            "records with a line that is cut short",
            FIT,
            records(|lines| lines[3].truncate(50)),
            "records.jsonl:4: expected segfit-record/1: control character (\\u0000-\\u001F) found while \
             parsing a string at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "records with a line that is no JSON",
            FIT,
            records(|lines| lines[3] = "dice 0.9".into()),
            "records.jsonl:4: expected segfit-record/1: expected value at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "records of another version",
            FIT,
            records(|lines| lines[2] = lines[2].replace("segfit-record/1", "segfit-record/9")),
            "records.jsonl:3: expected segfit-record/1: its format is segfit-record/9\n\
             hint: {edited}",
        ),
        Case::new(
            "records with a Dice of 7",
            FIT,
            records(|lines| lines[2] = with(&lines[2], "dice", json!(7.0))),
            "records.jsonl:3: expected segfit-record/1: dice is 7, expected 0 to 1\n\
             hint: {edited}",
        ),
        Case::new(
            "records without a Dice",
            FIT,
            records(|lines| lines[2] = with(&lines[2], "dice", json!(null))),
            "records.jsonl:3: expected segfit-record/1: invalid type: null, expected f64\n\
             hint: {edited}",
        ),
        Case::new(
            "records of one data set",
            FIT,
            records(|lines| lines.truncate(2)),
            "fitting records.jsonl: calibration: 1 data sets can be used, at least 3 are needed",
        ),
        Case::new(
            "a manifest that is not there",
            RUN,
            move |lab| std::fs::remove_file(lab.join(manifest)).expect("it is there"),
            "manifest.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a manifest that is cut short",
            RUN,
            move |lab| change(lab, manifest, |b| b.truncate(b.len() / 2)),
            "manifest.json: expected segfit-manifest/1: EOF while parsing a value at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a manifest of another version",
            RUN,
            edit(manifest, "/format", json!("segfit-manifest/9")),
            "manifest.json: expected segfit-manifest/1: its format is segfit-manifest/9\n\
             hint: {edited}",
        ),
        Case::new(
            "a manifest without jobs",
            RUN,
            edit(manifest, "/jobs", json!([])),
            "manifest.json: expected segfit-manifest/1: no jobs were given\n\
             hint: {edited}",
        ),
        Case::new(
            "a manifest with a job that was edited",
            RUN,
            edit(manifest, "/jobs/0/seed", json!(77)),
            "manifest.json: expected segfit-manifest/1: job * was edited and its identity is now *: write the \
             manifest again with `segfit calibrate plan`\n\
             hint: {edited}",
        ),
        Case::new(
            "a manifest with a job twice",
            RUN,
            twice,
            "manifest.json: expected segfit-manifest/1: jobs: * is listed twice\n\
             hint: {edited}",
        ),
        Case::new(
            "a manifest whose job has an unknown network",
            RUN,
            edit(manifest, "/jobs/0/family", json!("vnet")),
            "manifest.json: expected segfit-manifest/1: job * was edited and its identity is now *: write the \
             manifest again with `segfit calibrate plan`\n\
             hint: {edited}",
        ),
        Case::new(
            "a table of times that is not there",
            "plan data --size 32 --max-latency 20ms --device table.json --out new",
            |_| (),
            "table.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a table of times that is cut short",
            "plan data --size 32 --max-latency 20ms --device table.json --out new",
            |lab| put(lab, "table.json", "{\"format\": \"segfit-latency/1\", \"steps\": ["),
            "table.json: expected segfit-latency/1: EOF while parsing a list at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a table of times of another kind",
            "plan data --size 32 --max-latency 20ms --device plan/plan.json --out new",
            |_| (),
            "plan/plan.json: expected segfit-latency/1: its format is segfit-plan/1\n\
             hint: {edited}",
        ),
        Case::new(
            "an anchor that is no run",
            "predict data --size 32 --width 4 --depth 2 --anchor data",
            |_| (),
            "data/run.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a damaged part of a profile",
            "measure --merge part.json --out profile.json",
            |lab| put(lab, "part.json", "{}"),
            "part.json: expected segfit-profile-part/1: it has no \"format\" field\n\
             hint: {edited}",
        ),
    ]
}

fn mapping(at: &'static str, value: serde_json::Value) -> impl Fn(&Path) + Send + Sync {
    move |lab| {
        put(lab, "mapping.json", MAPPING);
        set(lab, "mapping.json", at, value.clone());
    }
}

/// The first records, changed.
fn records(change: impl Fn(&mut Vec<String>) + Send + Sync) -> impl Fn(&Path) + Send + Sync {
    move |lab| {
        let mut lines: Vec<String> = RECORDS.lines().take(6).map(String::from).collect();
        change(&mut lines);
        put(lab, "records.jsonl", lines.join("\n"));
    }
}

fn with(line: &str, key: &str, value: serde_json::Value) -> String {
    let mut json: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
    json[key] = value;
    json.to_string()
}

fn edit(file: &'static str, at: &'static str, value: serde_json::Value) -> impl Fn(&Path) + Send + Sync {
    move |lab| set(lab, file, at, value.clone())
}

fn twice(lab: &Path) {
    let text = std::fs::read(lab.join("manifest.json")).expect("it is there");
    let mut json: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
    let jobs = json["jobs"].as_array_mut().expect("it has jobs");
    let first = jobs[0].clone();
    jobs.push(first);
    put(lab, "manifest.json", json.to_string());
}
