//! DICOM files, and folders that hold one series, to volumes.
//!
//! Nothing that describes a patient, a person or a place is read but for geometry and pixels, and no value of a file is part
//! of a message but for its size, its bits, its transfer syntax and its kind of colour.

use std::path::{Path, PathBuf};

use dicom_object::{DefaultDicomObject, InMemDicomObject, OpenFileOptions, Tag};
use dicom_pixeldata::PixelDecoder as _;

use super::dicom_check::check;
use super::dicom_palette::Palette;
use super::dicom_pixels::{Stored, check_runs, jpeg_2000_frames, whole_numbers};
pub(crate) use super::dicom_segments::{decode_like, is_segmentation};
use super::raster::{Note, Samples, Values};
use super::read::{check_size, decode_error, open_file};
use super::read_tiff::to_rgb;
use super::slices::{Kind, Outline};
use super::volume::{Axis, Geometry, Volume, check_voxels, quantile_range};
use crate::error::{Error, Result};

pub(super) const SOP_CLASS: Tag = Tag(0x0008, 0x0016);
const MODALITY: Tag = Tag(0x0008, 0x0060);
const SLICE_THICKNESS: Tag = Tag(0x0018, 0x0050);
const SPACING_BETWEEN_SLICES: Tag = Tag(0x0018, 0x0088);
const IMAGER_PIXEL_SPACING: Tag = Tag(0x0018, 0x1164);
const SERIES: Tag = Tag(0x0020, 0x000e);
const INSTANCE_NUMBER: Tag = Tag(0x0020, 0x0013);
pub(super) const POSITION: Tag = Tag(0x0020, 0x0032);
const ORIENTATION: Tag = Tag(0x0020, 0x0037);
const SAMPLES_PER_PIXEL: Tag = Tag(0x0028, 0x0002);
const PHOTOMETRIC: Tag = Tag(0x0028, 0x0004);
const PLANAR: Tag = Tag(0x0028, 0x0006);
const FRAMES: Tag = Tag(0x0028, 0x0008);
const ROWS: Tag = Tag(0x0028, 0x0010);
const COLUMNS: Tag = Tag(0x0028, 0x0011);
const PIXEL_SPACING: Tag = Tag(0x0028, 0x0030);
const BITS_ALLOCATED: Tag = Tag(0x0028, 0x0100);
const BITS_STORED: Tag = Tag(0x0028, 0x0101);
const HIGH_BIT: Tag = Tag(0x0028, 0x0102);
const PIXEL_REPRESENTATION: Tag = Tag(0x0028, 0x0103);
const WINDOW_CENTER: Tag = Tag(0x0028, 0x1050);
const WINDOW_WIDTH: Tag = Tag(0x0028, 0x1051);
const RESCALE_INTERCEPT: Tag = Tag(0x0028, 0x1052);
const RESCALE_SLOPE: Tag = Tag(0x0028, 0x1053);
const RESCALE_TYPE: Tag = Tag(0x0028, 0x1054);
pub(super) const SHARED_GROUPS: Tag = Tag(0x5200, 0x9229);
pub(super) const FRAME_GROUPS: Tag = Tag(0x5200, 0x9230);
pub(super) const PIXEL_DATA: Tag = Tag(0x7fe0, 0x0010);

/// A segmentation, whose frames are segments and not slices.
pub(super) const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
/// A segmentation whose pixels are numbers of segments.
pub(super) const LABEL_MAP: &str = "1.2.840.10008.5.1.4.1.1.66.7";
/// Everything behind the meta group is deflated.
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// The index of a medium, which holds no pixels.
const DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// Hounsfield units that become 0 and 1: air at -1000 and dense bone lie between.
const HOUNSFIELD: Values = Values::Range { low: -1024.0, high: 3071.0 };

/// Pixels packed as runs.
const RLE: &str = "1.2.840.10008.1.2.5";

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
    check(path, Some(PIXEL_DATA))?;
    OpenFileOptions::new().read_until(PIXEL_DATA).open_file(path).map_err(|e| unreadable(path, &e))
}

/// The reason of the outermost error alone: what lies below may quote values of the file.
pub(super) fn unreadable(path: &Path, error: &dyn std::error::Error) -> Error {
    decode_error(path, "DICOM")(error.to_string())
}

pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = object.get(tag)?.to_str().ok()?;
    Some(value.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_string())
}

pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    numbers(object, tag)?.first().copied()
}

pub(super) fn numbers(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let values = object.get(tag)?.to_multi_float64().ok()?;
    values.iter().all(|v| v.is_finite()).then_some(values)
}

