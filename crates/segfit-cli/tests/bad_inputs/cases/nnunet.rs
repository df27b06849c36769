//! Faults of data sets in nnU-Net's layout.

use std::path::Path;

use serde_json::json;

use super::set;
use crate::case::Case;
use crate::files::{cut, png, put};

const JSON: &str = "data/dataset.json";

pub fn cases() -> Vec<Case> {
    vec![
        of(
            "an nnU-Net data set without dataset.json",
            |lab| remove(lab, JSON),
            "data/dataset.json: {not there}\nhint: {spelling}",
        ),
        of(
            "a dataset.json that is cut short",
            |lab| put(lab, JSON, cut(good().into_bytes(), 0.5)),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found no JSON: EOF while parsing a string at line * column *\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json that is a list",
            |lab| put(lab, JSON, "[1, 2]"),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found no \"labels\"\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json without labels",
            |lab| with(lab, "labels", None),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found no \"labels\"\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json whose labels are a list",
            |lab| with(lab, "labels", Some(json!(["background", "cell"]))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found \"labels\" that are not an object\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json with a label of -1",
            |lab| with(lab, "labels", Some(json!({"background": 0, "cell": -1}))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found label cell is -1, not a whole number from 0\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json with a label of 1.5",
            |lab| with(lab, "labels", Some(json!({"background": 0, "cell": 1.5}))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found label cell is 1.5, not a whole number from 0\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json with two labels of one value",
            |lab| with(lab, "labels", Some(json!({"background": 0, "a": 1, "b": 1}))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found two labels have the value 1\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json without background",
            |lab| with(lab, "labels", Some(json!({"a": 1, "b": 2}))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found 2 labels; the label 0 (background) is needed and 255 labels at most are possible\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json with regions",
            |lab| with(lab, "labels", Some(json!({"background": 0, "whole": [1, 2]}))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found label whole is [1,2]: regions of several labels are not supported\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json with 300 labels",
            |lab| with(lab, "labels", Some(many())),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found 300 labels; the label 0 (background) is needed and 255 labels at most are possible\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json for .mha files",
            |lab| with(lab, "file_ending", Some(json!(".mha"))),
            "data/dataset.json: expected a file_ending of .png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .nii, \
             .nii.gz, .npy, found .mha, a format that is not read\n\
             hint: convert the files to NIfTI or TIFF",
        ),
        of(
            "a dataset.json whose file ending is a number",
            |lab| with(lab, "file_ending", Some(json!(7))),
            "data/dataset.json: expected nnU-Net's description of the data set, with file_ending and labels, \
             found the file_ending 7\n\
             hint: correct it as nnU-Net's documentation/dataset_format.md tells",
        ),
        of(
            "a dataset.json for another ending than the files'",
            |lab| with(lab, "file_ending", Some(json!(".tif"))),
            "data set data: imagesTr holds no file ending in _0000.tif\n\
             hint: name the images case_0000, case_0001 (one file per channel)",
        ),
        of(
            "an nnU-Net case without its label file",
            |lab| remove(lab, "data/labelsTr/case_002.png"),
            "data/imagesTr/case_002_0000.png: expected a label file case_002.png in data/labelsTr, found none\n\
             hint: add the label file or remove the image",
        ),
        of(
            "an nnU-Net data set without labelsTr",
            |lab| remove(lab, "data/labelsTr"),
            "data/imagesTr/case_000_0000.png: expected a label file case_000.png in data/labelsTr, found none\n\
             hint: add the label file or remove the image",
        ),
        of(
            "an nnU-Net case without its first channel",
            |lab| remove(lab, "data/imagesTr/case_002_0000.png"),
            "data/imagesTr/case_002_0001.png: expected channel file case_002_0000.png, found a gap in the \
             channel numbers\n\
             hint: number the channel files of each case from 0000",
        ),
        of(
            "an nnU-Net case with a channel more",
            |lab| put(lab, "data/imagesTr/case_002_0002.png", png::good()),
            "data/imagesTr/case_002_0000.png: expected 2 channel(s), like data/imagesTr/case_000_0000.png, \
             found 3 channel(s)\n\
             hint: convert all images to gray or all to RGB",
        ),
        of(
            "an nnU-Net case with a channel of another size",
            |lab| put(lab, "data/imagesTr/case_002_0001.png", png::gray(30, 32, |x, _| x as u8)),
            "data/imagesTr/case_002_0001.png: expected 32 x 32 pixels, like the first channel, found 30 x 32\n\
             hint: all channel files of an image must have one size",
        ),
        of(
            "an nnU-Net case with a damaged channel",
            |lab| put(lab, "data/imagesTr/case_002_0001.png", cut(png::good(), 0.5)),
            "data/imagesTr/case_002_0001.png: cannot be read as PNG: unexpected end of file\n\
             hint: {damaged}",
        ),
        of(
            "an nnU-Net label that dataset.json does not name",
            |lab| put(lab, "data/labelsTr/case_002.png", mask(7)),
            "data/labelsTr/case_002.png: expected labels of the map (binary: 0 -> background, 1 -> cell), \
             found label 7\n\
             hint: correct the mask, or list the label in the data set's description",
        ),
        of(
            "an nnU-Net case in training and test",
            twice,
            "data/imagesTs/case_002_0000.png: expected case names that differ between imagesTr and imagesTs, \
             found case_002 in both\n\
             hint: rename one of the cases",
        ),
        of(
            "an nnU-Net data set without images",
            |lab| {
                remove(lab, "data/imagesTr");
                std::fs::create_dir(lab.join("data/imagesTr")).expect("a folder can be made");
            },
            "data set data: imagesTr holds no file ending in _0000.png\n\
             hint: name the images case_0000, case_0001 (one file per channel)",
        ),
    ]
}

fn of(name: &'static str, spoil: impl Fn(&Path) + Send + Sync + 'static, says: &'static str) -> Case {
    let make = move |lab: &Path| {
        remove(lab, "data");
        for i in 0..6 {
            for channel in 0..2 {
                put(lab, &format!("data/imagesTr/case_{i:03}_{channel:04}.png"), png::good());
            }
            put(lab, &format!("data/labelsTr/case_{i:03}.png"), mask(1));
        }
        put(lab, JSON, good());
        spoil(lab);
    };
    set(name, make, says)
}

fn mask(label: u8) -> Vec<u8> {
    png::gray(32, 32, move |x, _| if x > 20 { label } else { 0 })
}

fn good() -> String {
    json!({
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "cell": 1},
        "numTraining": 6,
        "file_ending": ".png"
    })
    .to_string()
}

/// The description with another value, or without the key.
fn with(lab: &Path, key: &str, value: Option<serde_json::Value>) {
    let mut json: serde_json::Value = serde_json::from_str(&good()).expect("it is JSON");
    let object = json.as_object_mut().expect("it is an object");
    match value {
        Some(value) => object.insert(key.into(), value),
        None => object.remove(key),
    };
    put(lab, JSON, json.to_string());
}

fn many() -> serde_json::Value {
    let label = |i: usize| (if i == 0 { "background".to_string() } else { format!("label{i}") }, json!(i));
    serde_json::Value::Object((0..300).map(label).collect())
}

fn twice(lab: &Path) {
    for (folder, name) in [("imagesTs", "case_002_0000"), ("imagesTs", "case_002_0001")] {
        put(lab, &format!("data/{folder}/{name}.png"), png::good());
    }
    put(lab, "data/labelsTs/case_002.png", mask(1));
}

fn remove(lab: &Path, name: &str) {
    let path = lab.join(name);
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("it is there");
}
