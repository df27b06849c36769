//! Opening lazily finds what opening fully finds; the hash of a pair follows its contents and nothing else.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use segfit::data::{Dataset, Options, prepare, tiles};
use segfit::recipe::{InputMode, InputSpec};
use tempfile::TempDir;

fn shared(part: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(part);
    if !folder.is_dir() {
        eprintln!("skipped: {part} is not here");
        return None;
    }
    Some(folder)
}

fn lazy(options: &Options, cache_bytes: usize) -> Dataset {
    Dataset::open(&Options { is_lazy: true, cache_bytes, ..options.clone() }).unwrap()
}

/// Opens in three ways and compares everything; `unknown` is the part of a warning that only decoding finds.
fn compare(options: &Options, unknown: &str) -> Dataset {
    let full = Dataset::open(options).unwrap();
    let warnings: Vec<&String> = full.warnings.iter().filter(|w| unknown.is_empty() || !w.contains(unknown)).collect();
    let all: Vec<usize> = (0..full.pairs.len()).collect();
    let samples = full.load(&all).unwrap();
    for cache_bytes in [0, 1 << 30] {
        let set = lazy(options, cache_bytes);
        assert_eq!(set.warnings.iter().collect::<Vec<_>>(), warnings, "{}", set.name);
        assert_eq!((&set.pairs, &set.fingerprint, &set.label_map), (&full.pairs, &full.fingerprint, &full.label_map));
        assert_eq!((set.channels, set.classes, &set.name), (full.channels, full.classes, &full.name));
        for (i, (a, b)) in set.load(&all).unwrap().iter().zip(&samples).enumerate() {
            assert_eq!((&a.name, &a.image, &a.mask, &a.instances), (&b.name, &b.image, &b.mask, &b.instances));
            assert_eq!(set.content_hash(i), full.content_hash(i));
        }
    }
    full
}

fn save(path: &Path, image: impl Into<DynamicImage>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save(path).unwrap();
}

fn gray(seed: u32) -> GrayImage {
    GrayImage::from_fn(20, 14, |x, y| Luma([(x * 7 + y * 3 + seed) as u8]))
}

fn mask(columns: u32, label: u8) -> GrayImage {
    GrayImage::from_fn(20, 14, |x, _| Luma([if x < columns { label } else { 0 }]))
}

/// A folder of n pairs whose names start with `prefix`.
fn pairs(prefix: &str, n: u32) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..n {
        save(&dir.path().join(format!("images/{prefix}{i}.png")), gray(i));
        save(&dir.path().join(format!("masks/{prefix}{i}.png")), mask(3 + i, 255));
    }
    dir
}

#[test]
fn shared_sets_are_known_from_their_headers_and_masks() {
    if let Some(data) = shared("data") {
        for name in ["worms_bbbc010", "isbi2012_em", "us_nerve_vessel", "dsb2018_stained"] {
            compare(&Options::new(data.join(name)), "alpha");
        }
    }
    if let Some(formats) = shared("formats") {
        compare(&Options::new(formats.join("gastruloid_tif_rgb")), "");
        compare(&Options::new(formats.join("kvasir_jpg")), "");
        compare(&Options { instances: true, ..Options::new(formats.join("glas_bmp")) }, "");
        compare(&Options { masks_optional: true, ..Options::new(formats.join("ctc_dic_hela_images_only")) }, "");
    }
}

#[test]
fn formats_colours_and_absent_masks_are_known_from_the_headers() {
    for extension in ["png", "bmp", "tif", "gif", "jpg"] {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..5 {
            let colours = RgbImage::from_fn(20, 14, |x, y| Rgb([x as u8, y as u8, i]));
            save(&dir.path().join(format!("images/{i}.{extension}")), colours);
            save(&dir.path().join(format!("masks/{i}.{extension}")), DynamicImage::from(mask(9, 255)).to_rgb8());
        }
        std::fs::copy(dir.path().join(format!("images/0.{extension}")), dir.path().join("images/z.png")).unwrap();
        let set = compare(&Options { masks_optional: true, ..Options::new(dir.path()) }, "");
        assert!(set.warnings.iter().any(|w| w.contains("more than once")), "{:?}", set.warnings);
        assert!(set.warnings.iter().any(|w| w.contains("have no mask")), "{:?}", set.warnings);
    }
    let dir = pairs("a", 6);
    for i in 0..6 {
        let colours = RgbaImage::from_fn(20, 14, |x, y| Rgba([x as u8, y as u8, i, 9]));
        save(&dir.path().join(format!("images/a{i}.png")), colours);
    }
    assert_eq!(compare(&Options::new(dir.path()), "alpha").warnings.len(), 1, "only pixels tell of transparency");
}

