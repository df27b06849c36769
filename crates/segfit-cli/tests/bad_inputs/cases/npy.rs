//! NumPy files that are cut short, hold no picture, or would run a program if they were trusted.

use super::picture;
use crate::case::Case;
use crate::files::npy::{array, file, good, pickled};
use crate::files::{cut, zip};

const NPY: &str = "data/images/nuclei-0003.npy";

pub fn cases() -> Vec<Case> {
    vec![
        picture(
            "an empty .npy",
            NPY,
            "",
            "FILE: expected {image file}, found an empty file (0 bytes)\n\
             hint: {cut short}",
        ),
        picture(
            "an .npy of six bytes",
            NPY,
            b"\x93NUMPY",
            "FILE: cannot be read as NumPy: it ends within its header\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy cut within its header",
            NPY,
            &good()[..50],
            "FILE: cannot be read as NumPy: it ends within its header\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy cut within its numbers",
            NPY,
            cut(good(), 0.7),
            "FILE: cannot be read as NumPy: it ends after 678 of 1024 bytes of numbers\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of version 9",
            NPY,
            b"\x93NUMPY\x09\0\x10\0{}",
            "FILE: cannot be read as NumPy: its version is 9; 1, 2 and 3 are read\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy whose header claims 4 GB",
            NPY,
            b"\x93NUMPY\x02\0\xff\xff\xff\xff{'descr'",
            "FILE: cannot be read as NumPy: its header claims 4294967295 bytes; the limit is 65536\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy whose header is no dictionary",
            NPY,
            file("'just text'", &[0; 1024]),
            "FILE: cannot be read as NumPy: its header does not say descr\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy without a shape",
            NPY,
            file("{'descr': '|u1', 'fortran_order': False, }", &[0; 1024]),
            "FILE: cannot be read as NumPy: its header does not say shape\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of pickled objects that run a command",
            NPY,
            pickled(),
            "FILE: cannot be read as NumPy: numbers of type O are not read: save integers or floating point\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of records",
            NPY,
            file("{'descr': [('x', '<f4'), ('y', '<f4')], 'fortran_order': False, 'shape': (32, 32), }", &[0; 8192]),
            "FILE: cannot be read as NumPy: its numbers are records\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of complex numbers",
            NPY,
            array("<c8", "(32, 32)", &[0; 8192]),
            "FILE: cannot be read as NumPy: numbers of type c8 are not read: save integers or floating point\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of text",
            NPY,
            array("<U8", "(32, 32)", &[0; 32768]),
            "FILE: cannot be read as NumPy: numbers of type U8 are not read: save integers or floating point\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of dates",
            NPY,
            array("<M8[ns]", "(32, 32)", &[0; 8192]),
            "FILE: cannot be read as NumPy: numbers of type M8[ns] are not read: save integers or floating \
             point\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of 128-bit floating point",
            NPY,
            array("<f16", "(32, 32)", &[0; 16384]),
            "FILE: cannot be read as NumPy: numbers of type f16 are not read: save integers or floating point\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of one dimension",
            NPY,
            array("|u1", "(1024,)", &[0; 1024]),
            "FILE: cannot be read as NumPy: an array of shape [1024] is no picture: expected rows x columns, \
             with channels (up to 4) as first or last side, or a stack of such\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of no dimension",
            NPY,
            array("|u1", "()", &[0; 1]),
            "FILE: cannot be read as NumPy: an array of shape [] is no picture: expected rows x columns, with \
             channels (up to 4) as first or last side, or a stack of such\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of five dimensions",
            NPY,
            array("|u1", "(2, 2, 2, 8, 8)", &[0; 512]),
            "FILE: cannot be read as NumPy: an array of shape [2, 2, 2, 8, 8] is no picture: expected rows x \
             columns, with channels (up to 4) as first or last side, or a stack of such\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of 0 rows",
            NPY,
            array("|u1", "(0, 32)", &[]),
            "FILE: cannot be read as NumPy: the volume is empty (0 x 32)\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy of -1 rows",
            NPY,
            array("|u1", "(-1, 32)", &[0; 1024]),
            "FILE: cannot be read as NumPy: its shape holds no whole numbers: invalid digit found in string\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy that claims 60000 x 60000 numbers",
            NPY,
            array("<f8", "(60000, 60000)", &[0; 64]),
            "FILE: cannot be read as NumPy: it claims 60000 x 60000 voxels, 4 bytes each when decoded; the \
             limit is 1024 MiB for one file: cut it into several files, or raise the limit with \
             --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy that claims more numbers than can be counted",
            NPY,
            array("|u1", "(9223372036854775807, 4, 4)", &[0; 64]),
            "FILE: cannot be read as NumPy: it claims 9223372036854775807 x 4 x 4 voxels, 1 bytes each when \
             decoded; the limit is 1024 MiB for one file: cut it into several files, or raise the limit with \
             --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        picture(
            "an .npy with a NaN",
            NPY,
            array("<f4", "(32, 32)", &nan()),
            "FILE: expected finite values, found 1 NaN or infinite values\n\
             hint: replace them, for example by 0, and save the file again",
        )
        .of_use(),
        picture(
            "an .npz named .npy",
            NPY,
            zip(),
            "FILE: expected {image file}, found a zip archive\n\
             hint: unpack it (of .npz and .docx, too), and put the images into the folder",
        ),
    ]
}

fn nan() -> Vec<u8> {
    (0..1024).flat_map(|i| (if i == 77 { f32::NAN } else { 0.25 }).to_le_bytes()).collect()
}
