use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::*;
use crate::cpu::planes::Arena;

/// A convolution and where its tensors lie: `before` and `after` are other channels of the tensor that they are a view of.
#[derive(Clone, Debug)]
struct Problem {
    batch: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    layout: PlaneLayout,
    before: usize,
    after: usize,
}

/// A tensor that is a channel view, its memory filled with garbage first.
struct Tensor {
    arena: Arena,
    planes: Planes,
    all: Planes,
}

fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

impl Problem {
    fn garbage(&self, channels: usize) -> Tensor {
        let total = self.before + channels + self.after;
        let stride = total * self.layout.plane_stride();
        let mut arena = Arena::new(self.batch * stride);
        let all = arena.planes(0, self.batch, total, self.layout, stride);
        // SAFETY: all planes of the tensor.
        unsafe { std::slice::from_raw_parts_mut(all.plane(0, 0), self.batch * stride) }.fill(f32::NAN);
        Tensor { arena, planes: all.slice(self.before, channels), all }
    }

    fn tensor(&self, channels: usize, dense: &[f32]) -> Tensor {
        let tensor = self.garbage(channels);
        tensor.planes.write_dense(dense);
        tensor
    }

    fn pixels(&self) -> usize {
        self.layout.height * self.layout.width
    }

    fn conv(&self, isa: Isa) -> Conv2d {
        Conv2d::new(isa, self.inputs, self.outputs, self.kernel, self.layout, self.batch)
    }

    fn x(&self) -> Vec<f32> {
        values(self.batch * self.inputs * self.pixels(), 1)
    }

    fn dy(&self) -> Vec<f32> {
        values(self.batch * self.outputs * self.pixels(), 2)
    }

    fn weight(&self) -> Vec<f32> {
        values(self.inputs * self.outputs * self.kernel * self.kernel, 3)
    }

    fn bias(&self) -> Vec<f32> {
        values(self.outputs, 4)
    }

