//! Network families, one file each.

mod unet;

pub use unet::{UnetOptions, unet};

use super::spec::NetworkSpec;
use crate::error::{Error, Result};

/// Names of the families.
pub const NAMES: [&str; 1] = ["unet"];

/// The family `name` with the given options, at uniform width.
///
/// # Errors
/// [`Error::Option`] for an unknown name or an option out of range.
pub fn build(name: &str, options: &UnetOptions) -> Result<NetworkSpec> {
    match name {
        "unet" => unet(options),
        other => Err(Error::Option {
            what: "--network".into(),
            expected: format!("one of {}", NAMES.join(", ")),
            got: other.into(),
        }),
    }
}
