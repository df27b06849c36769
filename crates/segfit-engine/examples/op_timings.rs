//! Prints the time of each operation per pixel of its larger tensor: `cargo run --release --example op_timings`.
#![allow(clippy::print_stdout, reason = "an example that prints its measurements")]

use std::time::Instant;

use segfit::network::layout::PlaneLayout;
use segfit::recipe::LossKind;
use segfit_engine::cpu::conv_transpose::{self as up, Channels};
use segfit_engine::cpu::planes::{Arena, Planes};
use segfit_engine::cpu::simd::Isa;
use segfit_engine::cpu::{batch_norm, copy, max_pool, relu};
use segfit_engine::{loss, optimiser};

/// Best of many rounds of about 1 ms, in nanoseconds per call.
fn best(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let calls = (0.001 / start.elapsed().as_secs_f64()).clamp(1.0, 10_000.0) as usize;
    (0..60).fold(f64::INFINITY, |best, _| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64)
    })
}

fn report(what: &str, values: usize, f: impl FnMut()) {
    let ns = best(f);
    println!("  {what:<34} {:9.1} us  {:7.3} ns per pixel", ns / 1000.0, ns / values as f64);
}

/// Tensors of one shape, filled with numbers in [-1, 1].
fn tensors<const N: usize>(arena: &mut Arena, batch: usize, channels: usize, size: usize) -> [Planes; N] {
    let layout = PlaneLayout { height: size, width: size, pad: 1 };
    let stride = channels * layout.plane_stride();
    let base = arena.len() - N * batch * stride;
    std::array::from_fn(|k| {
        let t = arena.planes(base + k * batch * stride, batch, channels, layout, stride);
        let n = batch * channels * size * size;
        t.write_dense(
            &(0..n)
                .map(|i| ((i * 7919 + k * 31) as u32).wrapping_mul(2_654_435_761) as i32 as f32 / 2.2e9)
                .collect::<Vec<_>>(),
        );
        t
    })
}

fn arena(batch: usize, channels: usize, size: usize, count: usize) -> Arena {
    let layout = PlaneLayout { height: size, width: size, pad: 1 };
    Arena::new(count * batch * channels * layout.plane_stride())
}

fn layer(isa: Isa, batch: usize, c: usize, size: usize) {
    println!("[{batch}, {c}, {size}, {size}]");
    let n = batch * c * size * size;
    let mut memory = arena(batch, c, size, 3);
    let [z, y, dy] = tensors(&mut memory, batch, c, size);
    let mut small = arena(batch, c, size / 2, 1);
    let [p] = tensors(&mut small, batch, c, size / 2);
    let (gamma, beta) = (vec![1.0; c], vec![0.1; c]);
    let [mut a, mut b, mut m, mut s] = [vec![0.0; c], vec![1.0; c], vec![0.0; c], vec![1.0; c]];
    report("batch norm + ReLU, forward", n, || {
        batch_norm::forward_train(isa, &z, &y, &gamma, &beta, true, 1e-5, 0.1, &mut a, &mut b, &mut m, &mut s);
    });
    let (m, s) = (m, s);
    report("batch norm + ReLU, backward", n, || {
        batch_norm::backward(isa, &z, &dy, &y, &gamma, &beta, &m, &s, true, &mut a, &mut b);
    });
    report("scale, shift and ReLU", n, || batch_norm::affine(isa, &z, &y, &gamma, &beta, true));
    report("ReLU, backward", n, || relu::backward(isa, &z, &dy, &y));
    report("copy", n, || copy::copy(&z, &y));
    report("max pool, forward", n, || max_pool::forward(isa, &z, &p));
    report("max pool, backward", n, || max_pool::backward(isa, &z, &p, &y, false));
    report("max pool, backward, accumulating", n, || max_pool::backward(isa, &z, &p, &y, true));
}

