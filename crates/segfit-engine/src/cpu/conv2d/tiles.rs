//! Division of a convolution into jobs of register tiles.

use segfit::network::layout::{LINE, PlaneLayout, SLACK};

use crate::cpu::kernels::conv_tile::{self, TileRun};
use crate::cpu::max_pool::pool_rows;
use crate::cpu::ordered::for_each;
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;
use crate::cpu::team;

/// An address that jobs share.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Shared<T>(pub T);

// SAFETY: jobs read through it, or write to disjoint places, as each use argues.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// Planes of a tensor or of scratch memory; float `q` of a plane is position `q` of the job's layout.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Flat {
    base: Shared<*mut f32>,
    image_stride: usize,
    pub plane_stride: usize,
}

impl Flat {
    /// The planes of a tensor, from an image on.
    pub fn of(planes: &Planes, first_image: usize) -> Self {
        let base = planes.plane(0, 0).wrapping_add(first_image * planes.batch_stride);
        Self { base: Shared(base), image_stride: planes.batch_stride, plane_stride: planes.layout.plane_stride() }
    }

    /// Planes whose position 0 is `base` (which may lie before the memory that the positions of a job touch).
    pub fn at(base: *mut f32, image_stride: usize, plane_stride: usize) -> Self {
        Self { base: Shared(base), image_stride, plane_stride }
    }

    pub fn plane(&self, image: usize, channel: usize) -> *mut f32 {
        self.base.0.wrapping_add(image * self.image_stride + channel * self.plane_stride)
    }
}

/// First and last (exclusive) flat position of the pixels.
pub(in crate::cpu) fn pixel_range(layout: PlaneLayout) -> (usize, usize) {
    (layout.origin(), layout.origin() + (layout.height - 1) * layout.row_stride() + layout.width)
}

/// Whole lines around the pixels: aligned ones, or, where the plane has room for them, fewer from the first pixel on.
pub(in crate::cpu) fn tile_range(layout: PlaneLayout) -> (usize, usize) {
    let (first, last) = pixel_range(layout);
    let (start, end) = (first / LINE * LINE, last.next_multiple_of(LINE));
    let fewer = (last - first).next_multiple_of(LINE);
    if end - start <= 8 * LINE && fewer < end - start && first + fewer <= layout.plane_stride() {
        (first, first + fewer)
    } else {
        (start, end)
    }
}

/// # Panics
/// When a tile of [start, end), shifted, would leave the plane by more than the arena's slack: a bug of the schedule.
pub(in crate::cpu) fn assert_readable(layout: PlaneLayout, (start, end): (usize, usize), shifts: &[isize]) {
    let (low, high) = (shifts.iter().min().copied().unwrap_or(0), shifts.iter().max().copied().unwrap_or(0));
    let slack = SLACK as isize;
    let fits = start as isize + low >= -slack && end as isize + high <= layout.plane_stride() as isize + slack;
    assert!(fits, "shifts from {low} to {high} leave the slack around planes of {layout:?}");
}

/// `count` things in parts as equal as possible, of at most `most`: part `k` starts at the k-th number.
pub(in crate::cpu) fn even_parts(count: usize, most: usize) -> Vec<usize> {
    let parts = count.div_ceil(most);
    (0..=parts).map(|k| k * count / parts).collect()
}

/// Channels of every group of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct GroupChannels {
    pub inputs: usize,
    pub outputs: usize,
    pub groups: usize,
}

impl GroupChannels {
    /// Inputs and outputs change places.
    pub fn turned(self) -> Self {
        Self { inputs: self.outputs, outputs: self.inputs, groups: self.groups }
    }

    /// Pairs of an input and an output: weights for each kernel position.
    pub fn pairs(self) -> usize {
        self.inputs * self.outputs * self.groups
    }

    /// Cost of a convolution in multiply-adds, the transport of one float counted as sixteen.
    pub fn work(self, taps: usize, pixels: usize) -> usize {
        (self.pairs() * taps + 16 * self.groups * (self.inputs + self.outputs)) * pixels
    }
}

/// Runs jobs in parallel, or in a loop when the work is smaller than the cost of sharing it.
pub(in crate::cpu) fn for_each_job(jobs: usize, work: usize, job: impl Fn(usize) + Send + Sync) {
    const WORTH_SHARING: usize = 1 << 17;
    if work < WORTH_SHARING {
        (0..jobs).for_each(job);
    } else {
        team::for_each(jobs, job);
    }
}

/// Kernel positions that are summed into one output plane.
#[derive(Clone, Debug)]
pub(in crate::cpu) struct TapSet {
    /// Flat shift of every position.
    pub shifts: Vec<isize>,
    /// Planes of an input channel that the shifts lead to.
    pub planes: usize,
    /// Floats of packed weights before this set's.
    pub weights: usize,
    /// Floats from the output plane of the first set to this set's.
    pub offset: usize,
}

