//! Opening a data set: everything that can be checked is checked here, once, and every file is decoded once; or, lazily,
//! everything that the headers and the masks tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;

use rayon::prelude::*;

use super::content_hash::content_hash;
use super::expand::slices_of;
use super::fingerprint::{fingerprint, relative};
use super::image::{Image, Mask, Sample};
use super::label_map::{LabelEntry, LabelMap, MaskSummary, common_coding};
use super::labels::RawMask;
use super::layout;
use super::origin::Origin;
use super::raster::Raster;
use super::read::{decode, read_bytes};
use super::rows::WHOLE_BYTES;
use super::scan::{Scan, check_image, check_mask_size, common_channels, scan, scan_lazily, scan_slices};
use super::slices::Outline;
use super::split::{Split, assign};
use super::volume::{Axis, Slice};
use super::volumes::Volumes;
use crate::error::{Error, Result};

/// What to open and how to read it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data set's folder.
    pub root: PathBuf,
    /// The images' folder, where the layout does not say.
    pub images: Option<PathBuf>,
    /// The masks' folder, where the layout does not say.
    pub masks: Option<PathBuf>,
    /// Merge all labels but 0 into one foreground class and keep them as instances.
    pub instances: bool,
    /// Accept images without masks.
    pub masks_optional: bool,
    /// Share of the images that test, where nothing else says.
    pub test_share: f64,
    /// Share of the training images that validate, where nothing else says.
    pub validation_share: f64,
    /// Decoded pixels that are kept in memory, in bytes; files beyond are decoded again by [`Dataset::load`].
    pub cache_bytes: usize,
    /// Only hash the images' files and read their headers; pixels are decoded and checked when a sample is asked for.
    ///
    /// Masks are decoded, since the label map needs all labels: large TIFF files in bands of rows. Splits, label map,
    /// fingerprint and warnings are those of a full opening, but for alpha channels and further frames of images, which
    /// only decoding reveals.
    pub is_lazy: bool,
    /// The axis that the slices of volumes follow; without it, each volume's own: that along which neighbours are farthest
    /// apart.
    pub axis: Option<Axis>,
}

impl Options {
    /// The defaults for a folder of images and one of masks; without the latter, masks are optional.
    #[must_use]
    pub fn folders(images: impl Into<PathBuf>, masks: Option<PathBuf>) -> Self {
        let images = images.into();
        let root = if masks.is_some() { images.parent().unwrap_or(Path::new("")).into() } else { images.clone() };
        let masks_optional = masks.is_none();
        Self { images: Some(images), masks, masks_optional, ..Self::new(root) }
    }

    /// The defaults for a folder: masks required, 20% test, 15% of the rest validation, 1 GiB kept.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            images: None,
            masks: None,
            instances: false,
            masks_optional: false,
            test_share: 0.20,
            validation_share: 0.15,
            cache_bytes: 1 << 30,
            is_lazy: false,
            axis: None,
        }
    }
}

/// One image of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The image's file stem (nnU-Net: the case), unique within the data set; of a slice `stem#012`.
    pub name: String,
    /// The image file.
    pub image: PathBuf,
    /// Files of further channels (nnU-Net).
    pub more_channels: Vec<PathBuf>,
    /// The mask file.
    pub mask: Option<PathBuf>,
    /// The slice of all these files, where they are volumes or stacks.
    pub slice: Option<Slice>,
    /// Its use.
    pub split: Split,
    /// What it was taken from: the `source` column of `split.csv` before `#`, otherwise the name, of a slice that of its
    /// volume. Images of one source are never divided between training and validation.
    pub source: String,
}

/// Distances between neighbours in an image, in millimetres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spacing {
    /// Between the slices of the volume that the image is of; without meaning for a picture.
    pub slices: f64,
    /// Between rows.
    pub rows: f64,
    /// Between columns.
    pub columns: f64,
    /// Whether the image is a slice of a volume: slices lie side by side, not one after the other in time.
    pub is_volume: bool,
}

