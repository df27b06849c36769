//! Division of the weight gradient into jobs, and the sum of their parts in a fixed order.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use segfit::network::layout::{LINE, PlaneLayout};

use super::{Shared, even_parts, for_each_job, pixel_range, work};
use crate::cpu::kernels::conv_weight_lanes::{self, LaneRun};
use crate::cpu::kernels::conv_weight_tile::{self, MAX_SHIFTS, WeightRun, channel_sums};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// Floats of the sums of a job with a channel in every lane: 32 channels x 9 shifts x 3 vectors of 16.
const LANE_SUMS: usize = 32 * 9 * 48;

/// What the lanes of a vector are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lanes {
    /// Neighbouring positions: for few channels.
    Positions,
    /// Output channels.
    Outputs,
    /// Input channels.
    Inputs,
}

/// Jobs are groups of output channels x groups of input channels x parts of the pixels.
///
/// A part is a run of pieces (of images) whose planes of both groups fit the second cache; every part has its own sums, which
/// are added in order at the end.
#[derive(Clone, Debug)]
pub(super) struct WeightPlan {
    isa: Isa,
    in_channels: usize,
    out_channels: usize,
    layout: PlaneLayout,
    lanes: Lanes,
    /// Flat shift of every kernel position; with input channels in the lanes, seen from the input: negated and reversed.
    shifts: Vec<isize>,
    /// Starts of the groups of output channels, and their end.
    out_groups: Vec<usize>,
    /// Starts of the groups of input channels, and their end.
    in_groups: Vec<usize>,
    /// Positions of a piece.
    piece: usize,
    pieces: usize,
    /// Starts of the parts, in pieces of all images, and their end.
    parts: Vec<usize>,
    work: usize,
}

/// The piece of the tensors that a job works on.
struct Piece<'a> {
    x: &'a Planes,
    dy: &'a Planes,
    image: usize,
    start: usize,
    end: usize,
}

impl Lanes {
    /// Channels in lanes cost a transposition, which several channels on the other side must pay for.
    fn choose(isa: Isa, inputs: usize, outputs: usize, taps: usize) -> Self {
        let lanes = isa.lanes();
        let fill = |channels: usize| channels as f64 / channels.next_multiple_of(lanes) as f64;
        let pays = |channels: usize, others: usize| fill(channels) >= 0.8 && others * taps >= 64;
        if pays(outputs, inputs) && (fill(outputs) >= fill(inputs) || !pays(inputs, outputs)) {
            Self::Outputs
        } else if pays(inputs, outputs) {
            Self::Inputs
        } else {
            Self::Positions
        }
    }

    /// Groups of the output and of the input channels.
    fn groups(self, isa: Isa, inputs: usize, outputs: usize, taps: usize) -> (Vec<usize>, Vec<usize>) {
        /// Channels of a group on either side.
        const GROUP: usize = 32;
        let lanes = isa.lanes();
        let in_vectors = |channels: usize| -> Vec<usize> {
            let vectors = even_parts(channels.div_ceil(lanes), conv_weight_lanes::max_vectors(isa));
            vectors.into_iter().map(|v| (v * lanes).min(channels)).collect()
        };
        let others = (LANE_SUMS / (taps * lanes * conv_weight_lanes::max_vectors(isa))).min(GROUP);
        match self {
            Self::Positions => (even_parts(outputs, GROUP), even_parts(inputs, GROUP)),
            Self::Outputs => (in_vectors(outputs), even_parts(inputs, others)),
            Self::Inputs => (even_parts(outputs, others), in_vectors(inputs)),
        }
    }
}

impl WeightPlan {
    pub(super) fn new(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        shifts: &[isize],
        layout: PlaneLayout,
        batch: usize,
    ) -> Self {
        /// Floats of a piece of both groups: a part of the second cache.
        const PIECE_FLOATS: usize = 128 * 1024;
        const MAX_PIECE: usize = 8192;
        const MIN_JOBS: usize = 12;
        const MIN_JOB_WORK: usize = 1 << 19;
        let taps = shifts.len();
        assert!(taps <= MAX_SHIFTS, "kernel of {taps} positions");
        let lanes = Lanes::choose(isa, in_channels, out_channels, taps);
        let (out_groups, in_groups) = lanes.groups(isa, in_channels, out_channels, taps);
        let (start, end) = pixel_range(layout);
        let positions = end - start / LINE * LINE;
        let planes = in_groups[1] + out_groups[1];
        let pieces = positions.div_ceil((PIECE_FLOATS / planes).min(MAX_PIECE));
        let piece = positions.div_ceil(pieces).next_multiple_of(LINE);
        let pieces = positions.div_ceil(piece);
        let work = work(in_channels, out_channels, taps, layout, batch);
        let groups = (out_groups.len() - 1) * (in_groups.len() - 1);
        let parts = MIN_JOBS.div_ceil(groups).min((work / groups / MIN_JOB_WORK).max(1)).min(pieces * batch);
        let parts = even_parts(pieces * batch, (pieces * batch).div_ceil(parts));
        let shifts = match lanes {
            Lanes::Inputs => shifts.iter().rev().map(|s| -s).collect(),
            _ => shifts.to_vec(),
        };
        Self {
            isa,
            in_channels,
            out_channels,
            layout,
            lanes,
            shifts,
            out_groups,
            in_groups,
            piece,
            pieces,
            parts,
            work,
        }
    }

