//! How complex the images are, beside the data sets of the calibration.

use serde::Serialize;

use super::axis::{Axis, Spread};
use super::figure::heading;
use crate::complexity::{ComplexityProfile, Summary};
use crate::numbers::three_digits;
use crate::predict::Mapping;

/// The measures that are drawn: name in a profile, and in plain words.
const DRAWN: [(&str, &str); 12] = [
    ("jpeg", "detail (size as JPEG)"),
    ("edge", "edges"),
    ("entropy", "variety of gray values"),
    ("median_frequency", "fineness (spatial frequency)"),
    ("noise", "noise"),
    ("foreground", "foreground"),
    ("objects", "objects"),
    ("object_area", "size of objects"),
    ("boundary", "boundaries"),
    ("thinness", "thin structures"),
    ("separability", "told apart by one threshold"),
    ("probe_dice", "told apart by a linear classifier"),
];

const WIDTH: f64 = 720.0;
const FROM: f64 = 230.0;
const TO: f64 = 708.0;
const ROW: f64 = 46.0;

/// What `measures.svg` draws.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Strips {
    width: f64,
    height: f64,
    from: f64,
    to: f64,
    title: String,
    rows: Vec<Strip>,
}

#[derive(Clone, Debug, Serialize)]
struct Strip {
    name: String,
    unit: String,
    y: f64,
    low: String,
    high: String,
    marks: Vec<Mark>,
    q05: f64,
    q25: f64,
    q50: f64,
    q95: f64,
    /// Length of the box from `q25` on.
    r#box: f64,
    mean: f64,
    words: String,
}

#[derive(Clone, Debug, Serialize)]
struct Mark {
    at: f64,
    label: String,
}

impl Strips {
    /// `None` when none of the measures is known.
    pub(super) fn of(profile: &ComplexityProfile, mapping: Option<&Mapping>) -> Option<Self> {
        let known = DRAWN.iter().filter_map(|(name, words)| Some((*name, *words, profile.measures.get(*name)?)));
        let rows: Vec<Strip> =
            known.enumerate().map(|(i, (name, words, s))| strip(i, name, words, s, mapping)).collect();
        let title = format!("Complexity of {} training images by {} measures", profile.images, rows.len());
        let height = rows.len() as f64 * ROW + 4.0;
        (!rows.is_empty()).then_some(Self { width: WIDTH, height, from: FROM, to: TO, title, rows })
    }
}

fn strip(index: usize, name: &str, words: &str, s: &Summary, mapping: Option<&Mapping>) -> Strip {
    let sets = mapping.map(|m| &m.calibrated_on.complexity).into_iter().flatten();
    let others: Vec<(&String, f64)> = sets.filter_map(|(set, measures)| Some((set, *measures.get(name)?))).collect();
    let values = others.iter().map(|o| o.1).chain([s.q05, s.q95, s.mean]);
    let axis = Axis::around(Spread::Linear, values, (FROM, TO));
    let [low, high] = axis.ends().map(three_digits);
    let below = others.iter().filter(|o| o.1 < s.mean).count();
    let rank = if others.is_empty() { String::new() } else { format!(", above {below} of {} data sets", others.len()) };
    Strip {
        name: words.into(),
        unit: s.unit.split(',').next().unwrap_or(&s.unit).to_string(),
        y: 4.0 + index as f64 * ROW,
        low,
        high,
        marks: others
            .iter()
            .map(|(set, v)| Mark { at: axis.at(*v), label: format!("{set}: {}", three_digits(*v)) })
            .collect(),
        q05: axis.at(s.q05),
        q25: axis.at(s.q25),
        q50: axis.at(s.q50),
        q95: axis.at(s.q95),
        r#box: axis.at(s.q75) - axis.at(s.q25),
        mean: axis.at(s.mean),
        words: format!("{words}: mean {} {}{rank}", three_digits(s.mean), s.unit),
    }
}

/// A measure in the table of all.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MeasureRow {
    name: String,
    mean: String,
    deviation: String,
    q05: String,
    q50: String,
    q95: String,
    unit: String,
}

/// All measures, as texts.
pub(super) fn all(profile: &ComplexityProfile) -> Vec<MeasureRow> {
    let row = |(name, s): (&String, &Summary)| MeasureRow {
        name: name.clone(),
        mean: three_digits(s.mean),
        deviation: three_digits(s.deviation),
        q05: three_digits(s.q05),
        q50: three_digits(s.q50),
        q95: three_digits(s.q95),
        unit: s.unit.clone(),
    };
    profile.measures.iter().map(row).collect()
}

/// All measures of the images, and of the calibration's data sets at full resolution, as numbers.
pub(super) fn table(profile: &ComplexityProfile, mapping: Option<&Mapping>) -> Vec<Vec<String>> {
    let mut rows =
        vec![heading(["data_set", "measure", "mean", "deviation", "q05", "q25", "q50", "q75", "q95", "unit"])];
    for (name, s) in &profile.measures {
        let numbers = [s.mean, s.deviation, s.q05, s.q25, s.q50, s.q75, s.q95].map(|v| v.to_string());
        rows.push([vec![profile.dataset.clone(), name.clone()], numbers.to_vec(), vec![s.unit.clone()]].concat());
    }
    for (set, measures) in mapping.iter().flat_map(|m| &m.calibrated_on.complexity) {
        for (name, value) in measures {
            let unit = profile.measures.get(name).map_or_else(String::new, |s| s.unit.clone());
            let empty = vec![String::new(); 6];
            rows.push([vec![set.clone(), name.clone(), value.to_string()], empty, vec![unit]].concat());
        }
    }
    rows
}
