//! Where a data set comes from, as the files beside its folders tell.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::variant::{VARIANT_FILE, VARIANT_FORMAT, Variant};
use crate::error::Result;
use crate::files::read_json;

/// Name of the file that says that the images were drawn by a program.
pub const PHANTOM_FILE: &str = "PHANTOM.json";

/// `format` of [`PHANTOM_FILE`].
pub const PHANTOM_FORMAT: &str = "segfit-phantom/1";

/// Where a data set comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The data set that it was made from.
    pub parent: Option<String>,
    /// Whether its images, or its parent's, were drawn by a program.
    pub synthetic: bool,
}

/// What must be read of [`PHANTOM_FILE`].
#[derive(Deserialize)]
struct Phantom {}

impl Origin {
    /// The origin that `VARIANT.json` or `PHANTOM.json` in the data set's folder tells; without them it is its own.
    ///
    /// # Errors
    /// [`crate::Error::Json`] or [`crate::Error::Io`] when such a file cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let variant = folder.join(VARIANT_FILE);
        if variant.is_file() {
            let Variant { parent, synthetic, .. } = read_json(&variant, VARIANT_FORMAT)?;
            return Ok(Self { parent: Some(parent), synthetic });
        }
        let phantom = folder.join(PHANTOM_FILE);
        let synthetic = phantom.is_file();
        if synthetic {
            read_json::<Phantom>(&phantom, PHANTOM_FORMAT)?;
        }
        Ok(Self { parent: None, synthetic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_word_is_its_own_origin_and_an_unreadable_word_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Origin::of_folder(dir.path()).unwrap(), Origin::default());
        std::fs::write(dir.path().join(PHANTOM_FILE), r#"{"format": "segfit-phantom/1", "kind": "discs"}"#).unwrap();
        assert_eq!(Origin::of_folder(dir.path()).unwrap(), Origin { parent: None, synthetic: true });
        std::fs::write(dir.path().join(VARIANT_FILE), r#"{"format": "segfit-variant/9"}"#).unwrap();
        let error = Origin::of_folder(dir.path()).unwrap_err().to_string();
        assert!(error.contains("VARIANT.json: expected segfit-variant/1"), "{error}");
    }
}
