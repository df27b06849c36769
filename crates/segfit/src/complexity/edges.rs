//! Edge density: how much of the image is a visible edge.

use super::{Measure, Pyramid, pyramid};

/// A pixel is an edge when the Sobel magnitude reaches this: a gray value changing by 1/20 of the range per pixel.
pub const EDGE_THRESHOLD: f32 = 0.4;

pub(super) const EDGE: Measure = Measure {
    name: "edge",
    unit: "share of pixels",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| edge_density(l.gradient())),
};

/// Share of the interior pixels whose Sobel magnitude (not normalised, image values 0..1) is at least
/// [`EDGE_THRESHOLD`], in [0, 1]. Larger is more complex.
///
/// There is no thinning and no adaptive threshold: unlike Canny's, the number is a plain count, and an image of low
/// contrast has few edges. `None` for an empty gradient.
///
/// ```
/// assert_eq!(segfit::complexity::edge_density(&[0.0, 0.39, 0.4, 3.0]), Some(0.5));
/// ```
///
/// Source: edge density as an image complexity, Mack and Oliva 2004, with Sobel for Canny.
#[must_use]
pub fn edge_density(gradient: &[f32]) -> Option<f64> {
    let edges = gradient.iter().filter(|&&g| g >= EDGE_THRESHOLD).count();
    (!gradient.is_empty()).then(|| edges as f64 / gradient.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::sobel_magnitude;

    #[test]
    fn a_step_is_two_pixels_wide() {
        // Ten columns, a step between columns 4 and 5: two of the eight interior columns see it.
        let gray: Vec<f32> = (0..100).map(|i| if i % 10 < 5 { 0.2 } else { 0.8 }).collect();
        assert_eq!(edge_density(&sobel_magnitude(&gray, 10, 10)), Some(0.25));
        let faint: Vec<f32> = gray.iter().map(|v| v / 10.0).collect();
        assert_eq!(edge_density(&sobel_magnitude(&faint, 10, 10)), Some(0.0), "4 * 0.06 is below 0.4");
    }
}
