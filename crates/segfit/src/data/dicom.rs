//! DICOM files, and folders that hold one series, to volumes.
//!
//! Nothing that describes a patient, a person or a place is read but for geometry and pixels, and no value of a file is part
//! of a message but for its size, its bits, its transfer syntax and its kind of colour.

use std::path::{Path, PathBuf};

use dicom_object::{DefaultDicomObject, OpenFileOptions};

use super::dicom_check::check;
use super::dicom_head::Head;
use super::dicom_samples::{kind_of_colour, syntax_name};
pub(crate) use super::dicom_segments::{decode_like, is_segmentation};
use super::dicom_tags::{PIXEL_DATA, SERIES, text};
use super::guard::guarded;
use super::raster::{Note, Samples, Values};
use super::read::{decode_error, open_file};
use super::slices::{Kind, Outline};
use super::volume::{Axis, Geometry, Volume, quantile_range};
use crate::error::{Error, Result};

/// Hounsfield units that become 0 and 1: air at -1000 and dense bone lie between.
const HOUNSFIELD: Values = Values::Range { low: -1024.0, high: 3071.0 };

/// Files of a series.
const MAX_FILES: usize = 10_000;

/// Whether a file starts as DICOM files do.
pub(crate) fn is_dicom(start: &[u8]) -> bool {
    start.get(128..132) == Some(b"DICM")
}

/// The DICOM files directly in a folder, by name.
pub(crate) fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden && starts_as_dicom(&path)? {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(Error::Content {
            path: folder.into(),
            expected: format!("at most {MAX_FILES} DICOM files, one series"),
            got: format!("{} files", files.len()),
            hint: "put every series into a folder of its own".into(),
        });
    }
    files.sort();
    Ok(files)
}

fn starts_as_dicom(path: &Path) -> Result<bool> {
    use std::io::Read as _;
    let mut start = Vec::new();
    open_file(path)?.take(132).read_to_end(&mut start).map_err(Error::io(path))?;
    Ok(is_dicom(&start))
}

/// How many DICOM files a folder holds if they are one series of pictures, otherwise 0.
pub(crate) fn files_of_series(folder: &Path) -> usize {
    let Ok(files) = files_of(folder) else { return 0 };
    let series = files.iter().map(|f| series_of(f).ok().flatten());
    let mut all: Vec<Option<String>> = series.collect();
    let n = all.len();
    all.dedup();
    if all.len() == 1 && all[0].is_some() { n } else { 0 }
}

/// The number that the images of a series share; to compare, not to show.
pub(crate) fn series_of(file: &Path) -> Result<Option<String>> {
    let object = open_header(file)?;
    Ok(text(&object, SERIES))
}

pub(super) fn open_header(path: &Path) -> Result<DefaultDicomObject> {
    guarded(path, "DICOM", || {
        check(path, Some(PIXEL_DATA))?;
        OpenFileOptions::new().read_until(PIXEL_DATA).open_file(path).map_err(|e| unreadable(path, &e))
    })
}

/// A whole file.
pub(super) fn open_whole(path: &Path) -> Result<DefaultDicomObject> {
    guarded(path, "DICOM", || {
        check(path, None)?;
        dicom_object::open_file(path).map_err(|e| unreadable(path, &e))
    })
}

/// The reason of the outermost error alone: what lies below may quote values of the file.
fn unreadable(path: &Path, error: &dyn std::error::Error) -> Error {
    decode_error(path, "DICOM")(error.to_string())
}

/// The size of a file or series, from the headers alone.
pub(crate) fn outline(path: &Path) -> Result<Outline> {
    let series = Series::read(path)?;
    let head = &series.heads[0].1;
    let frames = if series.heads.len() > 1 { series.heads.len() } else { head.frames };
    let shape = [frames, head.rows, head.columns];
    head.check_voxels(path, frames)?;
    let bytes = shape.iter().fold(4 * head.channels(), |n, &side| n.saturating_mul(side));
    let channels = head.channels();
    let spacing_mm = series.spacing_mm();
    Ok(Outline { kind: Kind::Dicom, shape, channels, axis: Axis::Z, bytes, is_merged: false, spacing_mm, times: 1 })
}

/// The volume in a file or series. Slices of a series are in the order of their places.
pub(crate) fn decode(path: &Path) -> Result<Volume> {
    let series = Series::read(path)?;
    let (_, head) = &series.heads[0];
    let mut samples: Option<Samples> = None;
    let n = series.heads.len() * head.frames;
    head.check_voxels(path, n)?;
    let is_plain = series.heads.iter().all(|(_, h)| h.is_plain() || h.palette.is_some());
    for (file, head) in &series.heads {
        let object = open_whole(file)?;
        let mut part = guarded(file, "DICOM", || head.samples(file, &object))?;
        if !is_plain && !matches!(part, Samples::F32(_)) {
            part = Samples::F32((0..part.len()).map(|i| part.number(i) as f32).collect());
        }
        match &mut samples {
            Some(samples) => samples.append(&part, std::iter::once(0..part.len())),
            None => samples = Some(part),
        }
    }
    let samples = samples.unwrap_or(Samples::U8(vec![]));
    let mut values = match &samples {
        _ if head.is_hounsfield => HOUNSFIELD,
        _ if head.palette.is_some() => Values::Type,
        Samples::U8(_) => Values::Type,
        _ => quantile_range(&samples),
    };
    if head.is_inverted() {
        values = match values {
            Values::Type => Values::Range { low: 255.0, high: 0.0 },
            Values::Range { low, high } => Values::Range { low: high, high: low },
        };
    }
    let bits = match &samples {
        Samples::U8(_) => 8,
        Samples::U16(_) => 16,
        _ => 32,
    };
    let spacing_mm = series.spacing_mm();
    Ok(Volume {
        shape: [n, head.rows, head.columns],
        times: 1,
        channels: head.channels(),
        bits,
        alpha: false,
        samples,
        values,
        spacing_mm,
        geometry: Geometry::Affine(series.affine(spacing_mm.unwrap_or([1.0; 3]))),
        notes: series.notes.clone(),
    })
}

