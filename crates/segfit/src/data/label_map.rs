//! What the labels in the mask files mean: label -> class.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::image::Mask;
use super::labels::{LabelCoding, RawMask};
use crate::error::{Error, Result};

/// How labels become classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// Background and one foreground label.
    Binary,
    /// One class per label.
    Classes,
    /// Every label but 0 is an object of class 1.
    Instances,
}

/// One label of the mask files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelEntry {
    /// The label in the files.
    pub value: u32,
    /// Its class index; 0 is background.
    pub class: u8,
    /// Its name, where the data set gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The mapping between labels in files and class indices, in ascending order of the labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelMap {
    /// How labels become classes.
    pub kind: LabelKind,
    /// What the labels are.
    pub coding: LabelCoding,
    /// The labels; for instances only background and the label that class 1 is written with.
    pub entries: Vec<LabelEntry>,
}

/// The labels of one mask file, for the scan.
#[derive(Clone, Debug)]
pub(crate) struct MaskSummary {
    pub path: PathBuf,
    pub counts: BTreeMap<u32, u64>,
    pub coding: LabelCoding,
    pub palette: Option<Vec<[u8; 3]>>,
}

impl MaskSummary {
    pub fn new(path: &Path, mask: &RawMask) -> Self {
        Self { path: path.into(), counts: mask.counts(), coding: mask.coding, palette: mask.palette.clone() }
    }

    /// The labels of two parts of one mask: grays become colours where the other part has colours.
    pub fn join(mut self, mut other: Self) -> Result<Self> {
        if self.coding != other.coding {
            self.recode(LabelCoding::Colour)?;
            other.recode(LabelCoding::Colour)?;
        }
        for (label, n) in other.counts {
            *self.counts.entry(label).or_insert(0) += n;
        }
        Ok(self)
    }

    /// Expresses the counts in another coding, as [`RawMask::recode`] does for pixels.
    pub fn recode(&mut self, coding: LabelCoding) -> Result<()> {
        let values: Vec<u32> = self.counts.keys().copied().collect();
        let raw = RawMask {
            height: 1,
            width: values.len(),
            labels: values,
            coding: self.coding,
            palette: self.palette.take(),
            notes: vec![],
        };
        let raw = raw.recode(&self.path, coding)?;
        let mut counts = BTreeMap::new();
        for (label, n) in raw.labels.iter().zip(self.counts.values()) {
            *counts.entry(*label).or_insert(0) += n;
        }
        self.counts = counts;
        self.coding = coding;
        Ok(())
    }
}

/// The coding that all masks share: palette indices only when equal indices have equal colours in all files.
pub(crate) fn common_coding(masks: &[MaskSummary]) -> LabelCoding {
    if masks.iter().any(|m| m.coding == LabelCoding::Colour) {
        return LabelCoding::Colour;
    }
    if masks.iter().all(|m| m.coding == LabelCoding::Value) {
        return LabelCoding::Value;
    }
    let mut colours = BTreeMap::new();
    let agree = masks.iter().all(|m| {
        let palette = m.palette.as_deref().unwrap_or_default();
        m.counts.keys().all(|&label| {
            let colour = palette.get(label as usize).copied();
            *colours.entry(label).or_insert(colour) == colour
        })
    });
    if agree { LabelCoding::PaletteIndex } else { LabelCoding::Colour }
}

impl LabelMap {
    /// A map for images without masks: no entries.
    #[must_use]
    pub fn empty() -> Self {
        Self { kind: LabelKind::Binary, coding: LabelCoding::Value, entries: vec![] }
    }

