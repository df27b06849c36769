//! Canny's edges: thin, connected outlines.

use std::cell::RefCell;

use super::{Measure, Pyramid, pyramid};

pub(super) const CANNY: Measure = Measure {
    name: "canny",
    unit: "share of pixels",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| canny_density(l.edges(), l.height, l.width)),
};

/// An edge begins where the Sobel magnitude reaches this (image values 0..1): 1/40 of the range per pixel.
pub const CANNY_HIGH: f64 = 0.2;

/// An edge goes on while the magnitude stays at least this.
pub const CANNY_LOW: f64 = 0.1;

/// Gaussian of standard deviation 1 pixel, cut at 4 and normalised: exp(-x^2 / 2) / 2.506621080349461 for x = 0 to 4.
/// Written out, so that all machines use the same numbers.
const GAUSS: [f64; 5] = [
    0.398_943_469_356_097_76,
    0.241_971_445_656_600_73,
    0.053_991_127_420_704_41,
    0.004_431_861_620_031_265_5,
    0.000_133_830_624_614_741_75,
];

/// Share of the interior pixels that are Canny edges, in [0, 1]. Larger is more complex.
///
/// `edges` is [`canny_edges`] of an image of `height * width` pixels. The outermost pixels, which are never edges, do not
/// count. `None` below 3 x 3.
///
/// ```
/// use segfit::complexity::{canny_density, canny_edges};
/// let step: Vec<f32> = (0..256).map(|i| [0.2, 0.5, 0.8][usize::from(i % 16 > 6) + usize::from(i % 16 > 7)]).collect();
/// assert_eq!(canny_density(&canny_edges(&step, 16, 16), 16, 16), Some(1.0 / 14.0), "the column in the middle");
/// ```
///
/// Source: edge density as an image complexity, Mack and Oliva 2004.
#[must_use]
pub fn canny_density(edges: &[bool], height: usize, width: usize) -> Option<f64> {
    if height < 3 || width < 3 {
        return None;
    }
    let count = edges.iter().filter(|&&e| e).count();
    Some(count as f64 / ((height - 2) * (width - 2)) as f64)
}

/// Whether each pixel lies on an edge by Canny's method; `height * width` values.
///
/// 1. The image (values 0..1) is smoothed by a Gaussian of standard deviation 1, with its outermost pixels repeated outside.
/// 2. gx, gy are the Sobel gradient (not normalised), m = sqrt(gx^2 + gy^2).
/// 3. A pixel remains when m is at least [`CANNY_LOW`] and not below the two values of m one step along and against the
///    gradient; these are interpolated linearly between the axis and the diagonal next to the gradient. Two equal pixels
///    side by side both remain.
/// 4. Of the 8-connected remains, those are edges that hold a pixel of at least [`CANNY_HIGH`].
///
/// The outermost pixels are never edges. No pixel is below 3 x 3. See [`canny_density`] for an example.
///
/// Source: Canny, A computational approach to edge detection, 1986; thresholds and interpolation as `skimage.feature.canny`
/// with `sigma=1, low_threshold=0.1, high_threshold=0.2, mode="nearest"`.
#[must_use]
pub fn canny_edges(gray: &[f32], height: usize, width: usize) -> Vec<bool> {
    if height < 3 || width < 3 || gray.len() != height * width {
        return vec![false; gray.len()];
    }
    PLANES.with_borrow_mut(|planes| {
        planes.fill(gray, height, width);
        planes.edges(height, width)
    })
}

thread_local! {
    static PLANES: RefCell<Planes> = RefCell::new(Planes::default());
}

/// Planes of the image's size, kept from image to image: to ask the system for them anew costs as much as to fill them.
#[derive(Default)]
struct Planes {
    gray: Vec<f64>,
    smoothed: Vec<f64>,
    gx: Vec<f64>,
    gy: Vec<f64>,
    magnitude: Vec<f64>,
}

impl Planes {
    fn fill(&mut self, gray: &[f32], height: usize, width: usize) {
        self.gray.clear();
        self.gray.extend(gray.iter().map(|&v| f64::from(v)));
        self.smoothed.resize(gray.len(), 0.0);
        smooth(&self.gray, &mut self.smoothed, height, width);
        gradient(&self.smoothed, height, width, &mut self.gx, &mut self.gy);
        self.magnitude.clear();
        self.magnitude.extend(self.gx.iter().zip(&self.gy).map(|(x, y)| (y * y + x * x).sqrt()));
    }

