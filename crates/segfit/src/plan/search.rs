//! The search: every base width and depth, exactly costed; then shapes, where they are known to be better.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::budget::Budgets;
use super::infeasible::infeasible;
use super::shaped::better_shape;
use super::{GroupWidth, PLAN_FORMAT, Plan, PlannedNetwork};
use crate::error::{Error, Result};
use crate::network::NetworkSpec;
use crate::predict::{Mapping, NetworkOptions, SizeRow, Subject, reference_in_words};

/// The plan for a data set: with `keep`, the network with fewest parameters that is predicted to keep the share and meets all
/// other budgets; without, the one predicted to be most accurate among those that meet the budgets (fewer parameters on a
/// tie).
///
/// Tried are all base widths up to the full one at all depths up to the full one. Depths that were not calibrated are taken
/// only when nothing else meets the budgets, those nearest to a calibrated one first. A layer-wise shape replaces the uniform network only when it needs no more
/// parameters and its predicted gain in retention exceeds half the width of its own interval.
///
/// # Errors
/// [`Error::Infeasible`] naming the tightest budget and the nearest network; [`Error::Option`] for budgets or options out of
/// range.
pub fn plan(mapping: &Mapping, subject: &Subject, options: &NetworkOptions, budgets: &Budgets) -> Result<Plan> {
    budgets.validate()?;
    let full_spec = options.network(options.full_width, options.depth)?;
    let all = sizes(mapping, subject, options)?;
    let known: Vec<&SizeRow> = all.iter().filter(|s| mapping.is_calibrated_depth(s.depth)).collect();
    let uniform = nearest_depth_first(mapping, &all, budgets).ok_or_else(|| infeasible(&all, budgets))?;
    let mut choice = vec![objective(budgets).to_string()];
    if !mapping.is_calibrated_depth(uniform.depth) {
        choice.push(format!("depth {} was not calibrated; nothing calibrated meets the budgets", uniform.depth));
    }
    let shape = better_shape(mapping, subject, options, budgets, uniform)?;
    let spec = match &shape {
        Some(spec) => {
            choice.push("a layer-wise shape is predicted to be better by more than its error".into());
            spec.clone()
        }
        None => options.network(uniform.base_width, uniform.depth)?,
    };
    let (row, predicted) = SizeRow::of(mapping, subject, &spec, options.size)?;
    let (full_row, _) = SizeRow::of(mapping, subject, &full_spec, options.size)?;
    Ok(Plan {
        format: PLAN_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        dataset: subject.dataset.clone(),
        input: None,
        mapping: mapping.id.clone(),
        network: planned(&row, options),
        full: planned(&full_row, options),
        predicted,
        reference: reference_in_words(mapping),
        choice,
        widths: group_widths(&spec, &full_spec),
        budgets: *budgets,
        alternatives: alternatives(&known, &row, options),
        spec,
    })
}

fn objective(budgets: &Budgets) -> &'static str {
    if budgets.keep.is_some() {
        "fewest parameters that keep the share and meet the budgets"
    } else {
        "most accurate within the budgets, fewest parameters on a tie"
    }
}

/// All uniform networks, by depth, then width.
fn sizes(mapping: &Mapping, subject: &Subject, options: &NetworkOptions) -> Result<Vec<SizeRow>> {
    let pairs: Vec<(usize, usize)> =
        (1..=options.depth).flat_map(|depth| (1..=options.full_width).map(move |width| (width, depth))).collect();
    let row = |&(width, depth): &(usize, usize)| -> Result<SizeRow> {
        Ok(SizeRow::of(mapping, subject, &options.network(width, depth)?, options.size)?.0)
    };
    pairs.par_iter().map(row).collect()
}

/// The best at calibrated depths; when none meets the budgets, the best at depths one level away from them, and so on.
fn nearest_depth_first<'a>(mapping: &Mapping, all: &'a [SizeRow], budgets: &Budgets) -> Option<&'a SizeRow> {
    let away = |s: &SizeRow| mapping.calibrated_on.depths.iter().map(|d| d.abs_diff(s.depth)).min().unwrap_or(0);
    let farthest = all.iter().map(away).max()?;
    (0..=farthest).find_map(|levels| best(&all.iter().filter(|s| away(s) == levels).collect::<Vec<_>>(), budgets))
}

/// The best of those that meet all budgets; a total order, so that the choice is reproducible.
fn best<'a>(sizes: &[&'a SizeRow], budgets: &Budgets) -> Option<&'a SizeRow> {
    sizes.iter().copied().filter(|s| budgets.missed(s).is_empty()).min_by(|a, b| order(a, b, budgets))
}

fn order(a: &SizeRow, b: &SizeRow, budgets: &Budgets) -> Ordering {
    let accuracy = b.retention.mean.total_cmp(&a.retention.mean);
    let size = a.params.cmp(&b.params).then(a.macs.cmp(&b.macs)).then(a.memory_bytes.cmp(&b.memory_bytes));
    if budgets.keep.is_some() { size.then(accuracy) } else { accuracy.then(size) }
}

