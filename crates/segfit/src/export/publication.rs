//! What a published network says of its authors and of the images that it takes.

use serde::{Deserialize, Serialize};

/// What the people who hand a network over can say of it. By default it says nothing of persons and rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// A name of the network; by default family, width and data set.
    pub name: Option<String>,
    /// Names of the authors.
    pub authors: Vec<String>,
    /// SPDX identifier of the licence, for example `CC-BY-4.0`.
    pub licence: Option<String>,
    /// Values of the images that users will give.
    pub pixels: PixelType,
}

/// How pixels are stored; the network's own values are 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelType {
    /// Whole numbers from 0 to 255.
    #[default]
    Uint8,
    /// Whole numbers from 0 to 65,535.
    Uint16,
    /// Floating-point numbers from 0 to 1.
    Float32,
}

impl PixelType {
    /// The number that becomes 1.
    #[must_use]
    pub fn largest(self) -> f32 {
        match self {
            Self::Uint8 => 255.0,
            Self::Uint16 => 65_535.0,
            Self::Float32 => 1.0,
        }
    }

    /// Its name in NumPy and others.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Float32 => "float32",
        }
    }
}
