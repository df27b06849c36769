//! Bad inputs as laboratories meet them, each with the message that the program must end with.
//!
//! A case is a name, how its files are made, the commands that meet them, and the whole message. Nothing is stored:
//! `files` makes the files, `cases` lists them by kind, `case` says what must hold for each, `start` is the folder that
//! every case begins with, `words` holds texts that many messages share.
//!
//! `SEGFIT_BAD=words` runs the cases with these words in their name. `SEGFIT_KEEP_BAD=DIR` keeps the folders of the
//! cases that have an image, mask or volume, with a list of them in DIR/cases.json, for
//! `benchmarks/robustness/readers.py`.

mod case;
mod cases;
mod files;
mod keep;
mod start;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;
mod words;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use case::Case;
use start::Start;

/// What the corpus must have at least.
const LEAST: usize = 150;
/// Cases at a time: each is a short process.
const AT_A_TIME: usize = 4;

#[test]
fn every_bad_input_ends_in_its_message_and_leaves_nothing_behind() {
    let wanted = std::env::var("SEGFIT_BAD").unwrap_or_default();
    let cases: Vec<Case> = cases::all().into_iter().filter(|c| c.name.contains(&wanted)).collect();
    let start = Start::new();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failures = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let checked = catch_unwind(AssertUnwindSafe(|| case.check(&start)));
            let failed = checked.unwrap_or_else(|_| Err("its files cannot be made".into())).err();
            failures.extend(failed.map(|why| format!("--- {}\n{why}", case.name)));
        }
        failures
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a case that panics has failed")).collect()
    });
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn the_corpus_is_large_and_its_names_differ() {
    let cases = cases::all();
    let names: BTreeSet<&str> = cases.iter().map(|c| c.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    assert!(cases.len() >= LEAST, "{} cases", cases.len());
}

#[test]
fn what_the_cases_begin_with_is_good() {
    let start = Start::new();
    let lab = start.copy();
    for command in start::GOOD_COMMANDS {
        let output = case::run(lab.path(), command);
        assert!(output.status.success(), "{command}: {}", support::stderr(&output));
    }
}

#[test]
fn the_cases_with_image_files_are_kept_on_request() {
    match std::env::var_os("SEGFIT_KEEP_BAD") {
        Some(folder) => keep::keep(folder.as_ref(), &cases::all(), &Start::new()),
        None => support::skipped("keeping the bad inputs: SEGFIT_KEEP_BAD names no folder"),
    }
}
