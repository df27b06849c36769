//! Spectral slope: how fast the power falls from coarse to fine.

use super::frequency::PowerSpectrum;
use super::line::fitted_slope;
use super::{Measure, Pyramid, pyramid};

pub(super) const SPECTRAL_SLOPE: Measure = Measure {
    name: "spectral_slope",
    unit: "exponent of the frequency",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.power().and_then(slope_of),
};

/// The lowest ring: the window spreads what lies below into the first.
const FIRST_RING: usize = 2;

/// Exponent a of the power law P ~ f^a that fits the radial power spectrum. Larger (nearer to 0) is finer, hence more
/// complex.
///
/// The power spectrum is that of [`spectrum`](super::spectrum) (mean removed, Hann window). With n the smaller side, ring k
/// holds the frequencies whose radius is nearest to k / n cycles per pixel, and P is its mean power. a is the slope of the
/// least-squares line through (log f, log P) of the rings 2 to n / 2. 0 for white noise, about -2 to -3 for photographs
/// (-3 for a single straight edge). `gray` has `height * width` values. `None` below 8 x 8, for a constant image, and when
/// fewer than three rings hold power.
///
/// ```
/// let mut gray = vec![0.0; 256];
/// gray[8 * 16 + 8] = 1.0; // a point has all frequencies alike, but for the image's mean
/// let slope = segfit::complexity::spectral_slope(&gray, 16, 16).unwrap();
/// assert!(slope.abs() < 0.2);
/// ```
///
/// Source: Field, Relations between the statistics of natural images and the response properties of cortical cells, 1987.
#[must_use]
pub fn spectral_slope(gray: &[f32], height: usize, width: usize) -> Option<f64> {
    slope_of(&PowerSpectrum::of(gray, height, width)?)
}

pub(super) fn slope_of(spectrum: &PowerSpectrum) -> Option<f64> {
    let n = spectrum.height.min(spectrum.width);
    let rings = spectrum.rings();
    let ring = |k: usize| {
        let (sum, count) = rings[k];
        (sum > 0.0).then(|| ((k as f64 / n as f64).ln(), (sum / count).ln()))
    };
    fitted_slope(&(FIRST_RING..=n / 2).filter_map(ring).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_noise_is_flat() {
        let mut s = crate::random::Stream::new(&[1]);
        let gray: Vec<f32> = (0..128 * 128).map(|_| s.unit()).collect();
        let slope = spectral_slope(&gray, 128, 128).unwrap();
        assert!(slope.abs() < 0.1, "{slope}");
    }

    #[test]
    fn a_straight_edge_falls_with_the_third_power() {
        // 1 / f^2 along one axis only; the ring's length adds another 1 / f.
        let gray: Vec<f32> = (0..128 * 128).map(|i| if i % 128 < 64 { 0.2 } else { 0.8 }).collect();
        let slope = spectral_slope(&gray, 128, 128).unwrap();
        assert!((slope + 3.0).abs() < 0.3, "{slope}");
    }

    #[test]
    fn contrast_does_not_matter_and_a_constant_image_has_no_slope() {
        let gray: Vec<f32> = (0..32 * 32).map(|i| ((i * i) % 97) as f32 / 97.0).collect();
        let faint: Vec<f32> = gray.iter().map(|v| 0.3 + 0.25 * v).collect();
        let (a, b) = (spectral_slope(&gray, 32, 32).unwrap(), spectral_slope(&faint, 32, 32).unwrap());
        assert!((a - b).abs() < 1e-4, "{a} {b}");
        assert_eq!(spectral_slope(&[0.5; 1024], 32, 32), None);
        assert_eq!(spectral_slope(&[0.5; 49], 7, 7), None);
    }
}
