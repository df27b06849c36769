//! Original files of real data sets, read and compared with Pillow and tifffile.
//!
//! The numbers are in benchmarks/data/formats.tsv, printed by benchmarks/data/formats.py. The files are not part of the
//! repository: without them the tests say so and pass.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use segfit::data::{Axis, Dataset, ImageFile, LabelKind, Note, Options, Split, read_image, read_raw_mask};

const TABLE: &str = include_str!("../../../benchmarks/data/formats.tsv");

fn formats() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/formats");
    if !folder.is_dir() {
        eprintln!("SKIPPED: the original files are not here");
        return None;
    }
    Some(folder)
}

/// Largest value of the integer type that the file holds.
fn full_scale(path: &str) -> f64 {
    let sixteen =
        path.contains("worms") && path.ends_with("tif") || path.contains("tiffstack") && path.ends_with("tif");
    if sixteen || path.contains("SEG/") { 65_535.0 } else { 255.0 }
}

#[test]
fn every_image_has_the_values_that_pillow_and_tifffile_read() {
    let Some(folder) = formats() else { return };
    let mut compared = 0;
    for line in TABLE.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [path, height, width, channels, sum, low, high, counts] = cells[..] else { panic!("{line}") };
        if !counts.is_empty() {
            continue;
        }
        let image = read_image(&folder.join(path)).unwrap();
        let size: Vec<usize> = [height, width, channels].iter().map(|v| v.parse().unwrap()).collect();
        assert_eq!([image.height, image.width, image.channels], size[..], "{path}");
        let full = full_scale(path);
        let total: f64 = image.data.iter().map(|&v| f64::from(v) * full).sum();
        let (sum, low, high): (f64, f64, f64) = (sum.parse().unwrap(), low.parse().unwrap(), high.parse().unwrap());
        // Decoders of JPEG may differ by rounding; everything else is exact up to f32.
        let tolerance = if path.ends_with("jpg") { 2e-3 } else { 1e-6 };
        assert!((total - sum).abs() <= tolerance * sum, "{path}: sum {total} instead of {sum}");
        let extreme = |f: fn(f32, f32) -> f32| f64::from(image.data.iter().copied().reduce(f).unwrap()) * full;
        let slack = if path.ends_with("jpg") { 3.0 } else { 0.01 };
        assert!((extreme(f32::min) - low).abs() < slack, "{path}: min {} instead of {low}", extreme(f32::min));
        assert!((extreme(f32::max) - high).abs() < slack, "{path}: max {} instead of {high}", extreme(f32::max));
        compared += 1;
    }
    assert_eq!(compared, 35, "the table has 35 images");
}

#[test]
fn every_mask_has_the_labels_that_pillow_and_tifffile_read() {
    let Some(folder) = formats() else { return };
    let mut compared = 0;
    for line in TABLE.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let (path, counts) = (cells[0], cells[7]);
        if counts.is_empty() {
            continue;
        }
        let mask = read_raw_mask(&folder.join(path)).unwrap();
        assert_eq!([mask.height.to_string(), mask.width.to_string()], cells[1..3], "{path}");
        let expected: Vec<(u32, u64)> = counts
            .split(' ')
            .map(|c| c.split_once(':').unwrap())
            .map(|(v, n)| (v.parse().unwrap(), n.parse().unwrap()))
            .collect();
        let found: Vec<(u32, u64)> = mask.counts().into_iter().collect();
        if path.ends_with("jpg") {
            assert_eq!(mask.notes, [Note::Thresholded], "{path}");
            for ((v, n), (w, m)) in found.iter().zip(&expected) {
                assert!(v == w && n.abs_diff(*m) < 60, "{path}: {found:?} {expected:?}");
            }
        } else {
            assert_eq!(found, expected, "{path}");
        }
        compared += 1;
    }
    assert_eq!(compared, 34, "the table has 34 masks");
}