fn planned(row: &SizeRow, options: &NetworkOptions) -> PlannedNetwork {
    PlannedNetwork {
        family: options.family.clone(),
        base_width: row.base_width,
        depth: row.depth,
        size: options.size,
        params: row.params,
        macs: row.macs,
        peak_activation_bytes: row.peak_activation_bytes,
        memory_bytes: row.memory_bytes,
        retention: row.retention,
    }
}

fn group_widths(spec: &NetworkSpec, full: &NetworkSpec) -> Vec<GroupWidth> {
    let full = full.widths();
    let narrowed = spec.widths();
    let free = spec.groups.iter().filter_map(|g| Some((&g.name, *narrowed.get(&g.name)?, *full.get(&g.name)?)));
    free.map(|(group, channels, full)| GroupWidth {
        group: group.clone(),
        full,
        channels,
        multiplier: channels as f64 / full as f64,
    })
    .collect()
}

/// The Pareto front of the ladder's sizes at calibrated depths, and the chosen network.
fn alternatives(known: &[&SizeRow], chosen: &SizeRow, options: &NetworkOptions) -> Vec<SizeRow> {
    let ladder = options.ladder();
    let mut rows: Vec<&SizeRow> = known.iter().copied().filter(|s| ladder.contains(&s.base_width)).collect();
    if !rows.iter().any(|s| s.widths == chosen.widths) {
        rows.push(chosen);
    }
    let front = |s: &&&SizeRow| s.widths == chosen.widths || !rows.iter().any(|other| dominates(other, s));
    let mut front: Vec<SizeRow> = rows.iter().filter(front).map(|s| (*s).clone()).collect();
    front.sort_by(|a, b| a.params.cmp(&b.params).then(a.macs.cmp(&b.macs)));
    front
}

/// At least as good in everything and better in something. An extrapolation does not beat what was calibrated.
fn dominates(a: &SizeRow, b: &SizeRow) -> bool {
    if a.extrapolated && !b.extrapolated {
        return false;
    }
    let costs = [(a.params, b.params), (a.macs, b.macs), (a.memory_bytes, b.memory_bytes)];
    let no_worse = costs.iter().all(|(a, b)| a <= b) && a.retention.mean >= b.retention.mean;
    no_worse && (costs.iter().any(|(a, b)| a < b) || a.retention.mean > b.retention.mean)
}

