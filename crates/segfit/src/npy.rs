//! NumPy's `.npy` files: one array of numbers behind a short header
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

const MAGIC: &[u8] = b"\x93NUMPY";
/// No header that describes an array of plain numbers is longer, in bytes.
const MAX_HEADER: usize = 1 << 16;

/// The bytes of an array of 32-bit floats; `values` has its last dimension fastest.
///
/// # Panics
/// When there are not as many values as `shape` says.
#[must_use]
pub fn floats(shape: &[usize], values: &[f32]) -> Vec<u8> {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values of an array of shape {shape:?}");
    array("<f4", shape, values.iter().flat_map(|v| v.to_le_bytes()))
}

/// The bytes of an array of unsigned 8-bit numbers.
#[must_use]
pub fn bytes(shape: &[usize], values: &[u8]) -> Vec<u8> {
    array("|u1", shape, values.iter().copied())
}

/// The bytes of an array of unsigned 16-bit numbers.
#[must_use]
pub fn shorts(shape: &[usize], values: &[u16]) -> Vec<u8> {
    array("<u2", shape, values.iter().flat_map(|v| v.to_le_bytes()))
}

/// Version 1.0: magic, length of the header, a Python dictionary padded to a multiple of 64 bytes, the values.
fn array(kind: &str, shape: &[usize], values: impl Iterator<Item = u8>) -> Vec<u8> {
    let sides: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", sides.trim_end());
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values);
    out
}

/// What the header of a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// NumPy's code of the kind and size of a number: `u1`, `i2`, `f4`, `b1`.
    pub kind: String,
    /// Whether the numbers are big-endian.
    pub big_endian: bool,
    /// Whether the first dimension is the fastest.
    pub fortran_order: bool,
    /// Sides of the array.
    pub shape: Vec<usize>,
    /// Where the numbers begin in the file.
    pub start: usize,
}

/// Whether a file starts as `.npy` files do.
pub(crate) fn is_npy(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

impl Header {
    /// The header at the start of a file.
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        let short = || "it ends within its header".to_string();
        let (size, at) = match file.get(6).ok_or_else(short)? {
            1 => (usize::from(u16::from_le_bytes(number(file, 8).ok_or_else(short)?)), 10),
            2 | 3 => (u32::from_le_bytes(number(file, 8).ok_or_else(short)?) as usize, 12),
            version => return Err(format!("its version is {version}; 1, 2 and 3 are read")),
        };
        if size > MAX_HEADER {
            return Err(format!("its header claims {size} bytes; the limit is {MAX_HEADER}"));
        }
        let text = file.get(at..at + size).ok_or_else(short)?;
        let text = std::str::from_utf8(text).map_err(|_| "its header is no text".to_string())?;
        let descr = value_of(text, "descr")?;
        let code = descr.strip_prefix('\'').and_then(|d| d.split('\'').next()).ok_or("its numbers are records")?;
        let (order, kind) = code.split_at(code.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0));
        let shape = value_of(text, "shape")?;
        let sides = shape.strip_prefix('(').and_then(|s| s.split(')').next()).ok_or("its shape is no tuple")?;
        let sides = sides.split(',').map(str::trim).filter(|s| !s.is_empty());
        let shape = sides.map(|s| s.trim_end_matches('L').parse()).collect::<Result<Vec<usize>, _>>();
        Ok(Self {
            kind: kind.into(),
            big_endian: order == ">",
            fortran_order: value_of(text, "fortran_order")?.starts_with("True"),
            shape: shape.map_err(|e| format!("its shape holds no whole numbers: {e}"))?,
            start: at + size,
        })
    }
}

fn number<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at + N)?.try_into().ok()
}

/// What follows `'key':` in the header's dictionary.
fn value_of<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = format!("'{key}'");
    let at = text.find(&quoted).ok_or_else(|| format!("its header does not say {key}"))?;
    let rest = text[at + quoted.len()..].trim_start();
    rest.strip_prefix(':').map(str::trim_start).ok_or_else(|| format!("its header does not say {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_arrays_as_numpy_writes_them() {
        let file = bytes(&[1, 2], &[3, 4]);
        assert_eq!(&file[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&file[10..128]).unwrap();
        assert!(header.starts_with("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2,), }"), "{header}");
        assert!(header.ends_with(" \n"));
        assert_eq!(file[128..], [3, 4]);
        assert_eq!(shorts(&[1], &[258])[128..], [2, 1]);
        assert_eq!(floats(&[2, 1], &[1.0, -2.0])[128..], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    }

    #[test]
    fn headers_come_back_and_broken_ones_say_why() {
        let file = shorts(&[2, 3], &[0; 6]);
        let header = Header::parse(&file).unwrap();
        let shape = vec![2, 3];
        let expected = Header { kind: "u2".into(), big_endian: false, fortran_order: false, shape, start: 128 };
        assert_eq!(header, expected);
        let text = "{'descr': '>f8', 'fortran_order': True, 'shape': (5,), }\n";
        let mut file = b"\x93NUMPY\x02\x00".to_vec();
        file.extend((text.len() as u32).to_le_bytes());
        file.extend(text.as_bytes());
        let header = Header::parse(&file).unwrap();
        assert!(header.big_endian && header.fortran_order && header.kind == "f8" && header.shape == [5]);
        assert!(Header::parse(&file[..20]).unwrap_err().contains("ends"));
        file[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Header::parse(&file).unwrap_err().contains("limit"));
        let broken = b"\x93NUMPY\x01\x00\x10\x00{'shape': (1,)} ";
        assert!(Header::parse(broken).unwrap_err().contains("descr"));
    }
}
