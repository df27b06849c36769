//! The Sobel gradient, shared by edge density and spatial information.

/// Magnitude of the Sobel gradient at the interior pixels, in image units; `(height - 2) * (width - 2)` values.
///
/// sqrt(gx^2 + gy^2) with the kernels [-1 0 1; -2 0 2; -1 0 1] and its transpose, not normalised: a ramp that rises by d
/// per pixel has magnitude 8 d. Border pixels have no value. Empty below 3 x 3.
///
/// ```
/// let ramp: Vec<f32> = (0..9).map(|i| (i % 3) as f32).collect();
/// assert_eq!(segfit::complexity::sobel_magnitude(&ramp, 3, 3), vec![8.0]);
/// ```
#[must_use]
pub fn sobel_magnitude(gray: &[f32], height: usize, width: usize) -> Vec<f32> {
    if height < 3 || width < 3 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity((height - 2) * (width - 2));
    for y in 0..height - 2 {
        let row = |r: usize| &gray[(y + r) * width..(y + r + 1) * width];
        let (a, b, c) = (row(0), row(1), row(2));
        out.extend((0..width - 2).map(|x| {
            let gx = (a[x + 2] - a[x]) + 2.0 * (b[x + 2] - b[x]) + (c[x + 2] - c[x]);
            let gy = (c[x] - a[x]) + 2.0 * (c[x + 1] - a[x + 1]) + (c[x + 2] - a[x + 2]);
            (gx * gx + gy * gy).sqrt()
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_gives_the_kernels_entries() {
        let mut gray = vec![0.0; 25];
        gray[12] = 1.0;
        let m = sobel_magnitude(&gray, 5, 5);
        let r = 2.0_f32.sqrt();
        assert_eq!(m, vec![r, 2.0, r, 2.0, 0.0, 2.0, r, 2.0, r]);
    }

    #[test]
    fn too_small_an_image_has_no_gradient() {
        assert!(sobel_magnitude(&[0.0; 10], 2, 5).is_empty());
    }
}
