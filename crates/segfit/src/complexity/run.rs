//! One measuring of a data set: the rows of each image, and the probe of all, from the cache or anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Pyramid;
use super::cache::CACHE_VERSION;
use super::filter_bank::{Responses, responses};
use super::image_table::{Column, Row, columns, defined, values};
use super::pairs::Pairs;
use super::probe::{ProbeImage, probe_dice};
use super::profile::check;
use super::published::j_complexity;
use super::stream::{Facts, MeasureOptions};
use super::takers::{Part, Taker, Takers};
use super::unit_range::ValueRange;
use crate::data::{Image, Sample};
use crate::error::{Error, Result};
use crate::recipe::InputMode;

/// The results of `work` on 0, 1, ..., in this order; of several errors the first, after which no work is begun.
pub(super) fn in_order<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let failed = AtomicUsize::new(usize::MAX);
    let one = |i: usize| {
        // What comes before the first error is always done, so that it is the same error for any number of threads.
        if i > failed.load(Ordering::Relaxed) {
            return None;
        }
        let result = work(i);
        if result.is_err() {
            failed.fetch_min(i, Ordering::Relaxed);
        }
        Some(result)
    };
    let results: Vec<Option<Result<T>>> = (0..count).into_par_iter().map(one).collect();
    results.into_iter().flatten().collect()
}

/// What is kept of one image in a cache.
#[derive(Serialize, Deserialize)]
struct Entry {
    j: Option<f64>,
    /// What the sample's name adds to that of the image, and its values, in the order of the names.
    samples: Vec<(String, Vec<Option<f64>>)>,
}

/// One measuring of a data set.
pub(super) struct Run<'a, P> {
    pairs: &'a P,
    options: &'a MeasureOptions<'a>,
    pub columns: Vec<Column>,
    pub classes: usize,
    /// Hash of all that the values depend on besides the files.
    settings: [u8; 32],
    takers: Takers,
    pub from_cache: AtomicUsize,
    pub cache_failure: Mutex<Option<Error>>,
}

impl<'a, P: Pairs> Run<'a, P> {
    pub fn new(pairs: &'a P, indices: &[usize], facts: &Facts<'_>, options: &'a MeasureOptions<'a>) -> Self {
        let columns = columns();
        let classes = facts.classes.max(2);
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        let version = (CACHE_VERSION, env!("CARGO_PKG_VERSION"));
        let settings = hash(&(version, names, options.input, options.jpeg, classes));
        let takers = match options.input.mode {
            InputMode::Resize => Takers::among(indices.iter().map(|&i| pairs.name(i))),
            // The names of tiles depend on the sizes of the images.
            InputMode::Patch => Takers::default(),
        };
        let (from_cache, cache_failure) = (AtomicUsize::new(0), Mutex::new(None));
        Self { pairs, options, columns, classes, settings, takers, from_cache, cache_failure }
    }

    /// The rows of one image, from the cache or measured.
    pub fn rows(&self, index: usize) -> Result<Vec<Row>> {
        let key = match self.options.cache {
            Some(_) => hash(&(self.settings, self.pairs.content(index))),
            None => [0; 32],
        };
        let known = self.options.cache.and_then(|cache| cache.get(&key)).filter(|entry| self.fits(entry));
        let entry = match known {
            Some(entry) => self.taken_from_cache(index, key, entry),
            None => {
                let entry = self.measured(index, key)?;
                self.keep(&key, &entry);
                entry
            }
        };
        let (name, source) = (self.pairs.name(index), self.pairs.source(index));
        let row = |(i, (place, values)): (usize, (String, Vec<Option<f64>>))| Row {
            name: format!("{name}{place}"),
            source: source.into(),
            values: values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect(),
            j: entry.j.filter(|_| i == 0).unwrap_or(f64::NAN),
            probe: f64::NAN,
        };
        Ok(entry.samples.into_iter().enumerate().map(row).collect())
    }

    fn fits(&self, entry: &Entry) -> bool {
        !entry.samples.is_empty() && entry.samples.iter().all(|(_, values)| values.len() == self.columns.len())
    }

    fn taken_from_cache(&self, index: usize, key: [u8; 32], entry: Entry) -> Entry {
        self.from_cache.fetch_add(1, Ordering::Relaxed);
        for (place, _) in &entry.samples {
            let name = format!("{}{place}", self.pairs.name(index));
            if self.takers.wants(&name) {
                self.takers.add(&name, self.taker(index, key, Part::Later));
            }
        }
        entry
    }

    fn taker(&self, image: usize, key: [u8; 32], part: Part) -> Taker {
        Taker { image, source: self.pairs.source(image).into(), key, part }
    }

