//! Network families, one file each: a published architecture as layers and channel groups.

mod attention_unet;
mod builder;
mod cumednet;
mod fc_densenet;
mod lean_unet;
mod options;
mod resunet;
mod separable_unet;
mod unet;
mod unetpp;

pub use attention_unet::attention_unet;
pub use cumednet::cumednet;
pub use fc_densenet::{fc_densenet56, fc_densenet67, fc_densenet103};
pub use lean_unet::lean_unet;
pub use options::{Activation, Norm, Options, Upsampling};
pub use resunet::resunet;
pub use separable_unet::separable_unet;
pub use unet::unet;
pub use unetpp::unetpp;

use super::spec::NetworkSpec;
use crate::error::{Error, Result};
use options::Choice;

/// An architecture of which networks of any width can be built.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name as users type it.
    pub name: &'static str,
    /// Name as its paper has it.
    pub title: &'static str,
    /// What it is, in a few words.
    pub description: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// Channels at full resolution of the published network.
    pub base_width: usize,
    /// Times that the published network halves the image.
    pub depth: usize,
    /// Largest depth that can be built.
    pub deepest: usize,
    takes: &'static [Choice],
    build: fn(&Options) -> Result<NetworkSpec>,
}

/// All families.
pub const FAMILIES: [Family; 10] = [
    unet::FAMILY,
    cumednet::FAMILY,
    fc_densenet::FC_DENSENET56,
    fc_densenet::FC_DENSENET67,
    fc_densenet::FC_DENSENET103,
    attention_unet::FAMILY,
    resunet::FAMILY,
    unetpp::FAMILY,
    lean_unet::FAMILY,
    separable_unet::FAMILY,
];

/// Names of the families, in the order of [`FAMILIES`].
pub const NAMES: [&str; FAMILIES.len()] = {
    let mut names = [""; FAMILIES.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = FAMILIES[i].name;
        i += 1;
    }
    names
};

impl Family {
    /// The published size for images and classes of these numbers.
    #[must_use]
    pub fn options(&self, in_channels: usize, classes: usize) -> Options {
        Options { in_channels, classes, base_width: self.base_width, depth: self.depth, ..Options::default() }
    }

    /// The network with these options, at uniform width.
    ///
    /// # Errors
    /// [`Error::Option`] for an option out of range or one that the family does not have.
    pub fn build(&self, options: &Options) -> Result<NetworkSpec> {
        (self.build)(options)
    }
}

/// The family called `name`.
///
/// # Errors
/// [`Error::Option`] for an unknown name.
pub fn family(name: &str) -> Result<&'static Family> {
    const ALL: &[Family] = &FAMILIES;
    ALL.iter().find(|f| f.name == name).ok_or_else(|| Error::Option {
        what: "--network".into(),
        expected: format!("one of {}", NAMES.join(", ")),
        got: name.into(),
    })
}

/// The family `name` with the given options, at uniform width.
///
/// # Errors
/// [`Error::Option`] for an unknown name, an option out of range, or one that the family does not have.
pub fn build(name: &str, options: &Options) -> Result<NetworkSpec> {
    family(name)?.build(options)
}

#[cfg(test)]
mod tests;
