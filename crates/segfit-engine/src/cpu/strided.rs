//! Convolutions whose output has another size than their input, and their adjoints, transposed convolutions.
//!
//! With a stride the larger side is taken apart into phases: rows r, r + stride, ... and columns q, q + stride, ... are
//! phase (r, q). Laid out like the planes of the smaller side, a convolution of any stride is then a sum of flat shifts of
//! phases (`segfit::network::Axis`), which the tiles of the ordinary convolution compute:
//!
//! ```text
//! down   y[o, p] = bias[o] + sum over i, taps t of w[o][i][t] * phase(t)[i, p + shift(t)]
//! up     phase[i, p] = bias[i] + sum over o, taps t of that phase of w[o][i][t] * y[o, p - shift(t)]
//! ```
//!
//! A strided convolution is `down`, its gradient with respect to the input `up`; a transposed convolution the other way
//! round. Both take the same weights, `[smaller side's channel][larger side's channel of the group][row][column]`.

use std::ops::Range;

use segfit::network::Axis;
use segfit::network::layout::{LINE, PlaneLayout};

use super::conv2d::ConvShape;
use super::conv2d::pack;
use super::conv2d::tiles::{Flat, GroupChannels, TapSet, TileJob, TilePlan, assert_readable, pixel_range, tile_range};
use super::conv2d::weight_gradient::{Positions, WeightPlan};
use super::kernels::conv_weight_tile::channel_sums;
use super::ordered::{Slots, floats, for_each};
use super::planes::Planes;
use super::simd::Isa;

mod phases;
#[cfg(test)]
mod tests;

/// A convolution from the planes of a larger side to those of a smaller side, and back, prepared for one shape.
///
/// All results are the same bits for any number of threads: the division of the work depends on shapes only.
#[derive(Clone, Debug)]
pub struct Strided {
    isa: Isa,
    shape: ConvShape,
    channels: GroupChannels,
    large: PlaneLayout,
    small: PlaneLayout,
    batch: usize,
    rows: Axis,
    columns: Axis,
    /// Number of every phase (row phase x stride + column phase) that a tap reads.
    phases: Vec<Option<usize>>,
    /// Kernel positions of every numbered phase.
    taps: Vec<Vec<usize>>,
    split: Room,
    joined: Room,
    /// Images whose phases are in scratch memory at a time.
    images: usize,
    down: TilePlan,
    up: TilePlan,
    weights: WeightPlan,
}

/// Where the positions of a phase lie in scratch memory.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Position of the first float, possibly negative.
    first: isize,
    /// Floats of a phase.
    len: usize,
}

impl Strided {
    /// Prepares a convolution for `batch` images. `shape` is that of the convolution from the larger side (its input) to
    /// the smaller; in a transposed convolution the layer's inputs are `shape`'s outputs.
    ///
    /// # Panics
    /// When a number is zero, the groups do not divide the channels, or the border of `small` is narrower than the
    /// geometry asks for: bugs of the schedule.
    #[must_use]
    pub fn new(isa: Isa, shape: &ConvShape, large: PlaneLayout, small: PlaneLayout, batch: usize) -> Self {
        /// Floats of the phases that are in scratch memory at a time: they stay in the second or third cache.
        const ROUND_FLOATS: usize = 1 << 19;
        let channels = shape.channels();
        assert!(batch > 0 && small.height > 0 && small.width > 0 && large.height > 0 && large.width > 0);
        let rows = shape.geometry.axis(0, large.height, small.height);
        let columns = shape.geometry.axis(1, large.width, small.width);
        assert!(rows.gap().max(columns.gap()) <= small.pad, "{:?} with a border of {}", shape.geometry, small.pad);
        let (phases, taps) = number_phases(&rows, &columns);
        let stride = small.row_stride();
        let shift = |tap: usize| {
            let (y, x) = (rows.taps[tap / columns.taps.len()], columns.taps[tap % columns.taps.len()]);
            y.shift * stride as isize + x.shift
        };
        let phase = |tap: usize| {
            let (y, x) = (rows.taps[tap / columns.taps.len()], columns.taps[tap % columns.taps.len()]);
            phases[y.phase * columns.stride + x.phase].unwrap_or(0)
        };
        let area = shape.geometry.area();
        let pixels = small.height * small.width;

        let (start, end) = tile_range(small);
        let before = (rows.before() * stride + columns.before() + LINE).next_multiple_of(LINE);
        let behind = end + rows.reach() * stride + columns.reach() + LINE;
        let behind = behind.max(small.origin() + (small.height + rows.beyond()) * stride);
        let split =
            Room { first: start as isize - before as isize, len: (behind + before - start).next_multiple_of(LINE) };
        let shifts: Vec<isize> = (0..area).map(|tap| shift(tap) + (phase(tap) * split.len) as isize).collect();

        let (first, _) = pixel_range(small);
        let last = first + (small.height + rows.beyond() - 1) * stride + small.width + columns.beyond();
        let up_range = (first / LINE * LINE, last.next_multiple_of(LINE));
        let joined = Room { first: up_range.0 as isize, len: up_range.1 - up_range.0 };
        let mut before_set = 0;
        let up_sets: Vec<TapSet> = taps
            .iter()
            .enumerate()
            .map(|(k, taps)| {
                let shifts: Vec<isize> = taps.iter().map(|&t| -shift(t)).collect();
                assert_readable(small, up_range, &shifts);
                let set = TapSet { planes: 1, weights: before_set, offset: k * joined.len, shifts };
                before_set += channels.pairs() * taps.len();
                set
            })
            .collect();

        let of_image = shape.in_channels * taps.len() * split.len.max(joined.len);
        let images = (ROUND_FLOATS / of_image).clamp(1, batch);
        let (first, last) = pixel_range(small);
        let positions = Positions { first, last, pixels, turnable: false };
        let down_sets = vec![TapSet { shifts: shifts.clone(), planes: taps.len(), weights: 0, offset: 0 }];
        Self {
            isa,
            shape: *shape,
            channels,
            large,
            small,
            batch,
            phases,
            taps,
            split,
            joined,
            images,
            down: TilePlan::new(isa, channels, down_sets, (start, end), pixels, images),
            up: TilePlan::new(isa, channels.turned(), up_sets, up_range, pixels, images),
            weights: WeightPlan::new(isa, channels, &shifts, positions, batch),
            rows,
            columns,
        }
    }

