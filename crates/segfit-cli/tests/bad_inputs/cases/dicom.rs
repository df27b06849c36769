//! DICOM files and series that lack pixels, mix series or are of a kind that is not read.

use std::path::Path;

use super::{set, volume};
use crate::case::Case;
use crate::files::dicom::{JPEG_2000, JPEG_BASELINE, JPEG_LS, RLE, SIDE, Slice};
use crate::files::{nifti, put};

const DCM: &str = "data/images/scan.dcm";
const SERIES: &str = "data/images/scan";

/// A transfer syntax of 3.5 GB.
const HUGE: [u8; 12] = *b"\x02\0\x10\0OB\0\0\xff\xff\xff\xd0";

/// A file that says of itself these elements, in a header of 200 bytes.
fn header(elements: &[&[u8]]) -> Vec<u8> {
    [&[0; 128], &b"DICM\x02\0\0\0UL\x04\0\xc8\0\0\0"[..], &elements.concat(), &[0; 400]].concat()
}

pub fn cases() -> Vec<Case> {
    let good = || Slice::good(0);
    let one = |name, slice: Slice, says| volume(name, DCM, slice.bytes(), says);
    vec![
        volume(
            "an empty DICOM file",
            DCM,
            "",
            "FILE: expected {image file}, found an empty file (0 bytes)\n\
             hint: {cut short}",
        ),
        volume(
            "a DICOM file cut behind its mark",
            DCM,
            &good().bytes()[..132],
            "FILE: cannot be read as DICOM: Could not decode data element\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file cut within its header",
            DCM,
            &good().bytes()[..300],
            "FILE: cannot be read as DICOM: its elements are damaged\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file cut within its pixels",
            DCM,
            &good().bytes()[..1500],
            "FILE: cannot be read as DICOM: an element claims 2048 bytes, beyond the end of the file\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file whose header claims more than the file holds",
            DCM,
            header(&[&HUGE]),
            "FILE: cannot be read as DICOM: an element claims 3506438143 bytes, beyond the end of the file\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file whose header claims more behind an element of another group",
            DCM,
            header(&[b"\x03\0\x01\0LO\0\0", &HUGE]),
            "FILE: cannot be read as DICOM: an element claims 3506438143 bytes, beyond the end of the file\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file whose header has items",
            DCM,
            header(&[b"\xfe\xff\x00\xe0\0\0\0\0", &HUGE]),
            "FILE: cannot be read as DICOM: its elements are damaged\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file whose header's length is of another kind",
            DCM,
            header(&[&HUGE]).into_iter().enumerate().map(|(i, b)| if i == 137 { b'S' } else { b }).collect::<Vec<u8>>(),
            "FILE: cannot be read as DICOM: its elements are damaged\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file with one and a half numbers",
            DCM,
            {
                let mut bytes = good().bytes();
                let at = bytes.windows(6).position(|w| w == b"\x20\0\x0d\0UI").expect("the number of the study");
                bytes.splice(at..at, *b"\x08\0\x14\0FL\x06\0\0\0\0\0\0\0");
                bytes
            },
            "FILE: cannot be read as DICOM: its elements are damaged\n\
             hint: {damaged}",
        ),
        volume(
            "a DICOM file without the mark DICM",
            DCM,
            [&[0; 128][..], b"MCID", &[0; 400]].concat(),
            "FILE: expected {image file}, found bytes of an unknown format\n\
             hint: {convert}",
        ),
        one(
            "a DICOM file without pixels",
            Slice { pixels: None, ..good() },
            "FILE: expected pixels, found a DICOM file without any, such as a report\n\
             hint: remove it from the images",
        ),
        one(
            "a DICOM file with too few pixels",
            Slice { pixels: Some(vec![0; 100]), ..good() },
            "FILE: cannot be read as DICOM: it holds 50 of 1024 samples\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file of an unknown transfer syntax",
            Slice { syntax: "1.2.3.4.5", ..good() },
            "FILE: cannot be read as DICOM: Unrecognized transfer syntax `1.2.3.4.5`\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file without a transfer syntax",
            Slice { syntax: "", ..good() },
            "FILE: cannot be read as DICOM: Missing data element `TransferSyntax`\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file whose JPEG-LS is damaged",
            Slice { syntax: JPEG_LS, ..good() },
            "FILE: cannot be read as DICOM: JPEG-LS: invalid data: expected marker 0xFFD8, got 0x0000\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file whose JPEG is damaged",
            Slice { syntax: JPEG_BASELINE, bits: 8, pixels: Some(vec![7; 100]), ..good() },
            "FILE: expected {dicom}, found pixels in JPEG baseline that cannot be decoded\n\
             hint: {decompress}",
        ),
        one(
            "a DICOM file whose JPEG 2000 is damaged",
            Slice { syntax: JPEG_2000, pixels: Some(vec![7; 100]), ..good() },
            "FILE: cannot be read as DICOM: JPEG 2000: invalid JP2 signature\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file whose runs are damaged",
            Slice { syntax: RLE, pixels: Some(vec![7; 100]), ..good() },
            "FILE: cannot be read as DICOM: its runs (RLE) are damaged or cut short\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file of 32 bits",
            Slice { bits: 32, pixels: Some(vec![0; 4 * SIDE * SIDE]), ..good() },
            "FILE: expected {dicom}, found pixels of 32 bits\nhint: {decompress}",
        ),
        one(
            "a DICOM file of 0 bits",
            Slice { bits: 0, ..good() },
            "FILE: cannot be read as DICOM: it does not say its number of bits\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file of 0 rows",
            Slice { rows: 0, ..good() },
            "FILE: cannot be read as DICOM: it does not say its number of rows\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file that claims 65535 x 65535 pixels",
            Slice { rows: 65_535, columns: 65_535, ..good() },
            "FILE: cannot be read as DICOM: it claims 65535 x 65535 x 1 x 1 voxels, 2 bytes each when decoded; \
             the limit is 1024 MiB for one file: cut it into several files, or raise the limit with \
             --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file of colours by number without a palette",
            Slice { colour: "PALETTE COLOR", ..good() },
            "FILE: cannot be read as DICOM: it does not say its palette's size\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file of an unknown colour",
            Slice { colour: "PLAID", ..good() },
            "FILE: expected {dicom}, found an unknown kind of colour with 1 sample(s) per pixel\n\
             hint: {decompress}",
        ),
        one(
            "a DICOM file of 0 frames",
            Slice { frames: Some("0"), ..good() },
            "FILE: cannot be read as DICOM: it claims 0 frames\nhint: {damaged}",
        ),
        one(
            "a DICOM file of a million frames",
            Slice { frames: Some("1000000"), ..good() },
            "FILE: cannot be read as DICOM: it claims 32 x 32 x 1000000 x 1 voxels, 2 bytes each when decoded; \
             the limit is 1024 MiB for one file: cut it into several files, or raise the limit with \
             --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        one(
            "a DICOM file of -3 frames",
            Slice { frames: Some("-3"), ..good() },
            "FILE: cannot be read as DICOM: it claims -3 frames\nhint: {damaged}",
        ),
        one(
            "a DICOM segmentation object",
            Slice { class: "1.2.840.10008.5.1.4.1.1.66.4", ..good() },
            "FILE: expected pictures, found a DICOM segmentation object\n\
             hint: it is read as the mask of its DICOM image: put it into the masks' folder, with the name of the \
             image or series",
        ),
        one(
            "the index of a medium",
            Slice { class: "1.2.840.10008.1.3.10", pixels: None, ..good() },
            "FILE: expected pictures, found a DICOMDIR index\n\
             hint: name the folder of one series",
        ),
        one(
            "a DICOM report",
            Slice { class: "1.2.840.10008.5.1.4.1.1.88.11", pixels: None, ..good() },
            "FILE: expected pixels, found a DICOM file without any, such as a report\n\
             hint: remove it from the images",
        ),
        series(
            "two DICOM series in one folder",
            |i| Slice { series: if i < 3 { "1.2.3.78" } else { "1.2.3.79" }, ..Slice::good(i) },
            "FILE: expected the files of one series, found files of several series\n\
             hint: put every DICOM series into a folder of its own",
        )
        .of_use(),
        series(
            "a localizer of another size in a DICOM series",
            |i| if i == 2 { larger() } else { Slice::good(i) },
            "FILE/2.dcm: expected 32 x 32 pixels of one kind, like the other slices, found 64 x 64 of another \
             size or kind\n\
             hint: remove localizers and reports from the folder of the series",
        ),
        series(
            "a file of several frames in a DICOM series",
            |i| if i == 1 { framed() } else { Slice::good(i) },
            "FILE: expected one slice in each file, found files of several frames\n\
             hint: put every DICOM series into a folder of its own",
        ),
        series(
            "a slice without pixels in a DICOM series",
            |i| if i == 2 { Slice { pixels: None, ..Slice::good(i) } } else { Slice::good(i) },
            "FILE/2.dcm: expected pixels, found a DICOM file without any, such as a report\n\
             hint: remove it from the images",
        ),
        set(
            "a DICOM series with a missing slice for its mask",
            |lab| make_series(lab, &[0, 1, 3].map(Slice::good)),
            "data/masks/scan.nii: expected 32 x 32 x 3 voxels, like data/images/scan, found 32 x 32 x 4\n\
             hint: the mask of a volume, and all its channels, must be volumes of the same size",
        ),
        Case::new(
            "a folder without DICOM files in place of a series",
            "inspect data/images/scan",
            |lab| put(lab, "data/images/scan/notes.txt", "none"),
            "no images found in data/images/scan; expected files ending in png, jpg, jpeg, bmp, gif, tif, \
             tiff, nii, dcm, dicom, npy or nii.gz",
        ),
    ]
}

fn larger() -> Slice {
    Slice { rows: 64, columns: 64, pixels: Some(vec![0; 8192]), ..Slice::good(2) }
}

fn framed() -> Slice {
    Slice { frames: Some("2"), pixels: Some(vec![0; 4 * SIDE * SIDE]), ..Slice::good(1) }
}

fn series(name: &'static str, slice: fn(usize) -> Slice, says: &'static str) -> Case {
    let case = set(name, move |lab| make_series(lab, &[0, 1, 2, 3].map(slice)), says).of(SERIES);
    Case { commands: [vec![format!("inspect {SERIES}")], case.commands].concat(), ..case }
}

/// A data set of one series, with a mask for four slices.
fn make_series(lab: &Path, slices: &[Slice]) {
    std::fs::remove_dir_all(lab.join("data")).expect("the data set is there");
    for (i, slice) in slices.iter().enumerate() {
        put(lab, &format!("{SERIES}/{i}.dcm"), slice.bytes());
    }
    put(lab, "data/masks/scan.nii", nifti::mask(&nifti::SIDES));
}
