//! A handle on a batch of planes inside an arena, and the arena itself.

use segfit::network::layout::{LINE, PlaneLayout, SLACK};

use super::ordered::for_each;

/// One zero-initialised block of memory, aligned to cache lines, with readable slack at both ends.
#[derive(Debug)]
pub struct Arena {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

impl Arena {
    /// An arena of `len` floats, all zero.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let total = (len + 2 * SLACK).div_ceil(LINE);
        Self { lines: vec![Line([0.0; LINE]); total], len }
    }

    /// Usable floats.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held, slack included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE * 4
    }

    /// Handle on `batch` x `channels` planes, the first plane of image 0 at float `offset`, images `batch_stride`
    /// floats apart.
    ///
    /// # Panics
    /// When the planes do not lie inside the arena: a bug of the schedule.
    #[must_use]
    pub fn planes(
        &mut self,
        offset: usize,
        batch: usize,
        channels: usize,
        layout: PlaneLayout,
        batch_stride: usize,
    ) -> Planes {
        let end = offset + batch.saturating_sub(1) * batch_stride + channels * layout.plane_stride();
        assert!(end <= self.len, "planes end at {end}, the arena at {}", self.len);
        assert!(offset.is_multiple_of(LINE) && batch_stride.is_multiple_of(LINE));
        // SAFETY: the offset is inside the allocation, as asserted above.
        let base = unsafe { self.lines.as_mut_ptr().cast::<f32>().add(SLACK + offset) };
        Planes { base, batch, channels, layout, batch_stride }
    }
}

/// `batch` x `channels` planes of one layout. A plain handle: it neither owns nor locks the memory.
///
/// Invariants that every operation keeps: after an operation has written a tensor, everything of each plane that is
/// not a pixel (borders and tail) is zero; `SLACK` floats may be read before the first and after the last plane.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    base: *mut f32,
    /// Images.
    pub batch: usize,
    /// Planes per image.
    pub channels: usize,
    /// Shape of each plane.
    pub layout: PlaneLayout,
    /// Floats from one image to the next (larger than channels * plane stride in a view of a concatenation).
    pub batch_stride: usize,
}

// SAFETY: `Planes` is an address and a shape. The executor that owns the arena hands operations disjoint outputs, and an
// operation divides its output among threads by planes or rows.
unsafe impl Send for Planes {}
// SAFETY: as above.
unsafe impl Sync for Planes {}

impl Planes {
    /// First float of the plane (its leading border) of `channel` of `image`.
    #[inline]
    #[must_use]
    pub fn plane(&self, image: usize, channel: usize) -> *mut f32 {
        debug_assert!(image < self.batch && channel < self.channels);
        // SAFETY: inside the arena by `Arena::planes`' check.
        unsafe { self.base.add(image * self.batch_stride + channel * self.layout.plane_stride()) }
    }

    /// Pixel (row, 0) of a plane.
    #[inline]
    #[must_use]
    pub fn row(&self, image: usize, channel: usize, row: usize) -> *mut f32 {
        debug_assert!(row < self.layout.height);
        // SAFETY: inside the plane.
        unsafe { self.plane(image, channel).add(self.layout.origin() + row * self.layout.row_stride()) }
    }

    /// A run of channels of the same memory.
    #[must_use]
    pub fn slice(&self, first: usize, channels: usize) -> Self {
        assert!(first + channels <= self.channels);
        // SAFETY: inside the same allocation.
        let base = unsafe { self.base.add(first * self.layout.plane_stride()) };
        Self { base, channels, ..*self }
    }

    /// Copies dense NCHW values in and zeroes everything that is not a pixel.
    ///
    /// # Panics
    /// When the length differs.
    pub fn write_dense(&self, dense: &[f32]) {
        let PlaneLayout { height, width, .. } = self.layout;
        assert_eq!(dense.len(), self.batch * self.channels * height * width);
        self.for_each_plane(|k, plane| {
            plane.fill(0.0);
            for (y, row) in dense[k * height * width..][..height * width].chunks_exact(width).enumerate() {
                let start = self.layout.origin() + y * self.layout.row_stride();
                plane[start..start + width].copy_from_slice(row);
            }
        });
    }

    /// Calls `write` with the number and all floats of every plane, in parallel where that is worth it.
    fn for_each_plane(&self, write: impl Fn(usize, &mut [f32]) + Sync + Send) {
        let planes = self.batch * self.channels;
        for_each(planes, planes * self.layout.plane_stride(), |k| {
            let (image, channel) = (k / self.channels, k % self.channels);
            // SAFETY: whole planes of this tensor, each handed to one call.
            write(k, unsafe { std::slice::from_raw_parts_mut(self.plane(image, channel), self.layout.plane_stride()) });
        });
    }

    /// Everything becomes zero.
    pub fn fill_zero(&self) {
        self.for_each_plane(|_, plane| plane.fill(0.0));
    }

    /// The pixels as dense NCHW values.
    #[must_use]
    pub fn read_dense(&self) -> Vec<f32> {
        let mut dense = Vec::new();
        self.read_dense_into(&mut dense);
        dense
    }

    /// The pixels as dense NCHW values, replacing what `dense` held.
    pub fn read_dense_into(&self, dense: &mut Vec<f32>) {
        let PlaneLayout { height, width, .. } = self.layout;
        dense.clear();
        dense.reserve(self.batch * self.channels * height * width);
        for image in 0..self.batch {
            for channel in 0..self.channels {
                for y in 0..height {
                    // SAFETY: one row of pixels.
                    dense.extend_from_slice(unsafe { std::slice::from_raw_parts(self.row(image, channel, y), width) });
                }
            }
        }
    }

    /// Whether everything that is not a pixel is zero (the invariant above); for tests.
    #[must_use]
    pub fn borders_are_zero(&self) -> bool {
        let PlaneLayout { height, width, .. } = self.layout;
        (0..self.batch * self.channels).all(|k| {
            // SAFETY: whole planes of this tensor.
            let plane = unsafe {
                std::slice::from_raw_parts(self.plane(k / self.channels, k % self.channels), self.layout.plane_stride())
            };
            plane.iter().enumerate().all(|(i, &v)| {
                let inside = i
                    .checked_sub(self.layout.origin())
                    .is_some_and(|j| j / self.layout.row_stride() < height && j % self.layout.row_stride() < width);
                inside || v == 0.0
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_values_come_back_and_borders_stay_zero() {
        let layout = PlaneLayout { height: 2, width: 3, pad: 1 };
        let mut arena = Arena::new(4 * layout.plane_stride());
        let planes = arena.planes(0, 2, 2, layout, 2 * layout.plane_stride());
        let dense: Vec<f32> = (1..=24_u8).map(f32::from).collect();
        planes.write_dense(&dense);
        assert_eq!(planes.read_dense(), dense);
        assert!(planes.borders_are_zero());
        assert_eq!(
            planes.slice(1, 1).read_dense(),
            [7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 19.0, 20.0, 21.0, 22.0, 23.0, 24.0]
        );
    }
}
