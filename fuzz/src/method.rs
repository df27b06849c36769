//! Targets: what planning and calibrating read.

use std::sync::LazyLock;

use segfit::complexity::{ComplexityProfile, MeasuredPart, PROFILE_FORMAT, merged_profile};
use segfit::cost::latency::{LatencyModel, LatencyTable};
use segfit::files::read_json;
use segfit::network::NetworkSpec;
use segfit::network::families::{Options, unet};
use segfit::plan::{LADDER_FORMAT, Ladder, Plan, compare};
use segfit::predict::{Choices, Manifest, Mapping, Measures, NetworkOptions, Subject, collect, curve};
use segfit::report::{Content, render};

use crate::place::file;

static NETWORK: LazyLock<NetworkSpec> =
    LazyLock::new(|| unet(&Options { base_width: 2, depth: 2, ..Options::default() }).expect("a U-Net"));

/// plan.json or sizes.json, shown as text and as a page.
pub fn plan(bytes: &[u8]) {
    let path = file("plan.json", bytes);
    if let Ok(plan) = Plan::read(&path) {
        let _ = plan.table();
        let _ = compare(&[("a".into(), plan.clone()), ("b".into(), plan.clone())]).table();
        let _ = segfit::report::summary(&plan, Some(80));
        let _ = render(&Content { title: "a".into(), plan: Some(&plan), ..Content::default() });
        let _ = plan.spec.validate();
    }
    if let Ok(ladder) = read_json::<Ladder>(&path, LADDER_FORMAT) {
        let plan = ladder.rungs.first().map(|r| &r.plan);
        let _ = render(&Content { title: "a".into(), plan, ladder: Some(&ladder), ..Content::default() });
    }
}

/// Records of trainings, a manifest, or choices: by the format that the file names.
pub fn records(bytes: &[u8]) {
    let path = file("records.jsonl", bytes);
    if let Ok(found) = collect(std::slice::from_ref(&path)) {
        for record in found.records.iter().take(3) {
            let _ = record.network().map(|n| n.validate());
        }
        let _ = Mapping::fit(&found.records);
        let _ = segfit::predict::check(&found.records);
    }
    if let Ok(manifest) = Manifest::read(&path) {
        for job in &manifest.jobs {
            assert!(
                job.id.bytes().all(|b| b.is_ascii_hexdigit()),
                "a job's id becomes the name of a folder: {}",
                job.id
            );
            let _ = job.network(1, 2).map(|n| n.validate());
        }
    }
    let _ = Choices::read(&path);
}

/// A profile, a part of one, or a table of times.
pub fn profile(bytes: &[u8]) {
    let path = file("profile.json", bytes);
    if let Ok(profile) = read_json::<ComplexityProfile>(&path, PROFILE_FORMAT) {
        let measures: Measures = profile.measures.iter().map(|(name, s)| (name.clone(), s.mean)).collect();
        predict(Mapping::embedded(), &measures);
        let _ = render(&Content { title: "a".into(), profile: Some(&profile), ..Content::default() });
    }
    if MeasuredPart::read(&path).is_ok() {
        let _ = merged_profile(&[path.clone()], true);
    }
    if let Ok(table) = LatencyTable::read(&path) {
        let model = LatencyModel::new(table);
        let _ = (model.milliseconds(&NETWORK), model.at_most(&NETWORK));
    }
}

/// mapping.json, and a prediction with it.
pub fn mapping(bytes: &[u8]) {
    let path = file("mapping.json", bytes);
    let Ok(mapping) = Mapping::read(&path) else { return };
    let measures = Mapping::embedded().calibrated_on.complexity.values().next().cloned().unwrap_or_default();
    predict(&mapping, &measures);
    let _ = mapping.keep_margin(0.95);
    let _ = mapping.is_calibrated_depth(2);
}

fn predict(mapping: &Mapping, measures: &Measures) {
    for dice in [0.0, 0.3, 1.0] {
        let _ = mapping.predict(measures, dice, &NETWORK, 128);
    }
    let options =
        NetworkOptions { family: "unet".into(), in_channels: 1, classes: 2, full_width: 16, depth: 2, size: 64 };
    let dataset = segfit::predict::DatasetId { name: "a".into(), fingerprint: "0".into() };
    let subject = Subject { dataset, measures: measures.clone(), constant_dice: 0.3 };
    let _ = curve(mapping, &subject, &options).map(|c| c.table());
}
