//! Mask files to raw integer labels, without loss of range: what a file says, before it means a class.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::raster::{Note, Raster, Samples};
use super::read::{decode, read_bytes};
use crate::error::{Error, Result};

/// What the numbers of a raw mask are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelCoding {
    /// Gray values.
    Value,
    /// Indices into the file's palette.
    PaletteIndex,
    /// Colours, as 65536 R + 256 G + B.
    Colour,
}

/// The labels of one mask file.
#[derive(Clone, Debug)]
pub struct RawMask {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` labels, row by row.
    pub labels: Vec<u32>,
    /// What the labels are.
    pub coding: LabelCoding,
    /// The palette of an indexed file.
    pub palette: Option<Vec<[u8; 3]>>,
    /// What was left out or changed.
    pub notes: Vec<Note>,
}

/// The raw labels in a mask file.
///
/// Gray files give their values. Indexed files give their palette indices, or gray values where the palette holds only
/// distinct grays (so that a bilevel file with white as index 0 is not turned round). RGB files give colours, or gray
/// values where all three channels agree. JPEG files are cut at half their range, if their values lie near 0 and 255.
///
/// # Errors
/// As [`read_image`](super::read_image), and [`Error::Content`] for fractions, negative labels, more than four channels,
/// and JPEG files with values in between.
pub fn read_raw_mask(path: &Path) -> Result<RawMask> {
    RawMask::from_raster(path, decode(path, &read_bytes(path)?)?)
}

impl RawMask {
    pub(crate) fn from_raster(path: &Path, raster: Raster) -> Result<Self> {
        let refuse = |got: String| Error::Content {
            path: path.into(),
            expected: "a mask with one whole, non-negative label per pixel".into(),
            got,
            hint: "save the mask as a gray or palette PNG or TIFF whose pixel values are the labels".into(),
        };
        let (height, width, full) = (raster.height, raster.width, raster.full_scale());
        let mut notes = raster.notes;
        let colours = raster.channels - usize::from(raster.alpha);
        let values: Vec<u32> = match raster.samples {
            Samples::U8(v) => v.into_iter().map(u32::from).collect(),
            Samples::U16(v) => v.into_iter().map(u32::from).collect(),
            Samples::U32(v) => v,
            Samples::F32(v) => match v.iter().find(|x| !(**x >= 0.0 && **x <= 16_777_216.0 && x.fract() == 0.0)) {
                Some(x) => return Err(refuse(format!("the value {x}"))),
                None => v.into_iter().map(|x| x as u32).collect(),
            },
        };
        let pixels = values.chunks_exact(raster.channels);
        let (mut labels, mut coding): (Vec<u32>, _) = match colours {
            1 => (pixels.map(|p| p[0]).collect(), LabelCoding::Value),
            3 if pixels.clone().all(|p| p[0] == p[1] && p[1] == p[2]) => {
                (pixels.map(|p| p[0]).collect(), LabelCoding::Value)
            }
            3 if raster.lossy => {
                return lossy_gray(&values, raster.channels)
                    .map(|labels| {
                        notes.push(Note::Thresholded);
                        Self { height, width, labels, coding: LabelCoding::Value, palette: None, notes }
                    })
                    .ok_or_else(|| refuse("colours in a JPEG, which does not keep them exact".into()));
            }
            3 if full <= 255.0 => (pixels.map(|p| p[0] << 16 | p[1] << 8 | p[2]).collect(), LabelCoding::Colour),
            n => return Err(refuse(format!("{n} channels of {} bits", raster.bits))),
        };
        if raster.lossy {
            if !near_ends(&labels) {
                return Err(refuse("a JPEG with values between 0 and 255, which does not keep labels exact".into()));
            }
            labels.iter_mut().for_each(|v| *v = if *v < 128 { 0 } else { 255 });
            notes.push(Note::Thresholded);
        }
        let mut palette = raster.palette;
        if let Some(p) = &palette {
            if let Some(v) = labels.iter().find(|v| **v as usize >= p.len()) {
                return Err(refuse(format!("palette index {v} in a palette of {} colours", p.len())));
            }
            if distinct_grays(p) {
                labels.iter_mut().for_each(|v| *v = u32::from(p[*v as usize][0]));
                palette = None;
            } else {
                coding = LabelCoding::PaletteIndex;
            }
        }
        Ok(Self { height, width, labels, coding, palette, notes })
    }

    /// How many pixels each label has, in ascending order of the labels.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<u32, u64> {
        let mut counts = BTreeMap::new();
        for run in self.labels.chunk_by(|a, b| a == b) {
            *counts.entry(run[0]).or_insert(0) += run.len() as u64;
        }
        counts
    }

    /// The same mask with labels of another coding: indices and gray values can become colours.
    ///
    /// # Errors
    /// [`Error::Content`] when the labels cannot be expressed so.
    pub fn recode(mut self, path: &Path, coding: LabelCoding) -> Result<Self> {
        let colour = |c: [u8; 3]| u32::from(c[0]) << 16 | u32::from(c[1]) << 8 | u32::from(c[2]);
        match (self.coding, coding) {
            (from, to) if from == to => return Ok(self),
            (LabelCoding::PaletteIndex, LabelCoding::Colour) => {
                let palette = self.palette.take().unwrap_or_default();
                self.labels.iter_mut().for_each(|v| *v = colour(palette[*v as usize]));
            }
            (LabelCoding::Value, LabelCoding::Colour) if self.labels.iter().all(|&v| v < 256) => {
                self.labels.iter_mut().for_each(|v| *v *= 0x01_01_01);
            }
            (from, to) => {
                return Err(Error::Content {
                    path: path.into(),
                    expected: format!("labels given as {to}, like in the other masks"),
                    got: format!("labels given as {from}"),
                    hint: "save all masks in one way, best as gray PNG or TIFF".into(),
                });
            }
        }
        self.coding = coding;
        Ok(self)
    }
}

impl std::fmt::Display for LabelCoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value => "gray values",
            Self::PaletteIndex => "palette indices",
            Self::Colour => "colours",
        })
    }
}

/// Whether nearly all values lie in the outer quarters of 0..=255: an edge blurred by JPEG touches few pixels.
fn near_ends(labels: &[u32]) -> bool {
    let between = labels.iter().filter(|&&v| (64..192).contains(&v)).count();
    between * 20 <= labels.len()
}

/// Labels of a JPEG whose channels differ only by its inexactness.
fn lossy_gray(values: &[u32], channels: usize) -> Option<Vec<u32>> {
    let pixels = || values.chunks_exact(channels);
    let colourful = pixels().filter(|p| p[0].abs_diff(p[1]).max(p[1].abs_diff(p[2])) > 32).count();
    let luma: Vec<u32> = pixels().map(|p| (299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000).collect();
    (colourful * 1000 <= luma.len() && near_ends(&luma))
        .then(|| luma.into_iter().map(|v| if v < 128 { 0 } else { 255 }).collect())
}

/// Whether a palette holds grays only, all different (black padding at its end aside).
fn distinct_grays(palette: &[[u8; 3]]) -> bool {
    let used = palette.iter().rposition(|c| *c != [0, 0, 0]).map_or(0, |i| i + 1);
    let mut seen = [false; 256];
    let distinct = palette[..used]
        .iter()
        .all(|c| c[0] == c[1] && c[1] == c[2] && { !std::mem::replace(&mut seen[usize::from(c[0])], true) });
    // Padding is black too: it must not be confused with a black that comes before.
    used > 0 && distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(palette: Vec<[u8; 3]>, indices: Vec<u8>) -> Raster {
        Raster { palette: Some(palette), ..Raster::plain(1, indices.len(), 1, Samples::U8(indices)) }
    }

    #[test]
    fn a_white_first_bilevel_palette_is_not_turned_round() {
        let path = Path::new("m.gif");
        let mask = RawMask::from_raster(path, indexed(vec![[255; 3], [0; 3]], vec![0, 1, 1])).unwrap();
        assert_eq!((mask.labels, mask.coding), (vec![255, 0, 0], LabelCoding::Value));
        let mask = RawMask::from_raster(path, indexed(vec![[0; 3], [9, 0, 0], [0; 3]], vec![2, 1, 0])).unwrap();
        assert_eq!((&mask.labels, mask.coding), (&vec![2, 1, 0], LabelCoding::PaletteIndex));
        let mask = mask.recode(path, LabelCoding::Colour).unwrap();
        assert_eq!(mask.labels, [0, 9 << 16, 0]);
        let mask = RawMask::from_raster(path, indexed(vec![[0; 3]; 4], vec![0, 3, 1])).unwrap();
        assert_eq!(mask.labels, [0, 3, 1], "an all-black palette hides indices that count");
    }

    #[test]
    fn an_index_outside_of_the_palette_is_refused() {
        let error = RawMask::from_raster(Path::new("m.png"), indexed(vec![[0; 3], [1, 2, 3]], vec![5])).unwrap_err();
        assert!(error.to_string().contains("index 5"), "{error}");
    }

    #[test]
    fn fractions_are_no_labels() {
        let raster = Raster { samples: Samples::F32(vec![0.0, 0.5]), palette: None, ..indexed(vec![], vec![0, 0]) };
        assert!(RawMask::from_raster(Path::new("m.tif"), raster).unwrap_err().to_string().contains("0.5"));
    }
}
