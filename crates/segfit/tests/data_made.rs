//! Every readable format, bit depth and kind of label, and every error, on files made here.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, ImageFormat};
use segfit::Error;
use segfit::data::{
    Dataset, Image, LabelCoding, LabelKind, Mask, Note, Options, Split, contour_overlay, read_image, read_raw_mask,
    write_image_png, write_mask,
};
use tempfile::TempDir;
use tiff::encoder::{TiffEncoder, TiffValue, colortype};
use tiff::tags::Tag;

const SIDE: u32 = 12;

/// `SIDE` x `SIDE` gray PNG whose left part holds `value`.
fn left(value: u8, columns: u32) -> DynamicImage {
    DynamicImage::ImageLuma8(image::GrayImage::from_fn(SIDE, SIDE, |x, _| {
        image::Luma([if x < columns { value } else { 0 }])
    }))
}

fn ramp() -> DynamicImage {
    DynamicImage::ImageLuma8(image::GrayImage::from_fn(SIDE, SIDE, |x, y| image::Luma([(17 * x + y) as u8])))
}

fn save(path: &Path, image: &DynamicImage) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

/// A folder with n pairs 00.png, 01.png, ...; masks 0/255; each image differs.
fn pairs(n: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..n {
        let mut image = ramp().to_luma8();
        image.put_pixel(0, 0, image::Luma([i as u8]));
        save(&dir.path().join(format!("images/{i:02}.png")), &DynamicImage::ImageLuma8(image));
        save(&dir.path().join(format!("masks/{i:02}.png")), &left(255, 3 + i % 4));
    }
    dir
}

fn open(dir: &TempDir) -> Dataset {
    Dataset::open(&Options::new(dir.path())).unwrap()
}

/// Checks that opening fails, naming the file and saying these words, and gives the hint.
fn refused(dir: &TempDir, file: &str, words: &[&str]) -> String {
    refused_with(&Options::new(dir.path()), file, words)
}

fn refused_with(options: &Options, file: &str, words: &[&str]) -> String {
    let error = Dataset::open(options).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(file), "{text} does not name {file}");
    for word in words {
        assert!(text.contains(word), "{text} does not say {word}");
    }
    error.hint().unwrap_or_default()
}

fn write_tiff<C: colortype::ColorType>(path: &Path, data: &[C::Inner], tags: &[(Tag, &[u16])])
where
    [C::Inner]: TiffValue,
{
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut page = encoder.new_image::<C>(4, 2).unwrap();
    for (tag, values) in tags {
        page.encoder().write_tag(*tag, *values).unwrap();
    }
    page.write_data(data).unwrap();
    std::fs::write(path, bytes.into_inner()).unwrap();
}

// ---- readers ----

#[test]
fn png_of_every_colour_type_and_depth() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let write = |color: ExtendedColorType, bytes: &[u8]| {
        let mut out = Vec::new();
        image::codecs::png::PngEncoder::new(&mut out).write_image(bytes, 2, 1, color).unwrap();
        std::fs::write(&path, out).unwrap();
        read_image(&path).unwrap()
    };
    assert_eq!(write(ExtendedColorType::L8, &[0, 51]).data, [0.0, 0.2]);
    assert_eq!(write(ExtendedColorType::La8, &[51, 255, 102, 255]).data, [0.2, 0.4]);
    let rgb = write(ExtendedColorType::Rgb8, &[255, 0, 51, 0, 255, 102]);
    assert_eq!((rgb.channels, rgb.data), (3, vec![1.0, 0.0, 0.0, 1.0, 0.2, 0.4]));
    assert_eq!(write(ExtendedColorType::Rgba8, &[255, 0, 51, 255, 0, 255, 102, 9]).channels, 3);
    assert_eq!(read_raw_mask(&path).unwrap().notes, [Note::AlphaDropped]);
    let sixteen: Vec<u8> = [13_107u16, 65_535].iter().flat_map(|v| v.to_ne_bytes()).collect();
    assert_eq!(write(ExtendedColorType::L16, &sixteen).data, [0.2, 1.0]);
    let mask = read_raw_mask(&path).unwrap();
    assert_eq!(mask.labels, [13_107, 65_535], "16-bit ids keep their range");
}

