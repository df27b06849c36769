//! The 36 matrix products of the Winograd convolution: for every element of the tiles, `m[out][tile] = sum over in of
//! u[in][out] * v[in][tile]`.

use super::winograd_transform::ELEMENTS;
use crate::cpu::simd::{Isa, Simd};
use crate::dispatch;

/// Some output channels of a block of tiles.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// Transformed inputs `[element][panel][input][vector of the panel]`.
    pub v: *const f32,
    /// Floats from one element to the next.
    pub v_stride: usize,
    /// Transformed weights, in the order in which they are read: `[element][run of inputs][block][input][output]`.
    pub u: *const f32,
    /// Results `[element][panel][output][vector of the panel]`.
    pub m: *mut f32,
    /// Floats from one element to the next.
    pub m_stride: usize,
    /// Input channels.
    pub inputs: usize,
    /// Input channels summed in one pass.
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
    let mut u = run.u;
    // SAFETY: the caller's.
    unsafe {
        for element in 0..ELEMENTS {
            let (v, m) = (run.v.add(element * run.v_stride), run.m.add(element * run.m_stride));
            for input in (0..run.inputs).step_by(run.in_block) {
                let inputs = run.in_block.min(run.inputs - input);
                for panel in run.panels.windows(2) {
                    let vectors = panel[1] - panel[0];
                    let v = v.add((panel[0] * run.inputs + input * vectors) * S::LANES);
                    for block in run.blocks.windows(2) {
                        let tile = Tile {
                            v,
                            u: u.add((block[0] - first) * inputs),
                            m: m.add((panel[0] * outputs + (block[0] - first) * vectors) * S::LANES),
                            inputs,
                            add: input > 0,
                        };
                        tile_of::<S>(block[1] - block[0], vectors, tile);
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
        let (mut v, mut u) = (t.v, t.u);
        for _ in 0..t.inputs {
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
            v = v.add(WV * S::LANES);
            u = u.add(OC);
        }
        for c in 0..OC {
            for k in 0..WV {
                S::store(t.m.add((c * WV + k) * S::LANES), sums[c][k]);
            }
        }
    }
}
