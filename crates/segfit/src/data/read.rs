//! Files to pixels: PNG, JPEG, BMP and GIF (TIFF is in `read_tiff`, volumes are in `slices`). The content decides the
//! format, not the name.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::ImageFormat;

use super::foreign::kind_of;
use super::guard::guarded;
use super::image::Image;
use super::limits::{HOW_TO_RAISE, max_decoded_bytes, max_decoded_mib, max_side};
use super::nifti::{is_gzip, is_nifti_header};
use super::raster::{Note, Raster, Samples, unpack_bits};
use super::read_tiff;
use super::slices::{Kind, Slices};
use crate::error::{Error, Result};

/// The formats that are read, for messages.
pub(crate) const READ_FORMATS: &str = "a PNG, JPEG, BMP, GIF, TIFF, NIfTI, DICOM or NumPy (.npy)";

/// The image in a file, planar.
///
/// Integers are divided by the largest value of their type (8 bits: 255, 16 bits: 65535); floating-point and signed TIFF
/// values are kept. An alpha channel is left out; indexed colours become RGB; of animations and multi-page files the
/// first image is read. Orientation tags are not applied. [`ImageFile`](super::ImageFile) reads volumes and stacks.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened, [`Error::Decode`] when it is damaged or too large, [`Error::Content`]
/// when it is empty, of a format that is not read, or holds values that are not finite.
pub fn read_image(path: &Path) -> Result<Image> {
    let raster = decode(path, &read_bytes(path)?)?;
    check_finite(path, &raster)?;
    Ok(raster.to_image())
}

/// Fails for what is no file: a pipe waits for a writer, a device may never end.
pub(crate) fn check_file(path: &Path) -> Result<()> {
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if about.is_file() {
        return Ok(());
    }
    Err(Error::Content {
        path: path.into(),
        expected: "a file".into(),
        got: if about.is_dir() { "a folder" } else { "a pipe, device or socket" }.into(),
        hint: "put a file of that name in its place, or remove it".into(),
    })
}

pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    check_file(path)?;
    std::fs::read(path).map_err(Error::io(path))
}

pub(crate) fn open_file(path: &Path) -> Result<BufReader<File>> {
    check_file(path)?;
    Ok(BufReader::new(File::open(path).map_err(Error::io(path))?))
}

pub(crate) fn decode_error(path: &Path, format: &str) -> impl Fn(String) -> Error + Copy {
    move |reason| Error::Decode { path: path.into(), format: format.into(), reason }
}

pub(crate) fn check_finite(path: &Path, raster: &Raster) -> Result<()> {
    match raster.non_finite() {
        0 => Ok(()),
        n => Err(Error::Content {
            path: path.into(),
            expected: "finite values".into(),
            got: format!("{n} NaN or infinite values"),
            hint: "replace them, for example by 0, and save the file again".into(),
        }),
    }
}

/// Pixels of the file's first image.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Raster> {
    if Kind::of_bytes(bytes).is_volume() {
        return Slices::of_bytes(path, bytes)?.only();
    }
    let (format, name) = format_of(path, bytes)?;
    let decoded = || match format {
        ImageFormat::Png => decode_png(bytes),
        ImageFormat::Jpeg => decode_jpeg(bytes),
        ImageFormat::Bmp => decode_bmp(bytes),
        ImageFormat::Gif => decode_gif(bytes),
        _ => read_tiff::decode_tiff(bytes),
    };
    let mut raster = guarded(path, name, || decoded().map_err(decode_error(path, name)))?;
    raster.note_transparency();
    Ok(raster)
}

/// Bytes at the start of a file that tell its format.
pub(crate) const MAGIC_BYTES: u64 = 512;

/// The format of a file and its name, from its first [`MAGIC_BYTES`] or more.
pub(crate) fn format_of(path: &Path, start: &[u8]) -> Result<(ImageFormat, &'static str)> {
    refuse_other_formats(path, start)?;
    let is_big_tiff = start.starts_with(b"II\x2b\0") || start.starts_with(b"MM\0\x2b");
    let format = if is_big_tiff { Ok(ImageFormat::Tiff) } else { image::guess_format(start) };
    let format = format.map_err(|_| foreign(path, start))?;
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Tiff => "TIFF",
        other => return Err(not_an_image(path, &format!("a {other:?} file"), CONVERT)),
    };
    Ok((format, name))
}

