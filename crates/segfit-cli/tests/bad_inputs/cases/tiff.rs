//! TIFF files that are cut short, contradict themselves or hold numbers that are none.

use super::picture;
use crate::case::Case;
use crate::files::tiff::{described, floats, good, ome, page, raw, tags};
use crate::files::{cut, zlib};

const TIF: &str = "data/images/nuclei-0003.tif";
const OME: &str = "data/images/nuclei-0003.ome.tif";

pub fn cases() -> Vec<Case> {
    vec![
        picture(
            "a TIFF of four bytes",
            TIF,
            b"II*\0",
            "FILE: cannot be read as TIFF: it ends within its header\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose pages begin behind its end",
            TIF,
            b"II*\0\xff\xff\xff\x7f",
            "FILE: cannot be read as TIFF: it holds no page\nhint: {damaged}",
        ),
        picture(
            "a TIFF without pages",
            TIF,
            b"II*\0\0\0\0\0",
            "FILE: cannot be read as TIFF: it holds no page\nhint: {damaged}",
        ),
        picture(
            "a TIFF cut within its tags",
            TIF,
            &good()[..60],
            "FILE: cannot be read as TIFF: failed to fill whole buffer\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF cut within its pixels",
            TIF,
            cut(good(), 0.7),
            "FILE: cannot be read as TIFF: failed to fill whole buffer\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose pages form a circle",
            TIF,
            raw(&tags(8, &[]), 8, &[1; 1024]),
            "FILE: cannot be read as TIFF: its pages form a circle\n\
             hint: {damaged}",
        ),
        picture(
            "a BigTIFF of eight bytes",
            TIF,
            b"II\x2b\0\x08\0\0\0",
            "FILE: cannot be read as TIFF: it ends within its header\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF with a NaN pixel",
            TIF,
            floats(|i| if i == 5 { f32::NAN } else { 0.5 }),
            "FILE: expected finite values, found 1 NaN or infinite values\n\
             hint: replace them, for example by 0, and save the file again",
        )
        .of_use(),
        picture(
            "a TIFF with infinite pixels",
            TIF,
            floats(|i| if i < 7 { f32::INFINITY } else { 0.5 }),
            "FILE: expected finite values, found 7 NaN or infinite values\n\
             hint: replace them, for example by 0, and save the file again",
        )
        .of_use(),
        picture(
            "a TIFF of NaN alone",
            TIF,
            floats(|_| f32::NAN),
            "FILE: expected finite values, found 1024 NaN or infinite values\n\
             hint: replace them, for example by 0, and save the file again",
        )
        .of_use(),
        picture(
            "a TIFF whose deflated pixels are damaged",
            TIF,
            strip(8, b"0123456789"),
            "FILE: cannot be read as TIFF: corrupt deflate stream\nhint: {damaged}",
        ),
        picture(
            "a TIFF whose deflated pixels are too few",
            TIF,
            strip(8, &zlib(&[1; 100])),
            "FILE: cannot be read as TIFF: failed to fill whole buffer\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose LZW pixels are damaged",
            TIF,
            strip(5, &[0xff; 64]),
            "FILE: cannot be read as TIFF: invalid code in LZW stream\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF with damaged OME-XML",
            OME,
            described("<OME><Pixels></OME>"),
            "FILE: cannot be read as TIFF: its OME-XML is damaged: expected 'Pixels' tag, not 'OME' at 1:14\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose OME-XML describes no pixels",
            OME,
            described("<OME><Image/></OME>"),
            "FILE: cannot be read as TIFF: its OME-XML describes no pixels\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose OME-XML claims more slices",
            OME,
            described(&ome(40, "")),
            "FILE: cannot be read as TIFF: its OME-XML claims 1 channel(s), 40 slice(s) and 1 time point(s), \
             but it has 1 page(s) of that kind: the others may lie in other files, or the file is cut short\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose OME-XML has 0 slices",
            OME,
            described(&ome(0, "")),
            "FILE: cannot be read as TIFF: its OME-XML gives SizeZ as 0\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose OME-XML names other files",
            OME,
            described(&ome(1, ELSEWHERE)),
            "FILE: cannot be read as TIFF: its OME-XML spreads its pages over 2 files: save the image as one \
             file\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose OME-XML has entities",
            OME,
            described(ENTITY),
            "FILE: cannot be read as TIFF: its OME-XML is damaged: XML with DTD detected\n\
             hint: {damaged}",
        ),
        picture(
            "a TIFF whose description claims 4 GB",
            TIF,
            page(8, &[(270, 2, u32::MAX, 600)]),
            "FILE: cannot be read as TIFF: its description claims 4294967295 bytes; the limit is 67108864\n\
             hint: {damaged}",
        ),
    ]
}

const ELSEWHERE: &str = "<TiffData><UUID FileName=\"a.ome.tif\"/></TiffData><TiffData><UUID \
                         FileName=\"b.ome.tif\"/></TiffData>";
const ENTITY: &str = "<!DOCTYPE a [<!ENTITY b \"bbbbbbbb\">]><OME>&b;&b;</OME>";

/// A page of one strip with this compression and these bytes.
fn strip(compression: u32, bytes: &[u8]) -> Vec<u8> {
    raw(&tags(8, &[(259, 3, 1, compression), (279, 4, 1, bytes.len() as u32)]), 0, bytes)
}
