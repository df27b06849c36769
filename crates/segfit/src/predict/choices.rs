//! [`Choices`]: what another method chose for each data set, to be put beside the choices of the mapping.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::files::read_json;
use crate::network::Widths;

/// `format` of choices files.
pub const CHOICES_FORMAT: &str = "segfit-choices/1";

/// One network for each of several data sets, chosen by a method that segfit does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choices {
    /// [`CHOICES_FORMAT`].
    pub format: String,
    /// Name of the method.
    pub rule: String,
    /// What it does.
    pub meaning: String,
    /// Network family.
    pub family: String,
    /// One for each data set.
    pub choices: Vec<ChosenNetwork>,
}

/// A network chosen for a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChosenNetwork {
    /// Name of the data set.
    pub data_set: String,
    /// Channels at full resolution.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
    /// Channels of every free group.
    pub widths: Widths,
    /// Trained parameters.
    pub params: u64,
}

impl Choices {
    /// Reads a choices file.
    ///
    /// # Errors
    /// As [`read_json`].
    pub fn read(path: &Path) -> Result<Self> {
        read_json(path, CHOICES_FORMAT)
    }

    /// The network chosen for a data set.
    pub(crate) fn of(&self, data_set: &str) -> std::result::Result<&ChosenNetwork, String> {
        let found = self.choices.iter().find(|c| c.data_set == data_set);
        found.ok_or_else(|| format!("nothing was chosen for {data_set}"))
    }
}