    fn edges(&self, height: usize, width: usize) -> Vec<bool> {
        thinned(&self.magnitude, &self.gx, &self.gy, height, width)
    }
}

/// The edges of a gradient: its ridges that are or continue strong ones.
fn thinned(magnitude: &[f64], gx: &[f64], gy: &[f64], height: usize, width: usize) -> Vec<bool> {
    let mut thin = vec![false; magnitude.len()];
    let mut strong = Vec::new();
    let mut candidates = Vec::with_capacity(width);
    for y in 1..height - 1 {
        at_least_low(&magnitude[y * width..(y + 1) * width], &mut candidates);
        for i in candidates.iter().map(|&x| y * width + x as usize) {
            thin[i] = is_ridge(magnitude, gx[i], gy[i], i, width);
            if thin[i] & (magnitude[i] >= CANNY_HIGH) {
                strong.push(i);
            }
        }
    }
    connected(&mut thin, strong, width)
}

/// The columns of a row, but for the first and the last, whose magnitude is at least [`CANNY_LOW`].
fn at_least_low(row: &[f64], columns: &mut Vec<u32>) {
    columns.clear();
    columns.resize(row.len(), 0);
    let mut count = 0;
    for (x, &m) in row.iter().enumerate().skip(1).take(row.len() - 2) {
        // Always written, and counted where it holds: a branch would be guessed wrongly for every other pixel of texture.
        columns[count] = x as u32;
        count += usize::from(m >= CANNY_LOW);
    }
    columns.truncate(count);
}

/// Whether the magnitude has no larger neighbour across the edge.
fn is_ridge(magnitude: &[f64], gx: f64, gy: f64, at: usize, width: usize) -> bool {
    let right = if gx > 0.0 { 1 } else { -1 };
    let down = if gy > 0.0 { width as isize } else { -(width as isize) };
    let (x, y) = (gx.abs(), gy.abs());
    let axis = if y > x { down } else { right };
    let share = x.min(y) / x.max(y);
    let value = |step: isize| magnitude[at.wrapping_add_signed(step)];
    let between = |axis: isize, diagonal: isize| value(diagonal) * share + value(axis) * (1.0 - share);
    // Both sides are always looked at: texture gives no branch to guess.
    (between(axis, right + down) <= magnitude[at]) & (between(-axis, -right - down) <= magnitude[at])
}

/// The part of `thin` that is 8-connected to a pixel of `strong`. No pixel of `thin` lies at the border.
fn connected(thin: &mut [bool], mut strong: Vec<usize>, width: usize) -> Vec<bool> {
    let mut edges = vec![false; thin.len()];
    strong.iter().for_each(|&i| thin[i] = false);
    while let Some(i) = strong.pop() {
        edges[i] = true;
        for row in [i - width, i, i + width] {
            // Taken when it is found, so that every pixel waits only once.
            strong.extend((row - 1..=row + 1).filter(|&j| std::mem::take(&mut thin[j])));
        }
    }
    edges
}

/// The image under the Gaussian, down the columns and then along the rows.
fn smooth(gray: &[f64], out: &mut [f64], height: usize, width: usize) {
    let mut padded = vec![0.0; width + 8];
    for (y, line) in out.chunks_mut(width).enumerate() {
        let row = |k: usize| &gray[(y + k).saturating_sub(4).min(height - 1) * width..][..width];
        weighted(&mut padded[4..width + 4], std::array::from_fn(row));
        let (first, last) = (padded[4], padded[width + 3]);
        padded[..4].fill(first);
        padded[width + 4..].fill(last);
        weighted(line, std::array::from_fn(|k| &padded[k..k + width]));
    }
}

/// The Gaussian mean of nine lines, the outer ones added first.
fn weighted(out: &mut [f64], lines: [&[f64]; 9]) {
    let n = out.len();
    let [a, b, c, d, e, f, g, h, i] = lines.map(|line| &line[..n]);
    for x in 0..n {
        let sum = e[x] * GAUSS[0] + (a[x] + i[x]) * GAUSS[4];
        let sum = sum + (b[x] + h[x]) * GAUSS[3];
        let sum = sum + (c[x] + g[x]) * GAUSS[2];
        out[x] = sum + (d[x] + f[x]) * GAUSS[1];
    }
}

