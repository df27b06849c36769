//! Division of the weight gradient into jobs, and the sum of their parts in a fixed order.

use std::mem::MaybeUninit;

use segfit::network::layout::LINE;

use super::tiles::{Flat, GroupChannels, Shared, even_parts, for_each_job};
use crate::cpu::kernels::conv_weight_lanes::{self, LaneRun};
use crate::cpu::kernels::conv_weight_tile::{self, MAX_SHIFTS, WeightRun, channel_sums};
use crate::cpu::ordered::{Slots, for_each};
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

/// The flat positions of the output that are multiplied with shifted positions of the input.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Positions {
    /// The first pixel.
    pub first: usize,
    /// Behind the last pixel.
    pub last: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Whether the input's pixels are at the same positions, so that the sum can run over either.
    pub turnable: bool,
}

/// Jobs are parts of the pixels x convolution groups x runs of output channels x runs of input channels x runs of taps.
///
/// A part is a run of pieces (of images) whose planes of both groups fit the second cache; every part has its own sums, which
/// are added in order at the end.
#[derive(Clone, Debug)]
pub(in crate::cpu) struct WeightPlan {
    isa: Isa,
    channels: GroupChannels,
    positions: Positions,
    lanes: Lanes,
    /// Flat shift of every kernel position; with input channels in the lanes, seen from the input: negated and reversed.
    shifts: Vec<isize>,
    /// Starts of the runs of output channels, and their end.
    out_runs: Vec<usize>,
    /// Starts of the runs of input channels, and their end.
    in_runs: Vec<usize>,
    /// Starts of the runs of kernel positions, and their end.
    tap_runs: Vec<usize>,
    /// Positions of a piece.
    piece: usize,
    pieces: usize,
    /// Starts of the parts, in pieces of all images, and their end.
    parts: Vec<usize>,
    work: usize,
}

/// A range of positions of an image.
struct Piece {
    image: usize,
    start: usize,
    end: usize,
}

/// What a job sums: runs of output channels, of input channels (of one group) and of kernel positions.
struct Block {
    group: usize,
    outputs: (usize, usize),
    inputs: (usize, usize),
    taps: (usize, usize),
}

impl Lanes {
    /// Channels in lanes cost a transposition, which several channels on the other side must pay for.
    fn choose(isa: Isa, GroupChannels { inputs, outputs, .. }: GroupChannels, taps: usize, turnable: bool) -> Self {
        let lanes = isa.lanes();
        let fill = |channels: usize| channels as f64 / channels.next_multiple_of(lanes) as f64;
        let pays = |channels: usize, others: usize| fill(channels) >= 0.8 && others * taps >= 64;
        let pays_inputs = turnable && pays(inputs, outputs);
        if pays(outputs, inputs) && (fill(outputs) >= fill(inputs) || !pays_inputs) {
            Self::Outputs
        } else if pays_inputs {
            Self::Inputs
        } else {
            Self::Positions
        }
    }

    /// Runs of the output and of the input channels.
    fn runs(self, isa: Isa, channels: GroupChannels, taps: usize) -> (Vec<usize>, Vec<usize>) {
        /// Channels of a run on either side.
        const RUN: usize = 32;
        let GroupChannels { inputs, outputs, .. } = channels;
        let lanes = isa.lanes();
        let in_vectors = |channels: usize| -> Vec<usize> {
            let vectors = even_parts(channels.div_ceil(lanes), conv_weight_lanes::max_vectors(isa));
            vectors.into_iter().map(|v| (v * lanes).min(channels)).collect()
        };
        let others = (LANE_SUMS / (taps * lanes * conv_weight_lanes::max_vectors(isa))).min(RUN);
        match self {
            Self::Positions => (even_parts(outputs, RUN), even_parts(inputs, RUN)),
            Self::Outputs => (in_vectors(outputs), even_parts(inputs, others)),
            Self::Inputs => (even_parts(outputs, others), in_vectors(inputs)),
        }
    }
}

impl WeightPlan {
    pub fn new(isa: Isa, channels: GroupChannels, shifts: &[isize], positions: Positions, batch: usize) -> Self {
        /// Floats of a piece of both runs: a part of the second cache.
        const PIECE_FLOATS: usize = 128 * 1024;
        const MAX_PIECE: usize = 8192;
        const MIN_JOBS: usize = 12;
        const MIN_JOB_WORK: usize = 1 << 19;
        let taps = shifts.len();
        let tap_runs = even_parts(taps, MAX_SHIFTS);
        let most_taps = tap_runs.windows(2).map(|r| r[1] - r[0]).max().unwrap_or(1);
        let lanes = Lanes::choose(isa, channels, taps, positions.turnable);
        let (out_runs, in_runs) = lanes.runs(isa, channels, most_taps);
        let count = positions.last - positions.first / LINE * LINE;
        let planes = in_runs[1] + out_runs[1];
        let pieces = count.div_ceil((PIECE_FLOATS / planes).min(MAX_PIECE));
        let piece = count.div_ceil(pieces).next_multiple_of(LINE);
        let pieces = count.div_ceil(piece);
        let work = channels.work(taps, positions.pixels * batch);
        let blocks = channels.groups * (out_runs.len() - 1) * (in_runs.len() - 1) * (tap_runs.len() - 1);
        let parts = MIN_JOBS.div_ceil(blocks).min((work / blocks / MIN_JOB_WORK).max(1)).min(pieces * batch);
        let parts = even_parts(pieces * batch, (pieces * batch).div_ceil(parts));
        let shifts = match lanes {
            Lanes::Inputs => shifts.iter().rev().map(|s| -s).collect(),
            _ => shifts.to_vec(),
        };
        Self { isa, channels, positions, lanes, shifts, out_runs, in_runs, tap_runs, piece, pieces, parts, work }
    }