    /// Floats of the gradients of the weights.
    fn weights(&self) -> usize {
        self.in_channels * self.out_channels * self.shifts.len()
    }

    pub(super) fn scratch_len(&self) -> usize {
        match self.parts.len() - 1 {
            1 => 0,
            parts => parts * (self.weights() + self.out_channels),
        }
    }

    pub(super) fn run(
        &self,
        x: &Planes,
        dy: &Planes,
        scratch: &mut [f32],
        dweight: &mut [f32],
        mut dbias: Option<&mut [f32]>,
    ) {
        let (in_groups, out_groups) = (self.in_groups.len() - 1, self.out_groups.len() - 1);
        let parts = self.parts.len() - 1;
        let wants_bias = dbias.is_some();
        // One part writes to the results, several to the scratch memory.
        let (weights_at, biases_at) = if parts == 1 {
            let biases = dbias.as_mut().map_or(std::ptr::null_mut(), |b| b.as_mut_ptr());
            (Shared(dweight.as_mut_ptr()), Shared(biases))
        } else {
            let at = scratch.as_mut_ptr();
            (Shared(at), Shared(at.wrapping_add(parts * self.weights())))
        };
        for_each_job(in_groups * out_groups * parts, self.work, |job| {
            let (part, group) = (job / (in_groups * out_groups), job % (in_groups * out_groups));
            let (out_group, in_group) = (group / in_groups, group % in_groups);
            let (weights_at, biases_at) = (weights_at, biases_at);
            let dw = weights_at.0.wrapping_add(part * self.weights());
            if self.lanes == Lanes::Positions {
                self.run_positions(x, dy, part, out_group, in_group, dw);
            } else {
                self.run_lanes(x, dy, part, out_group, in_group, dw);
            }
            if wants_bias && in_group == 0 {
                self.run_bias(x, dy, part, out_group, biases_at.0.wrapping_add(part * self.out_channels));
            }
        });
        if parts > 1 {
            let (weights, biases) = scratch[..self.scratch_len()].split_at(parts * self.weights());
            add_parts(weights, dweight);
            if let Some(dbias) = dbias {
                add_parts(biases, dbias);
            }
        }
    }

