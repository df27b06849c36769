//! Ctrl-C: the first one asks for a clean stop, the second one ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Starts to listen.
///
/// # Errors
/// When the system refuses a handler.
pub fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Whether the user asked for a stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
