//! NIfTI volumes (`.nii`, `.nii.gz`), versions 1 and 2, read and written
//! (<https://nifti.nimh.nih.gov/nifti-1>, <https://nifti.nimh.nih.gov/nifti-2>).

use std::io::{Read, Write as _};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::limits::max_decoded_bytes;
use super::numbers::Number;
use super::raster::{Samples, Values};
use super::volume::{Geometry, Volume, check_voxels, quantile_range};

type Reason<T> = Result<T, String>;

const VERSION_1: usize = 348;
const VERSION_2: usize = 540;

/// Whether a file starts as NIfTI files do that hold their voxels.
pub(crate) fn is_nifti(start: &[u8]) -> bool {
    magic(start) == Some(true)
}

/// Whether a file starts as a NIfTI header whose voxels lie in another file.
pub(crate) fn is_nifti_header(start: &[u8]) -> bool {
    magic(start) == Some(false)
}

fn magic(start: &[u8]) -> Option<bool> {
    let at = |offset: usize, magic: &[u8]| start.get(offset..offset + magic.len()) == Some(magic);
    match () {
        () if at(344, b"n+1\0") || at(4, b"n+2\0") => Some(true),
        () if at(344, b"ni1\0") || at(4, b"ni2\0") => Some(false),
        () => None,
    }
}

pub(crate) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

/// Up to `limit` bytes of what a gzip file holds.
pub(crate) fn unzip(bytes: &[u8], limit: usize) -> Reason<Vec<u8>> {
    let mut out = Vec::new();
    MultiGzDecoder::new(bytes).take(limit as u64).read_to_end(&mut out).map_err(|e| format!("gzip: {e}"))?;
    Ok(out)
}

/// The first `limit` bytes of what a gzip file holds; what follows is read, too, since the checksum lies at the end.
fn unzip_whole(bytes: &[u8], limit: usize) -> Reason<Vec<u8>> {
    let bad = |e: std::io::Error| format!("gzip: {e}");
    let mut out = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes);
    reader.by_ref().take(limit as u64).read_to_end(&mut out).map_err(bad)?;
    std::io::copy(&mut reader.take(max_decoded_bytes() as u64), &mut std::io::sink()).map_err(bad)?;
    Ok(out)
}

/// A header, as far as it is needed.
#[derive(Debug)]
struct Header {
    version_2: bool,
    big_endian: bool,
    sides: Vec<usize>,
    number: Number,
    channels: usize,
    start: usize,
    slope: f64,
    intercept: f64,
    spacing_mm: [f64; 3],
    is_scaled: bool,
}

/// What the header says of the volume's size.
#[derive(Debug)]
pub(crate) struct Outline {
    /// As in [`Volume`].
    pub shape: [usize; 3],
    pub times: usize,
    pub channels: usize,
    pub number: Number,
    pub spacing_mm: [f64; 3],
    pub slope: f64,
    pub intercept: f64,
}

/// The size of the volume in a file.
pub(crate) fn outline(bytes: &[u8]) -> Reason<Outline> {
    let head = if is_gzip(bytes) { unzip(bytes, VERSION_2)? } else { bytes[..bytes.len().min(VERSION_2)].to_vec() };
    let h = Header::parse(&head)?;
    h.end()?;
    let (shape, times) = h.shape();
    Ok(Outline {
        shape,
        times,
        channels: h.channels,
        number: h.number,
        spacing_mm: h.spacing_mm,
        slope: h.slope,
        intercept: h.intercept,
    })
}

