//! Rows and columns added around an image.

use segfit::network::PadMode;
use segfit::network::layout::PlaneLayout;

use super::separable::{Axis, Separable};

/// The map from planes like `x` to planes like `y`, with `before` rows and columns above and left of it.
pub fn separable(before: [usize; 2], mode: PadMode, x: PlaneLayout, y: PlaneLayout) -> Separable {
    Separable::new(axis(before[0], mode, x.height, y.height), axis(before[1], mode, x.width, y.width))
}

fn axis(before: usize, mode: PadMode, n: usize, outputs: usize) -> Axis {
    let last = n as isize - 1;
    let source = |j: usize| {
        let i = j as isize - before as isize;
        match mode {
            PadMode::Zero => (0..=last).contains(&i).then_some(i),
            PadMode::Replicate => Some(i.clamp(0, last)),
            PadMode::Reflect => Some(last - (last - i.abs()).abs()),
        }
    };
    Axis::new(n, (0..outputs).map(|j| source(j).map(|i| (i as usize, 1.0)).into_iter().collect()).collect())
}
