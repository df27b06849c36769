//! A warning: what was found, why it matters, what to do.

use serde::Serialize;

/// A warning names at most this many images; its words tell how many there are.
pub const NAMES: usize = 20;

/// Something about a data set that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Warning {
    /// The rule that found it.
    pub kind: WarningKind,
    /// One or two sentences: what was found, why it matters, what to do.
    pub words: String,
    /// Names of the images concerned, at most [`NAMES`].
    pub images: Vec<String>,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WarningKind {
    /// A test image is, pixel for pixel, a training or validation image.
    Leakage,
    /// Test images come from a source of training or validation images.
    SharedSources,
    /// Images occur more than once among those that are not for testing, or among those that are.
    Duplicates,
    /// Masks that look like noise, like an error of export, or turned round; masks that contradict each other.
    SuspiciousMasks,
    /// Masks without foreground.
    EmptyMasks,
    /// Masks without background.
    FullMasks,
    /// Some images have no mask.
    MissingMasks,
    /// Images of one value.
    ConstantImages,
    /// A class has few pixels or is in few images.
    Unbalanced,
    /// Few training images or sources.
    FewImages,
    /// Few test images or sources.
    FewTestImages,
    /// Images of very different sizes or forms.
    DifferentSizes,
}

impl WarningKind {
    /// A heading of two or three words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Leakage => "Test images in training",
            Self::SharedSources => "Shared sources",
            Self::Duplicates => "Duplicated images",
            Self::SuspiciousMasks => "Suspicious masks",
            Self::EmptyMasks => "Empty masks",
            Self::FullMasks => "Full masks",
            Self::MissingMasks => "Missing masks",
            Self::ConstantImages => "Constant images",
            Self::Unbalanced => "Unbalanced classes",
            Self::FewImages => "Few training images",
            Self::FewTestImages => "Few test images",
            Self::DifferentSizes => "Different sizes",
        }
    }
}

impl Warning {
    /// A warning about some images.
    pub(super) fn new(kind: WarningKind, words: String, images: impl IntoIterator<Item = String>) -> Self {
        Self { kind, words, images: images.into_iter().take(NAMES).collect() }
    }
}

/// `1 image`, `2 images`.
pub(super) fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// A share in per cent, with one digit below ten.
pub(super) fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value > 0.0 && value < 0.05 {
        "less than 0.1%".into()
    } else if value < 9.95 {
        format!("{value:.1}%")
    } else {
        format!("{value:.0}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_at_most_twenty_images_and_kinds_are_kebab_case() {
        let warning = Warning::new(WarningKind::FewTestImages, "w".into(), (0..90).map(|i| i.to_string()));
        assert_eq!((warning.images.len(), warning.images[19].as_str()), (20, "19"));
        assert_eq!(serde_json::to_value(&warning).unwrap()["kind"], "few-test-images");
        assert_eq!(
            [percent(0.0), percent(0.0001), percent(0.0123), percent(0.5)],
            ["0.0%", "less than 0.1%", "1.2%", "50%"]
        );
        assert_eq!([counted(1, "image"), counted(2, "image")], ["1 image", "2 images"]);
    }
}
