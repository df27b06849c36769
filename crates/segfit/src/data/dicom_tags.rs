//! The DICOM attributes that are read, and their values as text and numbers.

use dicom_object::{InMemDicomObject, Tag};

pub(super) const SOP_CLASS: Tag = Tag(0x0008, 0x0016);
pub(super) const MODALITY: Tag = Tag(0x0008, 0x0060);
pub(super) const SLICE_THICKNESS: Tag = Tag(0x0018, 0x0050);
pub(super) const SPACING_BETWEEN_SLICES: Tag = Tag(0x0018, 0x0088);
pub(super) const IMAGER_PIXEL_SPACING: Tag = Tag(0x0018, 0x1164);
pub(super) const SERIES: Tag = Tag(0x0020, 0x000e);
pub(super) const INSTANCE_NUMBER: Tag = Tag(0x0020, 0x0013);
pub(super) const POSITION: Tag = Tag(0x0020, 0x0032);
pub(super) const ORIENTATION: Tag = Tag(0x0020, 0x0037);
pub(super) const SAMPLES_PER_PIXEL: Tag = Tag(0x0028, 0x0002);
pub(super) const PHOTOMETRIC: Tag = Tag(0x0028, 0x0004);
pub(super) const PLANAR: Tag = Tag(0x0028, 0x0006);
pub(super) const FRAMES: Tag = Tag(0x0028, 0x0008);
pub(super) const ROWS: Tag = Tag(0x0028, 0x0010);
pub(super) const COLUMNS: Tag = Tag(0x0028, 0x0011);
pub(super) const PIXEL_SPACING: Tag = Tag(0x0028, 0x0030);
pub(super) const BITS_ALLOCATED: Tag = Tag(0x0028, 0x0100);
pub(super) const BITS_STORED: Tag = Tag(0x0028, 0x0101);
pub(super) const HIGH_BIT: Tag = Tag(0x0028, 0x0102);
pub(super) const PIXEL_REPRESENTATION: Tag = Tag(0x0028, 0x0103);
pub(super) const WINDOW_CENTER: Tag = Tag(0x0028, 0x1050);
pub(super) const WINDOW_WIDTH: Tag = Tag(0x0028, 0x1051);
pub(super) const RESCALE_INTERCEPT: Tag = Tag(0x0028, 0x1052);
pub(super) const RESCALE_SLOPE: Tag = Tag(0x0028, 0x1053);
pub(super) const RESCALE_TYPE: Tag = Tag(0x0028, 0x1054);
pub(super) const SHARED_GROUPS: Tag = Tag(0x5200, 0x9229);
pub(super) const FRAME_GROUPS: Tag = Tag(0x5200, 0x9230);
pub(super) const PIXEL_DATA: Tag = Tag(0x7fe0, 0x0010);

/// A segmentation, whose frames are segments and not slices.
pub(super) const SEGMENTATION: &str = "1.2.840.10008.5.1.4.1.1.66.4";
/// A segmentation whose pixels are numbers of segments.
pub(super) const LABEL_MAP: &str = "1.2.840.10008.5.1.4.1.1.66.7";
/// Everything behind the meta group is deflated.
pub(super) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// The index of a medium, which holds no pixels.
pub(super) const DIRECTORY: &str = "1.2.840.10008.1.3.10";
/// Pixels packed as runs.
pub(super) const RLE: &str = "1.2.840.10008.1.2.5";
/// Transfer syntaxes of JPEG-LS: lossless, and nearly.
pub(super) const JPEG_LS: [&str; 2] = ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"];
/// Those of JPEG 2000: lossless only, and any.
pub(super) const JPEG_2000: [&str; 2] = ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"];

pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = object.get(tag)?.to_str().ok()?;
    Some(value.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_string())
}

pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    numbers(object, tag)?.first().copied()
}

pub(super) fn numbers(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let values = object.get(tag)?.to_multi_float64().ok()?;
    values.iter().all(|v| v.is_finite()).then_some(values)
}

pub(super) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|e| e.items()).unwrap_or_default()
}

/// Numbers of the file as a whole, of all its frames, or of the first frame.
pub(super) fn of_frames(object: &InMemDicomObject, tag: Tag) -> Option<Vec<f64>> {
    let within = |groups: &InMemDicomObject| {
        groups.iter().filter_map(|e| e.items()).flatten().find_map(|item| numbers(item, tag))
    };
    numbers(object, tag)
        .or_else(|| items(object, SHARED_GROUPS).iter().find_map(within))
        .or_else(|| items(object, FRAME_GROUPS).first().and_then(within))
}
