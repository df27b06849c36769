//! What files are that people take for images: named, so that the message says more than that the bytes are unknown.

/// What a file is by its first bytes and what to do about it, for kinds that are not read.
pub(crate) fn kind_of(start: &[u8]) -> Option<(&'static str, &'static str)> {
    const AGAIN: &str = "download the file again: what came was not the image";
    const CONVERT: &str = "convert the file to PNG or TIFF, or remove it";
    let text = String::from_utf8_lossy(&start[..start.len().min(256)]).trim_start().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    let at = |place: usize, magic: &[u8]| start.get(place..place + magic.len()) == Some(magic);
    Some(match () {
        () if begins(&["version https://git-lfs"]) => {
            ("a pointer of Git LFS in place of the file", "fetch the file itself: git lfs pull")
        }
        () if begins(&["<!doctype html", "<html"]) => ("an HTML page", AGAIN),
        () if begins(&["{\"", "{ \"", "{\n"]) => ("JSON text", AGAIN),
        () if begins(&["<svg", "<?xml"]) => ("XML text, perhaps an SVG drawing", CONVERT),
        () if at(0, b"PK\x03\x04") => {
            ("a zip archive", "unpack it (of .npz and .docx, too), and put the images into the folder")
        }
        () if at(0, b"%PDF") => ("a PDF document", CONVERT),
        () if at(0, b"\x89HDF") => ("an HDF5 file", CONVERT),
        () if at(0, b"MATLAB 5") => ("a MATLAB file", CONVERT),
        () if at(0, b"8BPS") => ("a Photoshop file", CONVERT),
        () if at(4, b"ftyp") => ("a HEIC or AVIF photograph or a film", CONVERT),
        () if at(0, b"\0\0\0\x0cjP  ") || at(0, b"\xff\x4f\xff\x51") => ("a JPEG 2000", CONVERT),
        () if start.len() > 8 && start.iter().all(|b| *b == 0) => (
            "zeros alone, as an interrupted copy leaves them",
            "copy the file again from where it is whole, or remove it",
        ),
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_often_found_under_the_name_of_an_image_is_named() {
        let kind = |bytes: &[u8]| kind_of(bytes).map(|k| k.0);
        assert_eq!(kind(b"\n<!DOCTYPE HTML><html>"), Some("an HTML page"));
        assert_eq!(
            kind(b"version https://git-lfs.github.com/spec/v1\n"),
            Some("a pointer of Git LFS in place of the file")
        );
        assert_eq!(kind(&[0; 512]), Some("zeros alone, as an interrupted copy leaves them"));
        assert_eq!((kind(b"plain text"), kind(b""), kind(b"\0")), (None, None, None));
    }
}
