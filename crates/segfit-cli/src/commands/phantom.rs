//! `segfit phantom`: synthetic images and masks.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use rayon::prelude::*;
use segfit::Error;
use segfit::data::{LabelCoding, LabelEntry, LabelKind, LabelMap, write_image_png, write_mask};
use segfit::files::write_atomically;
use segfit::phantom::{PhantomKind, PhantomOptions, make};

use crate::context::Global;
use crate::together::make_folder;

#[derive(Debug, clap::Args)]
#[command(after_help = "Writes OUT/images, OUT/masks (0 and 255) and OUT/split.csv (every fifth image tests).\n\
    Equal options and seeds give equal files.\n\n\
    Examples:\n  \
    segfit phantom nuclei --out data\n  \
    segfit phantom vessels --out hard --complexity 0.9 --noise 0.1 --seed 7")]
pub struct Args {
    /// What the images show
    #[arg(value_name = "KIND", value_parser = kind_parser())]
    kind: PhantomKind,
    /// The folder to write; it must not exist or be empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Images
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=100_000))]
    count: u32,
    /// Rows and columns of an image, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 128)]
    size: usize,
    /// Channels of an image: 1 (gray) or 3 (RGB) [default: 1 for nuclei and discs, 3 otherwise]
    #[arg(long, value_name = "N", value_parser = PossibleValuesParser::new(["1", "3"]).map(|s| usize::from(s != "1") * 2 + 1))]
    channels: Option<usize>,
    /// 0: few, large, clear objects; 1: many, small, faint, rough objects in clutter and noise
    #[arg(long, value_name = "0..1", default_value_t = 0.5)]
    complexity: f32,
    /// Deviation of the pixel noise, 1 is the whole range of gray values [default: by complexity]
    #[arg(long, value_name = "0..1")]
    noise: Option<f32>,
    /// Mean number of objects per image [default: by complexity]
    #[arg(long, value_name = "N")]
    objects: Option<usize>,
    /// Contrast of the objects with their ground, 0 is invisible [default: by complexity]
    #[arg(long, value_name = "0..1")]
    contrast: Option<f32>,
    /// How rough the outlines are, 0 is smooth [default: by complexity]
    #[arg(long, value_name = "0..1")]
    roughness: Option<f32>,
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = PhantomKind> {
    PossibleValuesParser::new(PhantomKind::ALL.map(PhantomKind::name)).try_map(|name| name.parse::<PhantomKind>())
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    let default = PhantomOptions::new(args.kind);
    let options = PhantomOptions {
        count: args.count as usize,
        size: args.size,
        channels: args.channels.unwrap_or(default.channels),
        complexity: args.complexity,
        noise: args.noise,
        objects: args.objects,
        contrast: args.contrast,
        boundary_roughness: args.roughness,
        seed: global.seed,
        ..default
    };
    write_set(&options, &args.out)?;
    let report = serde_json::json!({ "out": args.out, "images": options.count, "options": options });
    let text = format!(
        "{}: {} images of {}, {size} x {size} pixels, {} channel(s), with masks and split.csv",
        args.out.display(),
        options.count,
        args.kind.name(),
        options.channels,
        size = options.size
    );
    global.print(&report, &text)
}

/// Writes a set into `out`, which appears when it is complete.
///
/// # Errors
/// When an option is out of range, `out` holds something, or it cannot be written.
pub fn write_set(options: &PhantomOptions, out: &Path) -> Result<()> {
    options.check()?;
    check_free(out)?;
    let parent = match out.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    make_folder(parent)?;
    let building = tempfile::Builder::new().prefix(".segfit-").tempdir_in(parent).map_err(io(out))?;
    fill(options, building.path()).map_err(|e| at_its_place(e, building.path(), out))?;
    readable(building.path()).map_err(io(out))?;
    if out.is_dir() {
        std::fs::remove_dir(out).map_err(io(out))?;
    }
    std::fs::rename(building.path(), out).map_err(io(out))?;
    let _ = building.keep();
    Ok(())
}

fn check_free(out: &Path) -> Result<()> {
    let got = match std::fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => return Ok(()),
            Some(_) => "a folder with files in it",
        },
        Err(_) if out.symlink_metadata().is_ok() => "something that is not a folder",
        Err(_) => return Ok(()),
    };
    Err(Error::Content {
        path: out.into(),
        expected: "a new or empty folder".into(),
        got: got.into(),
        hint: "choose another --out, or remove that folder first; nothing was changed".into(),
    }
    .into())
}

fn fill(options: &PhantomOptions, folder: &Path) -> segfit::Result<()> {
    let (images, masks) = (folder.join("images"), folder.join("masks"));
    for new in [&images, &masks] {
        std::fs::create_dir(new).map_err(io(new))?;
    }
    let entry = |value, class| LabelEntry { value, class, name: None };
    let map =
        LabelMap { kind: LabelKind::Binary, coding: LabelCoding::Value, entries: vec![entry(0, 0), entry(255, 1)] };
    let one = |index: usize| {
        let sample = make(options, index);
        let file = format!("{}.png", sample.name);
        write_image_png(&images.join(&file), &sample.image)?;
        write_mask(&masks.join(&file), &sample.mask, &map)?;
        let split = if index % 5 == 4 { "test" } else { "train" };
        Ok(format!("{file},{split},{}\n", sample.name))
    };
    let rows: Vec<segfit::Result<String>> = (0..options.count).into_par_iter().map(one).collect();
    let rows = rows.into_iter().collect::<segfit::Result<Vec<String>>>()?;
    write_atomically(&folder.join("split.csv"), format!("file,split,source\n{}", rows.concat()).as_bytes())
}

/// An error that names the file where it would have been.
fn at_its_place(error: Error, building: &Path, out: &Path) -> Error {
    match error {
        Error::Io { path, source } => {
            let path = path.strip_prefix(building).map_or_else(|_| path.clone(), |p| out.join(p));
            Error::Io { path, source }
        }
        other => other,
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { path, source }
}

/// Temporary folders are private; this one becomes an ordinary one.
fn readable(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