#[test]
fn damaged_pixels_are_found_when_they_are_asked_for() {
    let dir = pairs("a", 5);
    let path = dir.path().join("images/a3.png");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    assert!(Dataset::open(&Options::new(dir.path())).is_err());
    let set = lazy(&Options::new(dir.path()), 0);
    assert!(set.load(&[0, 4]).is_ok());
    assert!(set.load(&[3]).unwrap_err().to_string().contains("a3.png"));
    save(&path, DynamicImage::from(gray(9)).to_rgb8());
    assert!(set.load(&[3]).unwrap_err().to_string().contains("3 channel(s)"), "it has changed since");
    save(&path, GrayImage::new(14, 20));
    assert!(set.load(&[3]).unwrap_err().to_string().contains("a3.png"), "it differs from its mask");
    save(&path, GrayImage::new(7, 14));
    assert!(lazy_error(&dir).contains("at least 8 x 8"));
    save(&path, GrayImage::new(14, 20));
    assert!(lazy_error(&dir).contains("like its image"));
}

fn lazy_error(dir: &TempDir) -> String {
    Dataset::open(&Options { is_lazy: true, ..Options::new(dir.path()) }).unwrap_err().to_string()
}

#[test]
fn a_content_hash_follows_contents_and_not_names() {
    let (a, b) = (pairs("a", 5), pairs("other", 5));
    let hashes = |dir: &TempDir| {
        let set = lazy(&Options::new(dir.path()), 0);
        (0..set.pairs.len()).map(|i| set.content_hash(i)).collect::<Vec<_>>()
    };
    let before = hashes(&a);
    assert_eq!(before, hashes(&b));
    assert_eq!(before.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    save(&b.path().join("masks/other2.png"), mask(4, 255));
    let after = hashes(&b);
    assert_eq!(before.iter().zip(&after).map(|(x, y)| x == y).collect::<Vec<_>>(), [true, true, false, true, true]);
    // A third label below 255 makes 255 another class everywhere.
    save(&b.path().join("masks/other2.png"), mask(4, 100));
    assert!(before.iter().zip(&hashes(&b)).all(|(x, y)| x != y));
    std::fs::remove_file(a.path().join("masks/a1.png")).unwrap();
    let set = lazy(&Options { masks_optional: true, ..Options::new(a.path()) }, 0);
    assert_ne!(set.content_hash(1), before[1]);
    assert_eq!(set.content_hash(2), before[2]);
}

#[test]
fn small_pairs_are_prepared_as_ever() {
    let dir = pairs("a", 5);
    let set = lazy(&Options::new(dir.path()), 0);
    let sample = &set.load(&[2]).unwrap()[0];
    for mode in [InputMode::Resize, InputMode::Patch] {
        for size in [8, 16, 32] {
            let input = InputSpec { mode, size };
            let mut made = Vec::new();
            let mut keep = |s| {
                made.push(s);
                Ok(())
            };
            set.for_each_prepared(2, &input, &mut keep).unwrap();
            let expected = match mode {
                InputMode::Resize => prepare(std::slice::from_ref(sample), &input),
                InputMode::Patch => tiles(sample, size),
            };
            assert_eq!(made.len(), expected.len());
            for (a, b) in made.iter().zip(&expected) {
                assert_eq!((&a.name, &a.image, &a.mask), (&b.name, &b.image, &b.mask));
            }
        }
    }
    let stop = || segfit::Error::Calibration { reason: "enough".into() };
    let mut seen = 0;
    let mut each = |_| {
        seen += 1;
        Err(stop())
    };
    let error = set.for_each_prepared(0, &InputSpec { mode: InputMode::Patch, size: 8 }, &mut each).unwrap_err();
    assert!(error.to_string().contains("enough"));
    assert_eq!(seen, 1);
}
