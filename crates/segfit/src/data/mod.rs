//! Images and masks on disk, as one checked [`Dataset`], and as samples prepared for a network.

mod banded;
mod bands;
mod blosc;
mod content_hash;
mod ctc;
mod dataset;
#[cfg_attr(not(feature = "dicom"), path = "dicom_absent.rs")]
mod dicom;
#[cfg(feature = "dicom")]
mod dicom_check;
#[cfg(feature = "dicom")]
mod dicom_head;
#[cfg(feature = "dicom")]
mod dicom_palette;
#[cfg(feature = "dicom")]
mod dicom_pixels;
#[cfg(feature = "dicom")]
mod dicom_samples;
#[cfg(feature = "dicom")]
mod dicom_segments;
#[cfg(feature = "dicom")]
mod dicom_tags;
mod expand;
mod fingerprint;
mod foreign;
mod guard;
mod header;
mod image;
mod image_file;
mod inspect;
mod label_map;
mod labels;
mod layout;
mod limits;
mod nifti;
mod nnunet;
mod normalise;
mod numbers;
mod ome;
mod origin;
mod overlay;
mod parts;
mod photometric;
mod prepared;
mod raster;
mod raw_strips;
mod read;
mod read_npy;
mod read_tiff;
mod resize;
mod resize_bands;
mod rows;
mod scan;
mod slices;
mod split;
mod tiff_directory;
mod tiff_pages;
#[cfg(test)]
mod tiff_writer;
mod tiff_zstd;
mod tiles;
mod variant;
mod volume;
mod volumes;
mod write;
mod write_rows;
mod write_stack;
mod zarr;

pub use self::banded::{BandedImage, BandedPair, BandedTruth};
pub use self::dataset::{Dataset, Options, Pair, Spacing};
pub use self::guard::is_decoding;
pub use self::image::{Image, Mask, Sample};
pub use self::image_file::ImageFile;
pub use self::inspect::{Inspection, inspect};
pub use self::label_map::{LabelEntry, LabelKind, LabelMap};
pub use self::labels::{LabelCoding, RawMask, read_raw_mask};
pub use self::layout::{IMAGE_ENDINGS, has_image_ending};
pub use self::limits::{MAX_DECODED_BYTES, MAX_SIDE, max_decoded_bytes, set_max_decoded_bytes};
pub use self::normalise::Normalisation;
pub use self::origin::{Origin, PHANTOM_FILE, PHANTOM_FORMAT};
pub use self::overlay::contour_overlay;
pub(crate) use self::prepared::each_of_whole;
pub use self::raster::{Note, Values};
pub use self::read::read_image;
pub use self::resize::{prepare, resize_image, resize_labels, resize_mask};
pub use self::resize_bands::each_resized_row;
pub use self::rows::WHOLE_BYTES;
pub use self::scan::MIN_SIDE;
pub use self::slices::is_image_folder;
pub use self::split::{Split, stem};
pub use self::tiles::tiles;
pub use self::variant::{
    Half, Operation, Seeded, VARIANT_FILE, VARIANT_FORMAT, Variant, blurred, contrasted, magnified, noisy, of_size,
    reduced,
};
pub use self::volume::{Axis, Slice};
pub use self::write::{write_image_png, write_mask};
pub use self::write_rows::write_mask_rows;
pub use self::write_stack::write_masks;
