//! Pictures, stacks and volumes of a few pixels, in every kind that is read.

use std::io::{Cursor, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use image::{DynamicImage, ImageFormat, RgbImage};
use segfit::npy;
use tiff::encoder::{Compression as Packing, TiffEncoder, colortype};
use tiff::tags::Tag;

use super::{Made, put};

const SIDE: u32 = 16;

pub fn write(to: &Path) -> Made {
    pictures(to)?;
    tiffs(to)?;
    volumes(to)?;
    dicoms(to)?;
    segments(to)?;
    zarrs(to)?;
    texts(to)
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).expect("a format that can be written");
    out.into_inner()
}

fn ramp(side: u32) -> DynamicImage {
    RgbImage::from_fn(side, side, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, (x * y) as u8])).into()
}

/// A gray picture.
pub fn png_gray(width: u32, height: u32) -> Vec<u8> {
    let image = image::GrayImage::from_fn(width, height, |x, y| image::Luma([(x * 5 + y * 3) as u8]));
    encoded(&image.into(), ImageFormat::Png)
}

/// A mask of two labels.
pub fn png_mask(width: u32, height: u32) -> Vec<u8> {
    let image = image::GrayImage::from_fn(width, height, |x, _| image::Luma([u8::from(x > width / 3)]));
    encoded(&image.into(), ImageFormat::Png)
}

fn pictures(to: &Path) -> Made {
    let color = ramp(SIDE);
    let kinds = [
        ("gray", DynamicImage::from(color.to_luma8())),
        ("gray16", DynamicImage::from(color.to_luma16())),
        ("alpha", DynamicImage::from(color.to_rgba8())),
        ("rgb", color),
    ];
    for (name, image) in &kinds {
        for (format, ending) in [
            (ImageFormat::Png, "png"),
            (ImageFormat::Jpeg, "jpg"),
            (ImageFormat::Bmp, "bmp"),
            (ImageFormat::Gif, "gif"),
        ] {
            let mut out = Cursor::new(Vec::new());
            if image.write_to(&mut out, format).is_err() {
                continue;
            }
            put(to, "picture", &format!("{name}.{ending}"), &out.into_inner())?;
        }
    }
    put(to, "picture", "bits.bmp", &one_bit_bmp())?;
    let mut animated = Vec::new();
    {
        let mut encoder = gif::Encoder::new(&mut animated, 8, 8, &[0, 0, 0, 255, 255, 255]).expect("a GIF");
        for shift in 0..2 {
            let pixels: Vec<u8> = (0..64).map(|i| ((i + shift) % 2) as u8).collect();
            encoder.write_frame(&gif::Frame::from_indexed_pixels(8, 8, pixels, Some(0))).expect("a frame");
        }
    }
    put(to, "picture", "animated.gif", &animated)?;
    for (name, bytes) in [
        ("gray.png", png_gray(32, 32)),
        ("two.png", png_mask(32, 32)),
        ("rgb.png", encoded(&ramp(32), ImageFormat::Png)),
    ] {
        put(to, "mask", name, &bytes)?;
    }
    put(to, "mask", "gray.jpg", &encoded(&DynamicImage::from(ramp(32).to_luma8()), ImageFormat::Jpeg))?;
    put(to, "mask", "two.npy", &npy::bytes(&[32, 32], &[1; 1024]))?;
    put(to, "mask", "wide.npy", &npy::shorts(&[32, 32], &(0..1024).map(|i| i / 8).collect::<Vec<u16>>()))?;
    put(to, "mask", "two.gif", &animated)
}

/// A BMP file of 16 x 4 pixels of one bit.
fn one_bit_bmp() -> Vec<u8> {
    let mut out = b"BM".to_vec();
    out.extend(78u32.to_le_bytes());
    out.extend([0; 4]);
    out.extend(62u32.to_le_bytes());
    out.extend(40u32.to_le_bytes());
    out.extend(16u32.to_le_bytes());
    out.extend(4u32.to_le_bytes());
    out.extend([1, 0, 1, 0]);
    out.extend([0; 24]);
    out.extend([0, 0, 0, 0, 255, 255, 255, 0]);
    out.extend([0xa5; 16]);
    out
}

