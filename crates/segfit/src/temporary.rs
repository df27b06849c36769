//! Temporary files and folders beside the place where they will be renamed to.
//!
//! A process that is killed cannot remove its own. So each one is locked while it is in use, which the system ends with the
//! process, however it ends, and whoever next makes one in the same folder removes those that nobody has locked. Where a file
//! system knows no locks nothing is removed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::{Builder, NamedTempFile, TempDir};

const PREFIX: &str = ".segfit-";
const SUFFIX: &str = ".tmp";

/// Random letters and digits behind the prefix.
const RANDOM: usize = 6;

/// Folders that this process has tidied: once is enough, and a folder may hold very many files.
static TIDIED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A new file in `folder`, which is removed when it is dropped without having been renamed.
///
/// # Errors
/// When the folder cannot be written.
pub fn temporary_file(folder: &Path) -> Result<NamedTempFile> {
    tidy_once(folder);
    loop {
        // Made here, so that an error does not tell a name that nobody knows.
        let make = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
        let file = Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder, make)?;
        if is_kept(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
}

/// A folder that is removed when it is dropped, and its lock where folders can be locked.
pub struct TemporaryFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// A new folder in `parent`.
    ///
    /// # Errors
    /// When `parent` cannot be written.
    pub fn new_in(parent: &Path) -> Result<Self> {
        tidy_once(parent);
        loop {
            let folder = Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).tempdir_in(parent)?;
            let lock = File::open(folder.path()).ok();
            if lock.as_ref().is_none_or(|file| is_kept(file, folder.path())) {
                return Ok(Self { folder, _lock: lock });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it a lasting name.
    ///
    /// # Errors
    /// When the system refuses; then it is removed.
    pub fn persist(self, path: &Path) -> Result<()> {
        std::fs::rename(self.folder.path(), path)?;
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Locks what was just made. False when another process took it for a leftover in the moment before and removed it.
fn is_kept(file: &File, path: &Path) -> bool {
    file.lock().is_err() || path.symlink_metadata().is_ok()
}

fn tidy_once(folder: &Path) {
    let is_new = TIDIED.lock().is_ok_and(|mut tidied| tidied.insert(folder.to_path_buf()));
    if is_new {
        tidy(folder);
    }
}

/// Removes what killed processes left. What cannot be read, locked or removed stays: it does no harm.
fn tidy(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let leftovers = entries.flatten().filter(|e| e.file_name().to_str().is_some_and(is_temporary));
    for path in leftovers.map(|entry| entry.path()) {
        let Ok(kind) = path.symlink_metadata() else { continue };
        // A folder is locked through a handle that reads; a network's file system locks files through one that writes.
        let Ok(file) = File::options().read(true).write(!kind.is_dir()).open(&path) else { continue };
        if file.try_lock().is_ok() {
            let _ = if kind.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        }
    }
}

fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for other in [".segfit-notes.tmp", ".segfit-abc.tmp", "segfit-abcdef.tmp", ".segfit-ab/def.tmp"] {
            std::fs::create_dir_all(dir.path().join(other).parent().unwrap()).unwrap();
            std::fs::write(dir.path().join(other), "of the user").unwrap();
        }
        let of_others = names(dir.path());
        std::fs::write(dir.path().join(".segfit-abcdef.tmp"), "half").unwrap();
        std::fs::create_dir(dir.path().join(".segfit-Abcde1.tmp")).unwrap();
        std::fs::write(dir.path().join(".segfit-Abcde1.tmp/a.png"), "half").unwrap();
        let (file, folder) = (temporary_file(dir.path()).unwrap(), TemporaryFolder::new_in(dir.path()).unwrap());
        assert_eq!(names(dir.path()).len(), of_others.len() + 2, "{:?}", names(dir.path()));
        tidy(dir.path());
        assert!(file.path().exists() && folder.path().exists(), "locked, so in use");
        folder.persist(&dir.path().join("z")).unwrap();
        drop(file);
        assert_eq!(names(dir.path()), [&of_others[..], &["z".into()]].concat());
    }
}
