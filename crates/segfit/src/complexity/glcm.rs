//! Texture by the gray-level co-occurrence matrix (GLCM): which gray values are neighbours.

use super::{Measure, Pyramid, pyramid};

pub(super) const CONTRAST: Measure = Measure {
    name: "glcm_contrast",
    unit: "squared levels (of 32)",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.texture().map(|t| t.contrast),
};

pub(super) const HOMOGENEITY: Measure = Measure {
    name: "glcm_homogeneity",
    unit: "share of pairs, by likeness",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.texture().map(|t| t.homogeneity),
};

pub(super) const ENERGY: Measure = Measure {
    name: "glcm_energy",
    unit: "root of summed squared shares",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.texture().map(|t| t.energy),
};

pub(super) const CORRELATION: Measure = Measure {
    name: "glcm_correlation",
    unit: "correlation",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s)?.texture()?.correlation,
};

/// Gray levels of the matrix: 8 of the 256 values each.
const LEVELS: usize = 32;

/// Texture of an image, each the mean over four directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Texture {
    /// Sum of p (i - j)^2, 0 to 961. Larger is more complex.
    pub contrast: f64,
    /// Sum of p / (1 + (i - j)^2), above 0 to 1. Larger is smoother.
    pub homogeneity: f64,
    /// Root of the sum of p^2, above 0 to 1. Larger is more uniform.
    pub energy: f64,
    /// Correlation of i and j, -1 to 1. Larger is smoother. `None` where a direction has a single level.
    pub correlation: Option<f64>,
}

/// The texture of an image by its co-occurrence matrices.
///
/// Gray values are divided by 8 (rounded down) into 32 levels. p(i, j) is the share of pairs of neighbours, at distance 1 in
/// one direction, that have the levels i and j; pairs count both ways, so p is symmetric. There is a matrix for each of
/// 0, 45, 90 and 135 degrees, and each value is the mean of the four. `gray` has `height * width` values of 8 bits. `None`
/// below 2 x 2.
///
/// ```
/// // Horizontal pairs: (0, 16) twice, as the diagonals; vertical pairs: (0, 0) and (16, 16).
/// let t = segfit::complexity::texture(&[0, 128, 0, 128], 2, 2).unwrap();
/// assert_eq!(t.contrast, 0.75 * 256.0);
/// assert_eq!(t.correlation, Some(-0.5), "-1 three times and 1 once");
/// ```
///
/// Source: Haralick, Shanmugam, Dinstein, Textural features for image classification, 1973; names and formulas as
/// `skimage.feature.graycoprops`.
#[must_use]
pub fn texture(gray: &[u8], height: usize, width: usize) -> Option<Texture> {
    if height < 2 || width < 2 || gray.len() != height * width {
        return None;
    }
    let levels: Vec<u8> = gray.iter().map(|v| v / (256 / LEVELS) as u8).collect();
    let all = pairs(&levels, width).map(|counts| of_pairs(&counts));
    let mean = |of: fn(&Texture) -> f64| all.iter().map(of).sum::<f64>() / 4.0;
    let correlations: Option<Vec<f64>> = all.iter().map(|t| t.correlation).collect();
    Some(Texture {
        contrast: mean(|t| t.contrast),
        homogeneity: mean(|t| t.homogeneity),
        energy: mean(|t| t.energy),
        correlation: correlations.map(|c| c.iter().sum::<f64>() / 4.0),
    })
}

/// Number of pairs of each two levels, the first pixel's first.
type Counts = [[u32; LEVELS]; LEVELS];

