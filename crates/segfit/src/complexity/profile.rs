//! The complexity of a data set: every measure on every image, summarised.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::filter_bank::responses;
use super::probe::{PROBE_DICE, PROBE_UNIT, ProbeImage, probe_dice, probed};
use super::tiles::whole;
use super::{MEASURES, Measure, Pyramid, Summary, name_at_scale};
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

/// The complexity profile of prepared samples.
///
/// Samples are images as the network sees them (resized, or cut by [`tiles`](super::tiles)), values nominally 0..1, with
/// masks of the same size. The result does not depend on the samples' order nor on the number of threads.
///
/// # Errors
/// [`Error::Content`] when there are no samples, an image has no pixels, a mask or instance map has another size than its
/// image, or an image holds a value that is not finite.
pub fn profile(samples: &[Sample], context: &ProfileContext) -> Result<ComplexityProfile> {
    if samples.is_empty() {
        return Err(refused(&context.dataset, "at least one image", "none", "check the split"));
    }
    let mut order: Vec<&Sample> = samples.iter().collect();
    order.sort_by(|a, b| a.name.cmp(&b.name));
    order.iter().try_for_each(|s| check(s))?;
    let columns = columns();
    let classes = order.iter().flat_map(|s| &s.mask.data).max().map_or(2, |&c| usize::from(c) + 1).max(2);
    let probed = probed(&order.iter().map(|s| s.name.as_str()).collect::<Vec<_>>());
    let rows: Vec<Row> =
        order.par_iter().zip(&probed).map(|(s, &probed)| row(s, &columns, classes, probed, context)).collect();
    let (values, kept): (Vec<_>, Vec<_>) = rows.into_iter().map(|r| (r.values, r.probe)).unzip();
    let probe = probe(kept);
    let mut measures = summaries(&columns, &values);
    let summary = Summary::of(probe.iter().flatten().copied().collect(), PROBE_UNIT, false);
    measures.extend(summary.map(|s| (PROBE_DICE.to_string(), s)));
    let per_image = order.iter().zip(&values).zip(&probe).filter(|_| context.keep_images);
    Ok(ComplexityProfile {
        format: PROFILE_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        dataset: context.dataset.clone(),
        fingerprint: context.fingerprint.clone(),
        input: context.input,
        split: context.split.clone(),
        seed: context.seed,
        images: samples.len(),
        measures,
        per_image: per_image.map(|((s, v), &p)| image_measures(&s.name, &columns, v, p)).collect(),
    })
}

/// A measure at one of its scales.
struct Column {
    name: String,
    measure: &'static Measure,
    scale: usize,
}

fn columns() -> Vec<Column> {
    let scales = |m: &'static Measure| (m.first_scale..=m.last_scale).map(move |s| (m, s));
    MEASURES
        .iter()
        .flat_map(scales)
        .map(|(measure, scale)| Column { name: name_at_scale(measure.name, scale), measure, scale })
        .collect()
}

/// What is kept of one sample.
struct Row {
    values: Vec<Option<f64>>,
    probe: Option<ProbeImage>,
}

fn row(sample: &Sample, columns: &[Column], classes: usize, probed: bool, context: &ProfileContext) -> Row {
    let pyramid = Pyramid { classes, ..Pyramid::new(sample) };
    let values = columns.iter().map(|c| (c.measure.compute)(&pyramid, c.scale)).collect();
    let responses = if probed { responses(&pyramid, &sample.image) } else { None };
    let name = whole(&sample.name);
    let source = context.sources.get(&sample.name).or_else(|| context.sources.get(name)).map_or(name, String::as_str);
    Row { values, probe: responses.map(|responses| ProbeImage { source: source.into(), responses }) }
}

/// The probe's Dice of every image that took part.
fn probe(kept: Vec<Option<ProbeImage>>) -> Vec<Option<f64>> {
    let took_part: Vec<bool> = kept.iter().map(Option::is_some).collect();
    let images: Vec<ProbeImage> = kept.into_iter().flatten().collect();
    let mut dice = probe_dice(&images).unwrap_or_default().into_iter();
    took_part.iter().map(|&part| if part { dice.next() } else { None }).collect()
}

fn summaries(columns: &[Column], values: &[Vec<Option<f64>>]) -> BTreeMap<String, Summary> {
    let one = |(i, c): (usize, &Column)| {
        let defined = values.iter().filter_map(|row| row[i]).collect();
        Summary::of(defined, c.measure.unit, c.measure.larger_is_more_complex).map(|s| (c.name.clone(), s))
    };
    columns.iter().enumerate().filter_map(one).collect()
}

fn image_measures(name: &str, columns: &[Column], values: &[Option<f64>], probe: Option<f64>) -> ImageMeasures {
    let defined = columns.iter().zip(values).filter_map(|(c, v)| v.map(|v| (c.name.clone(), v)));
    let probe = probe.map(|dice| (PROBE_DICE.to_string(), dice));
    ImageMeasures { name: name.into(), values: defined.chain(probe).collect() }
}

fn check(sample: &Sample) -> Result<()> {
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
}
