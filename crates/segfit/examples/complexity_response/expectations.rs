//! What the measures should do when a knob is turned, written down before they were measured.

use crate::knobs::Knob;

/// What a measure does while a knob is turned up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
    /// No more than images of one setting differ among themselves.
    Stays,
    /// By more than that, but in no one direction.
    NotMonotone,
}

/// What some measures should do, and why.
pub struct Expectation {
    pub knob: Knob,
    pub way: Way,
    pub why: &'static str,
    pub measures: &'static [&'static str],
}

const fn up(knob: Knob, why: &'static str, measures: &'static [&'static str]) -> Expectation {
    Expectation { knob, way: Way::Up, why, measures }
}

const fn down(knob: Knob, why: &'static str, measures: &'static [&'static str]) -> Expectation {
    Expectation { knob, way: Way::Down, why, measures }
}

const fn stays(knob: Knob, why: &'static str, measures: &'static [&'static str]) -> Expectation {
    Expectation { knob, way: Way::Stays, why, measures }
}

/// Measures of the mask alone.
pub const OF_MASKS: &[&str] = &[
    "foreground",
    "objects",
    "object_area",
    "blob_density",
    "boundary",
    "thinness",
    "survival@1/2",
    "survival@1/8",
    "object_area_q10",
    "object_area_q90",
    "perimetric",
    "solidity",
    "class_balance",
];

/// Of measures that are named nowhere for a knob, nothing was expected.
pub static EXPECTATIONS: &[Expectation] = &[
    // Noise
    stays(Knob::Noise, "the masks are the same", OF_MASKS),
    up(Knob::Noise, "is what it measures", &["noise"]),
    up(Knob::Noise, "noise cannot be compressed", &["jpeg", "jpeg@1/4", "jpeg_scan", "png"]),
    up(Knob::Noise, "gray values spread", &["entropy"]),
    up(Knob::Noise, "neighbours differ", &["si_mean", "si_rms", "delentropy", "glcm_contrast", "local_deviation"]),
    up(Knob::Noise, "false edges", &["edge", "canny", "fractal_dimension"]),
    up(Knob::Noise, "the noise is white", &["median_frequency", "mean_frequency", "spectral_slope"]),
    up(Knob::Noise, "speckles for objects", &["image_blob_density"]),
    down(Knob::Noise, "neighbours differ", &["glcm_homogeneity", "glcm_energy", "glcm_correlation"]),
    down(Knob::Noise, "gray values of the classes overlap", &["separability", "fisher", "probe_dice"]),
    down(Knob::Noise, "false edges", &["edge_agreement"]),
    // Number of objects
    up(Knob::Objects, "is what it measures", &["objects"]),
    up(Knob::Objects, "each adds its area", &["foreground", "blob_density", "class_balance", "image_blob_density"]),
    up(Knob::Objects, "each adds its outline", &["boundary", "edge", "canny", "si_mean", "si_rms", "delentropy"]),
    up(Knob::Objects, "each adds its outline", &["jpeg", "jpeg@1/4", "jpeg_scan", "png", "glcm_contrast"]),
    up(Knob::Objects, "each adds its outline", &["local_deviation", "fractal_dimension"]),
    up(Knob::Objects, "two even gray values", &["entropy"]),
    up(Knob::Objects, "large areas outweigh noise", &["glcm_correlation"]),
    down(Knob::Objects, "large areas outweigh noise", &["median_frequency", "mean_frequency"]),
    down(Knob::Objects, "neighbours differ at outlines", &["glcm_homogeneity", "glcm_energy"]),
    up(Knob::Objects, "the largest of more", &["object_area_q90"]),
    down(Knob::Objects, "the smallest of more", &["object_area_q10"]),
    stays(Knob::Objects, "of one object", &["object_area", "perimetric", "solidity", "thinness"]),
    stays(Knob::Objects, "of one object", &["survival@1/2", "survival@1/8"]),
    stays(Knob::Objects, "the noise is the same", &["noise"]),
    stays(Knob::Objects, "the gray values are the same", &["separability", "fisher", "edge_agreement"]),
    // Roughness of outlines
    up(Knob::Roughness, "is what it measures", &["perimetric"]),
    up(Knob::Roughness, "longer outlines", &["boundary", "edge", "canny", "si_mean", "jpeg", "jpeg_scan"]),
    up(Knob::Roughness, "longer outlines", &["local_deviation"]),
    up(Knob::Roughness, "hulls span the bays", &["blob_density", "image_blob_density"]),
    up(Knob::Roughness, "thin tips", &["thinness"]),
    down(Knob::Roughness, "thin tips", &["survival@1/2", "survival@1/8"]),
    down(Knob::Roughness, "bays", &["solidity"]),
    stays(Knob::Roughness, "areas are kept", &["foreground", "class_balance", "object_area"]),
    stays(Knob::Roughness, "areas are kept", &["object_area_q10", "object_area_q90"]),
    stays(Knob::Roughness, "their number is kept", &["objects"]),
    stays(Knob::Roughness, "the noise is the same", &["noise"]),
    stays(Knob::Roughness, "the gray values are the same", &["entropy", "separability", "fisher", "edge_agreement"]),
    // Contrast
    stays(Knob::Contrast, "the masks are the same", OF_MASKS),
    stays(Knob::Contrast, "the noise is the same", &["noise"]),
    up(Knob::Contrast, "gray values move apart", &["separability", "fisher", "probe_dice", "glcm_correlation"]),
    up(Knob::Contrast, "stronger outlines", &["edge", "si_mean", "si_rms", "canny", "edge_agreement", "jpeg"]),
    up(Knob::Contrast, "stronger outlines", &["jpeg@1/4", "jpeg_scan", "delentropy", "glcm_contrast"]),
    up(Knob::Contrast, "stronger outlines", &["local_deviation"]),
    down(Knob::Contrast, "stronger outlines", &["glcm_homogeneity"]),
    down(Knob::Contrast, "objects outweigh noise", &["median_frequency", "mean_frequency", "spectral_slope"]),
    // Scale
    up(Knob::Scale, "objects are larger", &["object_area", "object_area_q10", "object_area_q90"]),
    up(Knob::Scale, "objects are larger", &["survival@1/2", "survival@1/8"]),
    down(Knob::Scale, "fewer fit in the frame", &["objects"]),
    down(Knob::Scale, "fewer outlines", &["boundary", "edge", "canny", "si_mean", "si_rms", "jpeg", "jpeg@1/4"]),
    down(Knob::Scale, "fewer outlines", &["jpeg_scan", "png", "delentropy", "glcm_contrast", "local_deviation"]),
    down(Knob::Scale, "fewer outlines", &["fractal_dimension"]),
    down(Knob::Scale, "thin parts are wider", &["thinness"]),
    down(Knob::Scale, "everything is coarser", &["median_frequency", "mean_frequency", "spectral_slope"]),
    up(Knob::Scale, "fewer outlines", &["glcm_homogeneity", "glcm_correlation"]),
    stays(Knob::Scale, "the density is the same", &["foreground", "class_balance", "blob_density"]),
    stays(Knob::Scale, "the density is the same", &["image_blob_density"]),
    stays(Knob::Scale, "shapes are the same", &["perimetric", "solidity"]),
    stays(Knob::Scale, "the noise is the same", &["noise"]),
];

/// What was expected of a measure, and why; `None` where nothing was.
pub fn expected(knob: Knob, measure: &str) -> Option<&'static Expectation> {
    EXPECTATIONS.iter().find(|e| e.knob == knob && e.measures.contains(&measure))
}
