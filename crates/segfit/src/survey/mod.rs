//! What a person should see of a data set, and what looks wrong with it.
//!
//! One pass over the pairs, in parallel: each is decoded once and leaves numbers and hashes (`facts.rs`). The rules
//! (`rules/`, one file per subject) read these and warn; the few images that are shown are decoded again (`shown.rs`).
//! Nothing here influences a profile, a choice or a training: test images are looked at only for what is wrong with them.

mod facts;
mod rules;
mod shown;
mod small_png;
#[cfg(test)]
mod testing;
mod warning;

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::Serialize;

use self::facts::Facts;
use self::rules::Looked;
pub use self::shown::{Shown, thumbnail};
pub use self::warning::{NAMES, Warning, WarningKind};
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::recipe::InputSpec;

/// What to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyOptions {
    /// How many of the simplest and of the most complex images are shown.
    pub shown: usize,
    /// Pixels of the longer side of a shown image, at most.
    pub side: usize,
    /// How images are prepared: what is shown is what the network sees.
    pub input: InputSpec,
}

impl SurveyOptions {
    /// Four and four images of at most 160 pixels.
    #[must_use]
    pub fn new(input: InputSpec) -> Self {
        Self { shown: 4, side: 160, input }
    }
}

/// A data set as a person should see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Survey {
    /// The data set's name.
    pub dataset: String,
    /// Its fingerprint, see [`Dataset::fingerprint`].
    pub fingerprint: String,
    /// How the images are prepared.
    pub input: InputSpec,
    /// All images.
    pub images: usize,
    /// Training images.
    pub train: usize,
    /// Validation images.
    pub validation: usize,
    /// Test images.
    pub test: usize,
    /// What the images were taken from: slides, films, specimens; of all splits.
    pub sources: usize,
    /// Channels of every image.
    pub channels: usize,
    /// Native sizes.
    pub sizes: Sizes,
    /// The classes, background first; empty without masks.
    pub classes: Vec<ClassShare>,
    /// The training images of least complexity, simplest first.
    pub simplest: Vec<Shown>,
    /// The training images of greatest complexity, most complex first; none of them is among the simplest.
    pub most_complex: Vec<Shown>,
    /// JPEG complexity of every training image as prepared (the mean of its tiles, for patches), ascending: bytes per
    /// pixel at quality 80, see [`jpeg_complexity`](crate::complexity::jpeg_complexity).
    pub complexity: Vec<f64>,
    /// What looks wrong, the most serious first.
    pub warnings: Vec<Warning>,
    /// What was noticed when the data set was opened, see [`Dataset::warnings`].
    pub remarks: Vec<String>,
}

/// The smallest and the largest image, by pixels: rows and columns of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sizes {
    /// Rows and columns of the image with fewest pixels.
    pub smallest: (usize, usize),
    /// Rows and columns of the image with most pixels.
    pub largest: (usize, usize),
}

/// How much of the training images a class fills.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClassShare {
    /// The class; 0 is background.
    pub class: u8,
    /// Its name, see [`LabelMap::name_of`](crate::data::LabelMap::name_of).
    pub label: String,
    /// Its share of the training pixels, in [0, 1]; every image counts the same, whatever its size.
    pub share: f64,
    /// Training images that hold it.
    pub images: usize,
}

/// What a data set looks like and what looks wrong with it.
///
/// Every pair is decoded once and the shown ones once more; each thread holds one pair, and of files that decode to
/// [`WHOLE_BYTES`](crate::data::WHOLE_BYTES) or more only bands, as [`Dataset::for_each_prepared`] does. Of such large pairs what is compared
/// and counted are the prepared samples, and the regions of their masks are not counted. The result does not depend on
/// the number of threads.
///
/// # Errors
/// As [`Dataset::load`]; of several errors the one of the first pair.
pub fn survey(dataset: &Dataset, options: &SurveyOptions) -> Result<Survey> {
    let facts: Vec<Result<Facts>> =
        (0..dataset.pairs.len()).into_par_iter().map(|i| Facts::of(dataset, i, &options.input)).collect();
    let facts = facts.into_iter().collect::<Result<Vec<Facts>>>()?;
    let classes = classes(dataset, &facts);
    let by_complexity = by_complexity(&facts);
    let (simplest, most_complex) = chosen(&by_complexity, options.shown);
    let show = |facts: Vec<&Facts>| {
        let shown: Vec<Result<Shown>> = facts.par_iter().map(|f| Shown::of(dataset, f, options)).collect();
        shown.into_iter().collect::<Result<Vec<Shown>>>()
    };
    let count = |split| dataset.pairs.iter().filter(|p| p.split == split).count();
    let looked = Looked { dataset, facts: &facts, classes: &classes, input: &options.input };
    Ok(Survey {
        dataset: dataset.name.clone(),
        fingerprint: dataset.fingerprint.clone(),
        input: options.input,
        images: facts.len(),
        train: count(Split::Train),
        validation: count(Split::Validation),
        test: count(Split::Test),
        sources: dataset.pairs.iter().map(|p| &p.source).collect::<BTreeSet<_>>().len(),
        channels: dataset.channels,
        sizes: sizes(&facts),
        complexity: by_complexity.iter().filter_map(|f| f.complexity).collect(),
        simplest: show(simplest)?,
        most_complex: show(most_complex)?,
        warnings: rules::warnings(&looked),
        remarks: dataset.warnings.clone(),
        classes,
    })
}

