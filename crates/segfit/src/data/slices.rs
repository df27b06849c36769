//! Files that hold several pictures: volumes (NIfTI, DICOM, `.npy`) and stacks of TIFF pages, slice by slice.

use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use super::dicom;
use super::guard::guarded;
use super::header::Header;
use super::nifti::{self, is_gzip, is_nifti};
use super::raster::{Note, Raster, Values};
use super::read::{MAGIC_BYTES, decode_error, open_file, read_bytes};
use super::read_npy::decode_npy;
use super::read_tiff::decode_slice;
use super::tiff_pages::Stack;
use super::volume::{Axis, Geometry, Slice, Volume};
use super::zarr;
use crate::error::{Error, Result};
use crate::npy::is_npy;

/// What kind of pictures a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One picture, or something unknown.
    Picture,
    /// Pages.
    Tiff,
    /// A volume.
    Nifti,
    /// A picture or a volume, or a folder of them.
    Dicom,
    /// A picture or a stack.
    Npy,
    /// A folder of chunks.
    Zarr,
}

impl Kind {
    /// By the content; a folder that is no OME-Zarr is taken for a DICOM series.
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(if zarr::is_zarr(path) { Self::Zarr } else { Self::Dicom });
        }
        let mut start = Vec::new();
        // A gzip header with a name, and the first block, fit into this.
        open_file(path)?.take(64 * MAGIC_BYTES).read_to_end(&mut start).map_err(Error::io(path))?;
        Ok(Self::of_bytes(&start))
    }

    pub fn of_bytes(start: &[u8]) -> Self {
        let tiff = [b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"];
        match () {
            // Before TIFF: the first 128 bytes of a DICOM file may look like one.
            () if dicom::is_dicom(start) => Self::Dicom,
            () if tiff.iter().any(|magic| start.starts_with(*magic)) => Self::Tiff,
            () if is_npy(start) => Self::Npy,
            () if is_nifti(start) => Self::Nifti,
            () if is_gzip(start) && gzipped_nifti(start) => Self::Nifti,
            () => Self::Picture,
        }
    }

    /// Whether a slice can be asked for along any axis.
    pub fn is_volume(self) -> bool {
        matches!(self, Self::Nifti | Self::Dicom | Self::Npy | Self::Zarr)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Picture => "an image",
            Self::Tiff => "TIFF",
            Self::Nifti => "NIfTI",
            Self::Dicom => "DICOM",
            Self::Npy => "NumPy",
            Self::Zarr => "OME-Zarr",
        }
    }
}

/// Whether the start of a gzip file is the start of a NIfTI file; the end that is missing does not matter.
fn gzipped_nifti(start: &[u8]) -> bool {
    let mut head = [0; 348];
    let mut reader = flate2::read::MultiGzDecoder::new(start);
    let mut filled = 0;
    while filled < head.len() {
        match reader.read(&mut head[filled..]) {
            Ok(n) if n > 0 => filled += n,
            _ => break,
        }
    }
    is_nifti(&head[..filled])
}

/// The size of a file of slices, without its pixels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outline {
    pub kind: Kind,
    /// Slices, rows and columns.
    pub shape: [usize; 3],
    /// Channels of an image.
    pub channels: usize,
    /// The axis that slices follow where the user names none.
    pub axis: Axis,
    /// Decoded bytes of the whole.
    pub bytes: usize,
    /// Whether channels of one slice lie in several pages.
    pub is_merged: bool,
    /// Distances along x, y and z, where the file says them for its own sake. A number of dots per inch is not one: it is there for
    /// printing.
    pub spacing_mm: Option<[f64; 3]>,
    /// Time points among the slices.
    pub times: usize,
}

impl Outline {
    /// # Errors
    /// As [`Slices::open`].
    pub fn read(path: &Path) -> Result<Self> {
        let kind = Kind::of(path)?;
        guarded(path, kind.name(), || Self::of_kind(path, kind))
    }