#[test]
fn medical_volumes_are_read_slice_by_slice() {
    let Some(folder) = formats() else { return };
    // Columns, rows, slices, axis: printed by nibabel, pydicom and tifffile.
    for (file, columns, rows, slices, axis) in [
        ("dicom_samples/CT_small.dcm", 128, 128, 1, Axis::Z),
        ("dicom_samples/MR_small_RLE.dcm", 64, 64, 1, Axis::Z),
        ("nifti_nibabel/anatomical.nii", 33, 41, 25, Axis::Z),
        ("nifti_nibabel/functional.nii", 17, 21, 3 * 20, Axis::Z),
        ("tiffstack_stardist/img3d.tif", 57, 61, 31, Axis::Z),
    ] {
        let opened = ImageFile::open(&folder.join(file), None).unwrap();
        let image = opened.image(slices / 2).unwrap();
        assert_eq!((image.width, image.height, opened.count(), opened.axis()), (columns, rows, slices, axis), "{file}");
        let in_range = image.data.iter().all(|v| (0.0..=1.0).contains(v));
        assert!(in_range && image.data.iter().any(|v| *v > 0.0), "{file}");
    }
    let error = ImageFile::open(&folder.join("dicom_samples/JPGExtended.dcm"), None).unwrap_err();
    assert!(error.to_string().contains("JPEG extended") && error.hint().is_some(), "{error}");
}

#[test]
fn volumes_with_masks_are_one_sample_per_slice_and_one_source() {
    let Some(folder) = formats() else { return };
    let dir = tempfile::tempdir().unwrap();
    for part in ["images", "masks"] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
    }
    for name in ["t1w", "t2"] {
        let copy =
            |from: String, to: &str| std::fs::copy(folder.join("nifti_spinal_cord").join(from), dir.path().join(to));
        copy(format!("{name}.nii.gz"), &format!("images/{name}.nii.gz")).unwrap();
        copy(format!("{name}_seg-manual.nii.gz"), &format!("masks/{name}_seg.nii.gz")).unwrap();
    }
    let set = Dataset::open(&Options { axis: Some(Axis::Z), ..Options::new(dir.path()) }).unwrap();
    assert!(set.pairs.len() > 50 && set.classes == 2, "{} slices", set.pairs.len());
    assert!(set.pairs.iter().all(|p| p.name.starts_with(&format!("{}#", p.source))));
    for source in ["t1w", "t2"] {
        let of_source = || set.pairs.iter().filter(|p| p.source == source);
        let split = of_source().next().unwrap().split;
        assert!(of_source().all(|p| p.split == split), "{source} lies on both sides");
    }
    let lazy =
        Dataset::open(&Options { axis: Some(Axis::Z), is_lazy: true, cache_bytes: 0, ..Options::new(dir.path()) });
    let lazy = lazy.unwrap();
    assert_eq!((&lazy.fingerprint, lazy.pairs.len()), (&set.fingerprint, set.pairs.len()));
    let (a, b) = (set.load(&[7]).unwrap(), lazy.load(&[7]).unwrap());
    assert_eq!((&a[0].image, &a[0].mask), (&b[0].image, &b[0].mask));
}

#[test]
fn original_folders_open_as_data_sets() {
    let Some(folder) = formats() else { return };
    let open = |options: &Options| Dataset::open(options).unwrap();

    let gastruloid = open(&Options::new(folder.join("gastruloid_tif_rgb")));
    assert_eq!((gastruloid.pairs.len(), gastruloid.channels, gastruloid.classes), (4, 3, 2));
    assert_eq!(gastruloid.label_map.to_string(), "binary: 0 -> background, 1 -> foreground");

    let kvasir = open(&Options::new(folder.join("kvasir_jpg")));
    assert_eq!((kvasir.pairs.len(), kvasir.channels, kvasir.classes), (5, 3, 2));
    assert!(
        kvasir.warnings.iter().any(|w| w.contains("JPEG masks") && w.contains("5 file(s)")),
        "{:?}",
        kvasir.warnings
    );

    let glas = folder.join("glas_bmp");
    let error = Dataset::open(&Options::new(&glas)).unwrap_err();
    assert!(error.hint().unwrap().contains("--instances"), "{error}");
    let glas = open(&Options { instances: true, ..Options::new(glas) });
    assert_eq!((glas.pairs.len(), glas.channels, glas.classes), (5, 3, 2));
    assert_eq!(glas.label_map.kind, LabelKind::Instances);
    let at = glas.pairs.iter().position(|p| p.name == "train_40").unwrap();
    let sample = &glas.load(&[at]).unwrap()[0];
    let ids = sample.instances.as_ref().unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == 2).count(), 36_164);
    assert_eq!(sample.mask.data.iter().filter(|&&c| c == 1).count(), 190_140 + 36_164);

    let hela = Options { masks_optional: true, ..Options::new(folder.join("ctc_dic_hela_images_only")) };
    let hela = open(&hela);
    assert_eq!((hela.pairs.len(), hela.channels, hela.classes), (4, 1, 0));
    assert!(hela.pairs.iter().all(|p| p.mask.is_none()));

    assert!(glas.indices(Split::Train).len() >= 2 && !glas.indices(Split::Test).is_empty());
}
