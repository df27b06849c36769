//! The complexity of a data set: every measure on every image, summarised.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::filter_bank::{Responses, responses};
use super::image_table::{Column, ImageTable, Row, columns, defined, values};
use super::probe::{PROBE_DICE, PROBE_UNIT, ProbeImage, probe_dice, probed};
use super::published::{J, J_UNIT, JpegOptions};
use super::sampling::SampledImages;
use super::tiles::whole;
use super::unit_range::ValueRange;
use super::{Pyramid, Summary};
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::recipe::InputSpec;

/// `format` of [`ComplexityProfile`] files.
pub const PROFILE_FORMAT: &str = "segfit-profile/1";

/// Where the samples come from; copied into the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileContext {
    /// Name of the data set.
    pub dataset: String,
    /// Fingerprint of its files.
    pub fingerprint: String,
    /// How the samples were prepared.
    pub input: InputSpec,
    /// The split that was measured, `train` or `all`.
    pub split: String,
    /// Seed of the split, when it was drawn.
    pub seed: Option<u64>,
    /// Whether the values of every image are kept.
    pub keep_images: bool,
    /// Classes of the data set with background; raised to what the masks hold.
    pub classes: usize,
    /// What each image was taken from, by the image's name; an image that is not named here is its own source. Images of
    /// one source, and tiles of one image, are not divided by the probe's cross-validation.
    pub sources: BTreeMap<String, String>,
}

/// How complex a data set is, as its network sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComplexityProfile {
    /// `segfit-profile/1`.
    pub format: String,
    /// Version of segfit that measured.
    pub version: String,
    /// Name of the data set.
    pub dataset: String,
    /// Fingerprint of the data set's files.
    pub fingerprint: String,
    /// How the samples were prepared.
    pub input: InputSpec,
    /// The split that was measured.
    pub split: String,
    /// Seed of the split, when it was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Set when only some of the split's images were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampledImages>,
    /// How J was taken, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jpeg: Option<JpegOptions>,
    /// Number of images (tiles, for patches) that were measured.
    pub images: usize,
    /// Summaries by name: `jpeg`, `jpeg@1/2`, ...; a measure that is defined for no image is left out.
    pub measures: BTreeMap<String, Summary>,
    /// Values of every image, by name; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_image: Vec<ImageMeasures>,
}

/// The values of one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageMeasures {
    /// Name of the sample.
    pub name: String,
    /// Value of every measure that is defined for it.
    pub values: BTreeMap<String, f64>,
}

impl ComplexityProfile {
    /// Mean of a measure, `None` when the profile does not have it.
    #[must_use]
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.measures.get(name).map(|s| s.mean)
    }
}

/// The complexity profile of prepared samples that are in memory; [`profile_dataset`](super::profile_dataset) measures those
/// that are not.
///
/// Samples are images as the network sees them (resized, or cut by [`tiles`](super::tiles)) with masks of the same size. Values
/// are nominally 0..1; images with others are brought to that range, all tiles of one image alike. The result does not depend
/// on the samples' order nor on the number of threads. J is missing: it belongs to the images before they were prepared.
///
/// # Errors
/// [`Error::Content`] when there are no samples, an image has no pixels, a mask or instance map has another size than its
/// image, or an image holds a value that is not finite.
pub fn profile(samples: &[Sample], context: &ProfileContext) -> Result<ComplexityProfile> {
    let mut order: Vec<&Sample> = samples.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    order.iter().try_for_each(|s| check(s))?;
    let columns = columns();
    let highest = order.iter().flat_map(|s| &s.mask.data).max().map_or(0, |&c| usize::from(c) + 1);
    let classes = context.classes.max(highest).max(2);
    let ranges = ranges(&order);
    let probed = probed(&order.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    let one = |(s, &probed): (&&Sample, &bool)| {
        let sample = on_unit_range(s, ranges[whole(&s.name)]);
        let pyramid = Pyramid { classes, ..Pyramid::new(&sample) };
        let responses = if probed { responses(&pyramid, &sample.image) } else { None };
        let source = source(&s.name, &context.sources).to_string();
        let values = values(&pyramid, &columns);
        (Row { name: s.name.clone(), source, values, j: f64::NAN, probe: f64::NAN }, responses)
    };
    let (mut rows, kept): (Vec<Row>, Vec<_>) = order.par_iter().zip(&probed).map(one).unzip();
    probe(&mut rows, kept);
    summarised(&ImageTable { columns, rows }, context)
}

/// The range of values of every image, all its tiles together.
fn ranges<'a>(samples: &[&'a Sample]) -> BTreeMap<&'a str, ValueRange> {
    let mut ranges = BTreeMap::new();
    for (sample, own) in samples.iter().zip(samples.par_iter().map(|s| ValueRange::of(&s.image)).collect::<Vec<_>>()) {
        let range = ranges.entry(whole(&sample.name)).or_insert(ValueRange::NOTHING);
        *range = range.with(own);
    }
    ranges
}

