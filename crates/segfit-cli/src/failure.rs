//! Errors as a user sees them: a message, a hint, an exit code.

use std::io::Write as _;
use std::process::ExitCode;

/// The user asked for a stop and everything was saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything is saved. Run the same command again to go on")]
pub struct Interrupted;

/// A decoder that panics on a damaged file ends in an error that names the file; the panic itself says nothing to a user.
pub fn keep_quiet_about_decoders() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !segfit::data::is_decoding() {
            usual(panic);
        }
    }));
}

/// Prints an error and chooses the exit code: 0 done, 2 bad input, 3 no network meets the budgets, 130 interrupted.
pub fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if is_closed_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let mut err = std::io::stderr().lock();
    let mut code = 2;
    if error.is::<Interrupted>() {
        let _ = writeln!(err, "{error}");
        return ExitCode::from(130);
    }
    let _ = writeln!(err, "error: {}", message(&error));
    let method = error.chain().find_map(|e| e.downcast_ref::<segfit::Error>());
    let engine = error.chain().find_map(|e| e.downcast_ref::<segfit_engine::Error>());
    if let Some(hint) = method.and_then(segfit::Error::hint).or_else(|| engine.and_then(segfit_engine::Error::hint)) {
        let _ = writeln!(err, "hint: {hint}");
    }
    if matches!(method, Some(segfit::Error::Infeasible { .. })) {
        code = 3;
    }
    ExitCode::from(code)
}

/// The error and its causes, without causes that the line before already says.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether the disk is full or for reading only.
pub fn is_of_the_disk(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    kinds(error).any(|kind| matches!(kind, StorageFull | QuotaExceeded | ReadOnlyFilesystem))
}

/// A reader such as `head` that has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    kinds(error).any(|kind| kind == std::io::ErrorKind::BrokenPipe)
}

/// The system's errors among the causes.
fn kinds(error: &anyhow::Error) -> impl Iterator<Item = std::io::ErrorKind> {
    error.chain().filter_map(|e| {
        let io = e.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| e.downcast_ref::<serde_json::Error>()?.io_error_kind())
    })
}
