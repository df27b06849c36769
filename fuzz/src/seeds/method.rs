//! Plans, records, profiles and mappings.

use std::path::Path;

use segfit::complexity::{ProfileContext, profile};
use segfit::phantom::{PhantomKind, PhantomOptions, make};
use segfit::plan::{Budgets, Freedom, Plan, Request, Space};
use segfit::predict::{DatasetId, DatasetPath, Manifest, Mapping, NetworkOptions, Subject, Sweep, collect};
use segfit::recipe::{InputMode, InputSpec, Recipe};

use super::{Made, put};

fn subject() -> Subject {
    let measures = Mapping::embedded().calibrated_on.complexity.values().next().cloned().unwrap_or_default();
    Subject { dataset: DatasetId { name: "a".into(), fingerprint: "0123".into() }, measures, constant_dice: 0.4 }
}

const OPTIONS: (usize, usize) = (8, 2);

fn options() -> NetworkOptions {
    let (full_width, depth) = OPTIONS;
    NetworkOptions { family: "unet".into(), in_channels: 1, classes: 2, full_width, depth, size: 64 }
}

/// The smallest network that keeps 90%.
pub fn plan() -> Plan {
    let budgets = Budgets { max_params: Some(5000), ..Budgets::default() };
    segfit::plan::plan(Mapping::embedded(), &subject(), &options(), &budgets).expect("a plan")
}

pub fn write(to: &Path) -> Made {
    put(to, "plan", "plan.json", &serde_json::to_vec(&plan())?)?;
    let subject = subject();
    let space = Space::of_family(&options(), &Freedom::default()).expect("networks");
    let request = Request {
        mapping: Mapping::embedded(),
        subject: &subject,
        space: &space,
        budgets: Budgets::default(),
        objective: None,
        latency: None,
    };
    put(to, "plan", "sizes.json", &serde_json::to_vec(&request.ladder().expect("plans"))?)?;
    put(to, "mapping", "mapping.json", &serde_json::to_vec(Mapping::embedded())?)?;
    profiles(to)?;
    records(to)
}

fn profiles(to: &Path) -> Made {
    let images = PhantomOptions { size: 32, ..PhantomOptions::new(PhantomKind::Nuclei) };
    let samples: Vec<_> = (0..2).map(|i| make(&images, i)).collect();
    let context = ProfileContext {
        dataset: "a".into(),
        fingerprint: "0123".into(),
        input: InputSpec { mode: InputMode::Resize, size: 32 },
        split: "train".into(),
        seed: None,
        keep_images: true,
        classes: 2,
        sources: Default::default(),
    };
    let made = profile(&samples, &context).expect("a profile");
    put(to, "profile", "profile.json", &serde_json::to_vec(&made)?)
}

/// Records of three data sets, and a manifest.
fn records(to: &Path) -> Made {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../calibration/records.jsonl");
    let all = collect(&[all]).expect("records").records;
    let mut text = String::new();
    let mut sets: Vec<String> = Vec::new();
    for mut record in all {
        if record.parent.is_some() || record.depth != 2 || record.base_width > 8 || record.seed > 0 {
            continue;
        }
        if !sets.contains(&record.dataset.name) && sets.len() < 4 {
            sets.push(record.dataset.name.clone());
        }
        if sets.contains(&record.dataset.name) {
            record.per_image.truncate(2);
            record.measures.retain(|name, _| !name.contains('@'));
            text += &(record.line().expect("a record") + "\n");
        }
    }
    put(to, "records", "records.jsonl", text.as_bytes())?;
    let first = text.lines().next().unwrap_or_default();
    put(to, "records", "one.jsonl", format!("{first}\n").as_bytes())?;
    let recipe = Recipe::r0(InputSpec { mode: InputMode::Resize, size: 64 });
    let sweep = Sweep {
        datasets: vec![(DatasetPath { name: "a".into(), path: "data/a".into() }, recipe)],
        families: vec!["unet".into()],
        widths: vec![1, 2],
        depths: vec![1],
        seeds: vec![0],
        shapes: None,
    };
    put(to, "records", "manifest.json", &serde_json::to_vec(&Manifest::of(&sweep).expect("jobs"))?)
}