pub(super) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|e| e.items()).unwrap_or_default()
}

/// Numbers of the file as a whole, of all its frames, or of the first frame.
pub(super) fn of_frames(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let within = |groups: &InMemDicomObject| {
        groups.iter().filter_map(|e| e.items()).flatten().find_map(|item| numbers(item, tag))
    };
    numbers(object, tag)
        .or_else(|| items(object, SHARED_GROUPS).iter().find_map(within))
        .or_else(|| items(object, FRAME_GROUPS).first().and_then(within))
}

/// What is needed of a file's header.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub rows: usize,
    pub columns: usize,
    pub frames: usize,
    stored: Stored,
    photometric: String,
    /// Of pixels that are numbers of colours.
    palette: Option<Palette>,
    planar: bool,
    slope: f64,
    intercept: f64,
    is_hounsfield: bool,
    /// Distances along x and y.
    pixel_mm: Option<[f64; 2]>,
    slice_mm: Option<f64>,
    pub position: Option<[f64; 3]>,
    /// Of the last frame.
    last_position: Option<[f64; 3]>,
    pub orientation: Option<[f64; 6]>,
    instance: Option<f64>,
    syntax: String,
    window: Option<(f64, f64)>,
}

impl Head {
    fn read(path: &Path, object: &DefaultDicomObject) -> Result<Self> {
        let refuse = decode_error(path, "DICOM");
        let content = |expected: &str, got: &str, hint: &str| Error::Content {
            path: path.into(),
            expected: expected.into(),
            got: got.into(),
            hint: hint.into(),
        };
        match text(object, SOP_CLASS).unwrap_or_default().as_str() {
            SEGMENTATION | LABEL_MAP => {
                return Err(content(
                    "pictures",
                    "a DICOM segmentation object",
                    "it is read as the mask of its DICOM image: put it into the masks' folder, with the name of the image or series",
                ));
            }
            DIRECTORY => return Err(content("pictures", "a DICOMDIR index", "name the folder of one series")),
            _ => {}
        }
        let count = |tag: Tag, what: &str| {
            let n = number(object, tag).filter(|n| *n >= 1.0 && *n < 1e9);
            n.map(|n| n as usize).ok_or_else(|| refuse(format!("it does not say its number of {what}")))
        };
        let (rows, columns) = (count(ROWS, "rows")?, count(COLUMNS, "columns")?);
        let channels = count(SAMPLES_PER_PIXEL, "samples per pixel").unwrap_or(1);
        let allocated = count(BITS_ALLOCATED, "bits")?;
        let bits = number(object, BITS_STORED).map_or(allocated, |n| n as usize).clamp(1, allocated);
        let high_bit = number(object, HIGH_BIT).map_or(bits - 1, |n| n as usize);
        let signed = number(object, PIXEL_REPRESENTATION) == Some(1.0);
        let frames = match number(object, FRAMES) {
            Some(n) if n < 1.0 => return Err(refuse(format!("it claims {n} frames"))),
            n => n.map_or(1, |n| n as usize),
        };
        let stored = Stored { channels, allocated, bits, high_bit, signed };
        let pixel = of_frames(object, PIXEL_SPACING).or_else(|| numbers(object, IMAGER_PIXEL_SPACING));
        let pixel_mm = pixel.and_then(|v| match v[..] {
            [y, x] if x > 0.0 && y > 0.0 => Some([x, y]),
            _ => None,
        });
        let array = |values: Option<Vec<f64>>| values.and_then(|v| v.try_into().ok());
        let last = items(object, FRAME_GROUPS).last().and_then(|groups| {
            groups.iter().filter_map(|e| e.items()).flatten().find_map(|item| numbers(item, POSITION))
        });
        let first = |tag: Tag| of_frames(object, tag).and_then(|v| v.first().copied());
        let photometric = text(object, PHOTOMETRIC).unwrap_or_else(|| "MONOCHROME2".into());
        let unit = text(object, RESCALE_TYPE).unwrap_or_default();
        Ok(Self {
            rows,
            columns,
            frames,
            stored,
            palette: (photometric == "PALETTE COLOR").then(|| Palette::read(object)).transpose().map_err(refuse)?,
            photometric,
            planar: number(object, PLANAR) == Some(1.0) && channels > 1,
            slope: first(RESCALE_SLOPE).unwrap_or(1.0),
            intercept: first(RESCALE_INTERCEPT).unwrap_or(0.0),
            is_hounsfield: unit == "HU" || unit.is_empty() && text(object, MODALITY).as_deref() == Some("CT"),
            pixel_mm,
            slice_mm: first(SPACING_BETWEEN_SLICES).or_else(|| first(SLICE_THICKNESS)).filter(|d| *d > 0.0),
            position: array(of_frames(object, POSITION)),
            last_position: array(last),
            orientation: of_frames(object, ORIENTATION).and_then(|v| v.try_into().ok()),
            instance: number(object, INSTANCE_NUMBER),
            syntax: object.meta().transfer_syntax().trim_end_matches('\0').to_string(),
            window: number(object, WINDOW_CENTER).zip(number(object, WINDOW_WIDTH)),
        })
    }

