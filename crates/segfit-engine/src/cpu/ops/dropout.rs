//! Dropout (Srivastava et al. 2014): what survives grows, so that inference does nothing.

use segfit::random::Stream;

use super::Draw;
use super::rows::{write_pieces, zip_row};
use crate::cpu::ordered::{assert_same_shape, floats};
use crate::cpu::planes::Planes;

/// Tells its streams from all others of the same seed.
const PURPOSE: u64 = 0x0064_726f_706f_7574;

/// Dropout of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Probability of a zero.
    pub p: f32,
    /// Index of the layer.
    pub layer: u64,
}

impl Dropout {
    /// y = x / (1 - p) where the draw of the pixel is at least p, else 0; y = x without a draw. With `accumulate` that is
    /// added to y. The gradient is the same function of the output's gradient. `y` may be `x`.
    ///
    /// Pixel j of row i, counted over the rows of all images and channels, has the j-th number of the stream of seed, step,
    /// layer and i.
    ///
    /// # Panics
    /// When shapes differ.
    pub fn apply(self, x: &Planes, y: &Planes, accumulate: bool, draw: Option<Draw>) {
        assert_same_shape(x, y);
        let (height, width) = (y.layout.height, y.layout.width);
        let scale = 1.0 / (1.0 - self.p);
        write_pieces(y, 4 * floats(y), |piece| {
            let mut factors = vec![1.0; width];
            for r in piece.rows.0..piece.rows.1 {
                if let Some(Draw { seed, step }) = draw {
                    let row = (piece.image * y.channels + piece.channel) * height + r;
                    let mut stream = Stream::new(&[PURPOSE, seed, step, self.layer, row as u64]);
                    factors.fill_with(|| if stream.unit() >= self.p { scale } else { 0.0 });
                }
                let from = x.row(piece.image, piece.channel, r).cast_const();
                let to = y.row(piece.image, piece.channel, r);
                // SAFETY: this row of y belongs to this piece.
                unsafe {
                    if accumulate {
                        zip_row(width, [from, factors.as_ptr(), to], to, |[x, f, before]| before + kept(x, f));
                    } else {
                        zip_row(width, [from, factors.as_ptr()], to, |[x, f]| kept(x, f));
                    }
                }
            }
        });
    }
}

/// x times its factor; 0 where the factor is 0, even if x is infinite.
#[inline(always)]
fn kept(x: f32, factor: f32) -> f32 {
    if factor == 0.0 { 0.0 } else { x * factor }
}