    /// The mapping for masks that hold these labels.
    ///
    /// Labels are numbered in ascending order; 0 is always background when it occurs, or when only one other label does.
    /// With `instances`, every label but 0 is class 1.
    pub(crate) fn from_labels(root: &Path, masks: &[MaskSummary], instances: bool) -> Result<Self> {
        let coding = masks.first().map_or(LabelCoding::Value, |m| m.coding);
        let mut values: Vec<u32> = masks.iter().flat_map(|m| m.counts.keys().copied()).collect();
        values.sort_unstable();
        values.dedup();
        if values.len() < 2 && values.first() != Some(&0) {
            values.insert(0, 0);
        }
        if instances {
            let top = if values.len() == 2 { values[1] } else { 1 };
            let kind = if values.len() > 2 { LabelKind::Instances } else { LabelKind::Binary };
            return Ok(Self { kind, coding, entries: vec![entry(0, 0), entry(top, 1)] });
        }
        if let Some(reason) = instance_like(&values, masks) {
            let hint = "use --instances to merge all objects into one foreground class; masks of soft or blurred edges \
                        must be thresholded first";
            return Err(Error::Dataset { path: root.into(), reason, hint: hint.into() });
        }
        let kind = if values.len() <= 2 { LabelKind::Binary } else { LabelKind::Classes };
        let entries = values.iter().enumerate().map(|(class, &v)| entry(v, class as u8)).collect();
        Ok(Self { kind, coding, entries })
    }

    /// The mapping that a data set declares.
    pub(crate) fn declared(coding: LabelCoding, entries: Vec<LabelEntry>) -> Self {
        let kind = if entries.len() <= 2 { LabelKind::Binary } else { LabelKind::Classes };
        Self { kind, coding, entries }
    }

    /// Whether classes could be object numbers that are too few to be sure.
    pub(crate) fn looks_counted(&self, masks: &[MaskSummary]) -> bool {
        let values: Vec<u32> = self.entries.iter().map(|e| e.value).collect();
        let named = self.entries.iter().any(|e| e.name.is_some());
        self.kind == LabelKind::Classes && !named && counted(&values, masks, 3)
    }

    /// Number of classes, background included; 0 for images without masks.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.entries.len()
    }

    /// The class of a label, or `None` when the map does not know it.
    #[must_use]
    pub fn class_of(&self, label: u32) -> Option<u8> {
        if self.kind == LabelKind::Instances {
            return Some(u8::from(label > 0));
        }
        self.entries.binary_search_by_key(&label, |e| e.value).ok().map(|i| self.entries[i].class)
    }

    /// The label that a class is written with.
    #[must_use]
    pub fn value_of(&self, class: u8) -> Option<u32> {
        self.entries.iter().find(|e| e.class == class).map(|e| e.value)
    }

    /// What a class is called: its name where the data set gives one, otherwise `background`, `foreground`, `objects` (merged
    /// instances) or `class N`; `None` for a class that the map does not know.
    ///
    /// ```
    /// let map: segfit::data::LabelMap = serde_json::from_str(
    ///     r#"{"kind": "binary", "coding": "value", "entries": [{"value": 0, "class": 0}, {"value": 255, "class": 1}]}"#,
    /// )?;
    /// assert_eq!((map.name_of(1).as_deref(), map.name_of(2)), (Some("foreground"), None));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn name_of(&self, class: u8) -> Option<String> {
        let entry = self.entries.iter().find(|e| e.class == class)?;
        Some(match (&entry.name, self.kind) {
            (Some(name), _) => name.clone(),
            (None, _) if class == 0 => "background".into(),
            (None, LabelKind::Binary) => "foreground".into(),
            (None, LabelKind::Instances) => "objects".into(),
            (None, LabelKind::Classes) => format!("class {class}"),
        })
    }

    /// The class of a label in a file.
    pub(crate) fn require(&self, path: &Path, label: u32) -> Result<u8> {
        self.class_of(label).ok_or_else(|| Error::Content {
            path: path.into(),
            expected: format!("labels of the map ({self})"),
            got: format!("label {label}"),
            hint: "correct the mask, or list the label in the data set's description".into(),
        })
    }

    /// The mask in class indices, and the instance labels where the map merges instances.
    ///
    /// # Errors
    /// [`Error::Content`] when a label is not in the map.
    pub fn apply(&self, path: &Path, raw: RawMask) -> Result<(Mask, Option<Vec<u32>>)> {
        let raw = raw.recode(path, self.coding)?;
        let mut data = Vec::with_capacity(raw.labels.len());
        for run in raw.labels.chunk_by(|a, b| a == b) {
            data.resize(data.len() + run.len(), self.require(path, run[0])?);
        }
        let mask = Mask { height: raw.height, width: raw.width, data };
        Ok((mask, (self.kind == LabelKind::Instances).then_some(raw.labels)))
    }
}

