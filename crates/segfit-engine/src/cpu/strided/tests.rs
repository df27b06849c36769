//! Every shape of convolution against its definition in f64: [`Strided`] for all, [`Conv2d`] where the size is kept.

use proptest::prelude::*;
use segfit::network::Geometry;

use super::*;
use crate::cpu::conv2d::Conv2d;
use crate::cpu::trial::{Tensor, distance, dot, noise, same_bits_for_all_threads, wide};

#[derive(Clone, Debug)]
struct Problem {
    shape: ConvShape,
    batch: usize,
    large: (usize, usize),
    small: (usize, usize),
    /// Border of the larger side, and what the smaller side has beyond what it needs.
    pads: (usize, usize),
    /// Other planes between the images.
    extra: usize,
}

fn geometry(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2]) -> Geometry {
    Geometry { kernel, stride, padding, dilation, output_padding: [0; 2], transposed: false }
}

fn square(kernel: usize, stride: usize, padding: usize, dilation: usize) -> Geometry {
    geometry([kernel; 2], [stride; 2], [padding; 2], [dilation; 2])
}

/// `channels` are the larger side's, the smaller side's, and the groups.
fn problem(
    geometry: Geometry,
    channels: (usize, usize, usize),
    batch: usize,
    large: (usize, usize),
) -> Option<Problem> {
    let (in_channels, out_channels, groups) = channels;
    let small = geometry.output_size(large).ok()?;
    let shape = ConvShape { in_channels, out_channels, groups, geometry };
    Some(Problem { shape, batch, large, small, pads: (1, 0), extra: 1 })
}

/// Results in the order x (of `up`), y (of `down`), weights, biases of the smaller and of the larger side.
type Results<T> = [Vec<T>; 5];

impl Problem {
    fn x(&self) -> Vec<f32> {
        noise(self.batch * self.shape.in_channels * self.large.0 * self.large.1, 1)
    }

    fn y(&self) -> Vec<f32> {
        noise(self.batch * self.shape.out_channels * self.small.0 * self.small.1, 2)
    }

    fn weight(&self) -> Vec<f32> {
        noise(self.shape.weights(), 3)
    }

    fn biases(&self) -> (Vec<f32>, Vec<f32>) {
        (noise(self.shape.in_channels, 4), noise(self.shape.out_channels, 5))
    }

    fn border(&self) -> usize {
        self.shape.geometry.border(self.large, self.small).max(1) + self.pads.1
    }

