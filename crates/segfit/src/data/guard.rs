//! Decoders of other projects that panic on a damaged file: an error that names the file, not the end of the program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would become an error of a file: a hook may be silent then.
#[must_use]
pub fn is_decoding() -> bool {
    IS_DECODING.get()
}

/// What `decode` returns, or `gave_up` with a reason when it panics. What it holds is dropped then, so that nothing half-changed is seen.
pub(crate) fn guarded<T, E>(decode: impl FnOnce() -> Result<T, E>, gave_up: impl FnOnce(String) -> E) -> Result<T, E> {
    let outer = IS_DECODING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    IS_DECODING.set(outer);
    // The message of the panic may quote values of the file, so it is not repeated.
    result.unwrap_or_else(|_| {
        Err(gave_up("its decoder gave up; the file is damaged, or of a kind it was not made for".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_of_the_file() {
        let panics = || -> Result<u8, String> {
            assert!(is_decoding());
            let empty: Vec<u8> = Vec::new();
            Ok(empty[std::hint::black_box(3)])
        };
        let error = guarded(panics, |reason| format!("a.png: {reason}")).unwrap_err();
        assert!(error.starts_with("a.png: its decoder gave up"), "{error}");
        assert!(!is_decoding());
        assert_eq!(guarded(|| Ok::<_, String>(7), |reason| reason), Ok(7));
        let inner = || guarded(|| guarded(panics, |r| r), |r| format!("outer {r}"));
        assert!(inner().unwrap_err().starts_with("its decoder"), "the inner one names the file");
    }
}
