//! Files that are no images, or others than their name says.

use super::picture;
use crate::case::Case;
use crate::files::{gzip, zip};

const PNG: &str = "data/images/nuclei-0003.png";
const JPG: &str = "data/images/nuclei-0003.jpg";
const TIF: &str = "data/images/nuclei-0003.tif";
const HTML: &str = "<!DOCTYPE html>\n\
                    <html><head><title>404 Not Found</title></head></html>\n\
                    ";
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
                       oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

pub fn cases() -> Vec<Case> {
    vec![
        picture(
            "an empty file named .png",
            PNG,
            "",
            "FILE: expected {image file}, found an empty file (0 bytes)\n\
             hint: {cut short}",
        ),
        picture(
            "an empty file named .tif",
            TIF,
            "",
            "FILE: expected {image file}, found an empty file (0 bytes)\n\
             hint: {cut short}",
        ),
        picture(
            "a text file named .png",
            PNG,
            "this is no image\n",
            "FILE: expected {image file}, found bytes of an unknown format\n\
             hint: {convert}",
        ),
        picture(
            "an HTML error page saved as .png",
            PNG,
            HTML,
            "FILE: expected {image file}, found an HTML page\n\
             hint: download the file again: what came was not the image",
        ),
        picture(
            "an HTML error page saved as .tif",
            TIF,
            HTML,
            "FILE: expected {image file}, found an HTML page\n\
             hint: download the file again: what came was not the image",
        ),
        picture(
            "a JSON error saved as .jpg",
            JPG,
            "{\"error\": \"rate limit exceeded\"}",
            "FILE: expected {image file}, found JSON text\n\
             hint: download the file again: what came was not the image",
        ),
        picture(
            "a pointer of Git LFS instead of the image",
            PNG,
            POINTER,
            "FILE: expected {image file}, found a pointer of Git LFS in place of the file\n\
             hint: fetch the file itself: git lfs pull",
        ),
        picture(
            "a zip archive named .png",
            PNG,
            zip(),
            "FILE: expected {image file}, found a zip archive\n\
             hint: unpack it (of .npz and .docx, too), and put the images into the folder",
        ),
        picture(
            "a gzip file named .png",
            PNG,
            gzip(b"not a volume"),
            "FILE: expected {image file}, found a gzip file that holds no NIfTI volume\n\
             hint: {cut short}",
        ),
        picture(
            "a PDF named .tif",
            TIF,
            "%PDF-1.7\n%\u{e2}\u{e3}\n1 0 obj\n",
            "FILE: expected {image file}, found a PDF document\nhint: {convert}",
        ),
        picture(
            "an SVG drawing named .png",
            PNG,
            "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
            "FILE: expected {image file}, found XML text, perhaps an SVG drawing\n\
             hint: {convert}",
        ),
        picture(
            "a WebP named .png",
            PNG,
            b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f\0\0\0\0\0\0\0",
            "FILE: expected {image file}, found a WebP file\nhint: {convert}",
        ),
        picture(
            "a phone's HEIC photograph named .jpg",
            JPG,
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0",
            "FILE: expected {image file}, found a HEIC or AVIF photograph or a film\n\
             hint: {convert}",
        ),
        picture(
            "a JPEG 2000 named .jpg",
            JPG,
            b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
            "FILE: expected {image file}, found a JPEG 2000\nhint: {convert}",
        ),
        picture(
            "a Photoshop file named .tif",
            TIF,
            b"8BPS\0\x01\0\0\0\0\0\0\0\x03",
            "FILE: expected {image file}, found a Photoshop file\nhint: {convert}",
        ),
        picture(
            "an HDF5 file named .tif",
            TIF,
            b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0",
            "FILE: expected {image file}, found an HDF5 file\nhint: {convert}",
        ),
        picture(
            "a MATLAB file named .tif",
            TIF,
            "MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Mon",
            "FILE: expected {image file}, found a MATLAB file\nhint: {convert}",
        ),
        picture(
            "4096 zeros named .png",
            PNG,
            vec![0; 4096],
            "FILE: expected {image file}, found zeros alone, as an interrupted copy leaves them\n\
             hint: copy the file again from where it is whole, or remove it",
        ),
    ]
}
