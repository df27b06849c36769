//! The table of layers.

use serde::Serialize;

use super::words::family;
use crate::cost::layer_costs;
use crate::error::Result;
use crate::network::NetworkSpec;
use crate::numbers::{short, thousands};

#[derive(Clone, Debug, Serialize)]
pub(super) struct Layers {
    words: String,
    rows: Vec<LayerRow>,
}

#[derive(Clone, Debug, Serialize)]
struct LayerRow {
    name: String,
    op: String,
    channels: usize,
    size: String,
    params: String,
    macs: String,
}

/// Every layer of the deployed network for images of `size` x `size` pixels.
///
/// # Errors
/// When the network does not fit together at this size.
pub(super) fn layers(spec: &NetworkSpec, size: usize) -> Result<Layers> {
    let spec = spec.without_auxiliary();
    let rows: Vec<LayerRow> = layer_costs(&spec, size)?
        .into_iter()
        .map(|l| LayerRow {
            name: l.name,
            op: l.op,
            channels: l.channels,
            size: format!("{} x {}", l.height, l.width),
            params: if l.params == 0 { String::new() } else { thousands(l.params) },
            macs: if l.macs == 0 { String::new() } else { short(l.macs) },
        })
        .collect();
    let words = format!("{} layers of the {} for images of {size} x {size} pixels", rows.len(), family(&spec.family));
    Ok(Layers { words, rows })
}
