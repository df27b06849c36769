//! How the measures of complexity respond when one property of an image is changed and all others are kept:
//!
//! `cargo run --release -p segfit --example complexity_response -- OUTDIR`
//!
//! Turns each knob of [`segfit::phantom::scene`] through 7 settings, measures 8 images at each, and writes
//! `complexity_response.md` (table, failed expectations, means) and `complexity_response.svg` into OUTDIR. What was
//! expected is in `expectations.rs`. Ends with exit code 1 when a response is wrong that follows from the
//! definition of the measure (`checks.rs`).

mod checks;
mod expectations;
mod figure;
mod knobs;
mod response;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use segfit::files::write_atomically;

use self::knobs::Knob;
use self::table::Turned;

#[expect(clippy::print_stdout, reason = "a program prints what it found")]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: complexity_response OUTDIR")?);
    std::fs::create_dir_all(&folder)?;
    let all: Vec<Turned> = Knob::ALL.into_iter().map(|knob| (knob, response::responses_to(knob))).collect();
    write_atomically(&folder.join("complexity_response.md"), table::markdown(&all).as_bytes())?;
    write_atomically(&folder.join("complexity_response.svg"), figure::svg(&all).as_bytes())?;
    let checks = checks::checks(&all);
    for check in &checks {
        println!("{} {}: {}", if check.passed { "ok   " } else { "WRONG" }, check.what, check.found);
    }
    let all_passed = checks.iter().all(|c| c.passed);
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
