//! Milliseconds per image that each measure of complexity costs, on one thread:
//!
//! `cargo run --release -p segfit --example measure_timings -- SIZE DATA...`
//!
//! The images of all data sets are resized to SIZE. A measure is timed at all its scales together. What measures share (gradient,
//! spectrum, edges, objects, co-occurrence) is paid by the first of them in the list.

use std::time::{Duration, Instant};

use segfit::complexity::{MEASURES, Pyramid};
use segfit::data::{Dataset, Options, Sample, prepare};
use segfit::recipe::{InputMode, InputSpec};

/// Every image is measured this often; the fastest time counts, so that other work on the machine matters little.
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let size = arguments.next().ok_or("usage: measure_timings SIZE DATA...")?.parse()?;
    let mut images = 0;
    let mut totals = vec![Duration::ZERO; MEASURES.len() + 1];
    for folder in arguments {
        for sample in samples(&folder, size)? {
            images += 1;
            let mut fastest = vec![Duration::MAX; totals.len()];
            for _ in 0..ROUNDS {
                fastest.iter_mut().zip(times(&sample)).for_each(|(f, t)| *f = t.min(*f));
            }
            totals.iter_mut().zip(fastest).for_each(|(total, t)| *total += t);
        }
    }
    report(images, &totals);
    Ok(())
}

/// The time of the pyramid, then of each measure.
fn times(sample: &Sample) -> Vec<Duration> {
    let begin = Instant::now();
    let pyramid = Pyramid::new(sample);
    let mut times = vec![begin.elapsed()];
    for measure in MEASURES {
        let begin = Instant::now();
        for scale in measure.first_scale..=measure.last_scale {
            std::hint::black_box((measure.compute)(&pyramid, scale));
        }
        times.push(begin.elapsed());
    }
    times
}

fn samples(folder: &str, size: usize) -> segfit::Result<Vec<Sample>> {
    let dataset = Dataset::open(&Options::new(folder))?;
    let all: Vec<usize> = (0..dataset.pairs.len()).collect();
    Ok(prepare(&dataset.load(&all)?, &InputSpec { mode: InputMode::Resize, size }))
}

#[expect(clippy::print_stdout, reason = "a timing program prints its table")]
fn report(images: u32, totals: &[Duration]) {
    println!("{images} images, ms per image\n");
    let names = std::iter::once("pyramid").chain(MEASURES.iter().map(|m| m.name)).chain(["together"]);
    for (name, time) in names.zip(totals.iter().copied().chain([totals.iter().sum()])) {
        println!("{name:20} {:8.3}", time.as_secs_f64() * 1e3 / f64::from(images));
    }
}
