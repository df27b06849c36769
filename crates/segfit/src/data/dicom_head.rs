//! [`Head`]: what a DICOM file says about its pixels and where they lie.

use std::path::Path;

use dicom_object::{DefaultDicomObject, Tag};

use super::dicom_palette::Palette;
use super::dicom_pixels::Stored;
use super::dicom_tags::{
    BITS_ALLOCATED, BITS_STORED, COLUMNS, DIRECTORY, FRAME_GROUPS, FRAMES, HIGH_BIT, IMAGER_PIXEL_SPACING,
    INSTANCE_NUMBER, LABEL_MAP, MODALITY, ORIENTATION, PHOTOMETRIC, PIXEL_REPRESENTATION, PIXEL_SPACING, PLANAR,
    POSITION, RESCALE_INTERCEPT, RESCALE_SLOPE, RESCALE_TYPE, ROWS, SAMPLES_PER_PIXEL, SEGMENTATION, SLICE_THICKNESS,
    SOP_CLASS, SPACING_BETWEEN_SLICES, WINDOW_CENTER, WINDOW_WIDTH, items, number, numbers, of_frames, text,
};
use super::read::decode_error;
use super::volume::check_voxels;
use crate::error::{Error, Result};

/// What is needed of a file's header.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub rows: usize,
    pub columns: usize,
    pub frames: usize,
    pub stored: Stored,
    pub photometric: String,
    /// Of pixels that are numbers of colours.
    pub palette: Option<Palette>,
    pub planar: bool,
    pub slope: f64,
    pub intercept: f64,
    pub is_hounsfield: bool,
    /// Distances along x and y.
    pub pixel_mm: Option<[f64; 2]>,
    pub slice_mm: Option<f64>,
    pub position: Option<[f64; 3]>,
    /// Of the last frame.
    pub last_position: Option<[f64; 3]>,
    pub orientation: Option<[f64; 6]>,
    pub instance: Option<f64>,
    pub syntax: String,
    pub window: Option<(f64, f64)>,
}

impl Head {
    pub fn read(path: &Path, object: &DefaultDicomObject) -> Result<Self> {
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
    pub fn channels(&self) -> usize {
        if self.palette.is_some() { 3 } else { self.stored.channels }
    }

    /// Fails where there are no pixels, or more than are decoded of one file.
    pub fn check_voxels(&self, path: &Path, slices: usize) -> Result<()> {
        let sides = [self.columns, self.rows, slices, self.channels()];
        check_voxels(&sides, self.sample_bytes()).map(drop).map_err(decode_error(path, "DICOM"))
    }

    /// Bytes of a decoded sample.
    pub fn sample_bytes(&self) -> usize {
        if let Some(palette) = &self.palette {
            return palette.sample_bytes();
        }
        if self.is_plain() { self.stored.allocated.div_ceil(8) } else { 4 }
    }

    /// Whether samples are unsigned and keep their meaning.
    pub fn is_plain(&self) -> bool {
        !self.stored.signed && self.slope == 1.0 && self.intercept == 0.0 && self.stored.allocated <= 16
    }

    pub fn is_inverted(&self) -> bool {
        self.photometric == "MONOCHROME1"
    }
}