/// The volume in a file.
///
/// Numbers are `slope * stored + intercept`. Of unsigned bytes without slope, and of colours, 255 becomes 1; other
/// volumes have numbers of no fixed meaning, and the [`quantile_range`] becomes 0..1.
pub(crate) fn decode_nifti(bytes: &[u8]) -> Reason<Volume> {
    let gzipped = is_gzip(bytes);
    let unzipped;
    let bytes = if gzipped {
        let h = Header::parse(&unzip(bytes, VERSION_2)?)?;
        unzipped = unzip_whole(bytes, h.end()?)?;
        &unzipped
    } else {
        bytes
    };
    let h = Header::parse(bytes)?;
    let end = h.end()?;
    let voxels = bytes.get(h.start..end).ok_or_else(|| {
        format!(
            "it ends after {} of {} bytes of voxels",
            bytes.len().saturating_sub(h.start),
            end.saturating_sub(h.start)
        )
    })?;
    let mut samples = h.number.read(voxels, h.big_endian);
    if h.is_scaled {
        // A slope of 32 bits gives 1.0000004 where 1 was meant, which would be no label.
        let whole = |v: f64| if (v - v.round()).abs() < 1e-5 { v.round() } else { v };
        let scaled = |v: f64| whole(h.slope * v + h.intercept) as f32;
        samples = Samples::F32((0..samples.len()).map(|i| scaled(samples.number(i))).collect());
    }
    let is_byte = matches!(samples, Samples::U8(_));
    let values = if is_byte { Values::Type } else { quantile_range(&samples) };
    let (shape, times) = h.shape();
    let header_bytes = if h.version_2 { VERSION_2 } else { VERSION_1 };
    Ok(Volume {
        shape,
        times,
        channels: h.channels,
        bits: if h.is_scaled { 32 } else { h.number.bits() },
        alpha: h.channels == 4,
        samples,
        values,
        spacing_mm: Some(h.spacing_mm),
        geometry: Geometry::Nifti { header: bytes[..header_bytes].to_vec(), gzipped },
        notes: vec![],
    })
}

/// Where the fields of a header lie: in version 1, in version 2.
mod place {
    pub const DIM: (usize, usize) = (40, 16);
    pub const DATATYPE: (usize, usize) = (70, 12);
    pub const BITPIX: (usize, usize) = (72, 14);
    pub const PIXDIM: (usize, usize) = (76, 104);
    pub const START: (usize, usize) = (108, 168);
    pub const SLOPE: (usize, usize) = (112, 176);
    pub const INTERCEPT: (usize, usize) = (116, 184);
    pub const UNITS: (usize, usize) = (123, 500);
    /// Greatest and least value to show.
    pub const SHOWN: (usize, usize) = (124, 192);
    /// Text of 80 and 24 bytes: description, name of an auxiliary file.
    pub const DESCRIPTION: (usize, usize) = (148, 240);
    /// Text of 16 bytes.
    pub const INTENT: (usize, usize) = (328, 508);
    pub const TRANSFORM: (usize, usize) = (252, 344);
    pub const QUATERNION: (usize, usize) = (256, 352);
    pub const AFFINE: (usize, usize) = (280, 400);
}