#[test]
fn png_with_palette_and_few_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    let write = |color, depth, palette: Option<&[u8]>, data: &[u8]| {
        let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 5, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(p) = palette {
            encoder.set_palette(p.to_vec());
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
    };
    write(
        png::ColorType::Indexed,
        png::BitDepth::Two,
        Some(&[0, 0, 0, 255, 0, 0, 0, 255, 0]),
        &[0b0001_1000, 0b0100_0000],
    );
    let mask = read_raw_mask(&path).unwrap();
    assert_eq!((&mask.labels[..], mask.coding), (&[0, 1, 2, 0, 1][..], LabelCoding::PaletteIndex));
    let image = read_image(&path).unwrap();
    assert_eq!((image.channels, image.plane(0)), (3, &[0.0, 1.0, 0.0, 0.0, 1.0][..]));
    write(png::ColorType::Grayscale, png::BitDepth::Four, None, &[0x0f, 0x30, 0x10]);
    assert_eq!(read_raw_mask(&path).unwrap().labels, [0, 15, 3, 0, 1]);
    assert_eq!(read_image(&path).unwrap().data, [0.0, 1.0, 0.2, 0.0, 1.0 / 15.0]);
}

#[test]
fn bmp_gif_and_jpeg() {
    let dir = tempfile::tempdir().unwrap();
    let gray = left(200, 5);
    let at = |name: &str| dir.path().join(name);
    save(&at("a.bmp"), &gray);
    let mask = read_raw_mask(&at("a.bmp")).unwrap();
    assert_eq!((mask.labels[4], mask.labels[5], mask.coding), (200, 0, LabelCoding::Value));
    save(&at("rgb.bmp"), &DynamicImage::ImageRgb8(ramp().to_rgb8()));
    assert_eq!(read_image(&at("rgb.bmp")).unwrap().channels, 3);

    let palette = [0, 0, 0, 255, 0, 0, 0, 0, 255, 1, 1, 1];
    let mut encoder = gif::Encoder::new(std::fs::File::create(at("a.gif")).unwrap(), 4, 2, &palette).unwrap();
    for shift in 0..2 {
        let pixels = vec![0, 1, 2, shift, 1, 1, 0, 0];
        let frame = gif::Frame { width: 4, height: 2, buffer: pixels.into(), ..gif::Frame::default() };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    let mask = read_raw_mask(&at("a.gif")).unwrap();
    assert_eq!((mask.labels, mask.notes), (vec![0, 1, 2, 0, 1, 1, 0, 0], vec![Note::FirstFrame]));

    save(&at("a.jpg"), &gray);
    let image = read_image(&at("a.jpg")).unwrap();
    assert!((image.data[0] - 200.0 / 255.0).abs() < 0.1 && image.channels == 1);
    save(&at("mask.jpg"), &left(255, 5));
    let mask = read_raw_mask(&at("mask.jpg")).unwrap();
    assert_eq!(mask.counts().into_iter().collect::<Vec<_>>(), [(0, 84), (255, 60)]);
    save(&at("labels.jpg"), &left(100, 5));
    assert!(read_raw_mask(&at("labels.jpg")).unwrap_err().to_string().contains("JPEG"));
}

#[test]
fn one_bit_bmp_gives_grays_whatever_the_order_of_its_palette() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bmp");
    // 8 x 1 pixels, white first in the palette: bits 1000_0001 are black at both ends.
    let mut bytes = b"BM".to_vec();
    bytes.extend(66u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(62u32.to_le_bytes());
    bytes.extend(40u32.to_le_bytes());
    bytes.extend(8i32.to_le_bytes());
    bytes.extend(1i32.to_le_bytes());
    bytes.extend([1, 0, 1, 0]);
    bytes.extend([0; 24]);
    bytes.extend([255, 255, 255, 0, 0, 0, 0, 0, 0b1000_0001, 0, 0, 0]);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read_raw_mask(&path).unwrap().labels, [0, 255, 255, 255, 255, 255, 255, 0]);
}

