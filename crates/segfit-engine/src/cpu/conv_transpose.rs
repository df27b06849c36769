//! Transposed convolution with a 2x2 kernel and stride 2: h x w becomes 2h x 2w. `strided` has the other shapes.
//!
//! `y[oc, 2i + a, 2j + b] = bias[oc] + sum over ic of x[ic, i, j] * w[ic, oc, a, b]`, with PyTorch's weight layout
//! `[in_channels][out_channels][2][2]`. Narrow layers run in register tiles; wide ones as matrix products on whole planes
//! whose four phases are then interleaved. The choice depends on shapes alone.

use gemm::Parallelism;
use segfit::network::layout::PlaneLayout;

use crate::cpu::kernels::up_tile::{UpRows, up_backward_data, up_backward_weights, up_forward, up_gather, up_scatter};
use crate::cpu::ordered::{RowPieces, Slots, floats, for_each, zero_columns, zero_ends};
use crate::cpu::planes::Planes;
use crate::cpu::simd::Isa;

/// Output channels of one matrix product of the forward pass.
const OUTPUT_BLOCK: usize = 16;

/// Input channels and phases of one matrix product of the backward passes.
const BLOCK: usize = 64;

/// Channels in and out of a transposed convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Planes per image of the input.
    pub input: usize,
    /// Planes per image of the output.
    pub output: usize,
}

impl Channels {
    /// Weights: input * output * 4.
    #[must_use]
    pub fn weights(self) -> usize {
        4 * self.input * self.output
    }

    /// Whether matrix products are faster than register tiles.
    fn wide(self) -> bool {
        self.input * self.output >= 64 * 64
    }

    /// The same for the weights' gradient, whose tiles are held back by the second-level cache.
    fn wide_weights(self) -> bool {
        self.input * self.output >= 64 * 32
    }
}

/// Floats of scratch memory that [`forward`] needs for inputs of this layout.
#[must_use]
pub fn forward_scratch_len(channels: Channels, layout: PlaneLayout) -> usize {
    if channels.wide() { 4 * channels.output * wide_pieces(layout).rows * layout.row_stride() } else { 0 }
}

/// Floats of scratch memory that [`backward_data`] needs for inputs of this layout.
#[must_use]
pub fn backward_data_scratch_len(channels: Channels, layout: PlaneLayout) -> usize {
    forward_scratch_len(channels, layout)
}

/// Floats of scratch memory that [`backward_weights`] needs for inputs of this batch and layout.
#[must_use]
pub fn backward_weights_scratch_len(channels: Channels, batch: usize, layout: PlaneLayout) -> usize {
    if channels.wide_weights() {
        4 * channels.output * wide_pieces(layout).rows * layout.row_stride()
    } else {
        batch * weight_pieces(layout).per_plane * (channels.weights() + channels.output)
    }
}

/// Floats from pixel (0, 0) to the end of the last row's border.
fn flat(layout: PlaneLayout) -> usize {
    layout.height * layout.row_stride()
}

/// Rows whose phases are computed together in wide layers: few enough to stay in the second-level cache.
fn wide_pieces(layout: PlaneLayout) -> RowPieces {
    RowPieces::with_floats(layout, 1024)
}

/// Pieces of at least 4096 floats, at most four of a plane: each has its own partial weight gradient.
fn weight_pieces(layout: PlaneLayout) -> RowPieces {
    RowPieces::with_floats(layout, flat(layout).div_ceil(4).max(4096))
}

/// Writes the weights into `packed` (equally long) in the order that [`forward`] reads: once per optimiser step.
///
/// # Panics
/// When a length differs from [`Channels::weights`].
pub fn pack(channels: Channels, weights: &[f32], packed: &mut [f32]) {
    assert_eq!((weights.len(), packed.len()), (channels.weights(), channels.weights()));
    if channels.wide() {
        packed.copy_from_slice(weights);
        return;
    }
    for (i, row) in weights.chunks_exact(4 * channels.output).enumerate() {
        for (o, taps) in row.chunks_exact(4).enumerate() {
            packed[4 * (o * channels.input + i)..][..4].copy_from_slice(taps);
        }
    }
}

