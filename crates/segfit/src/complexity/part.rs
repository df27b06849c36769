//! A data set measured in parts, for example by the jobs of a cluster: the parts together give the profile of the whole,
//! bit for bit.
//!
//! A part keeps what the profile needs of every image: its row of values, and for the ridge probe, which learns across
//! images, the filter responses of those samples that can take part. Whole frames are known by name beforehand, so that all parts
//! together keep at most [`PROBE_IMAGES`](super::PROBE_IMAGES) of them (64 KiB a filter at most, as text a third more); tiles are not, so that every part keeps as
//! many as the whole would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::filter_bank::Responses;
use super::image_table::{ImageTable, Row, columns, defined};
use super::packed;
use super::pairs::Pairs;
use super::profile::ComplexityProfile;
use super::run::{Run, dice_of};
use super::stream::{Facts, MeasureOptions, Measured, chosen, rows};
use super::takers::{Part, Taker, Takers};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::{read_json, write_atomically};

/// `format` of a [`MeasuredPart`]'s file.
pub const PART_FORMAT: &str = "segfit-profile-part/1";

/// One part of a data set, measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct MeasuredPart {
    format: String,
    version: String,
    /// From 1.
    part: usize,
    parts: usize,
    #[serde(flatten)]
    measured: Measured,
    columns: Vec<String>,
    rows: Vec<PartRow>,
    probed: Vec<Probed>,
}

/// The values of one image or tile; `None` where a measure is not defined.
#[derive(Debug, Serialize, Deserialize)]
struct PartRow {
    name: String,
    source: String,
    j: Option<f64>,
    values: Vec<Option<f64>>,
}

/// A sample that can take part in the probe; without responses when it is too small.
#[derive(Debug, Serialize, Deserialize)]
struct Probed {
    name: String,
    source: String,
    #[serde(with = "packed")]
    responses: Option<Responses>,
}

/// Measures part number `part`, counted from 1, of `parts`: of the images that
/// [`profile_dataset`](super::profile_dataset) would measure, in the order of their names, every `parts`-th from this one on.
///
/// # Errors
/// [`Error::Option`] when there is no such part; otherwise as there.
///
/// # Panics
/// When an index is not below the number of pairs.
pub fn measure_part(
    dataset: &Dataset,
    indices: &[usize],
    options: &MeasureOptions<'_>,
    (part, parts): (usize, usize),
) -> Result<MeasuredPart> {
    let facts = Facts { name: &dataset.name, fingerprint: &dataset.fingerprint, classes: dataset.classes };
    measured_part(dataset, indices, &facts, options, (part, parts))
}

/// As [`measure_part`], of any pairs.
pub(super) fn measured_part<P: Pairs>(
    pairs: &P,
    indices: &[usize],
    facts: &Facts<'_>,
    options: &MeasureOptions<'_>,
    (part, parts): (usize, usize),
) -> Result<MeasuredPart> {
    if part == 0 || part > parts {
        let expected = "a part from 1 to the number of parts".into();
        return Err(Error::Option { what: "--part".into(), expected, got: format!("{part}/{parts}") });
    }
    let (indices, sample) = chosen(pairs, indices, options);
    // The run knows all images, so that only those keep responses which take part in the whole.
    let run = Run::new(pairs, &indices, facts, options);
    let own: Vec<usize> = indices.iter().copied().skip(part - 1).step_by(parts).collect();
    let rows = rows(&run, &own, options)?;
    let probed = run.probed()?;
    Ok(MeasuredPart {
        format: PART_FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        part,
        parts,
        measured: Measured {
            dataset: facts.name.into(),
            fingerprint: facts.fingerprint.into(),
            classes: run.classes,
            input: options.input,
            split: options.split.into(),
            sample,
            jpeg: options.jpeg,
        },
        columns: run.columns.iter().map(|c| c.name.clone()).collect(),
        rows: rows.into_iter().map(PartRow::from).collect(),
        probed: probed.into_iter().map(|(name, taker)| Probed::of(name, taker)).collect(),
    })
}

