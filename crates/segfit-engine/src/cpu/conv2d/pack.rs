//! Weights in the order in which the tiles read them: `[block of outputs][input][kernel position][output of the block]`.

use super::tiles::GroupChannels;
use crate::cpu::kernels::transpose::interleave_8;
use crate::cpu::ordered::{Slots, for_each};
use crate::cpu::simd::Isa;

/// From `[out][in][tap]`, group after group; `blocks` are the starts of the blocks of a group's output channels and
/// their end.
pub(in crate::cpu) fn pack(
    isa: Isa,
    weight: &[f32],
    packed: &mut [f32],
    channels: GroupChannels,
    taps: usize,
    blocks: &[usize],
) {
    let row = channels.inputs * taps;
    let group = channels.outputs * row;
    for (weight, packed) in weight.chunks_exact(group).zip(packed.chunks_exact_mut(group)) {
        for_each_block(packed, row, blocks, &|first: usize, packed: &mut [f32]| {
            let width = packed.len() / row;
            interleave(isa, &weight[first * row..(first + width) * row], width, packed);
        });
    }
}

/// From `[out][in][tap]`, group after group, for the convolution whose inputs are the `out` channels and whose outputs,
/// in `blocks`, the `in` channels.
pub(in crate::cpu) fn pack_transposed(
    isa: Isa,
    weight: &[f32],
    packed: &mut [f32],
    channels: GroupChannels,
    taps: usize,
    blocks: &[usize],
) {
    let GroupChannels { inputs, outputs, .. } = channels;
    let group = inputs * outputs * taps;
    for (weight, packed) in weight.chunks_exact(group).zip(packed.chunks_exact_mut(group)) {
        for_each_block(packed, outputs * taps, blocks, &|first: usize, packed: &mut [f32]| {
            let width = packed.len() / (outputs * taps);
            for (o, packed) in packed.chunks_exact_mut(taps * width).enumerate() {
                let rows = &weight[(o * inputs + first) * taps..(o * inputs + first + width) * taps];
                interleave(isa, rows, width, packed);
            }
        });
    }
}

/// As [`pack_transposed`] for sets of taps, one set after the other: `taps[set]` are kernel positions of `area`.
pub(in crate::cpu) fn pack_sets(
    weight: &[f32],
    packed: &mut [f32],
    channels: GroupChannels,
    area: usize,
    sets: &[Vec<usize>],
    blocks: &[usize],
) {
    let GroupChannels { inputs, outputs, groups } = channels;
    let mut rest = packed;
    for taps in sets.iter().filter(|taps| !taps.is_empty()) {
        let group = inputs * outputs * taps.len();
        let (this, next) = rest.split_at_mut(groups * group);
        for (weight, packed) in weight.chunks_exact(inputs * outputs * area).zip(this.chunks_exact_mut(group)) {
            for_each_block(packed, outputs * taps.len(), blocks, &|first: usize, packed: &mut [f32]| {
                let width = packed.len() / (outputs * taps.len());
                for (o, packed) in packed.chunks_exact_mut(taps.len() * width).enumerate() {
                    let rows = &weight[(o * inputs + first) * area..(o * inputs + first + width) * area];
                    for (c, row) in rows.chunks_exact(area).enumerate() {
                        for (k, &tap) in taps.iter().enumerate() {
                            packed[k * width + c] = row[tap];
                        }
                    }
                }
            });
        }
        rest = next;
    }
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
