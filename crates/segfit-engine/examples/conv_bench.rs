//! Speed of the convolution on this machine, as a table of GFLOP/s (two operations for each multiply-add).
//!
//! `cargo run --release -p segfit-engine --example conv_bench -- [threads] [instruction set] [rounds] [part of a shape]`
//!
//! With `winograd` in place of the part of a shape, the direct form and the Winograd form are compared instead.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::time::Instant;

use segfit::network::layout::PlaneLayout;
use segfit_engine::cpu::conv2d::Conv2d;
use segfit_engine::cpu::planes::Arena;
use segfit_engine::cpu::simd::Isa;
use segfit_engine::cpu::winograd::{Packing, Winograd};

/// Batch, input channels, output channels, kernel, height and width.
const SHAPES: &[(usize, usize, usize, usize, usize)] = &[
    (4, 16, 16, 3, 128),
    (4, 32, 32, 3, 128),
    (4, 64, 64, 3, 128),
    (4, 32, 16, 3, 128),
    (4, 16, 32, 3, 64),
    (4, 32, 32, 3, 64),
    (4, 64, 64, 3, 32),
    (4, 128, 128, 3, 16),
    (4, 256, 256, 3, 8),
    (1, 64, 64, 3, 256),
    (1, 64, 64, 3, 128),
    (1, 128, 128, 3, 128),
    (1, 256, 256, 3, 64),
    (1, 512, 512, 3, 32),
    (1, 1024, 1024, 3, 16),
    (1, 1024, 512, 3, 32),
    (4, 8, 8, 3, 256),
    (4, 13, 13, 3, 128),
    (4, 7, 7, 3, 128),
    (4, 5, 5, 3, 128),
    (4, 3, 16, 3, 128),
    (4, 1, 16, 3, 128),
    (4, 4, 4, 3, 256),
    (4, 3, 3, 3, 256),
    (4, 2, 2, 3, 256),
    (4, 1, 1, 3, 256),
    (4, 16, 2, 1, 128),
    (4, 16, 1, 1, 128),
    (4, 4, 1, 1, 256),
    (1, 64, 2, 1, 256),
    (1, 64, 64, 1, 128),
    (1, 1, 1, 3, 8),
];

/// Batch, input channels, output channels, height and width of the comparison with the Winograd form.
const COMPARED: &[(usize, usize, usize, usize)] = &[
    (1, 64, 64, 256),
    (1, 128, 64, 256),
    (1, 128, 128, 128),
    (1, 256, 128, 128),
    (1, 256, 256, 64),
    (1, 512, 512, 32),
    (1, 1024, 512, 32),
    (1, 1024, 1024, 16),
    (1, 16, 16, 256),
    (1, 32, 16, 256),
    (1, 32, 32, 128),
    (1, 64, 32, 128),
    (1, 64, 64, 64),
    (1, 128, 128, 32),
    (1, 256, 256, 16),
    (4, 16, 16, 128),
    (4, 32, 32, 64),
    (4, 8, 8, 256),
    (4, 64, 64, 16),
    (1, 3, 16, 256),
    (1, 16, 32, 128),
    (1, 32, 64, 64),
    (1, 64, 128, 32),
    (1, 128, 256, 16),
    (1, 128, 64, 64),
    (1, 256, 128, 32),
    (4, 128, 128, 16),
    (4, 128, 128, 8),
    (4, 4, 4, 256),
    (1, 64, 64, 100),
    (1, 16, 16, 64),
    (1, 8, 8, 64),
    (1, 64, 64, 32),
    (1, 8, 16, 256),
    (1, 16, 8, 256),
    (1, 8, 32, 128),
    (1, 32, 8, 128),
    (1, 12, 12, 128),
    (4, 16, 16, 17),
    (4, 64, 64, 8),
    (1, 64, 64, 8),
    (1, 16, 16, 30),
    (1, 512, 512, 8),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |k: usize, default: usize| arguments.get(k).and_then(|a| a.parse().ok()).unwrap_or(default);
    let threads = number(0, 2);
    let isa = *Isa::available()
        .iter()
        .find(|isa| arguments.get(1).is_some_and(|a| a == isa.name()))
        .unwrap_or(&Isa::detect());
    let only = arguments.get(3);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    if only.is_some_and(|o| o.starts_with("winograd")) {
        println!("# Direct convolution against Winograd's F(4x4, 3x3)\n");
        println!(
            "{threads} threads, {}; milliseconds of the forward pass and of packing its weights, the best of",
            isa.name()
        );
        println!(
            "many. The last columns: the form that the rule chooses, and its time for the faster form's (with packing"
        );
        println!("in training).\n");
        println!("| batch, in, out, side | direct | Winograd | ratio | packs | packs | error | inference | training |");
        println!("|---|---|---|---|---|---|---|---|---|");
        for shape in COMPARED {
            if arguments.get(4).is_none_or(|o| format!("{shape:?}").contains(o.as_str())) {
                compare(isa, *shape, number(2, 20));
            }
        }
        return;
    }
    println!("{} threads, {}; GFLOP/s and milliseconds, the best of many", threads, isa.name());
    println!("{:>22} {:>14} {:>14} {:>14} {:>12}", "shape", "forward", "data", "weights", "pack");
    for shape in SHAPES {
        if only.is_none_or(|o| format!("{shape:?}").contains(o.as_str())) {
            measure(isa, *shape, number(2, 20));
        }
    }
}

