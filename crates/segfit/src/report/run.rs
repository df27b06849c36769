//! A trained network: how it learned, how good it is, where it errs.

use serde::Serialize;
use serde_json::{Value, json};

use super::axis::{Axis, Spread};
use super::figure::{Figure, Frame, Path, Point, heading, path};
use super::images::ShownImage;
use super::words::{duration, factor, family, percent};
use crate::cost::Cost;
use crate::error::Result;
use crate::evaluate::{Evaluation, Interval};
use crate::network::NetworkSpec;
use crate::numbers::{bytes, short, thousands};
use crate::plan::Plan;

/// A trained network with what is known of it.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// Its name, for example that of its folder.
    pub name: String,
    /// The deployed network.
    pub network: &'a NetworkSpec,
    /// Rows and columns of its input.
    pub size: usize,
    /// The plan that it was made from.
    pub plan: Option<&'a Plan>,
    /// Scores on the test images.
    pub evaluation: Option<&'a Evaluation>,
    /// Names of the classes, background first.
    pub classes: Vec<String>,
    /// How the training went.
    pub log: Vec<LogPoint>,
    /// What it took.
    pub facts: Option<Facts>,
    /// Test images of highest Dice, with outlines.
    pub best: Vec<ShownImage>,
    /// Test images of lowest Dice, with outlines.
    pub worst: Vec<ShownImage>,
}

/// One report of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogPoint {
    /// Optimiser steps done.
    pub step: usize,
    /// Mean loss since the report before.
    pub loss: f64,
    /// Mean Dice over the validation images.
    pub validation_dice: Option<f64>,
}

/// What a training took.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Optimiser steps.
    pub steps: usize,
    /// Seconds of the optimiser steps.
    pub seconds: Option<f64>,
    /// Bytes that training needed at most.
    pub peak_bytes: Option<u64>,
    /// Device and instruction set.
    pub engine: String,
    /// The recipe's name.
    pub recipe: String,
    /// Its seed.
    pub seed: u64,
}

