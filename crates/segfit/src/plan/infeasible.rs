//! The message when nothing meets the budgets: which one is tightest, and what can be had.

use super::best::best_on_line;
use super::budget::{Bound, Budgets, Limit};
use super::judge::Judge;
use super::lines::{Bend, Line};
use super::objective::Objective;
use super::offer::Offer;
use super::search::order;
use crate::error::{Error, Result};
use crate::numbers::{bytes, short, thousands};

/// Smaller shares to keep are written as 0.0%.
const SMALLEST_SHARE: f64 = 0.001;

/// The error for budgets that no network meets.
///
/// Each budget in turn is left out, and the uniform network that meets the others and misses it by least is looked at; beside them
/// a few uniform networks of every depth, in case two budgets must go. The *nearest* network misses fewest budgets; among
/// those, its worst miss is the smallest factor (smallest parameters on a tie). The *tightest* budget is the one that it
/// misses by most.
pub(super) fn infeasible(judge: &Judge<'_>, lines: &[Line]) -> Error {
    match offers(judge, lines) {
        Ok(offers) => nearest(&offers, &judge.budgets),
        Err(error) => error,
    }
}

fn offers(judge: &Judge<'_>, lines: &[Line]) -> Result<Vec<Offer>> {
    let uniform = || lines.iter().filter(|l| l.bend == Bend::Uniform);
    let mut offers = Vec::new();
    for limit in judge.budgets.given() {
        let relaxed = judge.asked(judge.budgets.without(limit), Objective::relaxing(limit));
        let mut best = None;
        for line in uniform() {
            let Some(found) = best_on_line(&relaxed, line)? else { continue };
            let better = match &best {
                Some(known) => order(&relaxed, &found, known)?.is_lt(),
                None => true,
            };
            if better {
                best = Some(found);
            }
        }
        if let Some(best) = best {
            offers.push(relaxed.offer(&best)?.0);
        }
    }
    for line in uniform() {
        for i in line.stations(1.0) {
            let channels = line.channels(judge.level(line.level), i);
            offers.push(judge.offer(&judge.candidate(line.level, channels))?.0);
        }
    }
    Ok(offers)
}

fn nearest(offers: &[Offer], budgets: &Budgets) -> Error {
    let worst = |offer: &Offer| {
        let missed = budgets.missed(offer);
        let tightest = missed.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        (missed.len(), tightest)
    };
    let rank = |offer: &Offer| {
        let (count, tightest) = worst(offer);
        (count, tightest.map_or(1.0, |t| t.1), offer.row.params)
    };
    let missing = offers.iter().filter(|o| worst(o).0 > 0);
    let nearest = missing.min_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    });
    let Some((nearest, Some((limit, factor)))) = nearest.map(|n| (n, worst(n).1)) else {
        let reason = "there is no network to choose from".into();
        return Error::Infeasible { reason, nearest: "raise --width or --depth, or widen --bound".into() };
    };
    Error::Infeasible { reason: tightest(limit, factor, nearest, budgets), nearest: describe(nearest, budgets) }
}

fn tightest(limit: Limit, factor: f64, nearest: &Offer, budgets: &Budgets) -> String {
    let row = &nearest.row;
    let kept = budgets.kept(row.retention);
    let over = |name: &str, write: fn(u64) -> String, limit: Option<u64>, have: u64, unit: &str| {
        let (limit, have) = (write(limit.unwrap_or(0)), write(have));
        format!("{name} {limit} is the tightest; the nearest network needs {have} {unit}, {factor:.2} times as much")
    };
    match limit {
        Limit::Keep => {
            let bound = match (budgets.keep_bound, budgets.keep_margin) {
                (Bound::Low, _) => " at the lower end of the interval".to_string(),
                (Bound::Likely, Some(margin)) => format!(" after a margin of {}", percent(margin)),
                _ => String::new(),
            };
            let keep = percent(budgets.keep.unwrap_or(1.0));
            format!("--keep {keep} is the tightest; the nearest network is predicted to keep {}{bound}", percent(kept))
        }
        Limit::Params => over("--max-params", thousands, budgets.max_params, row.params, "parameters"),
        Limit::Macs => over("--max-macs", thousands, budgets.max_macs, row.macs, "MACs"),
        Limit::Weights => {
            let unit = format!("of weights in {}", budgets.precision.name());
            over("--max-weights", bytes, budgets.max_weights, nearest.weight_bytes, &unit)
        }
        Limit::Memory => over("--max-memory", bytes, budgets.max_memory, row.memory_bytes, "of memory"),
        Limit::Latency => format!(
            "--max-latency {} ms is the tightest; the nearest network needs {:.3} ms, {factor:.2} times as much",
            budgets.max_latency_ms.unwrap_or(0.0),
            nearest.latency_ms.unwrap_or(f64::INFINITY)
        ),
    }
}

