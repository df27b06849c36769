//! The knobs, their settings, and the images of a setting.

use segfit::data::Sample;
use segfit::phantom::{Knobs, SceneOptions, scene};

/// Images of one setting.
pub const IMAGES: usize = 8;

/// Settings of a knob.
pub const SETTINGS: usize = 7;

/// One knob of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    Noise,
    Objects,
    Roughness,
    Contrast,
    Scale,
}

impl Knob {
    pub const ALL: [Self; 5] = [Self::Noise, Self::Objects, Self::Roughness, Self::Contrast, Self::Scale];

    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Objects => "objects",
            Self::Roughness => "roughness",
            Self::Contrast => "contrast",
            Self::Scale => "scale",
        }
    }

    /// What the knob turns, with its unit.
    pub fn axis(self) -> &'static str {
        match self {
            Self::Noise => "standard deviation of the noise (range of gray values = 1)",
            Self::Objects => "objects per image",
            Self::Roughness => "waves of the outline (share of the radius)",
            Self::Contrast => "gray value of objects minus ground",
            Self::Scale => "magnification",
        }
    }

    /// Rising; one of them is the neutral setting.
    pub fn settings(self) -> [f32; SETTINGS] {
        match self {
            Self::Noise => [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25],
            Self::Objects => [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
            Self::Roughness => [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3],
            Self::Contrast => [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9],
            Self::Scale => [0.25, 1.0 / 3.0, 0.5, 1.0, 2.0, 3.0, 4.0],
        }
    }

    /// A setting as a label.
    pub fn label(self, value: f32) -> String {
        match self {
            Self::Scale if value < 1.0 => format!("1/{}", (1.0 / value).round()),
            _ => value.to_string(),
        }
    }

    /// The neutral knobs with this one turned.
    pub fn turned(self, value: f32) -> Knobs {
        let neutral = Knobs::NEUTRAL;
        match self {
            Self::Noise => Knobs { noise: value, ..neutral },
            Self::Objects => Knobs { objects: value as usize, ..neutral },
            Self::Roughness => Knobs { roughness: value, ..neutral },
            Self::Contrast => Knobs { contrast: value, ..neutral },
            Self::Scale => Knobs { scale: value, ..neutral },
        }
    }

    /// Index of the neutral setting.
    pub fn neutral(self) -> usize {
        let at = self.settings().iter().position(|&v| self.turned(v) == Knobs::NEUTRAL);
        at.expect("the neutral setting is one of every knob")
    }
}

/// The images of a setting.
pub fn images(knobs: Knobs) -> Vec<Sample> {
    (0..IMAGES).map(|i| scene(&SceneOptions::new(knobs), i)).collect()
}
