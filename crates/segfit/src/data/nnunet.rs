//! The nnU-Net layout: `imagesTr/case_0000.png`, `labelsTr/case.png`, `dataset.json`
//! (<https://github.com/MIC-DKFZ/nnUNet>, documentation/dataset_format.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Options;
use super::label_map::LabelEntry;
use super::layout::{Item, Listing, check_folder};
use super::split::Split;
use crate::error::{Error, Result};

const READ_ENDINGS: [&str; 10] = [".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".nii", ".nii.gz", ".npy"];

pub(crate) fn list(root: &Path, options: &Options) -> Result<Listing> {
    let path = root.join("dataset.json");
    let bad = |got: String| Error::Content {
        path: path.clone(),
        expected: "nnU-Net's description of the data set, with file_ending and labels".into(),
        got,
        hint: "correct it as nnU-Net's documentation/dataset_format.md tells".into(),
    };
    let text = std::fs::read(&path).map_err(Error::io(&path))?;
    let json: Value = serde_json::from_slice(&text).map_err(|e| bad(format!("no JSON: {e}")))?;
    let ending = match json.get("file_ending") {
        None => ".nii.gz",
        Some(Value::String(ending)) => ending,
        Some(other) => return Err(bad(format!("the file_ending {other}"))),
    };
    if !READ_ENDINGS.contains(&ending.to_ascii_lowercase().as_str()) {
        return Err(Error::Content {
            path: path.clone(),
            expected: format!("a file_ending of {}", READ_ENDINGS.join(", ")),
            got: format!("{ending}, a format that is not read"),
            hint: "convert the files to NIfTI or TIFF".into(),
        });
    }
    let labels = labels(json.get("labels").ok_or_else(|| bad("no \"labels\"".into()))?).map_err(bad)?;
    let mut listing = Listing { declared: Some(labels), split_folder: root.into(), ..Listing::default() };
    let test_masks = root.join("labelsTs");
    let test_images = root.join("imagesTs");
    let has_test = test_images.is_dir() && test_masks.is_dir();
    let split = has_test.then_some(Split::Train);
    listing.items = cases(&root.join("imagesTr"), &root.join("labelsTr"), ending, split, options)?;
    if has_test {
        listing.items.extend(cases(&test_images, &test_masks, ending, Some(Split::Test), options)?);
    } else if test_images.is_dir() {
        listing.warnings.push("imagesTs has no labelsTs and is not used".into());
    }
    listing.items.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(two) = listing.items.windows(2).find(|w| w[0].name == w[1].name) {
        return Err(Error::Content {
            path: two[1].images[0].clone(),
            expected: "case names that differ between imagesTr and imagesTs".into(),
            got: format!("{} in both", two[0].name),
            hint: "rename one of the cases".into(),
        });
    }
    if listing.items.is_empty() {
        return Err(Error::Dataset {
            path: root.into(),
            reason: format!("imagesTr holds no file ending in _0000{ending}"),
            hint: "name the images case_0000, case_0001 (one file per channel)".into(),
        });
    }
    Ok(listing)
}

/// The cases of one folder: all channel files in order, and the label file.
fn cases(images: &Path, masks: &Path, ending: &str, split: Option<Split>, options: &Options) -> Result<Vec<Item>> {
    check_folder(images)?;
    let mut cases: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(images).map_err(Error::io(images))? {
        let path = entry.map_err(Error::io(images))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some((case, channel)) = name.strip_suffix(ending).and_then(|s| s.rsplit_once('_')) else { continue };
        match channel.parse::<usize>() {
            Ok(c) if channel.len() == 4 => cases.entry(case.into()).or_default().insert(c, path),
            _ => continue,
        };
    }
    let mut items = Vec::new();
    for (name, channels) in cases {
        if let Some((at, (_, path))) = channels.iter().enumerate().find(|(at, (c, _))| at != *c) {
            return Err(Error::Content {
                path: path.clone(),
                expected: format!("channel file {name}_{at:04}{ending}"),
                got: "a gap in the channel numbers".into(),
                hint: "number the channel files of each case from 0000".into(),
            });
        }
        let mask = masks.join(format!("{name}{ending}"));
        let mask = mask.is_file().then_some(mask);
        let images: Vec<PathBuf> = channels.into_values().collect();
        if mask.is_none() && !options.masks_optional {
            return Err(Error::Content {
                path: images[0].clone(),
                expected: format!("a label file {name}{ending} in {}", masks.display()),
                got: "none".into(),
                hint: "add the label file or remove the image".into(),
            });
        }
        items.push(Item { name, images, mask, split, slice: None, volume: None });
    }
    Ok(items)
}

/// Labels as `{"name": value}` (version 2) or `{"value": "name"}` (version 1), in ascending order.
fn labels(json: &Value) -> std::result::Result<Vec<LabelEntry>, String> {
    let object = json.as_object().ok_or("\"labels\" that are not an object")?;
    let mut named: BTreeMap<u32, String> = BTreeMap::new();
    for (key, value) in object {
        let (name, number) = match (value, key.parse::<u32>()) {
            (Value::String(name), Ok(number)) => (name, number),
            (Value::Number(n), _) => match n.as_u64().and_then(|n| u32::try_from(n).ok()) {
                Some(number) => (key, number),
                None => return Err(format!("label {key} is {n}, not a whole number from 0")),
            },
            _ => return Err(format!("label {key} is {value}: regions of several labels are not supported")),
        };
        if name == "ignore" {
            continue;
        }
        if named.insert(number, name.clone()).is_some() {
            return Err(format!("two labels have the value {number}"));
        }
    }
    if named.len() > 255 || named.first_key_value().is_none_or(|(v, _)| *v != 0) {
        return Err(format!(
            "{} labels; the label 0 (background) is needed and 255 labels at most are possible",
            named.len()
        ));
    }
    Ok(named
        .into_iter()
        .enumerate()
        .map(|(class, (value, name))| LabelEntry { value, class: class as u8, name: Some(name) })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_labels_are_understood_and_regions_are_not() {
        let v2 = labels(&serde_json::json!({"background": 0, "kidney": 1, "tumour": 3, "ignore": 4})).unwrap();
        let v1 = labels(&serde_json::json!({"0": "background", "1": "kidney", "3": "tumour"})).unwrap();
        assert_eq!(v1, v2);
        assert_eq!((v2[2].value, v2[2].class), (3, 2));
        assert!(labels(&serde_json::json!({"background": 0, "whole": [1, 2]})).unwrap_err().contains("regions"));
        assert!(labels(&serde_json::json!({"a": 1})).unwrap_err().contains("label 0"));
    }
}
