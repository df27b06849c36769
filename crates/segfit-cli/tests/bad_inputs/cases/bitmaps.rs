//! BMP and GIF files that are damaged or cut short.

use super::picture;
use crate::case::Case;
use crate::files::cut;
use crate::files::pictures::{bmp, bmp_with, gif};

const BMP: &str = "data/images/nuclei-0003.bmp";
const GIF: &str = "data/images/nuclei-0003.gif";

pub fn cases() -> Vec<Case> {
    vec![
        picture(
            "a BMP of two bytes",
            BMP,
            "BM",
            "FILE: cannot be read as BMP: failed to fill whole buffer\n\
             hint: {damaged}",
        ),
        picture(
            "a BMP cut within its header",
            BMP,
            &bmp()[..30],
            "FILE: cannot be read as BMP: failed to fill whole buffer\n\
             hint: {damaged}",
        ),
        picture(
            "a BMP cut in the middle",
            BMP,
            cut(bmp(), 0.7),
            "FILE: cannot be read as BMP: failed to fill whole buffer\n\
             hint: {damaged}",
        )
        .of_pixels(),
        picture(
            "a BMP that claims 2147483647 columns",
            BMP,
            bmp_with(18, &i32::MAX.to_le_bytes()),
            "FILE: cannot be read as BMP: Format error decoding Bmp: Image too large (one of (2147483647, 32) \
             > soft limit of 65535)\n\
             hint: {damaged}",
        ),
        picture(
            "a BMP of 0 columns",
            BMP,
            bmp_with(18, &[0; 4]),
            "FILE: cannot be read as BMP: The decoder for Bmp does not support the format features Image \
             dimensions (0x32 w/3 channels) are too large\n\
             hint: {damaged}",
        ),
        picture(
            "a BMP of an unknown compression",
            BMP,
            bmp_with(30, &[99, 0, 0, 0]),
            "FILE: cannot be read as BMP: Format error decoding Bmp: Unknown image compression type 99\n\
             hint: {damaged}",
        ),
        picture(
            "a BMP of 5 bits",
            BMP,
            bmp_with(28, &[5, 0]),
            "FILE: cannot be read as BMP: Format error decoding Bmp: Invalid channel bit count for RGB: 5\n\
             hint: {damaged}",
        ),
        picture(
            "a GIF of six bytes",
            GIF,
            "GIF89a",
            "FILE: cannot be read as GIF: Unexpected End of File\nhint: {damaged}",
        ),
        picture(
            "a GIF cut in the middle",
            GIF,
            cut(gif(), 0.5),
            "FILE: cannot be read as GIF: Unexpected End of File\nhint: {damaged}",
        )
        .of_pixels(),
        picture(
            "a GIF without a picture",
            GIF,
            b"GIF89a\x20\0\x20\0\0\0\0\x3b",
            "FILE: cannot be read as GIF: Unexpected End of File\nhint: {damaged}",
        ),
        picture(
            "a GIF of 0 x 0 pixels",
            GIF,
            b"GIF89a\0\0\0\0\0\0\0\x3b",
            "FILE: cannot be read as GIF: Unexpected End of File\nhint: {damaged}",
        ),
    ]
}
