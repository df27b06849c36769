//! Peak arithmetic and bandwidth of this machine, measured with the vectors that the kernels use.

use std::fmt;
use std::hint::black_box;

use rayon::prelude::*;
use segfit_engine::cpu::simd::{Isa, Simd};
use segfit_engine::dispatch;

use super::best;

/// Bytes of the buffers of each thread: in the second cache, in the third (where there is a large one), in memory.
const SIZES: [usize; 3] = [1 << 20, 1 << 24, 1 << 29];

/// What was measured, with all threads at once.
pub struct Machine {
    /// Floating-point operations in a second (a multiply-add is two).
    pub peak: f64,
    /// The same of one thread alone.
    single_peak: f64,
    /// Bytes in use by all threads, and bytes in a second: read, and copied (read + written).
    bandwidths: Vec<(usize, f64, f64)>,
}

impl Machine {
    pub fn measure(isa: Isa, threads: usize, seconds: f64) -> Self {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        Self {
            single_peak: alone.install(|| peak(isa, seconds)),
            peak: peak(isa, seconds),
            bandwidths: SIZES
                .into_iter()
                .map(|size| (threads * size, read(isa, size, seconds), copy(size, seconds)))
                .collect(),
        }
    }

    /// Bytes in a second from the smallest memory measured that holds `bytes`: the better of reading and copying.
    pub fn bandwidth(&self, bytes: f64) -> f64 {
        let fits = self.bandwidths.iter().find(|(size, ..)| bytes <= *size as f64);
        let (_, read, copied) = fits.unwrap_or(&self.bandwidths[SIZES.len() - 1]);
        read.max(*copied)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (one, all) = (self.single_peak / 1e9, self.peak / 1e9);
        writeln!(f, "Peak, multiply-adds in registers alone: {all:.0} GFLOP/s; one thread {one:.0}.\n")?;
        writeln!(f, "| MiB of all threads | read GB/s | copied GB/s (read + written) |\n|---|---|---|")?;
        for (size, read, copied) in &self.bandwidths {
            writeln!(f, "| {} | {:.1} | {:.1} |", size >> 20, read / 1e9, copied / 1e9)?;
        }
        Ok(())
    }
}

/// Independent chains: more than the 8 that two units of four cycles each need, few enough to stay in registers.
const CHAINS: usize = 12;

/// Short calls, about half a millisecond: some of them escape what else runs on the machine.
const ROUNDS: usize = 1 << 16;

/// ROUNDS multiply-adds in each of the chains, which never leave the registers. Returns operations.
#[inline(always)]
unsafe fn chains<S: Simd>(factor: f32, sum: &mut f32) -> f64 {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (S::splat(factor), S::splat(1.0 - factor));
        let mut acc = [S::zero(); CHAINS];
        for _ in 0..ROUNDS {
            for k in 0..CHAINS {
                acc[k] = S::fma(acc[k], a, b);
            }
        }
        for v in acc {
            *sum += S::sum(v);
        }
    }
    (2 * CHAINS * S::LANES * ROUNDS) as f64
}
dispatch!(unsafe fn run_chains = chains(factor: f32, sum: &mut f32) -> f64);

/// Operations in a second of all threads of the current pool.
fn peak(isa: Isa, seconds: f64) -> f64 {
    let mut operations = 0.0;
    let taken = best(seconds, || {
        operations = rayon::broadcast(|_| {
            let mut sum = 0.0;
            // SAFETY: touches no memory of others.
            let operations = unsafe { run_chains(isa, black_box(0.5), &mut sum) };
            black_box(sum);
            operations
        })
        .iter()
        .sum();
    });
    operations / taken
}

#[inline(always)]
unsafe fn sum_all<S: Simd>(p: *const f32, n: usize) -> f32 {
    // SAFETY: the caller passes n valid floats, a multiple of eight vectors.
    unsafe {
        let mut acc = [S::zero(); 8];
        for i in (0..n).step_by(8 * S::LANES) {
            for k in 0..8 {
                acc[k] = S::add(acc[k], S::load(p.add(i + k * S::LANES)));
            }
        }
        acc.into_iter().map(|v| S::sum(v)).sum()
    }
}
dispatch!(unsafe fn run_sum_all = sum_all(p: *const f32, n: usize) -> f32);

/// Calls that make one measurement long enough for the clock and for waking threads.
fn repeats(size: usize) -> usize {
    ((1 << 24) / size).max(1)
}

fn read(isa: Isa, size: usize, seconds: f64) -> f64 {
    let threads = rayon::current_num_threads();
    let buffers: Vec<Vec<f32>> = (0..threads).into_par_iter().map(|_| vec![1.0; size / 4]).collect();
    let taken = best(seconds, || {
        rayon::broadcast(|context| {
            let buffer = &buffers[context.index()];
            for _ in 0..repeats(size) {
                // SAFETY: a power of two of floats, more than eight vectors.
                black_box(unsafe { run_sum_all(isa, black_box(buffer.as_ptr()), buffer.len()) });
            }
        });
    });
    (threads * size * repeats(size)) as f64 / taken
}

/// Half of every buffer to the other half, with the standard library's copy.
fn copy(size: usize, seconds: f64) -> f64 {
    let threads = rayon::current_num_threads();
    let mut buffers: Vec<Vec<f32>> = (0..threads).into_par_iter().map(|_| vec![1.0; size / 4]).collect();
    let taken = best(seconds, || {
        buffers.par_iter_mut().with_max_len(1).for_each(|buffer| {
            let (from, to) = buffer.split_at_mut(size / 8);
            for _ in 0..repeats(size) {
                to.copy_from_slice(black_box(from));
                black_box(&mut *to);
            }
        });
    });
    (threads * size * repeats(size)) as f64 / taken
}