    /// Across the slices.
    pub fn normal(&self) -> Option<[f64; 3]> {
        let [a, b, c, d, e, f] = self.orientation?;
        Some([b * f - c * e, c * d - a * f, a * e - b * d])
    }

    /// Where the slice lies along the normal.
    pub fn depth(&self) -> Option<f64> {
        let (n, p) = (self.normal()?, self.position?);
        Some(n[0] * p[0] + n[1] * p[1] + n[2] * p[2])
    }

    /// Channels of the decoded image.
    fn channels(&self) -> usize {
        if self.palette.is_some() { 3 } else { self.stored.channels }
    }

    /// Fails where there are no pixels, or more than are decoded of one file.
    fn check_voxels(&self, path: &Path, slices: usize) -> Result<()> {
        let sides = [self.columns, self.rows, slices, self.channels()];
        check_voxels(&sides, self.sample_bytes()).map(drop).map_err(decode_error(path, "DICOM"))
    }

    /// Bytes of a decoded sample.
    fn sample_bytes(&self) -> usize {
        if let Some(palette) = &self.palette {
            return palette.sample_bytes();
        }
        if self.is_plain() { self.stored.allocated.div_ceil(8) } else { 4 }
    }

    /// Whether samples are unsigned and keep their meaning.
    fn is_plain(&self) -> bool {
        !self.stored.signed && self.slope == 1.0 && self.intercept == 0.0 && self.stored.allocated <= 16
    }

    fn is_inverted(&self) -> bool {
        self.photometric == "MONOCHROME1"
    }