#[test]
fn tiff_of_integers_and_floats() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    write_tiff::<colortype::Gray16>(&path, &[0, 1, 2, 3, 40_000, 65_535, 6, 7], &[]);
    assert_eq!(read_raw_mask(&path).unwrap().labels[4..6], [40_000, 65_535]);
    assert_eq!(read_image(&path).unwrap().data[5], 1.0);
    write_tiff::<colortype::Gray32>(&path, &[0, 100_000, 2, 3, 4, 5, 6, 7], &[]);
    assert_eq!(read_raw_mask(&path).unwrap().labels[1], 100_000);
    write_tiff::<colortype::Gray32Float>(&path, &[0.0, 1.0, -2.5, 3.0, 4e5, 5.0, 6.0, 7.0], &[]);
    assert_eq!(read_image(&path).unwrap().data[..5], [0.0, 1.0, -2.5, 3.0, 4e5]);
    assert!(read_raw_mask(&path).unwrap_err().to_string().contains("-2.5"));
    write_tiff::<colortype::Gray64Float>(&path, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[]);
    assert_eq!(read_raw_mask(&path).unwrap().labels, [0, 1, 2, 3, 4, 5, 6, 7]);
    write_tiff::<colortype::GrayI16>(&path, &[-1000, 1, 2, 3, 4, 5, 6, 7], &[]);
    assert_eq!(read_image(&path).unwrap().data[0], -1000.0, "signed values are kept");
    write_tiff::<colortype::RGB8>(&path, &[255; 24], &[]);
    assert_eq!(read_image(&path).unwrap().channels, 3);
    let rgba: Vec<u8> = (0..8).flat_map(|i| [255, 51, 0, 255 - i]).collect();
    write_tiff::<colortype::RGBA8>(&path, &rgba, &[]);
    let image = read_image(&path).unwrap();
    assert_eq!((image.channels, image.data[8]), (3, 0.2));
    write_tiff::<colortype::Gray32Float>(&path, &[0.0, f32::NAN, 0.0, 0.0, f32::INFINITY, 0.0, 0.0, 0.0], &[]);
    assert!(read_image(&path).unwrap_err().to_string().contains("2 NaN or infinite"));
}

#[test]
fn tiff_with_palette_white_is_zero_and_several_pages() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    let mut map = [0u16; 768];
    (map[1], map[256 + 2], map[512 + 3]) = (65_535, 65_535, 65_535);
    let photometric = |v: &'static [u16]| (Tag::PhotometricInterpretation, v);
    write_tiff::<colortype::Gray8>(&path, &[0, 1, 2, 3, 0, 0, 0, 9], &[photometric(&[3]), (Tag::ColorMap, &map)]);
    let mask = read_raw_mask(&path).unwrap();
    assert_eq!((mask.labels[..4].to_vec(), mask.coding), (vec![0, 1, 2, 3], LabelCoding::PaletteIndex));
    let image = read_image(&path).unwrap();
    assert_eq!((image.channels, &image.plane(1)[..4]), (3, &[0.0, 0.0, 1.0, 0.0][..]));
    write_tiff::<colortype::Gray8>(&path, &[0, 255, 1, 2, 3, 4, 5, 6], &[photometric(&[0])]);
    assert_eq!(read_raw_mask(&path).unwrap().labels[..3], [255, 0, 254]);

    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    encoder.write_image::<colortype::Gray8>(2, 1, &[7, 8]).unwrap();
    encoder.write_image::<colortype::Gray8>(2, 1, &[9, 10]).unwrap();
    std::fs::write(&path, bytes.into_inner()).unwrap();
    let mask = read_raw_mask(&path).unwrap();
    assert_eq!((mask.labels, mask.notes), (vec![7, 8], vec![Note::FirstPage]));
}

