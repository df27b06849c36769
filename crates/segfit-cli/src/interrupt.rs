//! Ctrl-C: the first one asks for a clean stop, the second one ends the process. SIGTERM, with which clusters announce the
//! end, asks for a clean stop too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

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
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGTERM, ASKED.clone())?;
    Ok(())
}

/// Whether the user asked for a stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
