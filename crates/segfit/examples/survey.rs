//! What looks wrong with data sets, as text, with the time and memory it took to look:
//!
//! `cargo run --release -p segfit --example survey -- DATA...`
//!
//! Peak memory is read from /proc (Linux).

#![expect(clippy::print_stdout, reason = "an example tells what it finds")]

use std::time::Instant;

use segfit::data::{Dataset, Options};
use segfit::recipe::{InputMode, InputSpec};
use segfit::survey::{SurveyOptions, survey};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for folder in std::env::args().skip(1) {
        let start = Instant::now();
        let options = Options { is_lazy: true, cache_bytes: 0, masks_optional: true, ..Options::new(&folder) };
        let set = Dataset::open(&options)?;
        let opened = start.elapsed().as_secs_f64();
        let input = InputSpec { mode: InputMode::Resize, size: 256 };
        let found = survey(&set, &SurveyOptions::new(input))?;
        let seconds = start.elapsed().as_secs_f64() - opened;
        println!(
            "{}: {} images of {} sources, {} train, {} validate, {} test",
            found.dataset, found.images, found.sources, found.train, found.validation, found.test
        );
        for class in &found.classes {
            println!(
                "  {}: {:.1}% of the training pixels, in {} images",
                class.label,
                100.0 * class.share,
                class.images
            );
        }
        let pictures: Vec<usize> = found.simplest.iter().chain(&found.most_complex).map(|s| s.png.len()).collect();
        println!("  pictures of {pictures:?} bytes");
        for warning in &found.warnings {
            println!("  {}: {} {:?}", warning.kind.title(), warning.words, warning.images);
        }
        println!("  opened in {opened:.2} s, surveyed in {seconds:.2} s; peak memory so far {}", peak());
    }
    Ok(())
}

/// The process's largest resident memory so far.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".into(), |l| l.trim().to_string())
}
