//! One pass over the files of a pair: read, hash, decode, check; or, lazily, hash and read the headers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::header::Header;
use super::label_map::MaskSummary;
use super::labels::RawMask;
use super::layout::Item;
use super::raster::{Note, Raster};
use super::read::{check_finite, decode, open_file, read_bytes};
use super::rows::Rows;
use super::slices::{Outline, Slices, hash_of, slice_hash};
use super::volume::Slice;
use crate::error::{Error, Result};

/// Smallest width and height of an image, in pixels.
pub const MIN_SIDE: usize = 8;
/// Labels of a large mask that are counted at a time.
const BAND_LABELS: usize = 1 << 20;

/// What one pass over a pair's files finds.
pub(crate) struct Scan {
    pub hashes: Vec<blake3::Hash>,
    pub channels: usize,
    pub summary: Option<MaskSummary>,
    pub notes: Vec<(Note, PathBuf)>,
    /// Decoded bytes of the largest file.
    pub largest: usize,
    /// The image's pixels, when the budget allowed to keep them.
    pub images: Option<Vec<Raster>>,
    /// The mask's labels, when the budget allowed to keep them.
    pub raw: Option<RawMask>,
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
    let mut largest = images.iter().map(Raster::bytes).max().unwrap_or(0);
    let raw = match &item.mask {
        Some(path) => {
            let bytes = read_bytes(path)?;
            hashes.push(blake3::hash(&bytes));
            let raster = decode(path, &bytes)?;
            largest = largest.max(raster.bytes());
            let raw = RawMask::from_raster(path, raster)?;
            check_mask_size(path, (raw.height, raw.width), (images[0].height, images[0].width))?;
            notes.extend(raw.notes.iter().map(|n| (*n, path.clone())));
            Some(raw)
        }
        None => None,
    };
    let summary = raw.as_ref().zip(item.mask.as_ref()).map(|(raw, path)| MaskSummary::new(path, raw));
    let channels = images.iter().map(Raster::image_channels).sum();
    let bytes = images.iter().map(Raster::bytes).sum::<usize>() + raw.as_ref().map_or(0, |m| 4 * m.labels.len());
    let fits = takes(budget, bytes);
    let (images, raw) = if fits { (Some(images), raw) } else { (None, None) };
    Ok(Scan { hashes, channels, summary, notes, largest, images, raw })
}

/// Reads the slices of one volume, hashes its files once, decodes and checks; lazily, the image is not decoded.
pub(crate) fn scan_slices(items: &[Item], budget: &AtomicUsize, is_lazy: bool) -> Result<Vec<Result<Scan>>> {
    let first = &items[0];
    let outline = Outline::read(&first.images[0])?;
    let mut channels = outline.channels;
    let mut hashes = Vec::new();
    let mut images = Vec::new();
    for path in &first.images {
        hashes.push(hash_of(path)?);
        if !is_lazy {
            images.push((path, Slices::open(path)?));
        }
    }
    for path in &first.images[1..] {
        channels += Outline::read(path)?.channels;
    }
    let mask = match &first.mask {
        Some(path) => {
            hashes.push(hash_of(path)?);
            Some((path, Slices::open_mask(path, &first.images[0])?))
        }
        None => None,
    };
    let size = |slice: Slice| outline.slice_size(slice.axis);
    let one = |item: &Item| {
        let slice = item.slice.unwrap_or(Slice { axis: outline.axis, index: 0 });
        let hashes = hashes.iter().map(|h| slice_hash(h, slice)).collect();
        let mut scan = Scan { hashes, channels, summary: None, notes: vec![], largest: 0, images: None, raw: None };
        let mut rasters: Vec<Raster> = Vec::new();
        for (path, file) in &images {
            let raster = file.raster(slice)?;
            check_image(path, &raster, rasters.first())?;
            scan.notes.extend(raster.notes.iter().map(|n| (*n, path.to_path_buf())));
            rasters.push(raster);
        }
        if is_lazy {
            check_sides(&item.images[0], size(slice), None)?;
        } else {
            scan.channels = rasters.iter().map(Raster::image_channels).sum();
        }
        let mut raw = None;
        if let Some((path, file)) = &mask {
            let mask = RawMask::from_raster(path, file.raster(slice)?)?;
            check_mask_size(path, (mask.height, mask.width), size(slice))?;
            scan.notes.extend(mask.notes.iter().map(|n| (*n, path.to_path_buf())));
            scan.summary = Some(MaskSummary::new(path, &mask));
            raw = Some(mask);
        }
        scan.largest = rasters.iter().map(Raster::bytes).max().unwrap_or(0);
        let bytes = rasters.iter().map(Raster::bytes).sum::<usize>() + raw.as_ref().map_or(0, |m| 4 * m.labels.len());
        if takes(budget, bytes) {
            scan.raw = raw;
            scan.images = (!is_lazy).then_some(rasters);
        }
        Ok(scan)
    };
    Ok(items.par_iter().map(one).collect())
}

