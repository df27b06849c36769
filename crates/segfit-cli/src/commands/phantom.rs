//! `segfit phantom`: synthetic images and masks.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use rayon::prelude::*;
use segfit::Error;
use segfit::data::{
    LabelCoding, LabelEntry, LabelKind, LabelMap, PHANTOM_FILE, PHANTOM_FORMAT, Sample, write_image_png, write_mask,
};
use segfit::files::{write_atomically, write_json};
use segfit::phantom::{Knobs, PhantomKind, PhantomOptions, SceneOptions, make, scene};

use crate::context::Global;
use crate::new_folder::{io, new_folder};

#[derive(Debug, clap::Args)]
#[command(after_help = "Writes OUT/images, OUT/masks (0 and 255), OUT/split.csv (every fifth image tests)\n\
    and OUT/PHANTOM.json (the options; data sets with it are known to be synthetic).\n\
    Equal options and seeds give equal files.\n\n\
    A scene has a knob for each thing that makes an image complex; turning one\n\
    leaves the others as they are. Unless told otherwise: --noise 0.02\n\
    --objects 16 --roughness 0.1 --contrast 0.4 --scale 1 --size 256.\n\n\
    Examples:\n  \
    segfit phantom nuclei --out data\n  \
    segfit phantom vessels --out hard --complexity 0.9 --noise 0.1 --seed 7\n  \
    segfit phantom scene --out waves --roughness 0.3 --objects 12")]
pub struct Args {
    /// What the images show
    #[arg(value_name = "KIND", value_parser = kind_parser())]
    kind: Kind,
    /// The folder to write; it must not exist or be empty
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Images
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=100_000))]
    count: u32,
    /// Rows and columns of an image, in pixels [default: 128; 256 for a scene]
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Channels of an image: 1 (gray) or 3 (RGB) [default: 1 for nuclei, discs and a scene, 3 otherwise]
    #[arg(long, value_name = "N", value_parser = PossibleValuesParser::new(["1", "3"]).map(|s| usize::from(s != "1") * 2 + 1))]
    channels: Option<usize>,
    /// 0: few, large, clear objects; 1: many, small, faint, rough objects in clutter and noise [default: 0.5]; not for a
    /// scene
    #[arg(long, value_name = "0..1")]
    complexity: Option<f32>,
    /// Deviation of the pixel noise, 1 is the whole range of gray values [default: by complexity]
    #[arg(long, value_name = "0..1")]
    noise: Option<f32>,
    /// Mean number of objects per image [default: by complexity]; of a scene, their exact number at scale 1, 0 to 64
    #[arg(long, value_name = "N")]
    objects: Option<usize>,
    /// Contrast of the objects with their ground, 0 is invisible [default: by complexity]
    #[arg(long, value_name = "0..1")]
    contrast: Option<f32>,
    /// How rough the outlines are, 0 is smooth [default: by complexity]; of a scene 0 to 0.5
    #[arg(long, value_name = "0..1")]
    roughness: Option<f32>,
    /// Magnification of a scene, 1/8 to 8
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f32>,
}

/// What `segfit phantom` makes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Phantom(PhantomKind),
    Scene,
}

/// Name of [`Kind::Scene`].
const SCENE: &str = "scene";

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Phantom(kind) => kind.name(),
            Self::Scene => SCENE,
        }
    }
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(PhantomKind::ALL.map(PhantomKind::name).into_iter().chain([SCENE]))
        .try_map(|name| if name == SCENE { Ok(Kind::Scene) } else { name.parse::<PhantomKind>().map(Kind::Phantom) })
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    let (options, size, channels) = match args.kind {
        Kind::Phantom(kind) => {
            let options = phantom_options(args, kind, global.seed)?;
            write_set(&options, &args.out)?;
            (serde_json::to_value(&options)?, options.size, options.channels)
        }
        Kind::Scene => {
            let options = scene_options(args, global.seed)?;
            options.check()?;
            let made = serde_json::to_value(options)?;
            write_samples(options.count, &|i| scene(&options, i), made.clone(), &args.out)?;
            (made, options.size, 1)
        }
    };
    let report = serde_json::json!({ "out": args.out, "images": args.count, "options": options });
    let text = format!(
        "{}: {} images of {}, {size} x {size} pixels, {channels} channel(s), with masks and split.csv",
        args.out.display(),
        args.count,
        args.kind.name(),
    );
    global.print(&report, &text)
}

