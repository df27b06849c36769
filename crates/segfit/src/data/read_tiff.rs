//! TIFF to pixels: any number of channels, chunky or planar, 1 to 32 bits, floating point, indexed colours; a whole page
//! or one strip or tile of it.

use std::io::{Cursor, Read, Seek};

use tiff::ColorType;
use tiff::decoder::{BufferLayoutPreference, ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{SampleFormat, Tag};

use super::limits::max_decoded_bytes;
use super::photometric::{BlackIsZero, INDEXED, WHITE_IS_ZERO};
use super::raster::{Note, Raster, Samples, unpack_bits};
use super::read::check_size;
use super::tiff_pages::{PageAt, Stack};
use super::tiff_zstd::{Source, ZSTD, unpacked};

type Reason<T> = std::result::Result<T, String>;

/// Pixels of the first slice.
pub(crate) fn decode_tiff(bytes: &[u8]) -> Reason<Raster> {
    let stack = Stack::read(&mut Cursor::new(bytes))?;
    let mut raster = decode_slice(|| Ok(Cursor::new(bytes)), &stack, 0)?;
    if stack.slices.len() > 1 {
        raster.notes.push(Note::FirstPage);
    }
    Ok(raster)
}

/// Pixels of a slice, of which each channel may lie in a page of its own.
///
/// `file` opens the file.
pub(crate) fn decode_slice<R: Read + Seek>(
    file: impl Fn() -> Reason<R>,
    stack: &Stack,
    index: usize,
) -> Reason<Raster> {
    let pages = stack.slices.get(index).ok_or_else(|| format!("it has no page {index}"))?;
    let mut channels = Vec::new();
    for page in pages {
        channels.push(TiffFile::open_page(file()?, page)?.read_whole()?);
    }
    let mut raster = merged(channels)?;
    raster.notes.extend(&stack.notes);
    Ok(raster)
}

/// Pictures of equal kind as channels of one.
fn merged(mut parts: Vec<Raster>) -> Reason<Raster> {
    let first = parts.remove(0);
    if parts.is_empty() {
        return Ok(first);
    }
    if first.alpha || first.palette.is_some() {
        return Err("channels in pages of their own have transparency or palettes: save them as plain gray".into());
    }
    let (n, pixels) = (first.channels, first.height * first.width);
    let mut samples = first.samples.zeros(0);
    samples.reserve(pixels * n * (parts.len() + 1));
    for i in 0..pixels {
        for part in std::iter::once(&first).chain(&parts) {
            samples.append(&part.samples, std::iter::once(i * n..(i + 1) * n));
        }
    }
    Ok(Raster { channels: n * (parts.len() + 1), samples, ..first })
}

/// An open TIFF file, at its first page.
pub(crate) struct TiffFile<R: Read + Seek> {
    pub decoder: Decoder<BlackIsZero<Source<R>>>,
    pub page: Page,
}

/// What the first page says of itself.
#[derive(Debug)]
pub(crate) struct Page {
    pub height: usize,
    pub width: usize,
    /// Samples per pixel, the alpha channel included.
    pub channels: usize,
    pub bits: u8,
    pub alpha: bool,
    /// Whether each channel has strips or tiles of its own.
    pub planar: bool,
    /// Whether the samples are luma and colour differences, as JPEG stores them.
    is_ycbcr: bool,
    photometric: u64,
    palette: Option<Vec<[u8; 3]>>,
    /// What was left out of the file.
    pub notes: Vec<Note>,
}

impl<R: Read + Seek> TiffFile<R> {
    /// Reads the header of the first page.
    pub fn open(mut reader: R) -> Reason<Self> {
        let stack = Stack::read(&mut reader)?;
        let mut file = Self::open_page(reader, &stack.slices[0][0])?;
        file.page.notes.clone_from(&stack.notes);
        Ok(file)
    }

    /// Reads the header of a page.
    pub fn open_page(mut reader: R, page: &PageAt) -> Reason<Self> {
        check_compression(page)?;
        if page.compression == ZSTD {
            let mut bytes = Cursor::new(unpacked(&mut reader, page)?);
            let stack = Stack::read(&mut bytes)?;
            return Self::open_source(Source::Memory(bytes), &stack.slices[0][0]);
        }
        Self::open_source(Source::File(reader), page)
    }

    fn open_source(reader: Source<R>, page: &PageAt) -> Reason<Self> {
        let reader = BlackIsZero::new(reader, page).map_err(|e| e.to_string())?;
        let mut limits = Limits::default();
        limits.decoding_buffer_size = max_decoded_bytes();
        limits.intermediate_buffer_size = max_decoded_bytes();
        let mut decoder = Decoder::new(reader).map_err(|e| e.to_string())?.with_limits(limits);
        let page = Page::read(&mut decoder, page.photometric)?;
        Ok(Self { decoder, page })
    }

    /// The whole page.
    pub fn read_whole(&mut self) -> Reason<Raster> {
        let page = &self.page;
        check_size(page.width, page.height, page.pixel_bytes())?;
        let is_tiled = self.decoder.get_chunk_type() == ChunkType::Tile;
        if page.planar && is_tiled && page.bits >= 8 {
            return self.read_planes();
        }
        let mut buffer = DecodingResult::U8(vec![]);
        let layout = self.decoder.read_image_to_buffer(&mut buffer).map_err(|e| e.to_string())?;
        let samples = page.samples(buffer, &layout, (page.height, page.width), layout.planes > 1)?;
        let mut raster = page.raster(samples, page.height, page.width)?;
        raster.notes.clone_from(&page.notes);
        Ok(raster)
    }

    /// A page whose channels have tiles of their own, tile by tile: the decoder cannot put them together.
    fn read_planes(&mut self) -> Reason<Raster> {
        let (height, width, channels) = (self.page.height, self.page.width, self.page.channels);
        let (rows, columns) = self.chunk_size();
        let (across, down) = (width.div_ceil(columns.max(1)), height.div_ceil(rows.max(1)));
        let mut planes: Option<Samples> = None;
        for index in 0..channels * across * down {
            let (plane, tile) = (index / (across * down), index % (across * down));
            let index = u32::try_from(index).map_err(|e| e.to_string())?;
            let (w, h) = self.decoder.chunk_data_dimensions(index);
            let layout = self.decoder.image_chunk_buffer_layout(index).map_err(|e| e.to_string())?;
            let buffer = self.decoder.read_chunk(index).map_err(|e| e.to_string())?;
            let size = (h as usize, w as usize);
            let part = self.page.samples(buffer, &layout, size, false)?;
            if part.len() != size.0 * size.1 {
                return Err(format!("a tile holds {} samples instead of {} x {}", part.len(), size.1, size.0));
            }
            let all = planes.get_or_insert_with(|| part.zeros(height * width * channels));
            let at = (plane * height + tile / across * rows) * width + tile % across * columns;
            all.paste(at, width, &part, size.1);
        }
        let planes = planes.ok_or("it holds no tiles")?;
        let mut raster = self.page.raster(interleave(planes, channels), height, width)?;
        raster.notes.clone_from(&self.page.notes);
        Ok(raster)
    }

    /// Rows and columns of a strip or tile; those at the lower and right end may be smaller.
    pub fn chunk_size(&self) -> (usize, usize) {
        let (columns, rows) = self.decoder.chunk_dimensions();
        ((rows as usize).min(self.page.height), (columns as usize).min(self.page.width))
    }

    /// One strip or tile of a page that is not planar, without its padding.
    pub fn read_chunk(&mut self, index: usize) -> Reason<Raster> {
        let index = u32::try_from(index).map_err(|e| e.to_string())?;
        let (width, height) = self.decoder.chunk_data_dimensions(index);
        let layout = self.decoder.image_chunk_buffer_layout(index).map_err(|e| e.to_string())?;
        let buffer = self.decoder.read_chunk(index).map_err(|e| e.to_string())?;
        let size = (height as usize, width as usize);
        let samples = self.page.samples(buffer, &layout, size, false)?;
        self.page.raster(samples, size.0, size.1)
    }
}

impl Page {
    fn read<R: Read + Seek>(decoder: &mut Decoder<BlackIsZero<R>>, photometric: u64) -> Reason<Self> {
        let (width, height) = decoder.dimensions().map_err(|e| e.to_string())?;
        let color = decoder.colortype().map_err(|e| e.to_string())?;
        let extra: Vec<u16> =
            decoder.find_tag_unsigned_vec(Tag::ExtraSamples).map_err(|e| e.to_string())?.unwrap_or_default();
        let is_alpha = |kind: Option<&u16>| matches!(kind, Some(1 | 2));
        let (channels, bits, alpha) = match color {
            ColorType::Gray(bits) => (1, bits, false),
            ColorType::GrayA(bits) => (2, bits, true),
            ColorType::RGB(bits) => (3, bits, false),
            ColorType::RGBA(bits) => (4, bits, is_alpha(extra.first()) || extra.is_empty()),
            ColorType::YCbCr(8) => (3, 8, false),
            ColorType::Multiband { bit_depth, num_samples } => {
                (usize::from(num_samples), bit_depth, is_alpha(extra.last()))
            }
            other => return Err(format!("colours of type {other:?} are not read: convert it to gray or RGB")),
        };
        let is_ycbcr = matches!(color, ColorType::YCbCr(_));
        let palette = if photometric == INDEXED { Some(color_map(decoder, bits, channels)?) } else { None };
        let planar: Option<u16> = decoder.find_tag_unsigned(Tag::PlanarConfiguration).map_err(|e| e.to_string())?;
        let (height, width) = (height as usize, width as usize);
        let planar = planar == Some(2) && channels > 1;
        Ok(Self { height, width, channels, bits, alpha, planar, is_ycbcr, photometric, palette, notes: vec![] })
    }

    /// Decoded bytes of a pixel.
    pub fn pixel_bytes(&self) -> usize {
        self.channels * usize::from(self.bits).div_ceil(8)
    }

    /// Channels of the image: without alpha, with indexed colours expanded.
    pub fn image_channels(&self) -> usize {
        if self.palette.is_some() { 3 } else { self.channels - usize::from(self.alpha) }
    }

    /// Decoded samples of (rows, columns) `size`, pixel by pixel.
    fn samples(
        &self,
        buffer: DecodingResult,
        layout: &BufferLayoutPreference,
        size: (usize, usize),
        planar: bool,
    ) -> Reason<Samples> {
        let row_bytes = layout.row_stride.map_or(0, std::num::NonZeroUsize::get);
        let (rows, row_samples) =
            if planar { (size.0 * self.channels, size.1) } else { (size.0, size.1 * self.channels) };
        let samples = match (buffer, layout.sample_format, self.bits) {
            (DecodingResult::U8(v), _, 8) => Samples::U8(v),
            (DecodingResult::U8(v), SampleFormat::Uint, bits @ (1 | 2 | 4)) if row_bytes > 0 => {
                Samples::U8(unpack_bits(&v, row_bytes, row_samples, rows, bits))
            }
            (DecodingResult::U16(v), _, 16) => Samples::U16(v),
            (DecodingResult::U32(v), _, 32) => Samples::U32(v),
            (DecodingResult::I8(v), ..) => Samples::F32(v.into_iter().map(f32::from).collect()),
            (DecodingResult::I16(v), ..) => Samples::F32(v.into_iter().map(f32::from).collect()),
            (DecodingResult::I32(v), ..) => Samples::F32(v.into_iter().map(|x| x as f32).collect()),
            (DecodingResult::F16(v), ..) => Samples::F32(v.into_iter().map(f32::from).collect()),
            (DecodingResult::F32(v), ..) => Samples::F32(v),
            (DecodingResult::F64(v), ..) => Samples::F32(v.into_iter().map(|x| x as f32).collect()),
            (_, format, bits) => return Err(format!("samples of {bits} bits ({format:?}) are not read")),
        };
        Ok(if planar { interleave(samples, self.channels) } else { samples })
    }

    /// The pixels of a part of the page, white-is-zero turned round.
    pub fn raster(&self, samples: Samples, height: usize, width: usize) -> Reason<Raster> {
        let (channels, held) = (self.channels, samples.len());
        if held != width * height * channels {
            return Err(format!("it holds {held} samples instead of {width} x {height} x {channels}"));
        }
        let palette = self.palette.clone();
        let (bits, alpha) = (self.bits, self.alpha);
        let mut raster = Raster { bits, alpha, palette, ..Raster::plain(height, width, channels, samples) };
        if let (true, Samples::U8(v)) = (self.is_ycbcr, &mut raster.samples) {
            v.chunks_exact_mut(3).for_each(to_rgb);
        }
        if self.photometric == WHITE_IS_ZERO {
            invert(&mut raster);
        }
        Ok(raster)
    }
}

/// Fails for compressions that are known and not read.
fn check_compression(page: &PageAt) -> Reason<()> {
    let name = compression_name(page.compression);
    match page.compression {
        6 | 33_003..=33_005 | 34_712 | 34_925 | 50_001 | 50_002 => {
            Err(format!("its compression, {name}, is not read: save it with LZW or deflate, or without compression"))
        }
        _ => Ok(()),
    }
}

/// TIFF's numbers of compressions, for people.
pub(crate) fn compression_name(number: u64) -> &'static str {
    match number {
        1 => "none",
        2..=4 => "CCITT fax",
        5 => "LZW",
        6 => "old JPEG",
        7 => "JPEG",
        8 | 32_946 => "deflate",
        32_773 => "PackBits",
        33_003..=33_005 | 34_712 => "JPEG 2000",
        34_925 => "LZMA",
        ZSTD => "zstd",
        50_001 => "WebP",
        50_002 => "JPEG XL",
        _ => "unknown",
    }
}