    fn of_kind(path: &Path, kind: Kind) -> Result<Self> {
        let refuse = decode_error(path, kind.name());
        let of_volume = |v: &Volume| Self {
            kind,
            shape: v.shape,
            channels: v.channels - usize::from(v.alpha),
            axis: v.coarsest_axis(),
            bytes: v.samples.len() * 4,
            is_merged: false,
            spacing_mm: v.spacing_mm,
            times: v.times,
        };
        match kind {
            Kind::Nifti => {
                let mut start = Vec::new();
                open_file(path)?.take(64 * MAGIC_BYTES).read_to_end(&mut start).map_err(Error::io(path))?;
                let o = nifti::outline(&start).map_err(refuse)?;
                let empty = Volume {
                    shape: o.shape,
                    times: o.times,
                    channels: o.channels,
                    bits: o.number.bits(),
                    alpha: o.channels == 4,
                    samples: super::raster::Samples::U8(vec![]),
                    values: Values::Type,
                    spacing_mm: Some(o.spacing_mm),
                    geometry: Geometry::None,
                    notes: vec![],
                };
                let bytes = o.shape.iter().fold(4 * o.channels, |n, &side| n.saturating_mul(side));
                Ok(Self { bytes, ..of_volume(&empty) })
            }
            Kind::Dicom => dicom::outline(path),
            Kind::Zarr => {
                let o = zarr::Outline::read(path)?;
                let bytes = o.shape.iter().fold(o.number_bytes() * o.channels, |n, &side| n.saturating_mul(side));
                Ok(Self {
                    kind,
                    shape: o.shape,
                    channels: o.channels,
                    axis: o.axis(),
                    bytes,
                    is_merged: false,
                    spacing_mm: o.spacing_mm,
                    times: o.times,
                })
            }
            Kind::Npy => Ok(of_volume(&decode_npy(&read_bytes(path)?).map_err(refuse)?)),
            Kind::Tiff => {
                let stack = Stack::read(&mut open_file(path)?).map_err(refuse)?;
                let page = &stack.slices[0][0];
                let (height, width) = (page.height as usize, page.width as usize);
                let channels = page.channels as usize * stack.slices[0].len();
                Ok(Self {
                    kind,
                    shape: [stack.slices.len(), height, width],
                    channels,
                    axis: Axis::Z,
                    bytes: 0,
                    is_merged: stack.slices[0].len() > 1,
                    spacing_mm: stack.spacing_mm.filter(|_| stack.axes != "pages"),
                    times: stack.times,
                })
            }
            Kind::Picture => {
                let header = Header::read(path)?;
                let (shape, bytes) = ([1, header.height, header.width], header.bytes);
                let channels = header.channels;
                Ok(Self { kind, shape, channels, axis: Axis::Z, bytes, is_merged: false, spacing_mm: None, times: 1 })
            }
        }
    }

    /// How many slices there are along an axis.
    pub fn slices(&self, axis: Axis) -> usize {
        axis.slices(self.shape)
    }

    /// Rows and columns of a slice along an axis.
    pub fn slice_size(&self, axis: Axis) -> (usize, usize) {
        axis.slice_size(self.shape)
    }

    /// Distances between slices along an axis, between the rows of such a slice and between its columns.
    pub fn spacing_along(&self, axis: Axis) -> Option<[f64; 3]> {
        let [x, y, z] = self.spacing_mm?;
        Some(match axis {
            Axis::X => [x, z, y],
            Axis::Y => [y, z, x],
            Axis::Z => [z, y, x],
        })
    }

    /// Columns, rows and slices, for messages.
    pub fn sides(&self) -> String {
        let [z, y, x] = self.shape;
        format!("{x} x {y} x {z}")
    }

    /// The axis to follow: the one asked for, if the file has slices along it.
    ///
    /// # Errors
    /// [`Error::Option`] for a stack of pages and another axis than z.
    pub fn axis(&self, path: &Path, asked: Option<Axis>) -> Result<Axis> {
        match asked {
            Some(axis) if axis != Axis::Z && !self.kind.is_volume() && self.shape[0] > 1 => Err(Error::Option {
                what: format!("--axis for {}", path.display()),
                expected: "z: the pages of a TIFF stack are its slices".into(),
                got: axis.to_string(),
            }),
            // A single picture has no depth to look along.
            Some(axis) if self.shape[0] > 1 => Ok(axis),
            _ => Ok(self.axis),
        }
    }

    /// The header of a volume of one slice.
    pub fn header(&self, path: &Path) -> Result<Header> {
        if self.slices(self.axis) != 1 {
            return Err(several(path, self));
        }
        let (height, width) = self.slice_size(self.axis);
        let (channels, bytes) = (self.channels, self.bytes);
        Ok(Header { height, width, channels, bytes, has_bands: false, notes: vec![] })
    }
}

fn several(path: &Path, outline: &Outline) -> Error {
    Error::Content {
        path: path.into(),
        expected: "one picture".into(),
        got: format!("a volume of {} voxels", outline.sides()),
        hint: "its image must be a volume of the same size".into(),
    }
}

/// A file of slices, opened: a volume is in memory, of a stack each page is read when it is asked for.
#[derive(Debug)]
pub(crate) struct Slices {
    path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Picture(Raster),
    Pages(Stack),
    Volume(Box<Volume>),
}

impl Source {
    fn of_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let kind = Kind::of_bytes(bytes);
        let refuse = decode_error(path, kind.name());
        Ok(match kind {
            Kind::Nifti => Self::Volume(Box::new(nifti::decode_nifti(bytes).map_err(refuse)?)),
            Kind::Npy => Self::Volume(Box::new(decode_npy(bytes).map_err(refuse)?)),
            Kind::Dicom => Self::Volume(Box::new(dicom::decode(path)?)),
            Kind::Zarr => Self::Volume(Box::new(zarr::decode(path)?)),
            Kind::Tiff => Self::Pages(Stack::read(&mut Cursor::new(bytes)).map_err(refuse)?),
            Kind::Picture => Self::Picture(super::read::decode(path, bytes)?),
        })
    }
}