fn on_unit_range(sample: &Sample, range: ValueRange) -> Cow<'_, Sample> {
    if range.is_unit() {
        return Cow::Borrowed(sample);
    }
    let mut mapped = sample.clone();
    mapped.image = range.map(mapped.image);
    Cow::Owned(mapped)
}

fn source<'a>(name: &'a str, sources: &'a BTreeMap<String, String>) -> &'a str {
    sources.get(name).or_else(|| sources.get(whole(name))).map_or(whole(name), String::as_str)
}

/// Gives every row that took part its Dice under the probe.
fn probe(rows: &mut [Row], kept: Vec<Option<Responses>>) {
    let took_part: Vec<usize> = (0..kept.len()).filter(|&i| kept[i].is_some()).collect();
    let image = |(row, responses): (&Row, Responses)| ProbeImage { source: row.source.clone(), responses };
    let images: Vec<ProbeImage> = rows.iter().zip(kept).filter_map(|(r, k)| k.map(|k| image((r, k)))).collect();
    for (i, dice) in took_part.into_iter().zip(probe_dice(&images).unwrap_or_default()) {
        rows[i].probe = dice;
    }
}

/// The profile that summarises a table whose rows are sorted by name.
///
/// # Errors
/// When the table is empty.
pub(super) fn summarised(table: &ImageTable, context: &ProfileContext) -> Result<ComplexityProfile> {
    if table.is_empty() {
        return Err(refused(&context.dataset, "at least one image", "none", "check the split"));
    }
    let ImageTable { columns, rows } = table;
    let of = |value: &dyn Fn(&Row) -> f64| rows.iter().filter_map(|r| defined(value(r))).collect::<Vec<f64>>();
    let one = |(i, c): (usize, &Column)| {
        let summary = Summary::of(of(&|r| r.values[i]), c.measure.unit, c.measure.larger_is_more_complex);
        summary.map(|s| (c.name.clone(), s))
    };
    let mut measures: BTreeMap<String, Summary> = columns.iter().enumerate().filter_map(one).collect();
    measures.extend(Summary::of(of(&|r| r.j), J_UNIT, true).map(|s| (J.to_string(), s)));
    measures.extend(Summary::of(of(&|r| r.probe), PROBE_UNIT, false).map(|s| (PROBE_DICE.to_string(), s)));
    let per_image = rows.iter().filter(|_| context.keep_images).map(|r| image_measures(r, columns)).collect();
    Ok(ComplexityProfile {
        format: PROFILE_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        dataset: context.dataset.clone(),
        fingerprint: context.fingerprint.clone(),
        input: context.input,
        split: context.split.clone(),
        seed: context.seed,
        sample: None,
        jpeg: None,
        images: rows.len(),
        measures,
        per_image,
    })
}

fn image_measures(row: &Row, columns: &[Column]) -> ImageMeasures {
    let measures = columns.iter().map(|c| c.name.as_str()).zip(row.values.iter().copied());
    let others = [(J, row.j), (PROBE_DICE, row.probe)];
    let values = measures.chain(others).filter_map(|(name, v)| defined(v).map(|v| (name.to_string(), v)));
    ImageMeasures { name: row.name.clone(), values: values.collect() }
}

/// Refuses a sample that cannot be measured.
pub(super) fn check(sample: &Sample) -> Result<()> {
    let (image, mask) = (&sample.image, &sample.mask);
    let pixels = image.height * image.width;
    let size = format!("{} x {}", image.height, image.width);
    if pixels == 0 || image.channels == 0 || image.data.len() != pixels * image.channels {
        return Err(refused(&sample.name, "an image with pixels", &size, "remove the image"));
    }
    if (mask.height, mask.width) != (image.height, image.width) || mask.data.len() != pixels {
        let got = format!("{} x {}", mask.height, mask.width);
        return Err(refused(&sample.name, &format!("a mask of {size} pixels"), &got, "pair the mask with its image"));
    }
    if let Some(labels) = sample.instances.as_ref().filter(|labels| labels.len() != pixels) {
        let got = format!("{} labels", labels.len());
        return Err(refused(&sample.name, &format!("{pixels} instance labels"), &got, "pair the mask with its image"));
    }
    match image.data.iter().position(|v| !v.is_finite()) {
        Some(at) => {
            let got = format!("{} at value {at}", image.data[at]);
            Err(refused(&sample.name, "finite image values", &got, "replace NaN and infinity before measuring"))
        }
        None => Ok(()),
    }
}