/// A header's bytes with their layout.
struct Fields<'a> {
    bytes: &'a [u8],
    version_2: bool,
    big_endian: bool,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut b: [u8; N] = self.bytes[at..at + N].try_into().expect("N bytes of a header");
        if self.big_endian {
            b.reverse();
        }
        b
    }

    fn at(&self, place: (usize, usize)) -> usize {
        if self.version_2 { place.1 } else { place.0 }
    }

    /// The i-th integer: of 16 bits in version 1, of 64 in version 2.
    fn integer(&self, place: (usize, usize), i: usize) -> i64 {
        let at = self.at(place);
        if self.version_2 {
            i64::from_le_bytes(self.array(at + 8 * i))
        } else {
            i64::from(i16::from_le_bytes(self.array(at + 2 * i)))
        }
    }

    /// The i-th fraction: of 32 bits in version 1, of 64 in version 2.
    fn fraction(&self, place: (usize, usize), i: usize) -> f64 {
        let at = self.at(place);
        if self.version_2 {
            f64::from_le_bytes(self.array(at + 8 * i))
        } else {
            f64::from(f32::from_le_bytes(self.array(at + 4 * i)))
        }
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Reason<Self> {
        if is_nifti_header(bytes) {
            return Err("its voxels lie in a second file (.img): save it as one .nii file".into());
        }
        let version_2 = bytes.get(4..8) == Some(b"n+2\0");
        let size = if version_2 { VERSION_2 } else { VERSION_1 };
        if !is_nifti(bytes) || bytes.len() < size {
            return Err("it does not start with a NIfTI header".into());
        }
        let first = i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let fields = Fields { bytes, version_2, big_endian: first == size as i32 };
        let dimensions = fields.integer(place::DIM, 0);
        if !(1..=7).contains(&dimensions) {
            return Err(format!("it claims {dimensions} dimensions"));
        }
        let mut sides = Vec::new();
        for i in 1..=dimensions as usize {
            let side = fields.integer(place::DIM, i);
            sides.push(usize::try_from(side).map_err(|_| format!("it claims a side of {side} voxels"))?);
        }
        while sides.len() > 2 && sides.last() == Some(&1) {
            sides.pop();
        }
        if sides.len() < 2 || sides.len() > 4 {
            return Err(format!(
                "it has {} dimensions ({sides:?} voxels); pictures, volumes and volumes over time are read: save its \
                 parts as files of their own",
                sides.len()
            ));
        }
        let datatype = i16::from_le_bytes(fields.array(fields.at(place::DATATYPE)));
        let (number, channels) = number_of(datatype)?;
        let start = if version_2 {
            i64::from_le_bytes(fields.array(fields.at(place::START)))
        } else {
            f32::from_le_bytes(fields.array(fields.at(place::START))) as i64
        };
        let start = usize::try_from(start).ok().filter(|s| *s >= size);
        let start = start.ok_or("its voxels are said to begin within the header")?;
        let (mut slope, mut intercept) = (fields.fraction(place::SLOPE, 0), fields.fraction(place::INTERCEPT, 0));
        if slope == 0.0 || !slope.is_finite() || !intercept.is_finite() {
            (slope, intercept) = (1.0, 0.0);
        }
        // 1: metres, 3: micrometres, otherwise millimetres.
        let units = fields.at(place::UNITS) + if version_2 && fields.big_endian { 3 } else { 0 };
        let millimetres = match bytes[units] & 7 {
            1 => 1000.0,
            3 => 0.001,
            _ => 1.0,
        };
        let spacing_mm = [1, 2, 3].map(|i| {
            let d = fields.fraction(place::PIXDIM, i).abs() * millimetres;
            if d.is_finite() && d > 0.0 { d } else { 1.0 }
        });
        let is_scaled = channels == 1 && (slope != 1.0 || intercept != 0.0);
        let big_endian = fields.big_endian;
        Ok(Self { version_2, big_endian, sides, number, channels, start, slope, intercept, spacing_mm, is_scaled })
    }

    /// Slices, rows and columns, and time points.
    fn shape(&self) -> ([usize; 3], usize) {
        let side = |i: usize| self.sides.get(i).copied().unwrap_or(1);
        ([side(2).saturating_mul(side(3)), side(1), side(0)], side(3))
    }

    /// Where the voxels end.
    fn end(&self) -> Reason<usize> {
        let decoded = if self.is_scaled { 4 } else { self.number.decoded() };
        let n = check_voxels(&self.sides, decoded.max(self.number.size()) * self.channels)?;
        Ok(self.start.saturating_add(n * self.number.size() * self.channels).min(max_decoded_bytes().saturating_mul(2)))
    }
}

fn number_of(datatype: i16) -> Reason<(Number, usize)> {
    Ok(match datatype {
        2 => (Number::U8, 1),
        4 => (Number::I16, 1),
        8 => (Number::I32, 1),
        16 => (Number::F32, 1),
        64 => (Number::F64, 1),
        128 => (Number::U8, 3),
        256 => (Number::I8, 1),
        512 => (Number::U16, 1),
        768 => (Number::U32, 1),
        1024 => (Number::I64, 1),
        1280 => (Number::U64, 1),
        2304 => (Number::U8, 4),
        other => {
            return Err(format!(
                "voxels of NIfTI's type {other} are not read (bits, complex numbers and 128-bit floating point are not)"
            ));
        }
    })
}