fn refuse_other_formats(path: &Path, bytes: &[u8]) -> Result<()> {
    let got = if bytes.is_empty() {
        "an empty file (0 bytes)"
    } else if is_nifti_header(bytes) {
        return Err(Error::Content {
            path: path.into(),
            expected: "a NIfTI volume in one file".into(),
            got: "a header (.hdr) whose voxels lie in a second file (.img)".into(),
            hint: "save the volume as one .nii or .nii.gz file".into(),
        });
    } else if is_gzip(bytes) {
        "a gzip file that holds no NIfTI volume"
    } else {
        return Ok(());
    };
    Err(not_an_image(path, got, "the file may be cut short: copy it again, or remove it"))
}

const CONVERT: &str = "convert the file to PNG or TIFF, or remove it";

fn foreign(path: &Path, start: &[u8]) -> Error {
    let (got, hint) = kind_of(start).unwrap_or(("bytes of an unknown format", CONVERT));
    not_an_image(path, got, hint)
}

fn not_an_image(path: &Path, got: &str, hint: &str) -> Error {
    Error::Content { path: path.into(), expected: format!("{READ_FORMATS} file"), got: got.into(), hint: hint.into() }
}

/// Fails when the claimed size is zero or beyond the limits.
pub(crate) fn check_size(width: usize, height: usize, bytes_per_pixel: usize) -> std::result::Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("the image is empty ({width} x {height})"));
    }
    let bytes = width.checked_mul(height).and_then(|n| n.checked_mul(bytes_per_pixel));
    if width.max(height) > max_side() || bytes.is_none_or(|b| b > max_decoded_bytes()) {
        return Err(format!(
            "it claims {width} x {height} pixels; the limits are {} per side and {} decoded as a whole: cut it into \
             several files, save it as a tiled TIFF, which is measured piece by piece, or {HOW_TO_RAISE}",
            max_side(),
            max_decoded_mib()
        ));
    }
    Ok(())
}

fn decode_png(bytes: &[u8]) -> std::result::Result<Raster, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(|e| e.to_string())?;
    check_size(header.width as usize, header.height as usize, header.bytes_per_pixel())?;
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    let channels = info.color_type.samples();
    let bits = info.bit_depth as u8;
    let palette = match (info.color_type, &info.palette) {
        (png::ColorType::Indexed, Some(p)) => Some(p.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect()),
        (png::ColorType::Indexed, None) => return Err("it is indexed but has no palette".into()),
        _ => None,
    };
    let notes = png_notes(info);
    let alpha = matches!(info.color_type, png::ColorType::GrayscaleAlpha | png::ColorType::Rgba);
    let mut data = vec![0; reader.output_buffer_size().ok_or("its size overflows")?];
    let frame = reader.next_frame(&mut data).map_err(|e| e.to_string())?;
    let samples = match bits {
        16 => Samples::U16(data.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect()),
        8 => Samples::U8(data),
        _ => Samples::U8(unpack_bits(&data, frame.line_size, width * channels, height, bits)),
    };
    Ok(Raster { bits, alpha, palette, notes, ..Raster::plain(height, width, channels, samples) })
}

/// What the header says was left out.
pub(crate) fn png_notes(info: &png::Info<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let indexed = info.color_type == png::ColorType::Indexed;
    if info.trns.as_ref().is_some_and(|t| !indexed || t.iter().any(|&a| a < 255)) {
        notes.push(Note::AlphaDropped);
    }
    if info.animation_control.is_some_and(|a| a.num_frames > 1) {
        notes.push(Note::FirstFrame);
    }
    notes
}

/// Fails when the claimed size is beyond the limits; makes the decoder hold them.
fn limit(decoder: &mut impl image::ImageDecoder) -> std::result::Result<(), String> {
    let (width, height) = decoder.dimensions();
    check_size(width as usize, height as usize, usize::from(decoder.color_type().bytes_per_pixel()))?;
    let mut limits = image::Limits::default();
    let side = u32::try_from(max_side()).unwrap_or(u32::MAX);
    limits.max_image_width = Some(side);
    limits.max_image_height = Some(side);
    limits.max_alloc = Some((max_decoded_bytes() as u64).saturating_mul(2));
    decoder.set_limits(limits).map_err(|e| e.to_string())
}

