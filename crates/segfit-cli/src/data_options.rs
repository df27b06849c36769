//! Options that name a data set, and how its samples are prepared.

use std::path::{Path, PathBuf};

use anyhow::Result;
use segfit::data::{Axis, Dataset, Options, Sample, Split, prepare};
use segfit::recipe::{InputMode, InputSpec};

use crate::context::Global;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Images and masks")]
pub struct DataOptions {
    /// Folder of the data set: images/ and masks/ with files of equal names, or nnU-Net's layout
    #[arg(value_name = "DATA", required_unless_present = "images", help_heading = None::<&str>)]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub folders: FolderOptions,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Images and masks")]
pub struct FolderOptions {
    /// Folder of the images, where the layout does not say
    #[arg(long, value_name = "FOLDER")]
    pub images: Option<PathBuf>,
    /// Folder of the masks, where the layout does not say
    #[arg(long, value_name = "FOLDER")]
    pub masks: Option<PathBuf>,
    /// The masks number the objects (1, 2, 3, ...): take all of them as one class
    #[arg(long)]
    pub instances: bool,
    #[command(flatten)]
    pub slices: SliceOptions,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Images and masks")]
pub struct SliceOptions {
    /// The axis that the slices of volumes follow; else each volume's own: that along which neighbours are farthest apart
    #[arg(long, value_name = "x|y|z", value_parser = axis)]
    pub axis: Option<Axis>,
}

/// An axis by its name.
fn axis(text: &str) -> Result<Axis, String> {
    match text {
        "x" => Ok(Axis::X),
        "y" => Ok(Axis::Y),
        "z" => Ok(Axis::Z),
        _ => Err("expected x, y or z".into()),
    }
}

impl FolderOptions {
    /// What the method crate needs to open a data set in `data`.
    pub fn options(&self, data: Option<&Path>) -> Options {
        Options {
            images: self.images.clone(),
            masks: self.masks.clone(),
            instances: self.instances,
            axis: self.slices.axis,
            ..Options::new(data.unwrap_or(Path::new("")))
        }
    }
}

impl DataOptions {
    /// What the method crate needs to open it.
    pub fn options(&self) -> Options {
        self.folders.options(self.data.as_deref())
    }

    /// The checked data set; its size, labels and warnings go to standard error.
    ///
    /// # Errors
    /// Anything that is missing, unreadable or contradictory, by file.
    pub fn open(&self, global: &Global) -> Result<Dataset> {
        let dataset = Dataset::open(&self.options())?;
        announce(&dataset, global);
        Ok(dataset)
    }
}

/// Says on standard error what was found.
pub fn announce(dataset: &Dataset, global: &Global) {
    let count = |split| dataset.indices(split).len();
    global.note(&format!(
        "{}: {} images ({} train, {} validation, {} test), {} channel(s), {} classes",
        dataset.name,
        dataset.pairs.len(),
        count(Split::Train),
        count(Split::Validation),
        count(Split::Test),
        dataset.channels,
        dataset.classes
    ));
    global.note(&format!("labels: {}", dataset.label_map));
    for warning in &dataset.warnings {
        global.note(&format!("warning: {warning}"));
    }
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What the network sees")]
pub struct InputOptions {
    /// Rows and columns of the network's input, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 128, value_parser = size_in_range)]
    pub size: usize,
    /// Cut patches of this size out of the images, instead of resizing whole images to it
    #[arg(long)]
    pub patch: bool,
}

impl InputOptions {
    /// The network's input.
    pub fn spec(&self) -> InputSpec {
        let mode = if self.patch { InputMode::Patch } else { InputMode::Resize };
        InputSpec { mode, size: self.size }
    }
}

/// An input size that networks accept.
pub fn size_in_range(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (16..=4096).contains(&n) => Ok(n),
        _ => Err("expected a whole number from 16 to 4096".into()),
    }
}

/// A number of which none would be nothing.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number from 1".into())
}

/// The samples of one split as the network sees them: resized, or at native size for patches.
///
/// # Errors
/// When a file has changed since the data set was opened.
pub fn prepared(dataset: &Dataset, split: Split, input: &InputSpec) -> Result<Vec<Sample>> {
    Ok(prepare(&dataset.load(&dataset.indices(split))?, input))
}
