//! The message when nothing meets the budgets: which one is tightest, and what can be had.

use super::budget::{Bound, Budgets, Limit};
use crate::error::Error;
use crate::predict::SizeRow;
use crate::predict::table::{bytes, short, thousands};

/// The error for budgets that none of `sizes` meets.
///
/// The *nearest* network misses fewest budgets; among those, its worst miss is the smallest factor (smallest parameters on a
/// tie). The *tightest* budget is the one that it misses by most.
pub(super) fn infeasible(sizes: &[SizeRow], budgets: &Budgets) -> Error {
    let worst = |size: &SizeRow| {
        let missed = budgets.missed(size);
        let tightest = missed.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        (missed.len(), tightest)
    };
    let rank = |size: &SizeRow| {
        let (count, tightest) = worst(size);
        (count, tightest.map_or(1.0, |t| t.1), size.params)
    };
    let nearest = sizes.iter().min_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    });
    let Some((nearest, Some((limit, factor)))) = nearest.map(|n| (n, worst(n).1)) else {
        let reason = "there is no network to choose from".into();
        return Error::Infeasible { reason, nearest: "raise --width or --depth".into() };
    };
    Error::Infeasible { reason: tightest(limit, factor, nearest, budgets), nearest: describe(nearest, budgets) }
}

fn tightest(limit: Limit, factor: f64, nearest: &SizeRow, budgets: &Budgets) -> String {
    let kept = budgets.kept(nearest);
    match limit {
        Limit::Keep => {
            let bound = if budgets.keep_bound == Bound::Low { " at the lower end of the interval" } else { "" };
            let keep = percent(budgets.keep.unwrap_or(1.0));
            format!("--keep {keep} is the tightest; the nearest network is predicted to keep {}{bound}", percent(kept))
        }
        Limit::Params => over("--max-params", thousands, budgets.max_params, nearest.params, "parameters", factor),
        Limit::Macs => over("--max-macs", thousands, budgets.max_macs, nearest.macs, "MACs", factor),
        Limit::Memory => over("--max-memory", bytes, budgets.max_memory, nearest.memory_bytes, "of memory", factor),
    }
}

fn over(name: &str, write: fn(u64) -> String, limit: Option<u64>, have: u64, unit: &str, factor: f64) -> String {
    let limit = write(limit.unwrap_or(0));
    format!(
        "{name} {limit} is the tightest; the nearest network needs {} {unit}, {factor:.2} times as much",
        write(have)
    )
}

/// The nearest network and the options with which it would have been chosen.
fn describe(size: &SizeRow, budgets: &Budgets) -> String {
    let mut options = Vec::new();
    for (limit, _) in budgets.missed(size) {
        options.push(match limit {
            Limit::Keep => format!("--keep {:.1}%", (budgets.kept(size) * 1000.0).floor() / 10.0),
            Limit::Params => format!("--max-params {}", size.params),
            Limit::Macs => format!("--max-macs {}", size.macs),
            Limit::Memory => format!("--max-memory {}", size.memory_bytes),
        });
    }
    let star = if size.extrapolated { " (extrapolated)" } else { "" };
    format!(
        "the nearest network has base width {}, depth {}: {} parameters, {} MACs, {}, predicted to keep {}{star}; ask for it with {}",
        size.base_width,
        size.depth,
        thousands(size.params),
        short(size.macs),
        bytes(size.memory_bytes),
        percent(size.retention.mean),
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
    use crate::predict::{DatasetId, Mapping, NetworkOptions, Subject};

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
        assert!(hint.contains("base width 1, depth 1") && hint.contains("--max-params 138"), "{hint}");
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
}
