//! Resizing an image of which only a band of rows is in memory: equal to `resize_image` and `resize_mask`.

use fast_image_resize::Resizer;

use super::image::Image;
use super::raster::Raster;
use super::resize::{nearest_index, range_of, resample};
use super::rows::Rows;
use crate::error::Result as OrError;

/// Values of a band that are converted at a time.
const BAND_VALUES: usize = 1 << 20;

/// The image of a file at another size, as [`resize_image`](super::resize_image) makes it of the whole.
///
/// Rows are resampled across as they come; their weighted sums are the columns.
///
/// # Errors
/// As [`Rows::rows`], and [`Error::Content`](crate::Error::Content) for values that are not finite.
pub(crate) fn resize_rows(rows: &mut Rows, to: (usize, usize)) -> OrError<Image> {
    let (height, width) = rows.size();
    let step = (BAND_VALUES / (width * rows.image_channels())).max(1);
    let mut sums = RowSums::new(rows.image_channels(), (height, width), to);
    for y in (0..height).step_by(step) {
        sums.push(&rows.image_rows(y..height.min(y + step))?.to_image());
    }
    Ok(sums.finish())
}

/// A mask's file at another size, by the rule of [`resize_mask`](super::resize_mask); needless rows are not read.
///
/// # Errors
/// As [`Rows::rows`].
pub(crate) fn nearest_rows(rows: &mut Rows, to: (usize, usize)) -> OrError<Raster> {
    let (height, width) = rows.size();
    let columns: Vec<usize> = (0..to.1).map(|x| nearest_index(x, width, to.1)).collect();
    let mut row = |y: usize| -> OrError<Raster> {
        let at = nearest_index(y, height, to.0);
        Ok(rows.rows(at..at + 1)?.picked(&columns))
    };
    let mut all = row(0)?;
    for y in 1..to.0 {
        all.append(&row(y)?);
    }
    Ok(all)
}

/// An image at another size, row by row, as [`resize_image`](super::resize_image) makes it, within 1e-6 of its range: of the result
/// no more than a row is held, with the planes of the image widened to its columns.
///
/// `each` gets the number of a row and its values, `[channels][columns]`.
///
/// # Errors
/// The first error of `each`.
///
/// # Panics
/// When the image or the result is empty.
pub fn each_resized_row<E>(
    image: &Image,
    height: usize,
    width: usize,
    mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    assert!(height > 0 && width > 0, "an image of {width} x {height} pixels cannot be made");
    let mut resizer = Resizer::new();
    let wide = |c: usize| -> Vec<f32> {
        resample(&mut resizer, image.plane(c), (image.height, image.width), (image.height, width)).collect()
    };
    let planes: Vec<Vec<f32>> = (0..image.channels).map(wide).collect();
    let mut row = vec![0.0_f32; image.channels * width];
    for (y, weights) in weights(image.height, height).iter().enumerate() {
        for (c, plane) in planes.iter().enumerate() {
            for (x, value) in row[c * width..(c + 1) * width].iter_mut().enumerate() {
                let at = |i: usize| f64::from(plane[(weights.first + i) * width + x]);
                *value = weights.values.iter().enumerate().map(|(i, w)| w * at(i)).sum::<f64>() as f32;
            }
        }
        each(y, &row)?;
    }
    Ok(())
}

/// An image at another size, of which the rows come in ascending order.
struct RowSums {
    channels: usize,
    from: (usize, usize),
    to: (usize, usize),
    weights: Vec<Weights>,
    /// `channels * to.0 * to.1` sums.
    sums: Vec<f64>,
    /// Least and greatest value of each channel.
    ranges: Vec<(f32, f32)>,
    resizer: Resizer,
    /// The row that comes next.
    next: usize,
    /// The first row of the result that is not complete.
    open: usize,
}