    /// Floats that [`Strided::pack_down`] and [`Strided::pack_up`] read and write.
    #[must_use]
    pub fn packed_len(&self) -> usize {
        self.shape.weights()
    }

    /// Orders weights for [`Strided::down`].
    ///
    /// # Panics
    /// When a length differs from [`Strided::packed_len`].
    pub fn pack_down(&self, weight: &[f32], packed: &mut [f32]) {
        assert_eq!((weight.len(), packed.len()), (self.packed_len(), self.packed_len()));
        pack::pack(self.isa, weight, packed, self.channels, self.shape.geometry.area(), &self.down.blocks);
    }

    /// Orders weights for [`Strided::up`].
    ///
    /// # Panics
    /// When a length differs from [`Strided::packed_len`].
    pub fn pack_up(&self, weight: &[f32], packed: &mut [f32]) {
        assert_eq!((weight.len(), packed.len()), (self.packed_len(), self.packed_len()));
        pack::pack_sets(weight, packed, self.channels, self.shape.geometry.area(), &self.taps, &self.up.blocks);
    }

    /// Floats of the phases of one image.
    fn image_floats(&self, room: Room) -> usize {
        self.shape.in_channels * self.taps.len() * room.len
    }

    /// Floats of scratch memory that [`Strided::down`] needs.
    #[must_use]
    pub fn down_scratch_len(&self) -> usize {
        LINE + self.images * self.image_floats(self.split)
    }

    /// Floats of scratch memory that [`Strided::up`] needs.
    #[must_use]
    pub fn up_scratch_len(&self) -> usize {
        LINE + self.images * self.image_floats(self.joined)
    }

    /// Floats of scratch memory that [`Strided::backward_weights`] needs.
    #[must_use]
    pub fn gradient_scratch_len(&self) -> usize {
        LINE + self.batch * self.image_floats(self.split) + self.weights.scratch_len()
    }

    /// The planes of phases at the start of scratch memory, by position.
    fn flat(&self, scratch: &mut [f32], room: Room) -> Flat {
        let plane = self.taps.len() * room.len;
        Flat::at(scratch.as_mut_ptr().wrapping_offset(-room.first), self.shape.in_channels * plane, plane)
    }

