//! Convolution with stride 1, dilation 1 and zero padding that keeps the size ("same"), on planes.

use segfit::network::layout::{LINE, PlaneLayout};

use super::kernels::conv_tile::{self, TileRun};
use super::planes::Planes;
use super::simd::Isa;
use super::team;

mod pack;
#[cfg(test)]
mod tests;
mod weight_gradient;

use weight_gradient::WeightPlan;

/// A convolution `y[o] = bias[o] + sum over i of w[o][i] * x[i]` (cross-correlation, as networks define it), prepared for
/// one shape of input.
///
/// All results are the same bits for any number of threads: the division of the work depends on shapes only.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Rows and columns of the kernel, odd.
    pub kernel_size: usize,
    isa: Isa,
    layout: PlaneLayout,
    batch: usize,
    /// Flat shift of every kernel position, in the order of the weights.
    shifts: Vec<isize>,
    /// The same of the kernel turned by 180 degrees.
    turned: Vec<isize>,
    forward: TilePlan,
    backward: TilePlan,
    weights: WeightPlan,
}

impl Conv2d {
    /// Prepares a convolution for `batch` images of one layout.
    ///
    /// # Panics
    /// When a size is zero, the kernel is even, or the layout's border is narrower than half the kernel: bugs of the
    /// schedule.
    #[must_use]
    pub fn new(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        kernel_size: usize,
        layout: PlaneLayout,
        batch: usize,
    ) -> Self {
        assert!(in_channels > 0 && out_channels > 0 && batch > 0 && layout.height > 0 && layout.width > 0);
        assert!(kernel_size % 2 == 1 && kernel_size / 2 <= layout.pad, "kernel {kernel_size}, border {}", layout.pad);
        let reach = (kernel_size / 2) as isize;
        let shifts: Vec<isize> = (-reach..=reach)
            .flat_map(|y| (-reach..=reach).map(move |x| y * layout.row_stride() as isize + x))
            .collect();
        let taps = shifts.len();
        Self {
            in_channels,
            out_channels,
            kernel_size,
            isa,
            layout,
            batch,
            forward: TilePlan::new(isa, in_channels, out_channels, taps, layout, batch),
            backward: TilePlan::new(isa, out_channels, in_channels, taps, layout, batch),
            weights: WeightPlan::new(isa, in_channels, out_channels, &shifts, layout, batch),
            turned: shifts.iter().rev().copied().collect(),
            shifts,
        }
    }

    /// Floats that [`Conv2d::pack`] writes.
    #[must_use]
    pub fn packed_len(&self) -> usize {
        self.in_channels * self.out_channels * self.shifts.len()
    }

    /// Floats that [`Conv2d::pack_transposed`] writes.
    #[must_use]
    pub fn packed_transposed_len(&self) -> usize {
        self.packed_len()
    }

    /// Orders weights `[out][in][row][column]` for [`Conv2d::forward`].
    ///
    /// # Panics
    /// When a length differs from [`Conv2d::packed_len`].
    pub fn pack(&self, weight: &[f32], packed: &mut [f32]) {
        assert_eq!((weight.len(), packed.len()), (self.packed_len(), self.packed_len()));
        pack::pack(self.isa, weight, packed, self.in_channels, self.shifts.len(), &self.forward.blocks);
    }

    /// Orders weights `[out][in][row][column]` for [`Conv2d::backward_data`]: inputs and outputs change places.
    ///
    /// # Panics
    /// When a length differs from [`Conv2d::packed_transposed_len`].
    pub fn pack_transposed(&self, weight: &[f32], packed: &mut [f32]) {
        assert_eq!((weight.len(), packed.len()), (self.packed_len(), self.packed_len()));
        pack::pack_transposed(self.isa, weight, packed, self.out_channels, self.shifts.len(), &self.backward.blocks);
    }

