//! Division of the weight gradient into jobs, and the sum of their parts in a fixed order.

use rayon::prelude::*;
use segfit::network::layout::{LINE, PlaneLayout};

use super::{Shared, even_parts, for_each_job, pixel_range};
use crate::cpu::kernels::conv_weight_tile::{self, MAX_SHIFTS, WeightRun};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// Jobs are groups of output channels x groups of input channels x parts of the pixels.
///
/// A part is a run of pieces (of images) whose planes of both groups fit the second cache; every part has its own sums, which
/// are added in order at the end.
#[derive(Clone, Debug)]
pub(super) struct WeightPlan {
    in_channels: usize,
    out_channels: usize,
    taps: usize,
    layout: PlaneLayout,
    /// Starts of the blocks of output channels, and their end.
    blocks: Vec<usize>,
    /// Starts of the groups of blocks, and their end.
    out_groups: Vec<usize>,
    /// Starts of the groups of input channels, and their end.
    in_groups: Vec<usize>,
    /// Positions of a piece.
    piece: usize,
    pieces: usize,
    /// Starts of the parts, in pieces of all images, and their end.
    parts: Vec<usize>,
    macs: usize,
}

impl WeightPlan {
    pub(super) fn new(
        isa: Isa,
        in_channels: usize,
        out_channels: usize,
        taps: usize,
        layout: PlaneLayout,
        batch: usize,
    ) -> Self {
        /// Channels of a group on either side.
        const GROUP: usize = 32;
        /// Floats of a piece of both groups: a part of the second cache.
        const PIECE_FLOATS: usize = 128 * 1024;
        const MAX_PIECE: usize = 8192;
        const MIN_JOBS: usize = 12;
        const MIN_JOB_MACS: usize = 1 << 19;
        assert!(taps <= MAX_SHIFTS, "kernel of {taps} positions");
        let widest = conv_weight_tile::max_out_channels(isa);
        let blocks = even_parts(out_channels, widest);
        let out_groups = even_parts(blocks.len() - 1, GROUP / widest);
        let in_groups = even_parts(in_channels, GROUP);
        let (start, end) = pixel_range(layout);
        let positions = end - start / LINE * LINE;
        let planes = in_channels.min(GROUP) + out_channels.min(GROUP);
        let pieces = positions.div_ceil((PIECE_FLOATS / planes).min(MAX_PIECE));
        let piece = positions.div_ceil(pieces).next_multiple_of(LINE);
        let pieces = positions.div_ceil(piece);
        let macs = in_channels * out_channels * taps * layout.height * layout.width * batch;
        let groups = (out_groups.len() - 1) * (in_groups.len() - 1);
        let parts = MIN_JOBS.div_ceil(groups).min((macs / groups / MIN_JOB_MACS).max(1)).min(pieces * batch);
        let parts = even_parts(pieces * batch, (pieces * batch).div_ceil(parts));
        Self { in_channels, out_channels, taps, layout, blocks, out_groups, in_groups, piece, pieces, parts, macs }
    }

    /// Floats of the gradients of the weights.
    fn weights(&self) -> usize {
        self.in_channels * self.out_channels * self.taps
    }

    pub(super) fn scratch_len(&self) -> usize {
        match self.parts.len() - 1 {
            1 => 0,
            parts => parts * (self.weights() + self.out_channels),
        }
    }

    pub(super) fn run(
        &self,
        isa: Isa,
        shifts: &[isize],
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
        for_each_job(in_groups * out_groups * parts, self.macs, |job| {
            let (part, group) = (job / (in_groups * out_groups), job % (in_groups * out_groups));
            let (out_group, in_group) = (group / in_groups, group % in_groups);
            let (weights_at, biases_at) = (weights_at, biases_at);
            let dw = weights_at.0.wrapping_add(part * self.weights());
            let db = if wants_bias && in_group == 0 {
                biases_at.0.wrapping_add(part * self.out_channels)
            } else {
                std::ptr::null_mut()
            };
            for piece in self.parts[part]..self.parts[part + 1] {
                let accumulate = piece > self.parts[part];
                for block in self.out_groups[out_group]..self.out_groups[out_group + 1] {
                    self.run_block(isa, shifts, x, dy, piece, block, in_group, dw, db, accumulate);
                }
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

    /// One block of output channels against a group of input channels on one piece of an image.
    fn run_block(
        &self,
        isa: Isa,
        shifts: &[isize],
        x: &Planes,
        dy: &Planes,
        piece: usize,
        block: usize,
        in_group: usize,
        dw: *mut f32,
        db: *mut f32,
        accumulate: bool,
    ) {
        let (image, piece) = (piece / self.pieces, piece % self.pieces);
        let (first, last) = pixel_range(self.layout);
        let start = first / LINE * LINE + piece * self.piece;
        let (out, out_end) = (self.blocks[block], self.blocks[block + 1]);
        let (input, in_end) = (self.in_groups[in_group], self.in_groups[in_group + 1]);
        let run = WeightRun {
            x: x.plane(image, input),
            in_channels: in_end - input,
            dy: dy.plane(image, out),
            out_channels: out_end - out,
            plane_stride: self.layout.plane_stride(),
            shifts,
            start: start.max(first),
            end: last.min(start + self.piece),
            dw: dw.wrapping_add((out * self.in_channels + input) * self.taps),
            dw_stride: self.in_channels * self.taps,
            accumulate,
            dbias: if db.is_null() { db } else { db.wrapping_add(out) },
        };
        // SAFETY: positions are between the first and the last pixel, so that shifts stay in the planes; jobs of one part
        // write disjoint blocks, jobs of different parts different sums.
        unsafe { conv_weight_tile::weight_gradient(isa, &run) };
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
