//! How much one file may decode to: a small file that claims more is refused before memory is taken.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest width and height that is decoded, in pixels, unless the limit of the decoded size is raised.
pub const MAX_SIDE: usize = 65_536;
/// Largest decoded size of one file, in bytes, unless it is changed by [`set_max_decoded_bytes`].
pub const MAX_DECODED_BYTES: usize = 1 << 30;

/// How a user raises the limit, for messages.
pub(crate) const HOW_TO_RAISE: &str = "raise the limit with --max-image-bytes if the file is yours";

static DECODED: AtomicUsize = AtomicUsize::new(MAX_DECODED_BYTES);

/// Largest decoded size of one file, in bytes.
#[must_use]
pub fn max_decoded_bytes() -> usize {
    DECODED.load(Ordering::Relaxed)
}

/// Changes the largest decoded size of one file for the whole process. The largest side follows a raised limit: 16384 bytes
/// of the limit for each pixel of a side, as of the default.
pub fn set_max_decoded_bytes(bytes: usize) {
    DECODED.store(bytes, Ordering::Relaxed);
}

/// Largest width and height, in pixels.
pub(crate) fn max_side() -> usize {
    MAX_SIDE.max(max_decoded_bytes() / (MAX_DECODED_BYTES / MAX_SIDE))
}

/// The limit as messages say it.
pub(crate) fn max_decoded_mib() -> String {
    let bytes = max_decoded_bytes();
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}
