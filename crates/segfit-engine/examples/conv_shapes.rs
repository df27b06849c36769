//! Speed of strided, depthwise, dilated, grouped and transposed convolutions on this machine, in milliseconds.
//!
//! `cargo run --release -p segfit-engine --example conv_shapes -- [threads] [part of a name]`; `benchmarks/engine/conv_shapes.py` does the
//! same with PyTorch.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::time::Instant;

use segfit::network::Geometry;
use segfit::network::layout::PlaneLayout;
use segfit_engine::cpu::conv2d::{Conv2d, ConvShape};
use segfit_engine::cpu::planes::{Arena, Planes};
use segfit_engine::cpu::simd::Isa;
use segfit_engine::cpu::strided::Strided;

/// Name, input and output channels, groups, kernel, stride, padding, dilation, size of the input, transposed.
type Case = (&'static str, usize, usize, usize, usize, usize, usize, usize, usize, bool);

const CASES: &[Case] = &[
    ("strided 3x3", 32, 64, 1, 3, 2, 1, 1, 128, false),
    ("strided 3x3", 128, 256, 1, 3, 2, 1, 1, 32, false),
    ("strided 1x1", 64, 128, 1, 1, 2, 0, 1, 64, false),
    ("stem 7x7", 3, 64, 1, 7, 2, 3, 1, 128, false),
    ("stem 3x3", 3, 16, 1, 3, 2, 1, 1, 128, false),
    ("depthwise 3x3", 64, 64, 64, 3, 1, 1, 1, 128, false),
    ("depthwise 5x5", 64, 64, 64, 5, 1, 2, 1, 64, false),
    ("depthwise 3x3", 256, 256, 256, 3, 1, 1, 1, 16, false),
    ("depthwise strided", 64, 64, 64, 3, 2, 1, 1, 128, false),
    ("grouped 3x3", 64, 64, 4, 3, 1, 1, 1, 64, false),
    ("dilated 3x3", 64, 64, 1, 3, 1, 4, 4, 64, false),
    ("valid 3x3", 64, 64, 1, 3, 1, 0, 1, 64, false),
    ("transposed 4x4", 64, 32, 1, 4, 2, 1, 1, 64, true),
    ("transposed 3x3", 64, 32, 1, 3, 2, 1, 1, 64, true),
];

const BATCH: usize = 4;

fn main() {
    let threads = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    println!("{threads} threads, {}, batch {BATCH}; milliseconds, the best of many", Isa::detect().name());
    println!("{:>40} {:>9} {:>9} {:>9}", "shape", "forward", "data", "weights");
    let only = std::env::args().nth(2).unwrap_or_default();
    for case in CASES.iter().filter(|case| case.0.contains(&only)) {
        let [forward, data, weights] = measure(case);
        let name = format!("{} {}->{} at {}", case.0, case.1, case.2, case.8);
        println!("{name:>40} {forward:9.3} {data:9.3} {weights:9.3}");
    }
}

fn measure(&(_, inputs, outputs, groups, kernel, stride, padding, dilation, size, transposed): &Case) -> [f64; 3] {
    let geometry = Geometry {
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [dilation; 2],
        output_padding: [usize::from(transposed && kernel % 2 == 1); 2],
        transposed,
    };
    let (size, other) = ((size, size), geometry.output_size((size, size)).expect("a size"));
    let pad = geometry.border(size, other).max(1);
    let plane = |(height, width): (usize, usize), pad| PlaneLayout { height, width, pad };
    if geometry.keeps_size() {
        let shape = ConvShape { in_channels: inputs, out_channels: outputs, groups, geometry };
        return ordinary(&shape, plane(size, pad));
    }
    let (in_channels, out_channels) = if transposed { (outputs, inputs) } else { (inputs, outputs) };
    let (large, small) =
        if transposed { (plane(other, 1), plane(size, pad)) } else { (plane(size, 1), plane(other, pad)) };
    let [down, up, weights] = strided(&ConvShape { in_channels, out_channels, groups, geometry }, large, small);
    if transposed { [up, down, weights] } else { [down, up, weights] }
}

fn tensor(arenas: &mut Vec<Arena>, channels: usize, layout: PlaneLayout) -> Planes {
    let stride = channels * layout.plane_stride();
    let mut arena = Arena::new(BATCH * stride);
    let planes = arena.planes(0, BATCH, channels, layout, stride);
    planes.write_dense(&vec![0.5; BATCH * channels * layout.height * layout.width]);
    arenas.push(arena);
    planes
}

fn ordinary(shape: &ConvShape, layout: PlaneLayout) -> [f64; 3] {
    let mut arenas = Vec::new();
    let [x, dx] = [shape.in_channels; 2].map(|c| tensor(&mut arenas, c, layout));
    let [y, dy] = [shape.out_channels; 2].map(|c| tensor(&mut arenas, c, layout));
    let op = Conv2d::of(Isa::detect(), shape, layout, BATCH);
    let (packed, bias) = (vec![0.01; op.packed_len()], vec![0.1; shape.out_channels]);
    let (mut dw, mut db, mut scratch) = (packed.clone(), bias.clone(), vec![0.0; op.gradient_scratch_len()]);
    [
        best(|| op.forward(&packed, Some(&bias), false, &x, &y)),
        best(|| op.backward_data(&packed, &dy, &dx, false)),
        best(|| op.backward_weights(&x, &dy, &mut scratch, &mut dw, Some(&mut db))),
    ]
}

fn strided(shape: &ConvShape, large: PlaneLayout, small: PlaneLayout) -> [f64; 3] {
    let mut arenas = Vec::new();
    let [x, dx] = [shape.in_channels; 2].map(|c| tensor(&mut arenas, c, large));
    let [y, dy] = [shape.out_channels; 2].map(|c| tensor(&mut arenas, c, small));
    let op = Strided::new(Isa::detect(), shape, large, small, BATCH);
    let (packed, bias) = (vec![0.01; op.packed_len()], vec![0.1; shape.out_channels]);
    let (mut dw, mut db) = (packed.clone(), bias.clone());
    let len = op.gradient_scratch_len().max(op.up_scratch_len()).max(op.down_scratch_len());
    let mut scratch = vec![0.0; len];
    [
        best(|| op.down(&packed, Some(&bias), false, false, &x, &y, &mut scratch)),
        best(|| op.up(&packed, None, false, false, &dy, &dx, &mut scratch)),
        best(|| op.backward_weights(&x, &dy, &mut scratch, &mut dw, Some(&mut db), None)),
    ]
}

/// Milliseconds of the fastest call in a fifth of a second.
fn best(mut call: impl FnMut()) -> f64 {
    let (mut best, mut total) = (f64::INFINITY, 0.0);
    while total < 0.2 {
        let start = Instant::now();
        call();
        let seconds = start.elapsed().as_secs_f64();
        best = best.min(seconds);
        total += seconds;
    }
    best * 1e3
}
