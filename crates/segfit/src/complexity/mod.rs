//! How complex are the images and masks of a data set, measured on what the network sees.
//!
//! [`profile_dataset`] turns a data set into a [`ComplexityProfile`], image by image: every measure of [`MEASURES`] on every
//! image, at the scales 1, 1/2, 1/4, 1/8 and 1/16 of a [`Pyramid`] where it applies, then mean, deviation and quantiles;
//! [`profile()`] does the same with samples in memory.
//! A measure is one file and one [`Measure`] constant; a measure returns `None` where it is not defined. One number needs
//! several images: [`probe_dice`], which learns on some and is tested on others. One needs the image as it was before it was
//! prepared: the published complexity, [`j_complexity`].

mod blobs;
mod boundary;
mod box_counting;
mod cache;
mod canny;
mod class_balance;
mod delentropy;
mod edge_agreement;
mod edges;
mod entropy;
mod filter_bank;
mod fisher;
mod foreground;
mod frequency;
mod glcm;
mod image_table;
mod jpeg;
mod line;
mod local_deviation;
mod noise;
mod object_sizes;
mod objects;
mod otsu;
mod packed;
mod pairs;
mod part;
mod perimetric;
mod png;
mod probe;
mod profile;
mod published;
mod pyramid;
mod run;
mod sampling;
mod separability;
mod sobel;
mod solidity;
mod spatial_information;
mod spectral_slope;
mod stream;
mod summary;
mod survival;
mod takers;
mod thinness;
mod tiles;
mod unit_range;

pub use self::blobs::{blob_density, image_blob_density};
pub use self::boundary::boundary_fraction;
pub use self::box_counting::box_dimension;
pub use self::cache::{CACHE_VERSION, Cache};
pub use self::canny::{CANNY_HIGH, CANNY_LOW, canny_density, canny_edges};
pub use self::class_balance::class_balance;
pub use self::delentropy::delentropy;
pub use self::edge_agreement::edge_agreement;
pub use self::edges::{EDGE_THRESHOLD, edge_density};
pub use self::entropy::entropy;
pub use self::filter_bank::{BANK_PIXELS, BANK_SCALES, Responses, responses};
pub use self::fisher::fisher_ratio;
pub use self::frequency::{Spectrum, spectrum};
pub use self::glcm::{Texture, texture};
pub use self::image_table::ImageTable;
pub(crate) use self::jpeg::QUALITY as JPEG_QUALITY;
pub use self::jpeg::{jpeg_complexity, jpeg_scan_complexity};
pub use self::local_deviation::local_deviation;
pub use self::noise::noise_estimate;
pub use self::object_sizes::object_area_quantile;
pub use self::objects::{Object, objects_by_instance, objects_of};
pub use self::otsu::otsu_threshold;
pub use self::part::{MeasuredPart, PART_FORMAT, measure_part, merged_profile};
pub use self::perimetric::{perimeters, perimetric_complexity};
pub use self::png::png_complexity;
pub use self::probe::{PROBE_DICE, PROBE_IMAGES, ProbeImage, probe_dice, probed};
pub use self::profile::{ComplexityProfile, ImageMeasures, PROFILE_FORMAT, ProfileContext, profile};
pub use self::published::{J, JpegColour, JpegOptions, j_complexity, published_j};
pub use self::pyramid::{Level, Pyramid, SCALES};
pub use self::sampling::{SampledImages, sampled};
pub use self::separability::best_threshold_dice;
pub use self::sobel::sobel_magnitude;
pub use self::solidity::solidity;
pub use self::spatial_information::{spatial_information_mean, spatial_information_rms};
pub use self::spectral_slope::spectral_slope;
pub use self::stream::{MeasureOptions, MeasuredDataset, profile_dataset};
pub use self::summary::Summary;
pub(crate) use self::summary::quantile;
pub use self::survival::survival;
pub use self::thinness::thinness;
pub use self::tiles::tiles;
pub(crate) use self::unit_range::ValueRange;

/// One measure of complexity: its name in a profile and how to compute it.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Name in a profile at scale 1; at scale 1/2 it is followed by `@1/2`.
    pub name: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// Whether a larger value means a more complex image.
    pub larger_is_more_complex: bool,
    /// The first scale (0 is full size) at which the measure has a meaning.
    pub first_scale: usize,
    /// The last scale.
    pub last_scale: usize,
    /// The value on one level of a pyramid, given the level's index; `None` where it is not defined.
    pub compute: fn(&Pyramid, usize) -> Option<f64>,
}

/// All measures, in the order of a profile's columns.
pub const MEASURES: &[Measure] = &[
    jpeg::JPEG,
    jpeg::JPEG_SCAN,
    edges::EDGE,
    entropy::ENTROPY,
    spatial_information::SI_MEAN,
    spatial_information::SI_RMS,
    frequency::MEDIAN_FREQUENCY,
    frequency::MEAN_FREQUENCY,
    blobs::IMAGE_BLOB_DENSITY,
    png::PNG,
    canny::CANNY,
    delentropy::DELENTROPY,
    spectral_slope::SPECTRAL_SLOPE,
    glcm::CONTRAST,
    glcm::HOMOGENEITY,
    glcm::ENERGY,
    glcm::CORRELATION,
    local_deviation::LOCAL_DEVIATION,
    box_counting::FRACTAL_DIMENSION,
    noise::NOISE,
    foreground::FOREGROUND,
    objects::OBJECTS,
    objects::OBJECT_AREA,
    blobs::BLOB_DENSITY,
    boundary::BOUNDARY,
    thinness::THINNESS,
    survival::SURVIVAL,
    separability::SEPARABILITY,
    object_sizes::OBJECT_AREA_Q10,
    object_sizes::OBJECT_AREA_Q90,
    perimetric::PERIMETRIC,
    solidity::SOLIDITY,
    class_balance::CLASS_BALANCE,
    fisher::FISHER,
    edge_agreement::EDGE_AGREEMENT,
];

/// The name of a measure at a scale: `jpeg` at scale 0, `jpeg@1/4` at scale 2.
#[must_use]
pub fn name_at_scale(name: &str, scale: usize) -> String {
    if scale == 0 { name.to_string() } else { format!("{name}@1/{}", 1_u32 << scale) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = MEASURES.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), MEASURES.len());
        assert_eq!(name_at_scale("jpeg", 0), "jpeg");
        assert_eq!(name_at_scale("jpeg", 4), "jpeg@1/16");
    }
}
