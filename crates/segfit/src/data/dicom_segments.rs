//! DICOM segmentation objects as masks of the DICOM images that they belong to (PS3.3, A.51 and C.8.20).

use std::path::Path;

use dicom_object::{DefaultDicomObject, InMemDicomObject, Tag};
use dicom_pixeldata::PixelDecoder as _;

use super::dicom::{Series, open_header, open_whole};
use super::dicom_tags::{
    BITS_ALLOCATED, COLUMNS, FRAME_GROUPS, FRAMES, LABEL_MAP, ORIENTATION, PIXEL_DATA, POSITION, ROWS, SEGMENTATION,
    SHARED_GROUPS, SOP_CLASS, items, number, numbers, of_frames, text,
};
use super::guard::guarded;
use super::raster::{Samples, Values};
use super::read::{decode_error, open_file};
use super::volume::{Geometry, Volume, check_voxels};
use crate::error::{Error, Result};

const SEGMENTATION_TYPE: Tag = Tag(0x0062, 0x0001);
const REFERENCED_SEGMENT: Tag = Tag(0x0062, 0x000b);
const MAXIMUM_FRACTIONAL: Tag = Tag(0x0062, 0x000e);

/// Distances below this are rounding, as a share of the distance between slices or pixels.
const NEAR: f64 = 0.1;

/// Whether a file is a segmentation object.
pub(crate) fn is_segmentation(path: &Path) -> Result<bool> {
    use std::io::Read as _;
    let mut start = Vec::new();
    open_file(path)?.take(132).read_to_end(&mut start).map_err(Error::io(path))?;
    if !super::dicom::is_dicom(&start) {
        return Ok(false);
    }
    let class = text(&*open_header(path)?, SOP_CLASS);
    Ok(matches!(class.as_deref(), Some(SEGMENTATION | LABEL_MAP)))
}

/// The segments of a segmentation object as labels, in the size and order of the slices of its image: the numbers of the segments,
/// 0 where there is none. Frames are put where their positions say; slices without a frame are empty. Fractions count from half of
/// their maximum.
///
/// # Errors
/// [`Error::Content`] when the object is of another size, orientation or place than the image, or two segments overlap;
/// [`Error::Decode`] when it is damaged.
pub(crate) fn decode_like(path: &Path, image: &Path) -> Result<Volume> {
    let object = open_whole(path)?;
    let slices = ImageSlices::of(image)?;
    let [n, rows, columns] = slices.shape;
    check_voxels(&[columns, rows, n], 2).map_err(decode_error(path, "DICOM segmentation"))?;
    let frames = guarded(path, "DICOM segmentation", || Frames::read(path, &object, &slices))?;
    let mut labels = vec![0u16; n * rows * columns];
    for index in 0..frames.places.len() {
        let Place { slice, segment } = frames.places[index];
        let plane = &mut labels[slice * rows * columns..(slice + 1) * rows * columns];
        for (i, label) in plane.iter_mut().enumerate() {
            let found = frames.label(index * rows * columns + i, segment);
            if found == 0 {
                continue;
            }
            if *label != 0 && *label != found {
                return Err(content(
                    path,
                    "segments that do not overlap",
                    &format!("segments {label} and {found} share pixels of slice {slice}"),
                    "save the segments that you need as separate files, or as one label map",
                ));
            }
            *label = found;
        }
    }
    let is_wide = labels.iter().any(|&l| l > 255);
    let samples =
        if is_wide { Samples::U16(labels) } else { Samples::U8(labels.into_iter().map(|l| l as u8).collect()) };
    Ok(Volume {
        shape: slices.shape,
        times: 1,
        channels: 1,
        bits: if is_wide { 16 } else { 8 },
        alpha: false,
        samples,
        values: Values::Type,
        spacing_mm: slices.spacing_mm,
        geometry: Geometry::None,
        notes: vec![],
    })
}

fn content(path: &Path, expected: &str, got: &str, hint: &str) -> Error {
    Error::Content { path: path.into(), expected: expected.into(), got: got.into(), hint: hint.into() }
}

/// Where the slices of an image lie.
struct ImageSlices {
    shape: [usize; 3],
    spacing_mm: Option<[f64; 3]>,
    orientation: Option<[f64; 6]>,
    /// Of the first slice.
    position: Option<[f64; 3]>,
    /// Along the normal, ascending as the slices are.
    depths: Option<Vec<f64>>,
}