/// Labels as a NIfTI file with the geometry of another one, whose header this is.
///
/// Sides, spacing, units and transforms are kept. Type, slope and the range to show become those of labels; texts and
/// extensions, which may name a patient, are left out.
pub(crate) fn encode_like(header: &[u8], labels: &[u16], gzipped: bool) -> Reason<Vec<u8>> {
    let parsed = Header::parse(header)?;
    let mut out = header.to_vec();
    let is_v2 = parsed.version_2;
    let at = |place: (usize, usize)| if is_v2 { place.1 } else { place.0 };
    let wide = labels.iter().any(|&v| v > 255);
    let (datatype, bits): (i16, i16) = if wide { (512, 16) } else { (2, 8) };
    let mut put = |place: usize, bytes: Vec<u8>| {
        let mut bytes = bytes;
        if parsed.big_endian {
            bytes.reverse();
        }
        out[place..place + bytes.len()].copy_from_slice(&bytes);
    };
    put(at(place::DATATYPE), datatype.to_le_bytes().to_vec());
    put(at(place::BITPIX), bits.to_le_bytes().to_vec());
    let size = if is_v2 { VERSION_2 } else { VERSION_1 };
    let start = size + 4;
    let width = if is_v2 { 8 } else { 4 };
    let fraction = |v: f64| if is_v2 { v.to_le_bytes().to_vec() } else { (v as f32).to_le_bytes().to_vec() };
    put(at(place::START), if is_v2 { (start as i64).to_le_bytes().to_vec() } else { fraction(start as f64) });
    put(at(place::SLOPE), fraction(1.0));
    put(at(place::INTERCEPT), fraction(0.0));
    put(at(place::SHOWN), vec![0; 2 * width]);
    put(at(place::DESCRIPTION), vec![0; 80 + 24]);
    put(at(place::INTENT), vec![0; 16]);
    if !is_v2 {
        // Names of a database and of the scan, which version 2 does not have.
        put(4, vec![0; 10 + 18]);
    }
    out.extend([0; 4]);
    voxels(&mut out, labels, wide, parsed.big_endian);
    finish(out, gzipped)
}

