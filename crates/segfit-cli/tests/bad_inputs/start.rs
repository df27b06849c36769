//! The folder that every case begins with: a good data set, networks, a plan and a short training.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::stderr;

/// Commands that succeed in the folder before it is spoiled.
pub const GOOD_COMMANDS: &[&str] = &[
    "measure data --size 32",
    "network cost --network network.json",
    "report run",
    "report plan",
    "segment run data/images --out masks",
    "evaluate run data",
    "export run --onnx --out exported",
    "calibrate status manifest.json --out work",
];

/// What is made once.
const MADE_BY: &[&str] = &[
    "phantom nuclei --count 10 --size 32 --out data",
    "network narrow --channels 1 --width 2 --depth 2 --out network.json",
    "plan data --size 32 --max-params 20k --width 4 --depth 2 --out plan",
    "train network.json data --size 32 --steps 4 --out run",
    "calibrate plan data --widths 2 --depths 1 --size 32 --out manifest.json",
];

/// The program.
pub fn segfit() -> PathBuf {
    assert_cmd::cargo::cargo_bin("segfit")
}

/// The folder, to be copied.
pub struct Start {
    folder: TempDir,
}

impl Start {
    /// Makes it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for command in MADE_BY {
            let output = crate::case::run(folder.path(), command);
            assert!(output.status.success(), "{command}: {}", stderr(&output));
        }
        let _ = std::fs::remove_dir_all(folder.path().join(".cache"));
        Self { folder }
    }

    /// A copy to spoil.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder can be made");
        copy_folder(self.folder.path(), copy.path());
        copy
    }
}

/// Copies the files of a folder, and its folders.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a file can be copied");
        }
    }
}
