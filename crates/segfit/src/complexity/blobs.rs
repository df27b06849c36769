//! Blob density: how much of the image the objects would fill if they were convex.

use super::objects::{Object, objects_of};
use super::otsu::otsu_threshold;
use super::{Level, Measure, Pyramid, pyramid};

pub(super) const BLOB_DENSITY: Measure = Measure {
    name: "blob_density",
    unit: "share of the image",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).map(|l| blob_density(l.objects(), l.height * l.width)),
};

pub(super) const IMAGE_BLOB_DENSITY: Measure = Measure {
    name: "image_blob_density",
    unit: "share of the image",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l: &Level| image_blob_density(&l.bytes, l.height, l.width)),
};

/// Convex-area density of a mask: the sum of its objects' convex areas / the image's area. Larger is more complex (by
/// CC-Net's ordering).
///
/// 0 without objects; above the foreground fraction when objects are not convex; may exceed 1 where hulls overlap.
/// `pixels` is height * width.
///
/// ```
/// use segfit::complexity::{blob_density, objects_of};
/// // A U of nine pixels: its hull has 15 of the 20 pixels.
/// let mask = [1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
/// assert_eq!(blob_density(&objects_of(&mask, 4, 5), 20), 0.75);
/// ```
///
/// Source: the definition is ours; it stands for the second complexity B of CC-Net, whose formula is not public.
#[must_use]
pub fn blob_density(objects: &[Object], pixels: usize) -> f64 {
    objects.iter().map(|o| o.convex_area).sum::<u64>() as f64 / pixels.max(1) as f64
}

/// [`blob_density`] of the image itself, without a mask: objects are the 8-connected components of the Otsu foreground.
///
/// The foreground is the side of Otsu's threshold with fewer pixels; of equal sides the brighter. `gray` has
/// `height * width` values of 8 bits. `None` for a constant image.
#[must_use]
pub fn image_blob_density(gray: &[u8], height: usize, width: usize) -> Option<f64> {
    let threshold = otsu_threshold(gray)?;
    // Up to 255 pixels are counted in a byte.
    let counts = gray.chunks(255).map(|part| part.iter().map(|&v| u8::from(v >= threshold)).sum::<u8>());
    let bright = counts.map(usize::from).sum::<usize>();
    let take_bright = 2 * bright <= gray.len();
    let classes: Vec<u8> = gray.iter().map(|&v| u8::from((v >= threshold) == take_bright)).collect();
    Some(blob_density(&objects_of(&classes, height, width), gray.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_side_of_the_image_is_the_object_whether_bright_or_dark() {
        // A ring of 16 pixels around nine, in a field of 7 x 7: the hull has 25.
        let ring = |i: usize| {
            let (y, x) = (i / 7, i % 7);
            let inside = (1..6).contains(&y) && (1..6).contains(&x);
            inside && (y == 1 || y == 5 || x == 1 || x == 5)
        };
        let bright: Vec<u8> = (0..49).map(|i| if ring(i) { 200 } else { 10 }).collect();
        let dark: Vec<u8> = (0..49).map(|i| if ring(i) { 10 } else { 200 }).collect();
        assert_eq!(image_blob_density(&bright, 7, 7), Some(25.0 / 49.0));
        assert_eq!(image_blob_density(&dark, 7, 7), Some(25.0 / 49.0));
        assert_eq!(image_blob_density(&[5; 49], 7, 7), None);
    }

    #[test]
    fn no_objects_have_density_zero() {
        assert_eq!(blob_density(&[], 49), 0.0);
    }
}