fn losses(isa: Isa, batch: usize, channels: usize, size: usize, kind: LossKind) {
    let n = batch * size * size;
    let mut memory = arena(batch, channels, size, 2);
    let [z, d] = tensors(&mut memory, batch, channels, size);
    let targets: Vec<u8> = (0..n).map(|i| u8::from(i % 5 == 0)).collect();
    let (mut scratch, options) = (loss::LossScratch::new(&z), loss::LossOptions { kind });
    let name = format!("{kind:?} [{batch}, {channels}, {size}, {size}]");
    report(&name, n, || {
        std::hint::black_box(loss::loss(isa, options, &z, &targets, Some(&d), &mut scratch));
    });
    let mut classes = vec![0; n];
    report("  predicted classes", n, || loss::predict(isa, options, &z, &mut classes, None));
}

fn transposed(isa: Isa, batch: usize, channels: Channels, size: usize) {
    let Channels { input, output } = channels;
    println!("transposed convolution [{batch}, {input} -> {output}, {size}, {size}], GMAC/s");
    let (mut small, mut large) = (arena(batch, input, size, 2), arena(batch, output, 2 * size, 2));
    let [x, dx] = tensors(&mut small, batch, input, size);
    let [y, dy] = tensors(&mut large, batch, output, 2 * size);
    let w = vec![0.1; channels.weights()];
    let (mut packed, mut dw, bias, mut db) = (w.clone(), w.clone(), vec![0.0; output], vec![0.0; output]);
    up::pack(channels, &w, &mut packed);
    let layout = x.layout;
    let len = up::forward_scratch_len(channels, layout).max(up::backward_weights_scratch_len(channels, batch, layout));
    let mut scratch = vec![0.0; len];
    let macs = (batch * size * size * channels.weights()) as f64;
    let show = |what: &str, ns: f64| println!("  {what:<34} {:9.1} us  {:7.1}", ns / 1000.0, macs / ns);
    show("forward", best(|| up::forward(isa, &x, &packed, &bias, false, &y, &mut scratch)));
    show("backward, data", best(|| up::backward_data(isa, &dy, &w, &dx, false, &mut scratch)));
    show("backward, weights", best(|| up::backward_weights(isa, &x, &dy, &mut dw, Some(&mut db), &mut scratch)));
}

fn run(isa: Isa) {
    println!("{} with {} threads", isa.name(), rayon::current_num_threads());
    for (b, c, s) in [(4, 16, 128), (8, 4, 128), (8, 1, 128), (4, 128, 16)] {
        layer(isa, b, c, s);
    }
    println!("losses with gradient, per pixel of the image");
    losses(isa, 8, 2, 128, LossKind::CrossEntropyDice);
    losses(isa, 8, 4, 128, LossKind::CrossEntropyDice);
    losses(isa, 8, 2, 128, LossKind::BinaryDice);
    for (b, i, o, s) in [
        (8, 2, 1, 64),
        (8, 4, 2, 64),
        (4, 16, 8, 64),
        (4, 32, 16, 64),
        (4, 32, 16, 32),
        (4, 64, 32, 32),
        (4, 64, 64, 32),
        (4, 128, 64, 16),
        (4, 256, 128, 8),
        (1, 128, 64, 128),
        (1, 1024, 512, 16),
    ] {
        transposed(isa, b, Channels { input: i, output: o }, s);
    }
    let (mut p, g) = (vec![0.1; 500_000], vec![0.1; 500_000]);
    let mut adam = optimiser::AdamW::new(p.len(), optimiser::AdamWOptions::default(), &[(0..400_000, 0.1)]);
    report("AdamW, per parameter of 500k", p.len(), || adam.update(isa, &mut p, &g, 1e-3));
}

fn main() {
    // Inside the pool, as an executor runs: calls from outside would pay for a hand-over each.
    let isas = if std::env::args().any(|a| a == "--all") { Isa::available() } else { vec![Isa::detect()] };
    rayon::scope(|_| isas.into_iter().for_each(run));
}