impl Slices {
    /// A file, or a folder that holds one DICOM series.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Content`] and [`Error::Decode`].
    pub fn open(path: &Path) -> Result<Self> {
        let kind = Kind::of(path)?;
        let refuse = decode_error(path, kind.name());
        let read = || match kind {
            Kind::Tiff => Ok(Source::Pages(Stack::read(&mut open_file(path)?).map_err(refuse)?)),
            Kind::Dicom => Ok(Source::Volume(Box::new(dicom::decode(path)?))),
            Kind::Zarr => Ok(Source::Volume(Box::new(zarr::decode(path)?))),
            _ => Source::of_bytes(path, &read_bytes(path)?),
        };
        Ok(Self { path: path.into(), source: guarded(path, kind.name(), read)? })
    }

    /// The mask of an image: a DICOM segmentation object as a volume like the image, everything else as it is.
    ///
    /// # Errors
    /// As [`Slices::open`].
    pub fn open_mask(path: &Path, image: &Path) -> Result<Self> {
        if path.is_file() && Kind::of(path)? == Kind::Dicom && dicom::is_segmentation(path)? {
            let source = Source::Volume(Box::new(dicom::decode_like(path, image)?));
            return Ok(Self { path: path.into(), source });
        }
        Self::open(path)
    }

    /// A file whose bytes these are.
    pub fn of_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let source = guarded(path, Kind::of_bytes(bytes).name(), || Source::of_bytes(path, bytes))?;
        Ok(Self { path: path.into(), source })
    }

    /// The volume, if it is one.
    pub fn volume(&self) -> Option<&Volume> {
        match &self.source {
            Source::Volume(volume) => Some(volume),
            _ => None,
        }
    }

    /// The pages, if it is a TIFF file.
    pub fn pages(&self) -> Option<&Stack> {
        match &self.source {
            Source::Pages(stack) => Some(stack),
            _ => None,
        }
    }

    /// Pixels of a slice.
    ///
    /// # Errors
    /// [`Error::Decode`] of a damaged page; [`Error::Content`] when there is no such slice.
    pub fn raster(&self, slice: Slice) -> Result<Raster> {
        let mut raster = match &self.source {
            Source::Picture(raster) if slice.index == 0 => raster.clone(),
            Source::Volume(volume) if slice.index < volume.slices(slice.axis) => volume.slice(slice),
            Source::Pages(stack) if slice.index < stack.slices.len() => {
                let open = || std::fs::File::open(&self.path).map(std::io::BufReader::new).map_err(|e| e.to_string());
                let (path, name) = (&self.path, Kind::Tiff.name());
                guarded(path, name, || decode_slice(open, stack, slice.index).map_err(decode_error(path, name)))?
            }
            _ => {
                return Err(Error::Content {
                    path: self.path.clone(),
                    expected: format!("a slice {} along {}, like its image", slice.index, slice.axis),
                    got: "fewer slices".into(),
                    hint: "image and mask must be volumes of one size".into(),
                });
            }
        };
        raster.note_transparency();
        Ok(raster)
    }

    /// The pixels of a volume of one slice.
    pub fn only(&self) -> Result<Raster> {
        match &self.source {
            Source::Volume(v) if v.slices(v.coarsest_axis()) == 1 => {
                self.raster(Slice { axis: v.coarsest_axis(), index: 0 })
            }
            _ => Err(several(&self.path, &Outline::read(&self.path)?)),
        }
    }

    /// What was left out of the file.
    pub fn notes(&self) -> &[Note] {
        match &self.source {
            Source::Picture(raster) => &raster.notes,
            Source::Pages(stack) => &stack.notes,
            Source::Volume(volume) => &volume.notes,
        }
    }
}

/// The hash of a file's bytes; of a folder, of the DICOM files in it, or of all files of an OME-Zarr.
pub(crate) fn hash_of(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    if path.is_dir() {
        let files = if zarr::is_zarr(path) { zarr::files_of(path)? } else { dicom::files_of(path)? };
        for file in files {
            hasher.update_reader(open_file(&file)?).map_err(Error::io(&file))?;
        }
    } else {
        hasher.update_reader(open_file(path)?).map_err(Error::io(path))?;
    }
    Ok(hasher.finalize())
}

/// Whether a folder is read as one image: it is an OME-Zarr, or holds several DICOM files that are one series.
#[must_use]
pub fn is_image_folder(folder: &Path) -> bool {
    zarr::is_zarr(folder) || dicom::files_of_series(folder) > 1
}

/// The hash of a slice of a file with this hash.
pub(crate) fn slice_hash(file: &blake3::Hash, slice: Slice) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(file.as_bytes());
    hasher.update(format!("{} {}", slice.axis, slice.index).as_bytes());
    hasher.finalize()
}
