//! The cases of image files, kept in a folder for other programs to read.

use std::path::Path;

use crate::case::Case;
use crate::files::{dicom, nifti, npy, pictures, png, put, tiff};
use crate::start::{Start, copy_folder};

/// Writes every case that has a file into a numbered folder, and `cases.json` with names and files.
pub fn keep(folder: &Path, cases: &[Case], start: &Start) {
    let mut list = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let Some(file) = case.file else { continue };
        let (lab, to) = (start.copy(), folder.join(format!("{i:03}")));
        (case.make)(lab.path());
        copy_folder(&lab.path().join("data"), &to.join("data"));
        list.push(serde_json::json!({"name": case.name, "file": format!("{i:03}/{file}"), "good": false}));
    }
    for (name, bytes) in good() {
        let file = format!("good/data/images/{name}");
        put(folder, &file, bytes);
        list.push(serde_json::json!({"name": format!("a good file, {name}"), "file": file, "good": true}));
    }
    let text = serde_json::to_string_pretty(&list).expect("names are JSON");
    std::fs::write(folder.join("cases.json"), text).expect("the list can be written");
}

/// Files of every format that any of the readers should read.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("good.png", png::good()),
        ("good.jpg", pictures::jpeg()),
        ("good.bmp", pictures::bmp()),
        ("good.gif", pictures::gif()),
        ("good.tif", tiff::good()),
        ("good.nii", nifti::good()),
        ("good.nii.gz", crate::files::gzip(&nifti::good())),
        ("good.npy", npy::good()),
        ("good.dcm", dicom::Slice::good(0).bytes()),
    ]
}