    /// Calls `visit(image, out, in, tap, output pixel, input pixel)` for every product of the convolution.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let PlaneLayout { height, width, .. } = self.layout;
        let (k, reach) = (self.kernel, self.kernel / 2);
        for image in 0..self.batch {
            for o in 0..self.outputs {
                for i in 0..self.inputs {
                    for (ky, kx) in (0..k).flat_map(|ky| (0..k).map(move |kx| (ky, kx))) {
                        for y in 0..height {
                            for x in 0..width {
                                let (sy, sx) = (y + ky, x + kx);
                                if sy < reach || sy - reach >= height || sx < reach || sx - reach >= width {
                                    continue;
                                }
                                let w = ((o * self.inputs + i) * k + ky) * k + kx;
                                let to = ((image * self.outputs + o) * height + y) * width + x;
                                let from = ((image * self.inputs + i) * height + sy - reach) * width + sx - reach;
                                visit(w, to, from);
                            }
                        }
                    }
                }
            }
        }
    }

    fn expected_forward(&self, relu: bool) -> Vec<f64> {
        let (x, weight, bias) = (self.x(), self.weight(), self.bias());
        let mut y: Vec<f64> = (0..self.batch * self.outputs * self.pixels())
            .map(|k| f64::from(bias[k / self.pixels() % self.outputs]))
            .collect();
        self.products(|w, to, from| y[to] += f64::from(weight[w]) * f64::from(x[from]));
        if relu {
            y.iter_mut().for_each(|v| *v = v.max(0.0));
        }
        y
    }

    fn expected_backward(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (x, weight, dy) = (self.x(), self.weight(), self.dy());
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; self.outputs]);
        self.products(|w, to, from| {
            dx[from] += f64::from(weight[w]) * f64::from(dy[to]);
            dw[w] += f64::from(x[from]) * f64::from(dy[to]);
        });
        for (k, v) in dy.iter().enumerate() {
            db[k / self.pixels() % self.outputs] += f64::from(*v);
        }
        (dx, dw, db)
    }

    fn forward(&self, isa: Isa, relu: bool) -> Vec<f32> {
        let conv = self.conv(isa);
        let (x, y) = (self.tensor(self.inputs, &self.x()), self.garbage(self.outputs));
        let mut packed = vec![f32::NAN; conv.packed_len()];
        conv.pack(&self.weight(), &mut packed);
        conv.forward(&packed, Some(&self.bias()), relu, &x.planes, &y.planes);
        self.check_surroundings(&y, self.outputs);
        y.planes.read_dense()
    }

    /// The gradient of the input, added to `start` when there is one.
    fn backward_data(&self, isa: Isa, start: Option<&[f32]>) -> Vec<f32> {
        let conv = self.conv(isa);
        let dy = self.tensor(self.outputs, &self.dy());
        let dx = start.map_or_else(|| self.garbage(self.inputs), |start| self.tensor(self.inputs, start));
        let mut packed = vec![f32::NAN; conv.packed_transposed_len()];
        conv.pack_transposed(&self.weight(), &mut packed);
        conv.backward_data(&packed, &dy.planes, &dx.planes, start.is_some());
        self.check_surroundings(&dx, self.inputs);
        dx.planes.read_dense()
    }

    fn backward_weights(&self, isa: Isa) -> (Vec<f32>, Vec<f32>) {
        let conv = self.conv(isa);
        let (x, dy) = (self.tensor(self.inputs, &self.x()), self.tensor(self.outputs, &self.dy()));
        let mut scratch = vec![f32::NAN; conv.gradient_scratch_len()];
        let (mut dw, mut db) = (vec![f32::NAN; conv.packed_len()], vec![f32::NAN; self.outputs]);
        conv.backward_weights(&x.planes, &dy.planes, &mut scratch, &mut dw, Some(&mut db));
        let mut alone = vec![f32::NAN; conv.packed_len()];
        conv.backward_weights(&x.planes, &dy.planes, &mut scratch, &mut alone, None);
        assert_eq!(dw, alone, "the bias gradient changes nothing else");
        (dw, db)
    }

    /// Borders are zero, and the other channels of the tensor untouched.
    fn check_surroundings(&self, tensor: &Tensor, channels: usize) {
        assert!(tensor.planes.borders_are_zero());
        assert!(!tensor.arena.is_empty());
        for image in 0..self.batch {
            for channel in (0..self.before).chain(self.before + channels..self.before + channels + self.after) {
                // SAFETY: a whole plane.
                let plane =
                    unsafe { std::slice::from_raw_parts(tensor.all.plane(image, channel), self.layout.plane_stride()) };
                assert!(plane.iter().all(|v| v.is_nan()), "channel {channel} of image {image} was written");
            }
        }
    }
}

fn close(got: &[f32], expected: &[f64], terms: usize) {
    assert_eq!(got.len(), expected.len());
    let tolerance = 4e-6 * (terms as f64).sqrt().max(1.0) + 1e-6;
    for (k, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*g) - e).abs() <= tolerance, "value {k}: {g}, expected {e}, tolerance {tolerance}");
    }
}

fn check(problem: &Problem) {
    let area = problem.kernel * problem.kernel;
    let (dx, dw, db) = problem.expected_backward();
    for isa in Isa::available() {
        for relu in [false, true] {
            close(&problem.forward(isa, relu), &problem.expected_forward(relu), problem.inputs * area);
        }
        close(&problem.backward_data(isa, None), &dx, problem.outputs * area);
        let start = problem.x();
        let added: Vec<f64> = dx.iter().zip(&start).map(|(a, b)| a + f64::from(*b)).collect();
        close(&problem.backward_data(isa, Some(&start)), &added, problem.outputs * area);
        let (got_dw, got_db) = problem.backward_weights(isa);
        close(&got_dw, &dw, problem.batch * problem.pixels());
        close(&got_db, &db, problem.batch * problem.pixels());
    }
}