fn pages<C: colortype::ColorType>(data: &[C::Inner], n: usize, packing: Packing, text: Option<&str>) -> Vec<u8>
where
    [C::Inner]: tiff::encoder::TiffValue,
{
    let mut out = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut out).expect("a TIFF").with_compression(packing);
    for page in 0..n {
        let mut image = encoder.new_image::<C>(SIDE, SIDE).expect("a page");
        if let (0, Some(text)) = (page, text) {
            image.encoder().write_tag(Tag::ImageDescription, text).expect("a text");
        }
        image.write_data(data).expect("pixels");
    }
    out.into_inner()
}

fn tiffs(to: &Path) -> Made {
    let n = (SIDE * SIDE) as usize;
    let bytes: Vec<u8> = (0..3 * n).map(|i| (i * 7 % 251) as u8).collect();
    let shorts: Vec<u16> = bytes.iter().map(|&b| u16::from(b) * 200).collect();
    let floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b) / 9.0).collect();
    let signed: Vec<i16> = bytes.iter().map(|&b| i16::from(b) - 100).collect();
    let xml = "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\"><Image><Pixels \
               DimensionOrder=\"XYZCT\" Type=\"uint8\" SizeX=\"16\" SizeY=\"16\" SizeZ=\"2\" SizeC=\"2\" SizeT=\"1\" \
               PhysicalSizeX=\"0.5\" PhysicalSizeY=\"0.5\" PhysicalSizeZ=\"2\"/></Image></OME>";
    let image_j = "ImageJ=1.53t\nimages=4\nchannels=2\nslices=2\nframes=1\nhyperstack=true\nunit=micron\nspacing=2.5\n";
    let gray = |packing, pages_count, text| pages::<colortype::Gray8>(&bytes[..n], pages_count, packing, text);
    for (name, file) in [
        ("plain.tif", gray(Packing::Uncompressed, 1, None)),
        ("lzw.tif", gray(Packing::Lzw, 1, None)),
        ("deflate.tif", gray(Packing::Deflate(tiff::encoder::DeflateLevel::Fast), 1, None)),
        ("packbits.tif", gray(Packing::Packbits, 1, None)),
        ("pages.tif", gray(Packing::Uncompressed, 3, None)),
        ("ome.tif", gray(Packing::Uncompressed, 4, Some(xml))),
        ("imagej.tif", gray(Packing::Uncompressed, 4, Some(image_j))),
        ("rgb.tif", pages::<colortype::RGB8>(&bytes, 1, Packing::Lzw, None)),
        ("gray16.tif", pages::<colortype::Gray16>(&shorts[..n], 1, Packing::Uncompressed, None)),
        ("float.tif", pages::<colortype::Gray32Float>(&floats[..n], 1, Packing::Uncompressed, None)),
        ("signed.tif", pages::<colortype::GrayI16>(&signed[..n], 1, Packing::Uncompressed, None)),
    ] {
        put(to, "tiff", name, &file)?;
    }
    put(to, "tiff", "tiles.tif", &tiles(false, 1))?;
    put(to, "tiff", "planes.tif", &tiles(true, 1))?;
    put(to, "tiff", "palette.tif", &tiles(false, 3))?;
    put(to, "mask", "pages.tif", &gray(Packing::Lzw, 1, None))
}

