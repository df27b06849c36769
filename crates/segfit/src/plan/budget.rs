//! [`Budgets`]: what a network must keep and may cost.

use serde::{Deserialize, Serialize};

use super::offer::Offer;
use super::weights::Precision;
use crate::error::{Error, Result};
use crate::predict::{Interval, Mapping};

/// What of the predicted retention must reach the share to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The prediction itself.
    #[default]
    Mean,
    /// The prediction less a margin: with it, nine in ten such choices kept the share on data sets that had been left out
    /// ([`crate::predict::Mapping::keep_margin`]).
    Likely,
    /// The lower end of its 90% interval: the cautious choice.
    Low,
}

/// Limits that a network must respect; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budgets {
    /// Share of the reference network's Dice to keep, above 0 to 1.
    pub keep: Option<f64>,
    /// What is compared with `keep`.
    #[serde(default)]
    pub keep_bound: Bound,
    /// The margin of [`Bound::Likely`]; the planner fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_margin: Option<f64>,
    /// Most trained values.
    pub max_params: Option<u64>,
    /// Most multiply-accumulates for one image.
    pub max_macs: Option<u64>,
    /// Most bytes of the stored weights.
    #[serde(default)]
    pub max_weights: Option<u64>,
    /// How they are stored.
    #[serde(default)]
    pub precision: Precision,
    /// Most bytes of activations and weights at inference, batch 1.
    pub max_memory: Option<u64>,
    /// Most milliseconds for one image.
    #[serde(default)]
    pub max_latency_ms: Option<f64>,
}

/// One budget, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Keep,
    Params,
    Macs,
    Weights,
    Memory,
    Latency,
}

impl Budgets {
    /// The budgets that `offer` misses, each with the factor by which it misses (above 1), in a fixed order.
    pub(super) fn missed(&self, offer: &Offer) -> Vec<(Limit, f64)> {
        let over = |limit, have: u64, most: Option<u64>| {
            most.filter(|&most| have > most).map(|most| (limit, have as f64 / most.max(1) as f64))
        };
        let kept = self.kept(offer.row.retention);
        let keep = self.keep.filter(|&k| kept < k).map(|k| (Limit::Keep, k / kept.max(1e-6)));
        let late = |most: f64| {
            let have = offer.latency_ms.unwrap_or(f64::INFINITY);
            (have > most).then_some((Limit::Latency, have / most))
        };
        let all = [
            keep,
            over(Limit::Params, offer.row.params, self.max_params),
            over(Limit::Macs, offer.row.macs, self.max_macs),
            over(Limit::Weights, offer.weight_bytes, self.max_weights),
            over(Limit::Memory, offer.row.memory_bytes, self.max_memory),
            self.max_latency_ms.and_then(late),
        ];
        all.into_iter().flatten().collect()
    }

    /// What of a predicted retention is compared with `keep`.
    pub(super) fn kept(&self, retention: Interval) -> f64 {
        match self.keep_bound {
            Bound::Mean | Bound::Likely => self.kept_of_mean(retention.mean),
            Bound::Low => retention.low,
        }
    }

    /// The same where the lower end plays no part. What keeps everything needs no margin.
    pub(super) fn kept_of_mean(&self, mean: f64) -> f64 {
        if mean >= 1.0 { mean } else { mean - self.keep_margin.unwrap_or(0.0) }
    }

    /// The budgets with the margin that `mapping` asks for.
    pub(super) fn with_margin(self, mapping: &Mapping) -> Self {
        let likely = self.keep.filter(|_| self.keep_bound == Bound::Likely);
        Self { keep_margin: likely.map(|keep| mapping.keep_margin(keep)), ..self }
    }

    /// The same budgets without one of them.
    pub(super) fn without(&self, limit: Limit) -> Self {
        let mut rest = *self;
        match limit {
            Limit::Keep => rest.keep = None,
            Limit::Params => rest.max_params = None,
            Limit::Macs => rest.max_macs = None,
            Limit::Weights => rest.max_weights = None,
            Limit::Memory => rest.max_memory = None,
            Limit::Latency => rest.max_latency_ms = None,
        }
        rest
    }

    /// The budgets that were given, in the order of [`Self::missed`].
    pub(super) fn given(&self) -> Vec<Limit> {
        let all = [
            (Limit::Keep, self.keep.is_some()),
            (Limit::Params, self.max_params.is_some()),
            (Limit::Macs, self.max_macs.is_some()),
            (Limit::Weights, self.max_weights.is_some()),
            (Limit::Memory, self.max_memory.is_some()),
            (Limit::Latency, self.max_latency_ms.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(limit, _)| limit).collect()
    }

    /// Refuses shares outside of 0 to 1 and limits of zero.
    ///
    /// # Errors
    /// [`Error::Option`] naming the option.
    pub fn validate(&self) -> Result<()> {
        if let Some(keep) = self.keep.filter(|k| !(*k > 0.0 && *k <= 1.0)) {
            return Err(option("--keep", "a share above 0 to 1", &keep.to_string()));
        }
        if let Some(ms) = self.max_latency_ms.filter(|ms| !(*ms > 0.0 && ms.is_finite())) {
            return Err(option("--max-latency", "a time above 0", &ms.to_string()));
        }
        let limits = [
            ("--max-params", self.max_params),
            ("--max-macs", self.max_macs),
            ("--max-weights", self.max_weights),
            ("--max-memory", self.max_memory),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            Some((what, _)) => Err(option(what, "at least 1", "0")),
            None => Ok(()),
        }
    }
}

pub(super) fn option(what: &str, expected: &str, got: &str) -> Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_out_of_range_are_named() {
        let named = |budgets: Budgets, what: &str| {
            let error = budgets.validate().unwrap_err();
            assert!(error.to_string().starts_with(what), "{error}");
        };
        named(Budgets { keep: Some(1.2), ..Budgets::default() }, "--keep");
        named(Budgets { keep: Some(f64::NAN), ..Budgets::default() }, "--keep");
        named(Budgets { max_macs: Some(0), ..Budgets::default() }, "--max-macs");
        named(Budgets { max_weights: Some(0), ..Budgets::default() }, "--max-weights");
        named(Budgets { max_latency_ms: Some(0.0), ..Budgets::default() }, "--max-latency");
    }

    #[test]
    fn a_budget_taken_away_is_no_longer_given() {
        let budgets = Budgets { keep: Some(0.9), max_macs: Some(5), max_latency_ms: Some(1.0), ..Budgets::default() };
        assert_eq!(budgets.given(), [Limit::Keep, Limit::Macs, Limit::Latency]);
        for limit in budgets.given() {
            assert!(!budgets.without(limit).given().contains(&limit));
            assert_eq!(budgets.without(limit).given().len(), 2);
        }
    }
}
