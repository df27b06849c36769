//! Bytes of the stored weights at a precision.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::network::{NetworkSpec, Op, Parameter, ParameterKind};

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Four bytes for every value.
    #[default]
    F32,
    /// Two bytes for every value.
    F16,
    /// One byte for every weight of a convolution; four for every other value and for one scale per output channel.
    Int8,
}

impl Precision {
    /// Its name, as users type it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// Bytes of each value of a parameter, and of each output channel of its layer beside.
    pub(super) fn bytes(self, kind: ParameterKind) -> (u64, u64) {
        match (self, kind) {
            (Self::F32, _) => (4, 0),
            (Self::F16, _) => (2, 0),
            (Self::Int8, ParameterKind::Weight) => (1, 4),
            (Self::Int8, _) => (4, 0),
        }
    }
}

/// Bytes of the deployed network's weights and running statistics: the values alone, without names and headers of a file.
///
/// # Errors
/// When the network does not fit together.
pub fn weight_bytes(spec: &NetworkSpec, precision: Precision) -> Result<u64> {
    let spec = spec.without_auxiliary();
    let bytes = |p: &Parameter| {
        let (each, channel) = precision.bytes(p.kind);
        let transposed = matches!(spec.layers[p.layer].op, Op::ConvTranspose2d { .. });
        let outputs = if transposed && p.kind == ParameterKind::Weight { p.shape[1] } else { p.shape[0] };
        p.len() as u64 * each + outputs as u64 * channel
    };
    Ok(spec.parameters()?.iter().map(bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::network::families::{Options, unet};

    #[test]
    fn the_smallest_unet_is_counted_by_hand() {
        // Depth 1, width 1: 138 trained values (see cost), of which convolutions have 9 + 9, 18 + 36, 8, 18 + 9, 2; channels of
        // norms 1 + 1, 2 + 2, 1, 1 + 1; output channels 1 + 1, 2 + 2, 1, 1 + 1, 2.
        let net = unet(&Options { in_channels: 1, base_width: 1, depth: 1, ..Options::default() }).unwrap();
        let (weights, trained, statistics, outputs) = (109, 138, 2 * 9, 11);
        assert_eq!(weight_bytes(&net, Precision::F32).unwrap(), 4 * (trained + statistics));
        assert_eq!(weight_bytes(&net, Precision::F16).unwrap(), 2 * (trained + statistics));
        let int8 = weights + 4 * (trained - weights + statistics) + 4 * outputs;
        assert_eq!(weight_bytes(&net, Precision::Int8).unwrap(), int8);
        assert_eq!(weight_bytes(&net, Precision::F32).unwrap(), Cost::of(&net, 16).unwrap().weight_bytes);
    }
}