/// Hashes the files of one pair and reads the image's headers; only the mask is decoded, in bands of rows where it is a
/// TIFF of `whole_bytes` or more.
pub(crate) fn scan_lazily(item: &Item, budget: &AtomicUsize, whole_bytes: usize) -> Result<Scan> {
    let mut hashes = Vec::new();
    let mut headers: Vec<Header> = Vec::new();
    let mut notes = Vec::new();
    for path in &item.images {
        let (hash, header) = hash_and_header(path)?;
        check_sides(path, (header.height, header.width), headers.first().map(|f| (f.height, f.width)))?;
        notes.extend(header.notes.iter().map(|n| (*n, path.clone())));
        hashes.push(hash);
        headers.push(header);
    }
    let channels = headers.iter().map(|h| h.channels).sum();
    let largest = headers.iter().map(|h| h.bytes).max().unwrap_or(0);
    let mut scan = Scan { hashes, channels, summary: None, notes, largest, images: None, raw: None };
    if let Some(path) = &item.mask {
        scan_mask(path, &headers[0], &mut scan, budget, whole_bytes)?;
    }
    Ok(scan)
}

fn scan_mask(path: &Path, image: &Header, scan: &mut Scan, budget: &AtomicUsize, whole_bytes: usize) -> Result<()> {
    let (hash, header) = hash_and_header(path)?;
    check_mask_size(path, (header.height, header.width), (image.height, image.width))?;
    scan.hashes.push(hash);
    scan.largest = scan.largest.max(header.bytes);
    if header.bytes >= whole_bytes {
        let (summary, notes) = summarise(path, whole_bytes)?;
        scan.notes.extend(notes.into_iter().map(|n| (n, path.to_path_buf())));
        scan.summary = Some(summary);
        return Ok(());
    }
    let raw = RawMask::from_raster(path, decode(path, &read_bytes(path)?)?)?;
    scan.notes.extend(raw.notes.iter().map(|n| (*n, path.to_path_buf())));
    scan.summary = Some(MaskSummary::new(path, &raw));
    scan.raw = takes(budget, 4 * raw.labels.len()).then_some(raw);
    Ok(())
}

/// The labels of a large mask and what was left out of it, from bands of rows.
fn summarise(path: &Path, whole_bytes: usize) -> Result<(MaskSummary, BTreeSet<Note>)> {
    let mut rows = Rows::open_mask(path, whole_bytes)?;
    let (height, width) = rows.size();
    let step = (BAND_LABELS / width).max(1);
    let mut notes: BTreeSet<Note> = rows.notes().iter().copied().collect();
    let mut summary: Option<MaskSummary> = None;
    for y in (0..height).step_by(step) {
        let mut band = rows.rows(y..height.min(y + step))?;
        band.note_transparency();
        notes.extend(&band.notes);
        let part = MaskSummary::new(path, &RawMask::from_raster(path, band)?);
        summary = Some(match summary {
            Some(summary) => summary.join(part)?,
            None => part,
        });
    }
    let summary = summary.expect("a file of no rows is not opened");
    Ok((summary, notes))
}

/// The hash of a file's bytes, which are not held in memory, and its header.
fn hash_and_header(path: &Path) -> Result<(blake3::Hash, Header)> {
    let mut file = open_file(path)?;
    let header = Header::of(path, &mut file)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(Error::io(path))?;
    Ok((hasher.finalize(), header))
}

/// Takes bytes from the budget, if it has as many.
fn takes(budget: &AtomicUsize, bytes: usize) -> bool {
    budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
}

pub(crate) fn check_image(path: &Path, raster: &Raster, first: Option<&Raster>) -> Result<()> {
    check_sides(path, (raster.height, raster.width), first.map(|f| (f.height, f.width)))?;
    check_finite(path, raster)
}

/// Fails when an image of (rows, columns) `size` is too small, or differs from its first channel.
pub(crate) fn check_sides(path: &Path, size: (usize, usize), first: Option<(usize, usize)>) -> Result<()> {
    let (h, w) = size;
    if h < MIN_SIDE || w < MIN_SIDE {
        return Err(Error::Content {
            path: path.into(),
            expected: format!("an image of at least {MIN_SIDE} x {MIN_SIDE} pixels"),
            got: format!("{w} x {h}"),
            hint: "remove the image, or check that it is not a thumbnail".into(),
        });
    }
    match first {
        Some(first) if first != size => Err(Error::Content {
            path: path.into(),
            expected: format!("{} x {} pixels, like the first channel", first.1, first.0),
            got: format!("{w} x {h}"),
            hint: "all channel files of an image must have one size".into(),
        }),
        _ => Ok(()),
    }
}

/// Fails when a mask of (rows, columns) `mask` differs from its image.
pub(crate) fn check_mask_size(path: &Path, mask: (usize, usize), image: (usize, usize)) -> Result<()> {
    if mask == image {
        return Ok(());
    }
    Err(Error::Content {
        path: path.into(),
        expected: format!("a mask of {} x {} pixels, like its image", image.1, image.0),
        got: format!("{} x {}", mask.1, mask.0),
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
