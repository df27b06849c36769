//! `segfit inspect`: what image files hold, and how they will be read.

use std::path::PathBuf;

use anyhow::{Result, bail};
use segfit::data::{Inspection, inspect};
use segfit::files::write_atomically;
use segfit::npy;
use serde::Serialize;

use crate::context::Global;
use crate::data_options::SliceOptions;
use crate::image_files::image_files;

/// What image files hold, and how segfit will read them
///
/// All pixels are decoded. Fields that describe a patient, a person or a place are neither shown nor read.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  segfit inspect scan.nii.gz\n  segfit inspect images --json\n  segfit inspect series_folder --axis x"
)]
pub struct Args {
    /// Image files, folders of one DICOM series, or folders of image files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    slices: SliceOptions,
    /// Also write the numbers of one file, before they are scaled: f32, [slices][rows][columns][channels]
    #[arg(long, value_name = "OUT.npy")]
    dump: Option<PathBuf>,
}

/// A file that could not be read.
#[derive(Serialize)]
struct Refused {
    path: PathBuf,
    error: String,
    hint: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Read(Box<Inspection>),
    Refused(Refused),
}

/// Runs it.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let files = image_files(&args.files)?;
    if args.dump.is_some() && files.len() != 1 {
        bail!("--dump is for one file; {} are named", files.len());
    }
    let mut numbers: Vec<f32> = Vec::new();
    let mut all = Vec::new();
    for file in &files {
        let mut keep = |part: &[f32]| {
            if args.dump.is_some() {
                numbers.extend_from_slice(part);
            }
            Ok(())
        };
        match inspect(file, args.slices.axis, &mut keep) {
            Ok(found) => all.push(Found::Read(Box::new(found))),
            // Of several files the others are looked at all the same.
            Err(error) if files.len() > 1 => {
                let (hint, error) = (error.hint(), error.to_string());
                all.push(Found::Refused(Refused { path: file.clone(), error, hint }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let (Some(out), Some(Found::Read(one))) = (&args.dump, all.first()) {
        write_atomically(out, &npy::floats(&[one.slices, one.rows, one.columns, one.channels], &numbers))?;
    }
    let text: Vec<String> = all.iter().map(describe).collect();
    let refused = all.iter().filter(|f| matches!(f, Found::Refused(_))).count();
    global.print(&all, &text.join("\n"))?;
    if refused > 0 {
        bail!("{refused} of {} files cannot be read", files.len());
    }
    Ok(())
}

fn describe(found: &Found) -> String {
    let one = match found {
        Found::Read(one) => one,
        Found::Refused(refused) => return format!("{}\n", refused.error),
    };
    let mut lines = vec![("format", one.format.clone())];
    lines.extend(one.details.iter().map(|(k, v)| (k.as_str(), v.clone())));
    let depth = one.axis.map_or(String::new(), |axis| format!(", {} slices along {axis}", one.slices));
    lines.push(("size", format!("{} x {} pixels{depth}", one.columns, one.rows)));
    lines.push(("channels", one.channels.to_string()));
    if let Some([x, y, z]) = one.spacing_mm {
        lines.push(("spacing", format!("x {x} mm, y {y} mm, z {z} mm")));
    }
    let kind = if one.is_float { "floating point".into() } else { format!("{} bits", one.bits) };
    lines.push(("numbers", format!("{} to {}, {kind} in memory", one.least, one.greatest)));
    if one.non_finite > 0 {
        lines.push(("not finite", format!("{} numbers: as an image the file is refused", one.non_finite)));
    }
    lines.push(("as an image", one.values.clone()));
    if let Some(labels) = &one.labels {
        let shown: Vec<String> = labels.iter().take(12).map(|(label, n)| format!("{label} ({n})")).collect();
        let more = if labels.len() > 12 { ", ..." } else { "" };
        lines.push(("as a mask", format!("labels (pixels): {}{more}", shown.join(", "))));
    }
    lines.extend(one.notes.iter().map(|note| ("note", note.clone())));
    let lines: Vec<String> = lines.iter().map(|(k, v)| format!("  {k:<16} {v}")).collect();
    format!("{}\n{}\n", one.path.display(), lines.join("\n"))
}
