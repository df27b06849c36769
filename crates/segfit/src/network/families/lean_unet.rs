//! Lean U-Net (LUnet; Hassler, Åkerholm, Nordström, Balletti, Goksel 2025, arXiv 2512.03834): the channels stay the same at
//! all levels instead of doubling.

use super::Family;
use super::builder::Builder;
use super::options::Options;
use super::unet::{U_SHAPE, u_shape};
use crate::error::Result;
use crate::network::spec::NetworkSpec;

pub(super) const FAMILY: Family = Family {
    name: "lean_unet",
    title: "lean U-Net",
    description: "U-Net with the same width at all levels",
    paper: "Hassler et al. 2025, arXiv 2512.03834",
    base_width: 64,
    depth: 4,
    deepest: 6,
    takes: U_SHAPE,
    build: lean_unet,
};

/// The [`super::unet`] with `base_width` channels at every level; the same names.
///
/// The publication's blocks differ in details from ours, which are the U-Net's; its point, the flat widths, is the same.
///
/// # Errors
/// [`crate::Error::Option`] when an option is out of range.
pub fn lean_unet(options: &Options) -> Result<NetworkSpec> {
    u_shape(&FAMILY, options, &|_| options.base_width, Builder::block)
}
