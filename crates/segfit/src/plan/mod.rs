//! From budgets to a network: the smallest that keeps enough accuracy, or the most accurate that fits.

mod budget;
mod infeasible;
mod search;
mod shaped;
mod text;

pub use budget::{Bound, Budgets, parse_bytes, parse_count, parse_share};
pub use search::plan;

use serde::{Deserialize, Serialize};

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
    /// Sizes that no other one of the table beats in parameters, work, memory and predicted retention at once; the smallest
    /// first, the chosen one among them.
    pub alternatives: Vec<SizeRow>,
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
    /// Predicted share of the reference network's Dice.
    pub retention: Interval,
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
