//! TIFF files, tag by tag (TIFF 6.0; <https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml>).

/// Columns and rows of a good one.
pub const WIDTH: u32 = 32;
pub const HEIGHT: u32 = 32;

const DATA_AT: u32 = 512;

/// A tag's number, type (3: 16 bits, 4: 32 bits), count and value.
pub type Tag = (u16, u16, u32, u32);

/// The tags of a gray page of one strip of `bits` bits, with some tags added or in place of others; a tag of count 0 is
/// left out.
pub fn tags(bits: u32, other: &[Tag]) -> Vec<Tag> {
    let bytes = WIDTH * HEIGHT * bits.div_ceil(8);
    let mut all: Vec<Tag> = vec![
        (256, 4, 1, WIDTH),
        (257, 4, 1, HEIGHT),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, DATA_AT),
        (277, 3, 1, 1),
        (278, 4, 1, HEIGHT),
        (279, 4, 1, bytes),
    ];
    all.retain(|(number, ..)| other.iter().all(|(n, ..)| n != number));
    all.extend(other.iter().filter(|(_, _, count, _)| *count > 0));
    all.sort_unstable();
    all
}

/// A little-endian file with one directory at byte 8 that points to the next one at `next`, and data at byte 512.
pub fn raw(tags: &[Tag], next: u32, data: &[u8]) -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0".to_vec();
    out.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in tags {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend(next.to_le_bytes());
    out.resize(DATA_AT as usize, 0);
    out.extend(data);
    out
}

/// A page of `bits` bits with other tags; the pixels are zeros and ones.
pub fn page(bits: u32, other: &[Tag]) -> Vec<u8> {
    let data: Vec<u8> = (0..WIDTH * HEIGHT * bits.div_ceil(8)).map(|i| (i % 2) as u8).collect();
    raw(&tags(bits, other), 0, &data)
}

/// A good picture.
pub fn good() -> Vec<u8> {
    page(8, &[])
}

/// A page of 32-bit floating point; `value` gives the pixels.
pub fn floats(value: impl Fn(u32) -> f32) -> Vec<u8> {
    let data: Vec<u8> = (0..WIDTH * HEIGHT).flat_map(|i| value(i).to_le_bytes()).collect();
    raw(&tags(32, &[(339, 3, 1, 3)]), 0, &data)
}

/// A page whose description is `text`, which lies behind the pixels.
pub fn described(text: &str) -> Vec<u8> {
    let pixels = (WIDTH * HEIGHT) as usize;
    let mut data = vec![1; pixels];
    data.extend(text.as_bytes());
    let description = (270, 2, text.len() as u32, DATA_AT + pixels as u32);
    raw(&tags(8, &[description]), 0, &data)
}

/// OME-XML with these sizes and this content.
pub fn ome(slices: u32, content: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\"><Image><Pixels \
         DimensionOrder=\"XYZCT\" Type=\"uint8\" SizeX=\"32\" SizeY=\"32\" SizeZ=\"{slices}\" SizeC=\"1\" \
         SizeT=\"1\">{content}</Pixels></Image></OME>"
    )
}
