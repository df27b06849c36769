//! Peak memory and time of preparing a data set image by image, however large its images:
//!
//! `cargo run --release -p segfit --example prepared_memory -- DATA resize|patch SIZE`
//!
//! Peak memory is read from /proc (Linux).

#![expect(clippy::print_stdout, reason = "an example tells what it finds")]

use std::time::Instant;

use segfit::data::{Dataset, Options};
use segfit::recipe::{InputMode, InputSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, mode, size] = &arguments[..] else {
        return Err("usage: prepared_memory DATA resize|patch SIZE".into());
    };
    let mode = if mode == "patch" { InputMode::Patch } else { InputMode::Resize };
    let input = InputSpec { mode, size: size.parse()? };
    let start = Instant::now();
    let options = Options { is_lazy: true, cache_bytes: 0, masks_optional: true, ..Options::new(folder) };
    let set = Dataset::open(&options)?;
    println!("opened {} pair(s) in {:.1} s; peak memory {}", set.pairs.len(), start.elapsed().as_secs_f64(), peak());
    let (mut samples, mut sum, mut foreground) = (0, 0.0, 0);
    for index in 0..set.pairs.len() {
        set.for_each_prepared(index, &input, &mut |sample| {
            samples += 1;
            sum += sample.image.data.iter().map(|&v| f64::from(v)).sum::<f64>();
            foreground += sample.mask.data.iter().filter(|&&c| c > 0).count();
            Ok(())
        })?;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{samples} sample(s) in {seconds:.1} s; sum {sum:.3}, foreground {foreground}; peak memory {}", peak());
    Ok(())
}

/// The process's largest resident memory so far.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".into(), |l| l.trim().to_string())
}
