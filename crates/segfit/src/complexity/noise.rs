//! Noise: what of the image's fine detail is no structure.

use std::f64::consts::FRAC_PI_2;

use super::{Measure, Pyramid, pyramid, sobel_magnitude};

/// Share of the pixels, those of the steepest gradient, that are left out as edges.
const EDGES: f64 = 0.1;

pub(super) const NOISE: Measure = Measure {
    name: "noise",
    unit: "gray levels (0 to 255)",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| estimate(&l.gray, l.gradient(), l.height, l.width)),
};

/// Standard deviation of additive Gaussian noise, in 8-bit gray levels. Larger is noisier.
///
/// sigma = 255 sqrt(pi / 2) / (6 n) times the sum of |f * N| over n interior pixels, with N = [1 -2 1; -2 4 -2; 1 -2 1]: all but
/// the tenth with the steepest Sobel gradient (and none that is as steep as the flattest of the others). N is zero on
/// constant, linear and quadratic surfaces and on horizontal and vertical edges; under independent noise of deviation sigma
/// its output has deviation 6 sigma. It is orthogonal to both Sobel kernels, so that noise alone reads the same with and
/// without the pixels left out. Fine texture still counts: an upper bound on textured images. A large value beside a high
/// `entropy`, `png` or `spectral_slope` says that these count noise. `gray` has `height * width` values, nominally 0..1.
/// `None` below 3 x 3.
///
/// ```
/// let mut gray = [0.0; 9];
/// gray[4] = 1.0; // |f * N| = 4
/// let sigma = segfit::complexity::noise_estimate(&gray, 3, 3).unwrap();
/// assert!((sigma - 255.0 * 4.0 / 6.0 * 1.2533141).abs() < 1e-3);
/// ```
///
/// Source: Immerkaer, Fast noise variance estimation, Computer Vision and Image Understanding 64(2), 1996; without
/// edges: Tai and Yang, A fast method for image noise estimation using Laplacian operator and adaptive edge detection,
/// ISCCSP 2008.
#[must_use]
pub fn noise_estimate(gray: &[f32], height: usize, width: usize) -> Option<f64> {
    if height < 3 || width < 3 || gray.len() != height * width {
        return None;
    }
    estimate(gray, &sobel_magnitude(gray, height, width), height, width)
}

/// [`noise_estimate`], with the gradient of the interior pixels.
fn estimate(gray: &[f32], gradient: &[f32], height: usize, width: usize) -> Option<f64> {
    if height < 3 || width < 3 || gray.len() != height * width {
        return None;
    }
    let steepest = steepest_kept(gradient);
    let (mut sum, mut n) = (0.0, 0_usize);
    let mut curvature = vec![0.0; width];
    for y in 1..height - 1 {
        let row = |y: usize| &gray[y * width..(y + 1) * width];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        for (x, c) in curvature.iter_mut().enumerate() {
            *c = f64::from(above[x]) - 2.0 * f64::from(here[x]) + f64::from(below[x]);
        }
        let gradient = &gradient[(y - 1) * (width - 2)..y * (width - 2)];
        for (c, &g) in curvature.windows(3).zip(gradient) {
            let is_kept = g <= steepest;
            sum += if is_kept { (c[0] - 2.0 * c[1] + c[2]).abs() } else { 0.0 };
            n += usize::from(is_kept);
        }
    }
    Some(255.0 * FRAC_PI_2.sqrt() * sum / (6.0 * n as f64))
}

/// The largest gradient of the pixels that are not edges.
fn steepest_kept(gradient: &[f32]) -> f32 {
    let left_out = (gradient.len() as f64 * EDGES) as usize;
    let last = gradient.len() - 1 - left_out;
    *gradient.to_vec().select_nth_unstable_by(last, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn known_noise_is_found_on_a_plane_with_an_edge() {
        let mut s = Stream::new(&[5]);
        for sigma in [2.0_f32, 10.0] {
            let clean = |i: usize| 0.3 + 0.001 * (i / 128) as f32 + if i % 128 < 50 { 0.0 } else { 0.3 };
            let gray: Vec<f32> = (0..128 * 128).map(|i| clean(i) + sigma / 255.0 * s.normal()).collect();
            let found = noise_estimate(&gray, 128, 128).unwrap();
            assert!((found / f64::from(sigma) - 1.0).abs() < 0.03, "{found} for {sigma}");
        }
    }

    #[test]
    fn oblique_edges_of_a_tenth_of_the_pixels_are_no_noise() {
        let ramp = |i: usize| ((i / 128 + i % 128) as f32 - 120.0).clamp(0.0, 6.0) / 6.0; // 7% of the pixels
        let of = |sigma: f32| {
            let mut s = Stream::new(&[6]);
            let gray: Vec<f32> = (0..128 * 128).map(|i| ramp(i) + sigma / 255.0 * s.normal()).collect();
            noise_estimate(&gray, 128, 128).unwrap()
        };
        assert_eq!(of(0.0), 0.0);
        assert!((of(5.0) / 5.0 - 1.0).abs() < 0.03, "{}", of(5.0));
    }

    #[test]
    fn straight_edges_and_smooth_surfaces_are_no_noise() {
        let of = |f: fn(f32, f32) -> f32| {
            let gray: Vec<f32> = (0..256).map(|i| f((i / 16) as f32, (i % 16) as f32)).collect();
            noise_estimate(&gray, 16, 16).unwrap()
        };
        assert_eq!(of(|_, _| 0.4), 0.0);
        assert_eq!(of(|_, x| if x < 8.0 { 0.25 } else { 0.75 }), 0.0, "an edge");
        assert_eq!(of(|y, x| (y * y + x * x + 3.0 * x) / 512.0), 0.0, "a paraboloid");
        // A checkerboard is taken for noise: |f * N| = 8 at every pixel.
        assert!((of(|y, x| (y + x) % 2.0) - 255.0 * 8.0 / 6.0 * FRAC_PI_2.sqrt()).abs() < 1e-9);
        assert_eq!(noise_estimate(&[0.0; 10], 2, 5), None);
    }
}