/// Two tiles of 16 x 16 side by side, or the two planes of two channels; with a palette where `photometric` is 3.
fn tiles(planar: bool, photometric: u32) -> Vec<u8> {
    let channels = if planar { 2 } else { 1 };
    let (short, long) = (3u16, 4u16);
    let chunks = if planar { 4 } else { 2 };
    let at = |i: u32| 600 + 2000 + 256 * i;
    let mut tags: Vec<(u16, u16, u32, u32)> = vec![
        (256, long, 1, 32),
        (257, long, 1, 16),
        (258, short, channels, 8 | 8 << 16),
        (259, short, 1, 1),
        (262, short, 1, photometric),
        (277, short, 1, channels),
        (284, short, 1, if planar { 2 } else { 1 }),
        (322, long, 1, 16),
        (323, long, 1, 16),
        (324, long, chunks, 400),
        (325, long, chunks, 440),
    ];
    if channels == 1 {
        tags[2].3 = 8;
    }
    if photometric == 3 {
        tags.insert(7, (320, short, 768, 600));
    }
    let mut out = b"II\x2a\0\x08\0\0\0".to_vec();
    out.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in tags {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend([0; 4]);
    out.resize(2600 + 256 * chunks as usize, 7);
    for i in 0..chunks {
        out[400 + 4 * i as usize..][..4].copy_from_slice(&at(i).to_le_bytes());
        out[440 + 4 * i as usize..][..4].copy_from_slice(&256u32.to_le_bytes());
    }
    out
}

/// A NIfTI file of version 1.
fn nifti(sides: &[i16], datatype: i16, slope: f32, voxels: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 352];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    put(40, &(sides.len() as i16).to_le_bytes());
    for (i, side) in sides.iter().enumerate() {
        put(42 + 2 * i, &side.to_le_bytes());
    }
    put(70, &datatype.to_le_bytes());
    for (i, d) in [1f32, 0.5, 0.5, 3.0].iter().enumerate() {
        put(76 + 4 * i, &d.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(112, &slope.to_le_bytes());
    put(344, b"n+1\0");
    out.extend(voxels);
    out
}

/// The same of version 2.
fn nifti_2(sides: &[i64], datatype: i16, voxels: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 544];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &540i32.to_le_bytes());
    put(4, b"n+2\0\r\n\x1a\n");
    put(12, &datatype.to_le_bytes());
    put(16, &(sides.len() as i64).to_le_bytes());
    for (i, side) in sides.iter().enumerate() {
        put(24 + 8 * i, &side.to_le_bytes());
    }
    put(168, &544i64.to_le_bytes());
    out.extend(voxels);
    out
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

fn volumes(to: &Path) -> Made {
    let bytes: Vec<u8> = (0..16 * 16 * 3 * 8).map(|i| (i % 253) as u8).collect();
    for (name, sides, datatype, slope, size) in [
        ("u8.nii", &[16i16, 16, 3][..], 2i16, 0.0, 1),
        ("i16.nii", &[16, 16, 3], 4, 2.0, 2),
        ("f32.nii", &[16, 16], 16, 1.0, 4),
        ("f64.nii", &[8, 8, 2, 2], 64, 1.0, 8),
        ("rgb.nii", &[16, 16, 2], 128, 1.0, 3),
        ("u64.nii", &[8, 8, 3], 1280, 1.0, 8),
    ] {
        let n: usize = sides.iter().map(|&s| s as usize).product();
        let file = nifti(sides, datatype, slope, &bytes[..n * size]);
        put(to, "nifti", name, &file)?;
        put(to, "nifti", &format!("{name}.gz"), &gz(&file))?;
    }
    put(to, "nifti", "v2.nii", &nifti_2(&[16, 16, 3], 2, &bytes[..768]))?;
    let floats: Vec<f32> = bytes[..768].iter().map(|&b| f32::from(b)).collect();
    let shorts: Vec<u16> = bytes[..768].iter().map(|&b| u16::from(b)).collect();
    put(to, "npy", "u8.npy", &npy::bytes(&[16, 16], &bytes[..256]))?;
    put(to, "npy", "stack.npy", &npy::bytes(&[8, 12, 8], &bytes[..768]))?;
    put(to, "npy", "channels.npy", &npy::shorts(&[3, 16, 16], &shorts))?;
    put(to, "npy", "floats.npy", &npy::floats(&[16, 16, 3], &floats))?;
    let mut fortran = npy::bytes(&[16, 16, 3], &bytes[..768]);
    let at = fortran.windows(5).position(|w| w == b"False").expect("a header");
    fortran[at..at + 5].copy_from_slice(b"True ");
    put(to, "npy", "fortran.npy", &fortran)
}

fn element(out: &mut Vec<u8>, tag: (u16, u16), kind: &[u8; 2], value: &[u8]) {
    out.extend(tag.0.to_le_bytes());
    out.extend(tag.1.to_le_bytes());
    out.extend(kind);
    let length = value.len().next_multiple_of(2);
    if matches!(kind, b"OW" | b"OB" | b"SQ" | b"UN") {
        out.extend([0, 0]);
        out.extend((length as u32).to_le_bytes());
    } else {
        out.extend((length as u16).to_le_bytes());
    }
    out.extend(value);
    if value.len() % 2 == 1 {
        out.push(if kind == b"UI" { 0 } else { b' ' });
    }
}

fn item(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    out.extend([0xfe, 0xff]);
    out.extend(tag.to_le_bytes());
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value);
}

