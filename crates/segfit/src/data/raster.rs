//! Pixels exactly as a file stores them, before they become an [`Image`] or labels.

use super::image::Image;

/// Samples of one file, pixel by pixel: `samples[(y * width + x) * channels + c]`.
#[derive(Clone, Debug)]
pub(crate) enum Samples {
    /// Unsigned integers of 1 to 8 bits.
    U8(Vec<u8>),
    /// Unsigned integers of 9 to 16 bits.
    U16(Vec<u16>),
    /// Unsigned integers of 32 bits.
    U32(Vec<u32>),
    /// Floating-point values, and signed integers, which are kept as they are.
    F32(Vec<f32>),
}

/// How samples become the values of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Unsigned integers by the largest value of their type; floating-point and signed values as they are.
    Type,
    /// (v - low) / (high - low), cut to 0..1; with low above high, small values are bright.
    Range {
        /// What becomes 0.
        low: f64,
        /// What becomes 1.
        high: f64,
    },
}

/// Something that was left out or changed while a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// An alpha channel that was not fully opaque was left out.
    AlphaDropped,
    /// Only the first page of a multi-page TIFF file was read, since the others are of other sizes or kinds.
    FirstPage,
    /// Some pages of a stack are of other sizes or kinds than its first and were left out.
    PagesLeftOut,
    /// The slices of a series lie at uneven distances: some may be missing.
    UnevenSlices,
    /// Only the first frame of an animation was read.
    FirstFrame,
    /// A lossy (JPEG) mask was cut at half of its range.
    Thresholded,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AlphaDropped => "an alpha channel that is not fully opaque was left out",
            Self::FirstPage => {
                "only the first page of a multi-page TIFF was read: the others are of other sizes or kinds"
            }
            Self::PagesLeftOut => "pages of other sizes or kinds than the first were left out of a stack",
            Self::UnevenSlices => "slices of a series lie at uneven distances: some may be missing",
            Self::FirstFrame => "only the first frame of an animation was read",
            Self::Thresholded => "JPEG masks hold inexact values: they were cut at half, below 128 to 0, else to 255",
        })
    }
}

/// One decoded file.
#[derive(Clone, Debug)]
pub(crate) struct Raster {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Samples per pixel, the alpha channel included.
    pub channels: usize,
    /// Bits per sample: the largest integer is 2^bits - 1.
    pub bits: u8,
    /// Whether the last channel is alpha.
    pub alpha: bool,
    /// Colours of an indexed file; there is then one channel of indices.
    pub palette: Option<Vec<[u8; 3]>>,
    /// Whether the compression changes values (JPEG).
    pub lossy: bool,
    /// The pixels.
    pub samples: Samples,
    /// How they become an image.
    pub values: Values,
    /// What was left out.
    pub notes: Vec<Note>,
}

impl Raster {
    /// These samples of as many bits as their type has, without alpha, palette or notes.
    pub fn plain(height: usize, width: usize, channels: usize, samples: Samples) -> Self {
        let bits = match samples {
            Samples::U8(_) => 8,
            Samples::U16(_) => 16,
            Samples::U32(_) | Samples::F32(_) => 32,
        };
        let (alpha, palette, lossy, values, notes) = (false, None, false, Values::Type, Vec::new());
        Self { height, width, channels, bits, alpha, palette, lossy, samples, values, notes }
    }

    /// Bytes held in memory.
    pub fn bytes(&self) -> usize {
        match &self.samples {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => 2 * v.len(),
            Samples::U32(v) => 4 * v.len(),
            Samples::F32(v) => 4 * v.len(),
        }
    }

    /// Channels of the image: without alpha, with indexed colours expanded.
    pub fn image_channels(&self) -> usize {
        if self.palette.is_some() { 3 } else { self.channels - usize::from(self.alpha) }
    }

    /// Largest value that an integer sample can have.
    pub fn full_scale(&self) -> f64 {
        2f64.powi(i32::from(self.bits)) - 1.0
    }