/// A TIFF header by hand: 4 x 2 pixels, tags (tag, type, count, value), then `data` at byte 256.
fn raw_tiff(tags: &[(u16, u16, u32, u32)], data: &[u8]) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in tags {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.resize(256, 0);
    bytes.extend(data);
    bytes
}

#[test]
fn tiff_planar_and_one_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    // Two planes of 4 x 2 bytes; strip offsets 264 and 272, behind two arrays of offsets and lengths.
    let mut data = [264u32 + 8, 272 + 8].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    data.extend([8u32, 8].iter().flat_map(|v| v.to_le_bytes()));
    data.extend([0, 51, 51, 51, 51, 51, 51, 51, 102, 102, 102, 102, 102, 102, 102, 255]);
    let tags = [
        (256, 3, 1, 4),
        (257, 3, 1, 2),
        (258, 3, 2, 8 | 8 << 16),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 2, 256),
        (277, 3, 1, 2),
        (278, 3, 1, 2),
        (279, 4, 2, 264),
        (284, 3, 1, 2),
    ];
    std::fs::write(&path, raw_tiff(&tags, &data)).unwrap();
    let image = read_image(&path).unwrap();
    assert_eq!((image.channels, image.height, image.width), (2, 2, 4));
    assert_eq!((image.data[0], image.data[1], image.data[8], image.data[15]), (0.0, 0.2, 0.4, 1.0));

    let one_bit = |photometric| {
        let tags = [
            (256, 3, 1, 4),
            (257, 3, 1, 2),
            (258, 3, 1, 1),
            (259, 3, 1, 1),
            (262, 3, 1, photometric),
            (273, 4, 1, 256),
            (277, 3, 1, 1),
            (278, 3, 1, 2),
            (279, 4, 1, 2),
        ];
        std::fs::write(&path, raw_tiff(&tags, &[0b1010_0000, 0b0001_0000])).unwrap();
        read_raw_mask(&path).unwrap().labels
    };
    assert_eq!(one_bit(1), [1, 0, 1, 0, 0, 0, 0, 1]);
    assert_eq!(one_bit(0), [0, 1, 0, 1, 1, 1, 1, 0]);
}

// ---- damaged and hostile files ----

#[test]
fn a_file_that_claims_a_huge_size_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 60_000, 60_000);
    encoder.set_color(png::ColorType::Rgba);
    drop(encoder.write_header().unwrap());
    let text = read_image(&path).unwrap_err().to_string();
    assert!(text.contains("60000 x 60000") && text.contains("limits"), "{text}");
    let path = dir.path().join("bomb.tif");
    let tags = [
        (256, 4, 1, 60_000),
        (257, 4, 1, 60_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 256),
        (277, 3, 1, 1),
        (278, 4, 1, 60_000),
        (279, 4, 1, 8),
    ];
    std::fs::write(&path, raw_tiff(&tags, &[0; 8])).unwrap();
    let text = read_image(&path).unwrap_err().to_string();
    assert!(text.contains("60000 x 60000"), "{text}");
    let path = dir.path().join("bomb.jpg");
    save(&path, &ramp());
    let mut bytes = std::fs::read(&path).unwrap();
    let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    std::fs::write(&path, bytes).unwrap();
    let text = read_image(&path).unwrap_err().to_string();
    assert!(text.contains("60000 x 60000") && text.contains("1024 MiB") && text.contains("tiled TIFF"), "{text}");
}

