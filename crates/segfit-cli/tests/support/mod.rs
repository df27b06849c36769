//! What the tests of the command line share: a small data set, ways to spoil it, and what an error must look like.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use image::{GrayImage, Luma, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// The program.
pub fn segfit() -> Command {
    Command::cargo_bin("segfit").expect("the program is built with the tests")
}

/// A temporary folder with a phantom data set in `data`.
pub struct Lab {
    folder: TempDir,
    /// Where programs keep what can be made again, apart from the user's own.
    cache: TempDir,
}

impl Lab {
    /// Ten images of 32 x 32 pixels.
    pub fn new() -> Self {
        let lab = Self::empty();
        let data = lab.path("data");
        segfit().args(["phantom", "nuclei", "--count", "10", "--size", "32", "--out"]).arg(data).assert().success();
        lab
    }

    /// An empty folder.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() }
    }

    /// A path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The image `index` of the set.
    pub fn image(&self, index: usize) -> PathBuf {
        self.path(&format!("data/images/nuclei-{index:04}.png"))
    }

    /// Its mask.
    pub fn mask(&self, index: usize) -> PathBuf {
        self.path(&format!("data/masks/nuclei-{index:04}.png"))
    }

    /// The system's folder for caches, as the program sees it.
    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// Runs the program in the folder.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut program = segfit();
        program.current_dir(self.folder.path()).env("XDG_CACHE_HOME", self.cache()).args(arguments);
        program.output().unwrap()
    }

    /// The JSON that a successful run prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("one JSON value on standard output")
    }

    /// Plans on the spoiled set and checks that it is refused with exit code 2, that the message has all of `parts`, and
    /// that nothing was written.
    pub fn refuses_the_data(&self, parts: &[&str]) {
        let before = names(self.folder.path());
        let output = self.run(&["plan", "data", "--keep", "95%", "--size", "32", "--out", "plan"]);
        refused(&output, parts);
        assert_eq!(names(self.folder.path()), before, "nothing is written");
    }
}

/// Checks for exit code 2, an `error:` line, all of `parts`, no panic and no output.
pub fn refused(output: &Output, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.lines().any(|l| l.starts_with("error: ")), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in:\n{message}");
    }
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sorted names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes a gray image.
pub fn write_gray(path: &Path, width: u32, height: u32, value: u8) {
    GrayImage::from_pixel(width, height, Luma([value])).save(path).unwrap();
}

/// Writes a gray image as RGB.
pub fn write_rgb(path: &Path, width: u32, height: u32) {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7])).save(path).unwrap();
}

/// Whether the tests run as the user whom permissions do not stop.
pub fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output();
    output.is_ok_and(|o| o.stdout == b"0\n")
}

/// Says on standard error that a test was skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// A small file system in memory, unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts `kib` KiB at `folder`; `None` where that is not allowed.
    pub fn mount(folder: &Path, kib: usize) -> Option<Self> {
        std::fs::create_dir(folder).unwrap();
        let size = format!("size={kib}k");
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder)
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|s| s.success()).then(|| Self { folder: folder.into() })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.folder).status();
    }
}