fn phantom_options(args: &Args, kind: PhantomKind, seed: u64) -> Result<PhantomOptions> {
    let default = PhantomOptions::new(kind);
    if let Some(scale) = args.scale {
        return Err(refused("--scale", "a scene (segfit phantom scene)", &format!("{scale} for {}", kind.name())));
    }
    Ok(PhantomOptions {
        count: args.count as usize,
        size: args.size.unwrap_or(default.size),
        channels: args.channels.unwrap_or(default.channels),
        complexity: args.complexity.unwrap_or(default.complexity),
        noise: args.noise,
        objects: args.objects,
        contrast: args.contrast,
        boundary_roughness: args.roughness,
        seed,
        ..default
    })
}

fn scene_options(args: &Args, seed: u64) -> Result<SceneOptions> {
    if let Some(complexity) = args.complexity {
        let expected = "another kind; of a scene turn --noise, --objects, --roughness, --contrast or --scale";
        return Err(refused("--complexity", expected, &format!("{complexity} for {SCENE}")));
    }
    if let Some(channels) = args.channels.filter(|&c| c != 1) {
        return Err(refused("--channels", "1 for a scene, which is gray", &channels.to_string()));
    }
    let neutral = Knobs::NEUTRAL;
    let knobs = Knobs {
        noise: args.noise.unwrap_or(neutral.noise),
        objects: args.objects.unwrap_or(neutral.objects),
        roughness: args.roughness.unwrap_or(neutral.roughness),
        contrast: args.contrast.unwrap_or(neutral.contrast),
        scale: args.scale.unwrap_or(neutral.scale),
    };
    let default = SceneOptions::new(knobs);
    Ok(SceneOptions { count: args.count as usize, size: args.size.unwrap_or(default.size), seed, ..default })
}

fn refused(what: &str, expected: &str, got: &str) -> anyhow::Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.into() }.into()
}

/// Makes a sample by its index.
type Maker<'a> = dyn Fn(usize) -> Sample + Sync + 'a;

/// Writes a set into `out`, which appears when it is complete.
///
/// # Errors
/// When an option is out of range, `out` holds something, or it cannot be written.
pub fn write_set(options: &PhantomOptions, out: &Path) -> Result<()> {
    options.check()?;
    write_samples(options.count, &|i| make(options, i), serde_json::to_value(options)?, out)
}

/// Writes `count` samples into `out`, which appears when it is complete; `made` says how they were drawn.
fn write_samples(count: usize, sample: &Maker<'_>, made: serde_json::Value, out: &Path) -> Result<()> {
    new_folder(out, |folder| fill(count, sample, made, folder))
}

fn fill(count: usize, sample: &Maker<'_>, made: serde_json::Value, folder: &Path) -> segfit::Result<()> {
    let (images, masks) = (folder.join("images"), folder.join("masks"));
    for new in [&images, &masks] {
        std::fs::create_dir(new).map_err(io(new))?;
    }
    let entry = |value, class| LabelEntry { value, class, name: None };
    let map =
        LabelMap { kind: LabelKind::Binary, coding: LabelCoding::Value, entries: vec![entry(0, 0), entry(255, 1)] };
    let one = |index: usize| {
        let sample = sample(index);
        let file = format!("{}.png", sample.name);
        write_image_png(&images.join(&file), &sample.image)?;
        write_mask(&masks.join(&file), &sample.mask, &map)?;
        let split = if index % 5 == 4 { "test" } else { "train" };
        Ok(format!("{file},{split},{}\n", sample.name))
    };
    let rows: Vec<segfit::Result<String>> = (0..count).into_par_iter().map(one).collect();
    let rows = rows.into_iter().collect::<segfit::Result<Vec<String>>>()?;
    let version = env!("CARGO_PKG_VERSION");
    let origin = serde_json::json!({"format": PHANTOM_FORMAT, "version": version, "options": made});
    write_json(&folder.join(PHANTOM_FILE), &origin)?;
    write_atomically(&folder.join("split.csv"), format!("file,split,source\n{}", rows.concat()).as_bytes())
}