/// The nearest network and the options with which it would have been chosen.
fn describe(nearest: &Offer, budgets: &Budgets) -> String {
    let row = &nearest.row;
    let keep = |share: f64| format!("--keep {:.1}%", (share * 1000.0).floor() / 10.0);
    let kept = budgets.kept(row.retention);
    let mut options = Vec::new();
    for (limit, _) in budgets.missed(nearest) {
        options.push(match limit {
            // The margin is another one for another share; a share of nothing cannot be asked for.
            Limit::Keep if budgets.keep_bound == Bound::Likely || kept < SMALLEST_SHARE => {
                format!("--keep-bound mean {}", keep(row.retention.mean))
            }
            Limit::Keep => keep(kept),
            Limit::Params => format!("--max-params {}", row.params),
            Limit::Macs => format!("--max-macs {}", row.macs),
            Limit::Weights => format!("--max-weights {}", nearest.weight_bytes),
            Limit::Memory => format!("--max-memory {}", row.memory_bytes),
            Limit::Latency => {
                format!("--max-latency {:.3}ms", (nearest.latency_ms.unwrap_or(0.0) * 1000.0).ceil() / 1000.0)
            }
        });
    }
    let star = if row.extrapolated { " (extrapolated)" } else { "" };
    format!(
        "the nearest network has base width {}, depth {}: {} parameters, {} MACs, {}, predicted to keep {}{star}; ask for it with {}",
        row.base_width,
        row.depth,
        thousands(row.params),
        short(row.macs),
        bytes(row.memory_bytes),
        percent(row.retention.mean),
        options.join(" ")
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::predict::synthetic::{World, measures, records};
    use crate::predict::{DatasetId, Mapping, NetworkOptions, SizeRow, Subject};

    fn run(budgets: &Budgets) -> Error {
        let mapping = Mapping::fit(&records(&World { sets: 6, ..World::default() })).unwrap();
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        let subject = Subject { dataset, measures: measures(0.0), constant_dice: 0.4 };
        let family = "unet".into();
        let options = NetworkOptions { family, in_channels: 1, classes: 2, full_width: 16, depth: 4, size: 64 };
        plan(&mapping, &subject, &options, budgets).unwrap_err()
    }

    #[test]
    fn a_limit_below_the_smallest_network_names_it() {
        let error = run(&Budgets { max_params: Some(50), ..Budgets::default() });
        let hint = error.hint().unwrap();
        assert!(error.to_string().contains("--max-params 50 is the tightest"), "{error}");
        // One channel everywhere: 9 x 7 weights of 3x3 convolutions, 4 of the transposed one, 2 + 2 of the head, 3 x 7 others.
        assert!(hint.contains("base width 1, depth 1") && hint.contains("--max-params 92"), "{hint}");
    }

    #[test]
    fn budgets_that_contradict_each_other_name_the_one_to_relax() {
        let budgets = Budgets { keep: Some(0.99), max_params: Some(8000), ..Budgets::default() };
        let error = run(&budgets);
        let hint = error.hint().unwrap();
        assert!(error.to_string().contains("--keep 99.0% is the tightest"), "{error}");
        assert!(hint.contains("ask for it with --keep"), "{hint}");
        let asked = hint.rsplit("--keep ").next().unwrap().trim_end_matches('%').parse::<f64>().unwrap() / 100.0;
        let again = Budgets { keep: Some(asked), ..budgets };
        let mapping = Mapping::fit(&records(&World { sets: 6, ..World::default() })).unwrap();
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        let subject = Subject { dataset, measures: measures(0.0), constant_dice: 0.4 };
        let family = "unet".into();
        let options = NetworkOptions { family, in_channels: 1, classes: 2, full_width: 16, depth: 4, size: 64 };
        assert!(plan(&mapping, &subject, &options, &again).is_ok(), "the hint can be followed: {asked}");
    }
    #[test]
    fn a_share_of_nothing_is_not_suggested() {
        let mapping = Mapping::fit(&records(&World { sets: 6, ..World::default() })).unwrap();
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        let subject = Subject { dataset, measures: measures(0.0), constant_dice: 0.4 };
        let family = "unet".into();
        let options = NetworkOptions { family, in_channels: 1, classes: 2, full_width: 16, depth: 4, size: 64 };
        let (mut row, _) = SizeRow::of(&mapping, &subject, &options.network(2, 2).unwrap(), 64).unwrap();
        row.retention.low = 0.0;
        let budgets = Budgets { keep: Some(0.6), keep_bound: Bound::Low, ..Budgets::default() };
        let text = describe(&Offer { weight_bytes: 0, row, latency_ms: None }, &budgets);
        assert!(text.contains("--keep-bound mean --keep ") && !text.contains("--keep 0.0%"), "{text}");
    }
}
