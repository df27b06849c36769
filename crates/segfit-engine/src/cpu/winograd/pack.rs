//! Transformed weights in the order in which the products read them: `[group of blocks of outputs][element][run of inputs]
//! [block of the group][input][output of the block]`.

use std::ops::Range;

use super::{Shared, Winograd};
use crate::cpu::kernels::transpose::interleave_8;
use crate::cpu::kernels::winograd_transform::{ELEMENTS, transform_weights};
use crate::cpu::ordered::for_each;

/// Taps of a kernel.
const TAPS: usize = 9;

/// Input channels transformed together.
const INPUTS: usize = 32;

/// What the array `[out][in][3][3]` means to the convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Its own outputs and inputs.
    Layer,
    /// Its inputs and outputs, the kernels turned by 180 degrees.
    Transposed,
}

pub(super) fn pack(op: &Winograd, weight: &[f32], packed: &mut [f32], order: Order) {
    assert_eq!(weight.len(), op.in_channels * op.out_channels * TAPS);
    assert_eq!(packed.len(), op.packed_len());
    let plan = &op.plan;
    let to = Shared(packed.as_mut_ptr());
    let runs = op.in_channels.div_ceil(plan.in_block);
    let blocks: Vec<(usize, usize)> =
        plan.groups.windows(2).enumerate().flat_map(|(g, ends)| (ends[0]..ends[1]).map(move |b| (g, b))).collect();
    let pack_run = |job: usize| {
        let ((group, block), run) = (blocks[job / runs], job % runs);
        let first = plan.out_blocks[plan.groups[group]];
        let outputs = plan.out_blocks[plan.groups[group + 1]] - first;
        let block = plan.out_blocks[block]..plan.out_blocks[block + 1];
        let inputs = run * plan.in_block..((run + 1) * plan.in_block).min(op.in_channels);
        let start = first * op.in_channels * ELEMENTS + outputs * inputs.start + (block.start - first) * inputs.len();
        // SAFETY: the run's places in the array of `packed_len` floats, which no other run writes.
        unsafe { pack_block(op, weight, order, block, inputs, to.get().add(start), outputs * op.in_channels) };
    };
    for_each(blocks.len() * runs, weight.len(), pack_run);
}

/// Packs a block of outputs and a run of inputs; `to` is their place in the first element.
unsafe fn pack_block(
    op: &Winograd,
    weight: &[f32],
    order: Order,
    block: Range<usize>,
    inputs: Range<usize>,
    to: *mut f32,
    element_stride: usize,
) {
    let width = block.len();
    let mut taps = [0.0_f32; INPUTS * TAPS * 8];
    for first in inputs.clone().step_by(INPUTS) {
        let last = (first + INPUTS).min(inputs.end);
        match order {
            Order::Layer => {
                let row = op.in_channels * TAPS;
                let from = &weight[block.start * row + first * TAPS..(block.end - 1) * row + last * TAPS];
                gather(op, from, row, width, (last - first) * TAPS, &mut taps);
            }
            Order::Transposed => {
                for (k, input) in (first..last).enumerate() {
                    let from = &weight[(input * op.out_channels + block.start) * TAPS..][..width * TAPS];
                    let taps = &mut taps[k * TAPS * 8..][..TAPS * 8];
                    gather(op, from, TAPS, width, TAPS, taps);
                    for tap in 0..TAPS / 2 {
                        let (low, high) = taps.split_at_mut((TAPS - 1 - tap) * 8);
                        low[tap * 8..][..8].swap_with_slice(&mut high[..8]);
                    }
                }
            }
        }
        // SAFETY: the caller's; the array holds the taps of these inputs.
        unsafe {
            let to = to.add((first - inputs.start) * width);
            transform_weights(op.isa, taps.as_ptr(), last - first, width, to, element_stride);
        }
    }
}

/// `to[k * 8 + c] = from[c * stride + k]` for `width` rows c of `len` floats.
fn gather(op: &Winograd, from: &[f32], stride: usize, width: usize, len: usize, to: &mut [f32]) {
    assert!(from.len() >= (width - 1) * stride + len && to.len() >= len * 8);
    if width == 8 {
        // SAFETY: both are long enough, as asserted.
        unsafe { interleave_8(op.isa, from.as_ptr(), stride, len, to.as_mut_ptr()) };
        return;
    }
    for (k, group) in to[..len * 8].chunks_exact_mut(8).enumerate() {
        for (c, w) in group[..width].iter_mut().enumerate() {
            *w = from[c * stride + k];
        }
    }
}
