//! Convolution on packed planes with AMX, the matrix unit of recent Intel server CPUs.
//!
//! The unit multiplies a tile of weights (16 output channels x 16 elements of input channels) by a tile of activations (16
//! elements x 16 pixels), which is what lies in packed planes: row r of the tile are 16 neighbouring pixels of plane r. The
//! compiler has no stable intrinsics for it; each instruction is a line of assembly.

use std::sync::OnceLock;

use super::dot::DotSet;
use super::packed_tile::Finish;

/// Whether the CPU has AMX with both kinds of elements.
#[must_use]
pub fn in_cpu() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        const BF16_TILE_INT8: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        let highest = std::arch::x86_64::__cpuid(0).eax;
        highest >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & BF16_TILE_INT8 == BF16_TILE_INT8
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether the tile registers can be used: the CPU has them, and Linux has given them to this process, which is asked once.
#[must_use]
pub fn available() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| in_cpu() && is_x86_wide() && ask())
}

fn is_x86_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers and touches no memory; it changes the two registers that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn ask() -> bool {
    false
}

/// Output channels over a flat range of one image's planes.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRun<'a> {
    /// First element of the first plane of the input.
    pub x: *const u32,
    /// Elements from one plane to the next, of input and output.
    pub plane_stride: usize,
    /// Planes that are multiplied at a time, at most 16.
    pub depth: usize,
    /// The input has `depth * parts` planes.
    pub parts: usize,
    /// Flat shift of every kernel position.
    pub shifts: &'a [isize],
    /// Weights `[block of 16 outputs][parts][shifts][outputs of the block][depth]`.
    pub weights: *const u32,
    /// First element of the plane of the first output channel.
    pub y: *mut u32,
    /// Output channels.
    pub outputs: usize,
    /// First position.
    pub start: usize,
    /// End of the positions, a multiple of 16 behind the first.
    pub end: usize,
    /// How the sums become values.
    pub finish: Finish,
}

