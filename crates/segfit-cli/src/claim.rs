//! One process at a time for every job and every run: a locked file that the system unlocks when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::new_folder::io;

/// Tries, since `status` holds the lock for a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(40);

/// The right to work on a job, until it is dropped.
pub struct Claim {
    _file: File,
    path: PathBuf,
}

impl Claim {
    /// The claim to `job` of a calibration, `None` while another process has it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn of(out: &Path, job: &str) -> Result<Option<Self>> {
        Self::on(lock_path(out, job))
    }

    /// The claim to a run's folder.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be made.
    pub fn of_run(folder: &Path) -> Result<Self> {
        let claim = Self::on(folder.join(".lock"))?;
        claim.ok_or_else(|| {
            let expected = "a run that no other process works on".into();
            let got = "another `segfit train` that is at work on it".into();
            let hint = "wait until it ends, or train into another folder with --out".into();
            segfit::Error::Content { path: folder.into(), expected, got, hint }.into()
        })
    }

    fn on(path: PathBuf) -> Result<Option<Self>> {
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(io(&path))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file, path })),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
        Ok(None)
    }

    /// Removes the file when the job will not be claimed again. Who opened it before finds the job done.
    pub fn done(self) {
        // A file that stays does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether a process works on `job` now.
pub fn is_claimed(out: &Path, job: &str) -> bool {
    File::open(lock_path(out, job)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Where the claim to `job` is kept.
pub fn lock_path(out: &Path, job: &str) -> PathBuf {
    out.join("locks").join(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_claimed_once_and_again_when_the_first_has_gone() {
        let out = tempfile::tempdir().unwrap();
        std::fs::create_dir(out.path().join("locks")).unwrap();
        assert!(!is_claimed(out.path(), "j"));
        let first = Claim::of(out.path(), "j").unwrap().unwrap();
        assert!(is_claimed(out.path(), "j") && Claim::of(out.path(), "j").unwrap().is_none());
        assert!(Claim::of(out.path(), "k").unwrap().is_some());
        drop(first);
        assert!(!is_claimed(out.path(), "j"));
        Claim::of(out.path(), "j").unwrap().unwrap().done();
        assert!(!lock_path(out.path(), "j").exists());
    }
}
