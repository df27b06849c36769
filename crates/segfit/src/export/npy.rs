//! NumPy's `.npy` files of whole numbers; [`crate::files::npy`] writes floats.

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
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(values);
    out
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
    }
}