/// A checked data set.
#[derive(Debug)]
pub struct Dataset {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub root: PathBuf,
    /// The images, by name.
    pub pairs: Vec<Pair>,
    /// Channels of every image.
    pub channels: usize,
    /// Classes, background included; 0 without masks.
    pub classes: usize,
    /// What the labels mean.
    pub label_map: LabelMap,
    /// What the user should know, one sentence each.
    pub warnings: Vec<String>,
    /// 16 hexadecimal digits that depend on the files' relative paths and bytes, the splits and the label map; not on
    /// the folder's place, the order of files or the number of threads.
    pub fingerprint: String,
    /// Where the data set comes from.
    pub origin: Origin,
    /// The axis that was asked for in the options.
    pub axis: Option<Axis>,
    /// Of each pair, in the order of `pairs`.
    content: Vec<[u8; 32]>,
    /// Decoded bytes of each pair's largest file.
    largest: Vec<usize>,
    kept: Vec<Option<Kept>>,
    volumes: Volumes,
}

/// A mask in class indices, and its instance labels.
pub(super) type Classes = (Mask, Option<Vec<u32>>);

/// Decoded pixels of one pair; the image's are not kept when the opening is lazy.
#[derive(Debug)]
struct Kept {
    images: Option<Vec<Raster>>,
    mask: Option<Classes>,
}

impl Dataset {
    /// The data set in a folder, fully checked.
    ///
    /// Layouts: `images/` + `masks/` (or `labels/`), paired by file stem (a mask's stem may end in `_mask`, `_anno`,
    /// `_seg`, `_label`); nnU-Net; the Cell Tracking Challenge's; images and `_mask` files side by side; or two folders named in the options.
    /// `split.csv` is honoured; without it, whole sources are chosen by the hash of their names.
    ///
    /// # Errors
    /// Any missing, unreadable or contradictory file, by name: see [`Error`].
    pub fn open(options: &Options) -> Result<Self> {
        Self::open_within(options, WHOLE_BYTES)
    }

    /// As [`Dataset::open`]; a lazy opening reads masks that decode to `whole_bytes` or more in bands.
    pub(super) fn open_within(options: &Options, whole_bytes: usize) -> Result<Self> {
        let mut listing = layout::list(options)?;
        listing.items = slices_of(listing.items, options.axis)?;
        let budget = AtomicUsize::new(options.cache_bytes);
        let scan = |items: &&[layout::Item]| match items {
            [item] if item.slice.is_none() && options.is_lazy => vec![scan_lazily(item, &budget, whole_bytes)],
            [item] if item.slice.is_none() => vec![scan(item, &budget)],
            slices => scan_slices(slices, &budget, options.is_lazy).unwrap_or_else(|e| vec![Err(e)]),
        };
        let files: Vec<&[layout::Item]> = listing.items.chunk_by(|a, b| a.images == b.images).collect();
        let scans: Vec<Vec<Result<Scan>>> = files.par_iter().map(scan).collect();
        let scans = scans.into_iter().flatten();
        let mut scans = scans.collect::<Result<Vec<Scan>>>()?;
        let channels = common_channels(&listing.items, &scans)?;
        let mut masks: Vec<MaskSummary> = scans.iter_mut().filter_map(|s| s.summary.take()).collect();
        let instances = options.instances || listing.counts_objects;
        let label_map = map_labels(options, listing.declared, instances, &mut masks)?;
        let mut warnings = listing.warnings;
        let pairs = assign(options, listing.items, &listing.split_folder, &mut warnings)?;
        if !masks.is_empty() && masks.len() < pairs.len() {
            let without = pairs.len() - masks.len();
            warnings.push(format!("{without} of {} images have no mask and count as background", pairs.len()));
        }
        check_foreground(options, &pairs, &masks, &label_map, &mut warnings)?;
        warnings.extend(label_warnings(&label_map, &masks));
        warnings.extend(note_warnings(&scans));
        warnings.extend(duplicate_warnings(&pairs, &scans));
        let fingerprint = fingerprint_of(options, &pairs, &scans, &label_map);
        let content = content_hashes(&pairs, &scans, &masks, &label_map);
        let largest = scans.iter().map(|s| s.largest).collect();
        let kept: Vec<Result<Option<Kept>>> =
            pairs.par_iter().zip(scans).map(|(pair, scan)| keep(pair, scan, &label_map)).collect();
        let kept = kept.into_iter().collect::<Result<Vec<_>>>()?;
        let name = folder_name(options);
        let classes = label_map.classes();
        let root = options.root.clone();
        let origin = if root.as_os_str().is_empty() { Origin::default() } else { Origin::of_folder(&root)? };
        Ok(Self {
            name,
            root,
            pairs,
            channels,
            classes,
            label_map,
            warnings,
            fingerprint,
            origin,
            axis: options.axis,
            content,
            largest,
            kept,
            volumes: Volumes::default(),
        })
    }

