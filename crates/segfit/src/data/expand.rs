//! Volumes and stacks become samples: one per slice, named `volume#012`.

use std::collections::BTreeMap;
use std::path::Path;

use super::dicom;
use super::layout::Item;
use super::slices::{Kind, Outline};
use super::volume::{Axis, Slice};
use crate::error::{Error, Result};

/// The items, each volume or stack as one item per slice, with the volume's name as `volume`.
///
/// # Errors
/// [`Error::Content`] when the mask of a volume, or one of its channels, is of another size.
pub(crate) fn slices_of(items: Vec<Item>, asked: Option<Axis>) -> Result<Vec<Item>> {
    let mut all = Vec::with_capacity(items.len());
    // The first image of each DICOM series that lies in files side by side.
    let mut series: BTreeMap<String, String> = BTreeMap::new();
    for mut item in items {
        let outline = Outline::read_if_stack(&item.images[0])?;
        let Some(outline) = outline else {
            all.push(item);
            continue;
        };
        let is_file = outline.kind == Kind::Dicom && item.images[0].is_file();
        let number = if is_file { dicom::series_of(&item.images[0])? } else { None };
        if let Some(number) = number {
            item.volume = Some(series.entry(number).or_insert_with(|| item.name.clone()).clone());
        }
        let axis = outline.axis(&item.images[0], asked)?;
        let is_placed = |path: &Path| outline.kind == Kind::Dicom && dicom::is_segmentation(path).unwrap_or(false);
        let mask = item.mask.as_ref().filter(|path| !path.is_file() || !is_placed(path));
        for path in item.images[1..].iter().chain(mask) {
            check_same(path, &item.images[0], &outline)?;
        }
        let n = outline.slices(axis);
        if n == 1 {
            all.push(Item { slice: Some(Slice { axis, index: 0 }), ..item });
            continue;
        }
        let digits = (n - 1).to_string().len().max(3);
        let slice = |index: usize| Item {
            name: format!("{}#{index:0digits$}", item.name),
            volume: Some(item.volume.clone().unwrap_or_else(|| item.name.clone())),
            slice: Some(Slice { axis, index }),
            ..item.clone()
        };
        all.extend((0..n).map(slice));
    }
    Ok(all)
}

/// Fails when a mask or channel of a volume differs from it in shape.
fn check_same(path: &Path, image: &Path, outline: &Outline) -> Result<()> {
    let other = Outline::read(path)?;
    if other.shape == outline.shape {
        return Ok(());
    }
    Err(Error::Content {
        path: path.into(),
        expected: format!("{} voxels, like {}", outline.sides(), image.display()),
        got: other.sides(),
        hint: "the mask of a volume, and all its channels, must be volumes of the same size".into(),
    })
}

impl Outline {
    /// `None` for a file of one picture, which is read as such.
    fn read_if_stack(path: &Path) -> Result<Option<Self>> {
        match Kind::of(path)? {
            Kind::Picture => Ok(None),
            Kind::Tiff => {
                let outline = Self::read(path)?;
                Ok((outline.shape[0] > 1 || outline.is_merged).then_some(outline))
            }
            _ => Self::read(path).map(Some),
        }
    }
}
