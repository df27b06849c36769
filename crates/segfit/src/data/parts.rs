//! Parts of decoded pixels: rows, windows, picked columns.

use std::ops::Range;

use super::raster::{Raster, Samples};

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// One sample.
    pub fn number(&self, at: usize) -> f64 {
        match self {
            Self::U8(v) => f64::from(v[at]),
            Self::U16(v) => f64::from(v[at]),
            Self::U32(v) => f64::from(v[at]),
            Self::F32(v) => f64::from(v[at]),
        }
    }

    /// `n` zeros of the same kind.
    pub fn zeros(&self, n: usize) -> Self {
        match self {
            Self::U8(_) => Self::U8(vec![0; n]),
            Self::U16(_) => Self::U16(vec![0; n]),
            Self::U32(_) => Self::U32(vec![0; n]),
            Self::F32(_) => Self::F32(vec![0.0; n]),
        }
    }

    /// Appends runs of other samples of the same kind.
    pub fn append(&mut self, from: &Self, runs: impl Iterator<Item = Range<usize>>) {
        fn copy<T: Copy>(to: &mut Vec<T>, from: &[T], runs: impl Iterator<Item = Range<usize>>) {
            runs.for_each(|run| to.extend_from_slice(&from[run]));
        }
        match (self, from) {
            (Self::U8(to), Self::U8(from)) => copy(to, from, runs),
            (Self::U16(to), Self::U16(from)) => copy(to, from, runs),
            (Self::U32(to), Self::U32(from)) => copy(to, from, runs),
            (Self::F32(to), Self::F32(from)) => copy(to, from, runs),
            _ => unreachable!("the samples of one file are of one kind"),
        }
    }

    /// Writes rows of `row` samples into rows of `stride`, the first at `at`.
    pub fn paste(&mut self, at: usize, stride: usize, from: &Self, row: usize) {
        fn copy<T: Copy>(to: &mut [T], stride: usize, from: &[T], row: usize) {
            for (to, from) in to.chunks_mut(stride).zip(from.chunks_exact(row)) {
                to[..row].copy_from_slice(from);
            }
        }
        match (self, from) {
            (Self::U8(to), Self::U8(from)) => copy(&mut to[at..], stride, from, row),
            (Self::U16(to), Self::U16(from)) => copy(&mut to[at..], stride, from, row),
            (Self::U32(to), Self::U32(from)) => copy(&mut to[at..], stride, from, row),
            (Self::F32(to), Self::F32(from)) => copy(&mut to[at..], stride, from, row),
            _ => unreachable!("the samples of one file are of one kind"),
        }
    }
}

impl Raster {
    /// These rows.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        let stride = self.width * self.channels;
        self.part(rows.len(), self.width, std::iter::once(rows.start * stride..rows.end * stride))
    }

    /// These columns of all rows.
    pub fn columns(&self, columns: Range<usize>) -> Self {
        let n = self.channels;
        let run = |y: usize| (y * self.width + columns.start) * n..(y * self.width + columns.end) * n;
        self.part(self.height, columns.len(), (0..self.height).map(run))
    }

    /// Picked columns of all rows.
    pub fn picked(&self, columns: &[usize]) -> Self {
        let (n, w) = (self.channels, self.width);
        let pixels = (0..self.height).flat_map(|y| columns.iter().map(move |&x| (y * w + x) * n..(y * w + x + 1) * n));
        self.part(self.height, columns.len(), pixels)
    }

    /// Puts the rows of another part of the same file below.
    pub fn append(&mut self, below: &Self) {
        self.samples.append(&below.samples, std::iter::once(0..below.samples.len()));
        self.height += below.height;
    }

    /// Runs of samples as a raster of another size, without notes.
    fn part(&self, height: usize, width: usize, runs: impl Iterator<Item = Range<usize>>) -> Self {
        let mut samples = self.samples.zeros(0);
        samples.reserve(height * width * self.channels);
        samples.append(&self.samples, runs);
        Self { height, width, samples, palette: self.palette.clone(), notes: vec![], ..*self }
    }
}

impl Samples {
    pub fn reserve(&mut self, n: usize) {
        match self {
            Self::U8(v) => v.reserve_exact(n),
            Self::U16(v) => v.reserve_exact(n),
            Self::U32(v) => v.reserve_exact(n),
            Self::F32(v) => v.reserve_exact(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(raster: &Raster) -> Vec<u16> {
        let Samples::U16(v) = &raster.samples else { unreachable!() };
        v.clone()
    }

    #[test]
    fn windows_keep_the_channels_of_a_pixel_together() {
        // 3 rows, 4 columns, 2 channels; the sample at (y, x, c) is 100 y + 10 x + c.
        let data = (0..24).map(|i| 100 * (i / 8) + 10 * (i / 2 % 4) + i % 2).collect();
        let raster = Raster::plain(3, 4, 2, Samples::U16(data));
        let window = raster.rows(1..3).columns(2..4);
        assert_eq!((window.height, window.width), (2, 2));
        assert_eq!(values(&window), [120, 121, 130, 131, 220, 221, 230, 231]);
        let mut picked = raster.rows(2..3).picked(&[3, 0, 0]);
        assert_eq!(values(&picked), [230, 231, 200, 201, 200, 201]);
        picked.append(&raster.rows(0..1).picked(&[1, 1, 1]));
        assert_eq!((picked.height, values(&picked)[6]), (2, 10));
        let mut band = raster.samples.zeros(12);
        band.paste(2, 6, &raster.rows(0..2).columns(0..2).samples, 4);
        assert_eq!(format!("{band:?}"), "U16([0, 0, 0, 1, 10, 11, 0, 0, 100, 101, 110, 111])");
    }
}