    /// Calls `visit(index in x, index in y, index in the weights)` for every product of the definition.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ConvShape { in_channels, out_channels, groups, geometry: g } = self.shape;
        let (inputs, outputs) = (in_channels / groups, out_channels / groups);
        let place = |axis: usize, small: usize, tap: usize, size: usize| {
            (small * g.stride[axis] + tap * g.dilation[axis]).checked_sub(g.padding[axis]).filter(|&n| n < size)
        };
        for (n, o, i) in
            (0..self.batch).flat_map(|n| (0..out_channels).flat_map(move |o| (0..inputs).map(move |i| (n, o, i))))
        {
            let input = o / outputs * inputs + i;
            for (ky, kx) in (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx))) {
                let w = ((o * inputs + i) * g.kernel[0] + ky) * g.kernel[1] + kx;
                for (r, c) in (0..self.small.0).flat_map(|r| (0..self.small.1).map(move |c| (r, c))) {
                    let (Some(y), Some(x)) = (place(0, r, ky, self.large.0), place(1, c, kx, self.large.1)) else {
                        continue;
                    };
                    let from = ((n * in_channels + input) * self.large.0 + y) * self.large.1 + x;
                    visit(from, ((n * out_channels + o) * self.small.0 + r) * self.small.1 + c, w);
                }
            }
        }
    }

    /// `start` is what the results are added to.
    fn expected(&self, start: Option<(&[f32], &[f32])>, relu: bool) -> Results<f64> {
        let (x, y, weight, (of_large, of_small)) = (self.x(), self.y(), self.weight(), self.biases());
        let (large, small) = (self.large.0 * self.large.1, self.small.0 * self.small.1);
        let bias = |values: &[f32], area: usize, len: usize| -> Vec<f64> {
            (0..len).map(|k| f64::from(values[k / area % values.len()])).collect()
        };
        let (mut up, mut down) = match start {
            Some((x, y)) => (wide(x), wide(y)),
            None => (bias(&of_large, large, x.len()), bias(&of_small, small, y.len())),
        };
        let mut dw = vec![0.0; weight.len()];
        self.products(|a, b, w| {
            up[a] += f64::from(weight[w]) * f64::from(y[b]);
            down[b] += f64::from(weight[w]) * f64::from(x[a]);
            dw[w] += f64::from(x[a]) * f64::from(y[b]);
        });
        if relu {
            up.iter_mut().chain(&mut down).for_each(|v| *v = v.max(0.0));
        }
        let sums = |values: &[f32], area: usize, channels: usize| {
            let mut sums = vec![0.0; channels];
            values.iter().enumerate().for_each(|(k, v)| sums[k / area % channels] += f64::from(*v));
            sums
        };
        [up, down, dw, sums(&y, small, of_small.len()), sums(&x, large, of_large.len())]
    }

    fn tensor(&self, dense: &[f32], channels: usize, size: (usize, usize), pad: usize) -> Tensor {
        Tensor::of(dense, self.batch, channels, size, pad, self.extra)
    }

    fn strided(&self, isa: Isa, start: Option<(&[f32], &[f32])>, relu: bool) -> Results<f32> {
        let ConvShape { in_channels, out_channels, .. } = self.shape;
        let (x, y) = (
            self.tensor(&self.x(), in_channels, self.large, self.pads.0),
            self.tensor(&self.y(), out_channels, self.small, self.border()),
        );
        let op = Strided::new(isa, &self.shape, x.planes.layout, y.planes.layout, self.batch);
        let mut up = Tensor::garbage(self.batch, in_channels, self.large, self.pads.0, self.extra);
        let mut down = Tensor::garbage(self.batch, out_channels, self.small, self.border(), self.extra);
        if let Some((x, y)) = start {
            up.planes.write_dense(x);
            down.planes.write_dense(y);
        }
        let biases = self.biases();
        let bias = |values| if start.is_none() { Some(values) } else { None };
        let mut packed = vec![f32::NAN; op.packed_len()];
        let mut scratch = vec![f32::NAN; op.up_scratch_len()];
        op.pack_up(&self.weight(), &mut packed);
        op.up(&packed, bias(&biases.0[..]), relu, start.is_some(), &y.planes, &up.planes, &mut scratch);
        let mut scratch = vec![f32::NAN; op.down_scratch_len()];
        op.pack_down(&self.weight(), &mut packed);
        op.down(&packed, bias(&biases.1[..]), relu, start.is_some(), &x.planes, &down.planes, &mut scratch);
        assert!(up.is_intact() && down.is_intact(), "{self:?}");
        let mut scratch = vec![f32::NAN; op.gradient_scratch_len()];
        let mut dw = vec![f32::NAN; op.packed_len()];
        let (mut of_small, mut of_large) = (vec![f32::NAN; out_channels], vec![f32::NAN; in_channels]);
        op.backward_weights(&x.planes, &y.planes, &mut scratch, &mut dw, Some(&mut of_small), Some(&mut of_large));
        let mut alone = vec![f32::NAN; dw.len()];
        op.backward_weights(&x.planes, &y.planes, &mut scratch, &mut alone, None, None);
        assert_eq!(dw, alone, "the bias gradients change nothing else");
        [up.planes.read_dense(), down.planes.read_dense(), dw, of_small, of_large]
    }

    /// The same through [`Conv2d`]; the gradient of the input has no bias.
    fn ordinary(&self, isa: Isa, start: Option<&[f32]>, relu: bool) -> Results<f32> {
        let ConvShape { in_channels, out_channels, .. } = self.shape;
        let pad = self.border();
        let x = self.tensor(&self.x(), in_channels, self.large, pad);
        let y = self.tensor(&self.y(), out_channels, self.large, pad);
        let op = Conv2d::of(isa, &self.shape, x.planes.layout, self.batch);
        let mut up = Tensor::garbage(self.batch, in_channels, self.large, pad, self.extra);
        let mut down = Tensor::garbage(self.batch, out_channels, self.large, pad, self.extra);
        if let Some(start) = start {
            up.planes.write_dense(start);
        }
        let mut packed = vec![f32::NAN; op.packed_len()];
        op.pack_transposed(&self.weight(), &mut packed);
        op.backward_data(&packed, &y.planes, &up.planes, start.is_some());
        op.pack(&self.weight(), &mut packed);
        op.forward(&packed, Some(&self.biases().1), relu, &x.planes, &down.planes);
        assert!(up.is_intact() && down.is_intact(), "{self:?}");
        let mut scratch = vec![f32::NAN; op.gradient_scratch_len()];
        let (mut dw, mut db) = (vec![f32::NAN; op.packed_len()], vec![f32::NAN; out_channels]);
        op.backward_weights(&x.planes, &y.planes, &mut scratch, &mut dw, Some(&mut db));
        [up.planes.read_dense(), down.planes.read_dense(), dw, db, Vec::new()]
    }

    fn compare(&self, isa: Isa, got: &Results<f32>, expected: &Results<f64>) {
        for (k, (got, expected)) in got.iter().zip(expected).enumerate().filter(|(_, (got, _))| !got.is_empty()) {
            let off = distance(got, expected);
            // Gradients of weights are sums of thousands of products of either sign in f32.
            let allowed = if k < 2 { 3e-5 } else { 1e-4 };
            assert!(off < allowed, "{} result {k} of {self:?}: {off}", isa.name());
        }
    }

    fn check(&self) {
        let starts = (noise(self.x().len(), 7), noise(self.y().len(), 8));
        let starts = (&starts.0[..], &starts.1[..]);
        let (fresh, added) = (self.expected(None, true), self.expected(Some(starts), false));
        for isa in Isa::available() {
            self.compare(isa, &self.strided(isa, None, true), &fresh);
            self.compare(isa, &self.strided(isa, Some(starts), false), &added);
            if self.shape.geometry.keeps_size() {
                let [_, down, ..] = &fresh;
                let [up, _, dw, db, _] = &added;
                let expected = [up.clone(), down.clone(), dw.clone(), db.clone(), Vec::new()];
                self.compare(isa, &self.ordinary(isa, Some(starts.0), true), &expected);
                let zeros = vec![0.0; starts.0.len()];
                let alone = self.ordinary(isa, None, true);
                assert_eq!(alone[0], self.ordinary(isa, Some(&zeros), true)[0]);
            }
        }
    }
}

