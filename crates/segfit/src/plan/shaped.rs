//! Layer-wise shapes from two numbers: a slope over depth and a decoder-to-encoder ratio.

use super::budget::Budgets;
use crate::error::Result;
use crate::network::{Group, NetworkSpec, Widths, round_channels};
use crate::predict::{Mapping, NetworkOptions, Place, Side, SizeRow, Subject, places};

/// Octaves per level by which channels grow slower (or faster) towards the bottom than doubling.
const SLOPES: [f64; 4] = [-0.5, -0.25, 0.0, 0.25];

/// Octaves by which the decoder is narrower than the encoder.
const RATIOS: [f64; 3] = [-1.0, -0.5, 0.0];

/// The best shaped network that meets the budgets, needs no more parameters than the uniform choice, and is predicted to
/// keep more than it by more than half the width of its own interval; `None` when there is none.
///
/// Costs and predicted retention rise with the width, so that for each shape the widest that still fits is the best.
/// A mapping that was calibrated on uniform networks only knows little about shapes: its intervals are then widened, and
/// a shape is rarely worth it.
pub(super) fn better_shape(
    mapping: &Mapping,
    subject: &Subject,
    options: &NetworkOptions,
    budgets: &Budgets,
    uniform: &SizeRow,
) -> Result<Option<NetworkSpec>> {
    let full = options.network(options.full_width, uniform.depth)?;
    let found = places(&full)?;
    let limits = Budgets { keep: None, max_params: Some(uniform.params), ..*budgets };
    let mut best: Option<(f64, NetworkSpec)> = None;
    for (slope, ratio) in SLOPES.iter().flat_map(|&s| RATIOS.map(|r| (s, r))).filter(|&shape| shape != (0.0, 0.0)) {
        let of_width = |width: usize| -> Result<(SizeRow, NetworkSpec)> {
            let spec = shaped(&full, &found, width, slope, ratio)?;
            Ok((SizeRow::of(mapping, subject, &spec, options.size)?.0, spec))
        };
        let Some((row, spec)) = widest(options.full_width, &limits, of_width)? else { continue };
        let error = 0.5 * (row.retention.high - row.retention.low);
        let gain = row.retention.mean - uniform.retention.mean;
        let allowed = row.params <= uniform.params && budgets.missed(&row).is_empty();
        if allowed && gain > error && best.as_ref().is_none_or(|(most, _)| gain > *most) {
            best = Some((gain, spec));
        }
    }
    Ok(best.map(|(_, spec)| spec))
}

/// The largest width of 1 to `most` that meets the limits, by bisection.
fn widest(
    most: usize,
    limits: &Budgets,
    of_width: impl Fn(usize) -> Result<(SizeRow, NetworkSpec)>,
) -> Result<Option<(SizeRow, NetworkSpec)>> {
    let mut found = None;
    let (mut low, mut high) = (1, most);
    while low <= high {
        let middle = usize::midpoint(low, high);
        let candidate = of_width(middle)?;
        if limits.missed(&candidate.0).is_empty() {
            found = Some(candidate);
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    Ok(found)
}

/// `full` narrowed to base width `width`, with 2^(slope (scale - depth / 2)) times as many channels in the encoder and 2^ratio
/// times that in the decoder, rounded to what the network accepts, at least 1 and at most those of `full`; `found` are the places
/// of its groups. Its base width is `width`, which the recipe's learning rate follows.
fn shaped(full: &NetworkSpec, found: &[Option<Place>], width: usize, slope: f64, ratio: f64) -> Result<NetworkSpec> {
    let middle = full.depth as f64 / 2.0;
    let channels = |place: Place, group: &Group, multiple: usize| {
        let uniform = group.channels as f64 * width as f64 / full.base_width as f64;
        let decoder = if place.side == Side::Decoder { ratio } else { 0.0 };
        let exact = uniform * (slope * (place.scale as f64 - middle) + decoder).exp2();
        round_channels(exact, multiple).min(group.channels)
    };
    let groups = full.groups.iter().zip(found).zip(full.channel_multiples()?);
    let widths: Widths = groups
        .filter_map(|((group, place), multiple)| place.map(|p| (group.name.clone(), channels(p, group, multiple))))
        .collect();
    Ok(NetworkSpec { base_width: width, ..full.with_widths(&widths)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, measures, records};
    use crate::predict::{DatasetId, SizeFeatures};

    fn options() -> NetworkOptions {
        NetworkOptions { family: "unet".into(), in_channels: 1, classes: 2, full_width: 16, depth: 4, size: 128 }
    }

    #[test]
    fn slope_and_ratio_can_be_read_back_from_the_channels() {
        let full = options().network(64, 4).unwrap();
        let found = places(&full).unwrap();
        let spec = shaped(&full, &found, 16, -0.5, -1.0).unwrap();
        let channels = |name: &str| spec.group(name).unwrap().channels;
        assert_eq!(
            (channels("enc0"), channels("enc2"), channels("enc4")),
            (32, 64, 128),
            "half an octave less per level"
        );
        assert_eq!(channels("dec2"), 32, "half of the encoder");
        let features = SizeFeatures::of(&spec).unwrap();
        assert!((features.decoder_ratio + 1.0).abs() < 0.05, "{}", features.decoder_ratio);
        let uniform = shaped(&full, &found, 16, 0.0, 0.0).unwrap();
        assert_eq!(uniform.widths(), options().network(16, 4).unwrap().widths());
    }

    #[test]
    fn a_shape_is_left_alone_unless_its_gain_exceeds_its_error() {
        let subject = |fingerprint: &str| Subject {
            dataset: DatasetId { name: "cells".into(), fingerprint: fingerprint.into() },
            measures: measures(0.0),
            constant_dice: 0.4,
        };
        let row = |mapping: &Mapping, width| {
            SizeRow::of(mapping, &subject("f"), &options().network(width, 4).unwrap(), 128).unwrap().0
        };
        // Noisy records: intervals far wider than any gain.
        let noisy = Mapping::fit(&records(&World { sets: 5, noise: 0.05, ..World::default() })).unwrap();
        let none = better_shape(&noisy, &subject("f"), &options(), &Budgets::default(), &row(&noisy, 2)).unwrap();
        assert!(none.is_none());
        // Records without any scatter of uniform networks only: what a shape does is still unknown.
        let sure = Mapping::fit(&records(&World { sets: 5, ..World::default() })).unwrap();
        for width in [2, 4, 8] {
            let uniform = row(&sure, width);
            let found = better_shape(&sure, &subject("f"), &options(), &Budgets::default(), &uniform).unwrap();
            assert_eq!(found.map(|s| s.widths()), None, "width {width}");
        }
        // Shapes were calibrated, without scatter: more effective width for no more weights is taken.
        let shaped = Mapping::fit(&records(&World { sets: 5, shapes: true, ..World::default() })).unwrap();
        let uniform = row(&shaped, 2);
        let spec = better_shape(&shaped, &subject("f"), &options(), &Budgets::default(), &uniform).unwrap().unwrap();
        let (shape, prediction) = SizeRow::of(&shaped, &subject("f"), &spec, 128).unwrap();
        assert!(!prediction.extrapolated, "{:?}", prediction.reasons);
        assert!(shape.params <= uniform.params && shape.retention.mean > uniform.retention.mean);
    }
}
