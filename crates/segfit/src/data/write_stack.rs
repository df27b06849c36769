//! Masks of all slices of a volume as one file, in the format and with the geometry of the volume.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use tiff::encoder::{Compression, DeflateLevel, Rational, TiffEncoder, colortype};
use tiff::tags::{ResolutionUnit, Tag};

use super::image::Mask;
use super::image_file::ImageFile;
use super::label_map::LabelMap;
use super::labels::LabelCoding;
use super::read_npy::MAX_CHANNELS;
use super::slices::Kind;
use super::volume::Geometry;
use super::write::labels_of;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::{data::nifti, npy};

/// Writes the masks of all slices of a file, in their order, with the labels that the data set's own masks use, and
/// returns the path: `folder` / `name` and the ending of the format.
///
/// | image | masks |
/// | --- | --- |
/// | NIfTI | NIfTI with the same sides, spacing and transforms, gzipped where the image is |
/// | DICOM | NIfTI (`.nii.gz`) with the spacing and place that the image's headers say |
/// | TIFF stack, OME-Zarr | TIFF stack, deflated, with the spacing in ImageJ's words |
/// | `.npy` | `.npy`, slices x rows x columns, or rows x columns; up to 4 slices have a last side of 1 |
///
/// Labels are of 8 bits, or 16 where one is above 255. Texts of the image's headers are not copied.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written; [`Error::Option`] when the mask holds a class that the map does not
/// know, or the labels are colours or above 65535.
///
/// # Panics
/// When there are not as many masks as slices, or one is of another size.
pub fn write_masks(folder: &Path, name: &str, file: &ImageFile, masks: &[Mask], map: &LabelMap) -> Result<PathBuf> {
    assert_eq!(masks.len(), file.count(), "one mask for each slice");
    let mut slices: Vec<Vec<u16>> = Vec::new();
    for mask in masks {
        slices.push(labels_of(mask, map)?.into_iter().map(|v| narrow(v, map)).collect::<Result<_>>()?);
    }
    let is_wide = slices.iter().flatten().any(|&v| v > 255);
    let (height, width) = file.outline.slice_size(file.axis());
    assert!(masks.iter().all(|m| (m.height, m.width) == (height, width)), "masks are as large as slices");
    let unwritable = |reason: String| Error::Option {
        what: format!("masks of {}", file.path().display()),
        expected: "a volume that its format can hold".into(),
        got: reason,
    };
    let (ending, bytes) = match (file.slices.volume(), file.outline.kind) {
        (Some(volume), _) if volume.geometry != Geometry::None => {
            let labels = volume.unslice(file.axis(), &slices);
            match &volume.geometry {
                Geometry::Nifti { header, gzipped } => {
                    let ending = if *gzipped { "nii.gz" } else { "nii" };
                    (ending, nifti::encode_like(header, &labels, *gzipped).map_err(unwritable)?)
                }
                Geometry::Affine(affine) => {
                    let spacing = volume.spacing_mm.unwrap_or([1.0; 3]);
                    let bytes = nifti::encode_affine(volume.shape, spacing, affine, &labels).map_err(unwritable)?;
                    ("nii.gz", bytes)
                }
                Geometry::None => unreachable!("excluded above"),
            }
        }
        (Some(volume), Kind::Npy) => {
            let labels = volume.unslice(file.axis(), &slices);
            let [z, y, x] = volume.shape;
            // Three sides of which the first is short would be read as channels.
            let shape = match z {
                1 => vec![y, x],
                2..=MAX_CHANNELS => vec![z, y, x, 1],
                _ => vec![z, y, x],
            };
            let bytes = if is_wide {
                npy::shorts(&shape, &labels)
            } else {
                npy::bytes(&shape, &labels.iter().map(|&v| v as u8).collect::<Vec<_>>())
            };
            ("npy", bytes)
        }
        _ => {
            let (spacing, times) = match (file.slices.pages(), file.slices.volume()) {
                (Some(stack), _) => (stack.spacing_mm, stack.times),
                (_, Some(volume)) => (volume.spacing_mm, volume.times),
                _ => (None, 1),
            };
            let stack = Pages { slices: &slices, height, width, is_wide, spacing_mm: spacing, times };
            ("tif", stack.encode().map_err(|e| unwritable(e.to_string()))?)
        }
    };
    let path = folder.join(format!("{name}.{ending}"));
    write_atomically(&path, &bytes)?;
    Ok(path)
}

fn narrow(label: u32, map: &LabelMap) -> Result<u16> {
    u16::try_from(label).ok().filter(|_| map.coding != LabelCoding::Colour).ok_or_else(|| Error::Option {
        what: "masks to write as one volume".into(),
        expected: "labels from 0 to 65535".into(),
        got: if map.coding == LabelCoding::Colour { "labels that are colours".into() } else { label.to_string() },
    })
}

/// A TIFF stack of labels.
struct Pages<'a> {
    slices: &'a [Vec<u16>],
    height: usize,
    width: usize,
    is_wide: bool,
    spacing_mm: Option<[f64; 3]>,
    times: usize,
}

impl Pages<'_> {
    fn encode(&self) -> tiff::TiffResult<Vec<u8>> {
        let mut out = Cursor::new(Vec::new());
        let compression = Compression::Deflate(DeflateLevel::Balanced);
        let mut encoder = TiffEncoder::new(&mut out)?.with_compression(compression);
        for (i, labels) in self.slices.iter().enumerate() {
            let description = (i == 0).then(|| self.description());
            if self.is_wide {
                self.page::<colortype::Gray16>(&mut encoder, labels, description)?;
            } else {
                let labels: Vec<u8> = labels.iter().map(|&v| v as u8).collect();
                self.page::<colortype::Gray8>(&mut encoder, &labels, description)?;
            }
        }
        Ok(out.into_inner())
    }

    fn page<C: colortype::ColorType>(
        &self,
        encoder: &mut TiffEncoder<&mut Cursor<Vec<u8>>>,
        labels: &[C::Inner],
        description: Option<String>,
    ) -> tiff::TiffResult<()>
    where
        [C::Inner]: tiff::encoder::TiffValue,
    {
        let mut image = encoder.new_image::<C>(self.width as u32, self.height as u32)?;
        if let Some([x, y, _]) = self.spacing_mm {
            // Pixels per millimetre; ImageJ reads the unit from the description.
            let per_mm = |d: f64| Rational { n: (1e6 / d).round().min(4e9) as u32, d: 1_000_000 };
            image.resolution_unit(ResolutionUnit::None);
            image.x_resolution(per_mm(x));
            image.y_resolution(per_mm(y));
        }
        if let Some(text) = description {
            image.encoder().write_tag(Tag::ImageDescription, text.as_str())?;
        }
        image.write_data(labels)
    }

    /// The axes in ImageJ's words.
    fn description(&self) -> String {
        let n = self.slices.len();
        let times = if self.times > 0 && n.is_multiple_of(self.times) { self.times } else { 1 };
        let spacing = self.spacing_mm.map_or(String::new(), |[_, _, z]| format!("unit=mm\nspacing={z}\n"));
        let slices = n / times;
        format!("ImageJ=1.11a\nimages={n}\nslices={slices}\nframes={times}\nhyperstack=true\n{spacing}loop=false\n")
    }
}
