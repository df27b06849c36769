//! Plans side by side.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::budget::Bound;
use super::{Budgets, Plan, PlannedNetwork};
use crate::numbers::{bytes, short, thousands};
use crate::predict::Prediction;
use crate::predict::table::{align, interval};

/// `format` of comparisons.
pub const COMPARISON_FORMAT: &str = "segfit-comparison/1";

/// Several plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`COMPARISON_FORMAT`].
    pub format: String,
    /// The plans, in the order in which they were named.
    pub plans: Vec<Compared>,
}

/// What is compared of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// What it was named by, for example its file.
    pub name: String,
    /// Name of its data set.
    pub dataset: String,
    /// What was asked for.
    pub budgets: Budgets,
    /// Costs.
    pub network: PlannedNetwork,
    /// What to expect.
    pub predicted: Prediction,
    /// Channels by group.
    pub widths: BTreeMap<String, usize>,
}

/// Plans, each with a name, as one table.
#[must_use]
pub fn compare(plans: &[(String, Plan)]) -> Comparison {
    let one = |(name, plan): &(String, Plan)| Compared {
        name: name.clone(),
        dataset: plan.dataset.name.clone(),
        budgets: plan.budgets,
        network: plan.network.clone(),
        predicted: plan.predicted.clone(),
        widths: plan.spec.widths(),
    };
    Comparison { format: COMPARISON_FORMAT.into(), plans: plans.iter().map(one).collect() }
}

impl Comparison {
    /// One column per plan.
    #[must_use]
    pub fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        let mut row = |name: &str, cell: &dyn Fn(&Compared) -> String| {
            rows.push(std::iter::once(name.to_string()).chain(self.plans.iter().map(cell)).collect());
        };
        row("", &|p| p.name.clone());
        row("data set", &|p| p.dataset.clone());
        for i in 0..self.plans.iter().map(|p| asked(&p.budgets).len()).max().unwrap_or(0) {
            row(if i == 0 { "asked for" } else { "" }, &|p| asked(&p.budgets).get(i).cloned().unwrap_or_default());
        }
        row("network", &|p| p.network.family.clone());
        row("input", &|p| format!("{0}x{0}", p.network.size));
        row("depth", &|p| p.network.depth.to_string());
        row("parameters", &|p| thousands(p.network.params));
        row("MACs per image", &|p| short(p.network.macs));
        row("weights", &|p| match p.network.weight_bytes {
            0 => "-".into(),
            n => format!("{} ({})", bytes(n), p.budgets.precision.name()),
        });
        row("memory", &|p| bytes(p.network.memory_bytes));
        if self.plans.iter().any(|p| p.network.latency_ms.is_some()) {
            row("latency", &|p| p.network.latency_ms.map_or_else(|| "-".into(), |ms| format!("{ms:.2} ms")));
        }
        row("predicted Dice", &|p| interval(p.predicted.dice));
        row("predicted retention", &|p| interval(p.predicted.retention));
        row("extrapolated", &|p| if p.predicted.extrapolated { "yes".into() } else { "no".into() });
        for group in self.groups() {
            let cell = |p: &Compared| p.widths.get(&group).map_or_else(|| "-".into(), usize::to_string);
            row(&format!("channels of {group}"), &cell);
        }
        align(&rows)
    }

    /// Names of all groups, each once.
    fn groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self.plans.iter().flat_map(|p| p.widths.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Budgets as options.
fn asked(budgets: &Budgets) -> Vec<String> {
    let keep = budgets.keep.map(|k| {
        let bound = match budgets.keep_bound {
            Bound::Mean => "",
            Bound::Likely => " (likely)",
            Bound::Low => " (low)",
        };
        format!("keep {:.1}%{bound}", 100.0 * k)
    });
    let all = [
        keep,
        budgets.max_params.map(|n| format!("params {}", thousands(n))),
        budgets.max_macs.map(|n| format!("MACs {}", short(n))),
        budgets.max_weights.map(|n| format!("weights {}", bytes(n))),
        budgets.max_memory.map(|n| format!("memory {}", bytes(n))),
        budgets.max_latency_ms.map(|ms| format!("latency {ms} ms")),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{MAPPING, options, subject};
    use crate::plan::{Freedom, plan};

    #[test]
    fn plans_stand_side_by_side() {
        let budgets = |max_params| Budgets { max_params: Some(max_params), ..Budgets::default() };
        let made = |most| plan(&MAPPING, &subject(), &options(8), &budgets(most)).unwrap();
        let comparison = compare(&[("small".into(), made(9000)), ("large.json".into(), made(100_000))]);
        let table = comparison.table();
        let line = |start: &str| table.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{table}"));
        assert!(line("asked for").contains("params 9,000") && line("asked for").contains("params 100,000"));
        assert_eq!(line("channels of enc0").split_whitespace().count(), 5);
        assert!(line("predicted retention").matches(" to ").count() == 2, "{table}");
        assert_eq!(Freedom::default().divisor, 1);
    }
}