    /// Floats of the gradients of the weights.
    fn weights(&self) -> usize {
        self.channels.pairs() * self.shifts.len()
    }

    /// Output channels of all groups.
    fn out_channels(&self) -> usize {
        self.channels.groups * self.channels.outputs
    }

    pub fn scratch_len(&self) -> usize {
        match self.parts.len() - 1 {
            1 => 0,
            parts => parts * (self.weights() + self.out_channels()),
        }
    }

    /// Writes the gradients of weights `[out][in][tap]` and biases.
    ///
    /// # Safety
    /// Channels and images are the plan's, the slices have the lengths it names, and every position, shifted, is valid
    /// in x (every position of x, shifted back, in dy, where the plan is turnable).
    pub unsafe fn run(
        &self,
        x: Flat,
        dy: Flat,
        scratch: &mut [f32],
        dweight: &mut [f32],
        mut dbias: Option<&mut [f32]>,
    ) {
        let (in_runs, out_runs, tap_runs) = (self.in_runs.len() - 1, self.out_runs.len() - 1, self.tap_runs.len() - 1);
        let blocks = self.channels.groups * out_runs * in_runs * tap_runs;
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
        for_each_job(blocks * parts, self.work, |job| {
            let (part, rest) = (job / blocks, job % blocks);
            let (rest, tap_run) = (rest / tap_runs, rest % tap_runs);
            let (rest, in_run) = (rest / in_runs, rest % in_runs);
            let (group, out_run) = (rest / out_runs, rest % out_runs);
            let run = |starts: &[usize], k: usize| (starts[k], starts[k + 1]);
            let block = Block {
                group,
                outputs: run(&self.out_runs, out_run),
                inputs: run(&self.in_runs, in_run),
                taps: run(&self.tap_runs, tap_run),
            };
            let (weights_at, biases_at) = (weights_at, biases_at);
            let dw = weights_at.0.wrapping_add(part * self.weights());
            if self.lanes == Lanes::Positions {
                self.run_positions(x, dy, part, &block, dw);
            } else {
                self.run_lanes(x, dy, part, &block, dw);
            }
            if wants_bias && in_run == 0 && tap_run == 0 {
                self.run_bias(dy, part, &block, biases_at.0.wrapping_add(part * self.out_channels()));
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

    fn pieces(&self, part: usize) -> impl Iterator<Item = Piece> {
        let Positions { first, last, .. } = self.positions;
        (self.parts[part]..self.parts[part + 1]).map(move |piece| {
            let start = first / LINE * LINE + piece % self.pieces * self.piece;
            let (start, end) = (start.max(first), last.min(start + self.piece));
            Piece { image: piece / self.pieces, start, end }
        })
    }

    fn run_bias(&self, dy: Flat, part: usize, block: &Block, sums: *mut f32) {
        let (first, end) = block.outputs;
        let channel = block.group * self.channels.outputs + first;
        for (k, piece) in self.pieces(part).enumerate() {
            let (plane, count) = (dy.plane(piece.image, channel), end - first);
            // SAFETY: positions are between the first and the last pixel; one job writes these sums.
            unsafe {
                let sums = sums.add(channel);
                channel_sums(self.isa, plane, dy.plane_stride, count, piece.start, piece.end, sums, k > 0);
            }
        }
    }

    /// First float of the gradients of an output and an input channel of a group.
    fn weight_at(&self, group: usize, out: usize, input: usize) -> usize {
        ((group * self.channels.outputs + out) * self.channels.inputs + input) * self.shifts.len()
    }

    /// A block on a part of the pixels.
    fn run_positions(&self, x: Flat, dy: Flat, part: usize, block: &Block, dw: *mut f32) {
        let GroupChannels { inputs, outputs, .. } = self.channels;
        let ((first, last), (input, in_end)) = (block.outputs, block.inputs);
        let tiles = (last - first).div_ceil(conv_weight_tile::max_out_channels(self.isa));
        let taps = self.shifts.len();
        for (k, piece) in self.pieces(part).enumerate() {
            for tile in 0..tiles {
                let out = first + tile * (last - first) / tiles;
                let out_end = first + (tile + 1) * (last - first) / tiles;
                let run = WeightRun {
                    x: x.plane(piece.image, block.group * inputs + input),
                    x_stride: x.plane_stride,
                    in_channels: in_end - input,
                    dy: dy.plane(piece.image, block.group * outputs + out),
                    dy_stride: dy.plane_stride,
                    out_channels: out_end - out,
                    shifts: &self.shifts[block.taps.0..block.taps.1],
                    start: piece.start,
                    end: piece.end,
                    dw: dw.wrapping_add(self.weight_at(block.group, out, input) + block.taps.0),
                    dw_stride: inputs * taps,
                    dw_in_stride: taps,
                    accumulate: k > 0,
                };
                // SAFETY: the caller of `run` vouches for the positions; jobs of one part write disjoint blocks, jobs of
                // different parts different sums.
                unsafe { conv_weight_tile::weight_gradient(self.isa, &run) };
            }
        }
    }

    /// The same with a channel in every lane.
    fn run_lanes(&self, x: Flat, dy: Flat, part: usize, block: &Block, dw: *mut f32) {
        #[repr(align(64))]
        #[expect(dead_code, reason = "memory that is used through its address")]
        struct Sums([f32; LANE_SUMS]);
        let mut sums = MaybeUninit::<Sums>::uninit();
        let sums = sums.as_mut_ptr().cast::<f32>();
        let GroupChannels { inputs, outputs, .. } = self.channels;
        let ((out, out_end), (input, in_end)) = (block.outputs, block.inputs);
        let is_swapped = self.lanes == Lanes::Inputs;
        let (lane_channels, other_channels) =
            if is_swapped { (in_end - input, out_end - out) } else { (out_end - out, in_end - input) };
        let (lanes, all_taps) = (self.isa.lanes(), self.shifts.len());
        let (first_tap, taps) = (block.taps.0, block.taps.1 - block.taps.0);
        let vectors = lane_channels.div_ceil(lanes);
        // SAFETY: the runs were made to fit the sums, which are zeroed before use. The caller of `run` vouches for the
        // positions; a vector behind them is in the arena. Jobs of one part write disjoint blocks, jobs of different parts
        // different sums.
        unsafe {
            std::slice::from_raw_parts_mut(sums, other_channels * taps * vectors * lanes).fill(0.0);
            for piece in self.pieces(part) {
                let x_plane = x.plane(piece.image, block.group * inputs + input);
                let dy_plane = dy.plane(piece.image, block.group * outputs + out);
                let (lane_side, other_side) = if is_swapped {
                    ((x_plane, x.plane_stride), (dy_plane, dy.plane_stride))
                } else {
                    ((dy_plane, dy.plane_stride), (x_plane, x.plane_stride))
                };
                let run = LaneRun {
                    lanes: lane_side.0,
                    lane_stride: lane_side.1,
                    lane_channels,
                    vectors,
                    others: other_side.0,
                    other_stride: other_side.1,
                    other_channels,
                    shifts: &self.shifts[first_tap..first_tap + taps],
                    start: piece.start,
                    end: piece.end,
                    sums,
                };
                conv_weight_lanes::lane_products(self.isa, &run);
            }
            let dw = dw.add(self.weight_at(block.group, out, input));
            if is_swapped {
                for (o, t) in (0..other_channels).flat_map(|o| (0..taps).map(move |t| (o, t))) {
                    for i in 0..lane_channels {
                        let sum = *sums.add((o * taps + t) * vectors * lanes + i);
                        *dw.add((o * inputs + i) * all_taps + all_taps - 1 - (first_tap + t)) = sum;
                    }
                }
            } else {
                // All taps of an input channel stand in a row, and then all input channels.
                let runs = if taps == all_taps { 1 } else { other_channels };
                let (stride, rows, to_stride) = (vectors * lanes, other_channels / runs * taps, inputs * all_taps);
                for i in 0..runs {
                    let (from, to) = (sums.add(i * rows * stride), dw.add(i * all_taps + first_tap));
                    conv_weight_lanes::transpose_sums(self.isa, from, stride, rows, lane_channels, to, to_stride);
                }
            }
        }
    }
}

/// `sum[k]` = the sum over all parts, in order, of `parts[part][k]`.
fn add_parts(parts: &[f32], sum: &mut [f32]) {
    const CHUNK: usize = 1024;
    let len = sum.len();
    let sums = Slots::new(sum);
    for_each(len.div_ceil(CHUNK), parts.len(), |chunk| {
        let first = chunk * CHUNK;
        // SAFETY: chunks do not overlap.
        let sum = unsafe { sums.range(first, CHUNK.min(len - first)) };
        sum.copy_from_slice(&parts[first..first + sum.len()]);
        for part in parts.chunks_exact(len).skip(1) {
            for (s, p) in sum.iter_mut().zip(&part[first..]) {
                *s += p;
            }
        }
    });
}
