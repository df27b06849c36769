//! How a TIFF file, classic or big, holds the tags of its pages.

use std::io::{Read, Seek, SeekFrom};

pub(crate) const SUBFILE: u64 = 254;
pub(crate) const WIDTH: u64 = 256;
pub(crate) const HEIGHT: u64 = 257;
pub(crate) const BITS: u64 = 258;
pub(crate) const COMPRESSION: u64 = 259;
pub(crate) const PHOTOMETRIC: u64 = 262;
pub(crate) const DESCRIPTION: u64 = 270;
pub(crate) const STRIP_OFFSETS: u64 = 273;
pub(crate) const CHANNELS: u64 = 277;
pub(crate) const ROWS_PER_STRIP: u64 = 278;
pub(crate) const STRIP_BYTES: u64 = 279;
pub(crate) const X_RESOLUTION: u64 = 282;
pub(crate) const Y_RESOLUTION: u64 = 283;
pub(crate) const PLANAR: u64 = 284;
pub(crate) const RESOLUTION_UNIT: u64 = 296;
pub(crate) const TILE_WIDTH: u64 = 322;
pub(crate) const TILE_HEIGHT: u64 = 323;
pub(crate) const TILE_OFFSETS: u64 = 324;
pub(crate) const TILE_BYTES: u64 = 325;
pub(crate) const SAMPLE_FORMAT: u64 = 339;

/// The type of 16-bit and of 32-bit whole numbers.
pub(crate) const SHORT: u64 = 3;
pub(crate) const LONG: u64 = 4;

/// Entries of one directory that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Bytes of a number of each type.
pub(crate) fn size_of(kind: u64) -> u64 {
    [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8].get(kind as usize).copied().unwrap_or(0)
}

/// How numbers of a file are stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub big_endian: bool,
    pub big_tiff: bool,
}

impl Order {
    /// By the first bytes of the file; `None` when they are too few.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let order = Self { big_endian: head.starts_with(b"MM"), big_tiff: false };
        Some(Self { big_tiff: order.number(head.get(2..4)?) == 43, ..order })
    }

    /// The number in these bytes, at most 8.
    pub(crate) fn number(self, bytes: &[u8]) -> u64 {
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        if self.big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    }

    /// The bytes of a number.
    pub(crate) fn bytes(self, number: u64, size: usize) -> Vec<u8> {
        let bytes = number.to_be_bytes()[8 - size..].to_vec();
        if self.big_endian { bytes } else { bytes.into_iter().rev().collect() }
    }

    /// Bytes of a place in the file.
    pub(crate) fn pointer(self) -> usize {
        if self.big_tiff { 8 } else { 4 }
    }

    fn count(self) -> usize {
        if self.big_tiff { 8 } else { 2 }
    }
}

/// One tag of a directory; its value lies in the entry itself or elsewhere in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub tag: u64,
    pub kind: u64,
    /// Numbers of the value.
    pub count: u64,
    /// Where the entry's own field lies.
    pub at: u64,
    /// That field, filled up with zeros.
    pub field: [u8; 8],
    order: Order,
}

impl Entry {
    fn of(bytes: &[u8], at: u64, order: Order) -> Self {
        let value = 4 + order.pointer();
        let mut field = [0; 8];
        field[..order.pointer()].copy_from_slice(&bytes[value..]);
        let (tag, kind) = (order.number(&bytes[..2]), order.number(&bytes[2..4]));
        Self { tag, kind, count: order.number(&bytes[4..value]), at: at + value as u64, field, order }
    }

    /// Bytes that the value claims to have.
    pub(crate) fn bytes(&self) -> u64 {
        self.count.saturating_mul(size_of(self.kind))
    }

    /// Whether the value lies in the entry.
    pub(crate) fn is_inline(&self) -> bool {
        self.bytes() <= self.order.pointer() as u64
    }

    /// Where the value lies.
    pub(crate) fn place(&self) -> u64 {
        if self.is_inline() { self.at } else { self.order.number(&self.field[..self.order.pointer()]) }
    }
}

/// The entries of the directory at `offset`, and where the next one lies, 0 for none; `None` when the file ends before. A file that
/// ends within the directory has the entries that are there.
pub(crate) fn directory(file: &mut (impl Read + Seek), offset: u64, order: Order) -> Option<(Vec<Entry>, u64)> {
    let size = 4 + 2 * order.pointer();
    let count = part(file, offset, order.count()).filter(|b| b.len() == order.count())?;
    let bytes = order.number(&count).min(MAX_ENTRIES as u64) as usize * size;
    let first = offset.checked_add(order.count() as u64)?;
    let table = part(file, first, bytes + order.pointer())?;
    let entries = table[..bytes.min(table.len())].chunks_exact(size).enumerate();
    let entries = entries.map(|(i, entry)| Entry::of(entry, first + (i * size) as u64, order)).collect();
    // The place of the next page may be missing at the end of a file.
    let next = table.get(bytes..bytes + order.pointer()).map_or(0, |b| order.number(b));
    Some((entries, next))
}

/// Up to `length` bytes from `at`.
pub(crate) fn part(file: &mut (impl Read + Seek), at: u64, length: usize) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_where_their_values_lie() {
        for (big_endian, big_tiff) in [(false, false), (true, false), (false, true), (true, true)] {
            let order = Order { big_endian, big_tiff };
            let pointer = order.pointer();
            let mut file =
                [if big_endian { b"MM" } else { b"II" }.to_vec(), order.bytes(42 + u64::from(big_tiff), 2)].concat();
            assert_eq!(Order::of(&file).map(|o| (o.big_endian, o.big_tiff)), Some((big_endian, big_tiff)));
            file.extend(order.bytes(2, order.count()));
            let mut entry = |tag, kind, count, value: u64, size| {
                file.extend([order.bytes(tag, 2), order.bytes(kind, 2), order.bytes(count, pointer)].concat());
                let field = order.bytes(value, size);
                file.extend_from_slice(&field);
                file.resize(file.len() + pointer - size, 0);
            };
            entry(WIDTH, SHORT, 1, 700, 2);
            entry(STRIP_OFFSETS, LONG, 9, 5000, pointer);
            let (entries, next) = directory(&mut std::io::Cursor::new(&file), 4, order).unwrap();
            assert_eq!(next, 0, "the file ends there");
            let [width, offsets] = entries[..] else { unreachable!() };
            assert_eq!((width.tag, order.number(&width.field[..2]), width.place()), (WIDTH, 700, width.at));
            assert_eq!(order.number(&file[width.at as usize..][..2]), 700);
            assert_eq!((offsets.count, offsets.bytes(), offsets.place()), (9, 36, 5000));
            file.extend(order.bytes(77, pointer));
            assert_eq!(directory(&mut std::io::Cursor::new(&file), 4, order).unwrap().1, 77);
            file.truncate(file.len() - pointer - 1);
            let (entries, next) = directory(&mut std::io::Cursor::new(&file), 4, order).unwrap();
            assert_eq!((entries.len(), next), (1, 0));
            assert!(directory(&mut std::io::Cursor::new(&file), 4000, order).is_none());
        }
    }
}
