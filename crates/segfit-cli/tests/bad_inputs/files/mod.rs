//! Files byte by byte: good ones to be spoiled, and what no writer would write.

pub mod dicom;
pub mod nifti;
pub mod npy;
pub mod onnx;
pub mod pictures;
pub mod png;
pub mod tiff;

use std::io::Write as _;
use std::path::Path;

/// Writes a file below a folder, and the folders that it lies in.
pub fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
    std::fs::write(path, bytes).expect("a file can be written");
}

/// What a file below a folder holds.
pub fn bytes_of(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).expect("the file is there")
}

/// Writes a file again with some bytes changed.
pub fn change(folder: &Path, name: &str, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = bytes_of(folder, name);
    change(&mut bytes);
    put(folder, name, bytes);
}

/// Writes a text file again with one text in place of another, which must be there.
pub fn replace(folder: &Path, name: &str, from: &str, to: &str) {
    let text = String::from_utf8(bytes_of(folder, name)).expect("a text");
    assert!(text.contains(from), "{name} does not hold {from}");
    put(folder, name, text.replacen(from, to, 1));
}

/// Changes a value of a JSON file, of which `at` is the path with `/` between keys.
pub fn set(folder: &Path, name: &str, at: &str, value: serde_json::Value) {
    let mut json: serde_json::Value = serde_json::from_slice(&bytes_of(folder, name)).expect("a JSON file");
    *json.pointer_mut(at).unwrap_or_else(|| panic!("{name} has no {at}")) = value;
    put(folder, name, json.to_string());
}

/// The first `share` of some bytes.
pub fn cut(bytes: Vec<u8>, share: f64) -> Vec<u8> {
    let n = (bytes.len() as f64 * share) as usize;
    bytes[..n].to_vec()
}

/// Bytes, gzipped.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).and_then(|()| out.finish()).expect("memory can be written")
}

/// Bytes as zlib has them.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).and_then(|()| out.finish()).expect("memory can be written")
}

/// A zip archive, as far as its first bytes tell.
pub fn zip() -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
    out.extend([0; 20]);
    out.extend(b"PK\x05\x06");
    out.extend([0; 18]);
    out
}
