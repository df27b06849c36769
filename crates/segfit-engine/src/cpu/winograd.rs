//! The Winograd form F(4x4, 3x3) of a 3x3 convolution: a quarter of the multiplications of the direct form.
//!
//! ```text
//! x --> blocks of tiles --> v = Bt d B  --> m = u * v, 36 matrix products --> y = At m A, bias, relu
//!                                            u = G g Gt, when the weights are packed
//! ```
//! A block of tiles is small enough for its `v` to stay in the second cache. Large planes have many blocks, each a job from
//! `x` to `y`. Small planes have few: then all of `v` is made first, and the jobs of the products divide the output
//! channels.

use std::sync::atomic::{AtomicUsize, Ordering};

use segfit::network::layout::PlaneLayout;

use super::kernels::winograd_multiply::{self, Product};
use super::kernels::winograd_transform::{self, ELEMENTS, Finish, Run, TILE, TOGETHER, Unit, Vector, tiles_len};
use super::ordered::zero_ends;
use super::planes::Planes;
use super::simd::Isa;
use super::team;

/// How often the weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Before the first of many passes: inference.
    Once,
    /// Before every pass, since they have changed: training.
    EveryPass,
}

mod pack;
#[cfg(test)]
mod tests;

/// A 3x3 convolution with stride 1 and "same" padding, prepared for one shape of input; cross-correlation, as networks
/// define it.
///
/// Results are the same bits for any number of threads, and differ from the direct form's by roundings: about 1e-5 of the
/// largest output.
#[derive(Clone, Debug)]
pub struct Winograd {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    isa: Isa,
    layout: PlaneLayout,
    batch: usize,
    plan: Plan,
}

/// Division of the work. It changes no result: every output is summed in the same order.
#[derive(Clone, Debug)]
struct Plan {
    /// Floats of a vector.
    lanes: usize,
    /// Units of a tiled row, of four rows each.
    units_per_row: usize,
    /// Starts of the blocks of vectors, and their end.
    blocks: Vec<usize>,
    /// Starts of the blocks of output channels, and their end.
    out_blocks: Vec<usize>,
    /// Starts of the groups of blocks of output channels whose products are held together, and their end.
    groups: Vec<usize>,
    /// Starts of the groups that a job does, and their end.
    shares: Vec<usize>,
    in_block: usize,
    /// Parts of the input channels that are transformed by jobs of their own; 0 when a job does a block from `x` to `y`.
    in_parts: usize,
    /// Jobs that may run together.
    slots: usize,
}

/// `count` things in parts as equal as possible, of at most `most`: part `k` starts at the k-th number.
fn even_parts(count: usize, most: usize) -> Vec<usize> {
    let parts = count.div_ceil(most);
    (0..=parts).map(|k| k * count / parts).collect()
}

impl Plan {
    fn new(isa: Isa, inputs: usize, outputs: usize, layout: PlaneLayout, batch: usize) -> Self {
        /// Output channels of a group: the products' inputs are read once for all of them.
        const GROUP: usize = 32;
        /// Input channels of a pass, so that a panel of one element stays in the first cache.
        const IN_BLOCK: usize = 128;
        /// Transformed weights, in floats, that the second cache can read again for every panel.
        const SMALL_WEIGHTS: usize = 600 * 1024;
        const WORTH_WAKING: usize = 1 << 20;
        let threads = team::size();
        let lanes = isa.lanes();
        let units_per_row = layout.width.div_ceil(lanes);
        let vectors = (batch * layout.height.div_ceil(TILE) * units_per_row).div_ceil(4);
        let out_blocks = even_parts(outputs, winograd_multiply::max_outputs(isa));
        let groups = even_parts(out_blocks.len() - 1, GROUP.div_ceil(winograd_multiply::max_outputs(isa)));
        let in_block = inputs.div_ceil(inputs.div_ceil(IN_BLOCK)).next_multiple_of(TOGETHER);

        let panel = winograd_multiply::max_vectors(isa);
        let whole_jobs = vectors.div_ceil(panel);
        let is_small = ELEMENTS * inputs * outputs <= SMALL_WEIGHTS;
        let alone = groups.len() == 2 || whole_jobs >= if is_small { 3 * threads } else { 6 * threads };
        let blocks = even_parts(vectors, if alone { panel } else { 2 * panel });
        let (count, group_count) = (blocks.len() - 1, groups.len() - 1);
        let (shares, in_parts) = if alone {
            (vec![0, group_count], 0)
        } else {
            let parts = (6 * threads).div_ceil(count);
            (even_parts(group_count, group_count.div_ceil(parts)), parts.min(inputs.div_ceil(TOGETHER)))
        };
        let work = (inputs * outputs * 9 + 16 * (inputs + outputs)) * layout.height * layout.width * batch;
        let slots = if work < WORTH_WAKING { 1 } else { threads.min(count * (shares.len() - 1).max(in_parts)) };
        Self { lanes, units_per_row, blocks, out_blocks, groups, shares, in_block, in_parts, slots }
    }