impl RowSums {
    fn new(channels: usize, from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            channels,
            from,
            to,
            weights: weights(from.0, to.0),
            sums: vec![0.0; channels * to.0 * to.1],
            ranges: vec![(f32::INFINITY, f32::NEG_INFINITY); channels],
            resizer: Resizer::new(),
            next: 0,
            open: 0,
        }
    }

    /// Adds the rows that follow.
    fn push(&mut self, band: &Image) {
        let open = self.open;
        for c in 0..self.channels {
            let plane = band.plane(c);
            let ((low, high), (l, h)) = (self.ranges[c], range_of(plane));
            self.ranges[c] = (low.min(l), high.max(h));
            let narrow: Vec<f32> =
                resample(&mut self.resizer, plane, (band.height, self.from.1), (band.height, self.to.1)).collect();
            self.open = open;
            for (i, row) in narrow.chunks_exact(self.to.1).enumerate() {
                self.add(c, self.next + i, row);
            }
        }
        self.next += band.height;
    }

    /// Adds row `y` of a channel to all rows of the result that it touches.
    fn add(&mut self, channel: usize, y: usize, row: &[f32]) {
        let width = self.to.1;
        while self.weights.get(self.open).is_some_and(|w| w.first + w.values.len() <= y) {
            self.open += 1;
        }
        for (i, weights) in self.weights.iter().enumerate().skip(self.open).take_while(|(_, w)| w.first <= y) {
            let Some(&weight) = weights.values.get(y - weights.first) else { continue };
            let at = (channel * self.to.0 + i) * width;
            for (sum, value) in self.sums[at..at + width].iter_mut().zip(row) {
                *sum += f64::from(*value) * weight;
            }
        }
    }

    fn finish(self) -> Image {
        let (height, width) = self.to;
        let planes = self.sums.chunks_exact(height * width).zip(&self.ranges);
        let data = planes.flat_map(|(sums, &(low, high))| sums.iter().map(move |&v| (v as f32).clamp(low, high)));
        Image { channels: self.channels, height, width, data: data.collect() }
    }
}

/// The rows that make one row of the result, and their weights.
struct Weights {
    first: usize,
    values: Vec<f64>,
}

/// The triangle filter, widened by the scale when the image shrinks: max(0, 1 - |distance| / max(1, scale)) between pixel
/// centres, normalised to a sum of 1.
fn weights(from: usize, to: usize) -> Vec<Weights> {
    let scale = from as f64 / to as f64;
    let radius = scale.max(1.0);
    let one = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - radius).floor().max(0.0) as usize;
        let last = ((centre + radius).ceil() as usize).min(from);
        let weight = |y: usize| (1.0 - ((y as f64 - (centre - 0.5)) * (1.0 / radius)).abs()).max(0.0);
        let total: f64 = (first..last).map(weight).sum();
        Weights { first, values: (first..last).map(|y| weight(y) / total).collect() }
    };
    (0..to).map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::data::resize_image;
    use crate::random::Stream;

    proptest! {
        #[test]
        fn rows_in_any_bands_give_the_image_resized_as_a_whole(
            h in 1usize..60, w in 1usize..50, to in (1usize..70, 1usize..70), channels in 1usize..4, step in 1usize..70
        ) {
            let mut random = Stream::new(&[h as u64, w as u64]);
            let data = (0..channels * h * w).map(|_| random.unit()).collect();
            let image = Image { channels, height: h, width: w, data };
            let mut sums = RowSums::new(channels, (h, w), to);
            for y in (0..h).step_by(step) {
                let rows = y..h.min(y + step);
                let part = |c: usize| image.plane(c)[rows.start * w..rows.end * w].iter().copied();
                let data = (0..channels).flat_map(part).collect();
                sums.push(&Image { channels, height: rows.len(), width: w, data });
            }
            let (made, whole) = (sums.finish(), resize_image(&image, to.0, to.1));
            for (a, b) in made.data.iter().zip(&whole.data) {
                prop_assert!((a - b).abs() <= 1e-6, "{a} {b}");
            }
            prop_assert_eq!((made.height, made.width, made.data.len()), (whole.height, whole.width, whole.data.len()));
            each_resized_row(&image, to.0, to.1, |y, row| {
                for (i, a) in row.iter().enumerate() {
                    let b = whole.plane(i / to.1)[y * to.1 + i % to.1];
                    prop_assert!((a - b).abs() <= 1e-6, "{} {}", a, b);
                }
                Ok(())
            })?;
        }
    }
}
