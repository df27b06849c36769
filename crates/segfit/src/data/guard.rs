//! Decoders of other projects that panic on a damaged file: an error that names the file, not the end of the program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::read::decode_error;
use crate::error::Result;

thread_local! {
    static IS_DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would become an error of a file: a hook may be silent then.
#[must_use]
pub fn is_decoding() -> bool {
    IS_DECODING.get()
}

/// What `decode` makes of the file `path` of this format; where it panics, [`Error::Decode`](crate::Error::Decode). What it was changing must
/// not be used then: the file is refused.
pub(crate) fn guarded<T>(path: &Path, format: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let outer = IS_DECODING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    IS_DECODING.set(outer);
    // The message of the panic may quote values of the file, so it is not repeated.
    let reason = "its decoder gave up: the file is damaged, or of a kind that the decoder was not made for";
    result.unwrap_or_else(|_| Err(decode_error(path, format)(reason.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_of_the_file() {
        let panics = || -> Result<u8> {
            assert!(is_decoding());
            let empty: Vec<u8> = Vec::new();
            Ok(empty[std::hint::black_box(3)])
        };
        let file = Path::new("a.png");
        let error = guarded(file, "PNG", panics).unwrap_err().to_string();
        assert!(error.starts_with("a.png: cannot be read as PNG: its decoder gave up"), "{error}");
        assert!(!is_decoding());
        assert_eq!(guarded(file, "PNG", || Ok(7)).unwrap(), 7);
        let inner = guarded(Path::new("series"), "DICOM", || guarded(file, "DICOM", panics)).unwrap_err().to_string();
        assert!(inner.starts_with("a.png"), "the inner one names the file: {inner}");
    }
}
