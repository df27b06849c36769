//! The photometric tag of a TIFF file. The decoder refuses indexed colours and inverts some white-is-zero files: both
//! are shown to it as plain gray values, and treated in `read_tiff`.

use std::io::{Read, Result, Seek, SeekFrom};

/// Zero is white.
pub(crate) const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
/// Values are indices into a palette.
pub(crate) const INDEXED: u16 = 3;
const PHOTOMETRIC: u64 = 262;

/// A file that reads black-is-zero where its first page says white-is-zero or indexed.
#[derive(Debug)]
pub(crate) struct BlackIsZero<R> {
    inner: R,
    at: u64,
    /// Where two bytes are changed, and to what.
    patch: Option<(u64, [u8; 2])>,
}

impl<R: Read + Seek> BlackIsZero<R> {
    /// The file from its start, and what its photometric tag says in truth.
    pub fn new(mut inner: R) -> Result<(Self, u16)> {
        let tag = find_photometric(&mut inner);
        inner.rewind()?;
        let patch = tag
            .filter(|t| matches!(t.value, WHITE_IS_ZERO | INDEXED))
            .map(|t| (t.at, if t.big_endian { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() }));
        Ok((Self { inner, at: 0, patch }, tag.map_or(BLACK_IS_ZERO, |t| t.value)))
    }
}

impl<R: Read> Read for BlackIsZero<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some((at, bytes)) = self.patch {
            for (place, byte) in (at..).zip(bytes) {
                if (self.at..self.at + n as u64).contains(&place) {
                    buffer[(place - self.at) as usize] = byte;
                }
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}

impl<R: Seek> Seek for BlackIsZero<R> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.at = self.inner.seek(to)?;
        Ok(self.at)
    }
}

#[derive(Clone, Copy)]
struct Photometric {
    at: u64,
    big_endian: bool,
    value: u16,
}

/// The tag in the first page's directory; `None` also where the file ends too early, which the decoder will tell.
fn find_photometric(file: &mut (impl Read + Seek)) -> Option<Photometric> {
    let head = part(file, 0, 16)?;
    let big_endian = head.get(..2)? == b"MM";
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let field = bytes.get(at..at + size)?;
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if big_endian { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    };
    let big_tiff = number(&head, 2, 2)? == 43;
    let (ifd, count_size, entry_size, value_at) =
        if big_tiff { (number(&head, 8, 8)?, 8, 20, 12) } else { (number(&head, 4, 4)?, 2, 12, 8) };
    let count = number(&part(file, ifd, count_size)?, 0, count_size)?.min(4096);
    let first = ifd.checked_add(count_size as u64)?;
    let entries = part(file, first, count as usize * entry_size)?;
    entries.chunks_exact(entry_size).enumerate().find_map(|(i, entry)| {
        (number(entry, 0, 2)? == PHOTOMETRIC).then_some(())?;
        let at = first + (i * entry_size + value_at) as u64;
        Some(Photometric { at, big_endian, value: number(entry, value_at, 2)? as u16 })
    })
}

/// Up to `length` bytes from `at`.
fn part(file: &mut (impl Read + Seek), at: u64, length: usize) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_tag_is_changed_even_when_it_is_read_byte_by_byte() {
        // One entry: tag 262, type 3, count 1, value 0.
        let mut bytes = b"MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        bytes.extend([1, 6, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (mut file, photometric) = BlackIsZero::new(Cursor::new(&bytes)).unwrap();
        assert_eq!(photometric, WHITE_IS_ZERO);
        let mut one = [0];
        let read: Vec<u8> = std::iter::from_fn(|| (file.read(&mut one).unwrap() == 1).then_some(one[0])).collect();
        let mut expected = bytes.clone();
        expected[19] = 1;
        assert_eq!(read, expected);
        file.seek(SeekFrom::Start(17)).unwrap();
        let mut four = [0; 4];
        file.read_exact(&mut four).unwrap();
        assert_eq!(four, [1, 0, 1, 0]);
        assert_eq!(BlackIsZero::new(Cursor::new(&bytes[..12])).unwrap().1, BLACK_IS_ZERO, "cut short");
    }
}
