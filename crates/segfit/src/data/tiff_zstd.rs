//! TIFF pages in zstd: unpacked into a file in memory, which the decoder reads; its own zstd is in C.

use std::io::{Cursor, Read, Result as IoResult, Seek, SeekFrom};

use super::blosc::zstd;
use super::limits::{HOW_TO_RAISE, max_decoded_bytes, max_decoded_mib};
use super::tiff_directory::{
    self, BITS, CHANNELS, COMPRESSION, HEIGHT, LONG, Order, PLANAR, ROWS_PER_STRIP, SHORT, STRIP_BYTES, STRIP_OFFSETS,
    TILE_BYTES, TILE_HEIGHT, TILE_OFFSETS, TILE_WIDTH, WIDTH, directory, part, size_of,
};
use super::tiff_pages::PageAt;

type Reason<T> = Result<T, String>;

/// TIFF's number of zstd.
pub(crate) const ZSTD: u64 = 50_000;

/// Bytes of all values of a page's tags, which are copied; values may overlap, so that few bytes are many values.
const MAX_VALUES: u64 = 64 << 20;

/// A file, or one that was unpacked in memory.
#[derive(Debug)]
pub(crate) enum Source<R> {
    /// As it lies on disk.
    File(R),
    /// Unpacked.
    Memory(Cursor<Vec<u8>>),
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl<R: Seek> Seek for Source<R> {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

/// A tag with its value.
struct Entry {
    tag: u64,
    kind: u64,
    value: Vec<u8>,
}

/// A file with this page alone, its strips or tiles not compressed.
///
/// # Errors
/// When the page is damaged or holds more than is decoded of one file.
pub(crate) fn unpacked(file: &mut (impl Read + Seek), page: &PageAt) -> Reason<Vec<u8>> {
    let order = part(file, 0, 4).and_then(|head| Order::of(&head)).ok_or("it ends within its header")?;
    let mut directory = Directory { order, entries: entries(file, page.offset, order)? };
    let chunks = directory.chunks()?;
    let mut out = vec![0; 8];
    let (mut offsets, mut lengths) = (Vec::new(), Vec::new());
    for (offset, packed, expected) in chunks {
        if out.len() + expected > max_decoded_bytes() {
            return Err(format!("it holds more than the limit of {}: {HOW_TO_RAISE}", max_decoded_mib()));
        }
        let packed = part(file, offset, packed as usize).filter(|b| b.len() as u64 == packed);
        let bytes = zstd(&packed.ok_or("a strip or tile lies beyond its end")?, expected)?;
        offsets.push(out.len() as u64);
        lengths.push(expected as u64);
        out.extend(bytes);
    }
    directory.set(COMPRESSION, SHORT, &[1]);
    let (offset_tag, length_tag) =
        if directory.is_tiled() { (TILE_OFFSETS, TILE_BYTES) } else { (STRIP_OFFSETS, STRIP_BYTES) };
    directory.set(offset_tag, LONG, &offsets);
    directory.set(length_tag, LONG, &lengths);
    directory.append(&mut out);
    Ok(out)
}

fn entries(file: &mut (impl Read + Seek), at: u64, order: Order) -> Reason<Vec<Entry>> {
    let early = || "it ends within a directory".to_string();
    let (found, _) = directory(file, at, order).ok_or_else(early)?;
    let mut total = 0u64;
    let read = |entry: tiff_directory::Entry| {
        let (tag, kind, length) = (entry.tag, entry.kind, entry.bytes());
        total = length.saturating_add(total);
        if total > MAX_VALUES {
            return Err(format!("its tags up to {tag} claim {total} bytes; the limit is {MAX_VALUES}"));
        }
        let value = match entry.is_inline() {
            true => entry.field[..length as usize].to_vec(),
            false => part(file, entry.place(), length as usize).ok_or_else(early)?,
        };
        Ok(Entry { tag, kind, value })
    };
    found.into_iter().map(read).collect()
}

/// A page's tags.
struct Directory {
    order: Order,
    entries: Vec<Entry>,
}

impl Directory {
    fn numbers(&self, tag: u64) -> Option<Vec<u64>> {
        let entry = self.entries.iter().find(|e| e.tag == tag)?;
        let size = size_of(entry.kind) as usize;
        let is_whole = matches!(entry.kind, 1 | 3 | 4 | 13 | 16 | 18);
        is_whole.then(|| entry.value.chunks_exact(size).map(|b| self.order.number(b)).collect())
    }

    fn first(&self, tag: u64) -> Option<u64> {
        self.numbers(tag)?.first().copied()
    }

    fn is_tiled(&self) -> bool {
        self.first(TILE_OFFSETS).is_some()
    }

    /// Of each strip or tile: where it lies, its bytes, and its bytes when unpacked.
    fn chunks(&self) -> Reason<Vec<(u64, u64, usize)>> {
        let need = |tag: u64| self.first(tag).ok_or_else(|| format!("it has no tag {tag}"));
        let is_tiled = self.is_tiled();
        let (offset_tag, length_tag) = if is_tiled { (TILE_OFFSETS, TILE_BYTES) } else { (STRIP_OFFSETS, STRIP_BYTES) };
        let (offsets, lengths) = (self.numbers(offset_tag), self.numbers(length_tag));
        let (Some(offsets), Some(lengths)) = (offsets, lengths) else {
            return Err("it holds no strips or tiles".into());
        };
        if offsets.len() != lengths.len() {
            return Err(format!("it has {} strips or tiles, and the bytes of {}", offsets.len(), lengths.len()));
        }
        let (width, height) = (need(WIDTH)?, need(HEIGHT)?);
        let channels = self.first(CHANNELS).unwrap_or(1);
        let together = if self.first(PLANAR) == Some(2) { 1 } else { channels };
        let bits = self.first(BITS).unwrap_or(1);
        let (rows, columns) = if is_tiled {
            (need(TILE_HEIGHT)?, need(TILE_WIDTH)?)
        } else {
            (self.first(ROWS_PER_STRIP).unwrap_or(height).min(height), width)
        };
        if rows == 0 || columns == 0 {
            return Err("it has strips or tiles of no pixels".into());
        }
        let row_bytes = columns.saturating_mul(together).saturating_mul(bits).div_ceil(8);
        let per_plane = height.div_ceil(rows);
        let bytes = |i: usize| {
            let rows = match is_tiled {
                true => rows,
                false => rows.min(height - (i as u64 % per_plane) * rows),
            };
            row_bytes.saturating_mul(rows)
        };
        let chunk = |(i, (&offset, &length)): (usize, (&u64, &u64))| {
            let expected = bytes(i);
            if expected.max(length) > max_decoded_bytes() as u64 {
                return Err(format!(
                    "a strip or tile holds more than the limit of {}: {HOW_TO_RAISE}",
                    max_decoded_mib()
                ));
            }
            Ok((offset, length, expected as usize))
        };
        offsets.iter().zip(&lengths).enumerate().map(chunk).collect()
    }

    /// Replaces the numbers of a tag.
    fn set(&mut self, tag: u64, kind: u64, numbers: &[u64]) {
        let size = size_of(kind) as usize;
        let value = numbers.iter().flat_map(|&n| self.order.bytes(n, size)).collect();
        self.entries.retain(|e| e.tag != tag);
        self.entries.push(Entry { tag, kind, value });
    }

    /// Writes the directory behind what there is of a file, and the file's first bytes. It is no BigTIFF.
    fn append(mut self, out: &mut Vec<u8>) {
        let order = self.order;
        self.entries.sort_by_key(|e| e.tag);
        let mut table = order.bytes(self.entries.len() as u64, 2);
        for entry in &self.entries {
            let (kind, value) = match entry.kind {
                16..=18 => {
                    let numbers = entry.value.chunks_exact(8).map(|b| order.number(b));
                    (LONG, numbers.flat_map(|n| order.bytes(n.min(u64::from(u32::MAX)), 4)).collect())
                }
                kind => (kind, entry.value.clone()),
            };
            let count = value.len() as u64 / size_of(kind).max(1);
            table.extend([order.bytes(entry.tag, 2), order.bytes(kind, 2), order.bytes(count, 4)].concat());
            if value.len() <= 4 {
                table.extend_from_slice(&value);
                table.resize(table.len() + 4 - value.len(), 0);
            } else {
                out.resize(out.len().next_multiple_of(2), 0);
                table.extend(order.bytes(out.len() as u64, 4));
                out.extend_from_slice(&value);
            }
        }
        out.resize(out.len().next_multiple_of(2), 0);
        let at = out.len() as u64;
        out.extend(table);
        out.extend([0; 4]);
        let magic: &[u8] = if order.big_endian { b"MM\0\x2a" } else { b"II\x2a\0" };
        out[..4].copy_from_slice(magic);
        out[4..8].copy_from_slice(&order.bytes(at, 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::raster::Samples;
    use crate::data::read_tiff::decode_tiff;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    /// 3 rows of 4 pixels of 16 bits in strips of 2 rows.
    fn file(order: Order) -> Vec<u8> {
        let pixels: Vec<u8> = (0..12).flat_map(|v| order.bytes(v * 1000, 2)).collect();
        let strips = [&pixels[..16], &pixels[16..]].map(|strip| compress_to_vec(strip, CompressionLevel::Fastest));
        let (pointer, start) = if order.big_tiff { (8, 16) } else { (4, 8) };
        let mut out = vec![0; start];
        let mut directory = Directory { order, entries: vec![] };
        let short = |tag, value| (tag, SHORT, vec![value]);
        let offsets = vec![start as u64, (start + strips[0].len()) as u64];
        let lengths = strips.iter().map(|s| s.len() as u64).collect();
        for (tag, kind, numbers) in [
            short(WIDTH, 4),
            short(HEIGHT, 3),
            short(BITS, 16),
            short(COMPRESSION, ZSTD),
            short(262, 1),
            (STRIP_OFFSETS, if order.big_tiff { 16 } else { LONG }, offsets),
            short(CHANNELS, 1),
            short(ROWS_PER_STRIP, 2),
            (STRIP_BYTES, LONG, lengths),
        ] {
            directory.set(tag, kind, &numbers);
        }
        out.extend(strips.concat());
        let mut table = order.bytes(directory.entries.len() as u64, if order.big_tiff { 8 } else { 2 });
        for entry in &directory.entries {
            table.extend([order.bytes(entry.tag, 2), order.bytes(entry.kind, 2)].concat());
            table.extend(order.bytes(entry.value.len() as u64 / size_of(entry.kind), pointer));
            if entry.value.len() <= pointer {
                table.extend_from_slice(&entry.value);
                table.resize(table.len() + pointer - entry.value.len(), 0);
            } else {
                table.extend(order.bytes(out.len() as u64, pointer));
                out.extend_from_slice(&entry.value);
            }
        }
        let at = order.bytes(out.len() as u64, pointer);
        out.extend(table);
        out.extend(vec![0; pointer]);
        out[..2].copy_from_slice(if order.big_endian { b"MM" } else { b"II" });
        out[2..4].copy_from_slice(&order.bytes(if order.big_tiff { 43 } else { 42 }, 2));
        if order.big_tiff {
            out[4..6].copy_from_slice(&order.bytes(8, 2));
        }
        out[start - pointer..start].copy_from_slice(&at);
        out
    }

    #[test]
    fn values_that_overlap_are_counted_together() {
        let order = Order { big_endian: false, big_tiff: false };
        let mut bytes = order.bytes(100, 2);
        for tag in 0..100 {
            bytes.extend([order.bytes(tag, 2), order.bytes(1, 2), order.bytes(1 << 20, 4), order.bytes(0, 4)].concat());
        }
        bytes.resize(2 << 20, 0);
        let error = entries(&mut Cursor::new(&bytes), 0, order).err().unwrap();
        assert!(error.contains("limit is 67108864"), "{error}");
    }

    #[test]
    fn strips_of_both_orders_and_kinds_are_unpacked() {
        for (big_endian, big_tiff) in [(false, false), (true, false), (false, true), (true, true)] {
            let bytes = file(Order { big_endian, big_tiff });
            let raster = decode_tiff(&bytes).unwrap();
            let Samples::U16(values) = raster.samples else { unreachable!() };
            assert_eq!(values, (0..12).map(|v| v * 1000).collect::<Vec<u16>>(), "{big_endian} {big_tiff}");
            let first = if big_tiff { 16 } else { 8 };
            let mut damaged = bytes;
            damaged[first..first + 4].fill(0);
            let error = decode_tiff(&damaged).unwrap_err();
            assert!(error.contains("zstd"), "{error}");
        }
    }
}