    /// Writes `y`, borders included; with `relu`, negative results become zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn forward(&self, packed: &[f32], bias: Option<&[f32]>, relu: bool, x: &Planes, y: &Planes) {
        self.check(x, y);
        assert_eq!(packed.len(), self.packed_len());
        assert!(bias.is_none_or(|b| b.len() == self.out_channels));
        let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let job = TileJob {
            conv: self,
            plan: &self.forward,
            shifts: &self.shifts,
            packed,
            bias: Shared(bias),
            relu,
            accumulate: false,
            x,
            y,
        };
        job.run();
    }

    /// Writes the gradient of the input, borders included, or adds it to what `dx` holds; the borders of `dy` must be
    /// zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn backward_data(&self, packed_transposed: &[f32], dy: &Planes, dx: &Planes, accumulate: bool) {
        self.check(dx, dy);
        assert_eq!(packed_transposed.len(), self.packed_len());
        let bias = Shared(std::ptr::null());
        let (plan, shifts, packed) = (&self.backward, &self.turned[..], packed_transposed);
        TileJob { conv: self, plan, shifts, packed, bias, relu: false, accumulate, x: dy, y: dx }.run();
    }

    /// Floats of scratch memory that [`Conv2d::backward_weights`] needs.
    #[must_use]
    pub fn gradient_scratch_len(&self) -> usize {
        self.weights.scratch_len()
    }

    /// Writes the gradients of the weights `[out][in][row][column]` and of the biases; the borders of `x` and `dy` must be
    /// zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn backward_weights(
        &self,
        x: &Planes,
        dy: &Planes,
        scratch: &mut [f32],
        dweight: &mut [f32],
        dbias: Option<&mut [f32]>,
    ) {
        self.check(x, dy);
        assert_eq!(dweight.len(), self.packed_len());
        assert!(scratch.len() >= self.gradient_scratch_len());
        assert!(dbias.as_ref().is_none_or(|b| b.len() == self.out_channels));
        self.weights.run(x, dy, scratch, dweight, dbias);
    }

    fn check(&self, x: &Planes, y: &Planes) {
        assert_eq!((x.channels, y.channels), (self.in_channels, self.out_channels));
        assert_eq!((x.batch, y.batch), (self.batch, self.batch));
        assert_eq!((x.layout, y.layout), (self.layout, self.layout));
    }
}

/// An address that jobs share.
#[derive(Clone, Copy, Debug)]
struct Shared<T>(T);

// SAFETY: jobs read through it, or write to disjoint places, as each use argues.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// First and last (exclusive) flat position of the pixels.
fn pixel_range(layout: PlaneLayout) -> (usize, usize) {
    (layout.origin(), layout.origin() + (layout.height - 1) * layout.row_stride() + layout.width)
}

/// Whole lines around the pixels: aligned ones, or, where the plane has room for them, fewer from the first pixel on.
fn tile_range(layout: PlaneLayout) -> (usize, usize) {
    let (first, last) = pixel_range(layout);
    let (start, end) = (first / LINE * LINE, last.next_multiple_of(LINE));
    let fewer = (last - first).next_multiple_of(LINE);
    if end - start <= 8 * LINE && fewer < end - start && first + fewer <= layout.plane_stride() {
        (first, first + fewer)
    } else {
        (start, end)
    }
}

/// `count` things in parts as equal as possible, of at most `most`: part `k` starts at the k-th number.
fn even_parts(count: usize, most: usize) -> Vec<usize> {
    let parts = count.div_ceil(most);
    (0..=parts).map(|k| k * count / parts).collect()
}

/// Cost of a convolution in multiply-adds, the transport of one float counted as sixteen.
fn work(inputs: usize, outputs: usize, taps: usize, layout: PlaneLayout, batch: usize) -> usize {
    (inputs * outputs * taps + 16 * (inputs + outputs)) * layout.height * layout.width * batch
}

/// Runs jobs in parallel, or in a loop when the work is smaller than the cost of sharing it.
fn for_each_job(jobs: usize, work: usize, job: impl Fn(usize) + Send + Sync) {
    const WORTH_SHARING: usize = 1 << 17;
    if work < WORTH_SHARING {
        (0..jobs).for_each(job);
    } else {
        team::for_each(jobs, job);
    }
}

/// Division of a convolution into jobs: groups of images x pieces of the plane x groups of blocks of output channels.
#[derive(Clone, Debug)]
struct TilePlan {
    in_channels: usize,
    /// Starts of the blocks of output channels, and their end.
    blocks: Vec<usize>,
    /// Input channels summed in one pass, so that the inputs of a tile stay in the first cache.
    in_block: usize,
    /// First position and end of the positions, a whole number of lines.
    start: usize,
    end: usize,
    /// Positions of a piece.
    piece: usize,
    pieces: usize,
    images_per_job: usize,
    blocks_per_job: usize,
    work: usize,
}

impl TilePlan {
    fn new(isa: Isa, inputs: usize, outputs: usize, taps: usize, layout: PlaneLayout, batch: usize) -> Self {
        /// Floats of the inputs of a piece: a part of the second cache.
        const PIECE_FLOATS: usize = 64 * 1024;
        const MAX_PIECE: usize = 16 * 1024;
        /// Positions below which a job's weights cost more to load than to use.
        const MIN_POSITIONS: usize = 1024;
        const MIN_JOBS: usize = 12;
        const MIN_JOB_WORK: usize = 1 << 19;
        let blocks = even_parts(outputs, conv_tile::max_out_channels(isa));
        let in_block = inputs.min((288 / taps).max(8));
        let (start, end) = tile_range(layout);
        let positions = end - start;
        let pieces = positions.div_ceil((PIECE_FLOATS / in_block).clamp(512, MAX_PIECE));
        let piece = positions.div_ceil(pieces).next_multiple_of(LINE);
        let pieces = positions.div_ceil(piece);
        let images_per_job = MIN_POSITIONS.div_ceil(piece).min(batch);
        let work = work(inputs, outputs, taps, layout, batch);
        let position_jobs = pieces * batch.div_ceil(images_per_job);
        let splits =
            MIN_JOBS.div_ceil(position_jobs).min((work / position_jobs / MIN_JOB_WORK).max(1)).min(blocks.len() - 1);
        let blocks_per_job = (blocks.len() - 1).div_ceil(splits);
        Self { in_channels: inputs, blocks, in_block, start, end, piece, pieces, images_per_job, blocks_per_job, work }
    }
}