#[test]
fn the_shapes_of_segmentation_networks_agree_with_the_definition() {
    let table = [
        (square(1, 1, 0, 1), (5, 3, 1), (9, 11)),
        (square(1, 2, 0, 1), (17, 16, 1), (9, 12)),
        (square(3, 1, 1, 1), (8, 8, 4), (9, 11)),
        (square(3, 1, 1, 1), (7, 7, 7), (13, 18)),
        (square(3, 1, 0, 1), (3, 20, 1), (9, 11)),
        (square(3, 1, 2, 2), (5, 17, 1), (9, 8)),
        (square(3, 1, 6, 6), (3, 4, 1), (8, 5)),
        (square(3, 2, 1, 1), (16, 32, 1), (16, 34)),
        (square(3, 2, 1, 1), (33, 18, 1), (17, 15)),
        (square(3, 2, 1, 1), (9, 9, 9), (17, 16)),
        (square(3, 2, 0, 1), (12, 8, 4), (10, 9)),
        (square(3, 2, 2, 2), (4, 6, 2), (11, 14)),
        (square(5, 1, 2, 1), (6, 6, 6), (7, 40)),
        (square(5, 3, 2, 1), (3, 5, 1), (17, 19)),
        (square(7, 2, 3, 1), (3, 16, 1), (21, 32)),
        (square(7, 4, 3, 1), (3, 7, 1), (30, 33)),
        (square(9, 1, 4, 1), (3, 18, 1), (12, 15)),
        (square(8, 8, 0, 1), (3, 20, 1), (24, 32)),
        (square(4, 2, 1, 1), (10, 33, 1), (14, 16)),
        (square(2, 2, 0, 1), (5, 4, 1), (9, 12)),
        (square(3, 1, 5, 1), (2, 3, 1), (3, 4)),
        (geometry([1, 3], [1, 1], [0, 1], [1, 1]), (6, 4, 2), (9, 7)),
        (geometry([3, 1], [1, 1], [4, 0], [4, 1]), (3, 16, 1), (9, 7)),
        (geometry([3, 2], [2, 1], [1, 0], [1, 2]), (4, 3, 1), (9, 7)),
    ];
    for (geometry, channels, large) in table {
        problem(geometry, channels, 3, large).expect("a size").check();
    }
}

#[test]
fn larger_layers_agree_with_the_definition_in_several_rounds() {
    problem(square(3, 2, 1, 1), (64, 40, 1), 3, (97, 90)).expect("a size").check();
    problem(square(4, 2, 1, 1), (48, 80, 1), 2, (40, 62)).expect("a size").check();
    problem(square(3, 1, 1, 1), (96, 96, 96), 2, (33, 31)).expect("a size").check();
    problem(square(3, 1, 2, 2), (70, 67, 1), 1, (33, 31)).expect("a size").check();
    problem(square(3, 1, 1, 1), (128, 96, 4), 1, (20, 21)).expect("a size").check();
}

