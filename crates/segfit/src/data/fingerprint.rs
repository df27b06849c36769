//! A short name for the content of a data set: equal files, splits and options give equal fingerprints, wherever the
//! folder lies.

use std::path::{Path, PathBuf};

/// A file's path relative to one of the folders given, with forward slashes; the folder's role goes first.
pub(crate) fn relative(path: &Path, folders: &[(&str, &PathBuf)]) -> String {
    let inside = folders.iter().find_map(|(role, folder)| Some((role, path.strip_prefix(folder).ok()?)));
    let (role, tail) = inside.unwrap_or((&"", path));
    let parts: Vec<_> = tail.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    format!("{role}{}", parts.join("/"))
}

/// 16 hexadecimal digits of the BLAKE3 hash over the sorted lines.
pub(crate) fn fingerprint(mut lines: Vec<String>) -> String {
    lines.sort();
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segfit-dataset/1\n");
    for line in &lines {
        hasher.update(&(line.len() as u64).to_le_bytes());
        hasher.update(line.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_every_character_does() {
        let f = |lines: &[&str]| fingerprint(lines.iter().map(|l| (*l).to_string()).collect());
        assert_eq!(f(&["a", "b"]), f(&["b", "a"]));
        assert_ne!(f(&["a", "b"]), f(&["ab"]));
        assert_ne!(f(&["a"]), f(&["a", "a"]));
        assert_eq!(f(&[]).len(), 16);
    }
}