fn sizes(facts: &[Facts]) -> Sizes {
    let by_pixels = |f: &&Facts| (f.height * f.width, f.height);
    let of = |f: Option<&Facts>| f.map_or((0, 0), |f| (f.height, f.width));
    Sizes { smallest: of(facts.iter().min_by_key(by_pixels)), largest: of(facts.iter().max_by_key(by_pixels)) }
}

fn classes(dataset: &Dataset, facts: &[Facts]) -> Vec<ClassShare> {
    let training = || facts.iter().filter(|f| dataset.pairs[f.index].split == Split::Train);
    let images = training().count().max(1) as f64;
    let of = |class: u8| ClassShare {
        class,
        label: dataset.label_map.name_of(class).unwrap_or_else(|| format!("class {class}")),
        share: training().map(|f| f.share(class)).sum::<f64>() / images,
        images: training().filter(|f| f.pixels_of(class) > 0).count(),
    };
    (0..dataset.classes).map(|class| of(class as u8)).collect()
}

/// The training images in ascending order of their complexity, equal ones in the order of the pairs.
fn by_complexity(facts: &[Facts]) -> Vec<&Facts> {
    let mut measured: Vec<&Facts> = facts.iter().filter(|f| f.complexity.is_some()).collect();
    let value = |f: &Facts| f.complexity.unwrap_or_default();
    measured.sort_by(|a, b| value(a).total_cmp(&value(b)).then(a.index.cmp(&b.index)));
    measured
}

/// The first and, in reverse, the last `shown` of some images; fewer of both when they are fewer than twice as many.
fn chosen<'a>(by_complexity: &[&'a Facts], shown: usize) -> (Vec<&'a Facts>, Vec<&'a Facts>) {
    let first = shown.min(by_complexity.len().div_ceil(2));
    let last = shown.min(by_complexity.len() - first);
    (by_complexity[..first].to_vec(), by_complexity.iter().rev().take(last).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::testing::{INPUT, clean, folder, open, standard, surveyed};
    use super::*;
    use crate::complexity::{MeasureOptions, profile_dataset};
    use crate::recipe::InputMode;

    #[test]
    fn a_clean_data_set_is_counted_and_has_no_warnings() {
        let dir = clean();
        let survey = surveyed(&dir);
        assert_eq!(survey.warnings, []);
        assert_eq!((survey.images, survey.train, survey.validation, survey.test), (48, 32, 4, 12));
        assert_eq!((survey.sources, survey.channels), (48, 1));
        assert_eq!(survey.sizes, Sizes { smallest: (48, 48), largest: (48, 48) });
        let labels: Vec<&str> = survey.classes.iter().map(|c| c.label.as_str()).collect();
        assert_eq!(labels, ["background", "foreground"]);
        assert!((survey.classes.iter().map(|c| c.share).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!((survey.classes[1].images, survey.complexity.len()), (32, 32));
    }

    #[test]
    fn the_extremes_of_the_training_images_are_shown_and_none_twice() {
        let dir = clean();
        let survey = surveyed(&dir);
        assert!(survey.complexity.is_sorted());
        let of = |shown: &[Shown]| shown.iter().map(|s| s.complexity).collect::<Vec<_>>();
        assert_eq!(of(&survey.simplest), survey.complexity[..4]);
        assert_eq!(of(&survey.most_complex), survey.complexity[28..].iter().rev().copied().collect::<Vec<_>>());
        let few = folder(5, |i| ["train", "train", "train", "val", "test"][i].into(), |_, _| {});
        let survey = surveyed(&few);
        assert_eq!((survey.simplest.len(), survey.most_complex.len(), survey.complexity.len()), (2, 1, 3));
        assert!(survey.simplest.iter().all(|s| s.name != survey.most_complex[0].name));
    }

    #[test]
    fn complexity_is_that_of_the_profile() {
        let dataset = open(&clean());
        let train = dataset.indices(Split::Train);
        for (mode, size) in [(InputMode::Resize, 32), (InputMode::Patch, 64)] {
            let input = InputSpec { mode, size };
            let options = MeasureOptions { keep_images: true, ..MeasureOptions::new(input, "train") };
            let profile = profile_dataset(&dataset, &train, &options).unwrap().profile;
            let mut expected: Vec<f64> = profile.per_image.iter().map(|i| i.values["jpeg"]).collect();
            expected.sort_by(f64::total_cmp);
            assert_eq!(survey(&dataset, &SurveyOptions::new(input)).unwrap().complexity, expected);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_survey() {
        let dir = folder(48, standard, |i, s| {
            if i % 7 == 0 {
                s.image.data[..48].fill(0.0);
                s.mask.data.fill(0);
            }
        });
        let of = |threads: usize, mode: InputMode| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let options = SurveyOptions::new(InputSpec { mode, ..INPUT });
            serde_json::to_string(&pool.install(|| survey(&open(&dir), &options)).unwrap()).unwrap()
        };
        for mode in [InputMode::Resize, InputMode::Patch] {
            let one = of(1, mode);
            assert!(one.contains("\"kind\":\"empty-masks\""), "{one}");
            (2..=4).for_each(|threads| assert_eq!(of(threads, mode), one));
        }
    }

    #[test]
    fn images_without_masks_are_surveyed_as_images() {
        let dir = clean();
        let options = crate::data::Options { masks_optional: true, ..crate::data::Options::new(dir.path()) };
        std::fs::remove_dir_all(dir.path().join("masks")).unwrap();
        let survey = survey(&Dataset::open(&options).unwrap(), &SurveyOptions::new(INPUT)).unwrap();
        assert_eq!((survey.classes.len(), survey.warnings.len(), survey.simplest.len()), (0, 0, 4));
    }
}
