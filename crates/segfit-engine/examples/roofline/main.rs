//! How close the layers of a U-Net come to what this machine can do, as Markdown.
//!
//! `cargo run --release -p segfit-engine --example roofline -- [threads] [instruction set] [seconds a timing]`
//!
//! The roofline of a layer is min(peak, bandwidth * intensity): arithmetic at the measured peak, or every input, output and
//! weight moved once at the measured bandwidth of the memory that holds them, whichever takes longer (Williams, Waterman and
//! Patterson 2009, doi 10.1145/1498765.1498785). A multiply-add counts as two operations of the direct convolution, so that
//! an algorithm with fewer operations can exceed 100%.
#![allow(clippy::needless_range_loop, reason = "index loops surely unroll, and inline with the instruction set")]
#![allow(clippy::print_stdout, reason = "the table is the result")]

mod layers;
mod machine;

use std::time::Instant;

use layers::{Layer, Pass};
use machine::Machine;
use segfit_engine::cpu::simd::Isa;

/// Base width, batch and size of the U-Nets; one channel in, two classes, depth 4.
const NETWORKS: [(usize, usize, usize); 4] = [(64, 1, 256), (16, 1, 256), (4, 1, 256), (16, 4, 128)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.first().map_or(2, |a| a.parse().expect("the number of threads"));
    let isa = arguments.get(1).map_or_else(Isa::detect, |name| {
        *Isa::available().iter().find(|isa| isa.name() == name).expect("an instruction set of this processor")
    });
    let seconds: f64 = arguments.get(2).map_or(0.2, |a| a.parse().expect("seconds"));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    println!("## Machine\n\n{} ({} lanes), {threads} threads.\n", isa.name(), isa.lanes());
    let machine = Machine::measure(isa, threads, seconds.max(1.0));
    println!("{machine}");
    for (width, batch, size) in NETWORKS {
        println!("## U-Net of width {width}, batch {batch}, {size} x {size}\n");
        network(&machine, isa, &layers::of_unet(width, batch, size), seconds);
    }
}

fn network(machine: &Machine, isa: Isa, layers: &[Layer], seconds: f64) {
    println!("| layer | times | pass | ms | GFLOP/s | of peak | MiB | GB/s | of bandwidth | bound by | of roofline |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut totals = [(0.0, 0.0); 3];
    for layer in layers {
        let timings = layer.time(isa, seconds);
        for (pass, taken) in Pass::ALL.into_iter().zip(timings) {
            if pass == Pass::Data && layer.in_channels == 1 {
                continue;
            }
            let (flops, bytes) = (layer.flops(), layer.bytes());
            let bandwidth = machine.bandwidth(bytes);
            let (arithmetic, transport) = (flops / machine.peak, bytes / bandwidth);
            let roof = arithmetic.max(transport);
            println!(
                "| {layer} | {} | {} | {:.3} | {:.1} | {:.0}% | {:.2} | {:.1} | {:.0}% | {} | {:.0}% |",
                layer.times,
                pass.name(),
                taken * 1e3,
                flops / taken / 1e9,
                100.0 * arithmetic / taken,
                bytes / 1024.0 / 1024.0,
                bytes / taken / 1e9,
                100.0 * transport / taken,
                if arithmetic >= transport { "peak" } else { "bandwidth" },
                100.0 * roof / taken,
            );
            let total = &mut totals[pass as usize];
            *total = (total.0 + layer.times as f64 * taken, total.1 + layer.times as f64 * roof);
        }
    }
    println!();
    for (pass, (taken, roof)) in Pass::ALL.into_iter().zip(totals) {
        let share = 100.0 * roof / taken;
        println!(
            "- All convolutions, {}: {:.2} ms, roofline {:.2} ms: {share:.0}%.",
            pass.name(),
            taken * 1e3,
            roof * 1e3
        );
    }
    println!();
}

/// Seconds of the fastest call of at least five calls and `seconds`.
fn best(seconds: f64, mut call: impl FnMut()) -> f64 {
    let (mut best, mut total, mut calls) = (f64::INFINITY, 0.0, 0);
    while calls < 5 || total < seconds {
        let start = Instant::now();
        call();
        let taken = start.elapsed().as_secs_f64();
        best = best.min(taken);
        total += taken;
        calls += 1;
    }
    best
}
