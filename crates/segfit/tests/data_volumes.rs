//! Volumes and stacks as data sets, made here: pages, OME axes, `.npy`, splits, and masks written back.

use std::io::Cursor;
use std::path::Path;

use segfit::data::{Axis, Dataset, ImageFile, Mask, Options, Slice, Split, inspect, write_masks};
use segfit::npy;
use tempfile::TempDir;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

const HEIGHT: usize = 10;
const WIDTH: usize = 12;

/// A TIFF file of gray pages; page `p` holds `value(p, i)`.
fn pages(path: &Path, n: usize, description: Option<&str>, value: impl Fn(usize, usize) -> u8) {
    let mut out = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut out).unwrap();
    for page in 0..n {
        let data: Vec<u8> = (0..HEIGHT * WIDTH).map(|i| value(page, i)).collect();
        let mut image = encoder.new_image::<colortype::Gray8>(WIDTH as u32, HEIGHT as u32).unwrap();
        if let (0, Some(text)) = (page, description) {
            image.encoder().write_tag(Tag::ImageDescription, text).unwrap();
        }
        image.write_data(&data).unwrap();
    }
    std::fs::write(path, out.into_inner()).unwrap();
}

/// Four stacks of three pages with masks.
fn stacks() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for part in ["images", "masks"] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
    }
    for (k, name) in ["a", "b", "c", "d"].iter().enumerate() {
        pages(&dir.path().join(format!("images/{name}.tif")), 3, None, |p, i| (10 * p + i + k) as u8);
        pages(&dir.path().join(format!("masks/{name}_mask.tif")), 3, None, |p, i| u8::from(i % 12 > 4 + p));
    }
    dir
}

fn error(options: &Options) -> String {
    let error = Dataset::open(options).unwrap_err();
    assert!(error.hint().is_some() || error.to_string().contains("axis"), "{error}");
    error.to_string()
}

#[test]
fn pages_are_samples_and_a_stack_is_never_divided() {
    let dir = stacks();
    let set = Dataset::open(&Options::new(dir.path())).unwrap();
    assert_eq!(set.pairs.len(), 12);
    assert_eq!((set.pairs[4].name.as_str(), set.pairs[4].source.as_str()), ("b#001", "b"));
    assert_eq!(set.pairs[4].slice, Some(Slice { axis: Axis::Z, index: 1 }));
    for four in set.pairs.chunks(3) {
        assert!(four.iter().all(|p| p.split == four[0].split));
    }
    assert!(!set.indices(Split::Test).is_empty() && !set.indices(Split::Validation).is_empty());
    let sample = &set.load(&[4]).unwrap()[0];
    assert_eq!((sample.image.data[0], sample.mask.data[5], sample.mask.data[6]), (11.0 / 255.0, 0, 1));

    let lazy = Dataset::open(&Options { is_lazy: true, cache_bytes: 0, ..Options::new(dir.path()) }).unwrap();
    assert_eq!(lazy.fingerprint, set.fingerprint);
    assert_eq!(lazy.load(&[4]).unwrap()[0].image, sample.image);
    assert_ne!(set.content_hash(3), set.content_hash(4));

    let csv = dir.path().join("split.csv");
    std::fs::write(&csv, "file,split\na.tif,train\nb.tif,test\nc.tif,train\nd.tif,val\n").unwrap();
    let set = Dataset::open(&Options::new(dir.path())).unwrap();
    assert_eq!(set.indices(Split::Test), [3, 4, 5]);
    let lines: String =
        ["a", "b", "c", "d"].iter().map(|n| format!("{n}#000,train\n{n}#001,test\n{n}#002,train\n")).collect();
    std::fs::write(&csv, format!("file,split\n{lines}")).unwrap();
    assert!(error(&Options::new(dir.path())).contains("one use for all slices of a"));
}