fn problems() -> impl Strategy<Value = Problem> {
    let axis = || (1..6_usize, 1..4_usize, 0..4_usize, 1..4_usize, 1..30_usize);
    let channels = (1..4_usize, 1..7_usize, 1..7_usize);
    // Half of the paddings are those that keep the size (with stride 1).
    (axis(), axis(), channels, 1..3_usize, (1..3_usize, 0..2_usize), 0..3_usize, any::<bool>()).prop_filter_map(
        "the kernel fits",
        |(rows, columns, (groups, inputs, outputs), batch, pads, extra, same)| {
            let resolve = |(kernel, stride, padding, dilation, _): (usize, usize, usize, usize, usize)| {
                if same {
                    (kernel, 1, dilation * (kernel - 1) / 2, dilation)
                } else {
                    (kernel, stride, padding, dilation)
                }
            };
            let (r, c) = (resolve(rows), resolve(columns));
            let geometry = geometry([r.0, c.0], [r.1, c.1], [r.2, c.2], [r.3, c.3]);
            let channels = (groups * inputs, groups * outputs, groups);
            problem(geometry, channels, batch, (rows.4, columns.4)).map(|p| Problem { pads, extra, ..p })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_instruction_set_agrees_with_the_definition(problem in problems()) {
        problem.check();
    }

    #[test]
    fn a_transposed_convolution_may_be_larger_by_its_output_padding(problem in problems(), more in (0..3_usize, 0..3_usize)) {
        let stride = problem.shape.geometry.stride;
        let large = (problem.large.0 + more.0.min(stride[0] - 1), problem.large.1 + more.1.min(stride[1] - 1));
        Problem { large, ..problem }.check();
    }
}

#[test]
fn up_is_the_adjoint_of_down() {
    for geometry in [square(3, 2, 1, 1), square(4, 2, 1, 1), square(3, 1, 0, 2), square(7, 3, 2, 1)] {
        let p = problem(geometry, (6, 12, 2), 2, (23, 26)).expect("a size");
        for isa in Isa::available() {
            let zero = (vec![0.0; p.x().len()], vec![0.0; p.y().len()]);
            let [up, down, dw, ..] = p.strided(isa, Some((&zero.0, &zero.1)), false);
            let forward = dot(&down, &p.y());
            let scale = dot(&down, &down).sqrt() * dot(&p.y(), &p.y()).sqrt();
            assert!((forward - dot(&p.x(), &up)).abs() < 1e-6 * scale, "{geometry:?}");
            assert!((forward - dot(&p.weight(), &dw)).abs() < 1e-6 * scale, "{geometry:?}");
        }
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    let table = [
        (square(3, 2, 1, 1), (24, 32, 1), (65, 70)),
        (square(3, 2, 1, 1), (40, 40, 40), (64, 63)),
        (square(7, 2, 3, 1), (3, 16, 1), (65, 70)),
        (square(4, 2, 1, 1), (32, 48, 1), (34, 32)),
    ];
    for (geometry, channels, large) in table {
        let p = problem(geometry, channels, 3, large).expect("a size");
        same_bits_for_all_threads(|isa| p.strided(isa, None, false).concat());
    }
    for (geometry, channels) in [(square(3, 1, 1, 1), (64, 64, 64)), (square(3, 1, 2, 2), (16, 24, 1))] {
        let p = problem(geometry, channels, 3, (65, 70)).expect("a size");
        same_bits_for_all_threads(|isa| p.ordinary(isa, None, false).concat());
    }
}

#[test]
fn a_kernel_of_ones_with_stride_two_sums_every_other_square() {
    let geometry = square(3, 2, 1, 1);
    let shape = ConvShape { in_channels: 1, out_channels: 1, groups: 1, geometry };
    for isa in Isa::available() {
        let x = Tensor::of(&[1.0; 12], 1, 1, (3, 4), 1, 0);
        let y = Tensor::garbage(1, 1, (2, 2), 1, 0);
        let op = Strided::new(isa, &shape, x.planes.layout, y.planes.layout, 1);
        let (mut packed, mut scratch) = (vec![0.0; 9], vec![0.0; op.down_scratch_len()]);
        op.pack_down(&[1.0; 9], &mut packed);
        op.down(&packed, Some(&[0.5]), false, false, &x.planes, &y.planes, &mut scratch);
        assert_eq!(y.planes.read_dense(), [4.5, 6.5, 4.5, 6.5]);
    }
}

#[test]
#[should_panic(expected = "with a border of 1")]
fn a_border_that_is_too_narrow_is_refused() {
    let p = problem(square(7, 2, 3, 1), (1, 1, 1), 1, (8, 8)).expect("a size");
    let layout = |size: (usize, usize)| PlaneLayout { height: size.0, width: size.1, pad: 1 };
    let _ = Strided::new(Isa::Portable, &p.shape, layout(p.large), layout(p.small), 1);
}