    /// Runs of input channels that lie together.
    fn runs(&self, inputs: usize) -> usize {
        inputs.div_ceil(TOGETHER)
    }

    /// Vectors of the largest block.
    fn most_vectors(&self) -> usize {
        self.blocks.windows(2).map(|b| b[1] - b[0]).max().unwrap_or(0)
    }

    /// Floats of `v` of the largest block, at most.
    fn v_len(&self, inputs: usize) -> usize {
        let vectors = self.most_vectors();
        self.runs(inputs) * tiles_len(vectors, vectors, self.lanes)
    }

    /// Floats of `m` of the largest block and group, at most.
    fn m_len(&self) -> usize {
        let vectors = self.most_vectors();
        let blocks = self.groups.windows(2).map(|g| g[1] - g[0]).max().unwrap_or(0);
        blocks * tiles_len(vectors, vectors, self.lanes)
    }
}

/// An address that jobs share.
#[derive(Clone, Copy, Debug)]
struct Shared<T>(T);

// SAFETY: jobs read through it, or write to disjoint places, as each use argues.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn get(&self) -> T {
        self.0
    }
}

impl Winograd {
    /// Prepares a convolution for `batch` images of one layout. The number of threads of the current pool decides how much
    /// scratch memory there is; a larger pool later runs no more jobs together than that.
    ///
    /// # Panics
    /// When a size is zero or the layout has no border: bugs of the schedule.
    #[must_use]
    pub fn new(isa: Isa, in_channels: usize, out_channels: usize, layout: PlaneLayout, batch: usize) -> Self {
        assert!(in_channels > 0 && out_channels > 0 && batch > 0 && layout.height > 0 && layout.width > 0);
        assert!(layout.pad >= 1, "a 3x3 kernel needs a border");
        let plan = Plan::new(isa, in_channels, out_channels, layout, batch);
        Self { in_channels, out_channels, isa, layout, batch, plan }
    }

    /// Whether this form is faster than the direct one, by a count of cycles that was fitted to measurements.
    ///
    /// Measured with AVX-512 on two cores (benchmarks/engine/winograd.md): it takes 0.4 to 0.5 of the direct form's time at 32
    /// to 256 channels and 0.65 at 16. It loses where tiles do not fill vectors (17 x 17 pixels) and where there are too few of
    /// them for the four times larger weights (8 x 8 pixels, batch 1). With AVX2 it took 0.7 at 8 channels and 1.3 at 4.
    #[must_use]
    pub fn pays(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        layout: PlaneLayout,
        batch: usize,
        packing: Packing,
    ) -> bool {
        /// Cycles to bring the transformed weights of one pair of channels, and to transform them.
        const WEIGHT: usize = 10;
        const PACK: usize = 40;
        /// Transformed weights, in floats, that no cache holds: what is won in time is not worth four times the memory.
        const MAX_WEIGHTS: usize = 32 << 20;
        let lanes = isa.lanes();
        // Cycles of the transform of a channel of a vector. A layer of few channels that is timed alone, all its data near,
        // needs 200; whole networks are fastest with this number, because the direct form pools in the same pass.
        let transform = if isa == Isa::Avx512 { 300 } else { 150 };
        let pairs = in_channels * out_channels;
        let vectors = (batch * layout.height.div_ceil(TILE) * layout.width.div_ceil(lanes)).div_ceil(4);
        // Two vectors of products a cycle; those of the tiles reach seven eighths of that.
        let direct = 9 * pairs * layout.height * layout.width * batch / (2 * lanes);
        let products = 21 * pairs * vectors;
        let transforms = transform * (in_channels + out_channels) * vectors;
        let weights = pairs * if packing == Packing::Once { WEIGHT } else { WEIGHT + PACK };
        ELEMENTS * pairs <= MAX_WEIGHTS && products + transforms + weights < direct
    }

    /// Floats that [`Winograd::pack`] and [`Winograd::pack_transposed`] write.
    #[must_use]
    pub fn packed_len(&self) -> usize {
        ELEMENTS * self.in_channels * self.out_channels
    }

    /// Transforms weights `[out][in][3][3]`.
    ///
    /// # Panics
    /// When a length differs from 9 x in x out or [`Winograd::packed_len`].
    pub fn pack(&self, weight: &[f32], packed: &mut [f32]) {
        pack::pack(self, weight, packed, pack::Order::Layer);
    }