/// One convolution under way.
struct TileJob<'a> {
    conv: &'a Conv2d,
    plan: &'a TilePlan,
    shifts: &'a [isize],
    packed: &'a [f32],
    bias: Shared<*const f32>,
    relu: bool,
    accumulate: bool,
    x: &'a Planes,
    y: &'a Planes,
}

impl TileJob<'_> {
    fn run(&self) {
        let plan = self.plan;
        let block_jobs = (plan.blocks.len() - 1).div_ceil(plan.blocks_per_job);
        let image_jobs = self.x.batch.div_ceil(plan.images_per_job);
        for_each_job(image_jobs * plan.pieces * block_jobs, plan.work, |job| {
            let (rest, blocks) = (job / block_jobs, job % block_jobs);
            let (images, piece) = (rest / plan.pieces, rest % plan.pieces);
            let first = blocks * plan.blocks_per_job;
            let last = (first + plan.blocks_per_job).min(plan.blocks.len() - 1);
            let first_image = images * plan.images_per_job;
            let last_image = (first_image + plan.images_per_job).min(self.x.batch);
            self.run_job(first_image..last_image, piece, first..last);
        });
    }

    fn run_job(&self, images: std::ops::Range<usize>, piece: usize, blocks: std::ops::Range<usize>) {
        let plan = self.plan;
        for channel in (0..plan.in_channels).step_by(plan.in_block) {
            let channels = plan.in_block.min(plan.in_channels - channel);
            for block in blocks.clone() {
                for image in images.clone() {
                    self.run_tiles(image, piece, block, channel, channels);
                }
            }
        }
    }

    /// Adds some input channels to a block of output channels of a piece of an image.
    fn run_tiles(&self, image: usize, piece: usize, block: usize, channel: usize, channels: usize) {
        let (plan, layout, taps) = (self.plan, self.conv.layout, self.shifts);
        let (out, out_end) = (plan.blocks[block], plan.blocks[block + 1]);
        let start = plan.start + piece * plan.piece;
        let end = plan.end.min(start + plan.piece);
        let is_last = channel + channels == plan.in_channels;
        let weights = (out * plan.in_channels + channel * (out_end - out)) * taps.len();
        let run = TileRun {
            x: self.x.plane(image, channel),
            plane_stride: layout.plane_stride(),
            in_channels: channels,
            shifts: taps,
            weights: self.packed[weights..].as_ptr(),
            y: self.y.plane(image, out),
            out_channels: out_end - out,
            start,
            end,
            bias: if self.bias.0.is_null() { self.bias.0 } else { self.bias.0.wrapping_add(out) },
            accumulate: self.accumulate || channel > 0,
            relu: self.relu && is_last,
        };
        // SAFETY: the planes were checked against the plan; a shifted tile reaches at most a line beyond the planes; jobs
        // write disjoint blocks of channels or pieces of images.
        unsafe {
            conv_tile::convolve(self.conv.isa, &run);
            if is_last {
                for c in out..out_end {
                    zero_borders(layout, self.y.plane(image, c), start, end);
                }
            }
        }
    }
}

/// Zeroes what is not a pixel in [start, end) of a plane, and the plane's ends if the range has its first or last pixel.
///
/// # Safety
/// `plane` is the first float of a plane of that layout, and nobody else touches the range.
unsafe fn zero_borders(layout: PlaneLayout, plane: *mut f32, start: usize, end: usize) {
    let PlaneLayout { width, pad, .. } = layout;
    let (first, last) = pixel_range(layout);
    // SAFETY: every index is inside the range or in an end that belongs to this range's job.
    unsafe {
        if start <= first {
            std::slice::from_raw_parts_mut(plane, first).fill(0.0);
        }
        if end >= last {
            std::slice::from_raw_parts_mut(plane.add(last), layout.plane_stride() - last).fill(0.0);
        }
        let mut gap = first + start.saturating_sub(first) / layout.row_stride() * layout.row_stride() + width;
        while gap < end.min(last) {
            for q in gap.max(start)..(gap + pad).min(end) {
                *plane.add(q) = 0.0;
            }
            gap += layout.row_stride();
        }
    }
}
