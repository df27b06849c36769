//! Faults of the JSON files of a run, and of images that do not fit it.

use std::path::Path;

use serde_json::json;

use crate::case::Case;
use crate::files::{change, cut, png, put, set};

/// Commands that open a run.
const OPEN: &str = "evaluate run data\n\
                    \x20segment run data/images --out masks\n\
                    \x20export run --onnx --out exported";
const SEGMENT: &str = "segment run new.png --out masks";

pub fn cases() -> Vec<Case> {
    let run = "run/run.json";
    let network = "run/network.json";
    vec![
        Case::new(
            "a run that is not there",
            OPEN,
            |lab| std::fs::remove_dir_all(lab.join("run")).expect("it is there"),
            "run/run.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a run that is a file",
            OPEN,
            |lab| {
                std::fs::remove_dir_all(lab.join("run")).expect("it is there");
                put(lab, "run", "x");
            },
            "run/run.json: Not a directory (os error 20)\n\
             hint: a part of the path is a file and no folder",
        ),
        Case::new(
            "a run.json that is cut short",
            OPEN,
            half(run),
            "run/run.json: expected segfit-run/1: EOF while parsing a value at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a run.json of another version",
            OPEN,
            edit(run, "/format", json!("segfit-run/0")),
            "run/run.json: expected segfit-run/1: its format is segfit-run/0\n\
             hint: {edited}",
        ),
        Case::new(
            "a run.json without a map of labels",
            OPEN,
            edit(run, "/label_map", json!(null)),
            "run/run.json: expected segfit-run/1: invalid type: null, expected struct LabelMap\n\
             hint: {edited}",
        ),
        Case::new(
            "a run.json whose map of labels is empty",
            OPEN,
            edit(run, "/label_map/entries", json!([])),
            "run/run.json: expected a map of labels for the network's 2 classes, found labels of 0\n\
             hint: run.json and network.json must be those of one training: copy the run's folder again",
        ),
        Case::new(
            "a run.json whose normalisation has too many channels",
            OPEN,
            edit(run, "/normalisation/mean", json!([0.5, 0.5, 0.5])),
            "run/run.json: expected the normalisation of 1 channel(s), found means of 3 and deviations of 1\n\
             hint: run.json and network.json must be those of one training: copy the run's folder again",
        ),
        Case::new(
            "a run.json whose deviation is 0",
            OPEN,
            edit(run, "/normalisation/std", json!([0.0])),
            "run/run.json: expected deviations above 0, found 0\n\
             hint: run.json and network.json must be those of one training: copy the run's folder again",
        ),
        Case::new(
            "a run.json whose mean is null",
            OPEN,
            edit(run, "/normalisation/mean", json!([null])),
            "run/run.json: expected segfit-run/1: invalid type: null, expected f32\n\
             hint: {edited}",
        ),
        Case::new(
            "a run.json for inputs of 0 pixels",
            OPEN,
            edit(run, "/recipe/input/size", json!(0)),
            "run/run.json: expected segfit-run/1: an input of 0 pixels along a side; 1 to 4096 are possible\n\
             hint: {edited}",
        ),
        Case::new(
            "a run without network.json",
            OPEN,
            |lab| std::fs::remove_file(lab.join("run/network.json")).expect("it is there"),
            "run/network.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a run whose network.json is cut short",
            OPEN,
            half(network),
            "run/network.json: expected segfit-network/1: EOF while parsing an object at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a run whose network.json is broken",
            OPEN,
            edit(network, "/output", json!("none")),
            "run/network.json: expected a network whose layers fit together, found layer none: the output \
             names no layer\n\
             hint: {layer}",
        ),
        Case::new(
            "a run whose network has other classes than its labels",
            OPEN,
            three_classes,
            "run/run.json: expected a map of labels for the network's 2 classes, found labels of 3\n\
             hint: run.json and network.json must be those of one training: copy the run's folder again",
        ),
        Case::new(
            "a metrics.json that is cut short",
            "report run --out page.html",
            half("run/metrics.json"),
            "reading run: run/metrics.json: expected segfit-metrics/1: EOF while parsing an object at line * \
             column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a training.json of another version",
            "report run --out page.html",
            edit("run/training.json", "/format", json!("segfit-training/7")),
            "reading run: run/training.json: expected segfit-training/1: its format is segfit-training/7\n\
             hint: {edited}",
        ),
        Case::new(
            "images of other channels than the network's",
            SEGMENT,
            |lab| put(lab, "new.png", png::rgb(32, 32, |x, y| [x as u8, y as u8, 0])),
            "segmenting new.png: image: expected 1 channels, as the network was made for, got 3 channels",
        ),
        Case::new(
            "an image to segment that is cut short",
            SEGMENT,
            |lab| put(lab, "new.png", cut(png::good(), 0.5)),
            "new.png: cannot be read as PNG: unexpected end of file\n\
             hint: {damaged}",
        ),
        Case::new("an image to segment that is not there", SEGMENT, |_| (), "new.png: {not there}\nhint: {spelling}"),
        Case::new(
            "a folder to segment without images",
            "segment run new --out masks",
            |lab| put(lab, "new/notes.txt", "none"),
            "no images found in new; expected files ending in png, jpg, jpeg, bmp, gif, tif, tiff, nii, dcm, \
             dicom, npy or nii.gz",
        ),
        Case::new(
            "two images to segment of one name",
            "segment run new --out masks",
            |lab| {
                put(lab, "new/a.png", png::good());
                put(lab, "new/a.bmp", crate::files::pictures::bmp());
            },
            "new/a.bmp and new/a.png would both be written as a: segment them into different folders",
        ),
        Case::new(
            "masks to be written over their images",
            "segment run data/images --out data/images",
            |_| (),
            "data/images/nuclei-0000.png lies in the output folder data/images: choose another --out",
        ),
        Case::new(
            "a data set of other classes to evaluate on",
            "evaluate run data",
            |lab| put(lab, "data/masks/nuclei-0003.png", png::gray(32, 32, |x, _| (x / 16) as u8 * 9)),
            "data set data: run is for images of 1 channel(s) and 2 classes, the data set has 1 and 3\n\
             hint: evaluate on images and masks like those of the training",
        ),
        Case::new(
            "a colour data set to evaluate a gray network on",
            "evaluate run data",
            colours,
            "data set data: run is for images of 1 channel(s) and 2 classes, the data set has 3 and 2\n\
             hint: evaluate on images and masks like those of the training",
        ),
        Case::new(
            "a colour data set to train a gray network on",
            "train network.json data --size 32 --steps 1 --out out",
            colours,
            "network.json is for images of 1 channel(s) and 2 classes, the data set has 3 and 2; plan a \
             network for it",
        ),
        Case::new(
            "a training over another training",
            "train network.json data --size 32 --steps 9 --out run",
            |_| (),
            "run: expected an empty folder or one of the same network, recipe, data and seed, initial weights \
             and teacher, found a run with another recipe (r1-4)\n\
             hint: {weights}",
        ),
        Case::new(
            "a training to go on with that is not there",
            "train network.json data --size 32 --resume --out out",
            |_| (),
            "out holds no checkpoint to resume from; leave out --resume to begin",
        ),
    ]
}

fn half(file: &'static str) -> impl Fn(&Path) + Send + Sync {
    move |lab| change(lab, file, |bytes| bytes.truncate(bytes.len() / 2))
}

fn edit(file: &'static str, at: &'static str, value: serde_json::Value) -> impl Fn(&Path) + Send + Sync {
    move |lab| set(lab, file, at, value.clone())
}

fn three_classes(lab: &Path) {
    let entry = |value: u32, class: u8| json!({"value": value, "class": class});
    set(lab, "run/run.json", "/label_map/entries", json!([entry(0, 0), entry(1, 1), entry(2, 2)]));
}

fn colours(lab: &Path) {
    for i in 0..10 {
        put(lab, &format!("data/images/nuclei-{i:04}.png"), png::rgb(32, 32, |x, y| [x as u8, y as u8, 0]));
    }
}