/// The part before the elements.
fn meta(syntax: &str) -> Vec<u8> {
    let class = b"1.2.840.10008.5.1.4.1.1.4";
    let mut meta = Vec::new();
    element(&mut meta, (2, 0x0002), b"UI", class);
    element(&mut meta, (2, 0x0003), b"UI", b"1.2.3.4");
    element(&mut meta, (2, 0x0010), b"UI", syntax.as_bytes());
    element(&mut meta, (2, 0x0012), b"UI", b"1.2.3");
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    element(&mut out, (2, 0), b"UL", &(meta.len() as u32).to_le_bytes());
    out.extend(meta);
    out
}

/// Elements of an image of 8 x 8 pixels; what the pixel data hold follows.
fn header(channels: u16, bits: u16, frames: usize, modality: &[u8], photometric: &[u8]) -> Vec<u8> {
    header_of(b"1.2.840.10008.5.1.4.1.1.4", channels, bits, frames, modality, photometric)
}

fn header_of(class: &[u8], channels: u16, bits: u16, frames: usize, modality: &[u8], photometric: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, (0x0008, 0x0016), b"UI", class);
    element(&mut out, (0x0008, 0x0018), b"UI", b"1.2.3.4");
    element(&mut out, (0x0008, 0x0060), b"CS", modality);
    element(&mut out, (0x0020, 0x000e), b"UI", b"1.2.3.78");
    element(&mut out, (0x0020, 0x0013), b"IS", b"1");
    element(&mut out, (0x0020, 0x0032), b"DS", b"-10\\5\\3");
    element(&mut out, (0x0020, 0x0037), b"DS", b"1\\0\\0\\0\\1\\0");
    element(&mut out, (0x0028, 0x0002), b"US", &channels.to_le_bytes());
    element(&mut out, (0x0028, 0x0004), b"CS", photometric);
    if channels > 1 {
        element(&mut out, (0x0028, 0x0006), b"US", &1u16.to_le_bytes());
    }
    element(&mut out, (0x0028, 0x0008), b"IS", frames.to_string().as_bytes());
    for number in [0x10, 0x11] {
        element(&mut out, (0x0028, number), b"US", &8u16.to_le_bytes());
    }
    element(&mut out, (0x0028, 0x0030), b"DS", b"0.5\\0.75");
    for (number, value) in [(0x100, bits), (0x101, bits), (0x102, bits - 1), (0x103, 0)] {
        element(&mut out, (0x0028, number), b"US", &value.to_le_bytes());
    }
    element(&mut out, (0x0028, 0x1052), b"DS", b"-1024");
    element(&mut out, (0x0028, 0x1053), b"DS", b"1");
    out
}

fn dicoms(to: &Path) -> Made {
    let bytes: Vec<u8> = (0..8 * 8 * 6).map(|i| (i % 253) as u8).collect();
    let plain = "1.2.840.10008.1.2.1";
    for (name, channels, bits, frames, modality, photometric) in [
        ("gray8.dcm", 1u16, 8u16, 1usize, &b"MR"[..], &b"MONOCHROME1"[..]),
        ("gray16.dcm", 1, 16, 3, b"CT", b"MONOCHROME2"),
        ("rgb.dcm", 3, 8, 2, b"US", b"RGB"),
        ("ybr.dcm", 3, 8, 1, b"US", b"YBR_FULL"),
    ] {
        let mut data = header(channels, bits, frames, modality, photometric);
        let n = 64 * usize::from(channels) * frames * usize::from(bits) / 8;
        element(&mut data, (0x7fe0, 0x0010), b"OW", &bytes[..n]);
        put(to, "dicom", name, &[meta(plain), data.clone()].concat())?;
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflated.write_all(&data)?;
        put(to, "dicom", &format!("deflated_{name}"), &[meta("1.2.840.10008.1.2.1.99"), deflated.finish()?].concat())?;
    }
    let jpeg = encoded(&DynamicImage::from(ramp(8).to_luma8()), ImageFormat::Jpeg);
    put(to, "dicom", "jpeg.dcm", &encapsulated("1.2.840.10008.1.2.4.50", &[jpeg]))?;
    // Two segments of one frame: a header of 64 bytes, then a run of 64 equal bytes.
    let mut rle = vec![0; 64];
    rle[0] = 1;
    rle[4] = 64;
    rle.extend([(-63i8).cast_unsigned(), 9]);
    put(to, "dicom", "rle.dcm", &encapsulated("1.2.840.10008.1.2.5", &[rle]))?;
    put(to, "dicom", "nested.dcm", &enhanced(&bytes))
}

