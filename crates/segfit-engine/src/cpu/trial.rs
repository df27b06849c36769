//! Tensors for tests: views inside bigger tensors that hold garbage, filled from a seed.

use segfit::network::layout::{LINE, PlaneLayout};

use super::planes::{Arena, Planes};
use super::simd::Isa;

/// A tensor inside an arena of its own, with garbage planes around it.
pub struct Tensor {
    arena: Arena,
    pub planes: Planes,
}

/// Uniform numbers in [-1, 1) from a seed (splitmix64).
pub fn noise(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed.wrapping_mul(0xD1B5_4A32_D192_ED03);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

impl Tensor {
    /// Garbage everywhere: `extra` planes lie between images, one line of floats before the first.
    pub fn garbage(batch: usize, channels: usize, size: (usize, usize), pad: usize, extra: usize) -> Self {
        let layout = PlaneLayout { height: size.0, width: size.1, pad };
        let stride = (channels + extra) * layout.plane_stride();
        let mut arena = Arena::new(LINE + batch * stride);
        let len = arena.len();
        let whole = arena.planes(0, 1, 1, PlaneLayout { height: 1, width: len, pad: 0 }, 0);
        // SAFETY: all floats of this arena, which nobody else holds.
        unsafe { std::slice::from_raw_parts_mut(whole.plane(0, 0), len) }.fill(777.25);
        let planes = arena.planes(LINE, batch, channels, layout, stride);
        Self { arena, planes }
    }

    /// Given values, and garbage around them.
    pub fn of(dense: &[f32], batch: usize, channels: usize, size: (usize, usize), pad: usize, extra: usize) -> Self {
        let tensor = Self::garbage(batch, channels, size, pad, extra);
        tensor.planes.write_dense(dense);
        tensor
    }

    /// Whether borders are zero and the floats before the first plane and between images are untouched.
    pub fn is_intact(&mut self) -> bool {
        let (planes, len) = (self.planes, self.arena.len());
        let whole = self.arena.planes(0, 1, 1, PlaneLayout { height: 1, width: len, pad: 0 }, 0);
        // SAFETY: all floats of this arena, which nobody else holds.
        let all = unsafe { std::slice::from_raw_parts(whole.plane(0, 0), len) };
        let inside = planes.channels * planes.layout.plane_stride();
        let between = all[LINE..].chunks(planes.batch_stride).flat_map(|image| &image[inside..]);
        planes.borders_are_zero() && all[..LINE].iter().chain(between).all(|v| *v == 777.25)
    }
}

/// Largest |a - b| / (1 + |b|).
pub fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |worst, (x, y)| {
        let d = (f64::from(*x) - y).abs() / (1.0 + y.abs());
        if d.is_nan() { f64::INFINITY } else { d.max(worst) }
    })
}

/// Sum of products.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// The values as f64.
pub fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|x| f64::from(*x)).collect()
}

/// Runs `f` for every instruction set with 1, 2 and 3 threads; for each instruction set the bits must agree.
pub fn same_bits_for_all_threads(f: impl Fn(Isa) -> Vec<f32> + Sync) {
    for isa in Isa::available() {
        let bits: Vec<Vec<u32>> = [1, 2, 3]
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                pool.install(|| f(isa)).iter().map(|v| v.to_bits()).collect()
            })
            .into();
        assert!(bits[0] == bits[1] && bits[0] == bits[2], "{}", isa.name());
    }
}