fn check(x: &Planes, y: &Planes, weights: usize) -> Channels {
    let channels = Channels { input: x.channels, output: y.channels };
    assert_eq!(x.batch, y.batch, "batch of input and output");
    assert_eq!(
        (2 * x.layout.height, 2 * x.layout.width),
        (y.layout.height, y.layout.width),
        "the output is twice as large"
    );
    assert_eq!(weights, channels.weights(), "weights are [in][out][2][2]");
    channels
}

fn up_rows(x: &Planes, y: &Planes, rows: (usize, usize)) -> UpRows {
    UpRows {
        count: rows.1 - rows.0,
        width: x.layout.width,
        small: (x.layout.row_stride(), x.layout.plane_stride()),
        large: (y.layout.row_stride(), y.layout.plane_stride()),
    }
}

/// Floats of all operands and a share of the arithmetic: the measure of work.
fn work(x: &Planes, y: &Planes) -> usize {
    floats(y) + floats(x) * (1 + y.channels / 4)
}

/// y = transposed convolution of `x`, or its positive part. `packed` comes from [`pack`], `bias` holds one value per output
/// channel, `scratch` at least [`forward_scratch_len`] floats.
///
/// # Panics
/// When shapes or lengths do not fit.
pub fn forward(isa: Isa, x: &Planes, packed: &[f32], bias: &[f32], relu: bool, y: &Planes, scratch: &mut [f32]) {
    let channels = check(x, y, packed.len());
    assert_eq!(bias.len(), y.channels);
    if channels.wide() {
        return forward_wide(isa, x, packed, bias, relu, y, scratch);
    }
    let pieces = RowPieces::with_floats(x.layout, (65_536 / x.channels).min(4096));
    for_each(x.batch * pieces.per_plane * y.channels, work(x, y), |k| {
        let (piece, o) = (k / y.channels, k % y.channels);
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let (from, to, taps) = (x.row(image, 0, rows.0), y.row(image, o, 2 * rows.0), &packed[4 * o * x.channels..]);
        // SAFETY: these rows of this output channel belong to no other piece.
        unsafe {
            up_forward(isa, from, x.channels, taps.as_ptr(), bias[o], relu, to, up_rows(x, y, rows));
            zero_borders(y, image, o, (2 * rows.0, 2 * rows.1));
        }
    });
}

/// # Safety
/// Nobody else writes these rows.
unsafe fn zero_borders(y: &Planes, image: usize, channel: usize, rows: (usize, usize)) {
    // SAFETY: borders of one plane.
    unsafe {
        zero_columns(y.plane(image, channel), y.layout, rows);
        zero_ends(y.plane(image, channel), y.layout, rows);
    }
}

