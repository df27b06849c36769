//! How one channel of an activation lies in memory on the CPU: a plane with a permanent border of zeros.
//!
//! ```text
//! pad rows of zeros         0 0 0 0 0 0
//! height rows, each         x x x x x 0     <- `pad` zeros behind every row serve as the right border of this
//! width values + pad zeros  x x x x x 0        row and as the left border of the next
//! pad rows of zeros         0 0 0 0 0 0
//! ```
//! One more run of `pad` zeros stands in front of everything, and the plane is rounded up to whole cache lines. In
//! this form a convolution with a kernel of up to `2 * pad + 1` is a sum of flat shifts of the plane, without edge
//! cases.

/// Floats in a cache line; planes and tensors start at multiples of this.
pub const LINE: usize = 16;

/// Floats that may be read, never written, before the first and behind the last tensor of an arena.
pub const SLACK: usize = 512;

/// Shape of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneLayout {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// Width of the zero border in pixels.
    pub pad: usize,
}

impl PlaneLayout {
    /// Floats from one row to the next.
    #[must_use]
    pub fn row_stride(self) -> usize {
        self.width + self.pad
    }

    /// Flat index of pixel (0, 0).
    #[must_use]
    pub fn origin(self) -> usize {
        self.pad * self.row_stride() + self.pad
    }

    /// Floats from one plane to the next, a multiple of [`LINE`].
    #[must_use]
    pub fn plane_stride(self) -> usize {
        ((self.height + 2 * self.pad) * self.row_stride() + self.pad).next_multiple_of(LINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_of_two_by_three_with_a_border_of_one() {
        let layout = PlaneLayout { height: 2, width: 3, pad: 1 };
        assert_eq!(layout.row_stride(), 4);
        assert_eq!(layout.origin(), 5, "one leading zero and one row of four zeros");
        assert_eq!(layout.plane_stride(), 32, "17 floats rounded up to lines of 16");
    }
}