fn entry(value: u32, class: u8) -> LabelEntry {
    LabelEntry { value, class, name: None }
}

/// Why these labels cannot be classes, or are hardly meant so.
fn instance_like(values: &[u32], masks: &[MaskSummary]) -> Option<String> {
    if values.len() > 255 {
        let n = values.len();
        let most = masks.iter().max_by_key(|m| m.counts.len());
        let alone = most.map(|m| format!(" ({} alone holds {})", m.path.display(), m.counts.len())).unwrap_or_default();
        return Some(format!("its masks hold {n} different labels{alone}; at most 255 classes are possible"));
    }
    counted(values, masks, 8).then(|| {
        let last = values.last().copied().unwrap_or(0);
        format!("its masks number their labels from 1 up to {last}, some further than others: these look like objects")
    })
}

/// Whether labels look like counted objects: at least `least` of them, without gaps, and nine in ten masks hold exactly
/// 1..=n, with n differing between masks (or larger than 64).
fn counted(values: &[u32], masks: &[MaskSummary], least: usize) -> bool {
    let objects = values.iter().filter(|&&v| v > 0).count();
    if objects < least || values.last() != Some(&(objects as u32)) {
        return false;
    }
    let (mut prefixes, mut filled, mut sizes) = (0, 0, BTreeSet::new());
    for labels in masks.iter().map(|m| &m.counts) {
        let n = labels.keys().filter(|&&v| v > 0).count();
        if n > 0 {
            filled += 1;
            prefixes += usize::from(labels.keys().last() == Some(&(n as u32)));
            sizes.insert(n);
        }
    }
    prefixes * 10 >= filled * 9 && (sizes.len() > 1 || objects > 64)
}