/// Division of a convolution into jobs: sets of taps x groups of images x pieces of the plane x runs of blocks of output
/// channels.
#[derive(Clone, Debug)]
pub(in crate::cpu) struct TilePlan {
    channels: GroupChannels,
    sets: Vec<TapSet>,
    /// Starts of the blocks of output channels of a group, and their end.
    pub blocks: Vec<usize>,
    /// Input channels summed in one pass, so that the inputs of a tile stay in the first cache.
    in_block: usize,
    /// First position and end of the positions, a whole number of lines.
    start: usize,
    end: usize,
    /// Positions of a piece.
    piece: usize,
    pieces: usize,
    images_per_job: usize,
    /// Blocks (of all groups) of a job.
    blocks_per_job: usize,
    work: usize,
}

impl TilePlan {
    /// For outputs at [start, end) with `pixels` pixels in `batch` images.
    pub fn new(
        isa: Isa,
        channels: GroupChannels,
        sets: Vec<TapSet>,
        (start, end): (usize, usize),
        pixels: usize,
        batch: usize,
    ) -> Self {
        /// Floats of the inputs of a piece: a part of the second cache.
        const PIECE_FLOATS: usize = 64 * 1024;
        const MAX_PIECE: usize = 16 * 1024;
        /// Positions below which a job's weights cost more to load than to use.
        const MIN_POSITIONS: usize = 1024;
        const MIN_JOBS: usize = 12;
        const MIN_JOB_WORK: usize = 1 << 19;
        let blocks = even_parts(channels.outputs, conv_tile::max_out_channels(isa));
        let most_taps = sets.iter().map(|s| s.shifts.len()).max().unwrap_or(1).max(1);
        // Shifts of one plane share cache lines, those of several planes less so.
        let spread = if sets.iter().any(|s| s.planes > 1) { 2 } else { 1 };
        let in_block = channels.inputs.min((288 / spread / most_taps).max(8));
        let positions = end - start;
        let pieces = positions.div_ceil((PIECE_FLOATS / in_block).clamp(512, MAX_PIECE));
        let piece = positions.div_ceil(pieces).next_multiple_of(LINE);
        let pieces = positions.div_ceil(piece);
        let images_per_job = MIN_POSITIONS.div_ceil(piece).min(batch);
        let taps = sets.iter().map(|s| s.shifts.len()).sum();
        let work = channels.work(taps, pixels * batch);
        let position_jobs = sets.len() * pieces * batch.div_ceil(images_per_job);
        let all_blocks = channels.groups * (blocks.len() - 1);
        let splits = MIN_JOBS.div_ceil(position_jobs).min((work / position_jobs / MIN_JOB_WORK).max(1)).min(all_blocks);
        let blocks_per_job = all_blocks.div_ceil(splits);
        Self { channels, sets, blocks, in_block, start, end, piece, pieces, images_per_job, blocks_per_job, work }
    }
}

impl TilePlan {
    /// All pieces.
    pub fn pieces(&self) -> std::ops::Range<usize> {
        0..self.pieces
    }

    /// End of the positions of a piece.
    pub fn piece_end(&self, piece: usize) -> usize {
        self.end.min(self.start + (piece + 1) * self.piece)
    }
}

/// One convolution under way.
pub(in crate::cpu) struct TileJob<'a> {
    pub isa: Isa,
    pub plan: &'a TilePlan,
    pub packed: &'a [f32],
    /// One value for each output channel, or null.
    pub bias: *const f32,
    pub relu: bool,
    pub accumulate: bool,
    pub x: Flat,
    pub y: Flat,
    /// Layout of the output's planes when they are a tensor's, whose borders become zero.
    pub layout: Option<PlaneLayout>,
    /// The output as a tensor, and its 2x2 max pooling, which is computed while the output is in the cache.
    pub pooled: Option<(&'a Planes, &'a Planes)>,
    /// Images, at most those of the plan.
    pub batch: usize,
    /// Pieces of the plan's positions that are computed.
    pub pieces: std::ops::Range<usize>,
}

// SAFETY: the bias is only read.
unsafe impl Sync for TileJob<'_> {}

/// Tiles of one job.
#[derive(Clone, Copy)]
struct Place {
    set: usize,
    image: usize,
    piece: usize,
    group: usize,
    block: usize,
}

