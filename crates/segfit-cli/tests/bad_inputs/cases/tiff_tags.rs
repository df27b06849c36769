//! TIFF files with one tag that is wrong, or of a kind that is not read.

use super::picture;
use crate::case::Case;
use crate::files::tiff::{Tag, page};

/// What is wrong, bits per sample, the tags (number, type, count, value; count 0: left out), the message.
const TAGS: &[(&str, u32, &[Tag], &str)] = &[
    (
        "a TIFF of zstd without zstd in it",
        8,
        &[(259, 3, 1, 50_000)],
        "FILE: cannot be read as TIFF: its zstd has no frame that can be read\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of LZMA",
        8,
        &[(259, 3, 1, 34_925)],
        "FILE: cannot be read as TIFF: its compression, LZMA, is not read: save it with LZW or deflate, or \
         without compression\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of WebP",
        8,
        &[(259, 3, 1, 50_001)],
        "FILE: cannot be read as TIFF: its compression, WebP, is not read: save it with LZW or deflate, or \
         without compression\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of JPEG 2000",
        8,
        &[(259, 3, 1, 33_003)],
        "FILE: cannot be read as TIFF: its compression, JPEG 2000, is not read: save it with LZW or \
         deflate, or without compression\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of JPEG XL",
        8,
        &[(259, 3, 1, 50_002)],
        "FILE: cannot be read as TIFF: its compression, JPEG XL, is not read: save it with LZW or deflate, \
         or without compression\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of old JPEG",
        8,
        &[(259, 3, 1, 6)],
        "FILE: cannot be read as TIFF: its compression, old JPEG, is not read: save it with LZW or \
         deflate, or without compression\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of an unknown compression",
        8,
        &[(259, 3, 1, 12_345)],
        "FILE: cannot be read as TIFF: unsupported error: compression method Unknown(12345) is unsupported\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of 0 columns",
        8,
        &[(256, 4, 1, 0)],
        "FILE: cannot be read as TIFF: format error: invalid dimensions: 0x32\n\
         hint: {damaged}",
    ),
    (
        "a TIFF without a width",
        8,
        &[(256, 4, 0, 0)],
        "FILE: cannot be read as TIFF: format error: required tag `ImageWidth` not found\n\
         hint: {damaged}",
    ),
    (
        "a TIFF without strips",
        8,
        &[(273, 4, 0, 0)],
        "FILE: cannot be read as TIFF: format error: file should contain either (StripByteCounts and \
         StripOffsets) or (TileByteCounts and TileOffsets), other combination was found\n\
         hint: {damaged}",
    ),
    (
        "a TIFF that claims 60000 x 60000 pixels",
        8,
        &[(256, 4, 1, 60_000), (257, 4, 1, 60_000), (278, 4, 1, 60_000)],
        "FILE: cannot be read as TIFF: it claims 60000 x 60000 pixels; the limits are *",
    ),
    (
        "a TIFF that claims 4294967295 rows",
        8,
        &[(257, 4, 1, u32::MAX), (278, 4, 1, u32::MAX)],
        "FILE: cannot be read as TIFF: it claims 32 x 4294967295 pixels; the limits are *",
    ),
    (
        "a TIFF whose strip lies behind its end",
        8,
        &[(273, 4, 1, 0x7fff_0000)],
        "FILE: cannot be read as TIFF: failed to fill whole buffer\n\
         hint: {damaged}",
    ),
    (
        "a TIFF whose strip claims 4 GB",
        8,
        &[(279, 4, 1, u32::MAX)],
        "FILE: cannot be read as TIFF: decoder limits exceeded\n\
         hint: {damaged}",
    ),
    (
        "a TIFF with tiles of 0 x 0 pixels",
        8,
        &[(322, 4, 1, 0), (323, 4, 1, 0), (324, 4, 1, 512), (325, 4, 1, 1024)],
        "FILE: cannot be read as TIFF: format error: file should contain either (StripByteCounts and \
         StripOffsets) or (TileByteCounts and TileOffsets), other combination was found\n\
         hint: {damaged}",
    ),
    (
        "a TIFF with a tile of 4294967280 x 4294967280 pixels",
        8,
        &[
            (273, 4, 0, 0),
            (278, 4, 0, 0),
            (279, 4, 0, 0),
            (322, 4, 1, 0xffff_fff0),
            (323, 4, 1, 0xffff_fff0),
            (324, 4, 1, 512),
            (325, 4, 1, 1024),
        ],
        "FILE: cannot be read as TIFF: failed to fill whole buffer\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of 64-bit whole numbers",
        64,
        &[],
        "FILE: cannot be read as TIFF: samples of 64 bits (Uint) are not read\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of complex numbers",
        64,
        &[(339, 3, 1, 6)],
        "FILE: cannot be read as TIFF: unsupported error: sample format [Unknown(6)] is unsupported\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of 7 bits",
        7,
        &[],
        "FILE: cannot be read as TIFF: samples of 7 bits (Uint) are not read\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of 0 channels",
        8,
        &[(277, 3, 1, 0)],
        "FILE: cannot be read as TIFF: format error: samples per pixel is zero\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of CIE L*a*b*",
        8,
        &[(262, 3, 1, 8)],
        "FILE: cannot be read as TIFF: unsupported error: Photometric interpretation CIELab with bits per \
         sample [8] is unsupported\n\
         hint: {damaged}",
    ),
    (
        "a TIFF with indices and no palette",
        8,
        &[(262, 3, 1, 3)],
        "FILE: cannot be read as TIFF: format error: required tag `ColorMap` not found\n\
         hint: {damaged}",
    ),
    (
        "a TIFF whose palette is too short",
        8,
        &[(262, 3, 1, 3), (320, 3, 8, 512)],
        "FILE: cannot be read as TIFF: its palette has 8 values instead of 768\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of a transparency mask",
        1,
        &[(262, 3, 1, 4)],
        "FILE: cannot be read as TIFF: unsupported error: Photometric interpretation TransparencyMask with \
         bits per sample [1] is unsupported\n\
         hint: {damaged}",
    ),
    (
        "a TIFF whose strips have 0 rows",
        8,
        &[(278, 4, 1, 0)],
        "FILE: cannot be read as TIFF: format error: inconsistent sizes encountered\n\
         hint: {damaged}",
    ),
    (
        "a TIFF of a sample format that is not defined",
        8,
        &[(339, 3, 1, 77)],
        "FILE: cannot be read as TIFF: unsupported error: sample format [Unknown(77)] is unsupported\n\
         hint: {damaged}",
    ),
];

pub fn cases() -> Vec<Case> {
    let case = |(name, bits, tags, says): &(&'static str, u32, &[Tag], &'static str)| {
        let case = picture(name, "data/images/nuclei-0003.tif", page(*bits, tags), says);
        // Large pages are measured in bands of rows, with other limits.
        if name.starts_with("a TIFF that claims") { case.of_training() } else { case }
    };
    TAGS.iter().map(case).collect()
}