impl Plan {
    /// Reads a plan file.
    ///
    /// # Errors
    /// As [`crate::files::read_json`]; [`Error::Network`] when its network does not fit together.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let plan: Self = crate::files::read_json(path, PLAN_FORMAT)?;
        plan.spec.validate()?;
        let have = crate::cost::parameters(&plan.spec)?;
        if have != plan.network.params {
            return Err(Error::Json {
                path: path.into(),
                expected: PLAN_FORMAT.into(),
                reason: format!("network.params is {}, its spec has {have}", plan.network.params),
            });
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::plan::Bound;
    use crate::predict::DatasetId;
    use crate::predict::synthetic::{World, measures, records};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static MAPPING: LazyLock<Mapping> = LazyLock::new(|| {
        let world = World { sets: 6, effect: 0.5, noise: 0.003, depths: &[4, 3], ..World::default() };
        Mapping::fit(&records(&world)).unwrap()
    });

    fn subject() -> Subject {
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        Subject { dataset, measures: measures(0.1), constant_dice: 0.4 }
    }

    fn options(full_width: usize) -> NetworkOptions {
        NetworkOptions { family: "unet".into(), in_channels: 1, classes: 2, full_width, depth: 4, size: 64 }
    }

    fn keep(share: f64) -> Budgets {
        Budgets { keep: Some(share), ..Budgets::default() }
    }

    #[test]
    fn a_share_to_keep_gives_the_smallest_network_that_keeps_it() {
        let plan = plan(&MAPPING, &subject(), &options(16), &keep(0.95)).unwrap();
        assert!(plan.predicted.retention.mean >= 0.95);
        for size in sizes(&MAPPING, &subject(), &options(16)).unwrap() {
            let smaller = size.params < plan.network.params && MAPPING.is_calibrated_depth(size.depth);
            assert!(!smaller || size.retention.mean < 0.95, "width {} depth {}", size.base_width, size.depth);
        }
        assert_eq!(Cost::of(&plan.spec, 64).unwrap().params, plan.network.params);
        // Images of another size are an extrapolation with wide intervals, so that less can be promised.
        let (mean, cautious) = (keep(0.9), Budgets { keep_bound: Bound::Low, ..keep(0.9) });
        let mean = super::plan(&MAPPING, &subject(), &options(16), &mean).unwrap();
        let cautious = super::plan(&MAPPING, &subject(), &options(16), &cautious).unwrap();
        assert!(cautious.network.params > mean.network.params && cautious.predicted.retention.low >= 0.9);
    }

    #[test]
    fn everything_kept_is_the_reference_even_when_the_full_network_is_wider() {
        let plan = plan(&MAPPING, &subject(), &options(24), &keep(1.0)).unwrap();
        assert_eq!((plan.network.base_width, plan.network.depth), (16, 4));
        assert_eq!(plan.widths[0].multiplier, 16.0 / 24.0);
        assert!(plan.reference.contains("base width 16"));
    }

    #[test]
    fn depths_that_were_not_calibrated_are_a_last_resort() {
        let smallest_known = options(1).network(1, 3).map(|n| Cost::of(&n, 64).unwrap().params).unwrap();
        let budgets = |most| Budgets { max_params: Some(most), ..Budgets::default() };
        let known = plan(&MAPPING, &subject(), &options(8), &budgets(smallest_known)).unwrap();
        assert_eq!(known.network.depth, 3);
        let beyond = plan(&MAPPING, &subject(), &options(8), &budgets(smallest_known - 1)).unwrap();
        assert!(beyond.network.depth == 2 && beyond.predicted.extrapolated);
        assert!(beyond.choice.iter().any(|c| c.contains("was not calibrated")), "{:?}", beyond.choice);
    }

    #[test]
    fn a_plan_has_the_keys_of_the_contract_and_comes_back_from_its_file() {
        let made = plan(&MAPPING, &subject(), &options(16), &keep(0.9)).unwrap();
        let json = serde_json::to_value(&made).unwrap();
        for key in ["params", "macs", "size", "memory_bytes", "peak_activation_bytes", "depth", "family"] {
            assert!(json["network"].get(key).is_some(), "{key}");
        }
        assert!(json["full"]["params"].is_u64() && json["full"]["macs"].is_u64());
        for key in ["low", "mean", "high"] {
            assert!(json["predicted"]["dice"][key].is_f64() && json["predicted"]["retention"][key].is_f64());
        }
        assert!(json["predicted"]["extrapolated"].is_boolean());
        assert!(json["widths"][0]["group"].is_string() && json["widths"][0]["full"].is_u64());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        crate::files::write_json(&path, &made).unwrap();
        let back = Plan::read(&path).unwrap();
        assert_eq!((back.spec, back.budgets), (made.spec.clone(), made.budgets));
        let mut edited = made;
        edited.network.params += 1;
        crate::files::write_json(&path, &edited).unwrap();
        assert!(Plan::read(&path).unwrap_err().to_string().contains("its spec has"));
    }

    #[test]
    fn the_table_of_alternatives_is_a_front_with_the_chosen_network() {
        let plan = plan(&MAPPING, &subject(), &options(16), &keep(0.93)).unwrap();
        assert!(plan.alternatives.iter().any(|s| s.widths == plan.spec.widths()));
        let known: Vec<&SizeRow> = plan.alternatives.iter().filter(|s| !s.extrapolated).collect();
        for (i, a) in known.iter().enumerate() {
            assert!(!known[..i].iter().any(|b| b.params > a.params), "the smallest first");
            let others = known.iter().filter(|b| b.widths != plan.spec.widths());
            assert!(!others.into_iter().any(|b| dominates(a, b)), "width {} depth {}", a.base_width, a.depth);
        }
        assert!(plan.table().contains("<- chosen"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn budgets_hold_exactly_and_the_choice_is_that_of_brute_force(
            share in prop::option::of(0.5..1.0_f64),
            params in prop::option::of(300_u64..400_000),
            macs in prop::option::of(20_000_u64..80_000_000),
            memory in prop::option::of(20_000_u64..4_000_000),
            full in 1_usize..13,
        ) {
            let budgets = Budgets { keep: share, max_params: params, max_macs: macs, max_memory: memory, ..Budgets::default() };
            let all = sizes(&MAPPING, &subject(), &options(full)).unwrap();
            let meets = |s: &&SizeRow| {
                share.is_none_or(|k| s.retention.mean >= k)
                    && params.is_none_or(|m| s.params <= m)
                    && macs.is_none_or(|m| s.macs <= m)
                    && memory.is_none_or(|m| s.memory_bytes <= m)
            };
            // Depths 3 and 4 are calibrated; then 2 is nearer than 1.
            let at = |depths: &[usize]| all.iter().filter(meets).filter(|s| depths.contains(&s.depth)).collect::<Vec<_>>();
            let candidates = [at(&[3, 4]), at(&[2]), at(&[1])].into_iter().find(|c| !c.is_empty()).unwrap_or_default();
            match plan(&MAPPING, &subject(), &options(full), &budgets) {
                Ok(plan) => {
                    let cost = Cost::of(&plan.spec, 64).unwrap();
                    prop_assert!(params.is_none_or(|m| cost.params <= m));
                    prop_assert!(macs.is_none_or(|m| cost.macs <= m));
                    prop_assert!(memory.is_none_or(|m| cost.memory_bytes() <= m));
                    let fewest = candidates.iter().map(|s| s.params).min().unwrap();
                    let most = candidates.iter().map(|s| s.retention.mean).fold(0.0, f64::max);
                    if share.is_some() {
                        prop_assert!(cost.params <= fewest);
                    } else {
                        prop_assert!(plan.predicted.retention.mean >= most);
                    }
                }
                Err(Error::Infeasible { nearest, .. }) => {
                    prop_assert!(candidates.is_empty());
                    prop_assert!(nearest.contains("parameters"), "{}", nearest);
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
