//! The size-accuracy curve: predicted Dice with its interval over the number of parameters.

use super::axis::{Axis, Spread};
use super::explore::Offer;
use super::figure::{Figure, Frame, Marker, Path, Point, heading, path};
use super::words::{percents, round_count};
use crate::numbers::thousands;
use crate::predict::Interval;

/// The figure, and where every offer lies in it.
pub(super) struct Curve {
    pub figure: Figure,
    pub places: Vec<Marker>,
}

struct Station {
    params: u64,
    dice: Interval,
    extrapolated: bool,
}

/// The curve through the offers of the front, or through the alternatives of the plan where it is the only offer; `measured` are
/// parameters, test Dice and names of runs.
pub(super) fn curve(offers: &[Offer<'_>], start: usize, measured: &[(u64, f64, String)]) -> Curve {
    let chosen = offers[start].plan;
    let station = |o: &Offer<'_>| Station {
        params: o.plan.network.params,
        dice: o.plan.predicted.dice,
        extrapolated: o.plan.predicted.extrapolated,
    };
    let mut stations: Vec<Station> = if offers.len() > 1 {
        offers.iter().filter(|o| o.on_front).map(station).collect()
    } else {
        let row =
            |r: &crate::predict::SizeRow| Station { params: r.params, dice: r.dice, extrapolated: r.extrapolated };
        chosen.alternatives.iter().map(row).collect()
    };
    stations.sort_by_key(|s| s.params);
    let mut frame = Frame::new(640.0, 380.0);
    let every = offers.iter().map(|o| o.plan.network.params).chain(stations.iter().map(|s| s.params));
    let x = Axis::around(
        Spread::Log,
        every.chain(measured.iter().map(|m| m.0)).map(|p| p.max(1) as f64),
        (frame.left + 6.0, frame.right - 6.0),
    );
    let ends = stations.iter().flat_map(|s| [s.dice.low, s.dice.high]);
    let y = Axis::around(Spread::Linear, ends.chain(measured.iter().map(|m| m.1)), (frame.bottom, frame.top));
    frame.x_ticks = x.ticks(9, round_count);
    frame.y_ticks = y.ticks(8, |v| format!("{v:.2}"));
    frame.x_label = "weights (trained parameters), logarithmic".into();
    frame.y_label = "predicted Dice on test images".into();
    frame.title = "Predicted accuracy of every size".into();
    frame.description = described(&stations, chosen.network.params, chosen.predicted.dice);
    let at = |params: u64, dice: Interval| Marker {
        x: x.at(params as f64),
        y: y.at(dice.mean),
        low: y.at(dice.low),
        high: y.at(dice.high),
    };
    let along = |value: fn(Interval) -> f64| stations.iter().map(move |s| (s.params as f64, value(s.dice)));
    let upper = along(|d| d.high).map(|(p, v)| (x.at(p), y.at(v)));
    let lower: Vec<(f64, f64)> = along(|d| d.low).map(|(p, v)| (x.at(p), y.at(v))).collect();
    let band = path(upper.chain(lower.into_iter().rev())) + "Z";
    let mut points: Vec<Point> = Vec::new();
    for (i, offer) in offers.iter().enumerate() {
        let place = at(offer.plan.network.params, offer.plan.predicted.dice);
        let class = if offer.on_front && !offer.plan.predicted.extrapolated { "" } else { "dim" };
        let title = title(offer);
        points.push(Point { class: class.into(), x: place.x, y: place.y, r: 4.5, title, index: Some(i) });
    }
    for (params, dice, name) in measured {
        let title = format!("{name}: {} weights, measured Dice {dice:.3}", thousands(*params));
        let (x, y) = (x.at(*params as f64), y.at(*dice));
        points.push(Point { class: "measured".into(), x, y, r: 6.0, title, index: None });
    }
    let places: Vec<Marker> = offers.iter().map(|o| at(o.plan.network.params, o.plan.predicted.dice)).collect();
    let figure = Figure {
        name: "accuracy_and_size".into(),
        frame,
        bands: vec![Path { class: String::new(), d: band }],
        lines: vec![Path { class: String::new(), d: path(along(|d| d.mean).map(|(p, v)| (x.at(p), y.at(v)))) }],
        points,
        marker: Some(places[start]),
        table: table(offers),
        ..Figure::default()
    };
    Curve { figure, places }
}

fn title(offer: &Offer<'_>) -> String {
    let (network, predicted) = (&offer.plan.network, &offer.plan.predicted);
    format!(
        "{} weights: Dice {:.3} ({:.3} to {:.3}), {} of the full accuracy{}",
        thousands(network.params),
        predicted.dice.mean,
        predicted.dice.low,
        predicted.dice.high,
        percents(predicted.retention),
        if predicted.extrapolated { "; outside of what was calibrated" } else { "" }
    )
}

fn described(stations: &[Station], params: u64, dice: Interval) -> String {
    let (Some(first), Some(last)) = (stations.first(), stations.last()) else { return String::new() };
    let outside = stations.iter().filter(|s| s.extrapolated).count();
    let outside =
        if outside == 0 { String::new() } else { format!(" {outside} sizes lie outside of what was calibrated.") };
    format!(
        "From Dice {:.3} with {} weights to {:.3} with {}. The network chosen has {} and Dice {:.3} ({:.3} to {:.3}).{outside}",
        first.dice.mean,
        thousands(first.params),
        last.dice.mean,
        thousands(last.params),
        thousands(params),
        dice.mean,
        dice.low,
        dice.high
    )
}

fn table(offers: &[Offer<'_>]) -> Vec<Vec<String>> {
    let names = [
        "parameters",
        "macs",
        "memory_bytes",
        "depth",
        "dice",
        "dice_low",
        "dice_high",
        "retention",
        "retention_low",
        "retention_high",
        "extrapolated",
        "command",
    ];
    let row = |o: &Offer<'_>| {
        let (n, p) = (&o.plan.network, &o.plan.predicted);
        let mut row = vec![n.params.to_string(), n.macs.to_string(), n.memory_bytes.to_string(), n.depth.to_string()];
        row.extend([p.dice, p.retention].iter().flat_map(|i| [i.mean, i.low, i.high]).map(|v| format!("{v:.5}")));
        row.extend([p.extrapolated.to_string(), o.command.clone()]);
        row
    };
    std::iter::once(heading(names)).chain(offers.iter().map(row)).collect()
}
