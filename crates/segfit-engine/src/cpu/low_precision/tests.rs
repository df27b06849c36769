//! Packed operations against plain oracles, and whole networks against f32.

use proptest::prelude::*;
use segfit::network::families::{self, unet};
use segfit::network::schedule::{Mode, Schedule, Step};
use segfit::network::{Layer, NetworkSpec, Op};

use super::LowPrecisionExecutor;
use super::convolution::{PackedConvolution, Target};
use super::pooling::max_pool;
use super::transposed::PackedTransposed;
use super::weights::PackedWeights;
use crate::backend::{Backend, CalibrationImage, Executor, Precision};
use crate::cpu::CpuBackend;
use crate::cpu::kernels::amx;
use crate::cpu::kernels::dot::DotSet;
use crate::cpu::kernels::numbers::{from_bf16, from_pair, to_bf16, to_pair, to_u8};
use crate::cpu::simd::Isa;
use crate::cpu::trial::{Tensor, distance, noise};
use crate::initialise::initialise;
use crate::state::Weights;

/// Every implementation, and whether the matrix unit is allowed.
fn implementations(precision: Precision) -> Vec<(DotSet, bool)> {
    let mut all: Vec<(DotSet, bool)> = Vec::new();
    for isa in Isa::available() {
        for set in DotSet::available(isa, precision) {
            if !all.contains(&(set, false)) {
                all.push((set, false));
            }
        }
    }
    if amx::available() {
        all.push((all[0].0, true));
    }
    all
}

/// Any 32 bits from a seed; bf16 pairs are small numbers.
fn elements(n: usize, seed: u64, precision: Precision) -> Vec<u32> {
    let halves = noise(2 * n, seed);
    halves
        .chunks_exact(2)
        .map(|p| match precision {
            Precision::Int8 => u32::from_le_bytes(
                [p[0], p[0] * 4096.0, p[1], p[1] * 4096.0].map(|v| ((v * 128.0) as i64).rem_euclid(256) as u8),
            ),
            _ => to_pair(p[0], p[1]),
        })
        .collect()
}

/// A tensor of given elements, garbage around it.
fn packed(dense: &[u32], batch: usize, planes: usize, size: (usize, usize), pad: usize, extra: usize) -> Tensor {
    let bits: Vec<f32> = dense.iter().map(|e| f32::from_bits(*e)).collect();
    Tensor::of(&bits, batch, planes, size, pad, extra)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.planes.read_dense().iter().map(|v| v.to_bits()).collect()
}

/// Shape of a trial: images, planes in, output slots, height, width, kernel.
#[derive(Clone, Copy, Debug)]
struct Trial {
    batch: usize,
    groups: usize,
    outputs: usize,
    size: (usize, usize),
    kernel: usize,
}

