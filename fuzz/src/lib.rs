//! What the fuzz targets have in common: each gives the bytes of a file to the reader that the command line uses, and goes on with
//! what was read as far as a command would, within a bounded size.
//!
//! A reader may refuse a file with an error. A panic, an abort, a file that takes more than 20 seconds, and more memory than
//! `run.sh` allows are bugs.

pub mod images;
pub mod method;
pub mod mutate;
pub mod networks;
mod place;
pub mod runs;
pub mod seeds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once};

/// Bytes, how many of them are in use, how many there may be, a seed; how many are in use afterwards.
type Mutate = fn(&mut [u8], usize, usize, u32) -> usize;

/// A reader and what changes its files.
pub struct Target {
    /// As on the command line.
    pub name: &'static str,
    /// Reads a file of these bytes.
    pub read: fn(&[u8]),
    /// Changes a file.
    pub mutate: Mutate,
}

const fn target(name: &'static str, read: fn(&[u8]), mutate: Mutate) -> Target {
    Target { name, read, mutate }
}

/// All targets.
pub const TARGETS: [Target; 18] = [
    target("picture", images::picture, mutate::bytes),
    target("tiff", images::tiff, mutate::bytes),
    target("nifti", images::nifti, mutate::bytes),
    target("dicom", images::dicom, mutate::bytes),
    target("segments", images::segments, mutate::bytes),
    target("zarr", images::zarr, mutate::bytes),
    target("npy", images::npy, mutate::bytes),
    target("mask", images::mask, mutate::bytes),
    target("dataset", images::dataset, mutate::json),
    target("network", networks::network, mutate::json),
    target("onnx", networks::onnx, mutate::protobuf),
    target("plan", method::plan, mutate::json),
    target("records", method::records, mutate::json),
    target("profile", method::profile, mutate::json),
    target("mapping", method::mapping, mutate::json),
    target("checkpoint", runs::checkpoint, mutate::safetensors),
    target("run", runs::run, mutate::json),
    target("weights", runs::weights, mutate::safetensors),
];

/// What one file may decode to: small, so that memory that does not follow the limit is seen.
const DECODED_BYTES: usize = 8 << 20;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs a target. A panic that leaves it ends the process; one that a reader catches does so where it is of segfit's own code.
pub fn run(target: fn(&[u8]), bytes: &[u8]) {
    static READY: Once = Once::new();
    READY.call_once(|| {
        segfit::data::set_max_decoded_bytes(DECODED_BYTES);
        // libFuzzer's own hook would end the process at once.
        std::panic::set_hook(Box::new(|info| {
            if let Ok(mut last) = LAST_PANIC.lock() {
                *last = info.to_string();
                if std::env::var_os("RUST_BACKTRACE").is_some() {
                    *last += &format!("\n{}", std::backtrace::Backtrace::force_capture());
                }
            }
            let own = info.location().is_some_and(|l| l.file().contains("crates/segfit"));
            if own && segfit::data::is_decoding() {
                eprintln!("PANIC {info}");
                std::process::abort();
            }
        }));
    });
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        eprintln!("PANIC {}", LAST_PANIC.lock().map(|t| t.clone()).unwrap_or_default());
        std::process::abort();
    }
}
