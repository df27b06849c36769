//! Weights in the order in which the tiles read them: `[block of outputs][input][kernel position][output of the block]`.

/// Weights of at least this many floats are packed in parallel.
const PARALLEL: usize = 1 << 16;

/// From `[out][in][tap]`; `blocks` are the starts of the blocks of output channels and their end.
pub(super) fn pack(weight: &[f32], packed: &mut [f32], inputs: usize, taps: usize, blocks: &[usize]) {
    let row = inputs * taps;
    let pack_block = |first: usize, packed: &mut [f32]| {
        let width = packed.len() / row;
        let weight = &weight[first * row..(first + width) * row];
        match width {
            8 => interleave::<8>(weight, packed),
            4 => interleave::<4>(weight, packed),
            _ => {
                for (k, group) in packed.chunks_exact_mut(width).enumerate() {
                    for (c, w) in group.iter_mut().enumerate() {
                        *w = weight[c * row + k];
                    }
                }
            }
        }
    };
    for_each_block(packed, row, blocks, &pack_block);
}

/// `packed[k][c] = weight[c][k]` for `N` rows.
fn interleave<const N: usize>(weight: &[f32], packed: &mut [f32]) {
    let row = weight.len() / N;
    let rows: [&[f32]; N] = std::array::from_fn(|c| &weight[c * row..(c + 1) * row]);
    for (k, group) in packed.chunks_exact_mut(N).enumerate() {
        for (w, row) in group.iter_mut().zip(rows) {
            *w = row[k];
        }
    }
}

/// From `[out][in][tap]`, for the convolution whose inputs are `outputs` channels and whose outputs are `in`, with the
/// kernel turned by 180 degrees.
pub(super) fn pack_transposed(weight: &[f32], packed: &mut [f32], outputs: usize, taps: usize, blocks: &[usize]) {
    let inputs = blocks[blocks.len() - 1];
    let pack_block = |first: usize, packed: &mut [f32]| {
        let width = packed.len() / (outputs * taps);
        for (o, packed) in packed.chunks_exact_mut(taps * width).enumerate() {
            let weight = &weight[(o * inputs + first) * taps..(o * inputs + first + width) * taps];
            for (t, group) in packed.chunks_exact_mut(width).rev().enumerate() {
                for (c, w) in group.iter_mut().enumerate() {
                    *w = weight[c * taps + t];
                }
            }
        }
    };
    for_each_block(packed, outputs * taps, blocks, &pack_block);
}

/// Calls `pack_block` with the first channel and the packed floats of every block, halving long runs between threads.
fn for_each_block<F>(packed: &mut [f32], row: usize, blocks: &[usize], pack_block: &F)
where
    F: Fn(usize, &mut [f32]) + Sync,
{
    if packed.len() < PARALLEL || blocks.len() == 2 {
        let mut rest = packed;
        for block in blocks.windows(2) {
            let (this, next) = rest.split_at_mut((block[1] - block[0]) * row);
            pack_block(block[0], this);
            rest = next;
        }
        return;
    }
    let middle = blocks.len() / 2;
    let (left, right) = packed.split_at_mut((blocks[middle] - blocks[0]) * row);
    rayon::join(
        || for_each_block(left, row, &blocks[..=middle], pack_block),
        || for_each_block(right, row, &blocks[middle..], pack_block),
    );
}
