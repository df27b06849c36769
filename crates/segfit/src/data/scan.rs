//! One pass over the files of a pair: read, hash, decode, check.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::label_map::MaskSummary;
use super::labels::RawMask;
use super::layout::Item;
use super::raster::{Note, Raster};
use super::read::{check_finite, decode, read_bytes};
use crate::error::{Error, Result};

/// Smallest width and height of an image, in pixels.
pub const MIN_SIDE: usize = 8;

/// What one pass over a pair's files finds.
pub(crate) struct Scan {
    pub hashes: Vec<blake3::Hash>,
    pub channels: usize,
    pub summary: Option<MaskSummary>,
    pub notes: Vec<(Note, PathBuf)>,
    /// The pixels, when the budget allowed to keep them.
    pub pixels: Option<(Vec<Raster>, Option<RawMask>)>,
}

/// Reads, hashes, decodes and checks the files of one pair.
pub(crate) fn scan(item: &Item, budget: &AtomicUsize) -> Result<Scan> {
    let mut hashes = Vec::new();
    let mut images: Vec<Raster> = Vec::new();
    let mut notes = Vec::new();
    for path in &item.images {
        let bytes = read_bytes(path)?;
        hashes.push(blake3::hash(&bytes));
        let raster = decode(path, &bytes)?;
        check_image(path, &raster, images.first())?;
        notes.extend(raster.notes.iter().map(|n| (*n, path.clone())));
        images.push(raster);
    }
    let raw = match &item.mask {
        Some(path) => {
            let bytes = read_bytes(path)?;
            hashes.push(blake3::hash(&bytes));
            let raw = RawMask::from_raster(path, decode(path, &bytes)?)?;
            check_mask_size(path, &raw, &images[0])?;
            notes.extend(raw.notes.iter().map(|n| (*n, path.clone())));
            Some(raw)
        }
        None => None,
    };
    let summary = raw.as_ref().zip(item.mask.as_ref()).map(|(raw, path)| MaskSummary::new(path, raw));
    let channels = images.iter().map(Raster::image_channels).sum();
    let bytes = images.iter().map(Raster::bytes).sum::<usize>() + raw.as_ref().map_or(0, |m| 4 * m.labels.len());
    let fits = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok();
    Ok(Scan { hashes, channels, summary, notes, pixels: fits.then_some((images, raw)) })
}

fn check_image(path: &Path, raster: &Raster, first: Option<&Raster>) -> Result<()> {
    let (h, w) = (raster.height, raster.width);
    if h < MIN_SIDE || w < MIN_SIDE {
        return Err(Error::Content {
            path: path.into(),
            expected: format!("an image of at least {MIN_SIDE} x {MIN_SIDE} pixels"),
            got: format!("{w} x {h}"),
            hint: "remove the image, or check that it is not a thumbnail".into(),
        });
    }
    if let Some(first) = first.filter(|f| (f.height, f.width) != (h, w)) {
        return Err(Error::Content {
            path: path.into(),
            expected: format!("{} x {} pixels, like the first channel", first.width, first.height),
            got: format!("{w} x {h}"),
            hint: "all channel files of an image must have one size".into(),
        });
    }
    check_finite(path, raster)
}

pub(crate) fn check_mask_size(path: &Path, mask: &RawMask, image: &Raster) -> Result<()> {
    if (mask.height, mask.width) == (image.height, image.width) {
        return Ok(());
    }
    Err(Error::Content {
        path: path.into(),
        expected: format!("a mask of {} x {} pixels, like its image", image.width, image.height),
        got: format!("{} x {}", mask.width, mask.height),
        hint: "export the mask again at the image's size, or check that the pair belongs together".into(),
    })
}

pub(crate) fn common_channels(items: &[Item], scans: &[Scan]) -> Result<usize> {
    let first = scans[0].channels;
    match scans.iter().position(|s| s.channels != first) {
        None => Ok(first),
        Some(at) => Err(Error::Content {
            path: items[at].images[0].clone(),
            expected: format!("{first} channel(s), like {}", items[0].images[0].display()),
            got: format!("{} channel(s)", scans[at].channels),
            hint: "convert all images to gray or all to RGB".into(),
        }),
    }
}