    /// Transforms the weights `[out][in][3][3]` of a layer whose outputs are this convolution's inputs and whose inputs are
    /// its outputs: then [`Winograd::forward`] turns the gradient of the layer's output into that of its input.
    ///
    /// # Panics
    /// As for [`Winograd::pack`].
    pub fn pack_transposed(&self, weight: &[f32], packed: &mut [f32]) {
        pack::pack(self, weight, packed, pack::Order::Transposed);
    }

    /// Floats of scratch memory that [`Winograd::forward`] needs, for all jobs that run together.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        let plan = &self.plan;
        let v = plan.v_len(self.in_channels);
        if plan.in_parts == 0 {
            plan.slots * (v + plan.m_len())
        } else {
            (plan.blocks.len() - 1) * v + plan.slots * plan.m_len()
        }
    }

    /// Writes `y`, borders included: the convolution plus the bias, added to what `y` holds with `accumulate`; with `relu`,
    /// negative results become zero. The borders of `x` must be zero.
    ///
    /// # Panics
    /// When shapes or lengths differ from the prepared ones.
    pub fn forward(
        &self,
        packed: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        accumulate: bool,
        x: &Planes,
        y: &Planes,
        scratch: &mut [f32],
    ) {
        assert_eq!((x.channels, y.channels), (self.in_channels, self.out_channels));
        assert_eq!((x.batch, y.batch), (self.batch, self.batch));
        assert_eq!((x.layout, y.layout), (self.layout, self.layout));
        assert_eq!(packed.len(), self.packed_len());
        assert!(bias.is_none_or(|b| b.len() == self.out_channels));
        assert!(scratch.len() >= self.scratch_len());
        let bias = Shared(bias.map_or(std::ptr::null(), <[f32]>::as_ptr));
        let job = Job { op: self, packed, bias, relu, accumulate, x, y, scratch: Shared(scratch.as_mut_ptr()) };
        job.run();
    }
}

/// One convolution under way.
struct Job<'a> {
    op: &'a Winograd,
    packed: &'a [f32],
    bias: Shared<*const f32>,
    relu: bool,
    accumulate: bool,
    x: &'a Planes,
    y: &'a Planes,
    scratch: Shared<*mut f32>,
}

