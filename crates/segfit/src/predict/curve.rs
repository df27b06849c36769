//! [`Curve`]: the accuracy to expect at every width, as a table.

use serde::{Deserialize, Serialize};

use super::Measures;
use super::interval::Interval;
use super::mapping::{Mapping, Prediction};
use super::record::DatasetId;
use super::table::{align, interval};
use crate::cost::Cost;
use crate::error::Result;
use crate::network::families::{self, build};
use crate::network::{NetworkSpec, Widths};
use crate::numbers::{bytes, short, thousands};

/// `format` of curve files.
pub const CURVE_FORMAT: &str = "segfit-curve/1";

/// The data set that a prediction is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Name and content.
    pub dataset: DatasetId,
    /// Means of its complexity measures over the training images.
    pub measures: Measures,
    /// Dice of the best constant mask on the training masks.
    pub constant_dice: f64,
}

/// The networks that a prediction or plan is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOptions {
    /// Family, for example `unet`.
    pub family: String,
    /// Channels of the image.
    pub in_channels: usize,
    /// Classes including background.
    pub classes: usize,
    /// Base width of the full network.
    pub full_width: usize,
    /// Depth of the full network.
    pub depth: usize,
    /// Rows and columns of the input.
    pub size: usize,
}

impl NetworkOptions {
    /// The uniform network of this family with another base width and depth.
    ///
    /// # Errors
    /// As [`build`].
    pub fn network(&self, base_width: usize, depth: usize) -> Result<NetworkSpec> {
        let (in_channels, classes) = (self.in_channels, self.classes);
        build(
            &self.family,
            &families::Options { in_channels, classes, base_width, depth, ..families::Options::default() },
        )
    }

    /// 1, 2, 3, 4, 6, 8, 12, ... up to the full width, and the full width itself.
    #[must_use]
    pub fn ladder(&self) -> Vec<usize> {
        let rungs = (0..11).flat_map(|k| [1 << k, 3 << k]).filter(|&w| w < self.full_width);
        let mut widths: Vec<usize> = rungs.chain([self.full_width]).collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    }
}

/// One size of a network: what it costs and what to expect of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeRow {
    /// Channels of every free group.
    pub widths: Widths,
    /// Channels at full resolution of the uniform network.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
    /// Trained values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Bytes of the activations at inference, batch 1.
    pub peak_activation_bytes: u64,
    /// Bytes of activations and weights at inference, batch 1.
    pub memory_bytes: u64,
    /// Predicted mean test Dice.
    pub dice: Interval,
    /// Predicted share of the reference network's Dice.
    pub retention: Interval,
    /// Whether this lies outside of what was calibrated.
    pub extrapolated: bool,
}

impl SizeRow {
    /// Cost and prediction of `network`.
    ///
    /// # Errors
    /// As [`Mapping::predict`].
    pub fn of(mapping: &Mapping, subject: &Subject, network: &NetworkSpec, size: usize) -> Result<(Self, Prediction)> {
        let cost = Cost::of(network, size)?;
        let prediction = mapping.predict(&subject.measures, subject.constant_dice, network, size)?;
        let row = Self {
            widths: network.widths(),
            base_width: network.base_width,
            depth: network.depth,
            params: cost.params,
            macs: cost.macs,
            peak_activation_bytes: cost.peak_activation_bytes,
            memory_bytes: cost.memory_bytes(),
            dice: prediction.dice,
            retention: prediction.retention,
            extrapolated: prediction.extrapolated,
        };
        Ok((row, prediction))
    }
}

/// Predicted accuracy over size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// [`CURVE_FORMAT`].
    pub format: String,
    /// Version of segfit.
    pub version: String,
    /// The data set.
    pub dataset: DatasetId,
    /// Which mapping predicted.
    pub mapping: String,
    /// Family.
    pub family: String,
    /// Rows and columns of the input.
    pub size: usize,
    /// What retention compares with, in words.
    pub reference: String,
    /// The full network.
    pub full: SizeRow,
    /// The sizes, by depth (the full one first), then width, the widest first.
    pub sizes: Vec<SizeRow>,
    /// Why predictions are extrapolated, over all sizes.
    pub reasons: Vec<String>,
}