    /// Writes `y`, the smaller side, or adds to it; with `relu`, negative results become zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn down(
        &self,
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        accumulate: bool,
        x: &Planes,
        y: &Planes,
        scratch: &mut [f32],
    ) {
        self.check(x, y);
        assert!(packed.len() == self.packed_len() && scratch.len() >= self.down_scratch_len());
        assert!(bias.is_none_or(|b| b.len() == self.shape.out_channels));
        let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let scratch = aligned(scratch);
        for first in (0..self.batch).step_by(self.images) {
            let batch = self.images.min(self.batch - first);
            let (from, to) = (self.flat(scratch, self.split), Flat::of(y, first));
            let mut done = 0;
            for pieces in self.bands() {
                let rows = self.rows_before(self.down.piece_end(pieces.end - 1));
                self.split(x, first..first + batch, done..rows, scratch);
                done = rows;
                let (isa, plan, layout) = (self.isa, &self.down, Some(self.small));
                let job = TileJob {
                    isa,
                    plan,
                    packed,
                    bias,
                    relu,
                    accumulate,
                    x: from,
                    y: to,
                    layout,
                    pooled: None,
                    batch,
                    pieces,
                };
                // SAFETY: lengths and planes were checked; every phase has room for the positions that the taps reach.
                unsafe { job.run() };
            }
        }
    }

    /// Pieces whose phases are made and used in turn, so that they stay in the second cache: all where they fit it, else
    /// one after the other.
    fn bands(&self) -> impl Iterator<Item = Range<usize>> {
        const SECOND_CACHE: usize = 1 << 18;
        let all = self.down.pieces();
        let width = if self.image_floats(self.split) > SECOND_CACHE { 1 } else { all.len() };
        (0..all.len()).step_by(width).map(move |first| first..first + width)
    }

    /// Rows of the phases that the taps of positions before `end` reach.
    fn rows_before(&self, end: usize) -> usize {
        let stride = self.small.row_stride();
        let reached = end + self.rows.reach() * stride + self.columns.reach();
        (reached.saturating_sub(self.small.origin()) / stride + 1).min(self.small.height + self.rows.beyond())
    }

    /// Writes `x`, the larger side, or adds to it (then without bias); with `relu`, negative results become zero. The
    /// borders of `y` must be zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones, or something with a bias or ReLU is to be added.
    pub fn up(
        &self,
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        accumulate: bool,
        y: &Planes,
        x: &Planes,
        scratch: &mut [f32],
    ) {
        self.check(x, y);
        assert!(packed.len() == self.packed_len() && scratch.len() >= self.up_scratch_len());
        assert!(bias.is_none_or(|b| b.len() == self.shape.in_channels));
        assert!(!accumulate || (bias.is_none() && !relu), "only gradients are added");
        let at = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let scratch = aligned(scratch);
        for first in (0..self.batch).step_by(self.images) {
            let batch = self.images.min(self.batch - first);
            let (from, to) = (Flat::of(y, first), self.flat(scratch, self.joined));
            let (isa, plan, pieces) = (self.isa, &self.up, self.up.pieces());
            let job = TileJob {
                isa,
                plan,
                packed,
                bias: at,
                relu,
                accumulate: false,
                x: from,
                y: to,
                layout: None,
                pooled: None,
                batch,
                pieces,
            };
            // SAFETY: lengths and planes were checked; the shifts stay within the arena's slack, as `new` asserts.
            unsafe { job.run() };
            self.join(scratch, bias, relu, accumulate, x, first..first + batch);
        }
    }

    /// Writes the gradients of the weights and, where asked for, of the biases of the smaller side (a strided convolution's)
    /// and of the larger side (a transposed convolution's). `x` and `y` are the input and the gradient of the output, or
    /// the other way round; the borders of both must be zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn backward_weights(
        &self,
        x: &Planes,
        y: &Planes,
        scratch: &mut [f32],
        dweight: &mut [f32],
        small_bias: Option<&mut [f32]>,
        large_bias: Option<&mut [f32]>,
    ) {
        self.check(x, y);
        assert!(dweight.len() == self.packed_len() && scratch.len() >= self.gradient_scratch_len());
        assert!(small_bias.as_ref().is_none_or(|b| b.len() == self.shape.out_channels));
        assert!(large_bias.as_ref().is_none_or(|b| b.len() == self.shape.in_channels));
        let scratch = aligned(scratch);
        let (phases, parts) = scratch.split_at_mut(self.batch * self.image_floats(self.split));
        self.split(x, 0..self.batch, 0..self.small.height + self.rows.beyond(), phases);
        // SAFETY: lengths and planes were checked; every phase has room for the positions that the taps reach.
        unsafe { self.weights.run(self.flat(phases, self.split), Flat::of(y, 0), parts, dweight, small_bias) };
        if let Some(bias) = large_bias {
            sum_channels(self.isa, x, bias);
        }
    }

    fn check(&self, x: &Planes, y: &Planes) {
        assert_eq!((x.channels, y.channels), (self.shape.in_channels, self.shape.out_channels));
        assert_eq!((x.batch, y.batch), (self.batch, self.batch));
        assert_eq!((x.layout, y.layout), (self.large, self.small));
    }
}

/// Numbers of the phases that hold a tap, and the taps of each.
fn number_phases(rows: &Axis, columns: &Axis) -> (Vec<Option<usize>>, Vec<Vec<usize>>) {
    let mut of_phase = vec![Vec::new(); rows.stride * columns.stride];
    for (r, row) in rows.taps.iter().enumerate() {
        for (c, column) in columns.taps.iter().enumerate() {
            of_phase[row.phase * columns.stride + column.phase].push(r * columns.taps.len() + c);
        }
    }
    let mut taps = Vec::new();
    let phases = of_phase.into_iter().map(|found| {
        (!found.is_empty()).then(|| {
            taps.push(found);
            taps.len() - 1
        })
    });
    (phases.collect(), taps)
}

/// The memory from the first cache line on.
fn aligned(scratch: &mut [f32]) -> &mut [f32] {
    let start = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    &mut scratch[start..]
}

/// Sum of every channel over images and pixels.
fn sum_channels(isa: Isa, x: &Planes, sums: &mut [f32]) {
    let (first, last) = pixel_range(x.layout);
    let sums = Slots::new(sums);
    for_each(x.channels, floats(x), |c| {
        let mut total = 0.0_f64;
        for image in 0..x.batch {
            let mut sum = 0.0;
            // SAFETY: positions are between the first and the last pixel of one plane.
            unsafe { channel_sums(isa, x.plane(image, c), 0, 1, first, last, &raw mut sum, false) };
            total += f64::from(sum);
        }
        // SAFETY: element c belongs to this channel.
        unsafe { *sums.at(c) = total as f32 };
    });
}
