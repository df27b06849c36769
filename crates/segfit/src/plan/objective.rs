//! [`Objective`]: what the best network is best at.

use serde::{Deserialize, Serialize};

use super::budget::{Budgets, Limit, option};
use crate::error::Result;

/// What is made as small (or, for accuracy, as large) as the budgets allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Fewest trained values.
    Params,
    /// Fewest multiply-accumulates.
    Macs,
    /// Fewest milliseconds for one image.
    Latency,
    /// Fewest bytes of activations and weights at inference.
    Memory,
    /// Largest predicted retention.
    Accuracy,
}

impl Objective {
    /// What is sought when the user does not say: fewest parameters when a share is to be kept, otherwise accuracy.
    #[must_use]
    pub fn of(budgets: &Budgets) -> Self {
        if budgets.keep.is_some() { Self::Params } else { Self::Accuracy }
    }

    /// Its name, as users type it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Macs => "macs",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Accuracy => "accuracy",
        }
    }

    /// In words, for a plan.
    pub(super) fn in_words(self, budgets: &Budgets) -> String {
        let aim = match self {
            Self::Accuracy => return "most accurate within the budgets, fewest parameters on a tie".into(),
            Self::Params => "fewest parameters",
            Self::Macs => "fewest multiply-accumulates",
            Self::Latency => "least time per image",
            Self::Memory => "least memory",
        };
        let others = if budgets.given().len() > 1 { " and meet the budgets" } else { "" };
        format!("{aim} that keep the share{others}")
    }

    /// Whether `limit` bounds the same quantity.
    pub(super) fn relaxing(limit: Limit) -> Self {
        match limit {
            Limit::Keep => Self::Accuracy,
            Limit::Params | Limit::Weights => Self::Params,
            Limit::Macs => Self::Macs,
            Limit::Memory => Self::Memory,
            Limit::Latency => Self::Latency,
        }
    }

    /// A cost alone is smallest for the smallest of all networks: it needs a share to keep.
    pub(super) fn check(self, budgets: &Budgets) -> Result<()> {
        if self != Self::Accuracy && budgets.keep.is_none() {
            let expected = "accuracy, or --keep to say what the cheapest network must keep";
            return Err(option("--objective", expected, self.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_alone_is_no_objective() {
        let error = Objective::Macs.check(&Budgets { max_params: Some(9), ..Budgets::default() }).unwrap_err();
        assert!(error.to_string().contains("--objective") && error.to_string().contains("--keep"), "{error}");
        let keep = Budgets { keep: Some(0.9), ..Budgets::default() };
        assert!(Objective::Macs.check(&keep).is_ok() && Objective::of(&keep) == Objective::Params);
        assert_eq!(Objective::Params.in_words(&keep), "fewest parameters that keep the share");
    }
}
