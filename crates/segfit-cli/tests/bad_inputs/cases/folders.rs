//! Folders without what they should hold, with too much, or with things that are no files.

use std::path::Path;

use super::set;
use crate::case::Case;
use crate::files::{bytes_of, png, put};

const IMAGE: &str = "data/images/nuclei-0003.png";
const MASK: &str = "data/masks/nuclei-0003.png";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        set(
            "a folder that is not there",
            |lab| rename(lab, "data", "elsewhere"),
            "data: expected a folder, found nothing of that name\nhint: {spelling}",
        ),
        set(
            "a file in place of the folder",
            |lab| {
                remove(lab, "data");
                put(lab, "data", "text");
            },
            "data: expected a folder, found a file\nhint: {spelling}",
        ),
        set(
            "an empty folder",
            |lab| {
                remove(lab, "data");
                make(lab, "data");
            },
            "data set data: it has neither a folder `images` nor images of its own; it holds nothing\n\
             hint: arrange it as images/ and masks/ with equal file names, or name the folders with --images \
             and --masks",
        ),
        set(
            "a folder of text files",
            |lab| {
                remove(lab, "data");
                put(lab, "data/a.txt", "1");
                put(lab, "data/b.docx", "2");
            },
            "data set data: it has neither a folder `images` nor images of its own; it holds a.txt, b.docx\n\
             hint: arrange it as images/ and masks/ with equal file names, or name the folders with --images \
             and --masks",
        ),
        set(
            "images and masks in folders of other names",
            |lab| {
                rename(lab, "data/images", "data/raw");
                rename(lab, "data/masks", "data/truth");
            },
            "data set data: it has neither a folder `images` nor images of its own; it holds PHANTOM.json, \
             raw, split.csv, truth\n\
             hint: arrange it as images/ and masks/ with equal file names, or name the folders with --images \
             and --masks",
        ),
        set(
            "images without a folder of masks",
            |lab| remove(lab, "data/masks"),
            "data set data: it has no folder `masks` or `labels` beside `images`\n\
             hint: add the folder or name it with --masks",
        ),
        set(
            "an empty folder of masks",
            |lab| {
                remove(lab, "data/masks");
                make(lab, "data/masks");
            },
            "data/images/nuclei-0000.png: expected a mask named nuclei-0000.* or nuclei-0000_mask.* in \
             data/masks, found none\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        set(
            "an empty folder of images",
            |lab| {
                remove(lab, "data/images");
                make(lab, "data/images");
            },
            "data set data/images: it holds no PNG, JPEG, BMP, GIF, TIFF, NIfTI, DICOM or NumPy (.npy) file\n\
             hint: it holds nothing; convert the images or name another folder with --images",
        ),
        set(
            "a folder of images that is a file",
            |lab| {
                remove(lab, "data/images");
                put(lab, "data/images", "x");
            },
            "data set data: it has neither a folder `images` nor images of its own; it holds PHANTOM.json, \
             images, masks, split.csv\n\
             hint: arrange it as images/ and masks/ with equal file names, or name the folders with --images \
             and --masks",
        ),
        set(
            "an image without a mask",
            |lab| remove(lab, MASK),
            "data/images/nuclei-0003.png: expected a mask named nuclei-0003.* or nuclei-0003_mask.* in \
             data/masks, found none\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        set(
            "an image that is missing and named in split.csv",
            |lab| {
                remove(lab, "data/images");
                put(lab, "data/images/other.png", png::good());
            },
            "data/images/other.png: expected a mask named other.* or other_mask.* in data/masks, found none\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        set(
            "two images of one name",
            |lab| put(lab, "data/images/nuclei-0003.bmp", crate::files::pictures::bmp()),
            "data/images/nuclei-0003.bmp: expected one file per name, found also data/images/nuclei-0003.png\n\
             hint: rename or remove one of them",
        ),
        set(
            "two masks of one image",
            |lab| put(lab, "data/masks/nuclei-0003_mask.png", bytes_of(lab, MASK)),
            "data/masks/nuclei-0003.png: expected one file per name, found also data/masks/nuclei-0003_mask.png\n\
             hint: rename or remove one of them",
        ),
        set(
            "names of image and mask that differ in case",
            |lab| rename(lab, MASK, "data/masks/Nuclei-0003.png"),
            "data/images/nuclei-0003.png: expected a mask named nuclei-0003.* or nuclei-0003_mask.* in \
             data/masks, found data/masks/Nuclei-0003.png, whose name differs in upper and lower case\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        set(
            "a folder named as a mask is",
            |lab| {
                remove(lab, MASK);
                make(lab, MASK);
            },
            "data/images/nuclei-0003.png: expected a mask named nuclei-0003.* or nuclei-0003_mask.* in \
             data/masks, found none\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        set(
            "images in folders one level deeper",
            |lab| {
                make(lab, "data/plate1");
                rename(lab, "data/images", "data/plate1/images");
                remove(lab, "data/masks");
            },
            "data set data: it has neither a folder `images` nor images of its own; it holds PHANTOM.json, \
             plate1, split.csv\n\
             hint: arrange it as images/ and masks/ with equal file names, or name the folders with --images \
             and --masks",
        ),
        set(
            "an .mha volume among the images",
            |lab| put(lab, "data/images/scan.mha", "ObjectType = Image\n"),
            "data/images/scan.mha: expected {image file}, found a .mha file, a format that is not read\n\
             hint: convert it to NIfTI or to a TIFF stack",
        ),
        set(
            "a .czi file among the images",
            |lab| put(lab, "data/images/plate.czi", "ZISRAWFILE"),
            "data/images/plate.czi: expected {image file}, found a .czi file, a format that is not read\n\
             hint: convert it to NIfTI or to a TIFF stack",
        ),
        set(
            "an OME-Zarr without an image",
            |lab| {
                put(lab, "data/images/plate.zarr/.zattrs", "{}");
                put(lab, "data/masks/plate.zarr/.zattrs", "{}");
            },
            "data/images/plate.zarr: cannot be read as OME-Zarr: it has no \"multiscales\": it is no OME-Zarr image\n\
             hint: {damaged}",
        ),
        set(
            "a colour picture among gray ones",
            |lab| put(lab, IMAGE, png::rgb(32, 32, |x, y| [x as u8, y as u8, 3])),
            "data/images/nuclei-0003.png: expected 1 channel(s), like data/images/nuclei-0000.png, found 3 \
             channel(s)\n\
             hint: convert all images to gray or all to RGB",
        ),
        set(
            "one image alone",
            alone,
            "data set data: none of its 1 images is for training\n\
             hint: mark some images as train in split.csv",
        ),
        set(
            "a damaged VARIANT.json beside the images",
            |lab| put(lab, "data/VARIANT.json", "{\"format\": \"segfit-variant/1\""),
            "data/VARIANT.json: expected segfit-variant/1: EOF while parsing an object at line * column *\n\
             hint: {edited}",
        ),
        set(
            "a PHANTOM.json of another version",
            |lab| put(lab, "data/PHANTOM.json", "{\"format\": \"segfit-phantom/9\"}"),
            "data/PHANTOM.json: expected segfit-phantom/1: its format is segfit-phantom/9\n\
             hint: {edited}",
        ),
        Case::new(
            "--images with a folder that is not there",
            "measure --images none --masks data/masks --out profile.json",
            |_| (),
            "none: expected a folder, found nothing of that name\nhint: {spelling}",
        ),
        Case::new(
            "--masks with a folder that is not there",
            "measure data --masks none --out profile.json",
            |_| (),
            "none: expected a folder, found nothing of that name\nhint: {spelling}",
        ),
        Case::new(
            "--masks with the folder of the images",
            "measure data --masks data/images --out profile.json",
            |_| (),
            "data/images/nuclei-0000.png: expected a mask named nuclei-0000.* or nuclei-0000_mask.* in \
             data/images, found none\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        Case::new(
            "a file to look at that is not there",
            "inspect data/images/none.png",
            |_| (),
            "data/images/none.png: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a folder to look at without images",
            "inspect work",
            |lab| make(lab, "work"),
            "no images found in work; expected files ending in png, jpg, jpeg, bmp, gif, tif, tiff, nii, dcm, \
             dicom, npy or nii.gz",
        ),
    ];
    #[cfg(unix)]
    cases.extend(unix());
    cases
}

