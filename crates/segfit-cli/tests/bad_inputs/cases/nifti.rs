//! NIfTI volumes that are cut short, contradict themselves or are of a kind that is not read.

use super::{set, volume};
use crate::case::Case;
use crate::files::nifti::{SIDES, floats, good, mask, with, with_shorts};
use crate::files::{cut, gzip, put};

const NII: &str = "data/images/scan.nii";
const GZ: &str = "data/images/scan.nii.gz";

/// Places of the header.
const DIM: usize = 40;
const DATATYPE: usize = 70;
const VOXELS: usize = 108;
const MAGIC: usize = 344;

pub fn cases() -> Vec<Case> {
    vec![
        volume(
            "an empty NIfTI file",
            NII,
            "",
            "FILE: expected {image file}, found an empty file (0 bytes)\n\
             hint: {cut short}",
        ),
        volume(
            "a NIfTI file cut within its header",
            NII,
            &good()[..200],
            "FILE: expected {image file}, found bytes of an unknown format\n\
             hint: {convert}",
        ),
        volume(
            "a NIfTI file cut within its voxels",
            NII,
            cut(good(), 0.6),
            "FILE: cannot be read as NIfTI: it ends after 4774 of 8192 bytes of voxels\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file without voxels",
            NII,
            &good()[..352],
            "FILE: cannot be read as NIfTI: it ends after 0 of 8192 bytes of voxels\n\
             hint: {damaged}",
        ),
        volume(
            "a gzipped NIfTI file cut in the middle",
            GZ,
            cut(gzip(&good()), 0.5),
            "FILE: cannot be read as NIfTI: gzip: incomplete deflate stream\n\
             hint: {damaged}",
        ),
        volume(
            "a gzipped NIfTI file cut within its header",
            GZ,
            &gzip(&good())[..40],
            "FILE: expected {image file}, found a gzip file that holds no NIfTI volume\n\
             hint: {cut short}",
        ),
        volume(
            "a gzipped NIfTI file with a damaged byte",
            GZ,
            damaged(),
            "FILE: cannot be read as NIfTI: gzip: corrupt gzip stream does not have a matching checksum\n\
             hint: {damaged}",
        ),
        volume(
            "a gzipped NIfTI file whose checksum is wrong",
            GZ,
            checksum(),
            "FILE: cannot be read as NIfTI: gzip: corrupt gzip stream does not have a matching checksum\n\
             hint: {damaged}",
        ),
        volume(
            "a gzipped text named .nii.gz",
            GZ,
            gzip(b"slice thickness 1 mm"),
            "FILE: expected {image file}, found a gzip file that holds no NIfTI volume\n\
             hint: {cut short}",
        ),
        volume(
            "a NIfTI header whose voxels lie in an .img",
            NII,
            with(MAGIC, b"ni1\0"),
            "FILE: expected a NIfTI volume in one file, found a header (.hdr) whose voxels lie in a second \
             file (.img)\n\
             hint: save the volume as one .nii or .nii.gz file",
        ),
        volume(
            "a NIfTI file without its mark",
            NII,
            with(MAGIC, b"\0\0\0\0"),
            "FILE: expected {image file}, found bytes of an unknown format\n\
             hint: {convert}",
        ),
        volume(
            "a NIfTI file of 0 dimensions",
            NII,
            with_shorts(DIM, &[0]),
            "FILE: cannot be read as NIfTI: it claims 0 dimensions\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file of 5 dimensions",
            NII,
            with_shorts(DIM, &[5, 8, 8, 8, 4, 2]),
            "FILE: cannot be read as NIfTI: it has 5 dimensions ([8, 8, 8, 4, 2] voxels); pictures, volumes \
             and volumes over time are read: save its parts as files of their own\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file of 300 dimensions",
            NII,
            with_shorts(DIM, &[300]),
            "FILE: cannot be read as NIfTI: it claims 300 dimensions\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file with a negative side",
            NII,
            with_shorts(DIM, &[3, 32, -32, 4]),
            "FILE: cannot be read as NIfTI: it claims a side of -32 voxels\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file with a side of 0",
            NII,
            with_shorts(DIM, &[3, 32, 0, 4]),
            "FILE: cannot be read as NIfTI: the volume is empty (32 x 0 x 4)\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file that claims 32767 x 32767 x 32767 voxels",
            NII,
            with_shorts(DIM, &[3, i16::MAX, i16::MAX, i16::MAX]),
            "FILE: cannot be read as NIfTI: it claims 32767 x 32767 x 32767 voxels, 4 bytes each when decoded; \
             the limit is 1024 MiB for one file: cut it into several files, or raise the limit with \
             --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        volume(
            "a gzipped NIfTI file that claims 32767 x 32767 x 32767 voxels",
            GZ,
            gzip(&with_shorts(DIM, &[3, i16::MAX, i16::MAX, i16::MAX])),
            "FILE: cannot be read as NIfTI: it claims 32767 x 32767 x 32767 voxels, 4 bytes each when decoded; \
             the limit is 1024 MiB for one file: cut it into several files, or raise the limit with \
             --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file of bits",
            NII,
            with_shorts(DATATYPE, &[1, 1]),
            "FILE: cannot be read as NIfTI: voxels of NIfTI's type 1 are not read (bits, complex numbers and \
             128-bit floating point are not)\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file of complex numbers",
            NII,
            with_shorts(DATATYPE, &[32, 64]),
            "FILE: cannot be read as NIfTI: voxels of NIfTI's type 32 are not read (bits, complex numbers and \
             128-bit floating point are not)\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file of 128-bit floating point",
            NII,
            with_shorts(DATATYPE, &[1536, 128]),
            "FILE: cannot be read as NIfTI: voxels of NIfTI's type 1536 are not read (bits, complex numbers \
             and 128-bit floating point are not)\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file of an unknown type",
            NII,
            with_shorts(DATATYPE, &[9999, 8]),
            "FILE: cannot be read as NIfTI: voxels of NIfTI's type 9999 are not read (bits, complex numbers \
             and 128-bit floating point are not)\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file whose voxels begin within its header",
            NII,
            with(VOXELS, &100f32.to_le_bytes()),
            "FILE: cannot be read as NIfTI: its voxels are said to begin within the header\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file whose voxels begin behind its end",
            NII,
            with(VOXELS, &1e9f32.to_le_bytes()),
            "FILE: cannot be read as NIfTI: it ends after 0 of 8192 bytes of voxels\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file whose voxels begin nowhere",
            NII,
            with(VOXELS, &f32::NAN.to_le_bytes()),
            "FILE: cannot be read as NIfTI: its voxels are said to begin within the header\n\
             hint: {damaged}",
        ),
        volume(
            "a NIfTI file with NaN voxels",
            NII,
            floats(|i| if i < 3 { f32::NAN } else { i as f32 }),
            "FILE: expected finite values, found 3 NaN or infinite values\n\
             hint: replace them, for example by 0, and save the file again",
        )
        .of_use(),
        volume(
            "a NIfTI file with an infinite voxel",
            NII,
            floats(|i| if i == 9 { f32::NEG_INFINITY } else { i as f32 }),
            "FILE: expected finite values, found 1 NaN or infinite values\n\
             hint: replace them, for example by 0, and save the file again",
        )
        .of_use(),
        of_mask(
            "a mask volume of other columns and rows",
            mask(&[31, 30, SIDES[2]]),
            "FILE: expected 32 x 32 x 4 voxels, like data/images/scan.nii, found 31 x 30 x 4\n\
             hint: the mask of a volume, and all its channels, must be volumes of the same size",
        ),
        of_mask(
            "a mask volume with fewer slices",
            mask(&[SIDES[0], SIDES[1], 3]),
            "FILE: expected 32 x 32 x 4 voxels, like data/images/scan.nii, found 32 x 32 x 3\n\
             hint: the mask of a volume, and all its channels, must be volumes of the same size",
        ),
        of_mask(
            "a mask volume of fractions",
            floats(|i| (i % 4) as f32 / 4.0),
            "FILE: expected a mask with one whole, non-negative label per pixel, found the value 0.25\n\
             hint: {labels}",
        ),
        of_mask(
            "a mask volume with negative labels",
            floats(|i| (i % 4) as f32 - 1.0),
            "FILE: expected a mask with one whole, non-negative label per pixel, found the value -1\n\
             hint: {labels}",
        ),
        of_mask(
            "a mask volume that is cut short",
            cut(mask(&SIDES), 0.5),
            "FILE: cannot be read as NIfTI: it ends after 1872 of 4096 bytes of voxels\n\
             hint: {damaged}",
        ),
        set(
            "an Analyze volume in two files",
            |lab| {
                put(lab, "data/images/scan.hdr", vec![0; 348]);
                put(lab, "data/images/scan.img", vec![0; 4096]);
            },
            "data/images/scan.hdr: expected {image file}, found a .hdr file, a format that is not read\n\
             hint: convert it to NIfTI or to a TIFF stack",
        ),
    ]
}

fn of_mask(name: &'static str, bytes: Vec<u8>, says: &'static str) -> Case {
    let make = move |lab: &std::path::Path| {
        std::fs::remove_dir_all(lab.join("data")).expect("the data set is there");
        put(lab, NII, good());
        put(lab, "data/masks/scan.nii", &bytes);
    };
    set(name, make, says).of("data/masks/scan.nii")
}

/// A byte of the voxels is another one; deflate does not notice, the checksum at the end does.
fn damaged() -> Vec<u8> {
    use std::io::Write as _;
    let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    stored.write_all(&good()).expect("memory can be written");
    let mut bytes = stored.finish().expect("memory can be written");
    bytes[3000] ^= 0xff;
    bytes
}

fn checksum() -> Vec<u8> {
    let mut bytes = gzip(&good());
    let at = bytes.len() - 8;
    bytes[at] ^= 0xff;
    bytes
}
