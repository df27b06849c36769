//! Targets: everything that a data set consists of.

use std::path::Path;

use segfit::data::{
    Axis, Dataset, ImageFile, LabelMap, Mask, Options, Split, inspect, prepare, read_image, read_raw_mask, write_mask,
    write_masks,
};
use segfit::recipe::{InputMode, InputSpec};

use crate::place::{file, folder};

/// Slices of a file that are read one by one.
const SLICES: usize = 4;

/// PNG, JPEG, BMP and GIF, or anything else.
pub fn picture(bytes: &[u8]) {
    image("a.png", bytes);
}

/// TIFF: pages, stacks, tiles.
pub fn tiff(bytes: &[u8]) {
    image("a.tif", bytes);
}

/// NIfTI, also gzipped.
pub fn nifti(bytes: &[u8]) {
    image("a.nii", bytes);
}

/// A DICOM file.
pub fn dicom(bytes: &[u8]) {
    image("a.dcm", bytes);
}

/// A DICOM segmentation object, as the mask of a DICOM image of three slices.
pub fn segments(bytes: &[u8]) {
    let (images, masks) = (folder().join("parts/images"), folder().join("parts/masks"));
    file("parts/masks/a.dcm", bytes);
    if !images.exists() {
        file("parts/images/a.dcm", &crate::seeds::images::three_slices());
    }
    open(Options { is_lazy: true, ..Options::folders(images, Some(masks)) });
}

/// OME-Zarr: the description of the group, that of the array, and one chunk, apart by bytes of 0. The chunk is the first by every way of
/// naming it.
pub fn zarr(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |&b| b == 0);
    let (Some(group), Some(array), Some(chunk)) = (parts.next(), parts.next(), parts.next()) else { return };
    let root = folder().join("a.zarr");
    let _ = std::fs::remove_dir_all(&root);
    let is_third = group.windows(15).any(|w| w == b"\"zarr_format\":3");
    let names = if is_third { ["zarr.json", "0/zarr.json"] } else { [".zattrs", "0/.zarray"] };
    file(&format!("a.zarr/{}", names[0]), group);
    file(&format!("a.zarr/{}", names[1]), array);
    for sides in 2..=5 {
        file(&format!("a.zarr/0/{}", vec!["0"; sides].join(".")), chunk);
    }
    file("a.zarr/0/0/0/0", chunk);
    file("a.zarr/0/c/0/0/0", chunk);
    let _ = inspect(&root, None, &mut |_| Ok(()));
    let Ok(read) = ImageFile::open(&root, None) else { return };
    for index in 0..read.count().min(SLICES) {
        let Ok(found) = read.image(index) else { return };
        assert_eq!(found.data.len(), found.channels * found.height * found.width);
    }
}

/// NumPy.
pub fn npy(bytes: &[u8]) {
    image("a.npy", bytes);
}

/// As `inspect`, `measure` and `segment` read an image; masks of its size are written back.
fn image(name: &str, bytes: &[u8]) {
    let path = file(name, bytes);
    let _ = inspect(&path, None, &mut |_| Ok(()));
    let _ = read_image(&path);
    let Ok(read) = ImageFile::open(&path, None) else { return };
    let mut masks = Vec::new();
    for index in 0..read.count().min(SLICES) {
        let Ok(found) = read.image(index) else { return };
        assert_eq!(found.data.len(), found.channels * found.height * found.width);
        let data = (0..found.height * found.width).map(|i| (i % 2) as u8).collect();
        masks.push(Mask { height: found.height, width: found.width, data });
    }
    let out = folder().join("out");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir_all(&out).expect("a folder");
    if read.is_stack() && read.count() == masks.len() {
        let _ = write_masks(&out, "a", &read, &masks, &LabelMap::empty());
    } else if let [only] = &masks[..] {
        let _ = write_mask(&out.join("a.png"), only, &LabelMap::empty());
    }
    if let Ok(other) = ImageFile::open(&path, Some(Axis::X)) {
        let _ = other.image(0);
    }
}

/// Masks of any format: their labels become classes.
pub fn mask(bytes: &[u8]) {
    let path = file("a_mask.png", bytes);
    if let Ok(raw) = read_raw_mask(&path) {
        assert_eq!(raw.labels.len(), raw.height * raw.width);
    }
    // As the only mask of a data set: the label map is made of it.
    let (images, masks) = (folder().join("pair/images"), folder().join("pair/masks"));
    file("pair/masks/a.png", bytes);
    if !images.exists() {
        file("pair/images/a.png", &crate::seeds::images::png_gray(32, 32));
    }
    open(Options { is_lazy: false, ..Options::folders(&images, Some(masks.clone())) });
    open(Options { is_lazy: true, instances: true, ..Options::folders(images, Some(masks)) });
}

fn open(options: Options) {
    let Ok(set) = Dataset::open(&options) else { return };
    let Ok(samples) = set.load(&[0]) else { return };
    let input = InputSpec { mode: InputMode::Resize, size: 32 };
    let _ = prepare(&samples, &input);
}

/// Text files of a data set, by the first byte: split.csv, dataset.json (nnU-Net), VARIANT.json, PHANTOM.json.
pub fn dataset(bytes: &[u8]) {
    let Some((which, text)) = bytes.split_first() else { return };
    let root = folder().join("set");
    let name = ["split.csv", "dataset.json", "VARIANT.json", "PHANTOM.json"][usize::from(*which) % 4];
    let _ = std::fs::remove_dir_all(&root);
    let pairs = if name == "dataset.json" { ["imagesTr", "labelsTr"] } else { ["images", "masks"] };
    for stem in ["a", "b", "c"] {
        let image = if name == "dataset.json" { format!("{stem}_0000") } else { stem.into() };
        file(&format!("set/{}/{image}.png", pairs[0]), &crate::seeds::images::png_gray(32, 32));
        file(&format!("set/{}/{stem}.png", pairs[1]), &crate::seeds::images::png_mask(32, 32));
    }
    file(&format!("set/{name}"), text);
    let Ok(set) = Dataset::open(&Options { is_lazy: true, ..Options::new(&root) }) else { return };
    assert!(set.pairs.iter().all(|p| p.image.starts_with(&root)), "images outside of the data set");
    assert!(set.pairs.iter().all(|p| !p.name.contains(['/', '\\'])), "names that are paths");
    let _ = set.indices(Split::Train);
    assert!(Path::new(&set.name).components().count() <= 1);
}