    /// The positions in [`Dataset::pairs`] of one split's images, ascending.
    #[must_use]
    pub fn indices(&self, split: Split) -> Vec<usize> {
        (0..self.pairs.len()).filter(|&i| self.pairs[i].split == split).collect()
    }

    /// The samples at these positions of [`Dataset::pairs`], in the order asked for; masks are background where there
    /// is none.
    ///
    /// # Errors
    /// As [`Dataset::open`], when a file that was not kept in memory has changed since.
    ///
    /// # Panics
    /// When an index is not below the number of pairs.
    pub fn load(&self, indices: &[usize]) -> Result<Vec<Sample>> {
        let samples: Vec<Result<Sample>> = indices.par_iter().map(|&i| self.sample(i)).collect();
        samples.into_iter().collect()
    }

    /// What the samples of a pair depend on: the BLAKE3 hash over the hashes of its image, channel and mask files (or the
    /// mask's absence), and over the classes of the labels in its mask.
    ///
    /// Equal contents and meanings of labels give equal hashes, in whatever data set, whatever the files' names.
    ///
    /// # Panics
    /// When the index is not below the number of pairs.
    #[must_use]
    pub fn content_hash(&self, index: usize) -> [u8; 32] {
        self.content[index]
    }

    /// Distances in a pair's image, where its file says them.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    ///
    /// # Panics
    /// When the index is not below the number of pairs.
    pub fn spacing(&self, index: usize) -> Result<Option<Spacing>> {
        let Pair { image, slice, .. } = &self.pairs[index];
        let outline = Outline::read(image)?;
        let axis = slice.map_or(outline.axis, |s| s.axis);
        let is_volume = outline.slices(axis) > 1 && outline.times == 1 && outline.kind.is_volume();
        Ok(outline.spacing_along(axis).map(|[slices, rows, columns]| Spacing { slices, rows, columns, is_volume }))
    }

    /// Decoded bytes of a pair's largest file.
    pub(crate) fn largest_file(&self, index: usize) -> usize {
        self.largest[index]
    }

    pub(super) fn sample(&self, index: usize) -> Result<Sample> {
        let pair = &self.pairs[index];
        let kept = self.kept[index].as_ref();
        let decoded;
        let images = match kept.and_then(|k| k.images.as_ref()) {
            Some(images) => images,
            None => {
                decoded = self.decode_images(pair)?;
                &decoded
            }
        };
        let mask = match (kept, &pair.mask) {
            (Some(kept), _) => kept.mask.clone(),
            (None, Some(path)) => {
                let raw = RawMask::from_raster(path, self.raster(path, pair.slice, Some(&pair.image))?)?;
                apply(pair, Some(raw), &self.label_map)?
            }
            (None, None) => None,
        };
        if let (Some((mask, _)), Some(path)) = (&mask, &pair.mask) {
            check_mask_size(path, (mask.height, mask.width), (images[0].height, images[0].width))?;
        }
        self.check_channels(pair, images.iter().map(Raster::image_channels).sum())?;
        Ok(assemble(pair.name.clone(), images.iter().map(Raster::to_image), mask))
    }

    /// All channel files of an image, checked.
    fn decode_images(&self, pair: &Pair) -> Result<Vec<Raster>> {
        let mut images: Vec<Raster> = Vec::new();
        for path in pair.image_files() {
            let raster = self.raster(path, pair.slice, None)?;
            check_image(path, &raster, images.first())?;
            images.push(raster);
        }
        Ok(images)
    }

