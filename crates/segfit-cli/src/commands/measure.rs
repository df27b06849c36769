//! `segfit measure`: how complex a data set is.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use segfit::complexity::{
    ComplexityProfile, MEASURES, PROBE_DICE, ProfileContext, SCALES, name_at_scale, profile, tiles,
};
use segfit::data::{Dataset, Split, prepare};
use segfit::files::write_json;
use segfit::recipe::{InputMode, InputSpec};

use crate::context::Global;
use crate::data_options::{DataOptions, InputOptions};
use crate::table::Table;
use crate::units::three_digits;

/// Below this, means of the measures say little.
const FEW_IMAGES: usize = 10;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  \
        segfit measure DATA\n  \
        segfit measure DATA --out profile.json\n  \
        segfit measure --images scans --masks truth --size 256 --json",
    after_long_help = "What the measures mean:\n  \
        jpeg, jpeg_scan       bytes of the image as a JPEG file, per pixel; jpeg_scan\n                        \
                              without the file's header\n  \
        edge                  share of pixels on an edge\n  \
        entropy               how evenly the gray values are used, in bits\n  \
        si_mean, si_rms       spatial information: mean and root mean square of the\n                        \
                              Sobel gradient\n  \
        median_frequency,     how fine the texture is, from the power spectrum\n  \
        mean_frequency\n  \
        image_blob_density    share of the image in convex hulls of its bright or dark\n                        \
                              blobs, without looking at the masks\n  \
        png                   bytes of the image as a PNG file, per pixel: without any loss\n  \
        canny                 share of pixels on a Canny edge\n  \
        delentropy            entropy of the gradient, in bits\n  \
        spectral_slope        how fast the power falls with the frequency; 0 is noise\n  \
        glcm_contrast,        texture: how different neighbouring gray values are,\n  \
        glcm_homogeneity,     how alike, how uniform, and how well they predict each\n  \
        glcm_energy,          other\n  \
        glcm_correlation\n  \
        local_deviation       standard deviation of the gray values within 5 x 5 pixels\n  \
        fractal_dimension     of the Canny edges: 1 is a smooth line, 2 fills the image\n  \
        noise                 standard deviation of the noise, so that it is not taken\n                        \
                              for structure\n  \
        foreground            share of the mask that is not background\n  \
        objects               connected objects per image\n  \
        object_area           their median size, as a share of the image\n  \
        blob_density          share of the image in the objects' convex hulls\n  \
        boundary              share of pixels on an object's boundary\n  \
        thinness              share of the foreground in parts thinner than an opening\n  \
        survival              how much of the mask is left after going down to a\n                        \
                              coarser scale and up again (Dice)\n  \
        separability          Dice of the best gray-value threshold\n  \
        object_area_q10,      size of small and of large objects: quantiles of 10% and\n  \
        object_area_q90       90%\n  \
        perimetric            squared perimeter of the objects for their area; a disc\n                        \
                              has about 1.1\n  \
        solidity              share of its convex hull that an object fills\n  \
        class_balance         how evenly the pixels are shared among the classes\n  \
        fisher                distance of the mean gray values of foreground and\n                        \
                              background for their spread\n  \
        edge_agreement        whether the image's edges are the mask's boundaries\n                        \
                              (F-measure)\n  \
        probe_dice            Dice of a linear pixel classifier on images that it was\n                        \
                              not fitted to\n\n\
        A measure at scale 1/2 sees the image at half its size, and so on.\n\n\
        Examples:\n  \
        segfit measure DATA\n  \
        segfit measure DATA --out profile.json\n  \
        segfit measure --images scans --masks truth --size 256 --json"
)]
pub struct Args {
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    input: InputOptions,
    /// Which images to measure; test images are left out unless all are asked for
    #[arg(long, value_name = "SPLIT", default_value = "train", help_heading = "What is measured")]
    split: Measured,
    /// Write the profile to this file; without it nothing is written
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Keep the values of every image in the profile
    #[arg(long, help_heading = "Output")]
    per_image: bool,
}

/// The images that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measured {
    /// Training images
    Train,
    /// All images
    All,
}

pub fn run(args: &Args, global: &Global) -> Result<()> {
    let dataset = args.data.open(global)?;
    let profile = profile_of(&dataset, args.split, &args.input.spec(), args.per_image)?;
    if profile.images < FEW_IMAGES {
        global.note(&format!("warning: only {} image(s) measured: the means are uncertain", profile.images));
    }
    if let Some(path) = &args.out {
        write_json(path, &profile)?;
        global.note(&format!("written: {}", path.display()));
    }
    global.print(&profile, &describe(&profile))
}

/// The profile of a data set: of resized images, or of the tiles that cover them for patches.
///
/// # Errors
/// When a file has changed since the data set was opened, or there is nothing to measure.
pub fn profile_of(
    dataset: &Dataset,
    split: Measured,
    input: &InputSpec,
    keep_images: bool,
) -> Result<ComplexityProfile> {
    let indices = match split {
        Measured::Train => dataset.indices(Split::Train),
        Measured::All => (0..dataset.pairs.len()).collect(),
    };
    let mut samples = prepare(&dataset.load(&indices)?, input);
    if input.mode == InputMode::Patch {
        samples = samples.iter().flat_map(|s| tiles(s, input.size)).collect();
    }
    let context = ProfileContext {
        dataset: dataset.name.clone(),
        fingerprint: dataset.fingerprint.clone(),
        input: *input,
        split: if split == Measured::Train { "train" } else { "all" }.into(),
        seed: None,
        keep_images,
        sources: dataset.pairs.iter().map(|p| (p.name.clone(), p.source.clone())).collect(),
    };
    Ok(profile(&samples, &context)?)
}

/// The profile as two tables: summaries at full size, then means by scale.
pub fn describe(profile: &ComplexityProfile) -> String {
    let mut text = format!("{}: complexity of {} images\n\n", profile.dataset, profile.images);
    let mut table = Table::new(&["<measure", "mean", "dev.", "5%", "median", "95%", "<unit"]);
    let names = MEASURES.iter().map(|m| name_at_scale(m.name, m.first_scale)).chain([PROBE_DICE.to_string()]);
    for name in names {
        let Some(s) = profile.measures.get(&name) else { continue };
        let mut row = vec![name];
        row.extend([s.mean, s.deviation, s.q05, s.q50, s.q95].map(three_digits));
        row.push(s.unit.split(',').next().unwrap_or_default().to_string());
        table.row(row);
    }
    text.push_str(&format!("{table}\nMeans by scale\n\n{}", by_scale(profile)));
    text
}

fn by_scale(profile: &ComplexityProfile) -> Table {
    let names: Vec<String> =
        (0..SCALES).map(|s| if s == 0 { "1".into() } else { format!("1/{}", 1_u32 << s) }).collect();
    let mut columns = vec!["<measure"];
    columns.extend(names.iter().map(String::as_str));
    let mut table = Table::new(&columns);
    for measure in MEASURES.iter().filter(|m| m.last_scale > 0) {
        let mean = |s| profile.mean(&name_at_scale(measure.name, s)).map_or_else(|| "-".into(), three_digits);
        let mut row = vec![measure.name.to_string()];
        row.extend((0..SCALES).map(mean));
        table.row(row);
    }
    table
}
