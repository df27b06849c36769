//! Image values to 0..1, the scale on which gray values, edges and file sizes are measured.
//!
//! | file | value v becomes | measured as |
//! | --- | --- | --- |
//! | 1 to 8 bits, palette | v / largest of the type (255) | itself |
//! | 9 to 16 bits | v / 65535, also where a camera fills 12 bits only | itself |
//! | 32-bit integers | v / 4294967295 | itself |
//! | floating point, signed integers, all within 0..1 | v | itself |
//! | floating point, signed integers, some outside 0..1 | v | (v - low) / (high - low) |
//!
//! low and high are the least and greatest value of the image over all channels, as it is prepared: of the resized
//! image, or of all tiles of one image together, so that tiles stay comparable. (For J: of the image as stored.) An
//! image of one value outside 0..1 becomes 0. Hounsfield units and counts are so measured whatever their unit; what is
//! lost is how much of a fixed range an image uses.
//!
//! Gray is the channel itself, 0.299 R + 0.587 G + 0.114 B for three or four channels, and the mean of all channels
//! otherwise; it is kept in 32-bit floating point. Edges, spatial information, spectra, local deviation and noise are
//! measured on it. JPEG, PNG, entropy, delentropy and co-occurrence are defined on gray values of 8 bits: round(255
//! gray). The colours themselves are seen by the ridge probe only.

use crate::data::Image;

/// Least and greatest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ValueRange {
    low: f32,
    high: f32,
}

impl ValueRange {
    /// The range of no values.
    pub const NOTHING: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    pub fn of(image: &Image) -> Self {
        let wider = |r: Self, &v: &f32| Self { low: r.low.min(v), high: r.high.max(v) };
        image.data.iter().fold(Self::NOTHING, wider)
    }

    /// The range of both.
    pub fn with(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Whether all values are within 0..1.
    pub fn is_unit(self) -> bool {
        self.low >= 0.0 && self.high <= 1.0
    }

    /// The image on the scale of the table above, where its values are of this range.
    pub fn map(self, mut image: Image) -> Image {
        if self.is_unit() || image.data.is_empty() {
            return image;
        }
        // In f64, so that the difference of the largest finite values is finite.
        let (low, span) = (f64::from(self.low), f64::from(self.high) - f64::from(self.low));
        let unit = |v: f32| if span > 0.0 { ((f64::from(v) - low) / span) as f32 } else { 0.0 };
        image.data.iter_mut().for_each(|v| *v = unit(*v));
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(data: &[f32]) -> Image {
        Image { channels: 1, height: 1, width: data.len(), data: data.to_vec() }
    }

    #[test]
    fn values_within_zero_and_one_are_kept_and_others_span_it() {
        let map = |data: &[f32]| ValueRange::of(&image(data)).map(image(data)).data;
        assert_eq!(map(&[0.25, 0.5]), [0.25, 0.5]);
        assert_eq!(map(&[-1000.0, 0.0, 3000.0]), [0.0, 0.25, 1.0]);
        assert_eq!(map(&[0.0, 255.0, 51.0]), [0.0, 1.0, 0.2]);
        assert_eq!(map(&[7.0, 7.0]), [0.0, 0.0]);
        assert_eq!(map(&[f32::MIN, f32::MAX, 0.0]), [0.0, 1.0, 0.5]);
    }

    #[test]
    fn tiles_of_one_image_share_its_range() {
        let (dark, bright) = (image(&[0.0, 0.5]), image(&[1.0, 4.0]));
        let both = ValueRange::of(&dark).with(ValueRange::of(&bright));
        assert!(ValueRange::of(&dark).is_unit() && !both.is_unit());
        assert_eq!((both.map(dark).data, both.map(bright).data), (vec![0.0, 0.125], vec![0.25, 1.0]));
    }
}