/// What only some systems have.
#[cfg(unix)]
fn unix() -> Vec<Case> {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let link = |target: &'static str| {
        move |lab: &Path| {
            remove(lab, IMAGE);
            symlink(target, lab.join(IMAGE)).expect("a link can be made");
        }
    };
    let looked_at = |case: Case| Case { commands: [vec![format!("inspect {IMAGE}")], case.commands].concat(), ..case };
    let mut cases = vec![
        looked_at(set(
            "an image that is a link to nothing",
            link("moved.png"),
            "data/images/nuclei-0003.png: {not there}\nhint: {spelling}",
        )),
        looked_at(set(
            "an image that is a link to itself",
            link("nuclei-0003.png"),
            "data/images/nuclei-0003.png: Too many levels of symbolic links (os error 40)\n\
             hint: this is the operating system's reason: check the path and what lies there",
        )),
        looked_at(set(
            "an image that is a link to an endless device",
            link("/dev/zero"),
            "data/images/nuclei-0003.png: expected a file, found a pipe, device or socket\n\
             hint: put a file of that name in its place, or remove it",
        )),
        looked_at(set(
            "an image that is an empty device",
            link("/dev/null"),
            "data/images/nuclei-0003.png: expected a file, found a pipe, device or socket\n\
             hint: put a file of that name in its place, or remove it",
        )),
        looked_at(set(
            "an image that is a pipe which nobody writes",
            |lab| {
                remove(lab, IMAGE);
                pipe(lab, IMAGE);
            },
            "data/images/nuclei-0003.png: expected a file, found a pipe, device or socket\n\
             hint: put a file of that name in its place, or remove it",
        )),
        set(
            "a mask that is a pipe which nobody writes",
            |lab| {
                remove(lab, MASK);
                pipe(lab, MASK);
            },
            "data/masks/nuclei-0003.png: expected a file, found a pipe, device or socket\n\
             hint: put a file of that name in its place, or remove it",
        ),
        set(
            "a split.csv that is a pipe which nobody writes",
            |lab| {
                remove(lab, "data/split.csv");
                pipe(lab, "data/split.csv");
            },
            "data/split.csv: expected a file, found a pipe, device or socket\n\
             hint: put a file of that name in its place, or remove it",
        ),
        set(
            "a name that is no UTF-8",
            |lab| {
                let name = std::ffi::OsStr::from_bytes(b"nuclei-\xff\xfe.png");
                std::fs::write(lab.join("data/images").join(name), png::good())
                    .expect("the file system takes any bytes");
            },
            "data/images/nuclei-��.png: expected a mask named nuclei-��.* or nuclei-��_mask.* in data/masks, \
             found none\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
    ];
    if crate::support::is_root() {
        crate::support::skipped("bad inputs without permission: root may read everything");
    } else {
        let locked = |lab: &Path| {
            std::fs::set_permissions(lab.join(IMAGE), std::fs::Permissions::from_mode(0o000))
                .expect("the file is ours");
        };
        cases.push(set(
            "an image without permission",
            locked,
            "data/images/nuclei-0003.png: Permission denied*\n\
             hint: check the permissions*",
        ));
    }
    cases
}

#[cfg(unix)]
fn pipe(lab: &Path, name: &str) {
    let made = std::process::Command::new("mkfifo").arg(lab.join(name)).status().expect("mkfifo runs");
    assert!(made.success());
}

fn alone(lab: &Path) {
    for i in (0..10).filter(|i| *i != 3) {
        remove(lab, &format!("data/images/nuclei-{i:04}.png"));
    }
    put(lab, "data/split.csv", "file,split\nnuclei-0003.png,test\n");
}

fn make(lab: &Path, name: &str) {
    std::fs::create_dir_all(lab.join(name)).expect("a folder can be made");
}

fn rename(lab: &Path, from: &str, to: &str) {
    std::fs::rename(lab.join(from), lab.join(to)).expect("what is renamed is there");
}

fn remove(lab: &Path, name: &str) {
    let path = lab.join(name);
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("it is there");
}
