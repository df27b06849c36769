//! [`Space`]: all networks that a plan may choose from.

use super::budget::option;
use super::forms::Forms;
use super::weights::Precision;
use crate::error::{Error, Result};
use crate::network::{GroupKind, NetworkSpec, Widths, greatest_common_divisor, matches};
use crate::predict::{NetworkOptions, Place, SizeFeatures, places};

/// What the user allows of each channel group. Groups are named by patterns, in which `*` stands for any characters and `?` for
/// one; where several match, the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freedom {
    /// Groups that have exactly these channels; they count more than bounds.
    pub pins: Vec<(String, usize)>,
    /// Fewest and most channels.
    pub bounds: Vec<(String, [usize; 2])>,
    /// Channels of groups that are not pinned are multiples of this, where the full network has as many; 1 to 1024.
    pub divisor: usize,
}

impl Default for Freedom {
    fn default() -> Self {
        Self { pins: Vec::new(), bounds: Vec::new(), divisor: 1 }
    }
}

/// All depths of a network with the channels that every group may have.
#[derive(Clone, Debug)]
pub struct Space {
    pub(super) levels: Vec<Level>,
    /// Rows and columns of the input.
    pub(super) size: usize,
}

/// All networks of one depth.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// The widest of them.
    pub full: NetworkSpec,
    /// Its free groups, in order.
    pub groups: Vec<Free>,
    /// Size of the full network: shapes are bent from it.
    pub own: SizeFeatures,
}

/// A free group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Free {
    pub name: String,
    /// Channels of the full network.
    pub full: usize,
    /// Fewest and most channels, multiples of `step` unless pinned.
    pub low: usize,
    pub high: usize,
    pub step: usize,
    /// Where its first convolution stands.
    pub place: Option<Place>,
}

impl Space {
    /// All depths up to that of `options`, each with 1 channel up to those of the full width in every group.
    ///
    /// # Errors
    /// When the family or an option does not exist, or `freedom` names no group or leaves one no channels.
    pub fn of_family(options: &NetworkOptions, freedom: &Freedom) -> Result<Self> {
        let specs: Vec<NetworkSpec> =
            (1..=options.depth).map(|depth| options.network(options.full_width, depth)).collect::<Result<_>>()?;
        Self::of(specs, options.size, freedom)
    }

    /// One network of any kind (read from a file or imported), with 1 channel up to its own in every free group.
    ///
    /// # Errors
    /// When it does not fit together, or as [`Self::of_family`].
    pub fn of_network(full: &NetworkSpec, size: usize, freedom: &Freedom) -> Result<Self> {
        full.validate()?;
        Self::of(vec![full.clone()], size, freedom)
    }

    /// `specs` by depth, the full one last.
    fn of(specs: Vec<NetworkSpec>, size: usize, freedom: &Freedom) -> Result<Self> {
        if !(1..=1024).contains(&freedom.divisor) {
            return Err(option("--divisor", "1 to 1024", &freedom.divisor.to_string()));
        }
        if let Some(full) = specs.last() {
            known_patterns(full, freedom)?;
        }
        let levels = specs.into_iter().map(|full| Level::of(full, freedom)).collect::<Result<_>>()?;
        Ok(Self { levels, size })
    }

    /// The widest network of every depth, the deepest last.
    pub fn networks(&self) -> impl Iterator<Item = &NetworkSpec> {
        self.levels.iter().map(|level| &level.full)
    }

    /// The full network.
    pub(super) fn full(&self) -> &Level {
        &self.levels[self.levels.len() - 1]
    }

    /// Forms of the costs at every depth.
    pub(super) fn forms(&self, precision: Precision) -> Result<Vec<Forms>> {
        self.levels.iter().map(|level| Forms::of(&level.full, self.size, precision)).collect()
    }
}

impl Level {
    fn of(full: NetworkSpec, freedom: &Freedom) -> Result<Self> {
        let (places, multiples) = (places(&full)?, full.channel_multiples()?);
        let mut groups = Vec::new();
        for ((group, place), multiple) in full.groups.iter().zip(places).zip(multiples) {
            if group.kind == GroupKind::Free {
                let step = multiple / greatest_common_divisor(multiple, freedom.divisor) * freedom.divisor;
                let step = if step <= group.channels { step } else { multiple };
                let free = Free {
                    name: group.name.clone(),
                    full: group.channels,
                    low: step,
                    high: (group.channels / step).max(1) * step,
                    step,
                    place,
                };
                groups.push(free.limited(freedom, multiple)?);
            }
        }
        if groups.is_empty() {
            let reason = "the network has no free channel group".into();
            return Err(Error::Network { layer: full.output, reason });
        }
        Ok(Self { own: SizeFeatures::of(&full)?, full, groups })
    }

    /// Channels by name.
    pub(super) fn widths(&self, channels: &[usize]) -> Widths {
        self.groups.iter().zip(channels).map(|(g, &c)| (g.name.clone(), c)).collect()
    }