impl ImageSlices {
    fn of(image: &Path) -> Result<Self> {
        let series = Series::read(image).map_err(|error| match error {
            Error::Decode { .. } => content(
                image,
                "a DICOM image, as its mask is a DICOM segmentation object",
                "a file of another format",
                "convert the segmentation object to the image's format",
            ),
            other => other,
        })?;
        let head = &series.heads[0].1;
        let n = if series.heads.len() > 1 { series.heads.len() } else { head.frames };
        let depths = if series.heads.len() > 1 {
            series.heads.iter().map(|(_, h)| h.depth()).collect()
        } else {
            let step = series.step().zip(head.normal()).map_or(0.0, |(s, n)| s[0] * n[0] + s[1] * n[1] + s[2] * n[2]);
            head.depth().map(|first| (0..n).map(|i| first + i as f64 * step).collect())
        };
        Ok(Self {
            shape: [n, head.rows, head.columns],
            spacing_mm: series.spacing_mm(),
            orientation: head.orientation,
            position: head.position,
            depths,
        })
    }

    /// The slice in which a frame at this position lies.
    fn slice_at(&self, path: &Path, position: [f64; 3]) -> Result<usize> {
        let elsewhere = |got: &str| {
            content(
                path,
                "frames that lie in slices of the image",
                got,
                "check that it is the segmentation of this series",
            )
        };
        let (Some(depths), Some(o), Some(first)) = (&self.depths, self.orientation, self.position) else {
            return Err(elsewhere("positions, where the image has none"));
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let normal = [o[1] * o[5] - o[2] * o[4], o[2] * o[3] - o[0] * o[5], o[0] * o[4] - o[1] * o[3]];
        let spacing = self.spacing_mm.unwrap_or([1.0; 3]);
        let moved = [0, 1, 2].map(|i| position[i] - first[i]);
        let beside = (dot(&moved, &o[..3]) / spacing[0]).abs().max((dot(&moved, &o[3..]) / spacing[1]).abs());
        // Slices of a tilted gantry are shifted against each other along the rows or columns.
        let is_sheared = self.shape[0] > 1 && self.is_sheared();
        if beside > 0.5 && !is_sheared {
            return Err(elsewhere("a frame that is shifted beside the image"));
        }
        let depth = dot(&normal, &position);
        let nearest =
            (0..depths.len()).min_by(|&a, &b| (depths[a] - depth).abs().total_cmp(&(depths[b] - depth).abs()));
        match nearest {
            Some(slice) if (depths[slice] - depth).abs() <= NEAR * spacing[2].max(0.1) => Ok(slice),
            _ => Err(elsewhere("a frame between or beyond the image's slices")),
        }
    }

    /// Whether the slices do not lie straight above each other.
    fn is_sheared(&self) -> bool {
        let (Some(depths), Some(spacing)) = (&self.depths, self.spacing_mm) else { return false };
        let height = (depths[depths.len() - 1] - depths[0]).abs() / (depths.len() - 1) as f64;
        (height - spacing[2]).abs() > 0.01 * spacing[2]
    }
}

/// Where a frame goes, and the segment that it shows: 0 where its pixels are numbers of segments.
#[derive(Clone, Copy, Debug)]
struct Place {
    slice: usize,
    segment: u16,
}

/// What the pixels of the frames say.
enum Pixels {
    /// One bit each, the lowest first.
    Bits(Vec<u8>),
    /// Fractions of which this and more count.
    Fractions(Vec<u8>, u8),
    /// Numbers of segments.
    Labels(Vec<u16>),
}

struct Frames {
    places: Vec<Place>,
    pixels: Pixels,
}

impl Frames {
    fn read(path: &Path, object: &DefaultDicomObject, image: &ImageSlices) -> Result<Self> {
        let refuse = decode_error(path, "DICOM segmentation");
        let whole = |tag| number(object, tag).map_or(0, |n| n as usize);
        let (rows, columns, n) = (whole(ROWS), whole(COLUMNS), whole(FRAMES).max(1));
        if [rows, columns] != image.shape[1..] {
            let expected = format!("frames of {} x {} pixels, like its image", image.shape[2], image.shape[1]);
            return Err(content(
                path,
                &expected,
                &format!("{columns} x {rows}"),
                "resample the segmentation to its image",
            ));
        }
        let orientation = of_frames(object, ORIENTATION);
        if let (Some(a), Some(b)) = (&orientation, image.orientation)
            && a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-3)
        {
            return Err(content(
                path,
                "frames that lie as the slices of its image do",
                "frames of another orientation",
                "resample the segmentation to its image",
            ));
        }
        let kind = text(object, SEGMENTATION_TYPE).unwrap_or_default();
        let is_map = kind == "LABELMAP";
        let groups = items(object, FRAME_GROUPS);
        if !groups.is_empty() && groups.len() != n {
            return Err(refuse(format!("{} descriptions of {n} frames", groups.len())));
        }
        let place = |index: usize| -> Result<Place> {
            let group = groups.get(index);
            let of = |tag: Tag| within(group, tag).or_else(|| within(items(object, SHARED_GROUPS).first(), tag));
            let segment = match of(REFERENCED_SEGMENT).and_then(|v| v.first().copied()) {
                _ if is_map => 0,
                Some(segment) if (1.0..=65_535.0).contains(&segment) => segment as u16,
                _ => return Err(refuse(format!("frame {} does not say its segment", index + 1))),
            };
            let position = of(POSITION).and_then(|v| <[f64; 3]>::try_from(v).ok());
            let slice = match position {
                // A single picture may have no place.
                None if image.shape[0] == 1 => 0,
                None => return Err(refuse(format!("frame {} does not say its position", index + 1))),
                Some(_) if image.shape[0] == 1 && image.depths.is_none() => 0,
                Some(position) => image.slice_at(path, position)?,
            };
            Ok(Place { slice, segment })
        };
        // A frame takes no fewer than one bit for eight pixels, so this is no more than the file is long.
        let samples = n.saturating_mul(rows).saturating_mul(columns);
        let pixels = Pixels::read(path, object, &kind, samples)?;
        let places = (0..n).map(place).collect::<Result<_>>()?;
        Ok(Self { places, pixels })
    }

