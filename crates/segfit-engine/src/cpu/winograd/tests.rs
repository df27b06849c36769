use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::*;
use crate::cpu::conv2d::Conv2d;
use crate::cpu::trial::{Tensor, noise};

/// A convolution, and how many other planes lie between the images of its tensors.
#[derive(Clone, Copy, Debug)]
struct Problem {
    batch: usize,
    inputs: usize,
    outputs: usize,
    height: usize,
    width: usize,
    pad: usize,
    extra: usize,
}

/// What is asked of the convolution.
#[derive(Clone, Copy, Debug)]
struct Ask {
    bias: bool,
    relu: bool,
    accumulate: bool,
}

impl Problem {
    fn layout(&self) -> PlaneLayout {
        PlaneLayout { height: self.height, width: self.width, pad: self.pad }
    }

    fn tensor(&self, channels: usize, seed: u64) -> Tensor {
        let dense = noise(self.batch * channels * self.height * self.width, seed);
        Tensor::of(&dense, self.batch, channels, (self.height, self.width), self.pad, self.extra)
    }

    fn weight(&self) -> Vec<f32> {
        noise(self.inputs * self.outputs * 9, 3)
    }

    fn bias(&self) -> Vec<f32> {
        noise(self.outputs, 4)
    }

    /// The convolution in f64, from the definition.
    fn expected(&self, ask: Ask) -> Vec<f64> {
        let (h, w) = (self.height, self.width);
        let x = noise(self.batch * self.inputs * h * w, 1);
        let before = noise(self.batch * self.outputs * h * w, 2);
        let (weight, bias) = (self.weight(), self.bias());
        let mut y = Vec::with_capacity(before.len());
        for (k, before) in before.iter().enumerate() {
            let (row, column, o, image) = (k / w % h, k % w, k / w / h % self.outputs, k / w / h / self.outputs);
            let mut sum = if ask.bias { f64::from(bias[o]) } else { 0.0 };
            for i in 0..self.inputs {
                for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                    let (sy, sx) = (row + ky, column + kx);
                    if (1..=h).contains(&sy) && (1..=w).contains(&sx) {
                        let from = ((image * self.inputs + i) * h + sy - 1) * w + sx - 1;
                        sum += f64::from(weight[(o * self.inputs + i) * 9 + 3 * ky + kx]) * f64::from(x[from]);
                    }
                }
            }
            sum += if ask.accumulate { f64::from(*before) } else { 0.0 };
            y.push(if ask.relu { sum.max(0.0) } else { sum });
        }
        y
    }

    fn run(&self, isa: Isa, ask: Ask) -> Vec<f32> {
        let op = Winograd::new(isa, self.inputs, self.outputs, self.layout(), self.batch);
        let x = self.tensor(self.inputs, 1);
        let mut y = if ask.accumulate {
            self.tensor(self.outputs, 2)
        } else {
            Tensor::garbage(self.batch, self.outputs, (self.height, self.width), self.pad, self.extra)
        };
        let mut packed = vec![f32::NAN; op.packed_len()];
        op.pack(&self.weight(), &mut packed);
        let mut scratch = vec![f32::NAN; op.scratch_len()];
        let bias = self.bias();
        let bias = ask.bias.then_some(&bias[..]);
        op.forward(&packed, bias, ask.relu, ask.accumulate, &x.planes, &y.planes, &mut scratch);
        assert!(y.is_intact(), "{} {self:?} {ask:?}", isa.name());
        y.planes.read_dense()
    }
}

/// Largest difference relative to the largest expected value.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    let worst = got.iter().zip(expected).map(|(g, e)| (f64::from(*g) - e).abs());
    worst.fold(0.0, |a: f64, d| if d.is_nan() { f64::INFINITY } else { a.max(d) }) / largest
}

const PLAIN: Ask = Ask { bias: true, relu: false, accumulate: false };

fn asks() -> [Ask; 4] {
    [
        PLAIN,
        Ask { relu: true, ..PLAIN },
        Ask { bias: false, relu: false, accumulate: true },
        Ask { bias: true, relu: true, accumulate: true },
    ]
}

