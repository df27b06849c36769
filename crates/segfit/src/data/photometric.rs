//! The photometric tag of a TIFF file. The decoder refuses indexed colours and inverts some white-is-zero files: both
//! are shown to it as plain gray values, and treated in `read_tiff`. Any page is shown to it as the first one.

use std::io::{ErrorKind, Read, Result, Seek, SeekFrom};

use super::tiff_directory::{Order, part};
use super::tiff_pages::PageAt;

/// Zero is white.
pub(crate) const WHITE_IS_ZERO: u64 = 0;
const BLACK_IS_ZERO: u64 = 1;
/// Values are indices into a palette.
pub(crate) const INDEXED: u64 = 3;

/// A file of which one page reads black-is-zero where it says white-is-zero or indexed; that page comes first.
#[derive(Debug)]
pub(crate) struct BlackIsZero<R> {
    inner: R,
    at: u64,
    /// Where bytes are changed, and to what.
    patches: Vec<(u64, Vec<u8>)>,
}

impl<R: Read + Seek> BlackIsZero<R> {
    /// The file from its start, with this page as its first one.
    pub fn new(mut inner: R, page: &PageAt) -> Result<Self> {
        let order = part(&mut inner, 0, 4).and_then(|head| Order::of(&head)).ok_or(ErrorKind::UnexpectedEof)?;
        inner.rewind()?;
        let mut patches = vec![(order.pointer() as u64, order.bytes(page.offset, order.pointer()))];
        if let (WHITE_IS_ZERO | INDEXED, Some(at)) = (page.photometric, page.photometric_at) {
            patches.push((at, order.bytes(BLACK_IS_ZERO, 2)));
        }
        Ok(Self { inner, at: 0, patches })
    }
}

impl<R: Read> Read for BlackIsZero<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = self.inner.read(buffer)?;
        for (at, bytes) in &self.patches {
            for (place, &byte) in (*at..).zip(bytes) {
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::data::tiff_pages::Stack;

    #[test]
    fn the_tag_is_changed_even_when_it_is_read_byte_by_byte() {
        // One entry: tag 262, type 3, count 1, value 0.
        let mut bytes = b"MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        bytes.extend([1, 6, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let pages = Stack::read(&mut Cursor::new(&bytes)).unwrap().slices;
        let mut file = BlackIsZero::new(Cursor::new(&bytes), &pages[0][0]).unwrap();
        let mut one = [0];
        let read: Vec<u8> = std::iter::from_fn(|| (file.read(&mut one).unwrap() == 1).then_some(one[0])).collect();
        let mut expected = bytes.clone();
        expected[19] = 1;
        assert_eq!(read, expected);
        file.seek(SeekFrom::Start(17)).unwrap();
        let mut four = [0; 4];
        file.read_exact(&mut four).unwrap();
        assert_eq!(four, [1, 0, 1, 0]);
    }
}