impl Job<'_> {
    fn run(&self) {
        let plan = &self.op.plan;
        let (v_len, m_len) = (plan.v_len(self.op.in_channels), plan.m_len());
        let blocks = plan.blocks.len() - 1;
        if plan.in_parts == 0 {
            for_each_slot(plan.slots, blocks, |slot, block| {
                let v = self.scratch.get().wrapping_add(slot * (v_len + m_len));
                let units = self.units(block);
                self.transform(&units, 0..plan.runs(self.op.in_channels), v);
                self.multiply(&units, 0..plan.groups.len() - 1, v, v.wrapping_add(v_len));
            });
            return;
        }
        let parts = plan.in_parts;
        for_each_slot(plan.slots, blocks * parts, |_, job| {
            let (block, part) = (job / parts, job % parts);
            let runs = plan.runs(self.op.in_channels);
            let part = part * runs / parts..(part + 1) * runs / parts;
            self.transform(&self.units(block), part, self.scratch.get().wrapping_add(block * v_len));
        });
        let m = self.scratch.get().wrapping_add(blocks * v_len);
        let m = Shared(m);
        for_each_slot(plan.slots, blocks * (plan.shares.len() - 1), |slot, job| {
            let (share, block) = (job / blocks, job % blocks);
            let groups = plan.shares[share]..plan.shares[share + 1];
            let v = self.scratch.get().wrapping_add(block * v_len);
            self.multiply(&self.units(block), groups, v, m.get().wrapping_add(slot * m_len));
        });
    }

    /// The units of a block's vectors.
    fn units(&self, block: usize) -> Vec<Vector> {
        let plan = &self.op.plan;
        (plan.blocks[block]..plan.blocks[block + 1])
            .map(|vector| Vector::new(std::array::from_fn(|u| self.unit(4 * vector + u)), plan.lanes))
            .collect()
    }

    fn unit(&self, index: usize) -> Unit {
        let (plan, layout) = (&self.op.plan, self.op.layout);
        let (row, column) = (index / plan.units_per_row, index % plan.units_per_row * plan.lanes);
        let tiled = layout.height.div_ceil(TILE);
        let (image, row) = (row / tiled, row % tiled * TILE);
        if image >= self.op.batch {
            return Unit { input: layout.origin(), output: layout.origin(), rows: 0, columns: 0 };
        }
        let pixel = layout.origin() + row * layout.row_stride() + column;
        Unit {
            input: image * self.x.batch_stride + pixel,
            output: image * self.y.batch_stride + pixel,
            rows: layout.height - row,
            columns: layout.width - column,
        }
    }

    /// Panels of a block: their starts and their end, in vectors.
    fn panels(&self, vectors: usize) -> Vec<usize> {
        even_parts(vectors, winograd_multiply::max_vectors(self.op.isa))
    }

    /// Transforms some runs of [`TOGETHER`] input channels of a block.
    fn transform(&self, units: &[Vector], runs: std::ops::Range<usize>, v: *mut f32) {
        let (op, panels) = (self.op, self.panels(units.len()));
        for r in runs {
            let channel = r * TOGETHER;
            let run = self.tiles(units, &panels, TOGETHER.min(op.in_channels - channel));
            let v = v.wrapping_add(r * tiles_len(units.len(), panels.len() - 1, op.plan.lanes));
            // SAFETY: `x` was checked against the plan; the scratch memory has room for the block, and this job alone writes
            // these channels of it.
            unsafe { winograd_transform::transform_input(op.isa, &run, self.x.plane(0, channel), v) };
        }
    }

    fn tiles<'b>(&self, vectors: &'b [Vector], panels: &'b [usize], channels: usize) -> Run<'b> {
        let layout = self.op.layout;
        let (plane_stride, row_stride) = (layout.plane_stride(), layout.row_stride());
        Run { plane_stride, row_stride, channels, vectors, panels }
    }

    /// Multiplies and transforms back some groups of output channels of a block.
    fn multiply(&self, units: &[Vector], groups: std::ops::Range<usize>, v: *const f32, m: *mut f32) {
        let (op, plan) = (self.op, &self.op.plan);
        let panels = self.panels(units.len());
        for group in groups {
            let blocks = &plan.out_blocks[plan.groups[group]..=plan.groups[group + 1]];
            let u = self.packed[blocks[0] * op.in_channels * ELEMENTS..].as_ptr();
            let (inputs, in_block) = (op.in_channels, plan.in_block);
            let product = Product { v, u, m, inputs, in_block, blocks, panels: &panels };
            // SAFETY: `v`, `u` and `m` have the room that the plan gave them; `m` is this job's own.
            unsafe { winograd_multiply::multiply(op.isa, &product) };
            let mut m = m;
            for block in blocks.windows(2) {
                self.finish(units, &panels, block[0]..block[1], m);
                m = m.wrapping_add(tiles_len(units.len(), panels.len() - 1, plan.lanes));
            }
        }
    }

    /// Transforms a block of output channels back, and zeroes the borders next to it.
    fn finish(&self, units: &[Vector], panels: &[usize], channels: std::ops::Range<usize>, m: *const f32) {
        let (op, layout) = (self.op, self.op.layout);
        let run = self.tiles(units, panels, channels.len());
        let bias = if self.bias.0.is_null() { self.bias.0 } else { self.bias.0.wrapping_add(channels.start) };
        let finish = Finish { bias, relu: self.relu, accumulate: self.accumulate, pad: layout.pad };
        // SAFETY: `y` was checked against the plan; jobs write disjoint channels or units.
        unsafe { winograd_transform::transform_output(op.isa, &run, m, &finish, self.y.plane(0, channels.start)) };
        for unit in units.iter().flat_map(|v| &v.units).filter(|u| u.rows > 0) {
            let is_first = unit.rows == layout.height && unit.columns == layout.width;
            let is_last = unit.rows <= TILE && unit.columns <= op.plan.lanes;
            if !is_first && !is_last {
                continue;
            }
            let image = unit.output / self.y.batch_stride;
            let rows = (usize::from(!is_first), if is_last { layout.height } else { 0 });
            for channel in channels.clone() {
                // SAFETY: as above; the ends of a plane belong to its first and its last unit.
                unsafe { zero_ends(self.y.plane(image, channel), layout, rows) };
            }
        }
    }
}

/// Runs `job(slot, number)` for all numbers, at most `slots` together, each with a slot of its own. Neighbours, which share
/// rows of the input, mostly run one after the other.
fn for_each_slot(slots: usize, jobs: usize, job: impl Fn(usize, usize) + Send + Sync) {
    let (next, neighbours) = (AtomicUsize::new(0), (jobs / (8 * slots)).max(1));
    let chain = |slot: usize| {
        loop {
            let first = next.fetch_add(neighbours, Ordering::Relaxed);
            if first >= jobs {
                break;
            }
            (first..(first + neighbours).min(jobs)).for_each(|number| job(slot, number));
        }
    };
    if slots == 1 {
        chain(0);
    } else {
        team::for_each(slots, chain);
    }
}