/// c (m x n, rows `c_stride` apart) = or += a (m x k, strides of rows and columns) * b (k x n, likewise), on this thread.
///
/// # Safety
/// The matrices are valid, and nobody else writes c.
unsafe fn product(
    (m, n, k): (usize, usize, usize),
    c: *mut f32,
    c_stride: usize,
    add: bool,
    a: (*const f32, usize, usize),
    b: (*const f32, usize, usize),
) {
    let strides = [c_stride, a.1, a.2, b.1, b.2].map(usize::cast_signed);
    // SAFETY: the caller's.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            strides[0],
            add,
            a.0,
            strides[2],
            strides[1],
            b.0,
            strides[4],
            strides[3],
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

fn forward_wide(isa: Isa, x: &Planes, weights: &[f32], bias: &[f32], relu: bool, y: &Planes, scratch: &mut [f32]) {
    let (pieces, taps) = (wide_pieces(x.layout), 4 * y.channels);
    let block = OUTPUT_BLOCK;
    for piece in 0..x.batch * pieces.per_plane {
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let len = (rows.1 - rows.0) * x.layout.row_stride();
        let phases = Slots::new(&mut scratch[..taps * len]);
        for_each(y.channels.div_ceil(block), usize::MAX, |b| {
            let outputs = b * block..((b + 1) * block).min(y.channels);
            let m = 4 * outputs.len();
            // SAFETY: the phases and rows of these output channels belong to no other piece.
            unsafe {
                let part = phases.range(4 * outputs.start * len, m * len).as_mut_ptr();
                let w = weights.as_ptr().add(4 * outputs.start);
                let planes = (x.row(image, 0, rows.0).cast_const(), x.layout.plane_stride(), 1);
                product((m, len, x.channels), part, len, false, (w, 1, taps), planes);
                for o in outputs.clone() {
                    let (from, to) = (part.add(4 * (o - outputs.start) * len), y.row(image, o, 2 * rows.0));
                    up_scatter(isa, from, len, bias[o], relu, to, up_rows(x, y, rows));
                    zero_borders(y, image, o, (2 * rows.0, 2 * rows.1));
                }
            }
        });
    }
}

/// `dx[ic] = sum over oc, a, b of dy[oc, 2i + a, 2j + b] * w[ic, oc, a, b]`, added to `dx` if `accumulate`. `weights` are
/// `[in][out][2][2]`; `scratch` holds at least [`backward_data_scratch_len`] floats.
///
/// # Panics
/// When shapes or lengths do not fit.
pub fn backward_data(isa: Isa, dy: &Planes, weights: &[f32], dx: &Planes, accumulate: bool, scratch: &mut [f32]) {
    let channels = check(dx, dy, weights.len());
    if channels.wide() {
        return backward_data_wide(isa, dy, weights, dx, accumulate, scratch);
    }
    const TILE: usize = 8;
    let pieces = RowPieces::with_floats(dx.layout, (16_384 / dy.channels).min(4096));
    let blocks = dx.channels.div_ceil(TILE);
    for_each(dx.batch * pieces.per_plane * blocks, work(dx, dy), |k| {
        let (piece, inputs) = (k / blocks, (k % blocks) * TILE..((k % blocks + 1) * TILE).min(dx.channels));
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let (from, to) = (dy.row(image, 0, 2 * rows.0), dx.row(image, inputs.start, rows.0));
        let w = weights[4 * inputs.start * dy.channels..].as_ptr();
        // SAFETY: these rows of these input channels belong to no other piece.
        unsafe {
            up_backward_data(isa, from, inputs.len(), dy.channels, w, to, up_rows(dx, dy, rows), accumulate);
            for i in inputs {
                zero_borders(dx, image, i, rows);
            }
        }
    });
}

/// Splits some rows of an image's output channels into four phases each, which have the rows of the input.
fn gather(
    isa: Isa,
    x: &Planes,
    dy: &Planes,
    (image, rows): (usize, (usize, usize)),
    phases: &Slots<'_, f32>,
    db: Option<&Slots<'_, f32>>,
) {
    let len = (rows.1 - rows.0) * x.layout.row_stride();
    for_each(dy.channels, 4 * dy.channels * len, |o| {
        // SAFETY: phases and bias gradient of this output channel belong to no other piece.
        unsafe {
            let to = phases.range(4 * o * len, 4 * len).as_mut_ptr();
            let sum = up_gather(isa, dy.row(image, o, 2 * rows.0), up_rows(x, dy, rows), to, len);
            if let Some(db) = db {
                *db.at(o) += sum;
            }
        }
    });
}

fn backward_data_wide(isa: Isa, dy: &Planes, weights: &[f32], dx: &Planes, accumulate: bool, scratch: &mut [f32]) {
    let (pieces, taps) = (wide_pieces(dx.layout), 4 * dy.channels);
    for piece in 0..dx.batch * pieces.per_plane {
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let len = (rows.1 - rows.0) * dx.layout.row_stride();
        let phases = &mut scratch[..taps * len];
        gather(isa, dx, dy, (image, rows), &Slots::new(phases), None);
        let phases = &*phases;
        // Two blocks at least, so that a second thread finds work.
        let block = (dx.channels / 2).clamp(BLOCK / 2, BLOCK);
        for_each(dx.channels.div_ceil(block), usize::MAX, |b| {
            let inputs = b * block..((b + 1) * block).min(dx.channels);
            let (shape, stride) = ((inputs.len(), len, taps), dx.layout.plane_stride());
            // SAFETY: these rows of dx belong to no other piece. The phases' border columns are zero, and so dx's are.
            unsafe {
                let w = weights.as_ptr().add(inputs.start * taps);
                let to = dx.row(image, inputs.start, rows.0);
                product(shape, to, stride, accumulate, (w, taps, 1), (phases.as_ptr(), len, 1));
                for i in inputs {
                    zero_borders(dx, image, i, rows);
                }
            }
        });
    }
}

/// Overwrites dw\[ic, oc, a, b] = sum over images and pixels of x\[ic, i, j] * dy\[oc, 2i + a, 2j + b], and db\[oc] = sum of
/// dy\[oc] if it is wanted. `scratch` holds at least [`backward_weights_scratch_len`] floats.
///
/// # Panics
/// When shapes or lengths do not fit.
pub fn backward_weights(
    isa: Isa,
    x: &Planes,
    dy: &Planes,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    let channels = check(x, dy, dw.len());
    assert!(db.as_ref().is_none_or(|db| db.len() == dy.channels));
    if channels.wide_weights() {
        return backward_weights_wide(isa, x, dy, dw, db, scratch);
    }
    let pieces = weight_pieces(x.layout);
    let (parts, len, stride) = (x.batch * pieces.per_plane, dw.len() + dy.channels, 4 * dy.channels);
    let partial = Slots::new(&mut scratch[..parts * len]);
    for_each(parts * dy.channels, work(x, dy), |k| {
        let (part, o) = (k / dy.channels, k % dy.channels);
        let (image, rows) = (part / pieces.per_plane, pieces.rows_of(part));
        let (from, g) = (x.row(image, 0, rows.0), dy.row(image, o, 2 * rows.0));
        // SAFETY: the partial gradients of this part and output channel belong to no other piece.
        unsafe {
            let bias = partial.at(part * len + dw.len() + o);
            *bias = 0.0;
            for i in 0..x.channels {
                partial.range(part * len + i * stride + 4 * o, 4).fill(0.0);
            }
            let to = partial.range(part * len + 4 * o, 1).as_mut_ptr();
            up_backward_weights(isa, from, x.channels, g, up_rows(x, dy, rows), to, stride, bias);
        }
    });
    for (i, d) in dw.iter_mut().chain(db.into_iter().flatten()).enumerate() {
        *d = (0..parts).map(|part| f64::from(scratch[part * len + i])).sum::<f64>() as f32;
    }
}

fn backward_weights_wide(
    isa: Isa,
    x: &Planes,
    dy: &Planes,
    dw: &mut [f32],
    mut db: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    let (pieces, taps) = (wide_pieces(x.layout), 4 * dy.channels);
    if let Some(db) = &mut db {
        db.fill(0.0);
    }
    let (dw, db) = (Slots::new(dw), db.map(Slots::new));
    for piece in 0..x.batch * pieces.per_plane {
        let (image, rows) = (piece / pieces.per_plane, pieces.rows_of(piece));
        let len = (rows.1 - rows.0) * x.layout.row_stride();
        let phases = &mut scratch[..taps * len];
        gather(isa, x, dy, (image, rows), &Slots::new(phases), db.as_ref());
        let phases = &*phases;
        let across = taps.div_ceil(BLOCK);
        for_each(x.channels.div_ceil(BLOCK) * across, usize::MAX, |b| {
            let (first, column) = (b / across * BLOCK, b % across * BLOCK);
            let (inputs, columns) = (BLOCK.min(x.channels - first), BLOCK.min(taps - column));
            let planes = (x.row(image, first, rows.0).cast_const(), x.layout.plane_stride(), 1);
            // SAFETY: this block of dw belongs to no other piece.
            unsafe {
                let to = dw.range(first * taps + column, 1).as_mut_ptr();
                let part = (phases.as_ptr().add(column * len), 1, len);
                product((inputs, columns, len), to, taps, piece > 0, planes, part);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cpu::trial::{Tensor, distance, dot, noise, same_bits_for_all_threads, wide};

    struct Problem {
        batch: usize,
        channels: Channels,
        size: (usize, usize),
        x: Vec<f32>,
        dy: Vec<f32>,
        w: Vec<f32>,
        bias: Vec<f32>,
    }

    fn problem(batch: usize, input: usize, output: usize, size: (usize, usize), seed: u64) -> Problem {
        let (channels, pixels) = (Channels { input, output }, batch * size.0 * size.1);
        let (x, dy) = (noise(pixels * input, seed), noise(4 * pixels * output, seed + 1));
        Problem { batch, channels, size, x, dy, w: noise(channels.weights(), seed + 2), bias: noise(output, seed + 3) }
    }

    /// Calls `f(index in y, index in x, index in w)` for every product of the definition.
    fn each_product(p: &Problem, mut f: impl FnMut(usize, usize, usize)) {
        let (Channels { input, output }, (h, w)) = (p.channels, p.size);
        for (n, o, i) in (0..p.batch).flat_map(|n| (0..output).flat_map(move |o| (0..input).map(move |i| (n, o, i)))) {
            for (r, c, tap) in (0..h).flat_map(|r| (0..w).flat_map(move |c| (0..4).map(move |tap| (r, c, tap)))) {
                let y = ((n * output + o) * 2 * h + 2 * r + tap / 2) * 2 * w + 2 * c + tap % 2;
                f(y, ((n * input + i) * h + r) * w + c, (i * output + o) * 4 + tap);
            }
        }
    }

    /// y, dx, dw and db in f64.
    fn truth(p: &Problem, relu: bool) -> [Vec<f64>; 4] {
        let area = 4 * p.size.0 * p.size.1;
        let of = |k: usize| k / area % p.channels.output;
        let [x, dy, w] = [&p.x, &p.dy, &p.w].map(|v| wide(v));
        let mut y: Vec<f64> = (0..dy.len()).map(|k| f64::from(p.bias[of(k)])).collect();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; p.bias.len()]);
        each_product(p, |a, b, c| {
            y[a] += x[b] * w[c];
            dx[b] += dy[a] * w[c];
            dw[c] += dy[a] * x[b];
        });
        dy.iter().enumerate().for_each(|(k, d)| db[of(k)] += d);
        if relu {
            y.iter_mut().for_each(|v| *v = v.max(0.0));
        }
        [y, dx, dw, db]
    }

    /// y, dx (added to `before` if given), dw and db.
    fn run(p: &Problem, isa: Isa, relu: bool, before: Option<&[f32]>, extra: usize) -> [Vec<f32>; 4] {
        let (c, large) = (p.channels, (2 * p.size.0, 2 * p.size.1));
        let x = Tensor::of(&p.x, p.batch, c.input, p.size, 1, extra);
        let mut y = Tensor::garbage(p.batch, c.output, large, 2, extra);
        let dy = Tensor::of(&p.dy, p.batch, c.output, large, 1, extra);
        let mut dx = Tensor::garbage(p.batch, c.input, p.size, 1, extra);
        if let Some(before) = before {
            dx.planes.write_dense(before);
        }
        let mut packed = vec![9.0; c.weights()];
        pack(c, &p.w, &mut packed);
        let layout = x.planes.layout;
        let mut scratch = vec![f32::NAN; forward_scratch_len(c, layout)];
        forward(isa, &x.planes, &packed, &p.bias, relu, &y.planes, &mut scratch);
        let mut scratch = vec![f32::NAN; backward_data_scratch_len(c, layout)];
        backward_data(isa, &dy.planes, &p.w, &dx.planes, before.is_some(), &mut scratch);
        let mut scratch = vec![f32::NAN; backward_weights_scratch_len(c, p.batch, layout)];
        let (mut dw, mut db) = (vec![9.0; c.weights()], vec![9.0; c.output]);
        let mut alone = dw.clone();
        backward_weights(isa, &x.planes, &dy.planes, &mut alone, None, &mut scratch);
        backward_weights(isa, &x.planes, &dy.planes, &mut dw, Some(&mut db), &mut scratch);
        assert_eq!(dw, alone, "the bias gradient changes nothing else");
        assert!(y.is_intact() && dx.is_intact());
        [y.planes.read_dense(), dx.planes.read_dense(), dw, db]
    }

    fn assert_right(p: &Problem, relu: bool, accumulate: bool, extra: usize) {
        let before = noise(p.x.len(), 77);
        let mut t = truth(p, relu);
        if accumulate {
            t[1].iter_mut().zip(&before).for_each(|(d, b)| *d += f64::from(*b));
        }
        for isa in Isa::available() {
            let got = run(p, isa, relu, accumulate.then_some(before.as_slice()), extra);
            for (k, (g, t)) in got.iter().zip(&t).enumerate() {
                let off = distance(g, t);
                // The weights' gradient sums thousands of products of either sign in f32.
                let allowed = if k < 2 { 2e-5 } else { 1e-4 };
                assert!(off < allowed, "{} output {k} of {:?} {:?}: {off}", isa.name(), p.channels, p.size);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn all_three_passes_agree_with_the_definition(
            batch in 1..4_usize, input in 1..14_usize, output in 1..10_usize, h in 1..34_usize, w in 1..34_usize,
            relu: bool, accumulate: bool, extra in 0..3_usize, seed in 0..1000_u64,
        ) {
            assert_right(&problem(batch, input, output, (h, w), seed), relu, accumulate, extra);
        }
    }

    #[test]
    fn wide_layers_agree_with_the_definition_too() {
        for (input, output, size) in [(128, 32, (5, 3)), (65, 70, (8, 8)), (80, 64, (1, 17)), (64, 64, (40, 61))] {
            let p = problem(2, input, output, size, 1);
            assert!(p.channels.wide() && p.channels.wide_weights());
            assert_right(&p, true, true, 1);
            assert_right(&p, false, false, 0);
        }
    }

    #[test]
    fn backward_is_the_adjoint_of_forward() {
        for (input, output, size) in [(3, 5, (9, 21)), (64, 64, (6, 7))] {
            let p = Problem { bias: vec![0.0; output], ..problem(2, input, output, size, 4) };
            let [y, dx, dw, _] = run(&p, Isa::detect(), false, None, 0);
            let forward = dot(&y, &p.dy);
            let scale = dot(&y, &y).sqrt() * dot(&p.dy, &p.dy).sqrt();
            assert!((forward - dot(&p.x, &dx)).abs() < 1e-6 * scale, "{forward} {}", dot(&p.x, &dx));
            assert!((forward - dot(&p.w, &dw)).abs() < 1e-6 * scale, "{forward} {}", dot(&p.w, &dw));
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        for (input, output, size) in [(2, 1, (200, 190)), (8, 8, (65, 63)), (32, 16, (65, 63)), (128, 64, (16, 16))] {
            let p = problem(2, input, output, size, 4);
            same_bits_for_all_threads(|isa| run(&p, isa, false, None, 0).concat());
        }
    }

    #[test]
    fn one_pixel_becomes_a_square() {
        for isa in Isa::available() {
            let p =
                Problem { x: vec![2.0], w: vec![1.0, -2.0, 3.0, 4.0], bias: vec![0.5], ..problem(1, 1, 1, (1, 1), 0) };
            assert_eq!(run(&p, isa, true, None, 0)[0], [2.5, 0.0, 6.5, 8.5]);
        }
    }
}
