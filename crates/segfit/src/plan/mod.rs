//! From budgets to a network: the smallest that keeps enough accuracy, or the most accurate that fits.
//!
//! [`Space`] holds the networks; `lines` are their shapes over all widths; `best` finds the best of a line by bisection, `search`
//! the best of all, `exchange` improves single groups; `judge` knows what each costs and keeps. `front`, `explain` and
//! `infeasible` say what else could be had, why, and what could not.

mod best;
mod budget;
mod compare;
mod exchange;
mod explain;
mod forms;
mod front;
mod infeasible;
mod judge;
mod ladder;
mod lines;
mod objective;
mod offer;
mod parse;
mod read;
mod request;
mod search;
mod space;
#[cfg(test)]
mod tests;
mod text;
mod weights;

pub use budget::{Bound, Budgets};
pub use compare::{COMPARISON_FORMAT, Compared, Comparison, compare};
pub use explain::{Explanation, GroupReason, LevelReason};
pub use front::{Front, FrontPoint};
pub use judge::Latency;
pub use ladder::{LADDER_FORMAT, Ladder, LimitOption, Rung};
pub use objective::Objective;
pub use offer::Offer;
pub use parse::{parse_bytes, parse_count, parse_milliseconds, parse_share};
pub use request::{Request, plan};
pub use space::{Freedom, Space};
pub use weights::{Precision, weight_bytes};

use serde::{Deserialize, Serialize};

use crate::cost::latency::Conditions;
use crate::network::NetworkSpec;
use crate::predict::{DatasetId, Interval, Prediction, SizeRow};
use crate::recipe::InputSpec;

/// `format` of plan files.
pub const PLAN_FORMAT: &str = "segfit-plan/1";

/// A chosen network with everything that led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: String,
    /// Version of segfit.
    pub version: String,
    /// The data set that it is for.
    pub dataset: DatasetId,
    /// How images become the network's input, where the caller said so; training takes it from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputSpec>,
    /// How the time of the chosen network is known, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<PlannedLatency>,
    /// Which mapping predicted.
    pub mapping: String,
    /// The chosen network's cost.
    pub network: PlannedNetwork,
    /// The full network's cost.
    pub full: PlannedNetwork,
    /// What to expect of the chosen network.
    pub predicted: Prediction,
    /// What retention compares with, in words.
    pub reference: String,
    /// Why this network, in words.
    pub choice: Vec<String>,
    /// Channels of every free group.
    pub widths: Vec<GroupWidth>,
    /// What was asked for.
    pub budgets: Budgets,
    /// What was made as small, or as accurate, as the budgets allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Networks of the front of accuracy against parameters, and the chosen one; the smallest first.
    pub alternatives: Vec<SizeRow>,
    /// The most accurate network at every cost.
    #[serde(default)]
    pub fronts: Vec<Front>,
    /// Why every group has its width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// The chosen network.
    pub spec: NetworkSpec,
}

/// Cost of a network of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedNetwork {
    /// Family.
    pub family: String,
    /// Channels at full resolution of the uniform network.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
    /// Rows and columns of the input.
    pub size: usize,
    /// Trained values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Bytes of the activations at inference, batch 1.
    pub peak_activation_bytes: u64,
    /// Bytes of activations and weights at inference, batch 1.
    pub memory_bytes: u64,
    /// Bytes of the stored weights, at the precision of the budgets; 0 in plans of earlier versions.
    #[serde(default)]
    pub weight_bytes: u64,
    /// Milliseconds for one image at most, where a latency table was given: limits are compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Predicted share of the reference network's Dice.
    pub retention: Interval,
}

/// The predicted time of a planned network, and where it was measured what predicts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedLatency {
    /// Milliseconds for one image, as predicted. [`PlannedNetwork::latency_ms`] is longer by `late`.
    pub predicted_ms: f64,
    /// How much longer a network may take than predicted, as a share: what 19 of 20 networks do not exceed.
    pub late: f64,
    /// The device and how it was used.
    #[serde(flatten)]
    pub measured: Conditions,
}

/// Channels of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupWidth {
    /// Name of the group.
    pub group: String,
    /// Channels in the full network.
    pub full: usize,
    /// Channels in the chosen network; groups of levels that it does not have are not listed.
    pub channels: usize,
    /// `channels / full`.
    pub multiplier: f64,
}
