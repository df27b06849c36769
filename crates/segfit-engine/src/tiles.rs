//! Overlapping tiles: an image of any size by a network that sees a piece at a time.

use std::ops::Range;

use segfit::data::Image;

use crate::error::{Error, Result};

/// The probabilities of an image larger than a tile.
///
/// # Errors
/// What `run` returns.
pub(crate) fn in_tiles(image: &Image, tile: usize, run: &mut dyn FnMut(&Image) -> Result<Image>) -> Result<Image> {
    let (height, width) = (image.height, image.width);
    let mut all = Image { channels: 0, height, width, data: Vec::new() };
    let mut done = 0;
    let mut rows = |rows: Range<usize>| Ok(cut(image, rows.start, 0, rows.len(), width));
    tiles_by_rows::<Error>((height, width), tile, &mut rows, run, &mut |band| {
        all.channels = band.channels;
        all.data.resize(band.channels * height * width, 0.0);
        for c in 0..band.channels {
            let at = (c * height + done) * width;
            all.data[at..at + band.height * width].copy_from_slice(band.plane(c));
        }
        done += band.height;
        Ok(())
    })?;
    Ok(all)
}

/// Probabilities of an image of which a band of rows is held at a time.
///
/// Tiles overlap by half; each pixel is the mean of its tiles, weighted by the distance to the tile's edge. `rows` gives rows
/// of the image, `done` gets bands of rows of the result in order.
///
/// # Errors
/// What the three return.
pub(crate) fn tiles_by_rows<E: From<Error>>(
    (height, width): (usize, usize),
    tile: usize,
    rows: &mut dyn FnMut(Range<usize>) -> Result<Image>,
    run: &mut dyn FnMut(&Image) -> Result<Image>,
    done: &mut dyn FnMut(Image) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let (th, tw) = (tile.min(height), tile.min(width));
    let tops = starts(height, th);
    let mut sums = BandSums::new(th, width);
    for (i, &top) in tops.iter().enumerate() {
        let band = rows(top..top + th)?;
        for left in starts(width, tw) {
            sums.add(left, &run(&cut(&band, 0, left, th, tw))?);
        }
        let complete = tops.get(i + 1).map_or(th, |next| next - top);
        done(sums.take(complete))?;
    }
    Ok(())
}

/// Weighted sums of the tiles that touch a band of rows.
struct BandSums {
    height: usize,
    width: usize,
    /// Of each class, row by row.
    sums: Vec<Vec<f32>>,
    weights: Vec<f32>,
}

impl BandSums {
    fn new(height: usize, width: usize) -> Self {
        Self { height, width, sums: Vec::new(), weights: vec![0.0; height * width] }
    }

    /// Adds a tile as high as the band.
    fn add(&mut self, left: usize, tile: &Image) {
        self.sums.resize(tile.channels, vec![0.0; self.height * self.width]);
        for y in 0..tile.height {
            for x in 0..tile.width {
                let w = edge_weight(y, tile.height) * edge_weight(x, tile.width);
                let at = y * self.width + left + x;
                self.weights[at] += w;
                for (c, sum) in self.sums.iter_mut().enumerate() {
                    sum[at] += w * tile.data[(c * tile.height + y) * tile.width + x];
                }
            }
        }
    }

    /// The means of the first rows, after which the band moves on by as many.
    fn take(&mut self, rows: usize) -> Image {
        let n = rows * self.width;
        let mut data = Vec::with_capacity(self.sums.len() * n);
        for sum in &mut self.sums {
            data.extend(sum[..n].iter().zip(&self.weights).map(|(sum, weight)| sum / weight));
            move_up(sum, n);
        }
        move_up(&mut self.weights, n);
        Image { channels: self.sums.len(), height: rows, width: self.width, data }
    }
}

/// Drops the first values and adds as many zeros.
fn move_up(values: &mut [f32], n: usize) {
    values.copy_within(n.., 0);
    let kept = values.len() - n;
    values[kept..].fill(0.0);
}

/// Tile starts that cover `n` pixels with tiles of `tile`, overlapping by half, the last one at the end.
fn starts(n: usize, tile: usize) -> Vec<usize> {
    let step = (tile / 2).max(1);
    let mut all: Vec<usize> = (0..).map(|i| i * step).take_while(|s| s + tile < n).collect();
    all.push(n - tile);
    all
}

fn edge_weight(position: usize, n: usize) -> f32 {
    (position + 1).min(n - position) as f32
}

/// A part of an image.
pub(crate) fn cut(image: &Image, top: usize, left: usize, height: usize, width: usize) -> Image {
    let mut out = Image::filled(image.channels, height, width, 0.0);
    for c in 0..image.channels {
        for y in 0..height {
            let from = (top + y) * image.width + left;
            let to = (c * height + y) * width;
            out.data[to..to + width].copy_from_slice(&image.plane(c)[from..from + width]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything() {
        assert_eq!(starts(10, 4), [0, 2, 4, 6]);
        assert_eq!(starts(4, 4), [0]);
        assert_eq!(starts(9, 4), [0, 2, 4, 5]);
    }
}