#[test]
fn every_truncated_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for extension in ["png", "jpg", "bmp", "gif", "tif"] {
        let path = dir.path().join(format!("a.{extension}"));
        let noisy = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y % 251) as u8, (x * 7) as u8, y as u8]));
        save(&path, &DynamicImage::ImageRgb8(noisy));
        let whole = std::fs::read(&path).unwrap();
        for keep in [whole.len() / 10, whole.len() / 2, whole.len() * 9 / 10] {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let error = read_image(&path).unwrap_err();
            assert!(matches!(error, Error::Decode { .. }), "{extension} cut to {keep}: {error}");
            assert!(error.to_string().contains(&format!("a.{extension}")), "{error}");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut stream = segfit::random::Stream::new(&[11]);
    for extension in ["png", "jpg", "bmp", "gif", "tif"] {
        let path = dir.path().join(format!("a.{extension}"));
        save(&path, &DynamicImage::ImageRgb8(ramp().to_rgb8()));
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                let at = stream.below(bytes.len());
                bytes[at] = stream.below(256) as u8;
            }
            std::fs::write(&path, &bytes).unwrap();
            let _ = read_image(&path);
            let _ = read_raw_mask(&path);
        }
    }
}

// ---- data sets ----

#[test]
fn a_plain_folder_opens_with_a_split_by_name() {
    let dir = pairs(40);
    let set = open(&dir);
    let count = |s| set.indices(s).len();
    assert_eq!((count(Split::Train), count(Split::Validation), count(Split::Test)), (27, 5, 8));
    assert_eq!((set.channels, set.classes, set.label_map.kind), (1, 2, LabelKind::Binary));
    assert!(set.warnings.is_empty(), "{:?}", set.warnings);
    let again = open(&dir);
    assert_eq!(set.pairs, again.pairs);
    assert_eq!(set.fingerprint, again.fingerprint);
    assert_eq!(set.load(&[3]).unwrap()[0].mask.foreground_fraction(), 0.5);
}

#[test]
fn split_csv_and_its_sources_are_honoured() {
    let dir = pairs(20);
    let mut csv = String::from("file,split,source\n");
    for i in 0..20 {
        let split = if i < 4 { "testA" } else { "train" };
        csv += &format!("{i:02}.png,{split},scan{}.tif#tile{i}\n", i / 4);
    }
    std::fs::write(dir.path().join("split.csv"), &csv).unwrap();
    let set = open(&dir);
    assert_eq!(set.indices(Split::Test), [0, 1, 2, 3]);
    let validation = set.indices(Split::Validation);
    assert_eq!(validation.len(), 4, "one whole source");
    assert!(validation.iter().all(|&i| set.pairs[i].source == set.pairs[validation[0]].source));
    assert_eq!(set.pairs[7].source, "scan1.tif");

    std::fs::write(dir.path().join("split.csv"), csv.replace("19.png,train", "19.png,val")).unwrap();
    assert_eq!(open(&dir).indices(Split::Validation), [19], "a named validation part is not carved again");
    std::fs::write(dir.path().join("split.csv"), csv.replace("19.png,train,scan4.tif#tile19\n", "")).unwrap();
    refused(&dir, "split.csv", &["none for 19"]);
    std::fs::write(dir.path().join("split.csv"), csv.replace(",train,", ",test,")).unwrap();
    refused(&dir, "", &["is for training"]);
}

#[test]
fn suffixes_side_by_side_and_explicit_folders_pair_up() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..5 {
        save(&dir.path().join(format!("a_{i}.png")), &ramp());
        save(&dir.path().join(format!("a_{i}_anno.bmp")), &left(1, 4));
    }
    let set = open(&dir);
    assert_eq!(set.pairs.len(), 5);
    assert!(set.pairs[0].mask.as_ref().unwrap().ends_with("a_0_anno.bmp"));

    let dir = pairs(6);
    std::fs::rename(dir.path().join("images"), dir.path().join("raw")).unwrap();
    std::fs::rename(dir.path().join("masks"), dir.path().join("truth")).unwrap();
    let root = dir.path();
    let options = Options { images: Some(root.join("raw")), masks: Some(root.join("truth")), ..Options::new(root) };
    let named = Dataset::open(&options).unwrap();
    assert_eq!(named.pairs.len(), 6);
    let folders = Dataset::open(&Options::folders(root.join("raw"), Some(root.join("truth")))).unwrap();
    assert_eq!((folders.pairs, folders.fingerprint, folders.name), (named.pairs, named.fingerprint, named.name));
    let hint = refused(&dir, "", &["neither a folder `images`", "raw, truth"]);
    assert!(hint.contains("--images"));
}

