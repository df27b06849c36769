//! Pixels of DICOM files: whether they can be read, decompressing, and what the numbers mean.

use std::path::Path;

use dicom_object::{DefaultDicomObject, InMemDicomObject};
use dicom_pixeldata::PixelDecoder as _;

use super::dicom_head::Head;
use super::dicom_pixels::{Stored, check_runs, jpeg_2000_frames, jpeg_ls_frames, whole_numbers};
use super::dicom_tags::{DEFLATED, JPEG_2000, JPEG_LS, PIXEL_DATA, RLE};
use super::raster::Samples;
use super::read::{check_size, decode_error};
use super::read_tiff::to_rgb;
use super::volume::check_voxels;
use crate::error::{Error, Result};

/// Decompressed pixels of all frames.
struct Decoded {
    bytes: Vec<u8>,
    stored: Stored,
    is_rgb: bool,
    /// Whether each colour has a plane of its own.
    is_planar: bool,
}

impl Head {
    /// The pixels of all frames, rescaled.
    pub fn samples(&self, path: &Path, object: &DefaultDicomObject) -> Result<Samples> {
        let refuse = decode_error(path, "DICOM");
        check_size(self.columns, self.rows, 1).map_err(refuse)?;
        let sides = [self.columns, self.rows, self.frames];
        check_voxels(&sides, self.channels() * self.sample_bytes()).map_err(refuse)?;
        self.check_kind(path, object)?;
        let Decoded { bytes, stored, is_rgb, is_planar } = self.decoded(path, object)?;
        let (n, size) = (sides.iter().product::<usize>() * stored.channels, stored.allocated / 8);
        if bytes.len() / size < n {
            return Err(refuse(format!("it holds {} of {n} samples", bytes.len() / size)));
        }
        let mut values = whole_numbers(&bytes[..n * size], &stored);
        if is_planar {
            values = interleaved(&values, self.rows * self.columns, stored.channels);
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

    /// Refuses pixels of a kind that is not read.
    fn check_kind(&self, path: &Path, object: &DefaultDicomObject) -> Result<()> {
        let Stored { channels, allocated, .. } = self.stored;
        if !matches!(allocated, 8 | 16) {
            return Err(unknown(path, format!("pixels of {allocated} bits")));
        }
        let is_gray = matches!(self.photometric.as_str(), "MONOCHROME1" | "MONOCHROME2" | "PALETTE COLOR");
        let is_colour = matches!(self.photometric.as_str(), "RGB" | "YBR_FULL" | "YBR_RCT" | "YBR_ICT");
        let is_subsampled = self.is_jpeg() && self.photometric.starts_with("YBR_");
        if !(is_gray && channels == 1 || (is_colour || is_subsampled) && channels == 3) {
            let colour = kind_of_colour(&self.photometric);
            return Err(unknown(path, format!("{colour} with {channels} sample(s) per pixel")));
        }
        if object.get(PIXEL_DATA).is_none() {
            return Err(Error::Content {
                path: path.into(),
                expected: "pixels".into(),
                got: "a DICOM file without any, such as a report".into(),
                hint: "remove it from the images".into(),
            });
        }
        Ok(())
    }

    fn is_jpeg(&self) -> bool {
        self.syntax.starts_with("1.2.840.10008.1.2.4.")
    }

    fn decoded(&self, path: &Path, object: &DefaultDicomObject) -> Result<Decoded> {
        let refuse = decode_error(path, "DICOM");
        let mut stored = self.stored;
        let (fragments, size) = (fragments_of(object), (self.rows, self.columns));
        let (is_2000, is_ls) = (JPEG_2000.contains(&&self.syntax[..]), JPEG_LS.contains(&&self.syntax[..]));
        if (is_2000 || is_ls) && fragments.is_empty() {
            return Err(refuse("it holds no pixels".into()));
        }
        if is_ls && stored.channels == 1 {
            let bytes = jpeg_ls_frames(fragments, self.frames, size, &stored).map_err(refuse)?;
            return Ok(Decoded { bytes, stored, is_rgb: false, is_planar: false });
        }
        if is_2000 {
            let (bytes, bits) = jpeg_2000_frames(fragments, self.frames, size, &stored).map_err(refuse)?;
            // The pixels' own precision counts where the header says another one.
            (stored.bits, stored.high_bit) = (bits, bits - 1);
            return Ok(Decoded { bytes, stored, is_rgb: true, is_planar: false });
        }
        if self.syntax == DEFLATED {
            // Inflated when the file was opened; the pixels are plain.
            let element = object.element_opt(PIXEL_DATA).ok().flatten();
            let bytes = element.and_then(|e| e.to_bytes().ok()).ok_or_else(|| refuse("it holds no pixels".into()))?;
            let is_rgb = self.photometric == "RGB";
            return Ok(Decoded { bytes: bytes.into_owned(), stored, is_rgb, is_planar: self.planar });
        }
        if self.syntax == RLE {
            check_runs(fragments, self.rows * self.columns).map_err(refuse)?;
        }
        let decoded = object
            .decode_pixel_data()
            .map_err(|_| unknown(path, format!("pixels in {} that cannot be decoded", syntax_name(&self.syntax))))?;
        let is_rgb = decoded.photometric_interpretation().as_str() == "RGB" || self.is_jpeg();
        let is_planar = self.planar && decoded.planar_configuration() as u16 == 1;
        Ok(Decoded { bytes: decoded.data().to_vec(), stored, is_rgb, is_planar })
    }
}

fn unknown(path: &Path, got: String) -> Error {
    Error::Content {
        path: path.into(),
        expected: "gray or RGB pixels of 8 or 16 bits, uncompressed, RLE, JPEG, JPEG-LS (gray) or JPEG 2000".into(),
        got,
        hint: "decompress the file, for example with dcmdjpeg or dcmdjpls of DCMTK, or save it as RGB".into(),
    }
}

/// The parts of compressed pixels.
fn fragments_of(object: &InMemDicomObject) -> &[Vec<u8>] {
    object.get(PIXEL_DATA).and_then(|e| e.value().fragments()).unwrap_or_default()
}

/// The words of the standard; anything else is not repeated.
pub(super) fn kind_of_colour(photometric: &str) -> &'static str {
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
pub(super) fn syntax_name(uid: &str) -> &'static str {
    match uid {
        "1.2.840.10008.1.2" => "implicit little-endian",
        "1.2.840.10008.1.2.1" => "explicit little-endian",
        DEFLATED => "deflate",
        "1.2.840.10008.1.2.2" => "explicit big-endian",
        "1.2.840.10008.1.2.4.50" => "JPEG baseline",
        "1.2.840.10008.1.2.4.51" => "JPEG extended (12 bits)",
        "1.2.840.10008.1.2.4.57" | "1.2.840.10008.1.2.4.70" => "JPEG lossless",
        uid if JPEG_LS.contains(&uid) => "JPEG-LS",
        uid if JPEG_2000.contains(&uid) => "JPEG 2000",
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