/// What is shown of a file or series: nothing about people.
pub(crate) fn describe(path: &Path) -> Result<Vec<(&'static str, String)>> {
    let series = Series::read(path)?;
    let head = &series.heads[0].1;
    let sign = if head.stored.signed { "signed" } else { "unsigned" };
    let mut lines = vec![
        ("files", series.heads.len().to_string()),
        ("transfer syntax", syntax_name(&head.syntax).to_string()),
        ("colour", kind_of_colour(&head.photometric).to_string()),
        ("bits", format!("{} of {} stored, {sign}", head.stored.bits, head.stored.allocated)),
        ("rescale", format!("{} x stored + {}", head.slope, head.intercept)),
    ];
    if head.is_hounsfield {
        lines.push(("unit", "Hounsfield units".into()));
    }
    if let Some((center, width)) = head.window {
        lines.push(("window", format!("center {center}, width {width} (for display; not applied)")));
    }
    Ok(lines)
}

/// The files of a series in the order of their slices.
pub(super) struct Series {
    pub heads: Vec<(PathBuf, Head)>,
    notes: Vec<Note>,
}

impl Series {
    pub fn read(path: &Path) -> Result<Self> {
        let files = if path.is_dir() { files_of(path)? } else { vec![path.to_path_buf()] };
        let bad = |expected: &str, got: String| Error::Content {
            path: path.into(),
            expected: expected.into(),
            got,
            hint: "put every DICOM series into a folder of its own".into(),
        };
        if files.is_empty() {
            return Err(bad("an image file, or a folder of DICOM files", "a folder without DICOM files".into()));
        }
        let mut heads = Vec::new();
        let mut first_series = None;
        for file in files {
            let object = open_header(&file)?;
            let series = text(&object, SERIES);
            if *first_series.get_or_insert_with(|| series.clone()) != series {
                return Err(bad("the files of one series", "files of several series".into()));
            }
            let head = Head::read(&file, &object)?;
            heads.push((file, head));
        }
        let kind = |h: &Head| (h.rows, h.columns, h.stored, h.photometric.clone());
        let first = kind(&heads[0].1);
        if let Some((file, h)) = heads.iter().find(|(_, h)| kind(h) != first) {
            return Err(Error::Content {
                path: file.clone(),
                expected: format!("{} x {} pixels of one kind, like the other slices", first.1, first.0),
                got: format!("{} x {} of another size or kind", h.columns, h.rows),
                hint: "remove localizers and reports from the folder of the series".into(),
            });
        }
        if heads.len() > 1 && heads.iter().any(|(_, h)| h.frames > 1) {
            return Err(bad("one slice in each file", "files of several frames".into()));
        }
        let mut notes = Vec::new();
        let depths: Option<Vec<f64>> = heads.iter().map(|(_, h)| h.depth()).collect();
        let key = |h: &Head| if depths.is_some() { h.depth() } else { h.instance }.unwrap_or(0.0);
        heads.sort_by(|(a, x), (b, y)| key(x).total_cmp(&key(y)).then(a.cmp(b)));
        if depths.is_some() && heads.len() > 2 {
            let gaps: Vec<f64> = heads.windows(2).map(|w| key(&w[1].1) - key(&w[0].1)).collect();
            let (least, most) = gaps.iter().fold((f64::MAX, 0f64), |(l, m), &g| (l.min(g), m.max(g)));
            if most > 1.1 * least.max(1e-6) {
                notes.push(Note::UnevenSlices);
            }
        }
        Ok(Self { heads, notes })
    }

    /// From the first slice to the last, for each slice.
    pub fn step(&self) -> Option<[f64; 3]> {
        let first = &self.heads[0].1;
        let (last, n) = if self.heads.len() > 1 {
            (self.heads.last()?.1.position?, self.heads.len())
        } else {
            (first.last_position?, first.frames)
        };
        let from = first.position?;
        let steps = (n > 1).then_some((n - 1) as f64)?;
        let step = [0, 1, 2].map(|i| (last[i] - from[i]) / steps);
        step.iter().any(|d| *d != 0.0).then_some(step)
    }

    pub fn spacing_mm(&self) -> Option<[f64; 3]> {
        let head = &self.heads[0].1;
        let [x, y] = head.pixel_mm?;
        let z = self.step().map(|s| (s[0] * s[0] + s[1] * s[1] + s[2] * s[2]).sqrt());
        Some([x, y, z.or(head.slice_mm).unwrap_or(1.0)])
    }

    /// DICOM counts to the left and to the back, NIfTI to the right and to the front.
    fn affine(&self, spacing_mm: [f64; 3]) -> [[f64; 4]; 3] {
        let head = &self.heads[0].1;
        let [a, b, c, d, e, f] = head.orientation.unwrap_or([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let normal = head.normal().unwrap_or([0.0, 0.0, 1.0]);
        let step = self.step().unwrap_or(normal.map(|v| v * spacing_mm[2]));
        let origin = head.position.unwrap_or([0.0; 3]);
        let [x, y, _] = spacing_mm;
        let row = |i: usize, sign: f64| {
            [[a, b, c][i] * x, [d, e, f][i] * y, step[i], origin[i]].map(|v| if v == 0.0 { 0.0 } else { sign * v })
        };
        [row(0, -1.0), row(1, -1.0), row(2, 1.0)]
    }
}
