//! Narrowing: new numbers for the free groups; everything else follows.

use std::collections::BTreeMap;

use super::spec::{GroupKind, NetworkSpec, Op};
use crate::error::{Error, Result};

/// Channels by group name.
pub type Widths = BTreeMap<String, usize>;

impl NetworkSpec {
    /// Channels of the free groups.
    #[must_use]
    pub fn widths(&self) -> Widths {
        self.groups.iter().filter(|g| g.kind == GroupKind::Free).map(|g| (g.name.clone(), g.channels)).collect()
    }

    /// The same network with the given numbers of channels; groups not named keep theirs.
    ///
    /// # Errors
    /// [`Error::Network`] for a name that is not a free group or a number that the group cannot have.
    pub fn with_widths(&self, widths: &Widths) -> Result<Self> {
        let mut narrowed = self.clone();
        for (name, &channels) in widths {
            let group = narrowed.groups.iter_mut().find(|g| g.name == *name && g.kind == GroupKind::Free);
            let Some(group) = group else {
                return Err(Error::Network { layer: name.clone(), reason: "is not a free channel group".into() });
            };
            group.channels = channels;
        }
        for i in 0..narrowed.groups.len() {
            if narrowed.groups[i].kind == GroupKind::Derived {
                narrowed.groups[i].channels = narrowed.derived_channels(&narrowed.groups[i])?;
            }
        }
        narrowed.validate()?;
        Ok(narrowed)
    }

    /// The same network with every free group multiplied by `factor`, rounded to the nearest allowed number, at least
    /// one: the width multiplier of MobileNet (Howard et al. 2017) and of CC-Net.
    ///
    /// # Errors
    /// As [`Self::with_widths`].
    pub fn with_multiplier(&self, factor: f64) -> Result<Self> {
        let multiples = self.channel_multiples()?;
        let widths = self
            .groups
            .iter()
            .zip(multiples)
            .filter(|(g, _)| g.kind == GroupKind::Free)
            .map(|(g, multiple)| (g.name.clone(), round_channels(g.channels as f64 * factor, multiple)))
            .collect();
        self.with_widths(&widths)
    }

    /// For each group, a number whose multiples every layer accepts: `divisible_by` and the parts of the grouped
    /// convolutions and norms that read or make its channels.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub fn channel_multiples(&self) -> Result<Vec<usize>> {
        let shapes = self.smallest_shapes()?;
        let mut multiples: Vec<usize> = self.groups.iter().map(|g| g.divisible_by).collect();
        for (i, layer) in self.layers.iter().enumerate() {
            let (Op::Conv2d { groups, .. } | Op::GroupNorm { groups, .. }) = layer.op else { continue };
            let tensors = shapes.inputs[i].iter().copied().chain([i]);
            for segment in tensors.flat_map(|t| &shapes.tensors[t].segments) {
                let needed = groups / greatest_common_divisor(groups, segment.multiple);
                let multiple = &mut multiples[segment.group];
                *multiple *= needed / greatest_common_divisor(*multiple, needed);
            }
        }
        Ok(multiples)
    }
}

pub(super) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Nearest positive multiple of `divisor`.
pub(crate) fn round_channels(channels: f64, divisor: usize) -> usize {
    let steps = (channels / divisor as f64).round().max(1.0);
    steps as usize * divisor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_to_the_nearest_multiple_and_never_to_zero() {
        assert_eq!(round_channels(2.6, 1), 3);
        assert_eq!(round_channels(0.1, 1), 1);
        assert_eq!(round_channels(11.0, 8), 8);
        assert_eq!(round_channels(12.1, 8), 16);
    }
}
