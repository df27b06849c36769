//! The size of a network in numbers that do not depend on its family: channels and work per scale and side.

use serde::{Deserialize, Serialize};

use crate::cost::layer_macs;
use crate::error::Result;
use crate::network::{GroupKind, NetworkSpec, Op, Shapes};

/// The part of a network before or after its first upsampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// No upsampling comes before it; the bottom of a U-Net belongs here.
    Encoder,
    /// Behind an upsampling.
    Decoder,
}

/// Where a convolution stands: at 2^-`scale` of the input's resolution, on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of halvings of the input.
    pub scale: usize,
    /// Encoder or decoder.
    pub side: Side,
}

/// All convolutions of one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Which place.
    pub place: Place,
    /// Mean over the convolutions of log2(channels) - scale. A U-Net that doubles its channels per level from base width
    /// w has log2 w everywhere.
    pub log2_width: f64,
    /// Share of the network's multiply-accumulates, 0 to 1.
    pub macs_share: f64,
}

/// The size of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeFeatures {
    /// One cell for every place that has a convolution with free channels.
    pub cells: Vec<Cell>,
    /// The effective log2 width u: the mean of the cells' `log2_width`, every cell with the same weight. Uniform U-Nets
    /// of base width w have exactly log2 w; u rises with every width.
    pub log2_width: f64,
    /// log2 of the number of trained parameters.
    pub log2_params: f64,
    /// Largest scale.
    pub depth: usize,
    /// Least-squares slope of the cells' `log2_width` over scale; 0 for a uniform network.
    pub slope: f64,
    /// Mean `log2_width` of the decoder minus that of the encoder over the scales that both have; 0 for a uniform network.
    pub decoder_ratio: f64,
}

impl SizeFeatures {
    /// The features of `spec`, from shape inference; they do not depend on the input size.
    ///
    /// # Errors
    /// When the network does not fit together or has no free convolution.
    pub fn of(spec: &NetworkSpec) -> Result<Self> {
        let shapes = spec.smallest_shapes()?;
        let macs = layer_macs(spec, shapes.tensors.first().map_or(1, |t| t.height))?;
        let total = macs.iter().sum::<u64>().max(1) as f64;
        let mut sums: std::collections::BTreeMap<Place, (f64, f64, u64)> = std::collections::BTreeMap::new();
        for (i, place) in layer_places(spec, &shapes).into_iter().enumerate() {
            let Some(place) = place else { continue };
            let cell = sums.entry(place).or_default();
            cell.0 += (shapes.tensors[i].channels as f64 / (1_u64 << place.scale) as f64).log2();
            cell.1 += 1.0;
            cell.2 += macs[i];
        }
        let cells: Vec<Cell> = sums
            .into_iter()
            .map(|(place, (sum, count, macs))| Cell { place, log2_width: sum / count, macs_share: macs as f64 / total })
            .collect();
        if cells.is_empty() {
            let reason = "no convolution of the network has free channels".into();
            return Err(crate::Error::Network { layer: spec.output.clone(), reason });
        }
        Ok(Self::from_cells(cells, crate::cost::parameters(spec)?))
    }

    /// What follows from the cells and the number of trained parameters.
    pub(crate) fn from_cells(cells: Vec<Cell>, params: u64) -> Self {
        Self {
            log2_width: mean(cells.iter().map(|c| c.log2_width)),
            log2_params: (params.max(1) as f64).log2(),
            depth: cells.iter().map(|c| c.place.scale).max().unwrap_or(0),
            slope: slope(&cells),
            decoder_ratio: decoder_ratio(&cells),
            cells,
        }
    }

    /// Whether all convolutions have the same channels (a lean network: channels do not grow with depth).
    #[must_use]
    pub fn is_flat(&self) -> bool {
        let log2_channels = |c: &Cell| c.log2_width + c.place.scale as f64;
        let first = self.cells.first().map_or(0.0, log2_channels);
        self.depth > 0 && self.cells.iter().all(|c| (log2_channels(c) - first).abs() < 1e-9)
    }
}

/// Place of every channel group, in the order of [`NetworkSpec::groups`]: that of the first convolution that makes it;
/// `None` for fixed and derived groups.
///
/// # Errors
/// When the network does not fit together.
pub fn places(spec: &NetworkSpec) -> Result<Vec<Option<Place>>> {
    let shapes = spec.smallest_shapes()?;
    let mut found = vec![None; spec.groups.len()];
    for (i, place) in layer_places(spec, &shapes).into_iter().enumerate() {
        if let (Some(place), Some(segment)) = (place, shapes.tensors[i].segments.first()) {
            found[segment.group].get_or_insert(place);
        }
    }
    Ok(found)
}

/// Place of every layer that is a convolution with free output channels.
pub(crate) fn layer_places(spec: &NetworkSpec, shapes: &Shapes) -> Vec<Option<Place>> {
    let top = shapes.tensors.first().map_or(1, |t| t.height);
    let mut decoder = vec![false; spec.layers.len()];
    let mut found = Vec::with_capacity(spec.layers.len());
    for (i, layer) in spec.layers.iter().enumerate() {
        let (group, upsamples) = match &layer.op {
            Op::Conv2d { group, .. } => (Some(group), false),
            Op::ConvTranspose2d { group, .. } => (Some(group), true),
            Op::Upsample { .. } => (None, true),
            _ => (None, false),
        };
        decoder[i] = upsamples || shapes.inputs[i].iter().any(|&j| decoder[j]);
        let free = group.and_then(|g| spec.group(g)).is_some_and(|g| g.kind == GroupKind::Free);
        found.push(free.then(|| Place {
            scale: (top / shapes.tensors[i].height.max(1)).max(1).ilog2() as usize,
            side: if decoder[i] { Side::Decoder } else { Side::Encoder },
        }));
    }
    found
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}