    /// The pixels of an image, or of the mask of an `image`.
    fn raster(&self, path: &Path, slice: Option<Slice>, image: Option<&Path>) -> Result<Raster> {
        match slice {
            Some(slice) => self.volumes.get(path, image)?.raster(slice),
            None => decode(path, &read_bytes(path)?),
        }
    }

    /// Fails when an image has not as many channels as it had when the data set was opened.
    pub(super) fn check_channels(&self, pair: &Pair, channels: usize) -> Result<()> {
        if channels == self.channels {
            return Ok(());
        }
        Err(Error::Content {
            path: pair.image.clone(),
            expected: format!("{} channel(s), as when the data set was opened", self.channels),
            got: format!("{channels} channel(s)"),
            hint: "the file has changed: open the data set again".into(),
        })
    }
}

impl Pair {
    /// All files of the image, by channel.
    pub fn image_files(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.image).chain(&self.more_channels).map(PathBuf::as_path)
    }
}

fn keep(pair: &Pair, scan: Scan, map: &LabelMap) -> Result<Option<Kept>> {
    if scan.images.is_none() && scan.raw.is_none() {
        return Ok(None);
    }
    Ok(Some(Kept { images: scan.images, mask: apply(pair, scan.raw, map)? }))
}

fn content_hashes(pairs: &[Pair], scans: &[Scan], masks: &[MaskSummary], map: &LabelMap) -> Vec<[u8; 32]> {
    let mut masks = masks.iter();
    let labels = pairs.iter().map(|p| p.mask.as_ref().and_then(|_| masks.next()));
    scans.iter().zip(labels).map(|(scan, labels)| content_hash(&scan.hashes, labels, map)).collect()
}

pub(super) fn apply(pair: &Pair, raw: Option<RawMask>, map: &LabelMap) -> Result<Option<Classes>> {
    match (raw, &pair.mask) {
        (Some(raw), Some(path)) => map.apply(path, raw).map(Some),
        _ => Ok(None),
    }
}

/// A sample of an image, whose channels may lie in several files, and of its mask; background where there is none.
pub(super) fn assemble(name: String, mut channels: impl Iterator<Item = Image>, mask: Option<Classes>) -> Sample {
    let mut image = channels.next().expect("a pair has an image file");
    for Image { channels, data, .. } in channels {
        image.channels += channels;
        image.data.extend(data);
    }
    let (mask, instances) = mask.unwrap_or_else(|| (Mask::background(image.height, image.width), None));
    Sample { name, image, mask, instances }
}

fn folder_name(options: &Options) -> String {
    let folder = if options.root.as_os_str().is_empty() { Path::new(".") } else { &options.root };
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
    folder.file_name().map_or_else(|| "data".into(), |n| n.to_string_lossy().into_owned())
}

/// The label map of all masks, whose counts are brought to its coding.
fn map_labels(
    options: &Options,
    declared: Option<Vec<LabelEntry>>,
    instances: bool,
    masks: &mut [MaskSummary],
) -> Result<LabelMap> {
    if masks.is_empty() {
        return Ok(LabelMap::empty());
    }
    let coding = common_coding(masks);
    masks.iter_mut().try_for_each(|m| m.recode(coding))?;
    let Some(entries) = declared.filter(|_| !instances) else {
        return LabelMap::from_labels(&options.root, masks, instances);
    };
    let map = LabelMap::declared(coding, entries);
    for mask in masks.iter() {
        mask.counts.keys().try_for_each(|&label| map.require(&mask.path, label).map(|_| ()))?;
    }
    Ok(map)
}

