//! A bad input, and what must hold when a command meets it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::start::{Start, segfit};
use crate::support::stderr;
use crate::words::whole;

/// A command ends within this.
const LONGEST: Duration = Duration::from_secs(10);
/// Address space of a command, in KiB: what a file claims must not be believed.
const MEMORY_KIB: usize = 4 << 20;

/// One bad input.
pub struct Case {
    /// What is bad, in words.
    pub name: &'static str,
    /// Makes the files, in a copy of [`Start`].
    pub make: Box<dyn Fn(&Path) + Send + Sync>,
    /// What is run in that folder; all of them end alike.
    pub commands: Vec<String>,
    /// The message and its hint. `*` stands for any text, `FILE` for [`Case::file`], a word in braces for what `words`
    /// says.
    pub says: &'static str,
    /// The exit code.
    pub code: i32,
    /// The image, mask or volume that other readers can be given, where it is one.
    pub file: Option<&'static str>,
}

impl Case {
    /// A case of one or more commands, parted by lines.
    pub fn new(
        name: &'static str,
        commands: &str,
        make: impl Fn(&Path) + Send + Sync + 'static,
        says: &'static str,
    ) -> Self {
        let commands = commands.lines().map(|c| c.trim().to_string()).collect();
        Self { name, make: Box::new(make), commands, says, code: 2, file: None }
    }

    /// The same case, of a file that other programs read, too.
    pub fn of(self, file: &'static str) -> Self {
        Self { file: Some(file), ..self }
    }

    /// Runs the commands and says what does not hold.
    pub fn check(&self, start: &Start) -> Result<(), String> {
        let lab = start.copy();
        (self.make)(lab.path());
        let before = listing(lab.path());
        for command in &self.commands {
            let began = Instant::now();
            let output = run(lab.path(), command);
            let message = stderr(&output);
            let told = |why: &str| Err(format!("$ segfit {command}\n{message}{why}"));
            if began.elapsed() > LONGEST {
                return told(&format!("took {:.1} s", began.elapsed().as_secs_f64()));
            }
            if output.status.code() != Some(self.code) || message.contains("panicked") || !output.stdout.is_empty() {
                return told(&format!("{}, expected code {} and no output", output.status, self.code));
            }
            let says = whole(self.says, self.file);
            if !agrees(error_of(&message), &says) {
                return told(&format!("expected:\n{says}"));
            }
            let after = listing(lab.path());
            if after != before {
                let new: Vec<&PathBuf> = after.keys().filter(|path| after.get(*path) != before.get(*path)).collect();
                return told(&format!("it left behind or changed {new:?}"));
            }
        }
        Ok(())
    }
}

/// Runs the program in a folder, with a limit to its memory.
pub fn run(folder: &Path, command: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"")]).arg(segfit());
    shell.args(command.split_whitespace()).current_dir(folder).env("XDG_CACHE_HOME", folder.join(".cache"));
    shell.output().expect("a shell runs the program")
}

/// What the program says of the error: remarks may come before.
fn error_of(message: &str) -> &str {
    let at = message.starts_with("error: ").then_some(0).or_else(|| message.find("\nerror: ").map(|at| at + 1));
    at.map_or("", |at| message[at + "error: ".len()..].trim_end())
}

/// Whether a text is that of a pattern, in which `*` stands for any text.
fn agrees(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The paths below a folder with their sizes; links are not followed, and the cache does not count.
fn listing(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the folder can be listed").path();
        if path.ends_with(".cache") {
            continue;
        }
        let about = path.symlink_metadata().expect("what is listed is there");
        if about.is_dir() {
            found.extend(listing(&path));
        }
        found.insert(path, if about.is_dir() { 0 } else { about.len() });
    }
    found
}