impl From<Row> for PartRow {
    fn from(row: Row) -> Self {
        let values = row.values.into_iter().map(defined).collect();
        Self { name: row.name, source: row.source, j: defined(row.j), values }
    }
}

impl From<PartRow> for Row {
    fn from(row: PartRow) -> Self {
        let number = |v: Option<f64>| v.unwrap_or(f64::NAN);
        let values = row.values.into_iter().map(number).collect();
        Self { name: row.name, source: row.source, values, j: number(row.j), probe: f64::NAN }
    }
}

impl Probed {
    fn of(name: String, taker: Taker) -> Self {
        let responses = match taker.part {
            Part::Made(responses) => responses,
            Part::Later => None,
        };
        Self { name, source: taker.source, responses }
    }
}

impl MeasuredPart {
    /// Number of images, or of tiles for patches, in this part.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no image fell to this part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the part, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(|e| bad(path, e.to_string()))?;
        write_atomically(path, &json)
    }

    /// Reads a part.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Json`] when it is damaged or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        let part: Self = read_json(path, PART_FORMAT)?;
        let own: Vec<String> = columns().into_iter().map(|c| c.name).collect();
        if part.version != env!("CARGO_PKG_VERSION") || part.columns != own {
            return Err(bad(path, format!("it holds the measures of segfit {}", part.version)));
        }
        if part.rows.iter().any(|row| row.values.len() != own.len()) {
            return Err(bad(path, "a row is too short".into()));
        }
        Ok(part)
    }
}

fn bad(path: &Path, reason: String) -> Error {
    Error::Json { path: path.into(), expected: PART_FORMAT.into(), reason }
}

/// The profile of a data set from the files of all its parts, and the values of every image.
///
/// The same, bit for bit, as [`profile_dataset`](super::profile_dataset) on the whole. `keep_images` as in
/// [`MeasureOptions`].
///
/// # Errors
/// What [`MeasuredPart::read`] returns; [`Error::Content`] for a part of another data set, measured otherwise, given twice, or
/// missing.
pub fn merged_profile(paths: &[PathBuf], keep_images: bool) -> Result<(ComplexityProfile, ImageTable)> {
    let mut seen = BTreeSet::new();
    let mut first: Option<(Measured, usize)> = None;
    let mut all: Vec<Row> = Vec::new();
    let takers = Takers::default();
    for path in paths {
        let part = MeasuredPart::read(path)?;
        match &first {
            Some((measured, parts)) if *measured != part.measured || *parts != part.parts => {
                let got = format!("a part of {}, measured with other files or options", part.measured.dataset);
                return Err(unfit(path, "a part of the same data set, measured alike", got));
            }
            Some(_) => {}
            None => first = Some((part.measured, part.parts)),
        }
        if !seen.insert(part.part) {
            return Err(unfit(path, "every part once", format!("part {} again", part.part)));
        }
        all.extend(part.rows.into_iter().map(Row::from));
        for Probed { name, source, responses } in part.probed {
            takers.add(&name, Taker { image: 0, source, key: [0; 32], part: Part::Made(responses) });
        }
    }
    let Some((measured, parts)) = first else {
        return Err(unfit(Path::new("--merge"), "at least one part", "none".into()));
    };
    let missing: Vec<String> = (1..=parts).filter(|p| !seen.contains(p)).map(|p| p.to_string()).collect();
    if !missing.is_empty() {
        let got = format!("{} of them; missing: {}", seen.len(), missing.join(", "));
        return Err(unfit(&paths[0], &format!("all {parts} parts"), got));
    }
    let mut takers = takers.take();
    let dice = dice_of(takers.values_mut());
    let named = takers.into_keys().zip(dice).filter_map(|(name, dice)| dice.map(|dice| (name, dice)));
    measured.summary(all, &named.collect::<BTreeMap<String, f64>>(), keep_images)
}

fn unfit(path: &Path, expected: &str, got: String) -> Error {
    let hint = "measure all parts of the same folder with the same options: segfit measure DATA --part I/N".into();
    Error::Content { path: path.into(), expected: expected.into(), got, hint }
}