    /// The pixels of all frames, rescaled.
    fn samples(&self, path: &Path, object: &DefaultDicomObject) -> Result<Samples> {
        let refuse = decode_error(path, "DICOM");
        check_size(self.columns, self.rows, 1).map_err(refuse)?;
        let sides = [self.columns, self.rows, self.frames];
        check_voxels(&sides, self.channels() * self.sample_bytes()).map_err(refuse)?;
        let n = sides.iter().product::<usize>() * self.stored.channels;
        let unknown = |kind: &str| Error::Content {
            path: path.into(),
            expected: "gray or RGB pixels of 8 or 16 bits, uncompressed, RLE, JPEG or JPEG 2000".into(),
            got: kind.into(),
            hint: "decompress the file, for example with dcmdjpeg or dcmdjpls of DCMTK, or save it as RGB".into(),
        };
        if !matches!(self.stored.allocated, 8 | 16) {
            return Err(unknown(&format!("pixels of {} bits", self.stored.allocated)));
        }
        let is_gray = matches!(self.photometric.as_str(), "MONOCHROME1" | "MONOCHROME2" | "PALETTE COLOR");
        let is_colour = matches!(self.photometric.as_str(), "RGB" | "YBR_FULL" | "YBR_RCT" | "YBR_ICT");
        let is_jpeg = self.syntax.starts_with("1.2.840.10008.1.2.4.");
        let is_subsampled = is_jpeg && self.photometric.starts_with("YBR_");
        if !(is_gray && self.stored.channels == 1 || (is_colour || is_subsampled) && self.stored.channels == 3) {
            return Err(unknown(&format!(
                "{} with {} sample(s) per pixel",
                kind_of_colour(&self.photometric),
                self.stored.channels
            )));
        }
        if object.get(PIXEL_DATA).is_none() {
            return Err(Error::Content {
                path: path.into(),
                expected: "pixels".into(),
                got: "a DICOM file without any, such as a report".into(),
                hint: "remove it from the images".into(),
            });
        }
        let mut stored = self.stored;
        let is_2000 = matches!(&self.syntax[..], "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91");
        let (bytes, is_rgb, is_planar) = if is_2000 {
            let fragments = fragments_of(object);
            if fragments.is_empty() {
                return Err(refuse("it holds no pixels".into()));
            }
            let (bytes, bits) =
                jpeg_2000_frames(fragments, self.frames, (self.rows, self.columns), &stored).map_err(refuse)?;
            // The pixels' own precision counts where the header says another one.
            (stored.bits, stored.high_bit) = (bits, bits - 1);
            (bytes, true, false)
        } else if self.syntax == DEFLATED {
            // Inflated when the file was opened; the pixels are plain.
            let element = object.element_opt(PIXEL_DATA).ok().flatten();
            let bytes = element.and_then(|e| e.to_bytes().ok()).ok_or_else(|| refuse("it holds no pixels".into()))?;
            (bytes.into_owned(), self.photometric == "RGB", self.planar)
        } else {
            if self.syntax == RLE {
                check_runs(fragments_of(object), self.rows * self.columns).map_err(refuse)?;
            }
            let decoded = object
                .decode_pixel_data()
                .map_err(|_| unknown(&format!("pixels in {} that cannot be decoded", syntax_name(&self.syntax))))?;
            let is_rgb = decoded.photometric_interpretation().as_str() == "RGB" || is_jpeg;
            let is_planar = self.planar && decoded.planar_configuration() as u16 == 1;
            (decoded.data().to_vec(), is_rgb, is_planar)
        };
        let held = bytes.len() / (stored.allocated / 8);
        if held < n {
            return Err(refuse(format!("it holds {held} of {n} samples")));
        }
        let mut values = whole_numbers(&bytes[..n * stored.allocated / 8], &stored);
        let pixels = self.rows * self.columns;
        if is_planar {
            values = interleaved(&values, pixels, stored.channels);
        }
        if stored.channels == 3 && !is_rgb && self.photometric == "YBR_FULL" {
            for pixel in values.chunks_exact_mut(3) {
                let mut bytes = [0, 1, 2].map(|c| pixel[c] as u8);
                to_rgb(&mut bytes);
                pixel.copy_from_slice(&bytes.map(i32::from));
            }
        }
        if let Some(palette) = &self.palette {
            return Ok(palette.colours(&values));
        }
        Ok(match (self.is_plain(), stored.allocated) {
            (true, 8) => Samples::U8(values.into_iter().map(|v| v as u8).collect()),
            (true, _) => Samples::U16(values.into_iter().map(|v| v as u16).collect()),
            _ => {
                Samples::F32(values.into_iter().map(|v| (self.slope * f64::from(v) + self.intercept) as f32).collect())
            }
        })
    }
}

/// The parts of compressed pixels.
fn fragments_of(object: &InMemDicomObject) -> &[Vec<u8>] {
    object.get(PIXEL_DATA).and_then(|e| e.value().fragments()).unwrap_or_default()
}

/// The words of the standard; anything else is not repeated.
fn kind_of_colour(photometric: &str) -> &'static str {
    const KNOWN: [&str; 10] = [
        "MONOCHROME1",
        "MONOCHROME2",
        "PALETTE COLOR",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_PARTIAL_420",
        "YBR_PARTIAL_422",
        "YBR_RCT",
        "YBR_ICT",
    ];
    KNOWN.into_iter().find(|k| *k == photometric).unwrap_or("an unknown kind of colour")
}

/// A transfer syntax for people.
fn syntax_name(uid: &str) -> &'static str {
    match uid {
        "1.2.840.10008.1.2" => "implicit little-endian",
        "1.2.840.10008.1.2.1" => "explicit little-endian",
        DEFLATED => "deflate",
        "1.2.840.10008.1.2.2" => "explicit big-endian",
        "1.2.840.10008.1.2.4.50" => "JPEG baseline",
        "1.2.840.10008.1.2.4.51" => "JPEG extended (12 bits)",
        "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => "JPEG lossless",
        "1.2.840.10008.1.2.4.80" | "1.2.840.10008.1.2.4.81" => "JPEG-LS",
        "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => "JPEG 2000",
        "1.2.840.10008.1.2.5" => "RLE",
        _ => "another transfer syntax",
    }
}

fn interleaved(planes: &[i32], pixels: usize, channels: usize) -> Vec<i32> {
    let frame = |f: &[i32]| -> Vec<i32> {
        (0..pixels).flat_map(|i| (0..channels).map(move |c| c * pixels + i)).map(|at| f[at]).collect()
    };
    planes.chunks_exact(pixels * channels).flat_map(frame).collect()
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
        check(file, None)?;
        let object = dicom_object::open_file(file).map_err(|e| unreadable(file, &e))?;
        let mut part = head.samples(file, &object)?;
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
