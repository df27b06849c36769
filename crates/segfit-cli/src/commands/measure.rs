//! `segfit measure`: how complex a data set is.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use segfit::complexity::{
    ComplexityProfile, ImageTable, J, JpegColour, JpegOptions, MEASURES, MeasureOptions, MeasuredPart, PROBE_DICE,
    SCALES, measure_part, merged_profile, name_at_scale, profile_dataset,
};
use segfit::data::{Dataset, Options, Split};
use segfit::files::write_json;
use segfit::numbers::three_digits;
use segfit::recipe::InputSpec;

use crate::cache_folder::CacheOptions;
use crate::context::Global;
use crate::data_options::{FolderOptions, InputOptions, announce};
use crate::table::Table;

/// What the parts say themselves.
const NOT_WITH_MERGE: [&str; 14] = [
    "data",
    "images",
    "masks",
    "instances",
    "axis",
    "size",
    "patch",
    "split",
    "sample",
    "part",
    "jpeg_size",
    "jpeg_quality",
    "jpeg_colour",
    "cache",
];

/// Below this, means of the measures say little.
const FEW_IMAGES: usize = 10;

/// Masks are decoded when the data set is opened, for their labels; so many bytes of them are kept until they are measured.
const KEPT_MASKS: usize = 128 << 20;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  \
        segfit measure DATA\n  \
        segfit measure DATA --out profile.json --per-image images.csv\n  \
        segfit measure DATA --sample 1000\n  \
        segfit measure --images scans --masks truth --size 256 --json\n  \
        segfit measure DATA --part 1/20 --out part-1.json\n  \
        segfit measure --merge part-*.json --out profile.json",
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
        j                     bytes of the original image as a JPEG file of 512 x 512\n                        \
                              gray pixels and quality 80, per raw byte: the paper's J\n  \
        probe_dice            Dice of a linear pixel classifier on images that it was\n                        \
                              not fitted to\n\n\
        A measure at scale 1/2 sees the image at half its size, and so on.\n\n\
        Examples:\n  \
        segfit measure DATA\n  \
        segfit measure DATA --out profile.json --per-image images.csv\n  \
        segfit measure DATA --sample 1000\n  \
        segfit measure --images scans --masks truth --size 256 --json\n  \
        segfit measure DATA --part 1/20 --out part-1.json\n  \
        segfit measure --merge part-*.json --out profile.json"
)]
pub struct Args {
    /// Folder of the data set: images/ and masks/ with files of equal names, or nnU-Net's layout
    #[arg(value_name = "DATA", required_unless_present_any = ["images", "merge"])]
    data: Option<PathBuf>,
    #[command(flatten)]
    folders: FolderOptions,
    #[command(flatten)]
    input: InputOptions,
    /// Which images to measure; test images are left out unless all are asked for
    #[arg(long, value_name = "SPLIT", default_value = "train", help_heading = "What is measured")]
    split: Measured,
    /// Measure only N of the images, always the same ones for a seed; a larger N adds to them
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "What is measured")]
    sample: Option<usize>,
    /// Measure only part I of N, counted from 1, and write what the whole needs of it to --out; --merge joins the parts
    #[arg(long, value_name = "I/N", value_parser = part_of, requires = "out", conflicts_with = "per_image", help_heading = "In parts")]
    part: Option<(usize, usize)>,
    /// The profile of the whole from the files of all its parts, the same bits as without parts
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = NOT_WITH_MERGE, help_heading = "In parts")]
    merge: Vec<PathBuf>,
    #[command(flatten)]
    jpeg: JpegArguments,
    #[command(flatten)]
    cache: CacheOptions,
    /// Write the profile to this file; without it nothing is written
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Write the values of every image to this CSV file; without a file they are kept in the profile
    #[arg(long, value_name = "FILE.csv", num_args = 0..=1, value_parser = csv_file, help_heading = "Output")]
    per_image: Option<Option<PathBuf>>,
}

/// How the paper's J is taken.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "JPEG complexity j")]
struct JpegArguments {
    /// Rows and columns to which the original image is resized
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(u16).range(8..))]
    jpeg_size: u16,
    /// Quality of the JPEG file
    #[arg(long, value_name = "1-100", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    jpeg_quality: u8,
    /// What the JPEG file stores
    #[arg(long, value_name = "COLOUR", default_value = "gray")]
    jpeg_colour: Colour,
}

/// The colours of a JPEG file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// One gray channel
    Gray,
    /// Red, green and blue
    Rgb,
}