/// Luma and colour differences to red, green and blue: ITU-R BT.601, full range.
pub(crate) fn to_rgb(pixel: &mut [u8]) {
    let (y, b, r) = (f64::from(pixel[0]), f64::from(pixel[1]) - 128.0, f64::from(pixel[2]) - 128.0);
    let levels = [y + 1.402 * r, y - 0.344_136 * b - 0.714_136 * r, y + 1.772 * b];
    for (sample, level) in pixel.iter_mut().zip(levels) {
        *sample = level.round().clamp(0.0, 255.0) as u8;
    }
}

fn interleave(samples: Samples, channels: usize) -> Samples {
    fn weave<T: Copy>(planes: &[T], channels: usize) -> Vec<T> {
        let n = planes.len() / channels;
        (0..n).flat_map(|i| (0..channels).map(move |c| planes[c * n + i])).collect()
    }
    match samples {
        Samples::U8(v) => Samples::U8(weave(&v, channels)),
        Samples::U16(v) => Samples::U16(weave(&v, channels)),
        Samples::U32(v) => Samples::U32(weave(&v, channels)),
        Samples::F32(v) => Samples::F32(weave(&v, channels)),
    }
}

/// White-is-zero turned round, for integers of up to 8 bits and 16-bit data; 32 bits and floating point hold data,
/// not ink, and stay.
fn invert(raster: &mut Raster) {
    let full = raster.full_scale();
    match &mut raster.samples {
        Samples::U8(v) => v.iter_mut().for_each(|x| *x = full as u8 - *x),
        Samples::U16(v) => v.iter_mut().for_each(|x| *x = u16::MAX - *x),
        Samples::U32(_) | Samples::F32(_) => {}
    }
}

/// The palette: all reds, all greens, all blues, of 16 bits each.
fn color_map<R: Read + Seek>(decoder: &mut Decoder<BlackIsZero<R>>, bits: u8, channels: usize) -> Reason<Vec<[u8; 3]>> {
    if bits > 8 || channels != 1 {
        return Err("indexed colours of more than 8 bits or with more channels are not read".into());
    }
    let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(|e| e.to_string())?;
    let n = 1usize << bits;
    if map.len() != 3 * n {
        return Err(format!("its palette has {} values instead of {}", map.len(), 3 * n));
    }
    Ok((0..n).map(|i| [map[i], map[n + i], map[2 * n + i]].map(|v| (v >> 8) as u8)).collect())
}
