//! Spatial information: the strength of the image's gradients.

use super::{Measure, Pyramid, pyramid};

pub(super) const SI_MEAN: Measure = Measure {
    name: "si_mean",
    unit: "gray levels (0 to 255)",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| spatial_information_mean(l.gradient())),
};

pub(super) const SI_RMS: Measure = Measure {
    name: "si_rms",
    unit: "gray levels (0 to 255)",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| spatial_information_rms(l.gradient())),
};

/// Mean of the Sobel magnitude over the interior pixels, in 8-bit gray levels. Larger is more complex.
///
/// `gradient` is [`sobel_magnitude`](super::sobel_magnitude) of an image with values 0..1; the result is multiplied by 255.
/// `None` for an empty gradient.
///
/// ```
/// assert_eq!(segfit::complexity::spatial_information_mean(&[0.0, 1.0]), Some(127.5));
/// ```
///
/// Source: SI_mean of Yu and Winkler, Image complexity and spatial information, QoMEX 2013.
#[must_use]
pub fn spatial_information_mean(gradient: &[f32]) -> Option<f64> {
    let sum: f64 = gradient.iter().map(|&g| f64::from(g)).sum();
    (!gradient.is_empty()).then(|| 255.0 * sum / gradient.len() as f64)
}

/// Root mean square of the Sobel magnitude over the interior pixels, in 8-bit gray levels. Larger is more complex.
///
/// ITU-T P.910 takes the standard deviation instead: SI^2 = rms^2 - mean^2. Argument and `None` as
/// [`spatial_information_mean`].
///
/// Source: SI_rms of Yu and Winkler 2013.
#[must_use]
pub fn spatial_information_rms(gradient: &[f32]) -> Option<f64> {
    let sum: f64 = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    (!gradient.is_empty()).then(|| 255.0 * (sum / gradient.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::sobel_magnitude;

    #[test]
    fn a_ramp_of_one_gray_level_per_pixel_has_eight() {
        let ramp: Vec<f32> = (0..64).map(|i| (i % 8) as f32 / 255.0).collect();
        let g = sobel_magnitude(&ramp, 8, 8);
        assert!((spatial_information_mean(&g).unwrap() - 8.0).abs() < 1e-4);
        assert!((spatial_information_rms(&g).unwrap() - 8.0).abs() < 1e-4);
        assert_eq!(spatial_information_mean(&[]), None);
    }

    #[test]
    fn the_rms_weighs_strong_edges_more_than_the_mean() {
        let g = [0.0, 0.0, 0.0, 1.0];
        assert_eq!(spatial_information_mean(&g), Some(63.75));
        assert_eq!(spatial_information_rms(&g), Some(127.5));
    }
}
