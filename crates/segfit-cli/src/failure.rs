//! Errors as a user sees them: a message, a hint, an exit code.

use std::io::Write as _;
use std::process::ExitCode;

/// The user asked for a stop and everything was saved.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything is saved. Run the same command again to go on")]
pub struct Interrupted;

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
fn message(error: &anyhow::Error) -> String {
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

/// A reader such as `head` that has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        let io = e.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = e.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}
