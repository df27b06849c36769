//! Words that stand for texts which many messages share.

const WORDS: &[(&str, &str)] = &[
    ("{image file}", "a PNG, JPEG, BMP, GIF, TIFF, NIfTI, DICOM or NumPy (.npy) file"),
    (
        "{damaged}",
        "the file may be cut short, damaged or of a kind that is not read: open it in a viewer, save it again, or \
         remove it",
    ),
    ("{cut short}", "the file may be cut short: copy it again, or remove it"),
    ("{convert}", "convert the file to PNG or TIFF, or remove it"),
    ("{edited}", "the file was edited or was written by another version: write it again with segfit"),
    ("{layer}", "the file was edited or is damaged: correct the layer, or write the network again with segfit"),
    ("{spelling}", "check the spelling of the path"),
    (
        "{weights}",
        "a file that is damaged must be copied again; a training goes on with the same plan, data and seed only: \
         give these, or train into a new folder",
    ),
    ("{onnx}", "docs/onnx.md lists what is read and how to export it; nothing was written"),
    ("{help}", "\n\nFor more information, try '--help'."),
    ("{not there}", "No such file or directory (os error 2)"),
    ("{dicom}", "gray or RGB pixels of 8 or 16 bits, uncompressed, RLE, JPEG, JPEG-LS (gray) or JPEG 2000"),
    ("{decompress}", "decompress the file, for example with dcmdjpeg or dcmdjpls of DCMTK, or save it as RGB"),
    ("{labels}", "save the mask as a gray or palette PNG or TIFF whose pixel values are the labels"),
];

/// A message as the program prints it; `FILE` stands for the file of the case.
pub fn whole(says: &str, file: Option<&str>) -> String {
    let text = file.map_or_else(|| says.to_string(), |file| says.replace("FILE", file));
    WORDS.iter().fold(text, |text, (word, meaning)| text.replace(word, meaning))
}