#[test]
fn nnunet_channels_merge_and_its_test_part_is_the_test_part() {
    let dir = tempfile::tempdir().unwrap();
    let at = |p: String| dir.path().join(p);
    for (part, cases) in [("Tr", 0..6), ("Ts", 6..8)] {
        for i in cases {
            save(&at(format!("images{part}/case_{i:03}_0000.png")), &ramp());
            save(&at(format!("images{part}/case_{i:03}_0001.png")), &left(51, 12));
            save(&at(format!("labels{part}/case_{i:03}.png")), &left(2, 4));
        }
    }
    let json = r#"{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "edema": 1, "core": 2},
                  "numTraining": 6, "file_ending": ".png"}"#;
    std::fs::write(at("dataset.json".into()), json).unwrap();
    let set = open(&dir);
    assert_eq!((set.pairs.len(), set.channels, set.classes), (8, 2, 3));
    assert_eq!(set.indices(Split::Test), [6, 7]);
    assert_eq!(set.label_map.to_string(), "3 classes: 0 -> background, 1 -> edema, 2 -> core");
    let sample = &set.load(&[0]).unwrap()[0];
    assert_eq!((sample.name.as_str(), sample.image.plane(1)[0], sample.mask.data[0]), ("case_000", 0.2, 2));

    save(&at("labelsTr/case_001.png".into()), &left(7, 4));
    refused(&dir, "case_001.png", &["label 7"]);
    save(&at("labelsTr/case_001.png".into()), &left(1, 4));
    std::fs::remove_file(at("imagesTr/case_002_0000.png".into())).unwrap();
    refused(&dir, "case_002_0001.png", &["case_002_0000.png", "gap"]);
    std::fs::write(at("dataset.json".into()), json.replace(".png", ".mha")).unwrap();
    refused(&dir, "dataset.json", &[".mha", "not read"]);
    std::fs::write(at("dataset.json".into()), "{").unwrap();
    refused(&dir, "dataset.json", &["nnU-Net"]);
}

#[test]
fn images_alone_are_accepted_on_request() {
    let dir = pairs(5);
    std::fs::remove_dir_all(dir.path().join("masks")).unwrap();
    let hint = refused(&dir, "", &["no folder `masks`"]);
    assert!(hint.contains("--masks"));
    let set = Dataset::open(&Options { masks_optional: true, ..Options::new(dir.path()) }).unwrap();
    assert_eq!((set.classes, set.pairs[0].mask.is_none()), (0, true));
    assert_eq!(set.load(&[0]).unwrap()[0].mask, Mask::background(12, 12));
    assert!(set.warnings.is_empty(), "{:?}", set.warnings);

    let dir = pairs(5);
    std::fs::remove_file(dir.path().join("masks/04.png")).unwrap();
    let set = Dataset::open(&Options { masks_optional: true, ..Options::new(dir.path()) }).unwrap();
    assert!(set.warnings[0].starts_with("1 of 5 images"), "{:?}", set.warnings);
}