fn encapsulated(syntax: &str, fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut out = meta(syntax);
    out.extend(header(1, 8, fragments.len(), b"MR", b"MONOCHROME2"));
    out.extend([0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff]);
    item(&mut out, 0xe000, &[]);
    for fragment in fragments {
        let mut even = fragment.clone();
        even.resize(even.len().next_multiple_of(2), 0);
        item(&mut out, 0xe000, &even);
    }
    item(&mut out, 0xe0dd, &[]);
    out
}

/// Spacing in functional groups: sequences in sequences.
fn enhanced(bytes: &[u8]) -> Vec<u8> {
    let mut spacing = Vec::new();
    element(&mut spacing, (0x0028, 0x0030), b"DS", b"0.5\\0.5");
    element(&mut spacing, (0x0020, 0x0032), b"DS", b"1\\2\\3");
    let mut inner = Vec::new();
    item(&mut inner, 0xe000, &spacing);
    let mut groups = Vec::new();
    element(&mut groups, (0x0028, 0x9110), b"SQ", &inner);
    let mut items = Vec::new();
    item(&mut items, 0xe000, &groups);
    item(&mut items, 0xe000, &groups);
    let mut data = header(1, 8, 2, b"MR", b"MONOCHROME2");
    element(&mut data, (0x5200, 0x9229), b"SQ", &items);
    element(&mut data, (0x5200, 0x9230), b"SQ", &items);
    element(&mut data, (0x7fe0, 0x0010), b"OB", &bytes[..128]);
    [meta("1.2.840.10008.1.2.1"), data].concat()
}

/// One frame's description: a sequence for each element, in an item.
fn frame(elements: &[((u16, u16), &[u8; 2], &[u8])]) -> Vec<u8> {
    let mut groups = Vec::new();
    for &(tag, kind, value) in elements {
        let (mut values, mut inner) = (Vec::new(), Vec::new());
        element(&mut values, tag, kind, value);
        item(&mut inner, 0xe000, &values);
        // The position, the reference to a segment.
        let sequence = if tag.0 == 0x0062 { (0x0062, 0x000a) } else { (0x0020, 0x9113) };
        element(&mut groups, sequence, b"SQ", &inner);
    }
    let mut out = Vec::new();
    item(&mut out, 0xe000, &groups);
    out
}

fn position(slice: usize) -> String {
    format!("-10\\5\\{}", 3 + 2 * slice)
}

/// An image with a place for each of its slices.
pub fn three_slices() -> Vec<u8> {
    let frames: Vec<u8> = (0..3).flat_map(|i| frame(&[((0x0020, 0x0032), b"DS", position(i).as_bytes())])).collect();
    let mut data = header(1, 8, 3, b"MR", b"MONOCHROME2");
    element(&mut data, (0x5200, 0x9230), b"SQ", &frames);
    element(&mut data, (0x7fe0, 0x0010), b"OB", &[7; 192]);
    [meta("1.2.840.10008.1.2.1"), data].concat()
}

fn segments(to: &Path) -> Made {
    for (name, kind, bits, pixels) in [
        ("binary.dcm", &b"BINARY"[..], 1u16, vec![0x0f; 16]),
        ("fractional.dcm", b"FRACTIONAL", 8, (0..128).map(|i| if i < 64 { i } else { 0 }).collect()),
        ("labels.dcm", b"LABELMAP", 8, (0..128).map(|i| i % 3).collect()),
        ("wide.dcm", b"LABELMAP", 16, (0..=255).map(|i| i % 2).collect::<Vec<u8>>()),
    ] {
        let place = |slice: usize| {
            let segment = ((slice + 1) as u16).to_le_bytes();
            frame(&[((0x0020, 0x0032), b"DS", position(slice).as_bytes()), ((0x0062, 0x000b), b"US", &segment)])
        };
        let class: &[u8] =
            if kind == b"LABELMAP" { b"1.2.840.10008.5.1.4.1.1.66.7" } else { b"1.2.840.10008.5.1.4.1.1.66.4" };
        let mut data = header_of(class, 1, bits, 2, b"SEG", b"MONOCHROME2");
        element(&mut data, (0x0062, 0x0001), b"CS", kind);
        element(&mut data, (0x0062, 0x000e), b"US", &100u16.to_le_bytes());
        element(&mut data, (0x5200, 0x9230), b"SQ", &[place(0), place(1)].concat());
        element(&mut data, (0x7fe0, 0x0010), if bits == 16 { b"OW" } else { b"OB" }, &pixels);
        put(to, "segments", name, &[meta("1.2.840.10008.1.2.1"), data].concat())?;
    }
    Ok(())
}