impl Run<'_> {
    /// Parameters, test Dice and name, where it was evaluated.
    pub(super) fn measured(&self) -> Option<(u64, f64, String)> {
        let params = crate::cost::parameters(self.network).ok()?;
        Some((params, self.evaluation?.dice.mean, self.name.clone()))
    }

    /// What was reached, in one sentence.
    pub(super) fn headline(&self) -> String {
        let Some((params, dice)) = self.measured().map(|(params, ..)| params).zip(self.evaluation) else {
            return format!("The training of {} is not finished or not evaluated yet.", self.name);
        };
        let full = self.plan.map(|p| p.full.params).filter(|&full| full > params);
        let less = full.map_or_else(String::new, |full| {
            format!(", {} fewer than the full-size one,", factor(full as f64, params as f64))
        });
        format!(
            "A {} of {} weights{less} reaches Dice {} on {} test images.",
            family(&self.network.family),
            short(params),
            interval(dice.dice),
            dice.images
        )
    }

    /// What was reached and what had been predicted, in sentences.
    pub(super) fn words(&self) -> Vec<String> {
        let Some(evaluation) = self.evaluation else {
            return vec![
                "This training is not finished or not evaluated yet: `segfit train` goes on, `segfit evaluate` judges."
                    .into(),
            ];
        };
        let dice = evaluation.dice;
        let on = format!("{} test images from {} sources", evaluation.images, evaluation.sources);
        let reached = format!("Mean Dice {} on {on}; mean IoU {}.", interval(dice), interval(evaluation.iou));
        let Some(predicted) = self.plan.map(|p| p.predicted.dice) else { return vec![reached] };
        let (low, high) = (predicted.low, predicted.high);
        let place = match dice.mean {
            d if d < low => "below what had been predicted",
            d if d > high => "above what had been predicted",
            _ => "inside what had been predicted",
        };
        vec![reached, format!("That is {place} before the training: {:.3} ({low:.3} to {high:.3}).", predicted.mean)]
    }

    /// For the template; figures are to be filled in.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub(super) fn section(&self, id: &str) -> Result<Value> {
        Ok(json!({
            "id": id,
            "title": format!("After training: {}", self.name),
            "words": self.words(),
            "facts": self.facts_table()?,
            "classes": self.class_rows(),
            "confusion": self.confusion(),
        }))
    }

    fn facts_table(&self) -> Result<Vec<Value>> {
        let cost = Cost::of(self.network, self.size)?;
        let mut rows = vec![
            ("weights", thousands(cost.params)),
            ("multiply-accumulates", format!("{} for an image of {1} x {1} pixels", short(cost.macs), self.size)),
            ("memory to segment", bytes(cost.memory_bytes())),
        ];
        if let Some(facts) = &self.facts {
            rows.push((
                "training",
                format!("{} steps of recipe {} with seed {}", thousands(facts.steps as u64), facts.recipe, facts.seed),
            ));
            rows.extend(facts.seconds.map(|s| ("time of training", format!("{} on {}", duration(s), facts.engine))));
            rows.extend(facts.peak_bytes.map(|b| ("memory to train", bytes(b))));
        }
        Ok(rows.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect())
    }

    fn class(&self, index: usize) -> String {
        self.classes.get(index).cloned().unwrap_or_else(|| format!("class {index}"))
    }

    fn class_rows(&self) -> Vec<Value> {
        let scores = self.evaluation.map_or(&[][..], |e| &e.per_class);
        let row = |c: &crate::evaluate::ClassScore<Interval>| json!({ "name": self.class(c.class.into()), "dice": interval(c.dice), "iou": interval(c.iou) });
        scores.iter().filter(|_| scores.len() > 1).map(row).collect()
    }

    fn confusion(&self) -> Option<Value> {
        let counts = self.evaluation.map(|e| &e.confusion).filter(|c| !c.is_empty())?;
        let names: Vec<String> = (0..counts.len()).map(|i| self.class(i)).collect();
        let row = |(i, row): (usize, &Vec<u64>)| {
            let pixels: u64 = row.iter().sum();
            let shares: Vec<String> =
                row.iter().map(|&n| if pixels == 0 { "-".into() } else { percent(n as f64 / pixels as f64) }).collect();
            json!({ "name": names[i], "shares": shares, "pixels": thousands(pixels) })
        };
        Some(json!({ "names": names, "rows": counts.iter().enumerate().map(row).collect::<Vec<_>>() }))
    }
}

/// `0.912 (0.880 to 0.934)`.
pub(super) fn interval(i: Interval) -> String {
    format!("{:.3} ({:.3} to {:.3})", i.mean, i.low, i.high)
}

/// What a learning curve shows of a report.
pub(super) type Shown = fn(&LogPoint) -> Option<f64>;