fn refused(name: &str, expected: &str, got: &str, hint: &str) -> Error {
    Error::Content { path: Path::new(name).into(), expected: expected.into(), got: got.into(), hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::tiles;
    use crate::data::Image;
    use crate::phantom::{PhantomKind, PhantomOptions, make};
    use crate::recipe::InputMode;

    fn context() -> ProfileContext {
        ProfileContext {
            dataset: "phantom".into(),
            fingerprint: "f".into(),
            input: InputSpec { mode: InputMode::Resize, size: 64 },
            split: "train".into(),
            seed: Some(3),
            keep_images: true,
            classes: 0,
            sources: BTreeMap::new(),
        }
    }

    fn phantoms(count: usize) -> Vec<Sample> {
        let options = PhantomOptions { size: 64, ..PhantomOptions::new(PhantomKind::Nuclei) };
        (0..count).map(|i| make(&options, i)).collect()
    }

    #[test]
    fn a_profile_is_the_same_in_any_order_and_with_any_number_of_threads() {
        let samples = phantoms(7);
        let reversed: Vec<Sample> = samples.iter().rev().cloned().collect();
        let with = |threads: usize, samples: &[Sample]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            serde_json::to_string(&pool.install(|| profile(samples, &context())).unwrap()).unwrap()
        };
        let one = with(1, &samples);
        assert_eq!(one, with(3, &samples));
        assert_eq!(one, with(2, &reversed));
    }

    #[test]
    fn the_json_has_the_promised_keys_and_comes_back() {
        let made = profile(&phantoms(3), &context()).unwrap();
        let value = serde_json::to_value(&made).unwrap();
        assert_eq!(value["format"], "segfit-profile/1");
        assert_eq!(value["images"], 3);
        assert!(value["measures"]["jpeg"]["mean"].as_f64().unwrap() > 0.0);
        assert!(value["measures"]["jpeg_scan@1/8"]["mean"].is_f64());
        assert!(value["measures"].get("jpeg_scan@1/16").is_none(), "4 x 4 is too small");
        assert!(value["measures"].get("survival").is_none() && value["measures"]["survival@1/2"]["mean"].is_f64());
        assert_eq!(serde_json::from_value::<ComplexityProfile>(value).unwrap(), made);
        let short = profile(&phantoms(3), &ProfileContext { keep_images: false, ..context() }).unwrap();
        assert!(serde_json::to_value(&short).unwrap().get("per_image").is_none());
    }

    #[test]
    fn every_mean_is_the_mean_over_the_images() {
        let made = profile(&phantoms(5), &context()).unwrap();
        for (name, summary) in &made.measures {
            let values: Vec<f64> = made.per_image.iter().filter_map(|i| i.values.get(name).copied()).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            assert!((mean - summary.mean).abs() <= 1e-12 * mean.abs(), "{name}");
            assert_eq!(values.len(), summary.images);
            assert!(values.iter().all(|v| v.is_finite()), "{name}");
        }
    }

    #[test]
    fn samples_that_cannot_be_measured_are_refused_by_name() {
        assert!(profile(&[], &context()).is_err());
        let mut broken = phantoms(2);
        broken[1].image.data[5] = f32::NAN;
        let message = profile(&broken, &context()).unwrap_err().to_string();
        assert!(message.contains(&broken[1].name) && message.contains("finite"), "{message}");
        let mut broken = phantoms(1);
        broken[0].mask = crate::data::Mask::background(3, 3);
        assert!(profile(&broken, &context()).is_err());
    }

    #[test]
    fn the_unit_of_floating_point_images_does_not_matter_whole_or_in_tiles() {
        // Multiples of 1/1024 that reach 0 and 1, so that both ways are exact.
        let spanned = |s: &Sample| {
            let mut s = s.clone();
            s.image.data.iter_mut().for_each(|v| *v = (*v * 1024.0).round() / 1024.0);
            (s.image.data[0], s.image.data[1]) = (0.0, 1.0);
            s
        };
        let unit: Vec<Sample> = phantoms(2).iter().map(spanned).collect();
        let moved = |s: &Sample| {
            let image = Image { data: s.image.data.iter().map(|v| 2048.0 * v - 1024.0).collect(), ..s.image.clone() };
            Sample { image, ..s.clone() }
        };
        let units: Vec<Sample> = unit.iter().map(moved).collect();
        let tiled = |all: &[Sample]| all.iter().flat_map(|s| tiles(s, 32)).collect::<Vec<Sample>>();
        assert_eq!(profile(&units, &context()).unwrap(), profile(&unit, &context()).unwrap());
        assert_eq!(profile(&tiled(&units), &context()).unwrap(), profile(&tiled(&unit), &context()).unwrap());
    }
}
