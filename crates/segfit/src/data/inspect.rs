//! What a file holds and how it will be read, for people.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::dicom;
use super::header::Header;
use super::image_file::ImageFile;
use super::labels::RawMask;
use super::nifti;
use super::raster::{Note, Raster, Samples, Values};
use super::read::{MAGIC_BYTES, format_of, open_file};
use super::read_tiff::compression_name;
use super::rows::{Rows, WHOLE_BYTES};
use super::slices::Kind;
use super::volume::{Axis, Slice};
use super::zarr;
use crate::error::{Error, Result};

/// A file with more different labels than this is taken for an image.
const MAX_LABELS: usize = 64;
/// Samples that are looked at at a time.
const BAND_SAMPLES: usize = 1 << 22;

/// What was found in a file. Nothing in it is about a patient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The file, or the folder of a series.
    pub path: PathBuf,
    /// `PNG`, `TIFF`, `NIfTI`, ...
    pub format: String,
    /// What the format says besides: compression, byte order, where the axes are from.
    pub details: Vec<(String, String)>,
    /// Bits of a sample in memory.
    pub bits: u8,
    /// Whether samples are floating point or signed in memory.
    pub is_float: bool,
    /// Columns of a slice.
    pub columns: usize,
    /// Rows of a slice.
    pub rows: usize,
    /// Slices: pages, frames, slices of a volume, time points.
    pub slices: usize,
    /// The axis that slices follow; none for a picture.
    pub axis: Option<Axis>,
    /// Channels of the image.
    pub channels: usize,
    /// Distances along x, y and z of the file in millimetres.
    pub spacing_mm: Option<[f64; 3]>,
    /// Least value of a channel, as stored or rescaled.
    pub least: f64,
    /// Greatest value.
    pub greatest: f64,
    /// Numbers that are NaN or infinite; an image with any is refused.
    pub non_finite: usize,
    /// How values become those of an image.
    pub values: String,
    /// Labels and their pixels, if the file can be read as a mask and there are few.
    pub labels: Option<BTreeMap<u32, u64>>,
    /// What is left out or changed.
    pub notes: Vec<String>,
}

