//! Measuring a data set image by image: what is in memory does not grow with the images, only with their values.
//!
//! Every pair of image and mask is decoded once, by one thread; its samples (the resized image, or its tiles one after
//! the other) have one [`Pyramid`](super::Pyramid) each that all measures share. Then only a row of values is kept, and the filter
//! responses of at most [`PROBE_IMAGES`](super::PROBE_IMAGES) samples. How values become 0..1 is told in
//! `unit_range.rs`.
//!
//! The result does not depend on the number of threads nor on the order of the images: rows are sorted by name before
//! they are summarised, and the samples of the probe are chosen by their names' hashes. With a [`Cache`], an image
//! whose files were measured before is not decoded. The probe belongs to several images; its result is kept for that
//! very set of images, and when one of them is new the others (at most 200) are decoded again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::image_table::{ImageTable, Row, columns, defined};
use super::pairs::Pairs;
use super::profile::{ComplexityProfile, ProfileContext, summarised};
use super::published::JpegOptions;
use super::run::{Run, in_order};
use super::sampling::{SampledImages, sampled};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::recipe::InputSpec;

/// How a data set is measured.
#[derive(Clone, Copy)]
pub struct MeasureOptions<'a> {
    /// How the samples are prepared.
    pub input: InputSpec,
    /// Name of the images that are measured, `train` or `all`; copied into the profile.
    pub split: &'a str,
    /// Measure only this many of the images, chosen by [`sampled`].
    pub sample: Option<usize>,
    /// Seed of that choice.
    pub seed: u64,
    /// How J is taken of the images as decoded.
    pub jpeg: JpegOptions,
    /// Whether the profile keeps the values of every image.
    pub keep_images: bool,
    /// Where values are kept between calls.
    pub cache: Option<&'a Cache>,
    /// Called after every image, from any thread.
    pub progress: &'a (dyn Fn() + Sync),
}

impl<'a> MeasureOptions<'a> {
    /// The paper's J, all images, no cache, no values of single images.
    #[must_use]
    pub fn new(input: InputSpec, split: &'a str) -> Self {
        Self {
            input,
            split,
            sample: None,
            seed: 0,
            jpeg: JpegOptions::default(),
            keep_images: false,
            cache: None,
            progress: &|| {},
        }
    }
}

/// A data set that was measured.
#[derive(Debug)]
pub struct MeasuredDataset {
    /// Its profile.
    pub profile: ComplexityProfile,
    /// The values of every image.
    pub table: ImageTable,
    /// Images whose values came from the cache.
    pub from_cache: usize,
    /// Why the cache could not be written, when it could not; the values are good nevertheless.
    pub cache_failure: Option<Error>,
}

/// The complexity profile of some images of a data set, with the values of every image.
///
/// `indices` are positions in [`Dataset::pairs`]. The measures are those of [`profile`](super::profile()) on the same
/// samples; `j` is added, of each image as decoded. Images are measured in parallel; each thread holds one at a time.
///
/// # Errors
/// [`Error::Content`] when there is nothing to measure or an image cannot be measured, [`Error::Option`] when the
/// options of J are out of range, and what [`Dataset::for_each_prepared`] returns. Of several errors the one of the first name is
/// returned.
///
/// # Panics
/// When an index is not below the number of pairs.
pub fn profile_dataset(dataset: &Dataset, indices: &[usize], options: &MeasureOptions<'_>) -> Result<MeasuredDataset> {
    let facts = Facts { name: &dataset.name, fingerprint: &dataset.fingerprint, classes: dataset.classes };
    stream(dataset, indices, &facts, options)
}

/// What is known of a data set besides its pairs.
pub(super) struct Facts<'a> {
    pub name: &'a str,
    pub fingerprint: &'a str,
    pub classes: usize,
}

fn stream<P: Pairs>(
    pairs: &P,
    indices: &[usize],
    facts: &Facts<'_>,
    options: &MeasureOptions<'_>,
) -> Result<MeasuredDataset> {
    let (indices, sample) = chosen(pairs, indices, options);
    let run = Run::new(pairs, &indices, facts, options);
    let rows = rows(&run, &indices, options)?;
    let measured = Measured {
        dataset: facts.name.into(),
        fingerprint: facts.fingerprint.into(),
        classes: run.classes,
        input: options.input,
        split: options.split.into(),
        sample,
        jpeg: options.jpeg,
    };
    let (profile, table) = measured.summary(rows, &run.probe()?, options.keep_images)?;
    let from_cache = run.from_cache.into_inner();
    let cache_failure = run.cache_failure.into_inner().expect("nothing panics while it is locked");
    Ok(MeasuredDataset { profile, table, from_cache, cache_failure })
}