/// The pairs of the four directions, 0, 45, 90 and 135 degrees: to the right, down and right, down, down and left.
fn pairs(levels: &[u8], width: usize) -> [Counts; 4] {
    // One pass for all directions: each has its own cells, so that no addition waits for the one before.
    let mut all = [[[0; LEVELS]; LEVELS]; 4];
    let mut count = |direction: usize, i: u8, j: u8| {
        all[direction][usize::from(i) % LEVELS][usize::from(j) % LEVELS] += 1;
    };
    let rows: Vec<&[u8]> = levels.chunks(width).collect();
    for neighbours in rows.windows(2) {
        let (row, below) = (neighbours[0], neighbours[1]);
        for (here, low) in row.windows(2).zip(below.windows(2)) {
            count(0, here[0], here[1]);
            count(1, here[0], low[1]);
            count(2, here[0], low[0]);
            count(3, here[1], low[0]);
        }
        count(2, row[width - 1], below[width - 1]);
    }
    for last in rows[rows.len() - 1].windows(2) {
        count(0, last[0], last[1]);
    }
    all
}

/// The texture of one direction, from pairs both ways.
fn of_pairs(counts: &Counts) -> Texture {
    // Pairs by their first level and by the difference of their levels; both are whole numbers.
    let (mut by_level, mut by_difference) = ([0_u64; LEVELS], [0_u64; LEVELS]);
    let mut squares = 0.0;
    for i in 0..LEVELS {
        by_level[i] += 2 * u64::from(counts[i][i]);
        by_difference[0] += 2 * u64::from(counts[i][i]);
        squares += (2.0 * f64::from(counts[i][i])).powi(2);
        for j in i + 1..LEVELS {
            let both = u64::from(counts[i][j]) + u64::from(counts[j][i]);
            by_level[i] += both;
            by_level[j] += both;
            by_difference[j - i] += 2 * both;
            squares += 2.0 * (both as f64).powi(2);
        }
    }
    let n = by_level.iter().sum::<u64>() as f64;
    let mean_of = |counts: &[u64; LEVELS], of: &dyn Fn(f64) -> f64| {
        counts.iter().enumerate().map(|(k, &c)| c as f64 * of(k as f64)).sum::<f64>() / n
    };
    let mean = mean_of(&by_level, &|i| i);
    let variance = mean_of(&by_level, &|i| (i - mean).powi(2));
    let contrast = mean_of(&by_difference, &|d| d * d);
    Texture {
        contrast,
        homogeneity: mean_of(&by_difference, &|d| 1.0 / (1.0 + d * d)),
        energy: squares.sqrt() / n,
        // (i - j)^2 has the mean 2 (variance - covariance).
        correlation: (variance > 0.0).then(|| (variance - contrast / 2.0) / variance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_image_is_all_alike_and_has_no_correlation() {
        let t = texture(&[200; 81], 9, 9).unwrap();
        assert_eq!(t, Texture { contrast: 0.0, homogeneity: 1.0, energy: 1.0, correlation: None });
        assert_eq!(texture(&[200; 9], 1, 9), None);
    }

    #[test]
    fn a_checkerboard_differs_along_rows_and_columns_and_agrees_along_diagonals() {
        let board: Vec<u8> = (0..81).map(|i| 255 * ((i / 9 + i % 9) % 2) as u8).collect();
        let t = texture(&board, 9, 9).unwrap();
        assert_eq!(t.contrast, 0.5 * 31.0 * 31.0);
        assert!((t.homogeneity - 0.5 * (1.0 + 1.0 / 962.0)).abs() < 1e-12);
        assert!((t.energy - 0.5_f64.sqrt()).abs() < 1e-12, "two equal cells in every direction");
        assert!(t.correlation.unwrap().abs() < 1e-12, "-1 twice and 1 twice");
    }

    #[test]
    fn every_direction_pairs_the_right_pixels() {
        // 1 2 3
        // 4 5 6
        let levels = [1, 2, 3, 4, 5, 6];
        let all = pairs(&levels, 3);
        let of = |direction: usize| {
            let cells = (0..LEVELS).flat_map(|i| (0..LEVELS).map(move |j| (i, j)));
            cells.filter(|&(i, j)| all[direction][i][j] == 1).collect::<Vec<_>>()
        };
        assert_eq!(of(0), [(1, 2), (2, 3), (4, 5), (5, 6)]);
        assert_eq!(of(1), [(1, 5), (2, 6)]);
        assert_eq!(of(2), [(1, 4), (2, 5), (3, 6)]);
        assert_eq!(of(3), [(2, 4), (3, 5)]);
    }
}
