//! Files that are complete or absent: everything is written beside its place and then renamed.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Writes `bytes` to `path` so that a reader sees the old file or the new one, never a part.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be written or the disk is full; the old file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically_with(path, |out| out.write_all(bytes))
}

/// As [`write_atomically`], for a file that is written piece by piece because it would fill the memory as a whole.
///
/// # Errors
/// As there; also what `write` returns, as [`Error::Io`].
pub fn write_atomically_with(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut file = temporary_beside(path)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out).and_then(|()| out.flush()).map_err(Error::io(path))?;
    drop(out);
    file.as_file().sync_all().map_err(Error::io(path))?;
    put_in_place(file, path)
}

/// As [`write_atomically`], but without waiting for the disk: after a loss of power the file may be empty or damaged.
/// For entries of a cache, which are checked when they are read.
///
/// # Errors
/// As there.
pub(crate) fn write_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).map_err(Error::io(path))?;
    put_in_place(file, path)
}

fn temporary_beside(path: &Path) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    // Where the folder is the fault, the system's reason alone: the name of the temporary file says nothing to a user.
    let reason = |error| Error::io(path)(std::fs::read_dir(folder).err().unwrap_or(error));
    tempfile::Builder::new().prefix(".segfit-").suffix(".tmp").tempfile_in(folder).map_err(reason)
}

fn put_in_place(file: NamedTempFile, path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let readable = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(Error::io(path))?;
    }
    file.persist(path).map_err(|e| Error::Io { path: path.into(), source: e.error })?;
    Ok(())
}

/// Writes a value as indented JSON with a final newline, atomically.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::Json {
        path: path.into(),
        expected: "a value that JSON can hold".into(),
        reason: e.to_string(),
    })?;
    text.push(b'\n');
    write_atomically(path, &text)
}

/// A value as a reader of its file gets it: 32-bit floats have the digits that are written, not those of the nearest 64-bit one.
///
/// # Panics
/// When the value cannot be written as JSON.
pub(crate) fn as_read<T: Serialize>(value: &T) -> serde_json::Value {
    let text = serde_json::to_string(value).expect("plain data is JSON");
    serde_json::from_str(&text).expect("what was written can be read")
}

/// Reads a JSON file whose `format` field must be `format`, for example `segfit-plan/1`.
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::Json`] when it is malformed or of another format.
pub fn read_json<T: DeserializeOwned>(path: &Path, format: &str) -> Result<T> {
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let bad = |reason: String| Error::Json { path: path.into(), expected: format.into(), reason };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    match value.get("format").and_then(|f| f.as_str()) {
        Some(found) if found == format => {}
        Some(found) => return Err(bad(format!("its format is {found}"))),
        None => return Err(bad("it has no \"format\" field".into())),
    }
    serde_json::from_value(value).map_err(|e| bad(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_keep_their_digits() {
        assert_eq!(as_read(&[1e-5_f32])[0].as_f64(), Some(1e-5));
        assert_ne!(serde_json::to_value([1e-5_f32]).unwrap()[0].as_f64(), Some(1e-5), "what it is for");
    }

    #[test]
    fn a_json_file_comes_back_and_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_json(&path, &serde_json::json!({"format": "segfit-x/1", "v": 3})).unwrap();
        let back: serde_json::Value = read_json(&path, "segfit-x/1").unwrap();
        assert_eq!(back["v"], 3);
        let error = read_json::<serde_json::Value>(&path, "segfit-y/1").unwrap_err();
        assert!(error.to_string().contains("segfit-x/1"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn writing_into_a_missing_folder_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/a.json");
        assert!(matches!(write_atomically(&path, b"x"), Err(Error::Io { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_whose_writing_fails_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        write_atomically_with(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomically_with(&path, |out| {
            out.write_all(b"new")?;
            Err(std::io::Error::other("no more"))
        });
        assert!(matches!(failed, Err(Error::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write_unsynced(&path, b"quick").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"quick");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
