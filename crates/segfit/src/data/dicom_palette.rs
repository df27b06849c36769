//! Palettes of DICOM files: numbers that stand for colours (PS3.3, C.7.6.3.1.5).

use dicom_object::{InMemDicomObject, Tag};

use super::dicom_tags::numbers;
use super::raster::Samples;

/// Descriptors of red, green and blue: number of entries, first number, bits.
const DESCRIPTORS: [Tag; 3] = [Tag(0x0028, 0x1101), Tag(0x0028, 0x1102), Tag(0x0028, 0x1103)];
/// Entries of red, green and blue.
const ENTRIES: [Tag; 3] = [Tag(0x0028, 0x1201), Tag(0x0028, 0x1202), Tag(0x0028, 0x1203)];

/// Colours by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Palette {
    /// The number of the first entry.
    first: i32,
    bits: u8,
    entries: Vec<[u16; 3]>,
}

impl Palette {
    /// The palette of a file.
    ///
    /// # Errors
    /// When it is missing, damaged, or in segments.
    pub fn read(object: &InMemDicomObject) -> Result<Self, String> {
        let mut channels: Vec<Vec<u16>> = Vec::new();
        let (mut first, mut bits) = (0, 8);
        for (descriptor, entries) in DESCRIPTORS.into_iter().zip(ENTRIES) {
            let said =
                numbers(object, descriptor).filter(|v| v.len() == 3).ok_or("it does not say its palette's size")?;
            let n = if said[0] == 0.0 { 65_536 } else { said[0] as usize };
            (first, bits) = (said[1] as i32, if said[2] > 8.0 { 16 } else { 8 });
            let element = object.get(entries).ok_or("its palette has no plain entries")?;
            let bytes = element.to_bytes().map_err(|_| "its palette cannot be read")?;
            let values: Vec<u16> = match bytes.len() {
                // Entries of 8 bits may be packed, or lie in words of 16 bits.
                len if bits == 8 && (n..2 * n).contains(&len) => bytes[..n].iter().map(|&b| u16::from(b)).collect(),
                len if len >= 2 * n => {
                    bytes[..2 * n].chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
                }
                len => return Err(format!("its palette holds {len} bytes for {n} entries")),
            };
            channels.push(values);
        }
        let n = channels[0].len();
        if channels.iter().any(|c| c.len() != n) {
            return Err("its palette has channels of different lengths".into());
        }
        let entries = (0..n).map(|i| [channels[0][i], channels[1][i], channels[2][i]]).collect();
        Ok(Self { first, bits, entries })
    }

    /// Bytes of a sample of a colour.
    pub fn sample_bytes(&self) -> usize {
        usize::from(self.bits / 8)
    }

    /// The colours of numbers, red, green and blue after each other. Numbers below the first entry have its colour, numbers above
    /// the last one that.
    pub fn colours(&self, numbers: &[i32]) -> Samples {
        let last = self.entries.len() - 1;
        let colour = |&n: &i32| self.entries[(n.saturating_sub(self.first).max(0) as usize).min(last)];
        let values = numbers.iter().flat_map(colour);
        if self.bits == 8 { Samples::U8(values.map(|v| v as u8).collect()) } else { Samples::U16(values.collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_palette_have_the_colours_of_its_ends() {
        let palette = Palette { first: 10, bits: 8, entries: vec![[1, 2, 3], [4, 5, 6]] };
        let Samples::U8(values) = palette.colours(&[0, 10, 11, 99, i32::MIN]) else { unreachable!() };
        assert_eq!(values, [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 1, 2, 3]);
        let wide = Palette { bits: 16, entries: vec![[300, 0, 65_535]], first: 0 };
        let Samples::U16(values) = wide.colours(&[0]) else { unreachable!() };
        assert_eq!(values, [300, 0, 65_535]);
    }
}
