//! The size-accuracy curve, and everything that changes when another size is shown.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::Content;
use super::curve::{Curve, curve};
use super::figure::Figure;
use super::picture::{Picture, picture};
use super::words::{factor, family, percents};
use crate::files::as_read;
use crate::numbers::{bytes, short, thousands};
use crate::plan::{Bound, LimitOption, Objective, Plan, Precision};
use crate::predict::Interval;

/// A size that can be shown.
pub(super) struct Offer<'a> {
    pub plan: &'a Plan,
    /// Its place in the ladder; `None` for the plan of the report itself.
    pub rung: Option<usize>,
    /// Whether it lies on the front of parameters, or is the plan: the slider goes over these.
    pub on_front: bool,
    pub command: String,
}

/// All sizes, the fewest parameters first.
pub(super) fn offers<'a>(plan: &'a Plan, content: &Content<'a>) -> Vec<Offer<'a>> {
    let own = Offer { plan, rung: None, on_front: true, command: command(plan, content) };
    let base = base(content);
    let rungs = content.ladder.map_or(&[][..], |l| &l.rungs);
    // A rung with the plan's own network would stand twice at one place.
    let others = rungs.iter().enumerate().filter(|(_, r)| r.plan.spec != plan.spec).map(|(i, r)| Offer {
        plan: &r.plan,
        rung: Some(i),
        on_front: matches!(r.option, LimitOption::MaxParams(_)),
        command: format!("{base} {}", r.option.typed()),
    });
    let mut all: Vec<Offer<'a>> = std::iter::once(own).chain(others).collect();
    all.sort_by_key(|o| (o.plan.network.params, o.plan.network.macs));
    all
}

/// The command that makes the plan, but for where it is written.
pub(super) fn command(plan: &Plan, content: &Content<'_>) -> String {
    format!("{} {}", base(content), typed(plan))
}

fn base<'a>(content: &Content<'a>) -> &'a str {
    content.ladder.map_or("segfit plan DATA", |l| &l.command)
}