fn decode_jpeg(bytes: &[u8]) -> std::result::Result<Raster, String> {
    let decoder = open_jpeg(Cursor::new(bytes))?;
    let last = |marker: u8| bytes.windows(2).rposition(|w| w == [0xff, marker]);
    if last(0xd9) <= last(0xda) {
        return Err("it ends before its last row (no end-of-image marker)".into());
    }
    let mut raster = from_decoder(decoder)?;
    raster.lossy = true;
    Ok(raster)
}

/// A JPEG file; its header is decoded.
pub(crate) fn open_jpeg<R: BufRead + Seek>(
    file: R,
) -> std::result::Result<image::codecs::jpeg::JpegDecoder<R>, String> {
    let mut decoder = image::codecs::jpeg::JpegDecoder::new(file).map_err(|e| e.to_string())?;
    limit(&mut decoder)?;
    Ok(decoder)
}

fn decode_bmp(bytes: &[u8]) -> std::result::Result<Raster, String> {
    let (decoder, palette) = open_bmp(Cursor::new(bytes), bytes)?;
    let mut raster = from_decoder(decoder)?;
    // Fewer bits than 8 come out as colours: look their index up (equal colours share the first index).
    if let (Some(palette), Samples::U8(v), 3) = (&palette, &raster.samples, raster.channels) {
        let index = |c: &[u8]| palette.iter().position(|p| p == c).unwrap_or(0) as u8;
        raster.samples = Samples::U8(v.chunks_exact(3).map(index).collect());
        raster.channels = 1;
    }
    raster.palette = palette;
    Ok(raster)
}

type Bmp<R> = image::codecs::bmp::BmpDecoder<R>;
type Palette = Vec<[u8; 3]>;

/// A BMP file, of which `start` are the first bytes, and its palette.
pub(crate) fn open_bmp<R: BufRead + Seek>(
    file: R,
    start: &[u8],
) -> std::result::Result<(Bmp<R>, Option<Palette>), String> {
    let mut decoder = Bmp::new(file).map_err(|e| e.to_string())?;
    let palette = decoder.get_palette().map(<[[u8; 3]]>::to_vec);
    if palette.is_some() && start.get(28) == Some(&8) {
        decoder.set_indexed_color(true);
    }
    limit(&mut decoder)?;
    Ok((decoder, palette))
}

fn from_decoder(decoder: impl image::ImageDecoder) -> std::result::Result<Raster, String> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let (width, height, channels) = (width as usize, height as usize, usize::from(color.channel_count()));
    if usize::from(color.bytes_per_pixel()) != channels {
        return Err(format!("samples of type {color:?} are not expected here"));
    }
    let mut data = vec![0; width * height * channels];
    decoder.read_image(&mut data).map_err(|e| e.to_string())?;
    Ok(Raster { alpha: color.has_alpha(), ..Raster::plain(height, width, channels, Samples::U8(data)) })
}

fn decode_gif(bytes: &[u8]) -> std::result::Result<Raster, String> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    options.check_frame_consistency(true);
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
    check_size(width, height, 1)?;
    let background = decoder.bg_color().unwrap_or(0) as u8;
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder.read_next_frame().map_err(|e| e.to_string())?.ok_or("it holds no frame")?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (w, h) = (usize::from(frame.width), usize::from(frame.height));
    if frame.buffer.len() < w * h {
        return Err("its first frame is incomplete".into());
    }
    let mut canvas = vec![background; width * height];
    for y in 0..h {
        let at = (top + y) * width + left;
        canvas[at..at + w].copy_from_slice(&frame.buffer[y * w..(y + 1) * w]);
    }
    let transparent = frame.transparent.is_some_and(|t| frame.buffer.contains(&t));
    let colours = frame.palette.clone().or(global).ok_or("it has no palette")?;
    let palette = Some(colours.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect());
    let mut notes = Vec::new();
    if transparent {
        notes.push(Note::AlphaDropped);
    }
    if decoder.next_frame_info().map_err(|e| e.to_string())?.is_some() {
        notes.push(Note::FirstFrame);
    }
    Ok(Raster { palette, notes, ..Raster::plain(height, width, 1, Samples::U8(canvas)) })
}
