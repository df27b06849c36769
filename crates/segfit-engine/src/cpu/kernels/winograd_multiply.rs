//! The 36 matrix products of the Winograd convolution: for every element of the tiles, `m[out][tile] = sum over in of
//! u[in][out] * v[in][tile]`.

use super::winograd_transform::{ELEMENTS, TOGETHER, element_stride, tiles_len};
use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// Some output channels of a block of tiles.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Transformed inputs `[run of TOGETHER inputs][panel][element][input][vector of the panel]`.
    pub v: *const f32,
    /// Transformed weights, in the order in which they are read: `[element][run of inputs][block][input][output]`.
    pub u: *const f32,
    /// Results `[block][panel][element][TOGETHER outputs][vector of the panel]`.
    pub m: *mut f32,
    /// Input channels.
    pub inputs: usize,
    /// Input channels summed in one pass, a multiple of [`TOGETHER`].
    pub in_block: usize,
    /// Starts of the blocks of output channels and their end; only differences count.
    pub blocks: &'a [usize],
    /// Starts of the panels and their end, in vectors.
    pub panels: &'a [usize],
}

/// Most output channels of a block.
#[must_use]
pub const fn max_outputs(isa: Isa) -> usize {
    if matches!(isa, Isa::Avx512) { 8 } else { 6 }
}

/// Most vectors of a panel.
#[must_use]
pub const fn max_vectors(isa: Isa) -> usize {
    if matches!(isa, Isa::Avx512) { 3 } else { 2 }
}

dispatch! {
    /// Writes the products.
    ///
    /// # Safety
    /// All three arrays must have the room that their shapes say.
    pub unsafe fn multiply = multiply_generic(run: &Product<'_>)
}

#[inline(always)]
unsafe fn multiply_generic<S: Simd>(run: &Product<'_>) {
    let first = run.blocks[0];
    let outputs = run.blocks[run.blocks.len() - 1] - first;
    let (panels, vectors_in_all) = (run.panels.len() - 1, run.panels[run.panels.len() - 1]);
    let together = tiles_len(vectors_in_all, panels, S::LANES);
    let mut u = run.u;
    // SAFETY: the caller's.
    unsafe {
        for element in 0..ELEMENTS {
            for input in (0..run.inputs).step_by(run.in_block) {
                let inputs = run.in_block.min(run.inputs - input);
                for (index, panel) in run.panels.windows(2).enumerate() {
                    let vectors = panel[1] - panel[0];
                    let v = run.v.add(
                        input / TOGETHER * together
                            + tiles_len(panel[0], index, S::LANES)
                            + element * element_stride(vectors, S::LANES),
                    );
                    let mut m = run.m;
                    for block in run.blocks.windows(2) {
                        let width = block[1] - block[0];
                        let place = tiles_len(panel[0], index, S::LANES) + element * element_stride(vectors, S::LANES);
                        let u = u.add((block[0] - first) * inputs);
                        let tile = Tile { v, together, u, m: m.add(place), inputs, add: input > 0 };
                        tile_of::<S>(width, vectors, tile);
                        m = m.add(together);
                    }
                }
                u = u.add(outputs * inputs);
            }
        }
    }
}

/// One register tile.
#[derive(Clone, Copy)]
struct Tile {
    v: *const f32,
    /// Floats from one run of inputs to the next.
    together: usize,
    u: *const f32,
    m: *mut f32,
    inputs: usize,
    add: bool,
}

#[inline(always)]
unsafe fn tile_of<S: Simd>(outputs: usize, vectors: usize, t: Tile) {
    // SAFETY: the caller's.
    unsafe {
        match outputs {
            8 => tile_of_width::<S, 8>(vectors, t),
            7 => tile_of_width::<S, 7>(vectors, t),
            6 => tile_of_width::<S, 6>(vectors, t),
            5 => tile_of_width::<S, 5>(vectors, t),
            4 => tile_of_width::<S, 4>(vectors, t),
            3 => tile_of_width::<S, 3>(vectors, t),
            2 => tile_of_width::<S, 2>(vectors, t),
            1 => tile_of_width::<S, 1>(vectors, t),
            n => unreachable!("tile of {n} output channels"),
        }
    }
}

#[inline(always)]
unsafe fn tile_of_width<S: Simd, const OC: usize>(vectors: usize, t: Tile) {
    // SAFETY: the caller's.
    unsafe {
        match vectors {
            3 => tile::<S, OC, 3>(t),
            2 => tile::<S, OC, 2>(t),
            1 => tile::<S, OC, 1>(t),
            n => unreachable!("panel of {n} vectors"),
        }
    }
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn tile<S: Simd, const OC: usize, const WV: usize>(t: Tile) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::zero(); WV]; OC];
        if t.add {
            for c in 0..OC {
                for k in 0..WV {
                    sums[c][k] = S::load(t.m.add((c * WV + k) * S::LANES));
                }
            }
        }
        let (mut from, mut u) = (t.v, t.u);
        for input in (0..t.inputs).step_by(TOGETHER) {
            let count = TOGETHER.min(t.inputs - input);
            if count == TOGETHER {
                for c in 0..TOGETHER {
                    step::<S, OC, WV>(from.add(c * WV * S::LANES), u.add(c * OC), &mut sums);
                }
            } else {
                for c in 0..count {
                    step::<S, OC, WV>(from.add(c * WV * S::LANES), u.add(c * OC), &mut sums);
                }
            }
            u = u.add(count * OC);
            from = from.add(t.together);
        }
        for c in 0..OC {
            for k in 0..WV {
                S::store(t.m.add((c * WV + k) * S::LANES), sums[c][k]);
            }
        }
    }
}

/// Adds one input.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
unsafe fn step<S: Simd, const OC: usize, const WV: usize>(v: *const f32, u: *const f32, sums: &mut [[S::V; WV]; OC]) {
    // SAFETY: the caller's.
    unsafe {
        let mut inputs = [S::zero(); WV];
        for k in 0..WV {
            inputs[k] = S::load(v.add(k * S::LANES));
        }
        for c in 0..OC {
            let weight = S::splat(*u.add(c));
            for k in 0..WV {
                sums[c][k] = S::fma(weight, inputs[k], sums[c][k]);
            }
        }
    }
}
