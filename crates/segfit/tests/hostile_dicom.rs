//! DICOM files that claim or inflate to more than they should, and the limit that refuses them, which is raised and lowered here
//! for the whole process.
#![cfg(feature = "dicom")]

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use segfit::data::{ImageFile, MAX_DECODED_BYTES, set_max_decoded_bytes};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// An element of up to 64 KiB, or of any claimed length with the long form.
fn element(out: &mut Vec<u8>, tag: (u16, u16), kind: &[u8; 2], claimed: usize, value: &[u8]) {
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
    out.extend(kind);
    if matches!(kind, b"OW" | b"OB" | b"SQ" | b"UT") {
        out.extend([0, 0]);
        out.extend((claimed as u32).to_le_bytes());
    } else {
        out.extend((claimed as u16).to_le_bytes());
    }
    out.extend(value);
}

fn text(out: &mut Vec<u8>, tag: (u16, u16), kind: &[u8; 2], value: &str) {
    let padded = if value.len() % 2 == 1 { format!("{value}\0") } else { value.into() };
    element(out, tag, kind, padded.len(), padded.as_bytes());
}

fn file(syntax: &str, elements: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    text(&mut meta, (2, 0x0002), b"UI", "1.2.840.10008.5.1.4.1.1.4");
    text(&mut meta, (2, 0x0003), b"UI", "1.2.3");
    text(&mut meta, (2, 0x0010), b"UI", syntax);
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    element(&mut out, (2, 0), b"UL", 4, &(meta.len() as u32).to_le_bytes());
    out.extend(meta);
    out.extend(elements);
    out
}

/// Gray pixels of 8 bits, all 0.
fn picture(side: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut number = |tag: u16, value: usize| {
        element(&mut out, (0x28, tag), b"US", 2, &(value as u16).to_le_bytes());
    };
    number(0x02, 1);
    number(0x10, side);
    number(0x11, side);
    number(0x100, 8);
    number(0x101, 8);
    number(0x102, 7);
    number(0x103, 0);
    element(&mut out, (0x7fe0, 0x10), b"OB", side * side, &vec![0; side * side]);
    out
}

#[test]
fn pixels_without_the_mark_of_their_end_are_read() {
    let mut elements = picture(8);
    elements.truncate(elements.len() - 64 - 12);
    // Behind the number of samples per pixel.
    let mut colour = Vec::new();
    text(&mut colour, (0x28, 0x04), b"CS", "MONOCHROME2 ");
    elements.splice(10..10, colour);
    // Pixels of unknown length: an empty table, then one frame as a run of 64 equal bytes behind a header of 64 bytes.
    elements.extend([0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let mut frame = vec![0u8; 64];
    (frame[0], frame[4]) = (1, 64);
    frame.extend([(-63i8).cast_unsigned(), 9]);
    for item in [&[][..], &frame] {
        elements.extend([0xfe, 0xff, 0x00, 0xe0]);
        elements.extend((item.len() as u32).to_le_bytes());
        elements.extend(item);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.dcm");
    std::fs::write(&path, file("1.2.840.10008.1.2.5", &elements)).unwrap();
    let image = ImageFile::open(&path, None).unwrap().image(0).unwrap();
    assert!((image.width, image.height) == (8, 8) && image.data.iter().all(|v| *v == 9.0 / 255.0), "{:?}", image.data);
}

fn refusal(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).unwrap();
    ImageFile::open(path, None).unwrap_err().to_string()
}

#[test]
fn claims_are_checked_before_memory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.dcm");
    // Four bytes that claim to be four gigabytes.
    let mut large = Vec::new();
    element(&mut large, (0x10, 0x4000), b"UT", 0xffff_fff0, b"abcd");
    let text = refusal(&path, &file(EXPLICIT, &large));
    assert!(text.contains("a.dcm") && text.contains("claims 4294967280 bytes"), "{text}");
    let mut pixels = picture(8);
    let at = pixels.len() - 64 - 4;
    pixels[at..at + 4].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
    assert!(refusal(&path, &file(EXPLICIT, &pixels)).contains("claims 2147483632 bytes"));
    // The same among the elements that describe the file: an unknown kind has a length of 4 bytes, here of the text behind it.
    let mut meta = file(EXPLICIT, &[]);
    let at = meta.windows(4).position(|w| w == [2, 0, 3, 0]).unwrap();
    meta[at + 4..at + 6].copy_from_slice(b"TI");
    assert!(refusal(&path, &meta).contains("beyond the end of the file"));
    // An end of an item that never began, and behind it a kind that is none, so that the text behind is a length (found by fuzzing).
    let mut stray = vec![0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];
    stray.extend(b"1.2.840.10008.5.1.4.1.1.4");
    stray.extend(picture(8));
    assert!(refusal(&path, &file(EXPLICIT, &stray)).contains("its elements are damaged"));
    // Sequences of unknown length in each other: every level is one of the parser's recursion.
    let mut deep = Vec::new();
    for _ in 0..50_000 {
        element(&mut deep, (0x08, 0x1115), b"SQ", 0xffff_ffff, &[0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff]);
    }
    assert!(refusal(&path, &file(EXPLICIT, &deep)).contains("nested more than 32 times"));

    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(&picture(4000)).unwrap();
    let deflated = file(DEFLATED, &deflated.finish().unwrap());
    assert!(deflated.len() < 20_000, "{} bytes of 16 MB", deflated.len());
    set_max_decoded_bytes(1 << 20);
    let text = refusal(&path, &deflated);
    assert!(text.contains("1 MiB") && text.contains("--max-image-bytes"), "{text}");
    set_max_decoded_bytes(MAX_DECODED_BYTES);
    std::fs::write(&path, &deflated).unwrap();
    assert_eq!(ImageFile::open(&path, None).unwrap().image(0).unwrap().width, 4000);
}
