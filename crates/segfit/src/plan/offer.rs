//! [`Offer`]: a network with everything that budgets are about.

use serde::{Deserialize, Serialize};

use crate::predict::SizeRow;

/// Exact costs and the prediction of one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Costs that need no options, and the prediction.
    #[serde(flatten)]
    pub row: SizeRow,
    /// Bytes of the stored weights, at the precision of the budgets.
    #[serde(default)]
    pub weight_bytes: u64,
    /// Milliseconds for one image, where latency was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}
