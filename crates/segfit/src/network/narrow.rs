//! Narrowing: new numbers for the free groups; everything else follows.

use std::collections::BTreeMap;

use super::spec::{GroupKind, NetworkSpec, Op};
use crate::error::{Error, Result};

/// Channels by group name.
pub type Widths = BTreeMap<String, usize>;

/// What [`NetworkSpec::narrowed`] is asked for. Groups are named by patterns, in which `*` stands for any characters and
/// `?` for one; where several patterns match, the last one counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowing {
    /// Factor of all free groups, above 0.
    pub multiplier: f64,
    /// Factors of single groups, instead of `multiplier`.
    pub multipliers: Vec<(String, f64)>,
    /// Channels of single groups, at least 1, instead of a factor; they are not rounded.
    pub widths: Vec<(String, usize)>,
    /// Channels that come from a factor are rounded to a multiple of this, at least 1.
    pub divisor: usize,
}

impl Default for Narrowing {
    fn default() -> Self {
        Self { multiplier: 1.0, multipliers: Vec::new(), widths: Vec::new(), divisor: 1 }
    }
}

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
        self.narrowed(&Narrowing { multiplier: factor, ..Narrowing::default() })
    }

    /// The same network with every free group changed as asked. A factor's result is rounded to the nearest multiple of the
    /// divisor that the network accepts ([`Self::channel_multiples`]), halves away from zero, and is at least that; so a
    /// divisor can also widen a group. Derived groups follow.
    ///
    /// # Errors
    /// [`Error::Option`] for a factor or divisor out of range and for a pattern that matches no free group;
    /// [`Error::Network`] for a width that the network cannot have.
    ///
    /// ```
    /// use segfit::network::Narrowing;
    /// use segfit::network::families::{Options, unet};
    /// let net = unet(&Options::default()).unwrap();
    /// let narrow = Narrowing { multiplier: 0.2, widths: vec![("dec*".into(), 8)], divisor: 4, ..Narrowing::default() };
    /// let widths = net.narrowed(&narrow).unwrap().widths();
    /// assert_eq!((widths["enc0"], widths["enc1"], widths["dec3"]), (12, 24, 8)); // 12.8 and 25.6 rounded to 4
    /// ```
    pub fn narrowed(&self, narrowing: &Narrowing) -> Result<Self> {
        narrowing.check(self)?;
        let multiples = self.channel_multiples()?;
        let mut widths = Widths::new();
        for (group, multiple) in self.groups.iter().zip(multiples).filter(|(g, _)| g.kind == GroupKind::Free) {
            let factor = last_match(&narrowing.multipliers, &group.name).unwrap_or(narrowing.multiplier);
            let divisor = multiple / greatest_common_divisor(multiple, narrowing.divisor) * narrowing.divisor;
            let channels = match last_match(&narrowing.widths, &group.name) {
                Some(channels) => channels,
                None if factor == 1.0 && narrowing.divisor == 1 => group.channels,
                None => round_channels(group.channels as f64 * factor, divisor),
            };
            widths.insert(group.name.clone(), channels);
        }
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

impl Narrowing {
    fn check(&self, spec: &NetworkSpec) -> Result<()> {
        let fail = |what: &str, expected: &str, got: String| {
            Err(Error::Option { what: what.into(), expected: expected.into(), got })
        };
        let factors = self.multipliers.iter().map(|(_, factor)| *factor).chain([self.multiplier]);
        if let Some(factor) = factors.into_iter().find(|&f| !(f > 0.0 && f <= 16.0)) {
            return fail("--multiplier", "a number above 0, at most 16", factor.to_string());
        }
        if !(1..=1024).contains(&self.divisor) {
            return fail("--divisor", "1 to 1024", self.divisor.to_string());
        }
        let free: Vec<&str> =
            spec.groups.iter().filter(|g| g.kind == GroupKind::Free).map(|g| g.name.as_str()).collect();
        let unknown = |pattern: &&String| !free.iter().any(|name| matches(pattern, name));
        let widths = self.widths.iter().map(|(pattern, _)| pattern);
        let multipliers = self.multipliers.iter().map(|(pattern, _)| pattern);
        let missing = widths.map(|p| ("--widths", p)).chain(multipliers.map(|p| ("--multipliers", p)));
        match missing.into_iter().find(|(_, pattern)| unknown(pattern)) {
            None => Ok(()),
            Some((what, pattern)) => fail(what, &format!("groups among {}", free.join(", ")), pattern.clone()),
        }
    }
}

fn last_match<T: Copy>(list: &[(String, T)], name: &str) -> Option<T> {
    list.iter().rev().find(|(pattern, _)| matches(pattern, name)).map(|(_, value)| *value)
}

/// Whether `name` is as `pattern` says, in which `*` stands for any characters and `?` for one.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut name_chars = name.chars();
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            matches(rest, name) || (name_chars.next().is_some() && matches(pattern, name_chars.as_str()))
        }
        Some(c) => {
            let same = name_chars.next().is_some_and(|n| n == c || c == '?');
            same && matches(&pattern[c.len_utf8()..], name_chars.as_str())
        }
    }
}

pub(crate) fn greatest_common_divisor(a: usize, b: usize) -> usize {
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
    use crate::network::families::{Options, unet};

    #[test]
    fn patterns_match_by_star_and_question_mark() {
        for (pattern, name, expected) in [
            ("enc0", "enc0", true),
            ("enc0", "enc01", false),
            ("enc*", "enc0", true),
            ("*c?", "dec3", true),
            ("?", "", false),
            ("*", "", true),
            ("x*_1", "x0_1", true),
            ("x*_1", "x0_2", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_last_pattern_counts_and_unknown_ones_are_named() {
        let net = unet(&Options { base_width: 8, depth: 2, ..Options::default() }).unwrap();
        let narrowing = Narrowing {
            multiplier: 0.5,
            multipliers: vec![("enc*".into(), 0.25), ("enc2".into(), 1.0)],
            widths: vec![("up?".into(), 3), ("up1".into(), 5)],
            divisor: 1,
        };
        let widths = net.narrowed(&narrowing).unwrap().widths();
        let expected = [("dec0", 4), ("dec1", 8), ("enc0", 2), ("enc1", 4), ("enc2", 32), ("up0", 3), ("up1", 5)];
        assert_eq!(widths, expected.map(|(n, w)| (n.to_string(), w)).into());
        let error = net.narrowed(&Narrowing { widths: vec![("mid*".into(), 3)], ..narrowing }).unwrap_err().to_string();
        assert!(error.contains("--widths") && error.contains("enc0") && error.contains("mid*"), "{error}");
    }

    #[test]
    fn channels_are_rounded_to_the_nearest_multiple_and_never_to_zero() {
        assert_eq!(round_channels(2.6, 1), 3);
        assert_eq!(round_channels(0.1, 1), 1);
        assert_eq!(round_channels(11.0, 8), 8);
        assert_eq!(round_channels(12.1, 8), 16);
    }
}
