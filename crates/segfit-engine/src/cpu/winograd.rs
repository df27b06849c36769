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

use rayon::prelude::*;
use segfit::network::layout::{LINE, PlaneLayout};

use super::kernels::winograd_multiply::{self, Product};
use super::kernels::winograd_transform::{self, ELEMENTS, Finish, Run, TILE, Unit};
use super::ordered::zero_ends;
use super::planes::Planes;
use super::simd::Isa;

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

/// Division of the work, by shapes alone.
#[derive(Clone, Debug)]
struct Plan {
    /// Floats of a vector.
    lanes: usize,
    /// Units of a tiled row, of four rows each.
    units_per_row: usize,
    /// Vectors of tiles in all.
    vectors: usize,
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
    work: usize,
}

/// `count` things in parts as equal as possible, of at most `most`: part `k` starts at the k-th number.
fn even_parts(count: usize, most: usize) -> Vec<usize> {
    let parts = count.div_ceil(most);
    (0..=parts).map(|k| k * count / parts).collect()
}

fn lanes(isa: Isa) -> usize {
    if isa == Isa::Avx512 { 16 } else { 8 }
}

impl Plan {
    fn new(isa: Isa, inputs: usize, outputs: usize, layout: PlaneLayout, batch: usize) -> Self {
        /// Floats of the transformed inputs of a block: a part of the second cache.
        let block_floats: usize = tune("WINO_BLOCK", 256) * 1024;
        let group_channels: usize = tune("WINO_GROUP", 16);
        let in_block_max: usize = tune("WINO_IN", 128);
        let min_jobs: usize = tune("WINO_JOBS", 12);
        let lanes = lanes(isa);
        let units_per_row = layout.width.div_ceil(lanes);
        let vectors = (batch * layout.height.div_ceil(TILE) * units_per_row).div_ceil(4);
        let panel = winograd_multiply::max_vectors(isa);
        let most = (block_floats / (ELEMENTS * inputs * lanes) / panel * panel).clamp(panel, 4 * panel);
        let out_blocks = even_parts(outputs, winograd_multiply::max_outputs(isa));
        let group = group_channels.div_ceil(winograd_multiply::max_outputs(isa));
        let groups = even_parts(out_blocks.len() - 1, group);
        let group_count = groups.len() - 1;
        let alone = vectors.div_ceil(most) >= min_jobs || group_count == 1;
        let block = if alone { most.min(vectors.div_ceil(min_jobs).max(panel)) } else { most };
        let blocks: Vec<usize> = if alone {
            (0..vectors).step_by(block).chain([vectors]).collect()
        } else {
            even_parts(vectors, block)
        };
        let count = blocks.len() - 1;
        let shares = if alone {
            vec![0, group_count]
        } else {
            even_parts(group_count, group_count.div_ceil(min_jobs.div_ceil(count)))
        };
        let in_parts = if alone { 0 } else { min_jobs.div_ceil(count).min(inputs) };
        let jobs = count * (shares.len() - 1);
        let work = (inputs * outputs * 9 + 16 * (inputs + outputs)) * layout.height * layout.width * batch;
        let slots = if work < 1 << 20 { 1 } else { jobs.min(rayon::current_num_threads()) };
        let in_block = inputs.div_ceil(inputs.div_ceil(in_block_max));
        Self { lanes, units_per_row, vectors, blocks, out_blocks, groups, shares, in_block, in_parts, slots, work }
    }

    /// Floats from one element of `v` to the next; the line keeps elements out of each other's cache sets.
    fn v_stride(&self, vectors: usize, inputs: usize) -> usize {
        vectors * inputs * self.lanes + LINE
    }

    /// The same of `m`.
    fn m_stride(&self, vectors: usize, outputs: usize) -> usize {
        vectors * outputs * self.lanes + LINE
    }

    fn blocks(&self) -> impl Iterator<Item = usize> {
        self.blocks.windows(2).map(|b| b[1] - b[0])
    }

    /// Floats of `v` of the largest block.
    fn v_len(&self, inputs: usize) -> usize {
        ELEMENTS * self.v_stride(self.blocks().max().unwrap_or(0), inputs)
    }

    /// Floats of `m` of the largest group and block.
    fn m_len(&self) -> usize {
        let outputs = self.groups.windows(2).map(|g| self.out_blocks[g[1]] - self.out_blocks[g[0]]).max().unwrap_or(0);
        ELEMENTS * self.m_stride(self.blocks().max().unwrap_or(0), outputs)
    }
}