/// The budgets of a plan, as options.
fn typed(plan: &Plan) -> String {
    let b = &plan.budgets;
    let precision = (b.precision != Precision::default()).then(|| format!("--precision {}", b.precision.name()));
    let objective = plan.objective.filter(|&o| o != Objective::of(b)).map(|o| format!("--objective {}", o.name()));
    let bound = match b.keep_bound {
        Bound::Mean => " --keep-bound mean",
        Bound::Low => " --keep-bound low",
        Bound::Likely => "",
    };
    let options = [
        b.keep.map(|k| format!("--keep {}%{bound}", (1e6 * k).round() / 1e4)),
        b.max_params.map(|n| format!("--max-params {n}")),
        b.max_macs.map(|n| format!("--max-macs {n}")),
        b.max_weights.map(|n| format!("--max-weights {n}")),
        b.max_memory.map(|n| format!("--max-memory {n}")),
        b.max_latency_ms.map(|ms| format!("--max-latency {ms}ms")),
        precision,
        objective,
    ];
    options.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A cost with its bar.
#[derive(Clone, Debug, Serialize)]
struct CostBar {
    key: &'static str,
    name: &'static str,
    value: String,
    factor: String,
    full: String,
    share: f64,
}

fn bars(plan: &Plan) -> Vec<CostBar> {
    let (now, full) = (&plan.network, &plan.full);
    let bar = |key, name, value: f64, full: f64, write: &dyn Fn(f64) -> String| CostBar {
        key,
        name,
        value: write(value),
        factor: if value < full { format!("{} less", factor(full, value)) } else { "as the full size".into() },
        full: write(full),
        share: (1000.0 * (value.max(1e-9) / full.max(1e-9)).log10().mul_add(0.2, 1.0).clamp(0.01, 1.0)).round() / 10.0,
    };
    let count = |v: f64| short(v as u64);
    let size = |v: f64| bytes(v as u64);
    let mut all = vec![
        bar("weights", "weights", now.params as f64, full.params as f64, &count),
        bar("macs", "work (MACs)", now.macs as f64, full.macs as f64, &count),
        bar("memory", "memory", now.memory_bytes as f64, full.memory_bytes as f64, &size),
        bar("file", "weights file", now.weight_bytes as f64, full.weight_bytes as f64, &size),
    ];
    if let (Some(ms), Some(most)) = (now.latency_ms, full.latency_ms) {
        all.push(bar("time", "time, at most", ms, most, &|v| format!("{v:.2} ms")));
    }
    all
}

fn dice(i: Interval) -> String {
    format!("{:.3} ({:.3} to {:.3})", i.mean, i.low, i.high)
}

/// The texts of an offer, by the places where they stand.
fn shown(offer: &Offer<'_>) -> BTreeMap<String, String> {
    let (network, predicted) = (&offer.plan.network, &offer.plan.predicted);
    let mut texts: BTreeMap<String, String> = [
        ("params", thousands(network.params)),
        ("dice", dice(predicted.dice)),
        ("retention", percents(predicted.retention)),
        ("command", offer.command.clone()),
        ("spoken", format!("{} weights, predicted Dice {:.3}", thousands(network.params), predicted.dice.mean)),
    ]
    .map(|(key, text)| (key.to_string(), text))
    .into();
    for bar in bars(offer.plan) {
        texts.insert(bar.key.into(), bar.value);
        texts.insert(format!("{}_factor", bar.key), bar.factor);
    }
    texts
}

#[derive(Serialize)]
struct Alternative {
    params: String,
    depth: usize,
    macs: String,
    memory: String,
    dice: String,
    retention: String,
    star: &'static str,
}

fn alternatives(plan: &Plan) -> Vec<Alternative> {
    let row = |r: &crate::predict::SizeRow| Alternative {
        params: thousands(r.params),
        depth: r.depth,
        macs: short(r.macs),
        memory: bytes(r.memory_bytes),
        dice: dice(r.dice),
        retention: percents(r.retention),
        star: if r.extrapolated { " *" } else { "" },
    };
    plan.alternatives.iter().map(row).collect()
}

/// The section and the data of the script.
pub(super) struct Explored {
    /// For the template; the figures are to be filled in.
    pub section: Value,
    pub curve: Figure,
    pub picture: Picture,
    /// What the script reads; `pictures` are to be drawn in the order of the offers.
    pub script: Option<Value>,
    pub pictures: Vec<Picture>,
}

/// The explorer of `plan`.
pub(super) fn explore(plan: &Plan, content: &Content<'_>) -> Explored {
    let offers = offers(plan, content);
    let start = offers.iter().position(|o| o.rung.is_none()).unwrap_or(0);
    let slider: Vec<usize> = (0..offers.len()).filter(|&i| offers[i].on_front).collect();
    let measured: Vec<(u64, f64, String)> = content.runs.iter().filter_map(super::run::Run::measured).collect();
    let Curve { figure, places } = curve(&offers, start, &measured);
    let limits = [
        ("keep", "share to keep", "95%"),
        ("params", "most weights", "250k"),
        ("macs", "most work", "500M"),
        ("memory", "most memory", "4MiB"),
        ("time", "most time", "20ms"),
    ];
    let has_time = plan.network.latency_ms.is_some();
    let limits: Vec<Value> = limits
        .iter()
        .filter(|(key, ..)| *key != "time" || has_time)
        .map(|(key, name, example)| json!({ "key": key, "name": name, "example": example }))
        .collect();
    let section = json!({
        "caption": caption(plan),
        "has_work": offers.iter().any(|o| !o.on_front),
        "has_outside": offers.iter().any(|o| o.plan.predicted.extrapolated) && offers.iter().any(|o| !o.plan.predicted.extrapolated),
        "measured": !measured.is_empty(),
        "sizes": slider.len(),
        "place": slider.iter().position(|&i| i == start),
        "now": shown(&offers[start]),
        "outside": plan.predicted.extrapolated,
        "bars": bars(plan),
        "limits": limits,
        "reasons": reasons(plan),
        "alternatives": alternatives(plan),
    });
    let script = content.ladder.map(|ladder| {
        let offer = |(offer, place): (&Offer<'_>, &super::figure::Marker)| {
            json!({
                "rung": offer.rung,
                "params": offer.plan.network.params,
                "macs": offer.plan.network.macs,
                "memory": offer.plan.network.memory_bytes,
                "ms": offer.plan.network.latency_ms,
                "retention": offer.plan.predicted.retention,
                "extrapolated": offer.plan.predicted.extrapolated,
                "x": place.x, "y": place.y, "low": place.low, "high": place.high,
                "show": shown(offer),
                "bars": bars(offer.plan).into_iter().map(|b| (b.key, b.share)).collect::<BTreeMap<_, _>>(),
            })
        };
        json!({
            "start": start,
            "slider": slider,
            "bound": plan.budgets.keep.map_or(Bound::Likely, |_| plan.budgets.keep_bound),
            "margins": ladder.margins,
            "offers": offers.iter().zip(&places).map(offer).collect::<Vec<_>>(),
            "chosen": as_read(plan),
            "ladder": ladder,
        })
    });
    Explored {
        section,
        curve: figure,
        picture: picture(plan),
        script,
        pictures: offers.iter().map(|o| picture(o.plan)).collect(),
    }
}

fn caption(plan: &Plan) -> String {
    format!(
        "What a {} is predicted to reach on these images at every size, before any training. The interval is meant to hold the result \
         nine times in ten. Full accuracy: {}.",
        family(&plan.network.family),
        plan.reference.strip_prefix("retention is relative to ").unwrap_or(&plan.reference)
    )
}

fn reasons(plan: &Plan) -> Vec<String> {
    let levels = plan.explanation.iter().flat_map(|e| e.levels.iter().map(|l| l.words.clone()));
    let capital = |text: &String| {
        let mut letters = text.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
    };
    plan.choice.iter().map(|c| format!("{}.", capital(c))).chain(levels).collect()
}
