//! Which files belong together: folders of images and masks, and nnU-Net's layout (in `nnunet`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Options;
use super::ctc;
use super::dicom;
use super::label_map::LabelEntry;
use super::nnunet;
use super::read::READ_FORMATS;
use super::split::{Split, stem};
use super::volume::Slice;
use super::zarr;
use crate::error::{Error, Result};

/// One image to be, its channel files and its mask.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub name: String,
    pub images: Vec<PathBuf>,
    pub mask: Option<PathBuf>,
    pub split: Option<Split>,
    /// The slice of all these files.
    pub slice: Option<Slice>,
    /// The name of the volume that the slice is of, or of the series that the image belongs to.
    pub volume: Option<String>,
}

/// What a data set's folders hold.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub items: Vec<Item>,
    /// Labels that the data set declares; with them the masks may hold no others.
    pub declared: Option<Vec<LabelEntry>>,
    /// The folder in which `split.csv` is looked for.
    pub split_folder: PathBuf,
    pub warnings: Vec<String>,
    /// Whether the layout says that masks number their objects.
    pub counts_objects: bool,
}

/// Endings that a mask's stem may have beyond its image's.
const MASK_SUFFIXES: [&str; 8] = ["_mask", "_anno", "_seg", "_label", "_masks", "_labels", "_segmentation", "_gt"];
const MASK_FOLDERS: [&str; 4] = ["masks", "labels", "mask", "label"];
/// Endings of files that are read, without dots; `.nii.gz` is one, too.
pub const IMAGE_ENDINGS: [&str; 11] = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "nii", "dcm", "dicom", "npy"];
/// Extensions of medical and microscopy formats that are not read: their presence is an error, not a remark.
const FOREIGN_EXTENSIONS: [&str; 9] = ["gz", "mha", "mhd", "nrrd", "hdr", "czi", "nd2", "lif", "svs"];

/// Whether a file's name ends as files do that are read.
#[must_use]
pub fn has_image_ending(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    IMAGE_ENDINGS.contains(&extension) || name.ends_with(".nii.gz")
}

pub(crate) fn list(options: &Options) -> Result<Listing> {
    let root = &options.root;
    if let Some(images) = &options.images {
        let mut listing = pair(images, options.masks.as_deref(), options)?;
        let above = images.parent().unwrap_or(Path::new("."));
        listing.split_folder = if root.join("split.csv").is_file() { root.clone() } else { above.into() };
        return Ok(listing);
    }
    check_folder(root)?;
    if root.join("imagesTr").is_dir() {
        return nnunet::list(root, options);
    }
    let images = root.join("images");
    if images.is_dir() {
        let masks = match &options.masks {
            Some(folder) => Some(folder.clone()),
            None => MASK_FOLDERS.iter().map(|f| root.join(f)).find(|f| f.is_dir()),
        };
        return Ok(Listing { split_folder: root.clone(), ..pair(&images, masks.as_deref(), options)? });
    }
    if ctc::is_ctc(root) {
        return ctc::list(root, options);
    }
    let here = files(root)?;
    if here.images.is_empty() {
        return Err(Error::Dataset {
            path: root.clone(),
            reason: format!("it has neither a folder `images` nor images of its own; it holds {}", contents(root)),
            hint:
                "arrange it as images/ and masks/ with equal file names, or name the folders with --images and --masks"
                    .into(),
        });
    }
    let masks = options.masks.clone().unwrap_or_else(|| root.clone());
    Ok(Listing { split_folder: root.clone(), ..pair(root, Some(&masks), options)? })
}

/// The first names in a folder, for messages.
fn contents(folder: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    let more = if names.len() > 8 { ", ..." } else { "" };
    if names.is_empty() { "nothing".into() } else { format!("{}{more}", names[..names.len().min(8)].join(", ")) }
}

pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let got = if folder.exists() { "a file" } else { "nothing of that name" };
    Err(Error::Path { path: folder.into(), expected: "a folder".into(), got: got.into() })
}

/// The image files in a folder.
pub(crate) struct Files {
    /// By stem; several files may share one.
    pub images: BTreeMap<String, Vec<PathBuf>>,
    pub skipped: Vec<String>,
}

/// Image files directly in a folder, sorted. Hidden files and `Thumbs.db` are passed over.
pub(crate) fn files(folder: &Path) -> Result<Files> {
    check_folder(folder)?;
    let mut found = Files { images: BTreeMap::new(), skipped: Vec::new() };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        paths.push(entry.map_err(Error::io(folder))?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        // Whether they are one series is judged when they are read: a folder of several must not be passed over.
        let is_series = path.is_dir() && dicom::files_of(&path).is_ok_and(|files| !files.is_empty());
        let is_zarr = path.is_dir() && zarr::is_zarr(&path);
        if path.is_dir() && !is_series && !is_zarr || name.starts_with('.') || name.eq_ignore_ascii_case("thumbs.db") {
            continue;
        }
        if is_zarr {
            found.images.entry(stem(&name)).or_default().push(path);
        } else if is_series {
            found.images.entry(name).or_default().push(path);
        } else if has_image_ending(&path) {
            found.images.entry(stem(&name)).or_default().push(path);
        } else if FOREIGN_EXTENSIONS.contains(&extension.as_str()) {
            return Err(Error::Content {
                path,
                expected: format!("{READ_FORMATS} file"),
                got: format!("a .{extension} file, a format that is not read"),
                hint: "convert it to NIfTI or to a TIFF stack".into(),
            });
        } else {
            found.skipped.push(name);
        }
    }
    Ok(found)
}

