//! Data sets on disk for the tests of the rules.

use std::path::Path;

use tempfile::TempDir;

use super::{Survey, SurveyOptions, Warning, WarningKind, survey};
use crate::data::{
    Dataset, LabelCoding, LabelEntry, LabelKind, LabelMap, Options, Sample, write_image_png, write_mask,
};
use crate::phantom::{PhantomKind, PhantomOptions, make};
use crate::recipe::{InputMode, InputSpec};

pub const INPUT: InputSpec = InputSpec { mode: InputMode::Resize, size: 32 };

/// The use of image `i` of [`clean`]: 32 train, 4 validate, 12 test.
pub fn standard(i: usize) -> String {
    let split = match i {
        0..32 => "train",
        32..36 => "val",
        _ => "test",
    };
    split.into()
}

/// 48 different images of discs, 48 x 48, each its own source, with which nothing is wrong.
pub fn clean() -> TempDir {
    folder(48, standard, |_, _| {})
}

/// `count` images of discs named 00, 01, ...; `split` gives their use, which may be followed by `,source`; `change` may
/// spoil image i.
pub fn folder(count: usize, split: impl Fn(usize) -> String, change: impl Fn(usize, &mut Sample)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for part in ["images", "masks"] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
    }
    let options = PhantomOptions { size: 48, objects: Some(4), ..PhantomOptions::new(PhantomKind::Discs) };
    let mut csv = String::from("file,split,source\n");
    for i in 0..count {
        let mut sample = make(&options, i);
        change(i, &mut sample);
        let split = split(i);
        let source = if split.contains(',') { String::new() } else { format!(",s{i}") };
        csv += &format!("{i:02}.png,{split}{source}\n");
        write(dir.path(), &format!("{i:02}"), &sample);
    }
    std::fs::write(dir.path().join("split.csv"), csv).unwrap();
    dir
}

/// Writes an image and its mask, whose labels are the classes.
pub fn write(root: &Path, name: &str, sample: &Sample) {
    write_image_png(&root.join(format!("images/{name}.png")), &sample.image).unwrap();
    let entries = (0..=254).map(|c| LabelEntry { value: u32::from(c), class: c, name: None }).collect();
    let map = LabelMap { kind: LabelKind::Classes, coding: LabelCoding::Value, entries };
    write_mask(&root.join(format!("masks/{name}")), &sample.mask, &map).unwrap();
}

pub fn open(dir: &TempDir) -> Dataset {
    Dataset::open(&Options::new(dir.path())).unwrap()
}

pub fn surveyed(dir: &TempDir) -> Survey {
    survey(&open(dir), &SurveyOptions::new(INPUT)).unwrap()
}

/// The warnings of one kind about a data set.
pub fn warned(dir: &TempDir, kind: WarningKind) -> Vec<Warning> {
    surveyed(dir).warnings.into_iter().filter(|w| w.kind == kind).collect()
}

/// The only warning about a data set.
pub fn only_warning(dir: &TempDir, kind: WarningKind) -> Warning {
    let mut warnings = surveyed(dir).warnings;
    assert_eq!(warnings.iter().map(|w| w.kind).collect::<Vec<_>>(), [kind], "{warnings:?}");
    warnings.remove(0)
}
