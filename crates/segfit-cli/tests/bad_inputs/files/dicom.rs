//! DICOM files, element by element (PS3.5 and PS3.10; explicit representation, little-endian).

/// Columns and rows of a good slice.
pub const SIDE: usize = 32;

pub const PLAIN: &str = "1.2.840.10008.1.2.1";
pub const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
pub const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
pub const RLE: &str = "1.2.840.10008.1.2.5";

const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

/// An element with an explicit representation.
fn element(tag: (u16, u16), kind: &str, value: &[u8]) -> Vec<u8> {
    let mut out = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    out.extend(kind.as_bytes());
    let length = value.len().next_multiple_of(2);
    if matches!(kind, "OW" | "OB" | "UT") {
        out.extend([0, 0]);
        out.extend((length as u32).to_le_bytes());
    } else {
        out.extend((length as u16).to_le_bytes());
    }
    out.extend(value);
    if value.len() % 2 == 1 {
        out.push(if kind == "UI" { 0 } else { b' ' });
    }
    out
}

/// A slice, as it is written.
pub struct Slice {
    pub syntax: &'static str,
    pub class: &'static str,
    pub series: &'static str,
    pub number: usize,
    pub rows: u16,
    pub columns: u16,
    pub bits: u16,
    pub colour: &'static str,
    pub frames: Option<&'static str>,
    /// Bytes of the pixels; none: the element is left out.
    pub pixels: Option<Vec<u8>>,
}

impl Slice {
    /// A good slice of a series.
    pub fn good(number: usize) -> Self {
        let pixels = (0..SIDE * SIDE).flat_map(|i| ((i * 31 + number) as u16 % 900).to_le_bytes()).collect();
        Self {
            syntax: PLAIN,
            class: MR,
            series: "1.2.3.78",
            number,
            rows: SIDE as u16,
            columns: SIDE as u16,
            bits: 16,
            colour: "MONOCHROME2",
            frames: None,
            pixels: Some(pixels),
        }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let instance = format!("1.2.3.{}", self.number + 1);
        let text = |tag, kind, value: &str| element(tag, kind, value.as_bytes());
        let number = |tag, value: u16| element(tag, "US", &value.to_le_bytes());
        let meta = [
            text((2, 2), "UI", self.class),
            text((2, 3), "UI", &instance),
            if self.syntax.is_empty() { vec![] } else { text((2, 0x10), "UI", self.syntax) },
            text((2, 0x12), "UI", "1.2.3"),
        ]
        .concat();
        let length = element((2, 0), "UL", &(meta.len() as u32).to_le_bytes());
        [
            vec![0; 128],
            b"DICM".to_vec(),
            length,
            meta,
            text((8, 0x16), "UI", self.class),
            text((8, 0x18), "UI", &instance),
            text((8, 0x60), "CS", "MR"),
            text((0x20, 0x0d), "UI", "1.2.3.77"),
            text((0x20, 0x0e), "UI", self.series),
            text((0x20, 0x13), "IS", &self.number.to_string()),
            text((0x20, 0x32), "DS", &format!("0\\0\\{}", 3 * self.number)),
            text((0x20, 0x37), "DS", "1\\0\\0\\0\\1\\0"),
            number((0x28, 2), 1),
            text((0x28, 4), "CS", self.colour),
            self.frames.map_or(vec![], |n| text((0x28, 8), "IS", n)),
            number((0x28, 0x10), self.rows),
            number((0x28, 0x11), self.columns),
            text((0x28, 0x30), "DS", "1\\1"),
            number((0x28, 0x100), self.bits),
            number((0x28, 0x101), self.bits),
            number((0x28, 0x102), self.bits.saturating_sub(1)),
            number((0x28, 0x103), 0),
            self.pixels.as_ref().map_or(vec![], |pixels| self.pixel_data(pixels)),
        ]
        .concat()
    }

    /// The pixels as they are, or as one fragment where they are compressed.
    fn pixel_data(&self, pixels: &[u8]) -> Vec<u8> {
        if matches!(self.syntax, PLAIN | "") {
            return element((0x7fe0, 0x10), "OW", pixels);
        }
        let item = |number: u16, value: &[u8]| {
            let mut out = [0xfffeu16.to_le_bytes(), number.to_le_bytes()].concat();
            out.extend((value.len() as u32).to_le_bytes());
            out.extend(value);
            out
        };
        let mut out = vec![0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff];
        out.extend(item(0xe000, &[]));
        out.extend(item(0xe000, pixels));
        out.extend(item(0xe0dd, &[]));
        out
    }
}
