//! NumPy's files with any header (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

/// A file of version 1 with this dictionary and these bytes behind it.
pub fn file(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{dictionary:<117}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// An array of this type and shape.
pub fn array(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    file(&format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"), data)
}

/// A good picture.
pub fn good() -> Vec<u8> {
    array("|u1", "(32, 32)", &(0..1024u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>())
}

/// Objects, whose pickle runs a command when it is loaded: the file `executed` would appear.
pub fn pickled() -> Vec<u8> {
    array("|O", "(1,)", b"cos\nsystem\n(S'touch executed'\ntR.")
}
