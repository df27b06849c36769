//! Convolution on packed planes with AMX, the matrix unit of recent Intel server CPUs.
//!
//! The unit multiplies a tile of weights (16 output channels x 16 elements of input channels) by a tile of activations (16
//! elements x 16 pixels), which is what lies in packed planes: row r of the tile are 16 neighbouring pixels of plane r. The
//! compiler has no stable intrinsics for it; each instruction is a line of assembly.

use std::sync::OnceLock;

use segfit::network::layout::LINE;

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

/// How the input's planes are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Whether the rows of the kernel are folded into the depth: the planes, shifted by whole rows, are put next to each other
    /// first, so that thin inputs fill the tiles better.
    pub folded: bool,
    /// Planes of one product, at most 16.
    pub depth: usize,
    /// The planes (of all rows of the kernel, if folded) are `depth * parts`.
    pub parts: usize,
    /// Products of every pair of tiles.
    pub products: usize,
}

impl Steps {
    /// The steps with the fewest products for inputs of so many planes and a square kernel.
    #[must_use]
    pub fn new(planes: usize, kernel_size: usize) -> Self {
        let parts = |rows: usize| (rows.div_ceil(16)..=rows).find(|p| rows.is_multiple_of(*p)).unwrap_or(rows);
        let (plain, folded) = (parts(planes), parts(planes * kernel_size));
        let plain =
            Self { folded: false, depth: planes / plain, parts: plain, products: plain * kernel_size * kernel_size };
        let folded =
            Self { folded: true, depth: planes * kernel_size / folded, parts: folded, products: folded * kernel_size };
        let fits = planes * kernel_size <= MOST_FOLDED;
        if fits && 5 * folded.products < 4 * plain.products { folded } else { plain }
    }

    /// Whether these steps are faster than register tiles, which need one dot product for each output and element of `inner`
    /// (planes x kernel positions). Times of 16 positions in nanoseconds, as measured on Sapphire Rapids: a product of tiles
    /// with up to 8 outputs takes as long as about fifteen dot products of u8, with 16 outputs twenty-five.
    #[must_use]
    pub fn beat_vectors(&self, set: DotSet, outputs: usize, inner: usize) -> bool {
        let rest = match outputs % 16 {
            0 => 0.0,
            1..=8 => 3.0,
            _ => 5.2,
        };
        let matrix = ((outputs / 16) as f64 * 5.2 + rest) * self.products as f64;
        let vector = (outputs * inner) as f64 * if set.slots() == 4 { 0.2 } else { 0.4 };
        matrix < vector
    }
}

/// Most planes that folding makes: with a chunk of positions they fit the first cache.
const MOST_FOLDED: usize = 24;

/// Output channels over a flat range of one image's planes.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRun<'a> {
    /// First element of the first plane of the input.
    pub x: *const u32,
    /// Elements from one plane to the next, of input and output.
    pub plane_stride: usize,
    /// Planes of the input.
    pub planes: usize,
    /// How these are multiplied.
    pub steps: Steps,
    /// Flat shift of every kernel position.
    pub shifts: &'a [isize],
    /// Weights `[block of 16 outputs][parts][shifts][outputs of the block][depth]`; folded: `[block][parts][columns of the
    /// kernel][outputs of the block][depth]`, where parts and depth number the planes of all rows of the kernel, one row after
    /// the other.
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

/// Some output channels of a 2x2 transposed convolution with stride 2, for some rows of the input.
#[derive(Clone, Copy, Debug)]
pub struct MatrixUpRun {
    /// Pixel 0 of the first row of the input in its first plane.
    pub x: *const u32,
    /// Elements from one plane of the input to the next.
    pub x_stride: usize,
    /// Elements from one row of the input to the next.
    pub x_row_stride: usize,
    /// Rows of the input.
    pub rows: usize,
    /// Planes of one product, at most 16.
    pub depth: usize,
    /// The input has `depth * parts` planes.
    pub parts: usize,
    /// Weights `[row of the kernel][parts][column of the kernel][channel][depth]`.
    pub weights: *const u32,
    /// Output channels, at most [`UP_CHANNELS`].
    pub channels: usize,
    /// Pixel 0 of the first of twice as many rows of the output in its first plane.
    pub y: *mut u32,
    /// Elements from one row of the output to the next.
    pub y_row_stride: usize,
    /// Elements from one plane of the output to the next.
    pub y_stride: usize,
    /// Pixels of a row of the input.
    pub width: usize,
    /// Scale and bias of the channels; always packed.
    pub finish: Finish,
}

/// Output channels of a run of the transposed convolution.
pub const UP_CHANNELS: usize = LINE / 2;

/// Computes one run; `set` says what the elements are.
///
/// # Safety
/// As for `conv_tile::convolve` (up to four lines more are read), and [`available`] must be true.
pub unsafe fn convolve(set: DotSet, run: &MatrixRun<'_>) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if set.slots() == 4 {
            super::amx_x86::convolve_int8(run);
        } else {
            super::amx_x86::convolve_bf16(run);
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no matrix unit for {set:?} {run:?}");
    }
}

/// Computes one run of the transposed convolution; `set` says what the elements are.
///
/// # Safety
/// The rows lie inside valid memory, two lines behind the input's row may be read; nobody else touches the output's rows;
/// [`available`] must be true.
pub unsafe fn up(set: DotSet, run: &MatrixUpRun) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if set.slots() == 4 {
            super::amx_x86::up_int8(run);
        } else {
            super::amx_x86::up_bf16(run);
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no matrix unit for {set:?} {run:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_inputs_are_folded_and_deep_ones_cut() {
        let steps = |planes, kernel| {
            let s = Steps::new(planes, kernel);
            (s.folded, s.depth, s.parts, s.products)
        };
        assert_eq!(steps(4, 3), (true, 12, 1, 3));
        assert_eq!(steps(8, 3), (true, 12, 2, 6));
        assert_eq!(steps(16, 3), (false, 16, 1, 9));
        assert_eq!(steps(20, 3), (false, 10, 2, 18));
        assert_eq!(steps(17, 1), (false, 1, 17, 17));
        assert_eq!(steps(1, 5), (true, 5, 1, 5));
    }
}
