//! Enlarging by whole factors.

use segfit::network::Interpolation;
use segfit::network::layout::PlaneLayout;

use super::separable::{Axis, Separable};

/// The map from planes like `x` to planes `factor` times as high and wide.
pub fn separable(factor: [usize; 2], interpolation: Interpolation, x: PlaneLayout) -> Separable {
    let [rows, columns] = [(x.height, factor[0]), (x.width, factor[1])].map(|(n, f)| axis(n, f, interpolation));
    Separable::new(rows, columns)
}

fn axis(n: usize, factor: usize, interpolation: Interpolation) -> Axis {
    let outputs = n * factor;
    match interpolation {
        _ if factor == 1 => Axis::new(n, (0..n).map(|i| vec![(i, 1.0)]).collect()),
        Interpolation::Nearest => {
            let axis = Axis::new(n, (0..outputs).map(|j| vec![(j / factor, 1.0)]).collect());
            if factor == 2 { axis.twice() } else { axis }
        }
        Interpolation::Bilinear => {
            // The centre of output j lies at (j + 1/2) / factor - 1/2; above the first centre there is only the first pixel.
            let at = |j: usize| ((2 * j + 1).saturating_sub(factor), 2 * factor);
            let axis = Axis::new(n, (0..outputs).map(|j| between(n, at(j))).collect());
            if factor == 2 { axis.blend() } else { axis.neighbours() }
        }
        Interpolation::BilinearCorners => {
            Axis::new(n, (0..outputs).map(|j| between(n, (j * (n - 1), outputs - 1))).collect()).neighbours()
        }
    }
}

/// The pixels around position numerator / denominator, and their weights.
fn between(n: usize, (numerator, denominator): (usize, usize)) -> Vec<(usize, f32)> {
    let (first, rest) = (numerator / denominator, numerator % denominator);
    let share = rest as f64 / denominator as f64;
    if rest == 0 || first + 1 >= n {
        return vec![(first.min(n - 1), 1.0)];
    }
    vec![(first, (1.0 - share) as f32), (first + 1, share as f32)]
}