    /// Notes a transparent alpha channel.
    pub fn note_transparency(&mut self) {
        let n = self.channels;
        let full = self.full_scale();
        let opaque = !self.alpha
            || match &self.samples {
                Samples::U8(v) => v.chunks_exact(n).all(|p| f64::from(p[n - 1]) >= full),
                Samples::U16(v) => v.chunks_exact(n).all(|p| f64::from(p[n - 1]) >= full),
                Samples::U32(v) => v.chunks_exact(n).all(|p| f64::from(p[n - 1]) >= full),
                Samples::F32(v) => v.chunks_exact(n).all(|p| p[n - 1] >= 1.0),
            };
        if !opaque {
            self.notes.push(Note::AlphaDropped);
        }
    }

    /// Number of samples that are NaN or infinite.
    pub fn non_finite(&self) -> usize {
        match &self.samples {
            Samples::F32(v) => v.iter().filter(|x| !x.is_finite()).count(),
            _ => 0,
        }
    }

    /// The image: planar, integers divided by their full scale, floating-point values as they are.
    pub fn to_image(&self) -> Image {
        let channels = self.image_channels();
        let n = self.height * self.width;
        let mut data = Vec::with_capacity(channels * n);
        if let (Some(palette), Samples::U8(indices)) = (&self.palette, &self.samples) {
            for c in 0..3 {
                let level = |i: u8| palette.get(usize::from(i)).map_or(0.0, |p| f32::from(p[c]) / 255.0);
                data.extend(indices.iter().map(|&i| level(i)));
            }
        } else if let Values::Range { low, high } = self.values {
            let span = high - low;
            let unit = |v: f64| if span == 0.0 { 0.0 } else { ((v - low) / span).clamp(0.0, 1.0) as f32 };
            for c in 0..channels {
                data.extend((0..n).map(|i| unit(self.samples.number(i * self.channels + c))));
            }
        } else {
            let full = self.full_scale();
            for c in 0..channels {
                let step = self.channels;
                match &self.samples {
                    Samples::U8(v) => data.extend(v.iter().skip(c).step_by(step).map(|&x| f32::from(x) / full as f32)),
                    Samples::U16(v) => data.extend(v.iter().skip(c).step_by(step).map(|&x| f32::from(x) / full as f32)),
                    Samples::U32(v) => {
                        data.extend(v.iter().skip(c).step_by(step).map(|&x| (f64::from(x) / full) as f32));
                    }
                    Samples::F32(v) => data.extend(v.iter().skip(c).step_by(step).copied()),
                }
            }
        }
        Image { channels, height: self.height, width: self.width, data }
    }
}

/// Expands rows of 1, 2 or 4 bits per sample, each row starting at a whole byte, to one byte per sample.
pub(crate) fn unpack_bits(packed: &[u8], row_bytes: usize, row_samples: usize, height: usize, bits: u8) -> Vec<u8> {
    let per_byte = 8 / usize::from(bits);
    let mask = (1u16 << bits) as u8 - 1;
    let mut out = Vec::with_capacity(row_samples * height);
    for row in packed.chunks_exact(row_bytes).take(height) {
        for i in 0..row_samples {
            let shift = 8 - usize::from(bits) * (i % per_byte + 1);
            out.push((row[i / per_byte] >> shift) & mask);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bit_rows_start_at_whole_bytes() {
        // 5 samples of 2 bits: 0 1 2 3 | 1, then padding.
        assert_eq!(unpack_bits(&[0b0001_1011, 0b0100_0000], 2, 5, 1, 2), [0, 1, 2, 3, 1]);
        assert_eq!(unpack_bits(&[0b1000_0000, 0b0100_0000], 1, 3, 2, 1), [1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn indexed_colours_become_planes_and_alpha_is_left_out() {
        let raster = |channels, alpha, palette, samples| Raster {
            alpha,
            palette,
            ..Raster::plain(1, 2, channels, Samples::U8(samples))
        };
        let indexed = raster(1, false, Some(vec![[0, 0, 0], [255, 51, 0]]), vec![1, 0]).to_image();
        assert_eq!((indexed.channels, indexed.data), (3, vec![1.0, 0.0, 0.2, 0.0, 0.0, 0.0]));
        let mut gray_alpha = raster(2, true, None, vec![51, 255, 102, 254]);
        gray_alpha.note_transparency();
        assert_eq!(gray_alpha.notes, [Note::AlphaDropped]);
        assert_eq!(gray_alpha.to_image().data, [0.2, 0.4]);
    }
}
