//! TIFF files for tests: strips or tiles, plain or deflated, of both byte orders, classic and BigTIFF.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::tiff_directory as tag;

const SHORT: (u64, usize) = (3, 2);
const LONG: (u64, usize) = (4, 4);
const LONG8: (u64, usize) = (16, 8);

#[derive(Clone, Copy)]
pub(crate) struct TiffWriter {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// 8, 16 or 32.
    pub bits: u16,
    /// 1 unsigned, 2 signed, 3 floating point.
    pub format: u16,
    /// 0 white is zero, 1 black is zero, 2 RGB, 3 indexed.
    pub photometric: u16,
    /// Rows of a strip or tile.
    pub rows: usize,
    /// Columns of a tile; 0 for strips.
    pub columns: usize,
    pub deflated: bool,
    pub big_endian: bool,
    pub big_tiff: bool,
    /// Where the pixels begin.
    pub data_at: u64,
    /// Rows and columns that the header lies about; one strip.
    pub claimed: Option<(usize, usize)>,
}

impl TiffWriter {
    /// 8-bit gray in one strip.
    pub fn gray(height: usize, width: usize) -> Self {
        Self {
            height,
            width,
            channels: 1,
            bits: 8,
            format: 1,
            photometric: 1,
            rows: height,
            columns: 0,
            deflated: false,
            big_endian: false,
            big_tiff: false,
            data_at: 16,
            claimed: None,
        }
    }

    /// Writes the file; `value` gives the bits of the sample at (row, column, channel).
    pub fn write(&self, path: &Path, value: impl Fn(usize, usize, usize) -> u64) {
        let mut file = File::create(path).unwrap();
        file.seek(SeekFrom::Start(self.data_at)).unwrap();
        let (mut offsets, mut lengths) = (vec![], vec![]);
        for chunk in self.chunks(value) {
            offsets.push(file.stream_position().unwrap());
            lengths.push(chunk.len() as u64);
            file.write_all(&chunk).unwrap();
        }
        let directory = self.directory(&mut file, offsets, lengths);
        let at = file.stream_position().unwrap();
        file.write_all(&directory).unwrap();
        file.rewind().unwrap();
        let mut head = if self.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        if self.big_tiff {
            [43, 8, 0].iter().for_each(|&v| self.number(&mut head, v, 2));
            self.number(&mut head, at, 8);
        } else {
            self.number(&mut head, 42, 2);
            self.number(&mut head, at, 4);
        }
        file.write_all(&head).unwrap();
    }

    fn chunks(&self, value: impl Fn(usize, usize, usize) -> u64) -> Vec<Vec<u8>> {
        let columns = if self.columns == 0 { self.width } else { self.columns };
        let mut chunks = Vec::new();
        for top in (0..self.height).step_by(self.rows) {
            for left in (0..self.width).step_by(columns) {
                let end = if self.columns == 0 { self.height.min(top + self.rows) } else { top + self.rows };
                let mut data = Vec::new();
                for (y, x) in (top..end).flat_map(|y| (left..left + columns).map(move |x| (y, x))) {
                    for c in 0..self.channels {
                        let inside = y < self.height && x < self.width;
                        self.number(&mut data, if inside { value(y, x, c) } else { 0 }, usize::from(self.bits / 8));
                    }
                }
                chunks.push(if self.deflated { miniz_oxide::deflate::compress_to_vec_zlib(&data, 1) } else { data });
            }
        }
        chunks
    }

    /// The directory; arrays that do not fit in are written before.
    fn directory(&self, file: &mut File, offsets: Vec<u64>, lengths: Vec<u64>) -> Vec<u8> {
        let (height, width) = self.claimed.unwrap_or((self.height, self.width));
        let rows = if self.claimed.is_some() { height } else { self.rows };
        let offset_type = if self.big_tiff { LONG8 } else { LONG };
        let per_channel = |v: u16| vec![u64::from(v); self.channels];
        let mut tags: Vec<(u64, (u64, usize), Vec<u64>)> = vec![
            (tag::WIDTH, LONG, vec![width as u64]),
            (tag::HEIGHT, LONG, vec![height as u64]),
            (tag::BITS, SHORT, per_channel(self.bits)),
            (tag::COMPRESSION, SHORT, vec![if self.deflated { 8 } else { 1 }]),
            (tag::PHOTOMETRIC, SHORT, vec![u64::from(self.photometric)]),
            (tag::CHANNELS, SHORT, vec![self.channels as u64]),
            (tag::SAMPLE_FORMAT, SHORT, per_channel(self.format)),
        ];
        if self.columns == 0 {
            tags.extend([
                (tag::STRIP_OFFSETS, offset_type, offsets),
                (tag::ROWS_PER_STRIP, LONG, vec![rows as u64]),
                (tag::STRIP_BYTES, LONG, lengths),
            ]);
        } else {
            let size =
                [(tag::TILE_WIDTH, LONG, vec![self.columns as u64]), (tag::TILE_HEIGHT, LONG, vec![self.rows as u64])];
            tags.extend(size);
            tags.extend([(tag::TILE_OFFSETS, offset_type, offsets), (tag::TILE_BYTES, LONG, lengths)]);
        }
        if self.photometric == 3 {
            tags.push((320, SHORT, (0..768).map(|i| i * 7919 % 65_536).collect()));
        }
        if self.channels == 4 {
            tags.push((338, SHORT, vec![2]));
        }
        tags.sort();
        let (count, word) = if self.big_tiff { (8, 8) } else { (2, 4) };
        let mut directory = Vec::new();
        self.number(&mut directory, tags.len() as u64, count);
        for (tag, (kind, size), values) in tags {
            self.number(&mut directory, tag, 2);
            self.number(&mut directory, kind, 2);
            self.number(&mut directory, values.len() as u64, word);
            let mut data = Vec::new();
            values.iter().for_each(|&v| self.number(&mut data, v, size));
            if data.len() <= word {
                data.resize(word, 0);
                directory.extend(data);
            } else {
                self.number(&mut directory, file.stream_position().unwrap(), word);
                file.write_all(&data).unwrap();
            }
        }
        self.number(&mut directory, 0, word);
        directory
    }

    fn number(&self, bytes: &mut Vec<u8>, value: u64, size: usize) {
        if self.big_endian {
            bytes.extend(&value.to_be_bytes()[8 - size..]);
        } else {
            bytes.extend(&value.to_le_bytes()[..size]);
        }
    }
}