fn problems() -> impl Strategy<Value = Problem> {
    let kernel =
        prop_oneof![3 => Just((3, 1)), 1 => Just((1, 1)), 1 => Just((5, 2)), 1 => Just((1, 0)), 1 => Just((3, 2))];
    (1..4_usize, 1..20_usize, 1..20_usize, kernel, 1..40_usize, 1..40_usize, 0..3_usize, 0..3_usize).prop_map(
        |(batch, inputs, outputs, (kernel, pad), height, width, before, after)| {
            let layout = PlaneLayout { height, width, pad };
            Problem { batch, inputs, outputs, kernel, layout, before, after }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_instruction_set_agrees_with_the_slow_convolution(problem in problems()) {
        check(&problem);
    }
}

fn problem(batch: usize, inputs: usize, outputs: usize, kernel: usize, height: usize, width: usize) -> Problem {
    let layout = PlaneLayout { height, width, pad: (kernel / 2).max(1) };
    Problem { batch, inputs, outputs, kernel, layout, before: 1, after: 0 }
}

#[test]
fn a_kernel_of_ones_counts_the_neighbours() {
    let layout = PlaneLayout { height: 2, width: 3, pad: 1 };
    for isa in Isa::available() {
        let conv = Conv2d::new(isa, 1, 1, 3, layout, 1);
        let mut arena = Arena::new(2 * layout.plane_stride());
        let x = arena.planes(0, 1, 1, layout, layout.plane_stride());
        let y = arena.planes(layout.plane_stride(), 1, 1, layout, layout.plane_stride());
        x.write_dense(&[1.0; 6]);
        let mut packed = [0.0; 9];
        conv.pack(&[1.0; 9], &mut packed);
        conv.forward(&packed, Some(&[0.5]), false, &x, &y);
        assert_eq!(y.read_dense(), [4.5, 6.5, 4.5, 4.5, 6.5, 4.5]);
    }
}

#[test]
fn the_kernel_is_not_turned() {
    let layout = PlaneLayout { height: 3, width: 3, pad: 1 };
    let conv = Conv2d::new(Isa::detect(), 1, 1, 3, layout, 1);
    let mut arena = Arena::new(2 * layout.plane_stride());
    let x = arena.planes(0, 1, 1, layout, layout.plane_stride());
    let y = arena.planes(layout.plane_stride(), 1, 1, layout, layout.plane_stride());
    x.write_dense(&[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let mut packed = [0.0; 9];
    conv.pack(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &mut packed);
    conv.forward(&packed, None, false, &x, &y);
    assert_eq!(y.read_dense(), [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
}

#[test]
fn relu_lets_a_nan_through() {
    let layout = PlaneLayout { height: 1, width: 1, pad: 1 };
    for isa in Isa::available() {
        let conv = Conv2d::new(isa, 1, 1, 1, layout, 1);
        let mut arena = Arena::new(2 * layout.plane_stride());
        let x = arena.planes(0, 1, 1, layout, layout.plane_stride());
        let y = arena.planes(layout.plane_stride(), 1, 1, layout, layout.plane_stride());
        x.write_dense(&[f32::NAN]);
        conv.forward(&[1.0], None, true, &x, &y);
        assert!(y.read_dense()[0].is_nan(), "{}", isa.name());
    }
}

#[test]
fn wide_and_deep_layers_agree_with_the_slow_convolution() {
    check(&problem(1, 70, 67, 3, 33, 31));
    check(&problem(3, 130, 96, 3, 4, 5));
    check(&problem(2, 300, 5, 1, 20, 21));
    check(&problem(2, 2, 3, 3, 150, 149));
    check(&problem(1, 3, 9, 7, 12, 9));
}

#[test]
fn backward_is_the_adjoint_of_forward() {
    let problem = problem(2, 6, 11, 3, 17, 23);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for isa in Isa::available() {
        let y = problem.forward(isa, false);
        let (dw, db) = problem.backward_weights(isa);
        let by_bias = dot(&db, &problem.bias());
        let output = dot(&y, &problem.dy()) - by_bias;
        assert!((output - dot(&problem.backward_data(isa, None), &problem.x())).abs() < 1e-2);
        assert!((output - dot(&dw, &problem.weight())).abs() < 1e-2);
    }
}

#[test]
fn weight_gradient_agrees_with_finite_differences() {
    let problem = problem(2, 2, 3, 3, 7, 9);
    let conv = problem.conv(Isa::detect());
    let (dw, _) = problem.backward_weights(Isa::detect());
    let (x, y) = (problem.tensor(2, &problem.x()), problem.garbage(3));
    let loss = |weight: &[f32]| {
        let mut packed = vec![0.0; conv.packed_len()];
        conv.pack(weight, &mut packed);
        conv.forward(&packed, None, false, &x.planes, &y.planes);
        y.planes.read_dense().iter().zip(problem.dy()).map(|(a, b)| f64::from(*a) * f64::from(b)).sum::<f64>()
    };
    for (k, gradient) in dw.iter().enumerate() {
        let (mut up, mut down) = (problem.weight(), problem.weight());
        up[k] += 0.125;
        down[k] -= 0.125;
        let difference = (loss(&up) - loss(&down)) / 0.25;
        assert!((difference - f64::from(*gradient)).abs() < 1e-3, "weight {k}: {difference} {gradient}");
    }
}

#[test]
fn results_are_the_same_bits_for_any_number_of_threads() {
    for problem in [problem(2, 13, 24, 3, 65, 70), problem(4, 96, 64, 3, 8, 8), problem(1, 3, 2, 3, 200, 190)] {
        for isa in Isa::available() {
            let run = |threads: usize| {
                let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                pool.install(|| {
                    (problem.forward(isa, true), problem.backward_data(isa, None), problem.backward_weights(isa))
                })
            };
            let one = run(1);
            assert!(run(2) == one && run(3) == one, "{} {problem:?}", isa.name());
        }
    }
}

#[test]
#[should_panic(expected = "border 1")]
fn a_kernel_wider_than_the_border_is_refused() {
    let _ = Conv2d::new(Isa::Portable, 1, 1, 5, PlaneLayout { height: 4, width: 4, pad: 1 }, 1);
}

#[test]
fn pooling_with_the_convolution_gives_what_pooling_afterwards_gives() {
    // Several pieces, rows longer than a piece, odd sizes, several images.
    for shape in [(1, 3, 5, 64, 96), (2, 2, 3, 37, 150), (1, 1, 9, 6, 40_000), (3, 4, 2, 5, 7), (1, 40, 8, 130, 70)] {
        let (batch, inputs, outputs, height, width) = shape;
        let p = problem(batch, inputs, outputs, 3, height, width);
        let x = p.tensor(inputs, &p.x());
        let half = PlaneLayout { height: height / 2, width: width / 2, pad: p.layout.pad };
        let stride = outputs * half.plane_stride();
        for isa in Isa::available() {
            let conv = p.conv(isa);
            let mut packed = vec![0.0; conv.packed_len()];
            conv.pack(&p.weight(), &mut packed);
            let y = p.garbage(outputs);
            let mut arena = Arena::new(2 * batch * stride);
            let [both, after] = [0, 1].map(|k| arena.planes(k * batch * stride, batch, outputs, half, stride));
            // SAFETY: all planes of the two tensors.
            unsafe { std::slice::from_raw_parts_mut(both.plane(0, 0), 2 * batch * stride) }.fill(f32::NAN);
            conv.forward_and_pool(&packed, Some(&p.bias()), true, &x.planes, &y.planes, &both);
            crate::cpu::max_pool::forward(isa, &y.planes, &after);
            assert_eq!(both.read_dense(), after.read_dense(), "{shape:?} {}", isa.name());
            assert!(both.borders_are_zero() && y.planes.borders_are_zero(), "{shape:?} {}", isa.name());
        }
    }
}