fn tune(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
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

    /// Whether this form is faster than the direct one.
    #[must_use]
    pub fn pays(_isa: Isa, in_channels: usize, out_channels: usize, _layout: PlaneLayout, _batch: usize) -> bool {
        in_channels >= 8 && out_channels >= 8
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
                self.transform(&units, 0..self.op.in_channels, v);
                self.multiply(&units, 0..plan.groups.len() - 1, v, v.wrapping_add(v_len));
            });
            return;
        }
        let parts = plan.in_parts;
        for_each_slot(plan.slots, blocks * parts, |_, job| {
            let (block, part) = (job / parts, job % parts);
            let channels = self.op.in_channels;
            let part = part * channels / parts..(part + 1) * channels / parts;
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
    fn units(&self, block: usize) -> Vec<[Unit; 4]> {
        let plan = &self.op.plan;
        (plan.blocks[block]..plan.blocks[block + 1])
            .map(|vector| std::array::from_fn(|u| self.unit(4 * vector + u)))
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

    /// Transforms some input channels of a block.
    fn transform(&self, units: &[[Unit; 4]], channels: std::ops::Range<usize>, v: *mut f32) {
        let (op, plan) = (self.op, &self.op.plan);
        for panel in self.panels(units.len()).windows(2) {
            let vectors = panel[1] - panel[0];
            let run = Run {
                plane_stride: op.layout.plane_stride(),
                row_stride: op.layout.row_stride(),
                channels: channels.len(),
                vectors: &units[panel[0]..panel[1]],
                element_stride: plan.v_stride(units.len(), op.in_channels),
            };
            let v = v.wrapping_add((panel[0] * op.in_channels + channels.start * vectors) * plan.lanes);
            // SAFETY: `x` was checked against the plan; the scratch memory has room for the block, and this job alone writes
            // these channels of it.
            unsafe { winograd_transform::transform_input(op.isa, &run, self.x.plane(0, channels.start), v) };
        }
    }

    /// Multiplies and transforms back some groups of output channels of a block.
    fn multiply(&self, units: &[[Unit; 4]], groups: std::ops::Range<usize>, v: *const f32, m: *mut f32) {
        let (op, plan) = (self.op, &self.op.plan);
        let panels = self.panels(units.len());
        for group in groups {
            let blocks = &plan.out_blocks[plan.groups[group]..=plan.groups[group + 1]];
            let (first, end) = (blocks[0], blocks[blocks.len() - 1]);
            let m_stride = plan.m_stride(units.len(), end - first);
            let product = Product {
                v,
                v_stride: plan.v_stride(units.len(), op.in_channels),
                u: self.packed[first * op.in_channels * ELEMENTS..].as_ptr(),
                m,
                m_stride,
                inputs: op.in_channels,
                in_block: plan.in_block,
                blocks,
                panels: &panels,
            };
            // SAFETY: `v`, `u` and `m` have the room that the plan gave them; `m` is this job's own.
            unsafe { winograd_multiply::multiply(op.isa, &product) };
            for panel in panels.windows(2) {
                let m = m.wrapping_add(panel[0] * (end - first) * plan.lanes);
                self.finish(&units[panel[0]..panel[1]], first..end, m_stride, m);
            }
        }
    }

    /// Transforms a panel of some output channels back, and zeroes the borders next to it.
    fn finish(&self, units: &[[Unit; 4]], channels: std::ops::Range<usize>, element_stride: usize, m: *const f32) {
        let (op, layout) = (self.op, self.op.layout);
        let run = Run {
            plane_stride: layout.plane_stride(),
            row_stride: layout.row_stride(),
            channels: channels.len(),
            vectors: units,
            element_stride,
        };
        let bias = if self.bias.0.is_null() { self.bias.0 } else { self.bias.0.wrapping_add(channels.start) };
        let finish = Finish { bias, relu: self.relu, accumulate: self.accumulate, pad: layout.pad };
        // SAFETY: `y` was checked against the plan; jobs write disjoint channels or units.
        unsafe { winograd_transform::transform_output(op.isa, &run, m, &finish, self.y.plane(0, channels.start)) };
        for unit in units.iter().flatten().filter(|u| u.rows > 0) {
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

/// Runs `job(slot, number)` for all numbers, at most `slots` together, each with a slot of its own.
fn for_each_slot(slots: usize, jobs: usize, job: impl Fn(usize, usize) + Send + Sync) {
    let next = AtomicUsize::new(0);
    let chain = |slot: usize| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= jobs {
                break;
            }
            job(slot, number);
        }
    };
    if slots == 1 {
        chain(0);
    } else {
        (0..slots).into_par_iter().with_max_len(1).for_each(chain);
    }
}