    /// The label of a pixel in a frame of a segment, 0 for none.
    fn label(&self, at: usize, segment: u16) -> u16 {
        let is_in = match &self.pixels {
            Pixels::Bits(bytes) => bytes[at / 8] >> (at % 8) & 1 == 1,
            Pixels::Fractions(values, least) => values[at] >= *least,
            Pixels::Labels(labels) => return labels[at],
        };
        if is_in { segment } else { 0 }
    }
}

impl Pixels {
    /// The pixels of all frames.
    fn read(path: &Path, object: &DefaultDicomObject, kind: &str, samples: usize) -> Result<Self> {
        let refuse = decode_error(path, "DICOM segmentation");
        let bits = number(object, BITS_ALLOCATED).map_or(0, |n| n as usize);
        let unknown = || {
            content(
                path,
                "a segmentation of 1 bit, of fractions of 8 bits, or a label map of 8 or 16 bits",
                &format!("pixels of {bits} bits that cannot be decoded"),
                "save it uncompressed, or convert it to NIfTI",
            )
        };
        let needed = if bits == 1 { samples.div_ceil(8) } else { samples.saturating_mul(bits / 8) };
        let bytes = if bits == 1 {
            let element =
                object.element_opt(PIXEL_DATA).ok().flatten().ok_or_else(|| refuse("it holds no pixels".into()))?;
            element.to_bytes().map_err(|_| unknown())?.into_owned()
        } else {
            object.decode_pixel_data().map_err(|_| unknown())?.data().to_vec()
        };
        if bytes.len() < needed {
            return Err(refuse(format!("it holds {} of {needed} bytes of pixels", bytes.len())));
        }
        match (kind, bits) {
            (_, 1) => Ok(Self::Bits(bytes)),
            ("LABELMAP", 8) => Ok(Self::Labels(bytes.into_iter().map(u16::from).collect())),
            ("LABELMAP", 16) => {
                Ok(Self::Labels(bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()))
            }
            (_, 8) => {
                let most = number(object, MAXIMUM_FRACTIONAL).map_or(255.0, |n| n.clamp(1.0, 255.0));
                Ok(Self::Fractions(bytes, (most / 2.0).ceil() as u8))
            }
            _ => Err(unknown()),
        }
    }
}

/// Numbers of an item, or of the items in it.
fn within(group: Option<&InMemDicomObject>, tag: Tag) -> Option<Vec<f64>> {
    group?.iter().filter_map(|e| e.items()).flatten().find_map(|item| numbers(item, tag))
}
