//! PNG files that are damaged, cut short or claim what cannot be.

use super::picture;
use crate::case::Case;
use crate::files::png::{GRAY, INDEXED, RGB, bomb, chunk, file, good, gray, header, with};
use crate::files::{cut, zlib};

const PNG: &str = "data/images/nuclei-0003.png";

pub fn cases() -> Vec<Case> {
    vec![
        picture(
            "a PNG of eight bytes",
            PNG,
            &good()[..8],
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        picture(
            "a PNG cut within its header",
            PNG,
            &good()[..20],
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        picture(
            "a PNG cut behind its header",
            PNG,
            &good()[..33],
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        picture(
            "a PNG cut in the middle",
            PNG,
            cut(good(), 0.5),
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        picture(
            "a PNG cut near its end",
            PNG,
            cut(good(), 0.95),
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        picture(
            "a PNG whose header fails its checksum",
            PNG,
            changed(good(), 17),
            "FILE: cannot be read as PNG: CRC error: expected 0x56112528 have 0x805d9745 while decoding \
             ChunkType { type: IHDR, critical: true, private: false, reserved: false, safecopy: false } chunk.\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG whose pixels fail their checksum",
            PNG,
            changed(good(), 200),
            "FILE: cannot be read as PNG: Corrupt deflate stream. DistanceTooFarBack\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG whose line ends were converted",
            PNG,
            converted(good()),
            "FILE: expected {image file}, found bytes of an unknown format\n\
             hint: {convert}",
        ),
        picture(
            "a PNG of 0 x 0 pixels",
            PNG,
            with(0, 0, 8, GRAY, b""),
            "FILE: cannot be read as PNG: Invalid image dimensions\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG that claims 60000 x 60000 pixels",
            PNG,
            bomb(60_000),
            "FILE: cannot be read as PNG: it claims 60000 x 60000 pixels; the limits are 65536 per side and \
             1024 MiB decoded as a whole: cut it into several files, save it as a tiled TIFF, which is \
             measured piece by piece, or raise the limit with --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG that claims 2147483647 columns",
            PNG,
            with(i32::MAX as u32, 1, 8, GRAY, &[0; 64]),
            "FILE: cannot be read as PNG: it claims 2147483647 x 1 pixels; the limits are 65536 per side and \
             1024 MiB decoded as a whole: cut it into several files, save it as a tiled TIFF, which is \
             measured piece by piece, or raise the limit with --max-image-bytes if the file is yours\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG that claims 18000 x 18000 colours and holds a megabyte",
            PNG,
            bomb(18_000),
            "FILE: cannot be read as PNG: IDAT or fDAT chunk does not have enough data for image.\n\
             hint: {damaged}",
        )
        .of_pixels(),
        picture(
            "a PNG of 3 bits",
            PNG,
            with(32, 32, 3, GRAY, &[0; 1056]),
            "FILE: cannot be read as PNG: Invalid bit depth 3.\nhint: {damaged}",
        ),
        picture(
            "a PNG of an unknown kind of colour",
            PNG,
            with(32, 32, 8, 5, &[0; 1056]),
            "FILE: cannot be read as PNG: Invalid color type 5.\nhint: {damaged}",
        ),
        picture(
            "a PNG with indices and no palette",
            PNG,
            with(32, 32, 8, INDEXED, &[0; 1056]),
            "FILE: cannot be read as PNG: it is indexed but has no palette\n\
             hint: {damaged}",
        )
        .of_pixels(),
        picture(
            "a PNG without pixels",
            PNG,
            file(&[header(32, 32, 8, GRAY), chunk(b"IEND", b"")]),
            "FILE: cannot be read as PNG: IDAT or fdAT chunk is missing.\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG whose pixels are no zlib stream",
            PNG,
            pixels(b"0123456789abcdef"),
            "FILE: cannot be read as PNG: Corrupt deflate stream. BadZlibHeader\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG with too few rows",
            PNG,
            with(32, 32, 8, RGB, &[0; 97 * 5]),
            "FILE: cannot be read as PNG: IDAT or fDAT chunk does not have enough data for image.\n\
             hint: {damaged}",
        )
        .of_pixels(),
        picture(
            "a PNG with an unknown filter",
            PNG,
            with(32, 32, 8, GRAY, &[9; 1056]),
            "FILE: cannot be read as PNG: Unknown filter method 9.\n\
             hint: {damaged}",
        ),
        picture(
            "a PNG with a chunk of 2 GB",
            PNG,
            oversized(),
            "FILE: cannot be read as PNG: unexpected end of file\nhint: {damaged}",
        ),
        picture(
            "a PNG with its header twice",
            PNG,
            twice(),
            "FILE: cannot be read as PNG: Chunk ChunkType { type: IHDR, critical: true, private: false, \
             reserved: false, safecopy: false } must appear at most once.\n\
             hint: {damaged}",
        ),
        small(
            "a picture of one pixel",
            gray(1, 1, |_, _| 9),
            "data/images/nuclei-0003.png: expected an image of at least 8 x 8 pixels, found 1 x 1\n\
             hint: remove the image, or check that it is not a thumbnail",
        ),
        small(
            "a picture of 7 rows",
            gray(32, 7, |x, _| x as u8),
            "data/images/nuclei-0003.png: expected an image of at least 8 x 8 pixels, found 32 x 7\n\
             hint: remove the image, or check that it is not a thumbnail",
        ),
    ]
}

/// A file that can be read but is too small to be measured.
fn small(name: &'static str, bytes: Vec<u8>, says: &'static str) -> Case {
    Case { file: None, ..picture(name, PNG, bytes, says).of_use() }
}

fn changed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0x5a;
    bytes
}

/// As a transfer in text mode leaves it.
fn converted(bytes: Vec<u8>) -> Vec<u8> {
    let text = bytes.windows(2).filter(|w| w != b"\r\n").map(|w| w[0]);
    text.chain(bytes.last().copied()).collect()
}

fn pixels(stream: &[u8]) -> Vec<u8> {
    file(&[header(32, 32, 8, GRAY), chunk(b"IDAT", stream), chunk(b"IEND", b"")])
}

fn oversized() -> Vec<u8> {
    let claim = [&0x7fff_ffffu32.to_be_bytes()[..], b"IDAT", &zlib(&[0; 1056])].concat();
    file(&[header(32, 32, 8, GRAY), claim])
}

fn twice() -> Vec<u8> {
    file(&[header(32, 32, 8, GRAY), header(64, 64, 8, RGB), chunk(b"IDAT", &zlib(&[0; 1056])), chunk(b"IEND", b"")])
}
