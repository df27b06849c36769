//! Values that were measured before, in a folder: a file for each image, named after everything its values depend on.
//!
//! `FOLDER/v1-0.1.0/3f/a29c....json` holds two lines: `segfit-cache/1 CHECKSUM`, then JSON. The name is the key: BLAKE3
//! of the bytes of the image's and mask's files, the meaning of the labels, the input, the options, the number of classes
//! and the list of measures. So one folder serves all data sets, a changed file is measured again by itself, and a copied or renamed one is not. The
//! checksum is BLAKE3 of the key and the JSON: an entry that is cut short, edited, or was moved to another name is as
//! good as absent, and is written again.
//!
//! One file an image, in 256 folders, because that needs no index and no lock: programs that run at once or are stopped
//! half-way cannot spoil each other's entries. An image costs one read of about 2 KB (100,000 images: 400 files a
//! folder, 400 MB of disk where blocks are 4 KB, some seconds), far less than hashing its files. An entry appears
//! complete (renamed into place) but is not forced to disk, which would take longer than measuring; the checksum finds
//! what a loss of power leaves. Nothing is ever removed: the folder may be deleted at any time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files::write_unsynced;

/// To be raised whenever a measure gives other values than before, or the entries change.
pub const CACHE_VERSION: u32 = 2;

/// First word of an entry.
const FORMAT: &str = "segfit-cache/1";

/// A folder of values that were measured before.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = folder.join(format!("v{CACHE_VERSION}-{}", env!("CARGO_PKG_VERSION")));
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(Self { folder })
    }

    /// The value of a key; `None` when it is absent, damaged or of another form.
    pub(super) fn get<T: DeserializeOwned>(&self, key: &[u8; 32]) -> Option<T> {
        let text = std::fs::read_to_string(self.place(key)).ok()?;
        let (head, json) = text.split_once('\n')?;
        let checksum = head.strip_prefix(FORMAT)?.strip_prefix(' ')?;
        if checksum != checksum_of(key, json) {
            return None;
        }
        serde_json::from_str(json).ok()
    }

    /// Keeps the value of a key.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub(super) fn put(&self, key: &[u8; 32], value: &impl Serialize) -> Result<()> {
        let path = self.place(key);
        let json = serde_json::to_string(value).expect("plain values become JSON");
        let text = format!("{FORMAT} {}\n{json}", checksum_of(key, &json));
        if let Some(shard) = path.parent().filter(|shard| !shard.is_dir()) {
            std::fs::create_dir_all(shard).map_err(Error::io(shard))?;
        }
        write_unsynced(&path, text.as_bytes())
    }

    fn place(&self, key: &[u8; 32]) -> PathBuf {
        let name = key.iter().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        });
        self.folder.join(&name[..2]).join(format!("{}.json", &name[2..]))
    }
}

fn checksum_of(key: &[u8; 32], json: &str) -> String {
    blake3::Hasher::new().update(key).update(json.as_bytes()).finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::{J, MEASURES, Measure, Pyramid, published_j};
    use crate::data::{Image, Mask, Sample};

    #[test]
    fn values_come_back_with_all_their_bits() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("a/b")).unwrap();
        let values = vec![Some(0.1 + 0.2), None, Some(-0.0), Some(f64::MIN_POSITIVE / 3.0), Some(1e300)];
        assert_eq!(cache.get::<Vec<Option<f64>>>(&[7; 32]), None);
        cache.put(&[7; 32], &values).unwrap();
        let back: Vec<Option<f64>> = cache.get(&[7; 32]).unwrap();
        let bits = |v: &[Option<f64>]| v.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&values));
        assert_eq!(cache.get::<String>(&[7; 32]), None, "of another form");
    }

    #[test]
    fn an_entry_that_was_changed_cut_or_moved_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let (key, other) = ([1; 32], [2; 32]);
        cache.put(&key, &vec![1.5, 2.5]).unwrap();
        let path = cache.place(&key);
        let good = std::fs::read_to_string(&path).unwrap();
        let get = |key| cache.get::<Vec<f64>>(key);
        for bad in [good.replace("2.5", "2.6"), good[..good.len() - 1].into(), String::new(), "\u{0}".repeat(90)] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(get(&key), None);
        }
        std::fs::write(&path, [0xFF, 0xFE]).unwrap();
        assert_eq!(get(&key), None, "not text");
        std::fs::create_dir_all(cache.place(&other).parent().unwrap()).unwrap();
        std::fs::write(cache.place(&other), &good).unwrap();
        assert_eq!(get(&other), None, "an entry of another key");
        cache.put(&key, &vec![1.5, 2.5]).unwrap();
        assert_eq!(get(&key), Some(vec![1.5, 2.5]));
    }

    /// When this fails because a measure was changed on purpose: raise [`CACHE_VERSION`] and take over the printed values.
    #[test]
    fn measures_that_caches_hold_have_not_changed_since_this_version() {
        let data =
            (0..3 * 4096).map(|i| ((37 * (i / 64) + 101 * (i % 64) + (i / 64) * (i % 64) / 9) % 256) as f32 / 255.0);
        let classes = (0..4096).map(|i| u8::from((i / 64 / 13 + i % 64 / 11) % 3 == 0)).collect();
        let sample = Sample {
            name: "a".into(),
            image: Image { channels: 3, height: 64, width: 64, data: data.collect() },
            mask: Mask { height: 64, width: 64, data: classes },
            instances: None,
        };
        let pyramid = Pyramid::new(&sample);
        let one = |m: &Measure| Some((m.name, (m.compute)(&pyramid, m.first_scale)?));
        let mut values: Vec<(&str, f64)> = MEASURES.iter().filter_map(one).collect();
        values.push((J, published_j(&sample.image).unwrap()));
        let same = |((name, value), (known, expected)): (&(&str, f64), &(&str, f64))| {
            name == known && (value - expected).abs() <= 1e-5 * expected.abs()
        };
        let is_same = values.len() == KNOWN.len() && values.iter().zip(KNOWN).all(same);
        assert!(is_same, "version {CACHE_VERSION}: {values:#?}");
    }

    /// Values of version 2.
    const KNOWN: &[(&str, f64)] = &[
        ("jpeg", 0.546630859),
        ("jpeg_scan", 0.466064453),
        ("edge", 0.803069719),
        ("entropy", 7.57245393),
        ("si_mean", 166.43428),
        ("si_rms", 184.138985),
        ("median_frequency", 0.45525951),
        ("mean_frequency", 0.43740834),
        ("image_blob_density", 1.00537109),
        ("png", 0.469238281),
        ("canny", 0.319719043),
        ("delentropy", 5.2829756),
        ("spectral_slope", 1.47384426),
        ("glcm_contrast", 88.6608068),
        ("glcm_homogeneity", 0.0944682784),
        ("glcm_energy", 0.0731460817),
        ("glcm_correlation", -0.219939676),
        ("local_deviation", 46.1512805),
        ("fractal_dimension", 1.60103542),
        ("noise", 41.5786894),
        ("foreground", 0.331542969),
        ("objects", 4.0),
        ("object_area", 0.0827636719),
        ("blob_density", 0.503173828),
        ("boundary", 0.0852050781),
        ("thinness", 0.0),
        ("survival", 0.929306795),
        ("separability", 0.498165811),
        ("object_area_q10", 0.0289306641),
        ("object_area_q90", 0.136938477),
        ("perimetric", 3.70673972),
        ("solidity", 0.683396449),
        ("class_balance", 0.916495055),
        ("fisher", 0.000805961758),
        ("edge_agreement", 0.585242896),
        ("j", 0.156993866),
    ];
}