/// The curve over [`NetworkOptions::ladder`], for the full depth and the calibrated smaller ones.
///
/// # Errors
/// As [`Mapping::predict`] and [`build`].
pub fn curve(mapping: &Mapping, subject: &Subject, options: &NetworkOptions) -> Result<Curve> {
    let row = |width, depth| SizeRow::of(mapping, subject, &options.network(width, depth)?, options.size);
    let shallower = (1..options.depth).rev().filter(|&d| mapping.is_calibrated_depth(d));
    let mut sizes = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for depth in std::iter::once(options.depth).chain(shallower) {
        for width in options.ladder().into_iter().rev() {
            let (size, prediction) = row(width, depth)?;
            sizes.push(size);
            reasons.extend(prediction.reasons.into_iter().filter(|r| !reasons.contains(r)).collect::<Vec<_>>());
        }
    }
    Ok(Curve {
        format: CURVE_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        dataset: subject.dataset.clone(),
        mapping: mapping.id.clone(),
        family: options.family.clone(),
        size: options.size,
        reference: reference_in_words(mapping),
        full: row(options.full_width, options.depth)?.0,
        sizes,
        reasons,
    })
}

/// What retention compares with.
pub(crate) fn reference_in_words(mapping: &Mapping) -> String {
    let on = &mapping.calibrated_on;
    let (width, depth) = (on.reference.base_width, on.reference.depth);
    let family = on.families.join(", ");
    format!("retention is relative to {family} of base width {width} and depth {depth}, the largest network calibrated")
}

impl Curve {
    /// The curve as aligned text; `*` marks extrapolations.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{} on {}, input {2}x{2}\n\n", self.family, self.dataset.name, self.size);
        text.push_str(&align(&size_rows(&self.sizes, None)));
        text.push_str(&format!("\n{}\n", self.reference));
        if !self.reasons.is_empty() {
            text.push_str("* outside of what was calibrated:\n");
            self.reasons.iter().for_each(|r| text.push_str(&format!("  - {r}\n")));
        }
        text
    }
}

/// Rows of a table of sizes with a heading; `chosen` is marked.
pub(crate) fn size_rows(sizes: &[SizeRow], chosen: Option<&Widths>) -> Vec<Vec<String>> {
    let heading = ["width", "depth", "parameters", "MACs", "memory", "Dice (90%)", "retention (90%)", ""];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for size in sizes {
        let star = if size.extrapolated { "*" } else { "" };
        let mark = if chosen == Some(&size.widths) { "<- chosen" } else { "" };
        rows.push(vec![
            size.base_width.to_string(),
            size.depth.to_string(),
            thousands(size.params),
            short(size.macs),
            bytes(size.memory_bytes),
            interval(size.dice),
            interval(size.retention),
            format!("{star:<1} {mark}").trim_end().into(),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, measures, records};

    fn subject() -> Subject {
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        Subject { dataset, measures: measures(0.1), constant_dice: 0.4 }
    }

    fn options(full_width: usize) -> NetworkOptions {
        NetworkOptions { family: "unet".into(), in_channels: 3, classes: 2, full_width, depth: 4, size: 128 }
    }

    #[test]
    fn the_ladder_ends_at_the_full_width() {
        assert_eq!(options(16).ladder(), [1, 2, 3, 4, 6, 8, 12, 16]);
        assert_eq!(options(10).ladder(), [1, 2, 3, 4, 6, 8, 10]);
        assert_eq!(options(1).ladder(), [1]);
    }

    #[test]
    fn a_curve_has_the_keys_of_the_contract_and_rises_with_width() {
        let mapping = Mapping::fit(&records(&World { sets: 6, depths: &[4, 2], ..World::default() })).unwrap();
        let curve = curve(&mapping, &subject(), &options(32)).unwrap();
        assert_eq!(curve.sizes.len(), 20, "ten widths at two depths");
        for pair in curve.sizes[..10].windows(2) {
            assert!(pair[0].retention.mean >= pair[1].retention.mean && pair[0].params > pair[1].params);
        }
        assert!(curve.sizes[0].extrapolated && !curve.sizes[2].extrapolated);
        let json = serde_json::to_value(&curve).unwrap();
        for key in ["widths", "base_width", "depth", "params", "macs", "peak_activation_bytes", "extrapolated"] {
            assert!(json["sizes"][0].get(key).is_some() && json["full"].get(key).is_some(), "{key}");
        }
        assert!(json["sizes"][3]["dice"]["low"].is_f64() && json["sizes"][3]["retention"]["high"].is_f64());
        let table = curve.table();
        assert!(table.contains("31,") || table.contains("7,7"), "{table}");
        assert!(table.contains("* outside of what was calibrated"));
    }
}