/// Sums over elements of the input and kernel positions inside the image of `dot(element, weight)`.
fn sums(t: Trial, x: &[u32], w: &[u32], dot: impl Fn(u32, u32) -> f64) -> Vec<f64> {
    let (h, width) = t.size;
    let (taps, reach) = (t.kernel * t.kernel, (t.kernel / 2) as isize);
    let mut out = Vec::new();
    for image in 0..t.batch {
        for o in 0..t.outputs {
            for (r, c) in (0..h).flat_map(|r| (0..width).map(move |c| (r, c))) {
                let mut sum = 0.0;
                for (g, tap) in (0..t.groups).flat_map(|g| (0..taps).map(move |t| (g, t))) {
                    let (a, b) = (tap / t.kernel, tap % t.kernel);
                    let (y, z) = (r as isize + a as isize - reach, c as isize + b as isize - reach);
                    if (0..h as isize).contains(&y) && (0..width as isize).contains(&z) {
                        let at = ((image * t.groups + g) * h + y as usize) * width + z as usize;
                        sum += dot(x[at], w[(o * t.groups + g) * taps + tap]);
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

fn dot_int8(x: u32, w: u32) -> f64 {
    let products = x.to_le_bytes().into_iter().zip(w.to_le_bytes());
    products.map(|(x, w)| f64::from(x) * f64::from(w.cast_signed())).sum()
}

fn dot_bf16(x: u32, w: u32) -> f64 {
    let products = from_pair(x).into_iter().zip(from_pair(w));
    products.map(|(x, w)| f64::from(x) * f64::from(w)).sum()
}

/// The size of the terms of `dot_bf16`.
fn terms_bf16(x: u32, w: u32) -> f64 {
    let products = from_pair(x).into_iter().zip(from_pair(w));
    products.map(|(x, w)| (f64::from(x) * f64::from(w)).abs()).sum()
}

/// Constants of the outputs that keep u8 results in range.
fn constants(t: Trial) -> (Vec<f32>, Vec<f32>) {
    let scale = noise(t.outputs, 8).iter().map(|v| (1.5 + v) * 3e-4 / (t.groups as f32).sqrt()).collect();
    (scale, noise(t.outputs, 9).iter().map(|v| 60.0 + v * 80.0).collect())
}

fn run_convolution(
    t: Trial,
    set: DotSet,
    matrix: bool,
    target: Target,
    relu: bool,
    x: &[u32],
    w: &PackedWeights,
) -> Tensor {
    let x = packed(x, t.batch, t.groups, t.size, t.kernel / 2 + 1, 1);
    let planes = if target == Target::Packed { t.outputs / set.slots() } else { t.outputs };
    let y = Tensor::garbage(t.batch, planes, t.size, t.kernel / 2 + 1, 2);
    let mut op = PackedConvolution::new(set, matrix, t.kernel, x.planes, y.planes, target, relu);
    op.load(w);
    op.run();
    y
}

/// Elements of dense channels `[batch][outputs][pixels]`.
fn gather(t: Trial, slots: usize, channels: &[f64], element: impl Fn(&[f64]) -> u32) -> Vec<u32> {
    let pixels = t.size.0 * t.size.1;
    let mut out = Vec::new();
    for group in channels.chunks_exact(slots * pixels) {
        for p in 0..pixels {
            let values: Vec<f64> = (0..slots).map(|s| group[s * pixels + p]).collect();
            out.push(element(&values));
        }
    }
    out
}

fn any_trial() -> impl Strategy<Value = Trial> {
    let groups = prop_oneof![1..6_usize, Just(16), Just(20), Just(32)];
    let outputs = prop_oneof![1..11_usize, Just(14), Just(19)];
    (1..3_usize, groups, outputs, 1..12_usize, 1..40_usize, prop_oneof![Just(1_usize), Just(3), Just(5)])
        .prop_map(|(batch, groups, outputs, h, w, kernel)| Trial { batch, groups, outputs, size: (h, w), kernel })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn int8_convolutions_are_exactly_the_integer_sums(t in any_trial()) {
        let packed_outputs = Trial { outputs: 4 * t.outputs, ..t };
        let n = t.batch * t.groups * t.size.0 * t.size.1;
        let taps = t.kernel * t.kernel;
        let x = elements(n, 1, Precision::Int8);
        for (t, target) in [(packed_outputs, Target::Packed), (t, Target::Floats)] {
            let (scale, bias) = constants(t);
            let w = PackedWeights { elements: elements(t.outputs * t.groups * taps, 2, Precision::Int8), scale, bias };
            let sums = sums(t, &x, &w.elements, dot_int8);
            let pixels = t.size.0 * t.size.1;
            let values: Vec<f32> = sums.iter().enumerate().map(|(i, s)| {
                let o = i / pixels % t.outputs;
                *s as f32 * w.scale[o] + w.bias[o]
            }).collect();
            for (set, matrix) in implementations(Precision::Int8) {
                let mut y = run_convolution(t, set, matrix, target, false, &x, &w);
                prop_assert!(y.is_intact(), "{set:?} {matrix}");
                let expected: Vec<u32> = if target == Target::Packed {
                    let wide: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                    gather(t, 4, &wide, |v| u32::from_le_bytes([0, 1, 2, 3].map(|s| to_u8(v[s] as f32))))
                } else {
                    values.iter().map(|v| v.to_bits()).collect()
                };
                prop_assert!(bits(&y) == expected, "{set:?} {matrix} {target:?}");
            }
        }
    }

    #[test]
    fn bf16_convolutions_are_near_the_exact_sums(t in any_trial(), relu: bool) {
        let n = t.batch * t.groups * t.size.0 * t.size.1;
        let x = elements(n, 3, Precision::Bf16);
        for (t, target) in [(Trial { outputs: 2 * t.outputs, ..t }, Target::Packed), (t, Target::Floats)] {
            let w = PackedWeights {
                elements: elements(t.outputs * t.groups * t.kernel * t.kernel, 4, Precision::Bf16),
                scale: vec![1.0; t.outputs],
                bias: noise(t.outputs, 5),
            };
            let pixels = t.size.0 * t.size.1;
            let with_bias = |(i, s): (usize, f64)| s + f64::from(w.bias[i / pixels % t.outputs]);
            let exact: Vec<f64> = sums(t, &x, &w.elements, dot_bf16).into_iter().enumerate().map(with_bias)
                .map(|v| if relu { v.max(0.0) } else { v }).collect();
            let terms = sums(t, &x, &w.elements, terms_bf16);
            for (set, matrix) in implementations(Precision::Bf16) {
                let mut y = run_convolution(t, set, matrix, target, relu, &x, &w);
                prop_assert!(y.is_intact(), "{set:?} {matrix}");
                if target == Target::Floats {
                    // Roundings grow with the terms, which may cancel in the sum: 3 roundings at worst were seen in 1,500 trials.
                    let got = y.planes.read_dense();
                    for (i, (got, exact)) in got.iter().zip(&exact).enumerate() {
                        let size = terms[i] + f64::from(w.bias[i / pixels % t.outputs].abs());
                        let roundings = (f64::from(*got) - exact).abs() / (size * f64::from(f32::EPSILON) / 2.0);
                        prop_assert!(roundings < 8.0, "{set:?} {matrix}: {got} for {exact}, {roundings} roundings");
                    }
                } else {
                    let pairs = bits(&y);
                    // One rounding to 8 bits more.
                    let planes = t.outputs / 2;
                    let got: Vec<f32> = (0..t.batch * t.outputs * pixels).map(|i| {
                        let (image, o, p) = (i / pixels / t.outputs, i / pixels % t.outputs, i % pixels);
                        from_pair(pairs[(image * planes + o / 2) * pixels + p])[o % 2]
                    }).collect();
                    prop_assert!(distance(&got, &exact) < 1.0 / 256.0, "{set:?} {matrix}");
                }
            }
        }
    }

    #[test]
    fn poolings_take_the_largest_of_each_channel(
        batch in 1..3_usize, planes in 1..4_usize, h in 2..20_usize, w in 2..70_usize,
    ) {
        for precision in [Precision::Int8, Precision::Bf16] {
            let x = elements(batch * planes * h * w, 6, precision);
            let largest = |a: u32, b: u32| match precision {
                Precision::Int8 => {
                    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
                    u32::from_le_bytes([0, 1, 2, 3].map(|c| a[c].max(b[c])))
                }
                _ => {
                    let (a, b) = (from_pair(a), from_pair(b));
                    to_pair(a[0].max(b[0]), a[1].max(b[1]))
                }
            };
            let mut expected = Vec::new();
            for plane in x.chunks_exact(h * w) {
                for (i, j) in (0..h / 2).flat_map(|i| (0..w / 2).map(move |j| (i, j))) {
                    let at = |a: usize, b: usize| plane[(2 * i + a) * w + 2 * j + b];
                    expected.push(largest(largest(at(0, 0), at(0, 1)), largest(at(1, 0), at(1, 1))));
                }
            }
            for (set, _) in implementations(precision) {
                let x = packed(&x, batch, planes, (h, w), 1, 1);
                let mut y = Tensor::garbage(batch, planes, (h / 2, w / 2), 1, 2);
                max_pool(set, &x.planes, &y.planes);
                prop_assert!(y.is_intact() && bits(&y) == expected, "{set:?}");
            }
        }
    }

    #[test]
    fn transposed_convolutions_agree_with_the_definition(
        batch in 1..3_usize, groups in prop_oneof![1..6_usize, Just(17), Just(24)], planes in 1..7_usize, h in 1..9_usize, w in 1..60_usize, relu: bool,
    ) {
        for precision in [Precision::Int8, Precision::Bf16] {
            let slots = if precision == Precision::Int8 { 4 } else { 2 };
            let t = Trial { batch, groups, outputs: slots * planes, size: (h, w), kernel: 1 };
            let x = elements(batch * groups * h * w, 7, precision);
            let (scale, bias) = if slots == 4 { constants(t) } else { (vec![1.0; t.outputs], noise(t.outputs, 5)) };
            let weights = PackedWeights { elements: elements(t.outputs * groups * 4, 2, precision), scale, bias };
            let big = Trial { size: (2 * h, 2 * w), ..t };
            let mut exact = vec![0.0; batch * t.outputs * 4 * h * w];
            for tap in 0..4 {
                let of_tap: Vec<u32> = weights.elements.chunks_exact(4).map(|e| e[tap]).collect();
                let sums = sums(t, &x, &of_tap, if slots == 4 { dot_int8 } else { dot_bf16 });
                for (i, s) in sums.iter().enumerate() {
                    let (plane, r, c) = (i / (h * w), i / w % h, i % w);
                    let o = plane % t.outputs;
                    let v = if slots == 4 {
                        f64::from(*s as f32 * weights.scale[o] + weights.bias[o])
                    } else {
                        s + f64::from(weights.bias[o])
                    };
                    exact[(plane * 2 * h + 2 * r + tap / 2) * 2 * w + 2 * c + tap % 2] = if relu { v.max(0.0) } else { v };
                }
            }
            for (set, matrix) in implementations(precision) {
                let x = packed(&x, batch, groups, (h, w), 1, 1);
                let mut y = Tensor::garbage(batch, planes, (2 * h, 2 * w), 1, 2);
                let mut op = PackedTransposed::new(set, matrix, x.planes, y.planes, relu);
                op.load(&weights);
                op.run();
                prop_assert!(y.is_intact(), "{set:?} {matrix}");
                let got = bits(&y);
                if slots == 4 {
                    let element = |v: &[f64]| u32::from_le_bytes([0, 1, 2, 3].map(|s| to_u8(v[s] as f32)));
                    prop_assert!(got == gather(big, 4, &exact, element), "{set:?} {matrix}");
                } else {
                    let expected = gather(big, 2, &exact, |v| to_pair(v[0] as f32, v[1] as f32));
                    for (a, b) in got.iter().zip(&expected) {
                        for (a, b) in from_pair(*a).into_iter().zip(from_pair(*b)) {
                            prop_assert!((a - b).abs() <= (1.0 + b.abs()) / 128.0, "{set:?} {a} {b}");
                        }
                    }
                }
            }
        }
    }
}

/// Images of smooth blobs, which a network answers less randomly than noise.
fn image(channels: usize, size: usize, seed: u64) -> Vec<f32> {
    let centres = noise(6 * channels, seed);
    let mut data = Vec::new();
    for c in 0..channels {
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            let at = |v: usize| 2.0 * v as f32 / size as f32 - 1.0;
            let blobs = centres[6 * c..][..6].chunks_exact(2);
            let value: f32 = blobs.map(|p| (-8.0 * ((at(y) - p[0]).powi(2) + (at(x) - p[1]).powi(2))).exp()).sum();
            data.push(2.0 * value - 0.7);
        }
    }
    data
}

/// Weights whose norms are not the identity.
fn weights(spec: &NetworkSpec) -> Weights {
    let mut weights = initialise(spec, 4).unwrap();
    let (a, b) = (noise(weights.trained.len(), 11), noise(weights.running.len(), 12));
    weights.trained.iter_mut().zip(a).for_each(|(w, n)| *w += 0.05 * n);
    weights.running.iter_mut().zip(b).for_each(|(w, n)| *w += 0.2 * n);
    weights
}

const SIZE: usize = 32;

struct Network {
    spec: NetworkSpec,
    weights: Weights,
    images: Vec<f32>,
}

impl Network {
    fn new(spec: NetworkSpec) -> Self {
        let images = [image(spec.in_channels(), SIZE, 1), image(spec.in_channels(), SIZE, 2)].concat();
        Self { weights: weights(&spec), images, spec }
    }

    fn unet(in_channels: usize, classes: usize, base_width: usize) -> Self {
        Self::new(
            unet(&families::Options { in_channels, classes, base_width, depth: 3, ..families::Options::default() })
                .unwrap(),
        )
    }

    fn schedule(&self) -> Schedule {
        Schedule::new(&self.spec, Mode::Infer, 2, SIZE, SIZE).unwrap()
    }

    fn logits(&self, executor: &mut dyn Executor) -> Vec<f32> {
        let mut logits = Vec::new();
        executor.load(&self.weights).unwrap();
        executor.infer(&self.images, &mut logits).unwrap();
        logits
    }

    fn in_f32(&self) -> Vec<f32> {
        let backend = CpuBackend::detect();
        self.logits(backend.compile(&self.spec, self.schedule(), None).unwrap().as_mut())
    }

    fn in_low_precision(&self, set: DotSet, matrix: bool) -> Vec<f32> {
        let precision = if set.slots() == 4 { Precision::Int8 } else { Precision::Bf16 };
        let calibration: Vec<CalibrationImage> = self
            .images
            .chunks_exact(self.images.len() / 2)
            .map(|data| CalibrationImage { height: SIZE, width: SIZE, data: data.to_vec() })
            .collect();
        // The portable instruction set, so that the ranges have the same bits for any thread and any CPU.
        let ranges = CpuBackend::with_isa(Isa::Portable).calibrate(&self.spec, &self.weights, &calibration).unwrap();
        let made = LowPrecisionExecutor::with_set(
            set,
            matrix,
            "cpu".into(),
            &self.spec,
            self.schedule(),
            precision,
            Some(&ranges),
        );
        self.logits(&mut made.unwrap())
    }

    /// Largest difference of two sets of logits as a share of the largest logit.
    fn difference(&self, a: &[f32], b: &[f32]) -> f32 {
        let most = b.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / most
    }

    fn agreement(&self, a: &[f32], b: &[f32]) -> f64 {
        let (classes, pixels) = (self.spec.classes, SIZE * SIZE);
        let class = |logits: &[f32], i: usize| {
            let at = |c: usize| logits[(i / pixels * classes + c) * pixels + i % pixels];
            (1..classes).fold(0, |best, c| if at(c) > at(best) { c } else { best })
        };
        let same = (0..2 * pixels).filter(|&i| class(a, i) == class(b, i)).count();
        same as f64 / (2 * pixels) as f64
    }
}

/// A network whose upsampling has no ReLU, so that concatenations hold negative numbers.
fn without_relu_behind_upsampling(base_width: usize) -> NetworkSpec {
    let mut spec =
        unet(&families::Options { in_channels: 3, classes: 2, base_width, depth: 3, ..families::Options::default() })
            .unwrap();
    let dropped = |l: &Layer| l.op == Op::Relu && l.name.starts_with("up");
    let names: Vec<(String, String)> =
        spec.layers.iter().filter(|l| dropped(l)).map(|l| (l.name.clone(), l.inputs[0].clone())).collect();
    spec.layers.retain(|l| !dropped(l));
    for layer in &mut spec.layers {
        for input in &mut layer.inputs {
            if let Some((_, before)) = names.iter().find(|(name, _)| name == input) {
                input.clone_from(before);
            }
        }
    }
    spec.validate().unwrap();
    spec
}

/// A norm without a convolution in front and without ReLU behind, and a concatenation with the same tensor twice.
fn with_lone_norm_and_copy() -> NetworkSpec {
    let mut spec = unet(&families::Options {
        in_channels: 1,
        classes: 3,
        base_width: 5,
        depth: 1,
        ..families::Options::default()
    })
    .unwrap();
    let layer = |name: &str, op: Op, inputs: &[&str]| {
        let inputs = inputs.iter().map(|i| (*i).to_owned()).collect();
        Layer { name: name.into(), op, inputs }
    };
    let of = |name: &str| spec.layers.iter().find(|l| l.name == name).unwrap().op.clone();
    let (image, first, norm, head) = (of("image"), of("enc0.conv1"), of("enc0.norm1"), of("head"));
    spec.layers = vec![
        layer("image", image, &[]),
        layer("first", first, &["image"]),
        layer("positive", Op::Relu, &["first"]),
        layer("lone", norm, &["positive"]),
        layer("joined", Op::Concat, &["positive", "lone", "positive"]),
        layer("head", head, &["joined"]),
    ];
    spec.output = "head".into();
    spec.validate().unwrap();
    spec
}

#[test]
fn norms_alone_and_copies_are_executed() {
    let network = Network::new(with_lone_norm_and_copy());
    let steps = network.schedule().forward;
    assert!(
        steps.iter().any(|s| matches!(s, Step::Normalise { .. }))
            && steps.iter().any(|s| matches!(s, Step::Copy { .. }))
    );
    let f32 = network.in_f32();
    for (precision, most) in [(Precision::Bf16, 2e-2), (Precision::Int8, 5e-2)] {
        for (set, matrix) in implementations(precision) {
            let difference = network.difference(&network.in_low_precision(set, matrix), &f32);
            assert!(difference < most, "{set:?} {matrix}: {difference}");
        }
    }
}

#[test]
fn whole_networks_of_any_width_are_close_to_f32() {
    for (in_channels, classes, width) in [(1, 2, 1), (3, 2, 2), (1, 3, 3), (2, 2, 5), (3, 4, 8), (1, 2, 16)] {
        let network = Network::unet(in_channels, classes, width);
        let f32 = network.in_f32();
        for (set, matrix) in implementations(Precision::Bf16) {
            let difference = network.difference(&network.in_low_precision(set, matrix), &f32);
            assert!(difference < 2e-2, "width {width}, {set:?} {matrix}: {difference}");
        }
        let mut first: Option<Vec<f32>> = None;
        for (set, matrix) in implementations(Precision::Int8) {
            let int8 = network.in_low_precision(set, matrix);
            let (difference, same) = (network.difference(&int8, &f32), network.agreement(&int8, &f32));
            assert!(difference < 0.1 && same >= 0.98, "width {width}, {set:?} {matrix}: {difference} {same}");
            let reference = first.get_or_insert_with(|| int8.clone());
            assert!(
                *reference == int8,
                "width {width}, {set:?} {matrix}: other bits than {:?}",
                implementations(Precision::Int8)[0]
            );
        }
    }
}

#[test]
fn negative_activations_are_kept_in_int8() {
    for width in [3, 8] {
        let network = Network::new(without_relu_behind_upsampling(width));
        let f32 = network.in_f32();
        for (set, matrix) in implementations(Precision::Int8) {
            let int8 = network.in_low_precision(set, matrix);
            let (difference, same) = (network.difference(&int8, &f32), network.agreement(&int8, &f32));
            assert!(difference < 0.1 && same >= 0.98, "width {width}, {set:?} {matrix}: {difference} {same}");
        }
        for (set, matrix) in implementations(Precision::Bf16) {
            let difference = network.difference(&network.in_low_precision(set, matrix), &f32);
            assert!(difference < 2e-2, "width {width}, {set:?} {matrix}: {difference}");
        }
    }
}

#[test]
fn results_have_the_same_bits_for_any_number_of_threads() {
    let network = Network::unet(1, 2, 8);
    for precision in [Precision::Int8, Precision::Bf16] {
        for (set, matrix) in implementations(precision) {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                pool.install(|| network.in_low_precision(set, matrix))
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{set:?} {matrix}");
        }
    }
}

#[test]
fn memory_falls_with_the_precision() {
    let spec = unet(&families::Options {
        in_channels: 1,
        classes: 2,
        base_width: 16,
        depth: 4,
        ..families::Options::default()
    })
    .unwrap();
    let backend = CpuBackend::detect();
    let weights = initialise(&spec, 1).unwrap();
    let image = CalibrationImage { height: 64, width: 64, data: image(1, 64, 1) };
    let ranges = backend.calibrate(&spec, &weights, &[image]).unwrap();
    let bytes = |precision| {
        let schedule = Schedule::new(&spec, Mode::Infer, 1, 256, 256).unwrap();
        let mut made = backend.compile_low_precision(&spec, schedule, precision, Some(&ranges)).unwrap();
        made.load(&weights).unwrap();
        made.bytes() as f64
    };
    let f32 = bytes(Precision::F32);
    assert!(bytes(Precision::Bf16) < 0.55 * f32, "{} of {f32}", bytes(Precision::Bf16));
    assert!(bytes(Precision::Int8) < 0.3 * f32, "{} of {f32}", bytes(Precision::Int8));
}

#[test]
fn int8_without_ranges_and_training_in_low_precision_are_refused() {
    let network = Network::unet(1, 2, 2);
    let backend = CpuBackend::detect();
    let refused = |schedule, precision| {
        let made = backend.compile_low_precision(&network.spec, schedule, precision, None);
        made.err().expect("refused").to_string()
    };
    let text = refused(network.schedule(), Precision::Int8);
    assert!(text.contains("layer image") && text.contains("calibrate"), "{text}");
    let training = Schedule::new(&network.spec, Mode::Train, 2, SIZE, SIZE).unwrap();
    let text = refused(training, Precision::Bf16);
    assert!(text.contains("training"), "{text}");
    assert!(backend.calibrate(&network.spec, &network.weights, &[]).is_err(), "no images");
    let mut made = backend.compile_low_precision(&network.spec, network.schedule(), Precision::Bf16, None).unwrap();
    let mut broken = network.weights.clone();
    broken.trained[0] = f32::NAN;
    assert!(made.load(&broken).is_err(), "weights that are not numbers");
}

#[test]
fn bf16_of_the_image_is_the_nearest_one() {
    let tensor = Tensor::garbage(1, 2, (1, 2), 1, 0);
    let slots: Vec<_> =
        (0..4).map(|c| (c < 3).then_some(super::slots::Slot { channel: c, negative: false, scale: 1.0 })).collect();
    let dense = [1.001, -2.0, 3.0, 4.0, 5.0, -6.003];
    super::input::write(Precision::Bf16, &dense, 3, &slots, &tensor.planes);
    let near = |v: f32| from_bf16(to_bf16(v));
    let got: Vec<[f32; 2]> = bits(&tensor).into_iter().map(from_pair).collect();
    assert_eq!(got, [[near(1.001), 3.0], [-2.0, 4.0], [5.0, 0.0], [near(-6.003), 0.0]]);
}
