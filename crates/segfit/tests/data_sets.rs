//! The twelve development sets: counts, foreground, splits, speed, and fingerprints that survive a copy.
//!
//! The sets are not part of the repository: without them the tests say so and pass.

#![expect(clippy::print_stderr, clippy::print_stdout, reason = "skipped tests and measured times are told")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use segfit::data::{Dataset, Options, Split};

/// Name, pairs, channels, foreground fraction (the sets' README.md) and images marked as test in split.csv.
const SETS: [(&str, usize, usize, f64, usize); 12] = [
    ("dsb2018_fluo", 120, 1, 0.131, 24),
    ("u373_phc", 120, 1, 0.079, 60),
    ("wbc_dataset1", 120, 3, 0.314, 24),
    ("chase_db1", 112, 3, 0.069, 32),
    ("worms_bbbc010", 97, 1, 0.039, 19),
    ("cardiac_mri_lv", 118, 1, 0.018, 42),
    ("dsb2018_stained", 107, 3, 0.213, 21),
    ("us_nerve_vessel", 120, 1, 0.076, 20),
    ("ph2", 120, 3, 0.303, 24),
    ("axon_sem_myelin", 74, 1, 0.362, 33),
    ("glas", 120, 3, 0.518, 58),
    ("isbi2012_em", 120, 1, 0.220, 24),
];

fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !folder.is_dir() {
        eprintln!("skipped: the development sets are not here");
        return None;
    }
    Some(folder)
}

#[test]
fn all_twelve_open_with_the_counts_of_their_readme() {
    let Some(folder) = data() else { return };
    for (name, pairs, channels, foreground, test) in SETS {
        let set = Dataset::open(&Options::new(folder.join(name))).unwrap();
        assert_eq!((set.name.as_str(), set.pairs.len(), set.channels, set.classes), (name, pairs, channels, 2));
        assert_eq!(set.label_map.to_string(), "binary: 0 -> background, 255 -> foreground", "{name}");
        let all: Vec<usize> = (0..pairs).collect();
        let samples = set.load(&all).unwrap();
        let mean = samples.iter().map(|s| s.mask.foreground_fraction()).sum::<f64>() / pairs as f64;
        assert!((mean - foreground).abs() < 0.002, "{name}: foreground {mean}");
        assert!(samples.iter().all(|s| s.image.data.iter().all(|v| (0.0..=1.0).contains(v))), "{name}");
        let (train, validation) = (set.indices(Split::Train), set.indices(Split::Validation));
        assert_eq!(set.indices(Split::Test).len(), test, "{name}");
        let share = validation.len() as f64 / (pairs - test) as f64;
        assert!((0.05..0.30).contains(&share), "{name}: validation {share}");
        let sources = |at: &[usize]| at.iter().map(|&i| set.pairs[i].source.clone()).collect::<BTreeSet<_>>();
        assert!(sources(&train).is_disjoint(&sources(&validation)), "{name}: a source is divided");
        let names: Vec<&String> = set.pairs.iter().map(|p| &p.name).collect();
        assert!(names.is_sorted(), "{name}");
        println!("{name}: {} train, {} validation, {test} test; {:?}", train.len(), validation.len(), set.warnings);
    }
}

#[test]
fn identical_training_images_are_reported() {
    let Some(folder) = data() else { return };
    let set = Dataset::open(&Options::new(folder.join("us_nerve_vessel"))).unwrap();
    assert!(set.warnings.iter().any(|w| w.starts_with("1 image(s) occur more than once")), "{:?}", set.warnings);
}

#[test]
fn a_fingerprint_survives_a_copy_another_cache_and_another_number_of_threads_but_not_a_change() {
    let Some(folder) = data() else { return };
    let original = folder.join("worms_bbbc010");
    let here = Dataset::open(&Options::new(&original)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for part in ["masks", "images"] {
        std::fs::create_dir(copy.path().join(part)).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(original.join(part)).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for file in files.iter().rev() {
            std::fs::copy(file, copy.path().join(part).join(file.file_name().unwrap())).unwrap();
        }
    }
    std::fs::copy(original.join("split.csv"), copy.path().join("split.csv")).unwrap();
    let options = Options { cache_bytes: 0, ..Options::new(copy.path()) };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let there = one.install(|| Dataset::open(&options)).unwrap();
    assert_eq!(here.fingerprint, there.fingerprint);
    assert_eq!(here.fingerprint.len(), 16);
    let (a, b) = (here.load(&[5, 0]).unwrap(), there.load(&[5, 0]).unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!((&a.name, &a.image, &a.mask), (&b.name, &b.image, &b.mask));
    }
    let changed = copy.path().join("masks/000.png");
    std::fs::copy(copy.path().join("masks/001.png"), &changed).unwrap();
    assert_ne!(Dataset::open(&options).unwrap().fingerprint, here.fingerprint);
}

#[test]
fn opening_takes_well_under_a_second() {
    let Some(folder) = data() else { return };
    for (name, ..) in SETS {
        let options = Options::new(folder.join(name));
        let seconds = (0..3).map(|_| {
            let start = std::time::Instant::now();
            let set = Dataset::open(&options).unwrap();
            let opened = start.elapsed().as_secs_f64();
            let all: Vec<usize> = (0..set.pairs.len()).collect();
            set.load(&all).unwrap();
            (opened, start.elapsed().as_secs_f64() - opened)
        });
        let best = seconds.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        println!("{name}: open {:.3} s, load {:.3} s", best.0, best.1);
        assert!(best.0 < if cfg!(debug_assertions) { 10.0 } else { 1.0 }, "{name}: {} s", best.0);
    }
}
