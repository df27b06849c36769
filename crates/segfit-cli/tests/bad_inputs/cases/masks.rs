//! Masks that do not fit their images, or whose pixels are no labels.

use std::path::Path;

use super::set;
use crate::case::Case;
use crate::files::npy::array;
use crate::files::tiff::floats;
use crate::files::{cut, nifti, pictures, png, put};

const PNG: &str = "data/masks/nuclei-0003.png";
const JPG: &str = "data/masks/nuclei-0003.jpg";
const TIF: &str = "data/masks/nuclei-0003.tif";
const SIDE: u32 = 32;

pub fn cases() -> Vec<Case> {
    vec![
        one(
            "an empty mask",
            PNG,
            "",
            "FILE: expected {image file}, found an empty file (0 bytes)\n\
             hint: {cut short}",
        ),
        one(
            "a mask that is a text file",
            PNG,
            "0 0 1 1 0\n",
            "FILE: expected {image file}, found bytes of an unknown format\n\
             hint: {convert}",
        ),
        one(
            "a mask cut in the middle",
            PNG,
            cut(png::good(), 0.5),
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        one(
            "a mask with one row less",
            PNG,
            png::gray(SIDE, 31, |x, _| 255 * u8::from(x > 9)),
            "FILE: expected a mask of 32 x 32 pixels, like its image, found 32 x 31\n\
             hint: export the mask again at the image's size, or check that the pair belongs together",
        ),
        one(
            "a mask of half the size",
            PNG,
            png::gray(16, 16, |x, _| 255 * u8::from(x > 9)),
            "FILE: expected a mask of 32 x 32 pixels, like its image, found 16 x 16\n\
             hint: export the mask again at the image's size, or check that the pair belongs together",
        ),
        one(
            "a mask turned by a right angle",
            PNG,
            png::gray(31, 33, |x, _| 255 * u8::from(x > 9)),
            "FILE: expected a mask of 32 x 32 pixels, like its image, found 31 x 33\n\
             hint: export the mask again at the image's size, or check that the pair belongs together",
        ),
        one(
            "a mask with 300 labels",
            PNG,
            png::gray16(SIDE, SIDE, |x, y| ((y * SIDE + x) % 300) as u16 * 7),
            "data set data: its masks hold 301 different labels (FILE alone holds 300); at most 255 classes \
             are possible\n\
             hint: use --instances to merge all objects into one foreground class; masks of soft or blurred \
             edges must be thresholded first",
        ),
        one(
            "a mask that is a photograph as PNG",
            PNG,
            png::rgb(SIDE, SIDE, |x, y| [x as u8 * 8, y as u8 * 8, (x ^ y) as u8]),
            "data set data: its masks hold 1025 different labels (FILE alone holds 1024); at most 255 classes \
             are possible\n\
             hint: use --instances to merge all objects into one foreground class; masks of soft or blurred \
             edges must be thresholded first",
        ),
        one(
            "a mask that is a photograph as JPEG",
            JPG,
            pictures::photo(),
            "FILE: expected a mask with one whole, non-negative label per pixel, found colours in a JPEG, \
             which does not keep them exact\n\
             hint: {labels}",
        ),
        one(
            "a mask that is a gray JPEG",
            JPG,
            pictures::jpeg(),
            "FILE: expected a mask with one whole, non-negative label per pixel, found a JPEG with values \
             between 0 and 255, which does not keep labels exact\n\
             hint: {labels}",
        ),
        one(
            "a mask of probabilities",
            TIF,
            floats(|i| (i % 10) as f32 / 10.0),
            "FILE: expected a mask with one whole, non-negative label per pixel, found the value 0.1\n\
             hint: {labels}",
        ),
        one(
            "a mask with a NaN",
            TIF,
            floats(|i| if i == 40 { f32::NAN } else { 0.0 }),
            "FILE: expected a mask with one whole, non-negative label per pixel, found the value NaN\n\
             hint: {labels}",
        ),
        one(
            "a mask with negative labels",
            TIF,
            floats(|i| if i % 9 == 0 { -1.0 } else { 1.0 }),
            "FILE: expected a mask with one whole, non-negative label per pixel, found the value -1\n\
             hint: {labels}",
        ),
        one(
            "a mask with a label of 4 thousand million",
            TIF,
            floats(|_| 4e9),
            "FILE: expected a mask with one whole, non-negative label per pixel, found the value 4000000000\n\
             hint: {labels}",
        ),
        one(
            "a mask of four channels that are no transparency",
            TIF,
            channels(),
            "FILE: expected a mask with one whole, non-negative label per pixel, found 4 channels of 8 bits\n\
             hint: {labels}",
        ),
        one(
            "a mask of two channels",
            "data/masks/nuclei-0003.npy",
            array("|u1", "(32, 32, 2)", &[1; 2048]),
            "FILE: expected a mask with one whole, non-negative label per pixel, found 2 channels of 8 bits\n\
             hint: {labels}",
        ),
        one(
            "a mask of 16-bit colours",
            PNG,
            png::with(SIDE, SIDE, 16, png::RGB, &colours16()),
            "FILE: expected a mask with one whole, non-negative label per pixel, found 3 channels of 16 bits\n\
             hint: {labels}",
        ),
        one(
            "a colour mask among gray ones with labels above 255",
            PNG,
            png::rgb(SIDE, SIDE, |x, _| [x as u8, 0, 9]),
            "data/masks/nuclei-0004.png: expected labels given as colours, like in the other masks, found \
             labels given as gray values\n\
             hint: save all masks in one way, best as gray PNG or TIFF",
        ),
        one(
            "a mask that is a volume",
            "data/masks/nuclei-0003.nii",
            nifti::mask(&nifti::SIDES),
            "FILE: expected one picture, found a volume of 32 x 32 x 4 voxels\n\
             hint: its image must be a volume of the same size",
        ),
        one(
            "a mask in .npz",
            "data/masks/nuclei-0003.npz",
            crate::files::zip(),
            "data/images/nuclei-0003.png: expected a mask named nuclei-0003.* or nuclei-0003_mask.* in \
             data/masks, found nuclei-0003.npz, a file that is not read\n\
             hint: add the mask (all zero if there is nothing to mark) or remove the image",
        ),
        all(
            "masks without any object",
            |_| png::gray(SIDE, SIDE, |_, _| 0),
            "data set data: none of its 7 training masks has any foreground\n\
             hint: check that the masks are the right files and that their objects are not 0",
        ),
        all(
            "masks that number their objects",
            |i| png::gray(SIDE, SIDE, move |x, _| (x as u8).saturating_sub(i)),
            "data set data: its masks number their labels from 1 up to 31, some further than others: these \
             look like objects\n\
             hint: use --instances to merge all objects into one foreground class; masks of soft or blurred \
             edges must be thresholded first",
        ),
        all(
            "masks of soft edges",
            |i| png::gray16(SIDE, SIDE, move |x, y| (x * 999 + y * 61 + u32::from(i)) as u16),
            "data set data: its masks hold 10240 different labels (data/masks/nuclei-0009.png alone holds \
             1024); at most 255 classes are possible\n\
             hint: use --instances to merge all objects into one foreground class; masks of soft or blurred \
             edges must be thresholded first",
        ),
    ]
}

/// A mask in place of a good one.
fn one(name: &'static str, file: &'static str, bytes: impl Into<Vec<u8>>, says: &'static str) -> Case {
    let bytes = bytes.into();
    let gray16 = name.contains("above 255");
    let make = move |lab: &Path| {
        std::fs::remove_file(lab.join(PNG)).expect("the data set has it");
        put(lab, file, &bytes);
        if gray16 {
            put(lab, "data/masks/nuclei-0004.png", png::gray16(SIDE, SIDE, |x, _| 300 * u16::from(x > 9)));
        }
    };
    set(name, make, says).of(file)
}

/// Masks in place of all good ones.
fn all(name: &'static str, mask: fn(u8) -> Vec<u8>, says: &'static str) -> Case {
    let make = move |lab: &Path| {
        for i in 0..10 {
            put(lab, &format!("data/masks/nuclei-{i:04}.png"), mask(i));
        }
    };
    set(name, make, says)
}

fn channels() -> Vec<u8> {
    let mut tags = crate::files::tiff::tags(8, &[(277, 3, 1, 4), (279, 4, 1, 4 * SIDE * SIDE), (338, 3, 1, 0)]);
    tags.retain(|(number, ..)| *number != 258);
    tags.insert(2, (258, 3, 1, 8));
    crate::files::tiff::raw(&tags, 0, &vec![1; (4 * SIDE * SIDE) as usize])
}

fn colours16() -> Vec<u8> {
    (0..SIDE).flat_map(|y| std::iter::once(0).chain((0..6 * SIDE).map(move |x| (x * y) as u8))).collect()
}
