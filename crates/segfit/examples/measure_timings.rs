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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let size = arguments.next().ok_or("usage: measure_timings SIZE DATA...")?.parse()?;
    let (mut images, mut pyramid) = (0, Duration::ZERO);
    let mut measures = vec![Duration::ZERO; MEASURES.len()];
    for folder in arguments {
        for sample in samples(&folder, size)? {
            images += 1;
            let begin = Instant::now();
            let levels = Pyramid::new(&sample);
            pyramid += begin.elapsed();
            for (measure, total) in MEASURES.iter().zip(&mut measures) {
                let begin = Instant::now();
                for scale in measure.first_scale..=measure.last_scale {
                    std::hint::black_box((measure.compute)(&levels, scale));
                }
                *total += begin.elapsed();
            }
        }
    }
    report(images, pyramid, &measures);
    Ok(())
}

fn samples(folder: &str, size: usize) -> segfit::Result<Vec<Sample>> {
    let dataset = Dataset::open(&Options::new(folder))?;
    let all: Vec<usize> = (0..dataset.pairs.len()).collect();
    Ok(prepare(&dataset.load(&all)?, &InputSpec { mode: InputMode::Resize, size }))
}

#[expect(clippy::print_stdout, reason = "a timing program prints its table")]
fn report(images: u32, pyramid: Duration, measures: &[Duration]) {
    let line = |name: &str, time: Duration| println!("{name:20} {:8.3}", time.as_secs_f64() * 1e3 / f64::from(images));
    println!("{images} images, ms per image\n");
    line("pyramid", pyramid);
    for (measure, &time) in MEASURES.iter().zip(measures) {
        line(measure.name, time);
    }
    line("together", pyramid + measures.iter().sum::<Duration>());
}