    fn measured(&self, index: usize, key: [u8; 32]) -> Result<Entry> {
        let mut j = None;
        let mut samples = BTreeMap::new();
        let mut original = |image: &Image| {
            j = Some(j_complexity(image, &self.options.jpeg)?);
            Ok(())
        };
        self.visit(index, &mut original, &mut |sample| {
            let pyramid = Pyramid { classes: self.classes, ..Pyramid::new(sample) };
            let place = sample.name.strip_prefix(self.pairs.name(index)).unwrap_or_default().to_string();
            samples.insert(place, values(&pyramid, &self.columns).into_iter().map(defined).collect());
            if self.takers.wants(&sample.name) {
                let part = Part::Made(responses(&pyramid, &sample.image));
                self.takers.add(&sample.name, self.taker(index, key, part));
            }
        })?;
        Ok(Entry { j, samples: samples.into_iter().collect() })
    }

    /// Shows `each` the samples of one image, checked and with values of 0..1.
    ///
    /// When the tiles of an image turn out to leave 0..1, they come a second time, brought to the range of the whole
    /// image; what was found the first time is void.
    fn visit(
        &self,
        index: usize,
        original: &mut dyn FnMut(&Image) -> Result<()>,
        each: &mut dyn FnMut(&Sample),
    ) -> Result<()> {
        let whole = self.options.input.mode == InputMode::Resize;
        let mut range = ValueRange::NOTHING;
        self.pairs.decode(index, &self.options.input, original, &mut |mut sample| {
            check(&sample)?;
            range = range.with(ValueRange::of(&sample.image));
            if whole {
                sample.image = range.map(sample.image);
            }
            if whole || range.is_unit() {
                each(&sample);
            }
            Ok(())
        })?;
        if whole || range.is_unit() {
            return Ok(());
        }
        self.pairs.decode(index, &self.options.input, &mut |_| Ok(()), &mut |mut sample| {
            sample.image = range.map(sample.image);
            each(&sample);
            Ok(())
        })
    }

    fn keep(&self, key: &[u8; 32], value: &impl Serialize) {
        let Some(cache) = self.options.cache else { return };
        let failure = || self.cache_failure.lock().expect("nothing panics while it is locked");
        if failure().is_some() {
            return;
        }
        if let Err(error) = cache.put(key, value) {
            *failure() = Some(error);
        }
    }

    /// The samples that take part in the probe, with their filter responses; afterwards the run has none.
    pub fn probed(&self) -> Result<BTreeMap<String, Taker>> {
        let mut takers = self.takers.take();
        self.make_responses(&mut takers)?;
        Ok(takers)
    }

    /// The probe's Dice of every sample that took part, by name.
    pub fn probe(&self) -> Result<BTreeMap<String, f64>> {
        let mut takers = self.takers.take();
        let parts: Vec<_> = takers.iter().map(|(name, t)| (name, &t.source, t.key)).collect();
        let key = hash(&("probe", parts));
        let known = self.options.cache.and_then(|cache| cache.get::<Vec<Option<f64>>>(&key));
        let dice = match known.filter(|dice| dice.len() == takers.len()) {
            Some(dice) => dice,
            None => {
                self.make_responses(&mut takers)?;
                let dice = dice_of(takers.values_mut());
                self.keep(&key, &dice);
                dice
            }
        };
        Ok(takers.into_keys().zip(dice).filter_map(|(name, dice)| dice.map(|dice| (name, dice))).collect())
    }

    /// Decodes the images again whose responses are needed and not known.
    fn make_responses(&self, takers: &mut BTreeMap<String, Taker>) -> Result<()> {
        let later = takers.values().filter(|t| matches!(t.part, Part::Later)).map(|t| t.image);
        let images: Vec<usize> = later.collect::<BTreeSet<usize>>().into_iter().collect();
        let made = in_order(images.len(), |i| {
            let mut made: BTreeMap<String, Option<Responses>> = BTreeMap::new();
            self.visit(images[i], &mut |_| Ok(()), &mut |sample| {
                if takers.contains_key(&sample.name) {
                    made.insert(sample.name.clone(), responses(&Pyramid::new(sample), &sample.image));
                }
            })?;
            Ok(made)
        })?;
        for (name, responses) in made.into_iter().flatten() {
            if let Some(taker) = takers.get_mut(&name) {
                taker.part = Part::Made(responses);
            }
        }
        Ok(())
    }
}

/// The Dice of every taker, in the order given; `None` without responses, or where the probe is not defined.
pub(super) fn dice_of<'a>(takers: impl Iterator<Item = &'a mut Taker>) -> Vec<Option<f64>> {
    let mut took_part = Vec::new();
    let mut images = Vec::new();
    for taker in takers {
        let responses = match std::mem::replace(&mut taker.part, Part::Later) {
            Part::Made(responses) => responses,
            Part::Later => None,
        };
        took_part.push(responses.is_some());
        images.extend(responses.map(|responses| ProbeImage { source: taker.source.clone(), responses }));
    }
    let mut dice = probe_dice(&images).unwrap_or_default().into_iter();
    took_part.into_iter().map(|part| if part { dice.next() } else { None }).collect()
}

/// A hash of plain data.
pub(super) fn hash(data: &impl Serialize) -> [u8; 32] {
    *blake3::hash(&serde_json::to_vec(data).expect("plain data becomes JSON")).as_bytes()
}
