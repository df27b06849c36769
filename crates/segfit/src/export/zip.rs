//! ZIP archives of uncompressed files: what PyTorch's `.pt` files are, and how packages travel.

use super::ExportFile;

/// 1 January 1980, the earliest date that the format has: equal files give equal archives.
const DATE: u16 = 1 << 5 | 1;

/// The bytes of an archive that holds the files uncompressed, in the order given; contents begin at multiples of
/// `align` bytes (1: anywhere).
///
/// `None` when a file or the archive is too large for the format (4 GiB), there are more than 65,535 files, or a name
/// is too long.
#[must_use]
pub fn archive(files: &[ExportFile], align: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for file in files {
        let (size, at) = (u32::try_from(file.bytes.len()).ok()?, u32::try_from(out.len()).ok()?);
        let name = file.path.as_bytes();
        let extra = padding(out.len() + LOCAL + name.len(), align);
        let mut fields = Vec::new();
        for value in [20, UTF8, 0, 0, DATE] {
            short(&mut fields, value);
        }
        for value in [crc32(&file.bytes), size, size] {
            long(&mut fields, value);
        }
        short(&mut fields, u16::try_from(name.len()).ok()?);

        out.extend(b"PK\x03\x04");
        out.extend(&fields);
        short(&mut out, u16::try_from(extra.len()).ok()?);
        out.extend(name);
        out.extend(&extra);
        out.extend(&file.bytes);

        directory.extend(b"PK\x01\x02");
        short(&mut directory, 20);
        directory.extend(&fields);
        // No extra field, comment, disk number, or attributes.
        directory.extend([0; 12]);
        long(&mut directory, at);
        directory.extend(name);
    }
    let (start, length) = (u32::try_from(out.len()).ok()?, u32::try_from(directory.len()).ok()?);
    let count = u16::try_from(files.len()).ok()?;
    out.extend(directory);
    out.extend(b"PK\x05\x06");
    for value in [0, 0, count, count] {
        short(&mut out, value);
    }
    long(&mut out, length);
    long(&mut out, start);
    short(&mut out, 0);
    Some(out)
}

/// Bytes of a local header without name and extra field.
const LOCAL: usize = 30;
/// Names are UTF-8.
const UTF8: u16 = 1 << 11;

/// An extra field that moves what begins at `at` to a multiple of `align`; PyTorch writes such as well.
fn padding(at: usize, align: usize) -> Vec<u8> {
    if at.is_multiple_of(align) {
        return Vec::new();
    }
    let length = (at + 4).next_multiple_of(align) - at - 4;
    let mut extra = b"FB".to_vec();
    short(&mut extra, length as u16);
    extra.resize(length + 4, 0);
    extra
}

fn short(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_le_bytes());
}

fn long(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

/// The checksum of ZIP and PNG (CRC-32 with the polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let table: [u32; 256] =
        std::array::from_fn(|i| (0..8).fold(i as u32, |c, _| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 }));
    !bytes.iter().fold(!0, |c, &b| c >> 8 ^ table[((c ^ u32::from(b)) & 0xFF) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_standards_example() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn contents_begin_at_multiples_and_the_directory_points_to_them() {
        let files = [ExportFile::new("a/b", "xyz"), ExportFile::new("c", vec![7; 100])];
        let zip = archive(&files, 64).unwrap();
        let find = |what: &[u8]| zip.windows(what.len()).position(|w| w == what).unwrap();
        assert_eq!((find(b"xyz") % 64, find(&[7; 100]) % 64), (0, 0));
        let end = zip.len() - 22;
        assert_eq!(&zip[end..end + 12], b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
        let start = u32::from_le_bytes(zip[end + 16..end + 20].try_into().unwrap()) as usize;
        assert_eq!(&zip[start..start + 4], b"PK\x01\x02");
        assert_eq!(u32::from_le_bytes(zip[start + 42..start + 46].try_into().unwrap()), 0, "the first file's header");
        assert_eq!(archive(&files, 64).unwrap(), zip, "no clock");
    }
}