    /// The network with these channels, called by the base width `base_width`.
    ///
    /// # Errors
    /// When the network refuses them, which would be our mistake.
    pub(super) fn network(&self, channels: &[usize], base_width: usize) -> Result<NetworkSpec> {
        Ok(NetworkSpec { base_width, ..self.full.with_widths(&self.widths(channels))? })
    }
}

impl Free {
    /// Restricted to what the user allows.
    fn limited(mut self, freedom: &Freedom, multiple: usize) -> Result<Self> {
        let name = self.name.clone();
        let refuse = |what: &str, expected: String, got: String| Err(option(what, &expected, &got));
        if let Some(&(_, pin)) = freedom.pins.iter().rev().find(|(pattern, _)| matches(pattern, &name)) {
            if pin == 0 || pin > self.full.max(multiple) || pin % multiple != 0 {
                let multiples = if multiple > 1 { format!(", a multiple of {multiple}") } else { String::new() };
                return refuse("--pin", format!("{name}=1 to {}{multiples}", self.full), format!("{name}={pin}"));
            }
            (self.low, self.high, self.step) = (pin, pin, multiple);
            return Ok(self);
        }
        if let Some(&(_, [least, most])) = freedom.bounds.iter().rev().find(|(pattern, _)| matches(pattern, &name)) {
            let (low, high) = (least.max(1).next_multiple_of(self.step), most / self.step * self.step);
            (self.low, self.high) = (low.max(self.low), high.min(self.high));
            if self.low > self.high {
                let step =
                    if self.step > 1 { format!(", with a multiple of {} between", self.step) } else { String::new() };
                return refuse(
                    "--bound",
                    format!("{name}=LEAST..MOST of 1 to {}{step}", self.full),
                    format!("{name}={least}..{most}"),
                );
            }
        }
        Ok(self)
    }
}

/// Refuses patterns that name no group of the full network.
fn known_patterns(full: &NetworkSpec, freedom: &Freedom) -> Result<()> {
    let free: Vec<&str> = full.groups.iter().filter(|g| g.kind == GroupKind::Free).map(|g| g.name.as_str()).collect();
    let pins = freedom.pins.iter().map(|(pattern, _)| ("--pin", pattern));
    let bounds = freedom.bounds.iter().map(|(pattern, _)| ("--bound", pattern));
    match pins.chain(bounds).find(|(_, pattern)| !free.iter().any(|name| matches(pattern, name))) {
        None => Ok(()),
        Some((what, pattern)) => Err(option(what, &format!("groups among {}", free.join(", ")), pattern)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> NetworkOptions {
        NetworkOptions { family: "unet".into(), in_channels: 1, classes: 2, full_width: 16, depth: 2, size: 32 }
    }

    fn free(space: &Space, name: &str) -> (usize, usize, usize) {
        let group = space.full().groups.iter().find(|g| g.name == name).unwrap();
        (group.low, group.high, group.step)
    }

    #[test]
    fn pins_bounds_and_a_divisor_limit_the_channels() {
        let freedom = Freedom {
            pins: vec![("enc1".into(), 5)],
            bounds: vec![("enc*".into(), [3, 20]), ("enc2".into(), [9, 64])],
            divisor: 4,
        };
        let space = Space::of_family(&options(), &freedom).unwrap();
        assert_eq!(space.levels.len(), 2, "every depth");
        assert_eq!(free(&space, "enc0"), (4, 16, 4));
        assert_eq!(free(&space, "enc1"), (5, 5, 1), "pinned channels are not rounded");
        assert_eq!(free(&space, "enc2"), (12, 64, 4), "the last pattern counts");
        assert_eq!(free(&space, "dec0"), (4, 16, 4));
        let plain = Space::of_family(&options(), &Freedom::default()).unwrap();
        assert_eq!(free(&plain, "up1"), (1, 32, 1));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_option() {
        let refused = |freedom: Freedom, parts: &[&str]| {
            let error = Space::of_family(&options(), &freedom).unwrap_err().to_string();
            assert!(parts.iter().all(|p| error.contains(p)), "{error}");
        };
        let pin = |name: &str, n| Freedom { pins: vec![(name.into(), n)], ..Freedom::default() };
        let bound = |name: &str, b| Freedom { bounds: vec![(name.into(), b)], ..Freedom::default() };
        refused(pin("enc0", 17), &["--pin", "enc0=1 to 16", "enc0=17"]);
        refused(pin("mid", 4), &["--pin", "enc0, enc1", "mid"]);
        refused(bound("enc0", [17, 30]), &["--bound", "enc0=17..30"]);
        refused(bound("dec*", [8, 3]), &["--bound", "dec"]);
        refused(Freedom { divisor: 0, ..Freedom::default() }, &["--divisor", "1 to 1024", "0"]);
        let both = Freedom { divisor: 8, ..bound("enc0", [9, 15]) };
        refused(both, &["--bound", "a multiple of 8 between"]);
    }
}
