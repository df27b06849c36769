//! Weights in the order in which the tiles read them: `[block of outputs][input][kernel position][output of the block]`.

use crate::cpu::kernels::transpose::interleave_8;
use crate::cpu::ordered::{Slots, for_each};
use crate::cpu::simd::Isa;

/// From `[out][in][tap]`; `blocks` are the starts of the blocks of output channels and their end.
pub(super) fn pack(isa: Isa, weight: &[f32], packed: &mut [f32], inputs: usize, taps: usize, blocks: &[usize]) {
    let row = inputs * taps;
    for_each_block(packed, row, blocks, &|first: usize, packed: &mut [f32]| {
        let width = packed.len() / row;
        interleave(isa, &weight[first * row..(first + width) * row], width, packed);
    });
}

/// From `[out][in][tap]`, for the convolution whose inputs are `outputs` channels and whose outputs are `in`.
pub(super) fn pack_transposed(
    isa: Isa,
    weight: &[f32],
    packed: &mut [f32],
    outputs: usize,
    taps: usize,
    blocks: &[usize],
) {
    let inputs = blocks[blocks.len() - 1];
    for_each_block(packed, outputs * taps, blocks, &|first: usize, packed: &mut [f32]| {
        let width = packed.len() / (outputs * taps);
        for (o, packed) in packed.chunks_exact_mut(taps * width).enumerate() {
            interleave(isa, &weight[(o * inputs + first) * taps..(o * inputs + first + width) * taps], width, packed);
        }
    });
}

/// `packed[k][c] = weight[c][k]` for `width` rows c.
fn interleave(isa: Isa, weight: &[f32], width: usize, packed: &mut [f32]) {
    assert_eq!(weight.len(), packed.len());
    let row = weight.len() / width;
    if width == 8 {
        // SAFETY: both have 8 * row floats.
        unsafe { interleave_8(isa, weight.as_ptr(), row, row, packed.as_mut_ptr()) };
        return;
    }
    for (k, group) in packed.chunks_exact_mut(width).enumerate() {
        for (c, w) in group.iter_mut().enumerate() {
            *w = weight[c * row + k];
        }
    }
}

/// Calls `pack_block` with the first channel and the packed floats of every block.
fn for_each_block(packed: &mut [f32], row: usize, blocks: &[usize], pack_block: &(impl Fn(usize, &mut [f32]) + Sync)) {
    let (work, packed) = (2 * packed.len(), Slots::new(packed));
    for_each(blocks.len() - 1, work, |k| {
        let (first, end) = (blocks[k], blocks[k + 1]);
        // SAFETY: blocks do not overlap.
        pack_block(first, unsafe { packed.range(first * row, (end - first) * row) });
    });
}