impl JpegArguments {
    fn options(&self) -> JpegOptions {
        let colour = match self.jpeg_colour {
            Colour::Gray => JpegColour::Gray,
            Colour::Rgb => JpegColour::Rgb,
        };
        JpegOptions { size: self.jpeg_size, quality: self.jpeg_quality, colour }
    }
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
    if !args.merge.is_empty() {
        let (profile, table) = merged_profile(&args.merge, args.per_image == Some(None))?;
        return report(args, &profile, &table, global);
    }
    let cache = args.cache.open(global)?;
    // Images are decoded while they are measured, and not at all where the cache knows them.
    let options = Options { is_lazy: true, cache_bytes: KEPT_MASKS, ..args.folders.options(args.data.as_deref()) };
    let dataset = Dataset::open(&options)?;
    announce(&dataset, global);
    let indices = args.split.indices(&dataset);
    let all = args.sample.map_or(indices.len(), |n| n.min(indices.len()));
    let bar = global.bar(args.part.map_or(all, |(i, n)| (all + n - i) / n), "measure");
    let options = MeasureOptions {
        sample: args.sample,
        seed: global.seed,
        jpeg: args.jpeg.options(),
        keep_images: args.per_image == Some(None),
        cache: cache.as_ref(),
        progress: &|| bar.inc(1),
        ..MeasureOptions::new(args.input.spec(), args.split.word())
    };
    if let (Some(part), Some(path)) = (args.part, &args.out) {
        let measured = measure_part(&dataset, &indices, &options, part);
        bar.finish_and_clear();
        return write_part(&measured?, part, path, global);
    }
    let measured = profile_dataset(&dataset, &indices, &options);
    bar.finish_and_clear();
    let measured = measured?;
    if let Some(error) = &measured.cache_failure {
        global.note(&format!("warning: values were not kept for another time: {error}"));
    }
    global.detail(&format!("{} image(s) were measured before", measured.from_cache));
    report(args, &measured.profile, &measured.table, global)
}

fn write_part(measured: &MeasuredPart, (part, parts): (usize, usize), path: &Path, global: &Global) -> Result<()> {
    measured.write(path)?;
    let images = measured.len();
    let value = serde_json::json!({"part": part, "parts": parts, "images": images, "out": path});
    global.print(&value, &format!("part {part} of {parts}: {images} images measured, in {}", path.display()))
}

/// Writes and prints a profile.
fn report(args: &Args, profile: &ComplexityProfile, table: &ImageTable, global: &Global) -> Result<()> {
    if profile.images < FEW_IMAGES {
        global.note(&format!("warning: only {} image(s) measured: the means are uncertain", profile.images));
    }
    if let Some(path) = args.per_image.iter().flatten().next() {
        table.write_csv(path)?;
        global.note(&format!("written: {}", path.display()));
    }
    if let Some(path) = &args.out {
        write_json(path, profile)?;
        global.note(&format!("written: {}", path.display()));
    }
    global.print(profile, &describe(profile))
}

impl Measured {
    /// The positions of the images in the data set.
    fn indices(self, dataset: &Dataset) -> Vec<usize> {
        match self {
            Self::Train => dataset.indices(Split::Train),
            Self::All => (0..dataset.pairs.len()).collect(),
        }
    }

    /// The word in a profile.
    fn word(self) -> &'static str {
        if self == Self::Train { "train" } else { "all" }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number from 1".into())
}

/// `I/N` with I from 1 to N.
fn part_of(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    numbers
        .filter(|&(i, n)| (1..=n).contains(&i))
        .ok_or_else(|| "expected I/N with I from 1 to N, for example 3/20".into())
}

/// A name that cannot be mistaken for the data set's folder.
fn csv_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    if is_csv { Ok(path) } else { Err("expected a file that ends in .csv".into()) }
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
    let options = MeasureOptions { keep_images, ..MeasureOptions::new(*input, split.word()) };
    Ok(profile_dataset(dataset, &split.indices(dataset), &options)?.profile)
}

/// The profile as two tables: summaries at full size, then means by scale.
pub fn describe(profile: &ComplexityProfile) -> String {
    let sample = profile.sample.map_or_else(String::new, |s| format!(" (a sample of {} of {})", s.n, s.of));
    let mut text = format!("{}: complexity of {} images{sample}\n\n", profile.dataset, profile.images);
    let mut table = Table::new(&["<measure", "mean", "dev.", "5%", "median", "95%", "<unit"]);
    let names = MEASURES.iter().map(|m| name_at_scale(m.name, m.first_scale)).chain([J, PROBE_DICE].map(String::from));
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
