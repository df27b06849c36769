//! Options that every command has, and how output is written.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "General")]
pub struct Global {
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Threads; 0 takes all cores. Results do not depend on it
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    pub threads: usize,
    /// Seed of everything random
    #[arg(long, global = true, default_value_t = 0)]
    pub seed: u64,
    /// Largest decoded size of one image file; a file that claims more is refused before it is decoded
    #[arg(long, global = true, value_name = "BYTES", default_value = "1GiB", value_parser = image_bytes)]
    pub max_image_bytes: usize,
    /// Say more on standard error
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

impl Global {
    /// Sets up the threads and the limit of image files.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn apply(&self) -> anyhow::Result<()> {
        segfit::data::set_max_decoded_bytes(self.max_image_bytes);
        rayon::ThreadPoolBuilder::new().num_threads(self.threads).build_global()?;
        Ok(())
    }

    /// Prints `value` as JSON with `--json`, else `text`.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn print(&self, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }

    /// Columns of the terminal on standard output; `None` when that is none, or JSON is wanted.
    #[must_use]
    pub fn columns(&self) -> Option<usize> {
        let is_shown = !self.json && std::io::stdout().is_terminal();
        is_shown.then(|| console::Term::stdout().size_checked().map_or(80, |(_, columns)| columns.into()))
    }

    /// Text for a person on standard output, between the steps of a longer command; nothing with `--json`.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say(&self, text: &str) -> anyhow::Result<()> {
        if !self.json {
            writeln!(std::io::stdout().lock(), "{text}")?;
        }
        Ok(())
    }

    /// A line on standard error; nobody may be reading it.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A line on standard error with `--verbose`.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// A progress bar on standard error; silent when that is not a terminal.
    #[must_use]
    pub fn bar(&self, length: usize, what: &str) -> ProgressBar {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {elapsed}<{eta} {msg}")
            .expect("a valid template");
        ProgressBar::with_draw_target(Some(length as u64), target).with_style(style).with_prefix(what.to_string())
    }
}

fn image_bytes(text: &str) -> segfit::Result<usize> {
    let bytes = segfit::plan::parse_bytes("--max-image-bytes", text)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}
