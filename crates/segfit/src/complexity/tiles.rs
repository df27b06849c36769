//! Cutting an image into the tiles that a patch-trained network sees.

use crate::data::{Image, Mask, Sample};

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
    let rows = starts(sample.image.height, size);
    let columns = starts(sample.image.width, size);
    if rows.len() == 1 && columns.len() == 1 {
        return vec![sample.clone()];
    }
    rows.iter().flat_map(|&y| columns.iter().map(move |&x| tile(sample, y, x, size))).collect()
}

/// The name of the sample that a tile was cut from: `a` for `a@0,128`. Other names are returned as they are.
pub(super) fn whole(name: &str) -> &str {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let is_tile = |place: &str| place.split_once(',').is_some_and(|(y, x)| digits(y) && digits(x));
    name.rsplit_once('@').filter(|(_, place)| is_tile(place)).map_or(name, |(whole, _)| whole)
}

fn starts(length: usize, size: usize) -> Vec<usize> {
    let size = size.clamp(1, length.max(1));
    (0..length.div_ceil(size)).map(|i| (i * size).min(length - size)).collect()
}

fn tile(sample: &Sample, y: usize, x: usize, size: usize) -> Sample {
    let (h, w) = (sample.image.height, sample.image.width);
    let (height, width) = (size.min(h), size.min(w));
    let planes = (0..sample.image.channels).flat_map(|c| cut(sample.image.plane(c), w, y, x, height, width));
    Sample {
        name: format!("{}@{y},{x}", sample.name),
        image: Image { channels: sample.image.channels, height, width, data: planes.collect() },
        mask: Mask { height, width, data: cut(&sample.mask.data, w, y, x, height, width) },
        instances: sample.instances.as_ref().map(|labels| cut(labels, w, y, x, height, width)),
    }
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
        assert!(all.iter().all(|t| whole(&t.name) == "s"));
        assert_eq!((whole("s@b"), whole("s@1,"), whole("a@b@1,2")), ("s@b", "s@1,", "a@b"));
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