/// The rows of some images.
pub(super) fn rows<P: Pairs>(run: &Run<'_, P>, indices: &[usize], options: &MeasureOptions<'_>) -> Result<Vec<Row>> {
    let rows = in_order(indices.len(), |i| {
        let rows = run.rows(indices[i])?;
        (options.progress)();
        Ok(rows)
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// What was measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub dataset: String,
    pub fingerprint: String,
    pub classes: usize,
    pub input: InputSpec,
    pub split: String,
    pub sample: Option<SampledImages>,
    pub jpeg: JpegOptions,
}

impl Measured {
    /// The profile of all rows, and the table that it summarises; `dice` is the probe's, by name.
    pub fn summary(
        &self,
        mut rows: Vec<Row>,
        dice: &BTreeMap<String, f64>,
        keep_images: bool,
    ) -> Result<(ComplexityProfile, ImageTable)> {
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows.iter_mut().for_each(|row| row.probe = dice.get(&row.name).copied().unwrap_or(f64::NAN));
        let table = ImageTable { columns: columns(), rows };
        let context = ProfileContext {
            dataset: self.dataset.clone(),
            fingerprint: self.fingerprint.clone(),
            input: self.input,
            split: self.split.clone(),
            seed: None,
            keep_images,
            classes: self.classes,
            sources: BTreeMap::new(),
        };
        let has_j = table.rows.iter().any(|row| defined(row.j).is_some());
        let jpeg = has_j.then_some(self.jpeg);
        let profile = ComplexityProfile { sample: self.sample, jpeg, ..summarised(&table, &context)? };
        Ok((profile, table))
    }
}

/// The images that are measured, by name.
pub(super) fn chosen<P: Pairs>(
    pairs: &P,
    indices: &[usize],
    options: &MeasureOptions<'_>,
) -> (Vec<usize>, Option<SampledImages>) {
    let mut indices = indices.to_vec();
    indices.sort_by(|&a, &b| pairs.name(a).cmp(pairs.name(b)));
    let of = indices.len();
    let Some(n) = options.sample.filter(|&n| n < of) else { return (indices, None) };
    let names: Vec<&str> = indices.iter().map(|&i| pairs.name(i)).collect();
    let taken = sampled(&names, n, options.seed);
    let indices = indices.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(i, _)| i).collect();
    (indices, Some(SampledImages { n, of, seed: options.seed }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::published::j_complexity;
    use super::super::run::hash;
    use super::super::{J, merged_profile, profile, tiles};
    use super::*;
    use crate::data::{Image, Sample, prepare};
    use crate::phantom::{PhantomKind, PhantomOptions, make};
    use crate::recipe::InputMode;

    /// Pairs in memory that count how often they are decoded.
    struct Memory {
        samples: Vec<Sample>,
        decoded: AtomicUsize,
    }

    impl Memory {
        fn new(samples: Vec<Sample>) -> Self {
            Self { samples, decoded: AtomicUsize::new(0) }
        }

        /// How often since the last time.
        fn decoded(&self) -> usize {
            self.decoded.swap(0, Ordering::Relaxed)
        }
    }

    impl Pairs for Memory {
        fn name(&self, index: usize) -> &str {
            &self.samples[index].name
        }

        fn source(&self, index: usize) -> &str {
            let name = self.name(index);
            &name[name.len() - 1..]
        }

        fn content(&self, index: usize) -> [u8; 32] {
            let Sample { image, mask, .. } = &self.samples[index];
            hash(&(image.channels, image.height, &image.data, &mask.data))
        }

        fn decode(
            &self,
            index: usize,
            input: &InputSpec,
            original: &mut dyn FnMut(&Image) -> Result<()>,
            each: &mut dyn FnMut(Sample) -> Result<()>,
        ) -> Result<()> {
            self.decoded.fetch_add(1, Ordering::Relaxed);
            let sample = &self.samples[index];
            original(&sample.image)?;
            prepared(sample, input).into_iter().try_for_each(each)
        }
    }

    fn prepared(sample: &Sample, input: &InputSpec) -> Vec<Sample> {
        match input.mode {
            InputMode::Resize => prepare(std::slice::from_ref(sample), input),
            InputMode::Patch => tiles(sample, input.size),
        }
    }

    const RESIZE: InputSpec = InputSpec { mode: InputMode::Resize, size: 32 };
    const PATCH: InputSpec = InputSpec { mode: InputMode::Patch, size: 16 };

    fn phantoms(count: usize) -> Vec<Sample> {
        let options = PhantomOptions { size: 64, ..PhantomOptions::new(PhantomKind::Nuclei) };
        (0..count).map(|i| make(&options, i)).collect()
    }

    fn measure(pairs: &Memory, options: &MeasureOptions<'_>) -> Result<MeasuredDataset> {
        let facts = Facts { name: "phantom", fingerprint: "f", classes: 2 };
        stream(pairs, &(0..pairs.samples.len()).collect::<Vec<_>>(), &facts, options)
    }

    fn options(input: InputSpec) -> MeasureOptions<'static> {
        MeasureOptions { keep_images: true, ..MeasureOptions::new(input, "train") }
    }

    fn json(measured: &MeasuredDataset) -> String {
        serde_json::to_string(&measured.profile).unwrap()
    }

    /// The profile of the same samples by the entry for memory.
    fn in_memory(pairs: &Memory, input: InputSpec) -> ComplexityProfile {
        let samples: Vec<Sample> = pairs.samples.iter().flat_map(|s| prepared(s, &input)).collect();
        let sources = (0..pairs.samples.len()).map(|i| (pairs.name(i).to_string(), pairs.source(i).to_string()));
        let context = ProfileContext {
            dataset: "phantom".into(),
            fingerprint: "f".into(),
            input,
            split: "train".into(),
            seed: None,
            keep_images: true,
            classes: 2,
            sources: sources.collect(),
        };
        profile(&samples, &context).unwrap()
    }

    /// Without what the entry for memory cannot know.
    fn without_j(measured: MeasuredDataset) -> ComplexityProfile {
        let mut profile = measured.profile;
        assert!(profile.jpeg.take().is_some() && profile.measures.remove(J).is_some());
        for image in &mut profile.per_image {
            image.values.remove(J);
        }
        profile
    }

    fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    #[test]
    fn a_stream_gives_what_memory_gives_in_any_order_and_with_any_number_of_threads() {
        let mut samples = phantoms(20);
        for input in [RESIZE, PATCH] {
            let expected = in_memory(&Memory::new(samples.clone()), input);
            for threads in 1..=3 {
                samples.rotate_left(7);
                samples.swap(2, 11);
                let pairs = Memory::new(samples.clone());
                let measured = with_threads(threads, || measure(&pairs, &options(input))).unwrap();
                assert_eq!(pairs.decoded(), 20, "every pair once");
                assert_eq!(without_j(measured), expected);
            }
        }
        assert!(in_memory(&Memory::new(samples), PATCH).measures["probe_dice"].images == 200, "of 320 tiles");
    }

    #[test]
    fn parts_together_give_the_bits_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let pairs = Memory::new(phantoms(20));
        let facts = Facts { name: "phantom", fingerprint: "f", classes: 2 };
        let all: Vec<usize> = (0..20).collect();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        for (input, sample) in [(RESIZE, None), (PATCH, None), (RESIZE, Some(11))] {
            let options = MeasureOptions { sample, cache: Some(&cache), ..options(input) };
            let whole = json(&measure(&pairs, &MeasureOptions { cache: None, ..options }).unwrap());
            for parts in [1, 3, 21] {
                pairs.decoded();
                let mut paths = Vec::new();
                for part in (1..=parts).rev() {
                    let made =
                        super::super::part::measured_part(&pairs, &all, &facts, &options, (part, parts)).unwrap();
                    paths.push(folder.path().join(format!("{part}.json")));
                    made.write(&paths[parts - part]).unwrap();
                }
                let (profile, table) = merged_profile(&paths, true).unwrap();
                assert_eq!(serde_json::to_string(&profile).unwrap(), whole, "{parts} parts, {input:?}");
                assert_eq!(table.len(), profile.images);
                let refused = |paths: &[std::path::PathBuf]| merged_profile(paths, true).unwrap_err().to_string();
                if parts == 3 {
                    assert!(refused(&paths[1..]).contains("missing: 3"), "{}", refused(&paths[1..]));
                    assert!(refused(&[paths[0].clone(), paths[0].clone()]).contains("part 3 again"));
                }
            }
        }
    }

    #[test]
    fn parts_of_different_measurings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pairs = Memory::new(phantoms(4));
        let facts = Facts { name: "phantom", fingerprint: "f", classes: 2 };
        let write = |name: &str, options: &MeasureOptions<'_>, part| {
            let path = folder.path().join(name);
            super::super::part::measured_part(&pairs, &[0, 1, 2, 3], &facts, options, part)
                .unwrap()
                .write(&path)
                .unwrap();
            path
        };
        let paths =
            [write("a", &options(RESIZE), (1, 2)), write("b", &options(InputSpec { size: 24, ..RESIZE }), (2, 2))];
        assert!(merged_profile(&paths, false).unwrap_err().to_string().contains("measured alike"));
        let text = std::fs::read_to_string(&paths[0]).unwrap();
        std::fs::write(&paths[0], text.replace("\"j\":", "\"k\":")).unwrap();
        assert!(merged_profile(&paths[..1], false).is_err());
        for part in [(0, 2), (3, 2)] {
            assert!(super::super::part::measured_part(&pairs, &[0], &facts, &options(RESIZE), part).is_err());
        }
    }

    #[test]
    fn tiles_outside_zero_and_one_are_decoded_again_and_brought_to_the_range_of_their_image() {
        let mut samples = phantoms(3);
        samples[1].image.data.iter_mut().for_each(|v| *v = *v * 3000.0 - 1000.0);
        let pairs = Memory::new(samples);
        for (input, decoded) in [(RESIZE, 3), (PATCH, 4)] {
            let measured = measure(&pairs, &options(input)).unwrap();
            assert_eq!(pairs.decoded(), decoded);
            assert_eq!(without_j(measured), in_memory(&pairs, input));
        }
    }

    #[test]
    fn j_is_of_the_images_as_decoded_and_counts_once_for_all_tiles() {
        let pairs = Memory::new(phantoms(3));
        let expected: Vec<f64> =
            pairs.samples.iter().map(|s| j_complexity(&s.image, &JpegOptions::default()).unwrap()).collect();
        for input in [RESIZE, PATCH] {
            let measured = measure(&pairs, &options(input)).unwrap();
            let js: Vec<f64> = measured.table.rows.iter().filter_map(|r| defined(r.j)).collect();
            assert_eq!(js, expected);
            assert_eq!(measured.profile.measures[J].images, 3);
        }
    }

    #[test]
    fn a_second_call_decodes_nothing_and_gives_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        for input in [RESIZE, PATCH] {
            let pairs = Memory::new(phantoms(16));
            let options = MeasureOptions { cache: Some(&cache), ..options(input) };
            let first = measure(&pairs, &options).unwrap();
            assert_eq!((pairs.decoded(), first.from_cache), (16, 0));
            let second = measure(&pairs, &options).unwrap();
            assert_eq!((pairs.decoded(), second.from_cache), (0, 16));
            assert_eq!(json(&second), json(&first));
            assert_eq!(json(&second), json(&measure(&pairs, &MeasureOptions { cache: None, ..options }).unwrap()));
        }
    }

    #[test]
    fn other_options_or_classes_are_measured_again_and_other_names_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let pairs = Memory::new(phantoms(2));
        let base = MeasureOptions { cache: Some(&cache), ..options(RESIZE) };
        let decoded = |options: &MeasureOptions<'_>| {
            measure(&pairs, options).unwrap();
            pairs.decoded()
        };
        assert_eq!((decoded(&base), decoded(&base)), (2, 0));
        assert_eq!(decoded(&MeasureOptions { input: InputSpec { size: 40, ..RESIZE }, ..base }), 2);
        assert_eq!(decoded(&MeasureOptions { jpeg: JpegOptions { quality: 60, ..base.jpeg }, ..base }), 2);
        let of_classes = |classes| {
            stream(&pairs, &[0, 1], &Facts { name: "other", fingerprint: "g", classes }, &base).unwrap();
            pairs.decoded()
        };
        assert_eq!((of_classes(2), of_classes(3)), (0, 2), "another name or place is the same image");
    }

    /// The files of a cache.
    fn entries(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let inside =
            |p: &std::path::Path| -> Vec<_> { std::fs::read_dir(p).unwrap().map(|e| e.unwrap().path()).collect() };
        inside(folder).iter().flat_map(|version| inside(version)).flat_map(|shard| inside(&shard)).collect()
    }

    #[test]
    fn damaged_entries_are_measured_again_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let pairs = Memory::new(phantoms(6));
        let options = MeasureOptions { cache: Some(&cache), ..options(RESIZE) };
        let first = json(&measure(&pairs, &options).unwrap());
        pairs.decoded();
        let files = entries(folder.path());
        assert_eq!(files.len(), 7, "six images and the probe");
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            std::fs::write(file, text.replacen("0.", "1.", 3)).unwrap();
            assert_eq!(json(&measure(&pairs, &options).unwrap()), first);
            let decoded = pairs.decoded();
            assert!(decoded == 1 || decoded == 6, "the image, or all images for the probe: {decoded}");
            assert_eq!(std::fs::read_to_string(file).unwrap(), text);
        }
        measure(&pairs, &options).unwrap();
        assert_eq!(pairs.decoded(), 0);
    }

    #[test]
    fn a_new_image_is_measured_and_joins_the_probe() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let cached = MeasureOptions { cache: Some(&cache), ..options(PATCH) };
        measure(&Memory::new(phantoms(5)), &cached).unwrap();
        let more = Memory::new(phantoms(6));
        let grown = measure(&more, &cached).unwrap();
        assert_eq!((grown.from_cache, more.decoded()), (5, 6), "the old ones for the probe");
        assert_eq!(json(&grown), json(&measure(&more, &options(PATCH)).unwrap()));
    }

    #[test]
    fn a_cache_that_cannot_be_written_changes_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::fs::write(folder.path(), "in the way").unwrap();
        let pairs = Memory::new(phantoms(2));
        let measured = measure(&pairs, &MeasureOptions { cache: Some(&cache), ..options(RESIZE) }).unwrap();
        assert!(matches!(measured.cache_failure, Some(Error::Io { .. })));
        assert_eq!(json(&measured), json(&measure(&pairs, &options(RESIZE)).unwrap()));
        std::fs::remove_file(folder.path()).unwrap();
        std::fs::create_dir(folder.path()).unwrap();
    }

    #[test]
    fn a_sample_is_recorded_and_measured_alone() {
        let pairs = Memory::new(phantoms(9));
        let sampled = |n| measure(&pairs, &MeasureOptions { sample: Some(n), ..options(RESIZE) }).unwrap();
        let names = |m: &MeasuredDataset| m.table.rows.iter().map(|r| r.name.clone()).collect::<BTreeSet<_>>();
        let (three, six, many) = (sampled(3), sampled(6), sampled(90));
        assert!(names(&three).len() == 3 && names(&three).is_subset(&names(&six)));
        assert_eq!(three.profile.sample, Some(SampledImages { n: 3, of: 9, seed: 0 }));
        assert_eq!(serde_json::to_value(&three.profile).unwrap()["sample"]["of"], 9);
        assert_eq!(json(&many), json(&measure(&pairs, &options(RESIZE)).unwrap()), "all were measured");
    }

    #[test]
    fn of_several_errors_the_first_name_is_told_and_progress_counts_images() {
        let mut samples = phantoms(12);
        (samples[9].image.data[0], samples[4].image.data[0]) = (f32::NAN, f32::INFINITY);
        let pairs = Memory::new(samples);
        for threads in 1..=3 {
            let error = with_threads(threads, || measure(&pairs, &options(RESIZE)).unwrap_err());
            assert!(error.to_string().contains(&pairs.samples[4].name), "{error}");
        }
        let done = AtomicUsize::new(0);
        let count = || {
            done.fetch_add(1, Ordering::Relaxed);
        };
        measure(&Memory::new(phantoms(5)), &MeasureOptions { progress: &count, ..options(RESIZE) }).unwrap();
        assert_eq!(done.into_inner(), 5);
        assert!(measure(&Memory::new(vec![]), &options(RESIZE)).is_err());
    }
}