fn measure(isa: Isa, (batch, inputs, outputs, kernel, size): (usize, usize, usize, usize, usize), rounds: usize) {
    let layout = PlaneLayout { height: size, width: size, pad: 1 };
    let conv = Conv2d::new(isa, inputs, outputs, kernel, layout, batch);
    let (x_stride, y_stride) = (inputs * layout.plane_stride(), outputs * layout.plane_stride());
    let mut arena = Arena::new(batch * 2 * (x_stride + y_stride));
    let x = arena.planes(0, batch, inputs, layout, x_stride);
    let dx = arena.planes(batch * x_stride, batch, inputs, layout, x_stride);
    let y = arena.planes(2 * batch * x_stride, batch, outputs, layout, y_stride);
    let dy = arena.planes(2 * batch * x_stride + batch * y_stride, batch, outputs, layout, y_stride);
    x.write_dense(&vec![0.5; batch * inputs * size * size]);
    dy.write_dense(&vec![0.25; batch * outputs * size * size]);
    let weight = vec![0.01; conv.packed_len()];
    let bias = vec![0.1; outputs];
    let (mut packed, mut turned) = (weight.clone(), weight.clone());
    let (mut dw, mut db) = (weight.clone(), bias.clone());
    let mut scratch = vec![0.0; conv.gradient_scratch_len()];
    let flops = 2.0 * (batch * inputs * outputs * kernel * kernel * size * size) as f64;
    let pack = best(rounds, || {
        conv.pack(&weight, &mut packed);
        conv.pack_transposed(&weight, &mut turned);
    });
    let forward = best(rounds, || conv.forward(&packed, Some(&bias), true, &x, &y));
    let data = best(rounds, || conv.backward_data(&turned, &dy, &dx, false));
    let weights = best(rounds, || conv.backward_weights(&x, &dy, &mut scratch, &mut dw, Some(&mut db)));
    let cell = |seconds: f64| format!("{:6.1} {:7.3}", flops / seconds / 1e9, seconds * 1e3);
    println!(
        "{:>22} {} {} {} {:8.3} ms",
        format!("{:?}", (batch, inputs, outputs, kernel, size)),
        cell(forward),
        cell(data),
        cell(weights),
        pack * 1e3
    );
}

/// Direct and Winograd form by turns.
fn compare(isa: Isa, shape: (usize, usize, usize, usize), rounds: usize) {
    let (batch, inputs, outputs, size) = shape;
    let layout = PlaneLayout { height: size, width: size, pad: 1 };
    let direct = Conv2d::new(isa, inputs, outputs, 3, layout, batch);
    let winograd = Winograd::new(isa, inputs, outputs, layout, batch);
    let (x_stride, y_stride) = (inputs * layout.plane_stride(), outputs * layout.plane_stride());
    let mut arena = Arena::new(batch * (x_stride + 2 * y_stride));
    let x = arena.planes(0, batch, inputs, layout, x_stride);
    let y = arena.planes(batch * x_stride, batch, outputs, layout, y_stride);
    let z = arena.planes(batch * (x_stride + y_stride), batch, outputs, layout, y_stride);
    let wave = |k: usize| (k as f32 * 12.9898).sin();
    x.write_dense(&(0..batch * inputs * size * size).map(wave).collect::<Vec<_>>());
    let weight: Vec<f32> = (0..direct.packed_len()).map(|k| wave(k + 7)).collect();
    let bias = vec![0.1; outputs];
    let mut packed = vec![0.0; direct.packed_len()];
    let mut transformed = vec![0.0; winograd.packed_len()];
    let mut scratch_arena = vec![0.0; winograd.scratch_len() + 16];
    let scratch = &mut scratch_arena[..];
    let offset = scratch.as_ptr().align_offset(64);
    let scratch = &mut scratch[offset..];
    let mut seconds = [f64::INFINITY; 4];
    let (mut total, mut calls) = (0.0, 0);
    while calls < rounds || total < 0.4 {
        let mut time = |k: usize, call: &mut dyn FnMut()| {
            let start = Instant::now();
            call();
            let passed = start.elapsed().as_secs_f64();
            seconds[k] = seconds[k].min(passed);
            total += passed;
        };
        if calls % 4 == 0 {
            time(2, &mut || direct.pack(&weight, &mut packed));
            time(3, &mut || winograd.pack(&weight, &mut transformed));
        }
        time(0, &mut || direct.forward(&packed, Some(&bias), true, &x, &y));
        time(1, &mut || winograd.forward(&transformed, Some(&bias), true, false, &x, &z, scratch));
        calls += 1;
    }
    let (expected, got) = (y.read_dense(), z.read_dense());
    let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    let error = expected.iter().zip(&got).fold(0.0_f32, |a, (e, g)| a.max((e - g).abs())) / largest;
    let [direct, own, direct_pack, own_pack] = seconds.map(|s| s * 1e3);
    // The choice for one packing, with its time against the better form's.
    let choice = |packing, costs: [f64; 2]| {
        let pays = Winograd::pays(isa, inputs, outputs, layout, batch, packing);
        let lost = costs[usize::from(pays)] / costs[0].min(costs[1]);
        format!("{} {lost:.2}", if pays { "Winograd" } else { "direct" })
    };
    println!(
        "| {batch}, {inputs}, {outputs}, {size} | {direct:.3} | {own:.3} | {:.2} | {direct_pack:.3} | {own_pack:.3} | {error:.1e} | {} | {} |",
        direct / own,
        choice(Packing::Once, [direct, own]),
        choice(Packing::EveryPass, [direct + direct_pack, own + own_pack]),
    );
}

/// Seconds of the fastest call of at least `rounds` calls and a fifth of a second.
fn best(rounds: usize, mut call: impl FnMut()) -> f64 {
    let (mut best, mut total, mut calls) = (f64::INFINITY, 0.0, 0);
    while calls < rounds || total < 0.2 {
        let start = Instant::now();
        call();
        let seconds = start.elapsed().as_secs_f64();
        best = best.min(seconds);
        total += seconds;
        calls += 1;
    }
    best
}
