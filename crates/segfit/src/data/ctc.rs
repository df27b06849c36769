//! The layout of the Cell Tracking Challenge: films `01`, `02` of frames `t000.tif`, with the segmentations of some frames in
//! `01_GT/SEG/man_seg000.tif` (<http://celltrackingchallenge.net/datasets/>).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Options;
use super::layout::{Item, Listing, check_folder};
use crate::error::{Error, Result};

/// Whether a folder holds films in this layout: `01` beside `01_GT` or `01_ST`.
pub(crate) fn is_ctc(root: &Path) -> bool {
    !films(root).is_empty()
}

/// Names of the films that have a folder of segmentations, ascending.
fn films(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let is_film = |name: &String| {
        name.len() == 2
            && name.bytes().all(|b| b.is_ascii_digit())
            && root.join(name).is_dir()
            && (truth(root, name, "GT").is_dir() || truth(root, name, "ST").is_dir())
    };
    let mut films: Vec<String> = names.filter(is_film).collect();
    films.sort();
    films
}

fn truth(root: &Path, film: &str, kind: &str) -> PathBuf {
    root.join(format!("{film}_{kind}")).join("SEG")
}

/// The frames that have a segmentation, named `01_t000`; those of a film have the film as their source. The gold truth is taken, or
/// where a film has none the silver truth, which is computed from the results of others.
pub(crate) fn list(root: &Path, options: &Options) -> Result<Listing> {
    let mut listing = Listing { split_folder: root.into(), counts_objects: true, ..Listing::default() };
    let mut unmarked = 0;
    for film in films(root) {
        let gold = numbered(&truth(root, &film, "GT"), "man_seg")?;
        let masks = if gold.is_empty() {
            let silver = numbered(&truth(root, &film, "ST"), "man_seg")?;
            listing.warnings.push(format!(
                "{film}_GT has no whole frames: the silver truth of {film}_ST is used, which other programs made"
            ));
            silver
        } else {
            gold
        };
        let frames = numbered(&root.join(&film), "t")?;
        if let Some((number, mask)) = masks.iter().find(|(number, _)| !frames.contains_key(number)) {
            return Err(Error::Content {
                path: mask.clone(),
                expected: format!("a frame {number} in {}", root.join(&film).display()),
                got: "none".into(),
                hint: "add the frame or remove its segmentation".into(),
            });
        }
        for (number, frame) in frames {
            let mask = masks.get(&number).cloned();
            if mask.is_none() && !options.masks_optional {
                unmarked += 1;
                continue;
            }
            let stem = frame.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            listing.items.push(Item {
                name: format!("{film}_{stem}"),
                images: vec![frame],
                mask,
                split: None,
                slice: None,
                volume: Some(film.clone()),
            });
        }
    }
    if unmarked > 0 {
        listing.warnings.push(format!("{unmarked} frame(s) have no segmentation and are not used"));
    }
    if listing.items.is_empty() {
        return Err(Error::Dataset {
            path: root.into(),
            reason: "no frame of its films has a segmentation of the whole frame".into(),
            hint: "the Cell Tracking Challenge's layout has them as 01_GT/SEG/man_seg000.tif".into(),
        });
    }
    Ok(listing)
}

/// Files `prefix` + digits + `.tif`, by their number. Segmentations of single slices (`man_seg_000_00.tif`) are not among them.
fn numbered(folder: &Path, prefix: &str) -> Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    if !folder.exists() {
        return Ok(found);
    }
    check_folder(folder)?;
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let digits = name.strip_prefix(prefix).and_then(|n| n.strip_suffix(".tif").or(n.strip_suffix(".tiff")));
        if let Some(number) = digits.and_then(|d| d.parse().ok()) {
            found.insert(number, path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tiff_writer::TiffWriter;
    use crate::data::{Dataset, LabelKind, Split};

    #[test]
    fn frames_with_a_segmentation_are_read_and_films_are_not_divided() {
        let dir = tempfile::tempdir().unwrap();
        let frame = |path: String| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            TiffWriter::gray(16, 16).write(&path, |y, x, _| (y * 16 + x) as u64);
        };
        let mask = |path: String| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            TiffWriter { bits: 16, ..TiffWriter::gray(16, 16) }
                .write(&path, |y, x, _| (y / 8 * 2 + x / 8) as u64 * 300);
        };
        for film in ["01", "02"] {
            (0..4).for_each(|i| frame(format!("{film}/t{i:03}.tif")));
        }
        (1..4).for_each(|i| mask(format!("01_GT/SEG/man_seg{i:03}.tif")));
        mask("02_ST/SEG/man_seg002.tif".into());
        mask("02_GT/SEG/man_seg_001_00.tif".into());
        let set = Dataset::open(&Options::new(dir.path())).unwrap();
        let names: Vec<&str> = set.pairs.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["01_t001", "01_t002", "01_t003", "02_t002"]);
        assert_eq!((set.label_map.kind, set.classes), (LabelKind::Instances, 2));
        assert!(set.pairs[..3].iter().all(|p| p.split == set.pairs[0].split && p.source == "01"));
        assert!(set.pairs.iter().any(|p| p.split == Split::Test));
        let warnings = set.warnings.join("\n");
        assert!(warnings.contains("02_ST") && warnings.contains("4 frame(s) have no segmentation"), "{warnings}");
        // With one film the user divides it.
        std::fs::remove_dir_all(dir.path().join("02_ST")).unwrap();
        std::fs::remove_dir_all(dir.path().join("02_GT")).unwrap();
        let rows = "file,split\n01_t001,train\n01_t002,test\n01_t003,train\n";
        std::fs::write(dir.path().join("split.csv"), rows).unwrap();
        let set = Dataset::open(&Options::new(dir.path())).unwrap();
        assert_eq!(set.indices(Split::Test), [1]);
        std::fs::remove_file(dir.path().join("01/t002.tif")).unwrap();
        let error = Dataset::open(&Options::new(dir.path())).unwrap_err().to_string();
        assert!(error.contains("man_seg002.tif") && error.contains("a frame 2"), "{error}");
    }
}
