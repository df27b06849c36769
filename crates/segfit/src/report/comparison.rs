//! Several runs side by side.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::axis::{Axis, Spread};
use super::figure::{Figure, Frame, Note, Point, Span, heading};
use super::run::{Run, interval};
use super::words::duration;
use crate::cost::Cost;
use crate::error::Result;
use crate::evaluate::{Evaluation, Interval, bootstrap_mean};
use crate::numbers::{bytes, short, thousands};

/// Bootstrap resamples of a difference.
const RESAMPLES: usize = 2000;

/// Dice of one run minus that of another on the images that both were tested on.
pub(super) struct Difference {
    pub name: String,
    pub interval: Interval,
    pub better: usize,
    pub images: usize,
}

/// The differences of all runs from the first; runs without images in common are left out.
pub(super) fn differences(runs: &[Run<'_>]) -> Vec<Difference> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let Some(base) = first.evaluation else { return Vec::new() };
    let pair = |run: &Run<'_>| Some((run.name.clone(), difference(run.evaluation?, base)?));
    let named = others.iter().filter_map(pair);
    named.map(|(name, (interval, better, images))| Difference { name, interval, better, images }).collect()
}

fn difference(own: &Evaluation, base: &Evaluation) -> Option<(Interval, usize, usize)> {
    let known: BTreeMap<&str, f64> = base.per_image.iter().map(|i| (i.name.as_str(), i.dice)).collect();
    let both: Vec<(f64, String)> =
        own.per_image.iter().filter_map(|i| Some((i.dice - known.get(i.name.as_str())?, i.source.clone()))).collect();
    let (values, sources): (Vec<f64>, Vec<String>) = both.into_iter().unzip();
    let better = values.iter().filter(|&&v| v > 0.0).count();
    (!values.is_empty()).then(|| (bootstrap_mean(&values, &sources, RESAMPLES, 0).0, better, values.len()))
}

/// For the template; figures are to be filled in.
///
/// # Errors
/// When a network does not fit together.
pub(super) fn section(runs: &[Run<'_>], differences: &[Difference]) -> Result<Value> {
    let rows = runs.iter().map(row).collect::<Result<Vec<_>>>()?;
    let pairs: Vec<Value> = differences
        .iter()
        .map(|d| {
            let better = format!("{} of {}", d.better, d.images);
            json!({ "name": d.name, "difference": signed(d.interval), "better": better, "images": d.images })
        })
        .collect();
    let key = runs.iter().enumerate().map(|(i, r)| json!({ "class": format!("s{}", i % 6), "name": r.name }));
    let left_out = runs.len().saturating_sub(differences.len() + 1);
    let mut words = Vec::new();
    if left_out > 0 {
        words.push(format!(
            "{left_out} of the runs have no test image in common with {}, or were not evaluated: no difference is given for them.",
            runs[0].name
        ));
    }
    Ok(json!({
        "words": words,
        "rows": rows,
        "pairs": pairs,
        "first": runs.first().map(|r| r.name.clone()),
        "key": key.collect::<Vec<_>>(),
    }))
}

fn row(run: &Run<'_>) -> Result<Value> {
    let cost = Cost::of(run.network, run.size)?;
    let none = || "-".to_string();
    let seconds = run.facts.as_ref().and_then(|f| f.seconds);
    let predicted = run.plan.map(|p| p.predicted.dice);
    Ok(json!({
        "name": run.name,
        "params": thousands(cost.params),
        "macs": short(cost.macs),
        "memory": bytes(cost.memory_bytes()),
        "dice": run.evaluation.map_or_else(none, |e| interval(e.dice)),
        "predicted": predicted.map_or_else(none, |d| format!("{:.3} ({:.3} to {:.3})", d.mean, d.low, d.high)),
        "seconds": seconds.map_or_else(none, duration),
    }))
}

fn signed(i: Interval) -> String {
    format!("{:+.3} ({:+.3} to {:+.3})", i.mean, i.low, i.high)
}

/// The differences as points with their intervals.
pub(super) fn forest(differences: &[Difference], first: &str) -> Option<Figure> {
    if differences.is_empty() {
        return None;
    }
    let mut frame = Frame::new(720.0, 60.0 + 34.0 * differences.len() as f64);
    frame.left = 210.0;
    let ends = differences.iter().flat_map(|d| [d.interval.low, d.interval.high]).chain([0.0]);
    let x = Axis::around(Spread::Linear, ends, (frame.left, frame.right - 8.0));
    frame.x_ticks = x.ticks(7, |v| format!("{v:+.3}"));
    frame.x_label = format!("Dice minus that of {first}, 95% interval");
    frame.title = "Differences of Dice on the same images".into();
    let each = differences.iter().map(|d| format!("{}: {}", d.name, signed(d.interval)));
    frame.description = each.collect::<Vec<_>>().join("; ");
    let zero = x.at(0.0);
    let mut figure = Figure { name: "differences".into(), ..Figure::default() };
    figure.table.push(heading(["run", "difference", "low", "high", "better_on", "images"]));
    figure.spans.push(Span { class: String::new(), x1: zero, y1: frame.top, x2: zero, y2: frame.bottom });
    for (i, d) in differences.iter().enumerate() {
        let y = frame.top + 17.0 + 34.0 * i as f64;
        let Interval { mean, low, high } = d.interval;
        let class = format!("s{}", (i + 1) % 6);
        figure.spans.push(Span { class: class.clone(), x1: x.at(low), y1: y, x2: x.at(high), y2: y });
        figure.points.push(Point { class, x: x.at(mean), y, r: 5.0, title: signed(d.interval), index: None });
        let text = shortened(&d.name);
        figure.notes.push(Note { class: String::new(), x: frame.left - 10.0, y: y + 4.0, anchor: "end".into(), text });
        let numbers = [mean, low, high].map(|v| v.to_string());
        figure
            .table
            .push([vec![d.name.clone()], numbers.to_vec(), vec![d.better.to_string(), d.images.to_string()]].concat());
    }
    figure.frame = frame;
    Some(figure)
}

/// A name that fits beside the figure; the table has it whole.
fn shortened(name: &str) -> String {
    const MOST: usize = 28;
    if name.chars().count() <= MOST { name.into() } else { name.chars().take(MOST - 3).chain("...".chars()).collect() }
}
