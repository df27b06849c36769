//! Reading a network file.

use std::path::Path;

use super::{NETWORK_FORMAT, NetworkSpec};
use crate::error::{Error, Result};

impl NetworkSpec {
    /// Reads a network file and checks that its layers fit together.
    ///
    /// # Errors
    /// As [`crate::files::read_json`]; [`Error::Content`] with the first layer that does not fit.
    pub fn read(path: &Path) -> Result<Self> {
        let spec: Self = crate::files::read_json(path, NETWORK_FORMAT)?;
        spec.validate_file(path)?;
        Ok(spec)
    }

    /// As [`Self::validate`], for a network that a file describes.
    ///
    /// # Errors
    /// [`Error::Content`] with the file and the first layer that does not fit.
    pub fn validate_file(&self, path: &Path) -> Result<()> {
        self.validate().map_err(|error| match error {
            Error::Network { layer, reason } => Error::Content {
                path: path.into(),
                expected: "a network whose layers fit together".into(),
                got: format!("layer {layer}: {reason}"),
                hint: "the file was edited or is damaged: correct the layer, or write the network again with segfit"
                    .into(),
            },
            other => other,
        })
    }
}