#[test]
fn colours_palettes_and_instances_become_classes() {
    let dir = pairs(4);
    for i in 0..4u32 {
        let colour = |x: u32| {
            if x < 3 {
                [0, 0, 255]
            } else if x < 6 && i > 0 {
                [255, 0, 0]
            } else {
                [0; 3]
            }
        };
        let mask = image::RgbImage::from_fn(SIDE, SIDE, |x, _| image::Rgb(colour(x)));
        save(&dir.path().join(format!("masks/{i:02}.png")), &DynamicImage::ImageRgb8(mask));
    }
    let set = open(&dir);
    assert_eq!(
        set.label_map.to_string(),
        "3 classes (colours): #000000 -> background, #0000ff -> class 1, #ff0000 -> class 2"
    );
    assert_eq!(set.load(&[1]).unwrap()[0].mask.data[..7], [1, 1, 1, 2, 2, 2, 0]);

    let dir = pairs(4);
    for i in 0..4u32 {
        let mask = image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::from_fn(SIDE, SIDE, |x, _| {
            image::Luma([if x < 8 + i { x as u16 } else { 0 }])
        });
        save(&dir.path().join(format!("masks/{i:02}.png")), &DynamicImage::ImageLuma16(mask));
    }
    let hint = refused(&dir, "", &["look like objects"]);
    assert!(hint.contains("--instances"));
    let set = Dataset::open(&Options { instances: true, ..Options::new(dir.path()) }).unwrap();
    let sample = &set.load(&[3]).unwrap()[0];
    assert_eq!(sample.mask.data[..4], [0, 1, 1, 1]);
    assert_eq!(sample.instances.as_ref().unwrap()[..4], [0, 1, 2, 3]);
    assert!(set.label_map.to_string().starts_with("instances"));
}

#[test]
fn few_counted_objects_are_classes_with_a_warning() {
    let dir = pairs(3);
    for (i, n) in [3u32, 2, 3].iter().enumerate() {
        let mask = image::GrayImage::from_fn(SIDE, SIDE, |x, _| image::Luma([if x <= *n { x as u8 } else { 0 }]));
        save(&dir.path().join(format!("masks/{i:02}.png")), &DynamicImage::ImageLuma8(mask));
    }
    let set = open(&dir);
    assert_eq!(set.classes, 4);
    assert!(set.warnings.iter().any(|w| w.contains("--instances")), "{:?}", set.warnings);
}

#[test]
fn each_contradiction_names_its_file() {
    let missing = Error::Path { path: "x".into(), expected: String::new(), got: String::new() };
    let error = Dataset::open(&Options::new("/no/such/folder")).unwrap_err();
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&missing), "{error}");

    let dir = pairs(5);
    std::fs::remove_file(dir.path().join("masks/03.png")).unwrap();
    assert!(refused(&dir, "03.png", &["masks", "found none"]).contains("remove the image"));

    let dir = pairs(5);
    save(&dir.path().join("masks/02.png"), &left(255, 3).crop_imm(0, 0, 12, 9));
    refused(&dir, "masks/02.png", &["12 x 12", "12 x 9"]);

    let dir = pairs(5);
    std::fs::write(dir.path().join("images/01.png"), b"").unwrap();
    refused(&dir, "images/01.png", &["0 bytes"]);
    std::fs::write(dir.path().join("images/01.png"), b"hello").unwrap();
    refused(&dir, "images/01.png", &["unknown format"]);
    save(&dir.path().join("images/01.png"), &DynamicImage::new_luma8(1, 1));
    refused(&dir, "images/01.png", &["at least 8 x 8", "1 x 1"]);
    save(&dir.path().join("images/01.png"), &DynamicImage::ImageRgb8(ramp().to_rgb8()));
    refused(&dir, "images/01.png", &["1 channel", "3 channel"]);

    let dir = pairs(5);
    std::fs::copy(dir.path().join("images/01.png"), dir.path().join("images/01.bmp")).unwrap();
    refused(&dir, "01.bmp", &["one file per name", "01.png"]);
    std::fs::rename(dir.path().join("images/01.bmp"), dir.path().join("images/volume.mha")).unwrap();
    refused(&dir, "volume.mha", &["not read"]);

    let dir = pairs(5);
    for i in 0..5 {
        save(&dir.path().join(format!("masks/{i:02}.png")), &left(0, 3));
    }
    assert!(refused(&dir, "", &["training masks has any foreground"]).contains("masks"));

    let dir = pairs(5);
    let noise = image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::from_fn(30, 30, |x, y| {
        image::Luma([(x * 30 + y) as u16 * 3])
    });
    save(&dir.path().join("images/00.png"), &DynamicImage::new_luma8(30, 30));
    save(&dir.path().join("masks/00.png"), &DynamicImage::ImageLuma16(noise));
    assert!(refused(&dir, "", &["different labels", "255"]).contains("--instances"));
}