fn slope(cells: &[Cell]) -> f64 {
    let x = mean(cells.iter().map(|c| c.place.scale as f64));
    let y = mean(cells.iter().map(|c| c.log2_width));
    let xx: f64 = cells.iter().map(|c| (c.place.scale as f64 - x).powi(2)).sum();
    let xy: f64 = cells.iter().map(|c| (c.place.scale as f64 - x) * (c.log2_width - y)).sum();
    if xx == 0.0 { 0.0 } else { xy / xx }
}

fn decoder_ratio(cells: &[Cell]) -> f64 {
    let width = |scale, side| cells.iter().find(|c| c.place == Place { scale, side }).map(|c| c.log2_width);
    let pairs = cells.iter().filter(|c| c.place.side == Side::Decoder);
    mean(pairs.filter_map(|c| Some(c.log2_width - width(c.place.scale, Side::Encoder)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{self, unet};
    use proptest::prelude::*;

    fn net(base_width: usize, depth: usize) -> NetworkSpec {
        unet(&families::Options { in_channels: 3, classes: 2, base_width, depth, ..families::Options::default() })
            .unwrap()
    }

    #[test]
    fn a_uniform_unet_has_the_log2_of_its_base_width_at_every_place() {
        for (width, depth) in [(1, 4), (2, 1), (16, 4), (12, 3), (64, 2)] {
            let features = SizeFeatures::of(&net(width, depth)).unwrap();
            assert_eq!(features.depth, depth);
            assert_eq!(features.cells.len(), 2 * depth + 1, "one per level and side, the bottom once");
            assert!((features.log2_width - (width as f64).log2()).abs() < 1e-12);
            assert!(features.slope.abs() < 1e-12 && features.decoder_ratio.abs() < 1e-12);
            let work: f64 = features.cells.iter().map(|c| c.macs_share).sum();
            assert!(work > 0.9 && work <= 1.0, "the rest is the head: {work}");
        }
    }

    #[test]
    fn a_network_with_equal_channels_everywhere_is_flat_and_not_uniform() {
        let uniform = net(4, 2);
        let equal = uniform.widths().into_keys().map(|name| (name, 4)).collect();
        let flat = SizeFeatures::of(&uniform.with_widths(&equal).unwrap()).unwrap();
        assert!(flat.is_flat());
        let uniform = SizeFeatures::of(&uniform).unwrap();
        assert!(!uniform.is_flat());
        assert!(flat.log2_params < uniform.log2_params);
    }

    #[test]
    fn halving_the_only_decoder_level_lowers_the_ratio_by_one_octave() {
        // Depth 1: cells encoder 0, encoder 1, decoder 0. Halving up0 and dec0 takes one octave from one of three cells.
        let features =
            SizeFeatures::of(&net(8, 1).with_widths(&[("up0".into(), 4), ("dec0".into(), 4)].into()).unwrap());
        let features = features.unwrap();
        assert!((features.decoder_ratio + 1.0).abs() < 1e-12);
        assert!((features.log2_width - (3.0 - 1.0 / 3.0)).abs() < 1e-12);
    }

    #[test]
    fn every_family_has_a_decoder_and_its_free_groups_have_places() {
        for family in families::FAMILIES {
            let spec = family.build(&families::Options { base_width: 12, ..family.options(3, 2) }).unwrap();
            let features = SizeFeatures::of(&spec).unwrap();
            assert!(features.cells.iter().any(|c| c.place.side == Side::Decoder), "{}", family.name);
            assert_eq!(features.depth, family.depth, "{}", family.name);
            let placed = places(&spec).unwrap();
            let free = |i: usize| spec.groups[i].kind == GroupKind::Free;
            assert!((0..placed.len()).all(|i| placed[i].is_some() == free(i)), "{}", family.name);
        }
    }

    #[test]
    fn groups_are_placed_by_scale_and_side() {
        let spec = net(4, 2);
        let found = places(&spec).unwrap();
        let place = |name: &str| found[spec.groups.iter().position(|g| g.name == name).unwrap()];
        assert_eq!(place("enc2"), Some(Place { scale: 2, side: Side::Encoder }));
        assert_eq!(place("up1"), Some(Place { scale: 1, side: Side::Decoder }));
        assert_eq!(place("classes"), None);
    }

    proptest! {
        #[test]
        fn the_effective_width_rises_with_every_width(width in 2_usize..12, depth in 1_usize..5, pick in 0_usize..50) {
            let full = net(width, depth);
            let widths: Vec<_> = full.widths().into_iter().collect();
            let (name, channels) = widths[pick % widths.len()].clone();
            let less = full.with_widths(&[(name, channels - 1)].into()).unwrap();
            prop_assert!(SizeFeatures::of(&less).unwrap().log2_width < SizeFeatures::of(&full).unwrap().log2_width);
        }
    }
}
