//! PNG files, chunk by chunk (<https://www.w3.org/TR/png-3/>).

use super::zlib;

/// Width and height of a good one, in pixels.
const SIDE: u32 = 32;

/// Kinds of colour.
pub const GRAY: u8 = 0;
pub const RGB: u8 = 2;
pub const INDEXED: u8 = 3;

/// A chunk with its checksum.
pub fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// The header chunk.
pub fn header(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colour, 0, 0, 0]].concat())
}

/// A file of these chunks.
pub fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
}

/// A file with this header whose data are `data`, unpacked.
pub fn with(width: u32, height: u32, bits: u8, colour: u8, data: &[u8]) -> Vec<u8> {
    file(&[header(width, height, bits, colour), chunk(b"IDAT", &zlib(data)), chunk(b"IEND", b"")])
}

/// A gray picture of pixels that do not compress away.
pub fn good() -> Vec<u8> {
    let row = |y: u32| (0..=SIDE).map(move |x| if x == 0 { 0 } else { ((x * 7919 + y * 104_729) % 251) as u8 });
    with(SIDE, SIDE, 8, GRAY, &(0..SIDE).flat_map(row).collect::<Vec<u8>>())
}

/// Gray pixels of any size.
pub fn gray(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        data.push(0);
        data.extend((0..width).map(|x| pixel(x, y)));
    }
    with(width, height, 8, GRAY, &data)
}

/// Colours of any size.
pub fn rgb(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        data.push(0);
        data.extend((0..width).flat_map(|x| pixel(x, y)));
    }
    with(width, height, 8, RGB, &data)
}

/// Gray pixels of 16 bits.
pub fn gray16(width: u32, height: u32, pixel: impl Fn(u32, u32) -> u16) -> Vec<u8> {
    let mut data = Vec::new();
    for y in 0..height {
        data.push(0);
        data.extend((0..width).flat_map(|x| pixel(x, y).to_be_bytes()));
    }
    with(width, height, 16, GRAY, &data)
}

/// A file of zeros that is small and claims many pixels.
pub fn bomb(side: u32) -> Vec<u8> {
    let zeros = vec![0; 1 << 20];
    with(side, side, 8, RGB, &zeros)
}
