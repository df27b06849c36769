//! A folder of many files that appears when it is complete.

use std::path::Path;

use anyhow::Result;
use segfit::Error;
use segfit::temporary::TemporaryFolder;

use crate::together::make_folder;

/// Lets `fill` write into a temporary folder beside `out`, which then takes the place of `out`.
///
/// # Errors
/// When `out` holds something, or what `fill` returns, with the path where the file would have been; then nothing has
/// changed.
pub fn new_folder<E: Into<anyhow::Error>>(
    out: &Path,
    fill: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> Result<()> {
    check_free(out)?;
    let parent = match out.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    make_folder(parent)?;
    let building = TemporaryFolder::new_in(parent).map_err(io(out))?;
    fill(building.path()).map_err(|e| match method_error(e.into()) {
        Ok(error) => at_its_place(error, building.path(), out).into(),
        Err(other) => other,
    })?;
    readable(building.path()).map_err(io(out))?;
    if out.is_dir() {
        std::fs::remove_dir(out).map_err(io(out))?;
    }
    Ok(building.persist(out).map_err(io(out))?)
}

/// An input or output error at `path`.
pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path, source }
}

fn check_free(out: &Path) -> Result<()> {
    let got = match std::fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => return Ok(()),
            Some(_) => "a folder with files in it",
        },
        Err(_) if out.symlink_metadata().is_ok() => "something that is not a folder",
        Err(_) => return Ok(()),
    };
    Err(Error::Content {
        path: out.into(),
        expected: "a new or empty folder".into(),
        got: got.into(),
        hint: "choose another --out, or remove that folder first; nothing was changed".into(),
    }
    .into())
}

/// The error of the method crate that it is, also as one of the engine's.
fn method_error(error: anyhow::Error) -> std::result::Result<Error, anyhow::Error> {
    error.downcast::<Error>().or_else(|error| match error.downcast::<segfit_engine::Error>()? {
        segfit_engine::Error::Method(error) => Ok(error),
        other => Err(other.into()),
    })
}

/// An error that names the file where it would have been.
fn at_its_place(error: Error, building: &Path, out: &Path) -> Error {
    match error {
        Error::Io { path, source } => {
            let path = path.strip_prefix(building).map_or_else(|_| path.clone(), |p| out.join(p));
            Error::Io { path, source }
        }
        other => other,
    }
}

/// Temporary folders are private; this one becomes an ordinary one.
fn readable(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
