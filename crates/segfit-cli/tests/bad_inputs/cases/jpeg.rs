//! JPEG files that are damaged, cut short or of a kind that is not read.

use super::picture;
use crate::case::Case;
use crate::files::cut;
use crate::files::pictures::{jpeg, jpeg_with};

const JPG: &str = "data/images/nuclei-0003.jpg";

pub fn cases() -> Vec<Case> {
    vec![
        picture(
            "a JPEG of three bytes",
            JPG,
            &jpeg()[..3],
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: I/O errors Not enough bytes, expected 1 \
             but found 0\n\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG cut within its tables",
            JPG,
            &jpeg()[..80],
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: I/O errors Not enough bytes, expected \
             64 but found 42\n\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG cut in the middle",
            JPG,
            cut(jpeg(), 0.6),
            "FILE: cannot be read as JPEG: it ends before its last row (no end-of-image marker)\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG without its last byte",
            JPG,
            &jpeg()[..jpeg().len() - 1],
            "FILE: cannot be read as JPEG: it ends before its last row (no end-of-image marker)\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG without a picture",
            JPG,
            b"\xff\xd8\xff\xd9",
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: \"Premature End of image\"\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG that claims 60000 x 60000 pixels",
            JPG,
            jpeg_with(5, &[0xea, 0x60, 0xea, 0x60]),
            "FILE: cannot be read as JPEG: it claims 60000 x 60000 pixels; the limits are 65536 per side and \
             1024 MiB decoded as a whole: cut it into several files, save it as a tiled TIFF, which is \
             measured piece by piece, or raise the limit with --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG of 0 columns",
            JPG,
            jpeg_with(7, &[0, 0]),
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: Image width or height is set to zero, \
             cannot continue\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG of 12 bits",
            JPG,
            jpeg_with(4, &[12]),
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: Error parsing SOF segment. Reason:The \
             library can only parse 8-bit images, the image has 12 bits of precision\n\
             hint: {damaged}",
        ),
        picture(
            "an arithmetically coded JPEG",
            JPG,
            jpeg_with(1, &[0xc9]),
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: \"Error decoding SOF Marker, Number of \
             components cannot be zero.\"\n\
             hint: {damaged}",
        ),
        picture(
            "a lossless JPEG",
            JPG,
            jpeg_with(1, &[0xc3]),
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: \"Error decoding SOF Marker, Number of \
             components cannot be zero.\"\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG of nine channels",
            JPG,
            jpeg_with(9, &[9]),
            "FILE: cannot be read as JPEG: Format error decoding Jpeg: Error parsing SOF segment. \
             Reason:Length of start of frame differs from expected 35,value is 11\n\
             hint: {damaged}",
        ),
        picture(
            "a JPEG named .png that is cut",
            "data/images/nuclei-0003.png",
            cut(jpeg(), 0.6),
            "FILE: cannot be read as JPEG: it ends before its last row (no end-of-image marker)\n\
             hint: {damaged}",
        ),
    ]
}
