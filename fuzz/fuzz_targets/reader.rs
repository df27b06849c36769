//! One program for all targets, which the variable TARGET chooses: linking takes longer than compiling. With SEEDS it writes the seeds
//! into the folder of that name; run it with `-runs=0` then.
#![no_main]

use segfit_fuzz::{TARGETS, Target};
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    let found = TARGETS.iter().find(|t| t.name == name);
    found.unwrap_or_else(|| panic!("TARGET is `{name}`, expected one of {}", names.join(", ")))
});

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(to) = std::env::var_os("SEEDS") {
            segfit_fuzz::seeds::write(std::path::Path::new(&to)).expect("seeds are written");
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| segfit_fuzz::run(TARGET.read, bytes)
);

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    (TARGET.mutate)(data, size, most, seed)
});