#[test]
fn remarks_are_collected_into_one_warning_each() {
    let dir = pairs(6);
    for i in 0..6 {
        let rgba = image::RgbaImage::from_fn(SIDE, SIDE, |x, y| image::Rgba([x as u8, y as u8, i, 9]));
        save(&dir.path().join(format!("images/{i:02}.png")), &DynamicImage::ImageRgba8(rgba));
    }
    std::fs::write(dir.path().join("images/notes.txt"), "x").unwrap();
    save(&dir.path().join("masks/99.png"), &left(255, 3));
    std::fs::copy(dir.path().join("images/00.png"), dir.path().join("images/05.png")).unwrap();
    let set = open(&dir);
    assert_eq!((set.warnings.len(), set.channels), (4, 3), "{:?}", set.warnings);
    assert!(set.warnings.iter().any(|w| w.contains("alpha") && w.contains("6 file(s)")));
}

// ---- writing ----

#[test]
fn written_masks_hold_the_original_labels() {
    let dir = pairs(4);
    let set = open(&dir);
    let sample = set.load(&[0]).unwrap().remove(0);
    let out = tempfile::tempdir().unwrap();
    let path = write_mask(&out.path().join("m.tif"), &sample.mask, &set.label_map).unwrap();
    assert_eq!(path, out.path().join("m.png"));
    assert_eq!(std::fs::read(&path).unwrap()[..4], *b"\x89PNG");
    let back = read_raw_mask(&path).unwrap();
    assert_eq!(back.counts().into_keys().collect::<Vec<_>>(), [0, 255]);
    assert_eq!(set.label_map.apply(&path, back).unwrap().0, sample.mask);

    let mut wide = set.label_map.clone();
    wide.entries[1].value = 1000;
    let path = write_mask(&out.path().join("wide"), &sample.mask, &wide).unwrap();
    assert!(path.ends_with("wide.tif"));
    assert_eq!(read_raw_mask(&path).unwrap().counts().into_keys().collect::<Vec<_>>(), [0, 1000]);
    wide.coding = LabelCoding::Colour;
    wide.entries[1].value = 0x12_34_56;
    let path = write_mask(&out.path().join("rgb"), &sample.mask, &wide).unwrap();
    assert_eq!(read_raw_mask(&path).unwrap().counts().into_keys().collect::<Vec<_>>(), [0, 0x12_34_56]);
    let stray = Mask { height: 1, width: 1, data: vec![9] };
    assert!(write_mask(&out.path().join("x"), &stray, &set.label_map).unwrap_err().to_string().contains("class 9"));
    assert!(matches!(write_mask(Path::new("/no/such/m"), &sample.mask, &set.label_map), Err(Error::Io { .. })));
}

#[test]
fn an_overlay_is_written_as_rgb_and_reads_back() {
    let dir = pairs(3);
    let sample = open(&dir).load(&[0]).unwrap().remove(0);
    let overlay = contour_overlay(&sample.image, Some(&sample.mask), &Mask::background(12, 12));
    let path: PathBuf = dir.path().join("overlay.png");
    write_image_png(&path, &overlay).unwrap();
    let back = read_image(&path).unwrap();
    assert!(back.data.iter().zip(&overlay.data).all(|(a, b)| (a - b).abs() < 0.003));
    assert!(write_image_png(&path, &Image::filled(2, 3, 3, 0.0)).unwrap_err().to_string().contains("2 channels"));
    assert_eq!(image::guess_format(&std::fs::read(&path).unwrap()).unwrap(), ImageFormat::Png);
}
