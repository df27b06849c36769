//! Noise: what of the image's fine detail is no structure.

use std::f64::consts::FRAC_PI_2;

use super::{Measure, Pyramid, pyramid};

pub(super) const NOISE: Measure = Measure {
    name: "noise",
    unit: "gray levels (0 to 255)",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| noise_estimate(&l.gray, l.height, l.width)),
};

/// Standard deviation of additive Gaussian noise, in 8-bit gray levels. Larger is noisier.
///
/// sigma = 255 sqrt(pi / 2) / (6 n) times the sum over the n interior pixels of |f * N|, with
/// N = [1 -2 1; -2 4 -2; 1 -2 1]. N is zero on constant, linear and quadratic surfaces and on horizontal and vertical edges;
/// under independent noise of deviation sigma its output has deviation 6 sigma. Oblique edges and fine texture still
/// count: an upper bound on textured images. A large value beside a high `entropy`, `png` or `spectral_slope` says that
/// these count noise. `gray` has `height * width` values, nominally 0..1. `None` below 3 x 3.
///
/// ```
/// let mut gray = [0.0; 9];
/// gray[4] = 1.0; // |f * N| = 4
/// let sigma = segfit::complexity::noise_estimate(&gray, 3, 3).unwrap();
/// assert!((sigma - 255.0 * 4.0 / 6.0 * 1.2533141).abs() < 1e-3);
/// ```
///
/// Source: Immerkaer, Fast noise variance estimation, Computer Vision and Image Understanding 64(2), 1996.
#[must_use]
pub fn noise_estimate(gray: &[f32], height: usize, width: usize) -> Option<f64> {
    if height < 3 || width < 3 || gray.len() != height * width {
        return None;
    }
    let mut sum = 0.0;
    let mut curvature = vec![0.0; width];
    for y in 1..height - 1 {
        let row = |y: usize| &gray[y * width..(y + 1) * width];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        for (x, c) in curvature.iter_mut().enumerate() {
            *c = f64::from(above[x]) - 2.0 * f64::from(here[x]) + f64::from(below[x]);
        }
        sum += curvature.windows(3).map(|c| (c[0] - 2.0 * c[1] + c[2]).abs()).sum::<f64>();
    }
    let n = ((height - 2) * (width - 2)) as f64;
    Some(255.0 * FRAC_PI_2.sqrt() * sum / (6.0 * n))
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
