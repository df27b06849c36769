//! Several files that appear together or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use segfit::temporary::temporary_file;
use segfit::{Error, Result};
use serde::Serialize;

/// A value as indented JSON with a final newline.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn json(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Makes a folder and those above it; nothing happens when it exists.
///
/// # Errors
/// When something above it is a file, or it cannot be written.
pub fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| match folder.ancestors().find(|p| p.symlink_metadata().is_ok()) {
        Some(file) if !file.is_dir() => Error::Path {
            path: folder.into(),
            expected: "a folder that can be made".into(),
            got: format!("{}, which is a file", file.display()),
        },
        _ => Error::Io { path: folder.into(), source },
    })
}

/// Writes all files into `folder`, which is made if needed. Everything is on the disk before the first file appears.
///
/// # Errors
/// When the folder cannot be made or written, or the disk is full; then nothing has changed.
pub fn write_together(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let existed = folder.exists();
    let written = write_all(folder, files);
    if written.is_err() && !existed {
        // Only if it is empty; the error to report is the first one.
        let _ = std::fs::remove_dir(folder);
    }
    written
}

fn write_all(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    make_folder(folder)?;
    let mut ready = Vec::new();
    for (path, bytes) in files {
        if path.is_dir() {
            let (expected, got) = ("a file to write".into(), "a folder".into());
            return Err(Error::Path { path: path.clone(), expected, got });
        }
        let mut file = temporary_file(folder).map_err(io(folder))?;
        file.write_all(bytes).map_err(io(path))?;
        file.as_file().sync_all().map_err(io(path))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let readable = std::fs::Permissions::from_mode(0o644);
            file.as_file().set_permissions(readable).map_err(io(path))?;
        }
        ready.push((file, path));
    }
    for (file, path) in ready {
        file.persist(path).map_err(|e| io(path)(e.error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_appear_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let files = |names: [&str; 2]| names.map(|n| (folder.join(n), b"x".to_vec()));
        write_together(&folder, &files(["a", "b"])).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::create_dir(folder.join("d")).unwrap();
        assert!(write_together(&folder, &files(["c", "d"])).is_err());
        assert!(!folder.join("c").exists(), "the first file does not appear when the second cannot");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3, "no temporary file is left");
    }

    #[test]
    fn a_folder_that_was_made_for_nothing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        assert!(write_together(&folder, &[(folder.join("missing/a"), vec![]), (folder.clone(), vec![])]).is_err());
        assert!(!folder.exists());
    }
}