/// Computes one run; `set` says what the elements are.
///
/// # Safety
/// As for `conv_tile::convolve`, and [`available`] must be true.
pub unsafe fn convolve(set: DotSet, run: &MatrixRun<'_>) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if set.slots() == 4 {
            x86::convolve_int8(run);
        } else {
            x86::convolve_bf16(run);
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no matrix unit for {set:?} {run:?}");
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;

    use super::MatrixRun;
    use crate::cpu::kernels::dot::Dot;
    use crate::cpu::kernels::dot_x86::{Bf16Avx512, Int8Avx512};
    use crate::cpu::kernels::packed_tile::{Finish, pack_element, value};

    /// Rows of a tile: output channels of the sums and the weights, planes of the inputs. Columns: 16 elements.
    const SIDE: usize = 16;

    /// A kind of tile product: sums (tile C) += weights (tile A) x inputs (tile B).
    trait Product: Dot {
        unsafe fn multiply<const C: usize, const A: usize, const B: usize>();
    }

    /// One instruction on tiles C, A and B; only the combinations that the kernel uses.
    macro_rules! multiply {
        ($signed:literal) => {
            #[inline(always)]
            unsafe fn multiply<const C: usize, const A: usize, const B: usize>() {
                // SAFETY: touches tile registers only, which nobody else uses.
                unsafe {
                    match (C, A, B) {
                        (0, 4, 6) => asm!(concat!($signed, " tmm0, tmm4, tmm6"), options(nostack, nomem)),
                        (1, 4, 7) => asm!(concat!($signed, " tmm1, tmm4, tmm7"), options(nostack, nomem)),
                        (2, 5, 6) => asm!(concat!($signed, " tmm2, tmm5, tmm6"), options(nostack, nomem)),
                        (3, 5, 7) => asm!(concat!($signed, " tmm3, tmm5, tmm7"), options(nostack, nomem)),
                        (2, 4, 6) => asm!(concat!($signed, " tmm2, tmm4, tmm6"), options(nostack, nomem)),
                        (3, 4, 7) => asm!(concat!($signed, " tmm3, tmm4, tmm7"), options(nostack, nomem)),
                        _ => unreachable!(),
                    }
                }
            }
        };
    }

    impl Product for Int8Avx512 {
        // Signed weights, unsigned inputs.
        multiply!("tdpbsud");
    }

    impl Product for Bf16Avx512 {
        multiply!("tdpbf16ps");
    }

    /// Loads tile T with rows `stride` bytes apart.
    #[inline(always)]
    unsafe fn load<const T: usize>(p: *const u32, stride: usize) {
        // SAFETY: reads the rows that the tile's shape says; the caller vouches for them.
        unsafe {
            match T {
                4 => asm!("tileloadd tmm4, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
                5 => asm!("tileloadd tmm5, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
                6 => asm!("tileloadd tmm6, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
                7 => asm!("tileloadd tmm7, [{p} + {s}]", p = in(reg) p, s = in(reg) stride, options(nostack, readonly)),
                _ => unreachable!(),
            }
        }
    }

    /// Stores tile 0, 1, 2 or 3 with rows of 64 bytes.
    #[inline(always)]
    unsafe fn store(tile: usize, p: *mut u32) {
        let stride = 4 * SIDE;
        // SAFETY: writes 16 rows at most; the caller vouches for them.
        unsafe {
            match tile {
                0 => asm!("tilestored [{p} + {s}], tmm0", p = in(reg) p, s = in(reg) stride, options(nostack)),
                1 => asm!("tilestored [{p} + {s}], tmm1", p = in(reg) p, s = in(reg) stride, options(nostack)),
                2 => asm!("tilestored [{p} + {s}], tmm2", p = in(reg) p, s = in(reg) stride, options(nostack)),
                3 => asm!("tilestored [{p} + {s}], tmm3", p = in(reg) p, s = in(reg) stride, options(nostack)),
                _ => unreachable!(),
            }
        }
    }

    #[inline(always)]
    unsafe fn zero_sums() {
        // SAFETY: tile registers only.
        unsafe {
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
        }
    }

    /// Shapes of the eight tiles, in the processor's format: palette 1, bytes per row from byte 16, rows from byte 48.
    #[repr(C, align(64))]
    struct Shapes([u8; 64]);

    /// Sums in tiles 0 to 3, weights in 4 and 5, inputs in 6 and 7. Tiles 2, 3 and 5 have `second` rows of outputs.
    unsafe fn set_shapes(first: usize, second: usize, depth: usize) {
        let mut shapes = Shapes([0; 64]);
        shapes.0[0] = 1;
        let rows = [first, first, second, second, first, second, depth, depth];
        for (tile, rows) in rows.into_iter().enumerate() {
            let columns = if tile == 4 || tile == 5 { depth } else { SIDE };
            (shapes.0[16 + 2 * tile], shapes.0[48 + tile]) = ((4 * columns) as u8, rows as u8);
        }
        // SAFETY: 64 bytes are read; the tile registers belong to this thread until they are released.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(nostack, readonly)) };
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
    pub(super) unsafe fn convolve_int8(run: &MatrixRun<'_>) {
        // SAFETY: the caller's.
        unsafe { convolve::<Int8Avx512>(run) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
    pub(super) unsafe fn convolve_bf16(run: &MatrixRun<'_>) {
        // SAFETY: the caller's.
        unsafe { convolve::<Bf16Avx512>(run) }
    }

    #[inline(always)]
    unsafe fn convolve<P: Product>(run: &MatrixRun<'_>) {
        let per_output = run.parts * run.shifts.len() * run.depth;
        let mut first = 0;
        // SAFETY: the caller's; the tiles are released in the end.
        unsafe {
            while first < run.outputs {
                let rows = SIDE.min(run.outputs - first);
                let second = SIDE.min(run.outputs - first - rows);
                let job = Job {
                    run,
                    weights: run.weights.add(first * per_output),
                    y: run.y.add(if run.finish.floats > 0 { first } else { first / P::SLOTS } * run.plane_stride),
                    finish: Finish {
                        scale: run.finish.scale.add(first),
                        bias: run.finish.bias.add(first),
                        floats: run.finish.floats.saturating_sub(first),
                        ..run.finish
                    },
                    rows,
                    second,
                };
                set_shapes(rows, if second > 0 { second } else { rows }, run.depth);
                let mut q = run.start;
                if second > 0 {
                    while q < run.end {
                        job.two_by_two::<P>(q);
                        q += 2 * SIDE;
                    }
                } else {
                    while q < run.end {
                        job.one_by_four::<P>(q);
                        q += 4 * SIDE;
                    }
                }
                first += rows + second;
            }
            asm!("tilerelease", options(nostack, nomem));
        }
    }

    /// One or two blocks of output channels.
    struct Job<'a> {
        run: &'a MatrixRun<'a>,
        weights: *const u32,
        y: *mut u32,
        finish: Finish,
        rows: usize,
        second: usize,
    }

    impl Job<'_> {
        /// Two blocks of outputs at 32 positions; those behind the end are computed, too, but not stored.
        #[inline(always)]
        unsafe fn two_by_two<P: Product>(&self, q: usize) {
            let run = self.run;
            let (stride, columns) = (4 * run.plane_stride, 4 * run.depth);
            let mut first = self.weights;
            let mut second = self.weights.wrapping_add(self.rows * run.parts * run.shifts.len() * run.depth);
            // SAFETY: the caller's.
            unsafe {
                zero_sums();
                for part in 0..run.parts {
                    let x = run.x.add(part * run.depth * run.plane_stride + q);
                    for &shift in run.shifts {
                        let at = x.offset(shift);
                        load::<6>(at, stride);
                        load::<4>(first, columns);
                        P::multiply::<0, 4, 6>();
                        load::<7>(at.add(SIDE), stride);
                        P::multiply::<1, 4, 7>();
                        load::<5>(second, columns);
                        P::multiply::<2, 5, 6>();
                        P::multiply::<3, 5, 7>();
                        first = first.add(self.rows * run.depth);
                        second = second.add(self.second * run.depth);
                    }
                }
                for v in 0..2 {
                    if q + v * SIDE < run.end {
                        self.finish::<P>(v, 0, self.rows, q + v * SIDE);
                        self.finish::<P>(2 + v, self.rows, self.second, q + v * SIDE);
                    }
                }
            }
        }

        /// One block of outputs at 64 positions; those behind the end are computed, too, but not stored.
        #[inline(always)]
        unsafe fn one_by_four<P: Product>(&self, q: usize) {
            let run = self.run;
            let (stride, columns) = (4 * run.plane_stride, 4 * run.depth);
            let mut weights = self.weights;
            // SAFETY: the caller's.
            unsafe {
                zero_sums();
                for part in 0..run.parts {
                    let x = run.x.add(part * run.depth * run.plane_stride + q);
                    for &shift in run.shifts {
                        let at = x.offset(shift);
                        load::<4>(weights, columns);
                        load::<6>(at, stride);
                        P::multiply::<0, 4, 6>();
                        load::<7>(at.add(SIDE), stride);
                        P::multiply::<1, 4, 7>();
                        load::<6>(at.add(2 * SIDE), stride);
                        P::multiply::<2, 4, 6>();
                        load::<7>(at.add(3 * SIDE), stride);
                        P::multiply::<3, 4, 7>();
                        weights = weights.add(self.rows * run.depth);
                    }
                }
                for v in 0..4 {
                    if q + v * SIDE < run.end {
                        self.finish::<P>(v, 0, self.rows, q + v * SIDE);
                    }
                }
            }
        }

        /// Stores the sums of a tile: `rows` channels from `first` on, at 16 positions.
        #[inline(always)]
        unsafe fn finish<P: Product>(&self, tile: usize, first: usize, rows: usize, q: usize) {
            let mut memory = std::mem::MaybeUninit::<Sums>::uninit();
            let sums = memory.as_mut_ptr().cast::<u32>();
            let (y, stride) = (self.y.wrapping_add(q), self.run.plane_stride);
            // SAFETY: the caller's; the sums fill at most the array.
            unsafe {
                store(tile, sums);
                if self.finish.floats > 0 {
                    for c in 0..rows.min(self.finish.floats.saturating_sub(first)) {
                        P::store_floats(
                            y.add((first + c) * stride).cast(),
                            value::<P>(P::load_sums(sums.add(c * SIDE)), first + c, &self.finish),
                        );
                    }
                    return;
                }
                for c in (0..rows).step_by(P::SLOTS) {
                    let mut channels = [P::load_sums(sums.add(c * SIDE)); 4];
                    for slot in 1..P::SLOTS {
                        channels[slot] = P::load_sums(sums.add((c + slot) * SIDE));
                    }
                    let element = pack_element::<P>(&channels, first + c, &self.finish);
                    P::store(y.wrapping_add((first + c) / P::SLOTS * stride), element);
                }
            }
        }
    }

    #[repr(C, align(64))]
    struct Sums([u32; SIDE * SIDE]);
}