/// Looks at all pixels of a file. `each` gets every slice as numbers, `[rows][columns][channels]`, as stored or rescaled, with
/// indexed colours expanded and without alpha; of a file that is read in bands, every band.
///
/// # Errors
/// As [`ImageFile::open`] and [`ImageFile::image`], and those of `each`.
pub fn inspect(path: &Path, axis: Option<Axis>, each: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<Inspection> {
    let kind = Kind::of(path)?;
    let file = ImageFile::open(path, axis)?;
    let (rows, columns) = file.outline.slice_size(file.axis());
    let mut seen = Seen::default();
    if kind == Kind::Picture || kind == Kind::Tiff && !file.is_stack() && !file.outline.is_merged {
        let mut bands = Rows::open(path, WHOLE_BYTES)?;
        let step = (BAND_SAMPLES / columns.max(1)).max(1);
        for y in (0..rows).step_by(step) {
            let mut raster = bands.rows(y..rows.min(y + step))?;
            raster.note_transparency();
            seen.look(path, raster, each)?;
        }
        seen.notes.extend(bands.notes());
    } else {
        for index in 0..file.count() {
            seen.look(path, file.slices.raster(Slice { axis: file.axis(), index })?, each)?;
        }
    }
    let spacing_mm = match (file.slices.volume(), file.slices.pages()) {
        (Some(volume), _) => volume.spacing_mm,
        (_, Some(stack)) => stack.spacing_mm,
        _ => None,
    };
    let channels = seen.channels;
    Ok(Inspection {
        path: path.into(),
        format: format_name(path, kind)?,
        details: details(path, kind, &file)?.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        bits: seen.bits,
        is_float: seen.is_float,
        columns,
        rows,
        slices: file.count(),
        axis: file.is_stack().then(|| file.axis()),
        channels,
        spacing_mm,
        least: seen.least,
        greatest: seen.greatest,
        non_finite: seen.non_finite,
        values: seen.values,
        labels: seen.labels,
        notes: seen.notes.iter().map(Note::to_string).collect(),
    })
}

/// What was seen of the pixels so far.
#[derive(Default)]
struct Seen {
    is_started: bool,
    bits: u8,
    is_float: bool,
    channels: usize,
    least: f64,
    greatest: f64,
    non_finite: usize,
    values: String,
    labels: Option<BTreeMap<u32, u64>>,
    notes: std::collections::BTreeSet<Note>,
}

impl Seen {
    fn look(&mut self, path: &Path, raster: Raster, each: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let numbers = numbers_of(&raster);
        each(&numbers)?;
        if !self.is_started {
            (self.least, self.greatest) = (f64::INFINITY, f64::NEG_INFINITY);
            (self.bits, self.channels) = (raster.bits, raster.image_channels());
            self.is_float = matches!(raster.samples, Samples::F32(_));
            self.values = rule(&raster);
            self.labels = Some(BTreeMap::new());
            self.is_started = true;
        }
        for &v in &numbers {
            if v.is_finite() {
                self.least = self.least.min(f64::from(v));
                self.greatest = self.greatest.max(f64::from(v));
            } else {
                self.non_finite += 1;
            }
        }
        self.notes.extend(&raster.notes);
        if let Some(labels) = &mut self.labels {
            let counts = RawMask::from_raster(path, raster).map(|m| m.counts()).ok();
            for (label, n) in counts.iter().flatten() {
                *labels.entry(*label).or_insert(0) += n;
            }
            if counts.is_none() || labels.len() > MAX_LABELS {
                self.labels = None;
            }
        }
        Ok(())
    }
}

fn numbers_of(raster: &Raster) -> Vec<f32> {
    let (n, channels) = (raster.height * raster.width, raster.image_channels());
    if raster.palette.is_some() {
        let image = raster.to_image();
        return (0..n)
            .flat_map(|i| (0..3).map(move |c| c * n + i))
            .map(|at| (255.0 * image.data[at]).round())
            .collect();
    }
    let step = raster.channels;
    (0..n).flat_map(|i| (0..channels).map(move |c| i * step + c)).map(|at| raster.samples.number(at) as f32).collect()
}

/// How values become those of an image.
fn rule(raster: &Raster) -> String {
    match (&raster.samples, raster.values) {
        (_, Values::Range { low, high }) => format!("{low} becomes 0, {high} becomes 1; beyond is cut"),
        (Samples::F32(_), Values::Type) => "kept as they are".into(),
        _ if raster.palette.is_some() => "colours of the palette, 255 becomes 1".into(),
        _ => format!("{} becomes 1", raster.full_scale()),
    }
}

fn format_name(path: &Path, kind: Kind) -> Result<String> {
    if kind != Kind::Picture {
        return Ok(kind.name().into());
    }
    use std::io::Read as _;
    let mut start = Vec::new();
    open_file(path)?.take(MAGIC_BYTES).read_to_end(&mut start).map_err(Error::io(path))?;
    Ok(format_of(path, &start)?.1.into())
}

fn details(path: &Path, kind: Kind, file: &ImageFile) -> Result<Vec<(&'static str, String)>> {
    use std::io::Read as _;
    Ok(match kind {
        Kind::Dicom => dicom::describe(path)?,
        Kind::Nifti => {
            let mut start = Vec::new();
            open_file(path)?.take(64 * MAGIC_BYTES).read_to_end(&mut start).map_err(Error::io(path))?;
            let outline = nifti::outline(&start).map_err(super::read::decode_error(path, "NIfTI"))?;
            vec![
                ("compression", if nifti::is_gzip(&start) { "gzip".into() } else { "none".into() }),
                ("stored", outline.number.name().to_string()),
                ("rescale", format!("{} x stored + {}", outline.slope, outline.intercept)),
                ("time points", outline.times.to_string()),
            ]
        }
        Kind::Tiff => {
            let stack = file.slices.pages().expect("a TIFF file has pages");
            let page = &stack.slices[0][0];
            let format = ["", "unsigned", "signed", "floating point"].get(page.format as usize).copied().unwrap_or("");
            vec![
                ("compression", compression_name(page.compression).to_string()),
                ("stored", format!("{} bits {format}", page.bits).trim_end().to_string()),
                ("axes", stack.axes.to_string()),
                ("time points", stack.times.to_string()),
            ]
        }
        Kind::Npy => vec![],
        Kind::Zarr => zarr::Outline::read(path)?.describe(),
        Kind::Picture => {
            let header = Header::read(path)?;
            vec![("decoded", format!("{} bytes", header.bytes))]
        }
    })
}
