//! Cutting an image into the tiles that a patch-trained network sees.

use super::image::{Image, Mask, Sample};

/// The tiles of `size` x `size` that cover a sample, row by row.
///
/// A grid without overlap from the upper left corner; the last row and column of tiles are shifted inwards so that they
/// end at the image's edge. A side shorter than `size` is kept whole, so that tiles of small images are smaller. Tiles are
/// named `NAME@Y,X` after their first row and column; a sample that is a single tile keeps its name.
///
/// ```
/// use segfit::data::{Image, Mask, Sample};
/// let sample = Sample {
///     name: "a".into(), image: Image::filled(1, 5, 4, 0.5), mask: Mask::background(5, 4), instances: None,
/// };
/// let names: Vec<String> = segfit::complexity::tiles(&sample, 4).into_iter().map(|t| t.name).collect();
/// assert_eq!(names, ["a@0,0", "a@1,0"]);
/// ```
#[must_use]
pub fn tiles(sample: &Sample, size: usize) -> Vec<Sample> {
    let grid = Grid::new((sample.image.height, sample.image.width), size);
    if grid.is_single() {
        return vec![sample.clone()];
    }
    grid.places().map(|at| grid.tile(sample, at)).collect()
}

/// Where the tiles of an image lie.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    /// First rows, ascending.
    pub rows: Vec<usize>,
    /// First columns, ascending.
    pub columns: Vec<usize>,
    /// Rows of a tile.
    pub height: usize,
    /// Columns of a tile.
    pub width: usize,
}

impl Grid {
    /// The tiles of `size` x `size` in an image of `from` = (rows, columns) pixels.
    pub fn new(from: (usize, usize), size: usize) -> Self {
        Self {
            rows: starts(from.0, size),
            columns: starts(from.1, size),
            height: size.min(from.0),
            width: size.min(from.1),
        }
    }

    /// Whether there is one tile only, the image itself.
    pub fn is_single(&self) -> bool {
        self.rows.len() == 1 && self.columns.len() == 1
    }

    /// First row and column of each tile, in order.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rows.iter().flat_map(|&y| self.columns.iter().map(move |&x| (y, x)))
    }

    /// The name of the tile at (row, column) of an image.
    pub fn name(&self, image: &str, (y, x): (usize, usize)) -> String {
        if self.is_single() { image.to_string() } else { format!("{image}@{y},{x}") }
    }

    /// The tile at (row, column).
    pub fn tile(&self, sample: &Sample, (y, x): (usize, usize)) -> Sample {
        let w = sample.image.width;
        let Self { height, width, .. } = *self;
        let planes = (0..sample.image.channels).flat_map(|c| cut(sample.image.plane(c), w, y, x, height, width));
        Sample {
            name: self.name(&sample.name, (y, x)),
            image: Image { channels: sample.image.channels, height, width, data: planes.collect() },
            mask: Mask { height, width, data: cut(&sample.mask.data, w, y, x, height, width) },
            instances: sample.instances.as_ref().map(|labels| cut(labels, w, y, x, height, width)),
        }
    }
}

fn starts(length: usize, size: usize) -> Vec<usize> {
    let size = size.clamp(1, length.max(1));
    (0..length.div_ceil(size)).map(|i| (i * size).min(length - size)).collect()
}

fn cut<T: Copy>(plane: &[T], stride: usize, y: usize, x: usize, height: usize, width: usize) -> Vec<T> {
    (y..y + height).flat_map(|r| plane[r * stride + x..r * stride + x + width].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tile_is_shifted_inwards_and_channels_stay_apart() {
        let data: Vec<f32> = (0..2 * 15).map(|i| i as f32).collect();
        let sample = Sample {
            name: "s".into(),
            image: Image { channels: 2, height: 3, width: 5, data },
            mask: Mask { height: 3, width: 5, data: (0..15).collect() },
            instances: Some((100..115).collect()),
        };
        let all = tiles(&sample, 3);
        assert_eq!(all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["s@0,0", "s@0,2"]);
        assert_eq!(all[1].mask.data, [2, 3, 4, 7, 8, 9, 12, 13, 14]);
        assert_eq!(all[1].image.plane(1)[0], 17.0);
        assert_eq!(all[1].instances.as_ref().unwrap()[8], 114);
    }

    #[test]
    fn an_image_smaller_than_a_tile_is_kept_whole() {
        let sample = Sample {
            name: "s".into(),
            image: Image::filled(1, 3, 9, 0.0),
            mask: Mask::background(3, 9),
            instances: None,
        };
        let all = tiles(&sample, 4);
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|t| (t.image.height, t.image.width) == (3, 4)));
        assert_eq!(tiles(&sample, 9)[0].name, "s");
    }
}