fn problem(batch: usize, inputs: usize, outputs: usize, height: usize, width: usize) -> Problem {
    Problem { batch, inputs, outputs, height, width, pad: 1, extra: 1 }
}

fn check(problem: &Problem, asks: &[Ask]) {
    for ask in asks {
        let expected = problem.expected(*ask);
        for isa in Isa::available() {
            let error = error(&problem.run(isa, *ask), &expected);
            assert!(error <= 1e-4, "{} {problem:?} {ask:?}: {error}", isa.name());
        }
    }
}

fn problems() -> impl Strategy<Value = Problem> {
    (1..4_usize, 1..20_usize, 1..28_usize, 1..40_usize, 1..70_usize, 1..3_usize, 0..3_usize).prop_map(
        |(batch, inputs, outputs, height, width, pad, extra)| Problem {
            batch,
            inputs,
            outputs,
            height,
            width,
            pad,
            extra,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_instruction_set_agrees_with_the_slow_convolution(problem in problems(), ask in 0..4_usize) {
        check(&problem, &asks()[ask..=ask]);
    }
}

#[test]
fn bias_relu_and_accumulation_agree_with_the_slow_convolution() {
    for size in [(1, 1), (4, 4), (5, 3), (8, 16), (17, 19), (7, 64), (33, 66)] {
        check(&problem(2, 3, 5, size.0, size.1), &asks());
    }
}

#[test]
fn wide_and_deep_layers_agree_with_the_slow_convolution() {
    check(&problem(1, 70, 67, 33, 31), &[PLAIN]);
    check(&problem(3, 300, 96, 4, 5), &[PLAIN]);
    check(&problem(1, 150, 40, 16, 16), &[PLAIN]);
    check(&problem(1, 4, 9, 130, 129), &[PLAIN]);
}

#[test]
fn a_kernel_of_ones_counts_the_neighbours() {
    let layout = PlaneLayout { height: 2, width: 3, pad: 1 };
    for isa in Isa::available() {
        let op = Winograd::new(isa, 1, 1, layout, 1);
        let x = Tensor::of(&[1.0; 6], 1, 1, (2, 3), 1, 0);
        let y = Tensor::garbage(1, 1, (2, 3), 1, 0);
        let (mut packed, mut scratch) = (vec![0.0; op.packed_len()], vec![0.0; op.scratch_len()]);
        op.pack(&[1.0; 9], &mut packed);
        op.forward(&packed, Some(&[0.5]), false, false, &x.planes, &y.planes, &mut scratch);
        let expected = [4.5, 6.5, 4.5, 4.5, 6.5, 4.5];
        assert!(error(&y.planes.read_dense(), &expected) < 1e-6, "{}", isa.name());
    }
}

#[test]
fn nothing_outside_of_the_planes_reaches_the_result() {
    // The planes in front, between and behind are NaN.
    for (height, width) in [(5, 5), (16, 16), (18, 35), (3, 130)] {
        let layout = PlaneLayout { height, width, pad: 1 };
        let (before, stride) = (512, 4 * layout.plane_stride());
        for isa in Isa::available() {
            let mut arena = crate::cpu::planes::Arena::new(before + 2 * stride + 512);
            let len = arena.len();
            let all = arena.planes(0, 1, 1, PlaneLayout { height: 1, width: len - 16, pad: 0 }, 0);
            // SAFETY: floats of this arena, which nobody else holds.
            unsafe { std::slice::from_raw_parts_mut(all.plane(0, 0), len - 16) }.fill(f32::NAN);
            let x = arena.planes(before + layout.plane_stride(), 2, 2, layout, stride);
            x.write_dense(&noise(4 * height * width, 1));
            let y = Tensor::garbage(2, 3, (height, width), 1, 0);
            let op = Winograd::new(isa, 2, 3, layout, 2);
            let (mut packed, mut scratch) = (vec![0.0; op.packed_len()], vec![0.0; op.scratch_len()]);
            op.pack(&noise(54, 3), &mut packed);
            op.forward(&packed, None, false, false, &x, &y.planes, &mut scratch);
            let same = problem(2, 2, 3, height, width).expected(Ask { bias: false, ..PLAIN });
            let error = error(&y.planes.read_dense(), &same);
            assert!(error < 1e-5, "{} {height} x {width}: {error}", isa.name());
        }
    }
}

#[test]
fn both_directions_agree_with_the_direct_form() {
    for problem in [problem(2, 19, 13, 21, 40), problem(1, 64, 48, 32, 32), problem(3, 8, 16, 64, 65)] {
        let size = (problem.height, problem.width);
        for isa in Isa::available() {
            let direct = Conv2d::new(isa, problem.inputs, problem.outputs, 3, problem.layout(), problem.batch);
            let (x, dy) = (problem.tensor(problem.inputs, 1), problem.tensor(problem.outputs, 2));
            let y = Tensor::garbage(problem.batch, problem.outputs, size, 1, 0);
            let mut packed = vec![0.0; direct.packed_len()];
            direct.pack(&problem.weight(), &mut packed);
            direct.forward(&packed, Some(&problem.bias()), true, &x.planes, &y.planes);
            let expected: Vec<f64> = y.planes.read_dense().iter().map(|v| f64::from(*v)).collect();
            let forward = error(&problem.run(isa, Ask { relu: true, ..PLAIN }), &expected);
            assert!(forward <= 1e-4, "{} {problem:?}: {forward}", isa.name());

            let dx = Tensor::garbage(problem.batch, problem.inputs, size, 1, 0);
            direct.pack_transposed(&problem.weight(), &mut packed);
            direct.backward_data(&packed, &dy.planes, &dx.planes, false);
            let expected: Vec<f64> = dx.planes.read_dense().iter().map(|v| f64::from(*v)).collect();
            let op = Winograd::new(isa, problem.outputs, problem.inputs, problem.layout(), problem.batch);
            let (mut packed, mut scratch) = (vec![f32::NAN; op.packed_len()], vec![f32::NAN; op.scratch_len()]);
            op.pack_transposed(&problem.weight(), &mut packed);
            op.forward(&packed, None, false, false, &dy.planes, &dx.planes, &mut scratch);
            let backward = error(&dx.planes.read_dense(), &expected);
            assert!(backward <= 1e-4, "{} {problem:?}: {backward}", isa.name());
        }
    }
}

#[test]
fn results_are_the_same_bits_for_any_number_of_threads() {
    let shapes = [problem(2, 13, 24, 65, 70), problem(4, 96, 64, 8, 8), problem(1, 3, 2, 200, 190)];
    for problem in shapes {
        for isa in Isa::available() {
            let run = |threads: usize| {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                pool.install(|| problem.run(isa, PLAIN)).into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let one = run(1);
            assert!(run(2) == one && run(3) == one, "{} {problem:?}", isa.name());
        }
    }
}

#[test]
#[should_panic(expected = "needs a border")]
fn planes_without_a_border_are_refused() {
    let _ = Winograd::new(Isa::Portable, 1, 1, PlaneLayout { height: 4, width: 4, pad: 0 }, 1);
}

#[test]
fn it_pays_where_it_was_measured_faster() {
    let pays = |(batch, inputs, outputs, size), packing| {
        let layout = PlaneLayout { height: size, width: size, pad: 1 };
        Winograd::pays(Isa::Avx512, inputs, outputs, layout, batch, packing)
    };
    for shape in [(1, 16, 16, 256), (4, 16, 16, 128), (1, 64, 64, 256), (1, 1024, 512, 32)] {
        assert!(pays(shape, Packing::Once) && pays(shape, Packing::EveryPass), "{shape:?}");
    }
    for shape in [(4, 128, 128, 8), (1, 256, 256, 16)] {
        assert!(pays(shape, Packing::Once) && !pays(shape, Packing::EveryPass), "{shape:?}");
    }
    for shape in [(4, 8, 8, 256), (1, 3, 16, 256), (4, 16, 16, 17), (1, 8, 16, 256), (1, 1024, 1024, 16)] {
        assert!(!pays(shape, Packing::Once), "{shape:?}");
    }
}