fn one(paths: &[PathBuf]) -> Result<PathBuf> {
    match paths {
        [path] => Ok(path.clone()),
        _ => Err(Error::Content {
            path: paths[0].clone(),
            expected: "one file per name".into(),
            got: format!("also {}", paths[1].display()),
            hint: "rename or remove one of them".into(),
        }),
    }
}

/// The image's stem when a mask's stem is that and a suffix.
fn without_suffix(stem: &str) -> Option<&str> {
    MASK_SUFFIXES.iter().find_map(|s| {
        let at = stem.len().checked_sub(s.len())?;
        let tail = stem.get(at..)?;
        (at > 0 && tail.eq_ignore_ascii_case(s)).then(|| &stem[..at])
    })
}

/// What lies there instead of the mask of an image: a file that is nearly called so, or none.
fn near(stem: &str, masks: &BTreeMap<String, Vec<PathBuf>>, passed_over: &[String]) -> String {
    let same = |name: &str| {
        name.eq_ignore_ascii_case(stem) || without_suffix(name).is_some_and(|s| s.eq_ignore_ascii_case(stem))
    };
    let other_case = masks.iter().find(|(name, _)| *name != stem && same(name)).map(|(_, paths)| &paths[0]);
    if let Some(path) = other_case {
        return format!("{}, whose name differs in upper and lower case", path.display());
    }
    let other_kind = passed_over.iter().find(|name| same(&super::split::stem(name)));
    other_kind.map_or_else(|| "none".into(), |name| format!("{name}, a file that is not read"))
}

/// Pairs the files of two folders, which may be one and the same, by stem.
fn pair(images: &Path, masks: Option<&Path>, options: &Options) -> Result<Listing> {
    let mut listing = Listing::default();
    let image_files = files(images)?;
    let same = masks == Some(images);
    let Files { images: mask_files, skipped: passed_over } = match masks {
        Some(folder) => files(folder)?,
        None if options.masks_optional => Files { images: BTreeMap::new(), skipped: Vec::new() },
        None => {
            return Err(Error::Dataset {
                path: options.root.clone(),
                reason: "it has no folder `masks` or `labels` beside `images`".into(),
                hint: "add the folder or name it with --masks".into(),
            });
        }
    };
    let is_mask = |stem: &str| same && without_suffix(stem).is_some_and(|s| image_files.images.contains_key(s));
    let mut by_image: BTreeMap<&str, Vec<&Vec<PathBuf>>> = BTreeMap::new();
    for (stem, paths) in &mask_files {
        let exact = !same && image_files.images.contains_key(stem);
        let owner = if exact { Some(stem.as_str()) } else { without_suffix(stem) };
        match owner.filter(|o| image_files.images.contains_key(*o)) {
            Some(owner) => by_image.entry(owner).or_default().push(paths),
            None if same => {}
            None => listing.warnings.push(format!("{} has no image and is not used", paths[0].display())),
        }
    }
    for (stem, paths) in image_files.images.iter().filter(|(s, _)| !is_mask(s)) {
        let image = one(paths)?;
        let all: Vec<PathBuf> = by_image.remove(stem.as_str()).into_iter().flatten().flatten().cloned().collect();
        let mask = if all.is_empty() { None } else { Some(one(&all)?) };
        if mask.is_none() && !options.masks_optional {
            let folder = masks.unwrap_or(images);
            return Err(Error::Content {
                path: image,
                expected: format!("a mask named {stem}.* or {stem}_mask.* in {}", folder.display()),
                got: near(stem, &mask_files, &passed_over),
                hint: "add the mask (all zero if there is nothing to mark) or remove the image".into(),
            });
        }
        listing.items.push(Item {
            name: stem.clone(),
            images: vec![image],
            mask,
            split: None,
            slice: None,
            volume: None,
        });
    }
    if listing.items.is_empty() {
        return Err(Error::Dataset {
            path: images.into(),
            reason: format!("it holds no {} file", READ_FORMATS.trim_start_matches("a ")),
            hint: format!("it holds {}; convert the images or name another folder with --images", contents(images)),
        });
    }
    let mut skipped = image_files.skipped;
    skipped.retain(|n| !same || !(n.ends_with(".csv") || n.ends_with(".md") || n.ends_with(".txt")));
    if let Some(first) = skipped.first() {
        let n = skipped.len();
        listing
            .warnings
            .push(format!("{n} file(s) in {} are not images and were passed over: {first}", images.display()));
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_suffixes_are_taken_off() {
        assert_eq!(without_suffix("train_1_anno"), Some("train_1"));
        assert_eq!(without_suffix("a_Segmentation"), Some("a"));
        assert_eq!(without_suffix("_mask"), None);
        assert_eq!(without_suffix("µ_mas"), None);
    }
}