/// Fails when no training mask has foreground; warns for the other splits.
fn check_foreground(
    options: &Options,
    pairs: &[Pair],
    masks: &[MaskSummary],
    map: &LabelMap,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let with_mask = || pairs.iter().filter(|p| p.mask.is_some()).zip(masks);
    let foreground = |m: &MaskSummary| m.counts.keys().any(|&label| map.class_of(label) > Some(0));
    for (split, word) in [(Split::Train, "training"), (Split::Validation, "validation"), (Split::Test, "test")] {
        let n = with_mask().filter(|(p, _)| p.split == split).count();
        if n == 0 || with_mask().any(|(p, m)| p.split == split && foreground(m)) {
            continue;
        }
        if split != Split::Train {
            warnings.push(format!("none of the {n} {word} masks has any foreground"));
            continue;
        }
        return Err(Error::Dataset {
            path: options.root.clone(),
            reason: format!("none of its {n} training masks has any foreground"),
            hint: "check that the masks are the right files and that their objects are not 0".into(),
        });
    }
    Ok(())
}

fn label_warnings(map: &LabelMap, masks: &[MaskSummary]) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(lowest) = map.entries.first().filter(|e| e.value > 0) {
        warnings.push(format!("no mask holds the label 0: the lowest label, {}, is taken as background", lowest.value));
    }
    if map.looks_counted(masks) {
        warnings.push(format!("{map}; if the labels number objects, use --instances"));
    }
    warnings
}

/// One sentence per kind of note, with the number of files and the first of them.
fn note_warnings(scans: &[Scan]) -> Vec<String> {
    let mut by_note: BTreeMap<_, Vec<&Path>> = BTreeMap::new();
    for (note, path) in scans.iter().flat_map(|s| &s.notes) {
        let paths: &mut Vec<&Path> = by_note.entry(*note).or_default();
        if paths.last() != Some(&path.as_path()) {
            paths.push(path);
        }
    }
    let sentence = |(note, paths): (super::Note, Vec<&Path>)| {
        format!("{note} ({} file(s), first {})", paths.len(), paths[0].display())
    };
    by_note.into_iter().map(sentence).collect()
}

/// Warns of image files with equal bytes, most of all across splits.
fn duplicate_warnings(pairs: &[Pair], scans: &[Scan]) -> Vec<String> {
    let mut by_content: BTreeMap<Vec<[u8; 32]>, Vec<&Pair>> = BTreeMap::new();
    for (pair, scan) in pairs.iter().zip(scans) {
        let files = 1 + pair.more_channels.len();
        by_content.entry(scan.hashes[..files].iter().map(|h| *h.as_bytes()).collect()).or_default().push(pair);
    }
    let mut groups: Vec<&Vec<&Pair>> = by_content.values().filter(|g| g.len() > 1).collect();
    groups.sort_by_key(|g| &g[0].name);
    let crosses = |g: &[&Pair]| g.iter().any(|p| (p.split == Split::Test) != (g[0].split == Split::Test));
    let Some(first) = groups.iter().find(|g| crosses(g)).or(groups.first()) else { return vec![] };
    let leak = groups.iter().filter(|g| crosses(g)).count();
    let consequence = if leak > 0 { format!("; {leak} of them both train and test") } else { String::new() };
    let (a, b) = (&first[0].name, &first[1].name);
    vec![format!("{} image(s) occur more than once{consequence}, for example {a} and {b}", groups.len())]
}

fn fingerprint_of(options: &Options, pairs: &[Pair], scans: &[Scan], map: &LabelMap) -> String {
    let mut folders: Vec<(&str, &PathBuf)> = Vec::new();
    if let Some(images) = &options.images {
        folders.push(("images/", images));
    }
    if let Some(masks) = &options.masks {
        folders.push(("masks/", masks));
    }
    folders.push(("", &options.root));
    let json = |value: serde_json::Result<String>| value.expect("plain data becomes JSON");
    let mut lines = vec![format!("labels {}", json(serde_json::to_string(map)))];
    for (pair, scan) in pairs.iter().zip(scans) {
        lines.push(format!("pair {}", json(serde_json::to_string(&(&pair.name, pair.split, &pair.source)))));
        for (path, hash) in pair.image_files().chain(pair.mask.as_deref()).zip(&scan.hashes) {
            lines.push(format!("file {} {}", relative(path, &folders), hash.to_hex()));
        }
    }
    fingerprint(lines)
}