fn zarrs(to: &Path) -> Made {
    let scales = r#""multiscales":[{"axes":[{"name":"z","type":"space","unit":"micrometer"},{"name":"y"},{"name":"x"}],"datasets":[{"path":"0","coordinateTransformations":[{"type":"scale","scale":[2,0.5,0.5]}]}]}]"#;
    let second = format!("{{{scales}}}");
    let third =
        format!(r#"{{"zarr_format":3,"node_type":"group","attributes":{{"ome":{{"version":"0.5",{scales}}}}}}}"#);
    let pixels: Vec<u8> = (0..2 * 8 * 8).map(|i| i * 3 % 251).collect();
    // Blosc with plain contents: version 2, memcpy flag, sizes.
    let mut blosc = vec![2, 1, 2, 1];
    for n in [128u32, 128, 144] {
        blosc.extend(n.to_le_bytes());
    }
    blosc.extend(&pixels);
    let array = |compressor: &str| {
        format!(
            r#"{{"zarr_format":2,"shape":[2,8,8],"chunks":[2,8,8],"dtype":"|u1","compressor":{compressor},"fill_value":0,"order":"C","filters":null}}"#
        )
    };
    let codecs = |more: &str| {
        format!(
            r#"{{"zarr_format":3,"node_type":"array","shape":[2,8,8],"data_type":"uint8","chunk_grid":{{"name":"regular","configuration":{{"chunk_shape":[2,8,8]}}}},"chunk_key_encoding":{{"name":"default","configuration":{{"separator":"/"}}}},"fill_value":0,"codecs":[{{"name":"bytes","configuration":{{"endian":"little"}}}}{more}]}}"#
        )
    };
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&pixels)?;
        encoder.finish()?
    };
    for (name, group, array, chunk) in [
        ("plain", &second, array("null"), &pixels),
        ("gzip", &second, array(r#"{"id":"gzip","level":1}"#), &gz(&pixels)),
        ("zlib", &second, array(r#"{"id":"zlib","level":1}"#), &zlib),
        ("blosc", &second, array(r#"{"id":"blosc","cname":"lz4","clevel":5,"shuffle":1,"blocksize":0}"#), &blosc),
        ("third", &third, codecs(""), &pixels),
        ("third_gzip", &third, codecs(r#",{"name":"gzip","configuration":{"level":1}}"#), &gz(&pixels)),
    ] {
        put(to, "zarr", name, &[group.as_bytes(), &[0], array.as_bytes(), &[0], chunk].concat())?;
    }
    Ok(())
}

fn texts(to: &Path) -> Made {
    for (name, which, text) in [
        ("split", 0u8, "file,split,source\na.png,train,p1\nb.png,test,p2\nc.png,val,p3#2\n"),
        ("bom", 0, "\u{feff}File,Source\n\"a.png\",\"../x\"\nb.png,\"p,2\"\nc.png,p3\n"),
        (
            "nnunet",
            1,
            "{\"channel_names\":{\"0\":\"gray\"},\"labels\":{\"background\":0,\"cell\":1,\"ignore\":2},\"numTraining\":3,\"file_ending\":\".png\"}",
        ),
        (
            "variant",
            2,
            "{\"format\":\"segfit-variant/1\",\"version\":\"0\",\"parent\":\"glas\",\"of\":\"0\",\"synthetic\":false,\"operations\":[]}",
        ),
        ("phantom", 3, "{\"format\":\"segfit-phantom/1\",\"kind\":\"glands\",\"seed\":1}"),
    ] {
        put(to, "dataset", name, &[&[which], text.as_bytes()].concat())?;
    }
    Ok(())
}