/// Labels as a NIfTI file of version 1 with an affine transform.
pub(crate) fn encode_affine(
    shape: [usize; 3],
    spacing_mm: [f64; 3],
    affine: &[[f64; 4]; 3],
    labels: &[u16],
) -> Reason<Vec<u8>> {
    let mut out = vec![0; VERSION_1];
    let mut put = |place: usize, bytes: &[u8]| out[place..place + bytes.len()].copy_from_slice(bytes);
    put(0, &(VERSION_1 as i32).to_le_bytes());
    let wide = labels.iter().any(|&v| v > 255);
    for (i, side) in [3, shape[2], shape[1], shape[0], 1, 1, 1, 1].into_iter().enumerate() {
        let side = i16::try_from(side).map_err(|_| format!("a side of {side} voxels is too long for NIfTI"))?;
        put(place::DIM.0 + 2 * i, &side.to_le_bytes());
    }
    put(place::DATATYPE.0, &(if wide { 512i16 } else { 2 }).to_le_bytes());
    put(place::BITPIX.0, &(if wide { 16i16 } else { 8 }).to_le_bytes());
    for (i, d) in [1.0, spacing_mm[0], spacing_mm[1], spacing_mm[2], 1.0, 1.0, 1.0, 1.0].into_iter().enumerate() {
        put(place::PIXDIM.0 + 4 * i, &(d as f32).to_le_bytes());
    }
    put(place::START.0, &((VERSION_1 + 4) as f32).to_le_bytes());
    put(place::SLOPE.0, &1f32.to_le_bytes());
    // Millimetres; a transform to the scanner's place, in the affine alone.
    put(place::UNITS.0, &[2]);
    put(place::TRANSFORM.0 + 2, &1i16.to_le_bytes());
    put(place::QUATERNION.0, &[0; 24]);
    for (i, v) in affine.iter().flatten().enumerate() {
        put(place::AFFINE.0 + 4 * i, &(*v as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    out.extend([0; 4]);
    voxels(&mut out, labels, wide, false);
    finish(out, true)
}

fn voxels(out: &mut Vec<u8>, labels: &[u16], wide: bool, big_endian: bool) {
    match (wide, big_endian) {
        (false, _) => out.extend(labels.iter().map(|&v| v as u8)),
        (true, false) => out.extend(labels.iter().flat_map(|v| v.to_le_bytes())),
        (true, true) => out.extend(labels.iter().flat_map(|v| v.to_be_bytes())),
    }
}

fn finish(bytes: Vec<u8>, gzipped: bool) -> Reason<Vec<u8>> {
    if !gzipped {
        return Ok(bytes);
    }
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(&bytes).and_then(|()| out.finish()).map_err(|e| e.to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file of version 1 whose voxels are these bytes; 1 mm apart along x and y, 5 mm along z.
    pub(crate) fn file(sides: &[i16], datatype: i16, big_endian: bool, scale: (f32, f32), voxels: &[u8]) -> Vec<u8> {
        let mut out = vec![0u8; 352];
        let mut put = |at: usize, le: &[u8]| {
            let mut bytes = le.to_vec();
            if big_endian {
                bytes.reverse();
            }
            out[at..at + bytes.len()].copy_from_slice(&bytes);
        };
        put(0, &348i32.to_le_bytes());
        put(40, &(sides.len() as i16).to_le_bytes());
        for (i, side) in sides.iter().enumerate() {
            put(42 + 2 * i, &side.to_le_bytes());
        }
        put(70, &datatype.to_le_bytes());
        for (i, d) in [1f32, 1.0, 1.0, 5.0].iter().enumerate() {
            put(76 + 4 * i, &d.to_le_bytes());
        }
        put(108, &352f32.to_le_bytes());
        put(112, &scale.0.to_le_bytes());
        put(116, &scale.1.to_le_bytes());
        put(280 + 12, &(-7.5f32).to_le_bytes());
        out[148..154].copy_from_slice(b"SECRET");
        out[344..348].copy_from_slice(b"n+1\0");
        out.extend(voxels);
        out
    }

    #[test]
    fn every_type_and_both_byte_orders_are_read() {
        let six: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 100.0, 7.0];
        let bytes = |datatype: i16, big: bool| -> Vec<u8> {
            let one = |v: f32| {
                let mut b = match datatype {
                    2 | 256 => vec![v as u8],
                    4 | 512 => (v as i16).to_le_bytes().to_vec(),
                    8 | 768 => (v as i32).to_le_bytes().to_vec(),
                    16 => v.to_le_bytes().to_vec(),
                    64 => f64::from(v).to_le_bytes().to_vec(),
                    _ => (v as i64).to_le_bytes().to_vec(),
                };
                if big {
                    b.reverse();
                }
                b
            };
            six.iter().flat_map(|&v| one(v)).collect()
        };
        for datatype in [2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280] {
            for big in [false, true] {
                let plain = file(&[3, 2], datatype, big, (0.0, 9.0), &bytes(datatype, big));
                for gzipped in [false, true] {
                    let volume = decode_nifti(&finish(plain.clone(), gzipped).unwrap()).unwrap();
                    assert_eq!((volume.shape, volume.times), ([1, 2, 3], 1));
                    let read: Vec<f64> = (0..6).map(|i| volume.samples.number(i)).collect();
                    assert_eq!(read, six.map(f64::from), "type {datatype}, big-endian {big}");
                }
                let scaled = file(&[3, 2], datatype, big, (2.0, -1.0), &bytes(datatype, big));
                let volume = decode_nifti(&scaled).unwrap();
                assert_eq!(volume.samples.number(4), 199.0);
                assert!(matches!(volume.samples, Samples::F32(_)) && volume.bits == 32);
            }
        }
        assert!(decode_nifti(&file(&[3, 2], 32, false, (1.0, 0.0), &[0; 48])).unwrap_err().contains("type 32"));
        let colours: Vec<u8> = (0..18).collect();
        let volume = decode_nifti(&file(&[3, 2], 128, false, (1.0, 0.0), &colours)).unwrap();
        assert_eq!((volume.channels, volume.bits, volume.values), (3, 8, Values::Type));
    }

    #[test]
    fn broken_and_giant_headers_are_refused() {
        let good = file(&[3, 2, 2], 4, false, (1.0, 0.0), &[0; 24]);
        assert_eq!(decode_nifti(&good).unwrap().spacing_mm, Some([1.0, 1.0, 5.0]));
        let error = |bytes: &[u8]| decode_nifti(bytes).unwrap_err();
        assert!(error(&good[..370]).contains("18 of 24 bytes"));
        assert!(error(&good[..300]).contains("header"));
        assert!(error(&file(&[30_000, 30_000, 30_000], 4, false, (1.0, 0.0), &[])).contains("1024 MiB"));
        assert!(error(&file(&[3, -2], 4, false, (1.0, 0.0), &[])).contains("-2"));
        assert!(error(&file(&[3, 2, 2, 2, 3], 2, false, (1.0, 0.0), &[0; 72])).contains("5 dimensions"));
        assert!(error(&finish(good[..370].to_vec(), true).unwrap()).contains("18 of 24"));
        let zipped = finish(good.clone(), true).unwrap();
        assert!(error(&zipped[..zipped.len() - 12]).contains("gzip"));
        let mut pair = good.clone();
        pair[344..348].copy_from_slice(b"ni1\0");
        assert!(error(&pair).contains("second file"));
        let mut early = good;
        early[108..112].copy_from_slice(&8f32.to_le_bytes());
        assert!(error(&early).contains("within the header"));
    }

    #[test]
    fn labels_keep_the_geometry_and_lose_the_texts() {
        for big in [false, true] {
            let image = file(&[3, 2, 2], 4, big, (2.0, 5.0), &[7; 24]);
            let labels: Vec<u16> = (0..12).map(|i| if i == 5 { 300 } else { i }).collect();
            for gzipped in [false, true] {
                let bytes = encode_like(&image[..348], &labels, gzipped).unwrap();
                let back = decode_nifti(&bytes).unwrap();
                assert_eq!((back.shape, back.spacing_mm), ([2, 2, 3], Some([1.0, 1.0, 5.0])));
                let read: Vec<u16> = (0..12).map(|i| back.samples.number(i) as u16).collect();
                assert_eq!(read, labels);
                let Geometry::Nifti { header, .. } = back.geometry else { unreachable!() };
                assert_eq!(header[280..328], image[280..328], "the affine");
                assert!(!header.windows(6).any(|w| w == b"SECRET"));
            }
            let small = encode_like(&image[..348], &[1; 12], false).unwrap();
            assert_eq!((small.len(), decode_nifti(&small).unwrap().bits), (352 + 12, 8));
        }
        let affine = [[0.5, 0.0, 0.0, -10.0], [0.0, 0.5, 0.0, 20.0], [0.0, 0.0, 3.0, 1.0]];
        let back = decode_nifti(&encode_affine([2, 1, 3], [0.5, 0.5, 3.0], &affine, &[0, 1, 2, 3, 4, 5]).unwrap());
        let back = back.unwrap();
        assert_eq!((back.shape, back.spacing_mm), ([2, 1, 3], Some([0.5, 0.5, 3.0])));
    }
}