/// Curves of several runs over the steps; `None` when no run has two points.
pub(super) fn learning(runs: &[&Run<'_>], name: &str, what: &str, shown: Shown) -> Option<Figure> {
    let points = |r: &Run<'_>| -> Vec<(f64, f64)> {
        r.log.iter().filter_map(|p| Some((p.step as f64, shown(p).filter(|v| v.is_finite())?))).collect()
    };
    let all: Vec<(&str, Vec<(f64, f64)>)> = runs.iter().map(|r| (r.name.as_str(), points(r))).collect();
    if all.iter().all(|(_, p)| p.len() < 2) {
        return None;
    }
    let mut frame = Frame::new(520.0, 300.0);
    let each = || all.iter().flat_map(|(_, p)| p);
    let last = each().map(|p| p.0).fold(1.0, f64::max);
    let x = Axis::between(0.0, last, (frame.left, frame.right - 10.0));
    let y = Axis::around(Spread::Linear, each().map(|p| p.1), (frame.bottom, frame.top));
    frame.x_ticks = x.ticks(5, |v| thousands(v.round() as u64));
    let decimals = if y.ends()[1] - y.ends()[0] < 0.1 { 3 } else { 2 };
    frame.y_ticks = y.ticks(6, |v| format!("{v:.decimals$}"));
    frame.x_label = "optimiser steps".into();
    frame.y_label = what.into();
    frame.title = format!("{what} during training");
    let ends = all.iter().filter_map(|(name, p)| Some(format!("{name} ends at {:.3}", p.last()?.1)));
    frame.description = ends.collect::<Vec<_>>().join("; ");
    let mut figure =
        Figure { name: name.into(), frame, table: vec![heading(["run", "step", "value"])], ..Figure::default() };
    for (i, (run, points)) in all.iter().enumerate() {
        let class = format!("s{}", i % 6);
        let at = |&(step, value): &(f64, f64)| (x.at(step), y.at(value));
        figure.lines.push(Path { class: class.clone(), d: path(points.iter().map(at)) });
        for point in points {
            let ((cx, cy), title) = (at(point), format!("{run}, step {}: {:.4}", point.0, point.1));
            figure.points.push(Point { class: class.clone(), x: cx, y: cy, r: 2.5, title, index: None });
            figure.table.push(vec![(*run).to_string(), point.0.to_string(), point.1.to_string()]);
        }
    }
    Some(figure)
}

/// Images that are drawn as points; of more, evenly spread ones.
const MOST_POINTS: usize = 400;

/// A test image in the figure.
#[derive(Serialize)]
struct Ranked<'a> {
    name: &'a str,
    dice: f64,
}

/// Dice of all test images from the lowest to the highest.
pub(super) fn per_image(evaluation: &Evaluation, name: &str) -> Figure {
    let mut ranked: Vec<Ranked<'_>> =
        evaluation.per_image.iter().map(|i| Ranked { name: &i.name, dice: i.dice }).collect();
    ranked.sort_by(|a, b| a.dice.total_cmp(&b.dice).then_with(|| a.name.cmp(b.name)));
    let mut frame = Frame { ..Frame::new(720.0, 280.0) };
    let count = ranked.len();
    let x = Axis::between(0.0, count.max(2) as f64, (frame.left, frame.right));
    let y = Axis::around(Spread::Linear, ranked.iter().map(|r| r.dice).chain([1.0]), (frame.bottom, frame.top));
    frame.x_ticks = x.ticks(8, |v| format!("{v:.0}"));
    frame.y_ticks = y.ticks(6, |v| format!("{v:.2}"));
    frame.x_label = "test images, from the lowest Dice to the highest".into();
    frame.y_label = "Dice".into();
    frame.title = "Dice of every test image".into();
    frame.description = match (ranked.first(), ranked.last()) {
        (Some(low), Some(high)) => format!("From {:.3} ({}) to {:.3} ({})", low.dice, low.name, high.dice, high.name),
        _ => "No images".into(),
    };
    let shown = count.min(MOST_POINTS);
    let picked = (0..shown).map(|i| i * (count - 1) / (shown - 1).max(1));
    let point = |i: usize| Point {
        class: String::new(),
        x: x.at(i as f64 + 0.5),
        y: y.at(ranked[i].dice),
        r: if shown > 120 { 2.5 } else { 4.0 },
        title: format!("{}: {:.3}", ranked[i].name, ranked[i].dice),
        index: None,
    };
    let points = picked.map(point).collect();
    let mean = evaluation.dice.mean;
    let rules = vec![super::axis::Tick { at: y.at(mean), label: format!("mean {mean:.3}") }];
    let row =
        |i: &crate::evaluate::ImageScore| vec![i.name.clone(), i.source.clone(), i.dice.to_string(), i.iou.to_string()];
    let table = std::iter::once(heading(["image", "source", "dice", "iou"]))
        .chain(evaluation.per_image.iter().map(row))
        .collect();
    Figure { name: name.into(), frame, rules, points, table, ..Figure::default() }
}