    fn pieces<'a>(&'a self, x: &'a Planes, dy: &'a Planes, part: usize) -> impl Iterator<Item = Piece<'a>> {
        let (first, last) = pixel_range(self.layout);
        (self.parts[part]..self.parts[part + 1]).map(move |piece| {
            let start = first / LINE * LINE + piece % self.pieces * self.piece;
            let (start, end) = (start.max(first), last.min(start + self.piece));
            Piece { x, dy, image: piece / self.pieces, start, end }
        })
    }

    fn run_bias(&self, x: &Planes, dy: &Planes, part: usize, out_group: usize, sums: *mut f32) {
        let (out, out_end) = (self.out_groups[out_group], self.out_groups[out_group + 1]);
        let stride = self.layout.plane_stride();
        for (k, piece) in self.pieces(x, dy, part).enumerate() {
            let plane = dy.plane(piece.image, out);
            // SAFETY: positions are between the first and the last pixel; one job writes these sums.
            unsafe {
                let sums = sums.add(out);
                channel_sums(self.isa, plane, stride, out_end - out, piece.start, piece.end, sums, k > 0);
            }
        }
    }

    /// A group of output channels against a group of input channels on a part of the pixels.
    fn run_positions(&self, x: &Planes, dy: &Planes, part: usize, out_group: usize, in_group: usize, dw: *mut f32) {
        let (input, in_end) = (self.in_groups[in_group], self.in_groups[in_group + 1]);
        let (group, group_end) = (self.out_groups[out_group], self.out_groups[out_group + 1]);
        let blocks = (group_end - group).div_ceil(conv_weight_tile::max_out_channels(self.isa));
        let taps = self.shifts.len();
        for (k, piece) in self.pieces(x, dy, part).enumerate() {
            for block in 0..blocks {
                let out = group + block * (group_end - group) / blocks;
                let out_end = group + (block + 1) * (group_end - group) / blocks;
                let run = WeightRun {
                    x: piece.x.plane(piece.image, input),
                    in_channels: in_end - input,
                    dy: piece.dy.plane(piece.image, out),
                    out_channels: out_end - out,
                    plane_stride: self.layout.plane_stride(),
                    shifts: &self.shifts,
                    start: piece.start,
                    end: piece.end,
                    dw: dw.wrapping_add((out * self.in_channels + input) * taps),
                    dw_stride: self.in_channels * taps,
                    accumulate: k > 0,
                };
                // SAFETY: positions are between the first and the last pixel, so that shifts stay in the planes; jobs
                // of one part write disjoint blocks, jobs of different parts different sums.
                unsafe { conv_weight_tile::weight_gradient(self.isa, &run) };
            }
        }
    }

    /// The same with a channel in every lane.
    fn run_lanes(&self, x: &Planes, dy: &Planes, part: usize, out_group: usize, in_group: usize, dw: *mut f32) {
        #[repr(align(64))]
        #[expect(dead_code, reason = "memory that is used through its address")]
        struct Sums([f32; LANE_SUMS]);
        let mut sums = MaybeUninit::<Sums>::uninit();
        let sums = sums.as_mut_ptr().cast::<f32>();
        let (input, in_end) = (self.in_groups[in_group], self.in_groups[in_group + 1]);
        let (out, out_end) = (self.out_groups[out_group], self.out_groups[out_group + 1]);
        let is_swapped = self.lanes == Lanes::Inputs;
        let (lane_channels, other_channels) =
            if is_swapped { (in_end - input, out_end - out) } else { (out_end - out, in_end - input) };
        let (lanes, taps) = (self.isa.lanes(), self.shifts.len());
        let vectors = lane_channels.div_ceil(lanes);
        // SAFETY: the groups were made to fit the sums, which are zeroed before use. Positions are between the first and
        // the last pixel, so that shifts stay in the planes, and a vector behind them in the arena. Jobs of one part write
        // disjoint blocks, jobs of different parts different sums.
        unsafe {
            std::slice::from_raw_parts_mut(sums, other_channels * taps * vectors * lanes).fill(0.0);
            for piece in self.pieces(x, dy, part) {
                let (x, dy) = (piece.x.plane(piece.image, input), piece.dy.plane(piece.image, out));
                let (lane_planes, others) = if is_swapped { (x, dy) } else { (dy, x) };
                let run = LaneRun {
                    lanes: lane_planes,
                    lane_channels,
                    vectors,
                    others,
                    other_channels,
                    plane_stride: self.layout.plane_stride(),
                    shifts: &self.shifts,
                    start: piece.start,
                    end: piece.end,
                    sums,
                };
                conv_weight_lanes::lane_products(self.isa, &run);
            }
            let dw = dw.add((out * self.in_channels + input) * taps);
            if is_swapped {
                for (o, t) in (0..other_channels).flat_map(|o| (0..taps).map(move |t| (o, t))) {
                    for i in 0..lane_channels {
                        let sum = *sums.add((o * taps + t) * vectors * lanes + i);
                        *dw.add((o * self.in_channels + i) * taps + taps - 1 - t) = sum;
                    }
                }
            } else {
                let (stride, rows) = (vectors * lanes, other_channels * taps);
                let to_stride = self.in_channels * taps;
                conv_weight_lanes::transpose_sums(self.isa, sums, stride, rows, lane_channels, dw, to_stride);
            }
        }
    }
}

/// `sum[k]` = the sum over all parts, in order, of `parts[part][k]`.
fn add_parts(parts: &[f32], sum: &mut [f32]) {
    const CHUNK: usize = 1024;
    const PARALLEL: usize = 1 << 17;
    let len = sum.len();
    let add = |(chunk, sum): (usize, &mut [f32])| {
        let first = chunk * CHUNK;
        sum.copy_from_slice(&parts[first..first + sum.len()]);
        for part in parts.chunks_exact(len).skip(1) {
            for (s, p) in sum.iter_mut().zip(&part[first..]) {
                *s += p;
            }
        }
    };
    if parts.len() < PARALLEL {
        sum.chunks_mut(CHUNK).enumerate().for_each(add);
    } else {
        sum.par_chunks_mut(CHUNK).enumerate().for_each(add);
    }
}