impl std::fmt::Display for LabelMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let label = |e: &LabelEntry| match self.coding {
            LabelCoding::Colour => format!("#{:06x}", e.value),
            _ => e.value.to_string(),
        };
        match self.kind {
            _ if self.entries.is_empty() => return f.write_str("no masks"),
            LabelKind::Instances => {
                return f.write_str("instances: 0 -> background, every other label -> object (class 1)");
            }
            LabelKind::Binary => f.write_str("binary")?,
            LabelKind::Classes => write!(f, "{} classes", self.entries.len())?,
        }
        if self.coding != LabelCoding::Value {
            write!(f, " ({})", self.coding)?;
        }
        f.write_str(": ")?;
        for (i, e) in self.entries.iter().enumerate() {
            let left = self.entries.len() - i;
            if i >= 11 && left > 1 {
                return write!(f, ", ... ({left} more)");
            }
            let comma = if i == 0 { "" } else { ", " };
            match &e.name {
                Some(name) => write!(f, "{comma}{} -> {name}", label(e))?,
                None if e.class == 0 => write!(f, "{comma}{} -> background", label(e))?,
                None if self.kind == LabelKind::Binary => write!(f, "{comma}{} -> foreground", label(e))?,
                None => write!(f, "{comma}{} -> class {}", label(e), e.class)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(labels: &[u32]) -> MaskSummary {
        let counts = labels.iter().map(|&l| (l, 1)).collect();
        MaskSummary { path: "m.png".into(), counts, coding: LabelCoding::Value, palette: None }
    }

    fn map(masks: &[&[u32]], instances: bool) -> Result<LabelMap> {
        let masks: Vec<_> = masks.iter().map(|m| summary(m)).collect();
        LabelMap::from_labels(Path::new("set"), &masks, instances)
    }

    #[test]
    fn gaps_close_in_ascending_order() {
        let m = map(&[&[0, 200], &[0, 50]], false).unwrap();
        assert_eq!(
            (m.kind, m.class_of(50), m.class_of(200), m.class_of(7)),
            (LabelKind::Classes, Some(1), Some(2), None)
        );
        assert_eq!(m.to_string(), "3 classes: 0 -> background, 50 -> class 1, 200 -> class 2");
        let back: LabelMap = serde_json::from_str(&serde_json::to_string(&m).unwrap()).unwrap();
        assert_eq!(back, m);
    }

    #[test]
    fn one_label_is_foreground_unless_it_is_zero() {
        let m = map(&[&[255]], false).unwrap();
        assert_eq!(m.to_string(), "binary: 0 -> background, 255 -> foreground");
        assert_eq!(map(&[&[0]], false).unwrap().classes(), 1);
    }

    #[test]
    fn counted_objects_are_recognised_and_merged_on_request() {
        let masks: [&[u32]; 3] = [&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 1, 2], &[0]];
        let error = map(&masks, false).unwrap_err();
        assert!(error.hint().unwrap().contains("--instances"), "{error}");
        let m = map(&masks, true).unwrap();
        assert_eq!((m.kind, m.class_of(8), m.classes()), (LabelKind::Instances, Some(1), 2));
        let organs: [&[u32]; 2] = [&[0, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 3, 8]];
        assert_eq!(map(&organs, false).unwrap().classes(), 9, "classes leave gaps within a mask");
    }

    #[test]
    fn up_to_255_labels_are_classes() {
        let many: Vec<u32> = (0..255).map(|v| 3 * v).collect();
        assert_eq!(map(&[&many], false).unwrap().classes(), 255);
        let more: Vec<u32> = (0..256).map(|v| 3 * v).collect();
        assert!(map(&[&more], false).unwrap_err().to_string().contains("256 different labels"));
    }

    #[test]
    fn gray_and_coloured_parts_of_a_mask_are_colours() {
        let gray = MaskSummary { counts: [(0, 5), (7, 2)].into(), ..summary(&[]) };
        let colours =
            MaskSummary { coding: LabelCoding::Colour, counts: [(0x07_07_07, 1), (3, 4)].into(), ..summary(&[]) };
        let both = gray.clone().join(colours).unwrap();
        assert_eq!(both.counts, [(0, 5), (3, 4), (0x07_07_07, 3)].into());
        assert_eq!((both.coding, gray.clone().join(gray).unwrap().counts[&7]), (LabelCoding::Colour, 4));
    }

    #[test]
    fn palettes_that_disagree_are_read_as_colours() {
        let red = [255, 0, 0];
        let green = [0, 255, 0];
        let with = |palette: Vec<[u8; 3]>| MaskSummary {
            coding: LabelCoding::PaletteIndex,
            palette: Some(palette),
            ..summary(&[0, 1])
        };
        let same = [with(vec![[0; 3], red]), with(vec![[0; 3], red, green])];
        assert_eq!(common_coding(&same), LabelCoding::PaletteIndex);
        let mut differ = [with(vec![[0; 3], red]), with(vec![[0; 3], green])];
        assert_eq!(common_coding(&differ), LabelCoding::Colour);
        differ.iter_mut().for_each(|m| m.recode(LabelCoding::Colour).unwrap());
        let m = LabelMap::from_labels(Path::new("set"), &differ, false).unwrap();
        assert_eq!(m.to_string(), "3 classes (colours): #000000 -> background, #00ff00 -> class 1, #ff0000 -> class 2");
    }
}