/// Sobel's gx and gy at all pixels, the outermost pixels repeated outside.
fn gradient(plane: &[f64], height: usize, width: usize, gx: &mut Vec<f64>, gy: &mut Vec<f64>) {
    gx.clear();
    gy.clear();
    let (mut sums, mut differences) = (vec![0.0; width + 2], vec![0.0; width + 2]);
    for y in 0..height {
        let row = |y: usize| &plane[y * width..(y + 1) * width];
        let (a, b, c) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(height - 1)));
        let inner = sums[1..=width].iter_mut().zip(&mut differences[1..=width]);
        for ((sum, difference), ((a, b), c)) in inner.zip(a.iter().zip(b).zip(c)) {
            *sum = b * 2.0 + (a + c);
            *difference = c - a;
        }
        for line in [&mut sums, &mut differences] {
            (line[0], line[width + 1]) = (line[1], line[width]);
        }
        let [left, here, right] = [0, 1, 2].map(|k| &differences[k..k + width]);
        gx.extend(sums[2..].iter().zip(&sums).map(|(after, before)| after - before));
        gy.extend((0..width).map(|x| here[x] * 2.0 + (left[x] + right[x])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(f: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        (0..400).map(|i| f(i / 20, i % 20)).collect()
    }

    #[test]
    fn the_gaussian_is_normalised_and_has_its_standard_deviation() {
        let sum = GAUSS[0] + 2.0 * GAUSS[1..].iter().sum::<f64>();
        assert!((sum - 1.0).abs() < 1e-15, "{sum}");
        for (x, g) in GAUSS.iter().enumerate() {
            assert!((g / GAUSS[0] - (-0.5 * (x * x) as f64).exp()).abs() < 1e-15);
        }
    }

    #[test]
    fn a_constant_image_has_no_edges_and_a_faint_step_neither() {
        for f in [|_, _| 0.3, |_, x| if x < 10 { 0.3 } else { 0.31 }] as [fn(usize, usize) -> f32; 2] {
            assert_eq!(canny_density(&canny_edges(&image(f), 20, 20), 20, 20), Some(0.0));
        }
        assert_eq!(canny_density(&[false; 10], 2, 5), None);
    }

    #[test]
    fn a_bright_line_has_an_edge_on_each_side() {
        // Rows 9 to 11 are bright: the gradient peaks at rows 8, 9 and at rows 11, 12, and is zero at row 10.
        let edges = canny_edges(&image(|y, _| f32::from(u8::from((9..12).contains(&y)))), 20, 20);
        let rows: Vec<usize> = (0..20).filter(|y| edges[y * 20 + 10]).collect();
        assert!(rows.iter().all(|y| [8, 9, 11, 12].contains(y)) && rows.len() >= 2, "{rows:?}");
    }

    #[test]
    fn a_weak_edge_survives_only_where_it_continues_a_strong_one() {
        // A step that fades downwards. A step of d has magnitude 4 (0.399 + 0.242) d = 2.56 d: d is strong above 0.078.
        let rows_with_edge = |top: f32| {
            let edges = canny_edges(&image(|y, x| if x < 10 { 0.1 } else { 0.1 + top - 0.0015 * y as f32 }), 20, 20);
            edges.chunks(20).filter(|row| row.contains(&true)).count()
        };
        assert_eq!(rows_with_edge(0.09), 18, "strong down to row 7, the rest follows");
        assert_eq!(rows_with_edge(0.075), 0, "the same fading without a strong part");
    }

    #[test]
    fn turning_the_image_turns_the_edges() {
        let mut s = crate::random::Stream::new(&[4]);
        let gray: Vec<f32> = (0..400).map(|_| s.unit()).collect();
        let turned: Vec<f32> = (0..400).map(|i| gray[i % 20 * 20 + i / 20]).collect();
        let count = |g: &[f32]| canny_edges(g, 20, 20).iter().filter(|&&e| e).count();
        assert!(count(&gray) > 20 && count(&gray) == count(&turned));
    }
}