#[test]
fn masks_of_another_depth_and_axes_that_are_not_there_are_refused() {
    let dir = stacks();
    let message = error(&Options { axis: Some(Axis::X), ..Options::new(dir.path()) });
    assert!(message.contains("a.tif") && message.contains("pages"), "{message}");
    pages(&dir.path().join("masks/b_mask.tif"), 2, None, |_, i| (i % 2) as u8);
    let message = error(&Options::new(dir.path()));
    assert!(
        message.contains("b_mask.tif") && message.contains("12 x 10 x 3") && message.contains("12 x 10 x 2"),
        "{message}"
    );
}

#[test]
fn channels_in_pages_of_their_own_become_channels() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ome.tif");
    let xml = "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\"><Image><Pixels \
               DimensionOrder=\"XYZCT\" Type=\"uint8\" SizeX=\"12\" SizeY=\"10\" SizeZ=\"3\" SizeC=\"2\" SizeT=\"1\" \
               PhysicalSizeX=\"0.5\" PhysicalSizeY=\"0.5\" PhysicalSizeZ=\"2\"/></Image></OME>";
    pages(&path, 6, Some(xml), |p, _| 40 * p as u8);
    let file = ImageFile::open(&path, None).unwrap();
    let image = file.image(1).unwrap();
    assert_eq!((file.count(), image.channels), (3, 2));
    assert_eq!((image.plane(0)[0], image.plane(1)[0]), (40.0 / 255.0, 160.0 / 255.0));
    let found = inspect(&path, None, &mut |_| Ok(())).unwrap();
    assert_eq!((found.spacing_mm, found.slices, found.greatest), (Some([0.0005, 0.0005, 0.002]), 3, 200.0));
    pages(&path, 5, Some(xml), |_, _| 1);
    let message = ImageFile::open(&path, None).unwrap_err().to_string();
    assert!(message.contains("a.ome.tif") && message.contains("5 page(s)"), "{message}");
}

#[test]
fn masks_come_back_as_the_image_was() {
    let dir = stacks();
    let set = Dataset::open(&Options::new(dir.path())).unwrap();
    let masks: Vec<Mask> = (0..3)
        .map(|k| Mask { height: HEIGHT, width: WIDTH, data: (0..120).map(|i| u8::from(i % 5 == k)).collect() })
        .collect();
    let stack = ImageFile::open(&dir.path().join("images/a.tif"), None).unwrap();
    let numbers: Vec<u8> = (0..360).map(|v| v as u8).collect();
    std::fs::write(dir.path().join("n.npy"), npy::bytes(&[3, HEIGHT, WIDTH, 1], &numbers)).unwrap();
    let array = ImageFile::open(&dir.path().join("n.npy"), None).unwrap();
    for (file, name) in [(&stack, "a.tif"), (&array, "a.npy")] {
        let out = dir.path().join("out");
        std::fs::create_dir_all(&out).unwrap();
        let path = write_masks(&out, "a", file, &masks, &set.label_map).unwrap();
        assert_eq!(path, out.join(name));
        let back = ImageFile::open(&path, None).unwrap();
        assert_eq!(back.count(), 3, "{name}");
        for (k, mask) in masks.iter().enumerate() {
            let read: Vec<u8> = back.image(k).unwrap().data.iter().map(|v| (v * 255.0).round() as u8).collect();
            assert_eq!(read, mask.data, "{name} {k}");
        }
    }
}

#[test]
fn arrays_are_pictures_of_a_data_set() {
    let dir = tempfile::tempdir().unwrap();
    for part in ["images", "labels"] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
    }
    for k in 0..4u16 {
        let image: Vec<u16> = (0..120).map(|i| 100 * i + k).collect();
        let mask: Vec<u8> = (0..120).map(|i| u8::from(i > 60)).collect();
        std::fs::write(dir.path().join(format!("images/{k}.npy")), npy::shorts(&[HEIGHT, WIDTH], &image)).unwrap();
        std::fs::write(dir.path().join(format!("labels/{k}.npy")), npy::bytes(&[HEIGHT, WIDTH], &mask)).unwrap();
    }
    let set = Dataset::open(&Options::new(dir.path())).unwrap();
    assert_eq!((set.pairs.len(), set.pairs[2].name.as_str(), set.classes), (4, "2", 2));
    assert_eq!(set.load(&[2]).unwrap()[0].image.data[1], 102.0 / 65_535.0);
}
