//! How the measures of complexity respond when one property of an image is changed and all others are kept:
//!
//! `cargo run --release -p segfit --example complexity_response -- OUTDIR`
//!
//! Turns each knob of [`segfit::phantom::scene`] through 7 settings, measures 8 images at each, and writes
//! `complexity_response.md` (table, failed expectations, means) and `complexity_response.svg` into OUTDIR; a page
//! `complexity.md` in OUTDIR gets the new table. What was
//! expected is in `expectations.rs`. Ends with exit code 1 when a response is wrong that follows from the
//! definition of the measure (`checks.rs`).

mod checks;
mod expectations;
mod figure;
mod knobs;
mod response;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use segfit::files::write_atomically;

use self::knobs::Knob;
use self::table::Turned;

/// Marks of the table in `complexity.md`.
const BEGIN: &str = "<!-- response: begin -->";
const END: &str = "<!-- response: end -->";

#[expect(clippy::print_stdout, reason = "a program prints what it found")]
fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: complexity_response OUTDIR")?);
    std::fs::create_dir_all(&folder)?;
    let all: Vec<Turned> = Knob::ALL.into_iter().map(|knob| (knob, response::responses_to(knob))).collect();
    write_atomically(&folder.join("complexity_response.md"), table::markdown(&all).as_bytes())?;
    write_atomically(&folder.join("complexity_response.svg"), figure::svg(&all).as_bytes())?;
    renew_page(&folder.join("complexity.md"), &table::table(&all))?;
    let checks = checks::checks(&all);
    for check in &checks {
        println!("{} {}: {}", if check.passed { "ok   " } else { "WRONG" }, check.what, check.found);
    }
    let all_passed = checks.iter().all(|c| c.passed);
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts the table between the two marks of a page; a page that does not exist is not made.
fn renew_page(page: &Path, table: &str) -> Result<(), Box<dyn std::error::Error>> {
    if !page.exists() {
        return Ok(());
    }
    let old = std::fs::read_to_string(page)?;
    let (before, rest) = old.split_once(BEGIN).ok_or("complexity.md has no mark for the beginning of the table")?;
    let (_, after) = rest.split_once(END).ok_or("complexity.md has no mark for the end of the table")?;
    Ok(write_atomically(page, format!("{before}{BEGIN}\n{table}{END}{after}").as_bytes())?)
}