impl TileJob<'_> {
    /// # Safety
    /// Packed weights and bias fit the plan; every position of the plan, shifted, is readable in x, and every position
    /// writable in y, which nobody else touches.
    pub unsafe fn run(&self) {
        let plan = self.plan;
        let all_blocks = plan.channels.groups * (plan.blocks.len() - 1);
        let block_jobs = all_blocks.div_ceil(plan.blocks_per_job);
        let image_jobs = self.batch.div_ceil(plan.images_per_job);
        let pieces = self.pieces.len();
        for_each_job(plan.sets.len() * image_jobs * pieces * block_jobs, plan.work * pieces / plan.pieces, |job| {
            let (rest, blocks) = (job / block_jobs, job % block_jobs);
            let (rest, piece) = (rest / pieces, self.pieces.start + rest % pieces);
            let (set, images) = (rest / image_jobs, rest % image_jobs);
            let first = blocks * plan.blocks_per_job;
            let last = (first + plan.blocks_per_job).min(all_blocks);
            let first_image = images * plan.images_per_job;
            let last_image = (first_image + plan.images_per_job).min(self.batch);
            self.run_job(set, first_image..last_image, piece, first..last);
        });
        if let Some((y, pooled)) = self.pooled {
            self.pool_between_pieces(y, pooled);
        }
    }

    /// Rows of the pooling that need nothing but a piece.
    fn pooled_rows(&self, layout: PlaneLayout, pooled: &Planes, piece: usize) -> (usize, usize) {
        let start = self.plan.start + piece * self.plan.piece;
        let end = self.plan.end.min(start + self.plan.piece);
        let first = start.saturating_sub(layout.origin()).div_ceil(layout.row_stride()).div_ceil(2);
        let last = (end + layout.pad).saturating_sub(layout.origin()) / layout.row_stride() / 2;
        let first = first.min(pooled.layout.height);
        (first, last.clamp(first, pooled.layout.height))
    }

    /// Pools the rows that two pieces have parts of.
    fn pool_between_pieces(&self, y: &Planes, pooled: &Planes) {
        let rows = |piece| self.pooled_rows(y.layout, pooled, piece);
        for (before, after) in (1..self.plan.pieces).map(|k| (rows(k - 1).1, rows(k).0)).filter(|(a, b)| a < b) {
            let work = y.channels * self.batch * (after - before) * y.layout.width;
            for_each(y.channels * self.batch, work, |k| {
                let place = (k / y.channels, k % y.channels);
                // SAFETY: all pieces are done; nobody else writes these rows.
                unsafe { pool_rows(self.isa, y, pooled, place, (before, after)) };
            });
        }
    }

    fn run_job(&self, set: usize, images: std::ops::Range<usize>, piece: usize, all_blocks: std::ops::Range<usize>) {
        let plan = self.plan;
        let per_group = plan.blocks.len() - 1;
        for group in all_blocks.start / per_group..all_blocks.end.div_ceil(per_group) {
            let first = all_blocks.start.saturating_sub(group * per_group);
            let last = (all_blocks.end - group * per_group).min(per_group);
            for channel in (0..plan.channels.inputs).step_by(plan.in_block) {
                let channels = plan.in_block.min(plan.channels.inputs - channel);
                for block in first..last {
                    for image in images.clone() {
                        self.run_tiles(Place { set, image, piece, group, block }, channel, channels);
                    }
                }
            }
        }
    }

    /// Adds some input channels to a block of output channels of a piece of an image.
    fn run_tiles(&self, place: Place, channel: usize, channels: usize) {
        let (plan, set) = (self.plan, &self.plan.sets[place.set]);
        let GroupChannels { inputs, outputs, .. } = plan.channels;
        let (out, out_end) = (plan.blocks[place.block], plan.blocks[place.block + 1]);
        let first_out = place.group * outputs + out;
        let start = plan.start + place.piece * plan.piece;
        let end = plan.end.min(start + plan.piece);
        let is_last = channel + channels == inputs;
        let pairs = place.group * inputs * outputs + out * inputs + channel * (out_end - out);
        let run = TileRun {
            x: self.x.plane(place.image, place.group * inputs + channel),
            x_stride: self.x.plane_stride,
            in_channels: channels,
            shifts: &set.shifts,
            weights: self.packed[set.weights + pairs * set.shifts.len()..].as_ptr(),
            y: self.y.plane(place.image, first_out).wrapping_add(set.offset),
            y_stride: self.y.plane_stride,
            out_channels: out_end - out,
            start,
            end,
            bias: if self.bias.is_null() { self.bias } else { self.bias.wrapping_add(first_out) },
            accumulate: self.accumulate || channel > 0,
            relu: self.relu && is_last,
        };
        // SAFETY: the caller of `run` vouches for the positions; jobs write disjoint blocks of channels, sets, or pieces of
        // images.
        unsafe {
            conv_tile::convolve(self.isa, &run);
            if let (true, Some(layout)) = (is_last, self.layout) {
                for c in first_out..first_out + out_end - out {
                    zero_borders(layout, self.y.plane(place.image, c), start, end);
                    if let Some((y, pooled)) = self.pooled {
                        let rows = self.pooled_rows(layout, pooled, place.piece);
                        if rows.0 < rows.1 {
                            pool_rows(self.isa, y, pooled, (place.image, c), rows);
                        }
                    }
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
