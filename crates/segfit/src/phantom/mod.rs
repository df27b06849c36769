//! Synthetic images with masks, of chosen complexity: for demonstrations, tests and calibration.
//!
//! Every image is a pure function of the options and its index. A kind lives in `kinds/`, one file each; what they
//! paint with is in `canvas`, `blob` and `texture`. A [`scene`](scene()) is made for measuring: each of its knobs changes one thing.

mod blob;
mod canvas;
mod ground;
mod kinds;
mod scene;
mod texture;

use serde::{Deserialize, Serialize};

use self::canvas::Canvas;
pub use self::scene::{Knobs, SceneOptions, scene};
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::random::Stream;

/// What the images show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhantomKind {
    /// Fluorescent nuclei: bright ellipses on a dark ground, with instance labels.
    Nuclei,
    /// Glands in stained tissue: rings of dark cells around a bright lumen, with instance labels.
    Glands,
    /// The vessel tree of a fundus: thin dark branches.
    Vessels,
    /// A pigmented skin lesion with an irregular border.
    Lesions,
    /// Discs on an even ground: the simplest.
    Discs,
}

impl PhantomKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Nuclei, Self::Glands, Self::Vessels, Self::Lesions, Self::Discs];

    /// The kind's name, for example `nuclei`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nuclei => "nuclei",
            Self::Glands => "glands",
            Self::Vessels => "vessels",
            Self::Lesions => "lesions",
            Self::Discs => "discs",
        }
    }

    fn paint(self) -> fn(&mut Canvas, &Look, &mut Stream) {
        match self {
            Self::Nuclei => kinds::nuclei::paint,
            Self::Glands => kinds::glands::paint,
            Self::Vessels => kinds::vessels::paint,
            Self::Lesions => kinds::lesions::paint,
            Self::Discs => kinds::discs::paint,
        }
    }

    /// Objects per image at complexity 0 and at 1.
    fn objects(self) -> (f32, f32) {
        match self {
            Self::Nuclei => (8.0, 40.0),
            Self::Glands => (2.0, 9.0),
            Self::Vessels => (2.0, 5.0),
            Self::Lesions => (1.0, 1.0),
            Self::Discs => (2.0, 16.0),
        }
    }

    /// Contrast at complexity 0 and at 1.
    fn contrast(self) -> (f32, f32) {
        match self {
            Self::Glands | Self::Vessels => (1.0, 0.65),
            _ => (1.0, 0.45),
        }
    }

    /// Roughness of boundaries at complexity 0 and at 1; for vessels, how much they bend.
    fn roughness(self) -> (f32, f32) {
        match self {
            Self::Nuclei => (0.015, 0.1),
            Self::Glands => (0.03, 0.12),
            Self::Vessels => (0.03, 0.2),
            Self::Lesions => (0.03, 0.15),
            Self::Discs => (0.0, 0.1),
        }
    }
}

impl std::str::FromStr for PhantomKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let names: Vec<&str> = Self::ALL.iter().map(|k| k.name()).collect();
        let found = Self::ALL.into_iter().find(|k| k.name() == name);
        found.ok_or_else(|| option("phantom kind", &names.join(", "), name))
    }
}

/// A set of synthetic images, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhantomOptions {
    /// What the images show.
    pub kind: PhantomKind,
    /// Number of images in the set; [`make`] accepts any index.
    pub count: usize,
    /// Rows and columns.
    pub size: usize,
    /// Channels: 1 is luma, 3 is RGB, other numbers repeat RGB with falling weight.
    pub channels: usize,
    /// From 0 (few, large, clear objects) to 1 (many, small, faint, rough objects in clutter and noise). It sets the four
    /// values below where they are `None`, and the clutter.
    pub complexity: f32,
    /// Standard deviation of the pixel noise, in units of the value range.
    pub noise: Option<f32>,
    /// Mean number of objects per image (trunks, for vessels).
    pub objects: Option<usize>,
    /// Contrast of objects with their ground: 1 is full, 0 is invisible.
    pub contrast: Option<f32>,
    /// Relative deviation of an object's radius along its boundary, about (how much they bend, for vessels).
    pub boundary_roughness: Option<f32>,
    /// Equal seeds give equal images.
    pub seed: u64,
}

impl PhantomOptions {
    /// 64 RGB images (nuclei and discs: gray) of 128 x 128 with complexity 1/2 and seed 0.
    #[must_use]
    pub fn new(kind: PhantomKind) -> Self {
        let channels = if matches!(kind, PhantomKind::Nuclei | PhantomKind::Discs) { 1 } else { 3 };
        Self {
            kind,
            count: 64,
            size: 128,
            channels,
            complexity: 0.5,
            noise: None,
            objects: None,
            contrast: None,
            boundary_roughness: None,
            seed: 0,
        }
    }

    /// Whether the options make sense; [`make`] expects that they do.
    ///
    /// # Errors
    /// [`Error::Option`] that names the option, what it accepts and what it got.
    pub fn check(&self) -> Result<()> {
        if !(16..=4096).contains(&self.size) {
            return Err(option("phantom size", "16 to 4096", &self.size.to_string()));
        }
        if !(1..=64).contains(&self.channels) {
            return Err(option("phantom channels", "1 to 64", &self.channels.to_string()));
        }
        let shares = [
            ("phantom complexity", Some(self.complexity)),
            ("phantom noise", self.noise),
            ("phantom contrast", self.contrast),
            ("phantom boundary roughness", self.boundary_roughness),
        ];
        for (name, value) in shares {
            if let Some(v) = value.filter(|v| !(0.0..=1.0).contains(v)) {
                return Err(option(name, "0 to 1", &v.to_string()));
            }
        }
        match self.objects {
            Some(n) if n > 10_000 => Err(option("phantom objects", "0 to 10000", &n.to_string())),
            _ => Ok(()),
        }
    }
}

fn option(what: &str, expected: &str, got: &str) -> Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.into() }
}

/// The options with every value decided: what a kind paints by.
struct Look {
    complexity: f32,
    noise: f32,
    objects: usize,
    contrast: f32,
    roughness: f32,
}

impl Look {
    fn new(options: &PhantomOptions, stream: &mut Stream) -> Self {
        let c = options.complexity;
        let between = |(low, high): (f32, f32)| low + (high - low) * c;
        let mean = options.objects.map_or_else(|| between(options.kind.objects()), |n| n as f32);
        let objects = mean * stream.range(0.75, 1.25);
        Self {
            complexity: c,
            noise: options.noise.unwrap_or_else(|| between((0.01, 0.08))),
            objects: objects.round() as usize,
            contrast: options.contrast.unwrap_or_else(|| between(options.kind.contrast())),
            roughness: options.boundary_roughness.unwrap_or_else(|| between(options.kind.roughness())),
        }
    }
}

/// Image `index` of a set, named for example `nuclei-0007`.
///
/// Values are multiples of 1/255 in 0..1, so that an 8-bit file holds them exactly. The mask is 1 on objects. `instances`
/// holds the objects' numbers for nuclei, glands and discs. Equal options and index give equal samples on every machine
/// with the same arithmetic.
///
/// ```
/// use segfit::phantom::{PhantomKind, PhantomOptions, make};
/// let sample = make(&PhantomOptions { size: 32, ..PhantomOptions::new(PhantomKind::Glands) }, 0);
/// assert_eq!((sample.image.channels, sample.image.height, sample.mask.width), (3, 32, 32));
/// assert!(sample.mask.foreground_fraction() > 0.0);
/// ```
#[must_use]
pub fn make(options: &PhantomOptions, index: usize) -> Sample {
    let mut stream = Stream::new(&[options.seed, options.kind as u64, index as u64]);
    let look = Look::new(options, &mut stream);
    let mut canvas = Canvas::new(options.size);
    options.kind.paint()(&mut canvas, &look, &mut stream);
    let name = format!("{}-{index:04}", options.kind.name());
    let keep = matches!(options.kind, PhantomKind::Nuclei | PhantomKind::Glands | PhantomKind::Discs);
    canvas.finish(name, options.channels, look.noise, keep, &mut stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::{edge_density, entropy, jpeg_complexity, sobel_magnitude};

    fn set(kind: PhantomKind, complexity: f32, count: usize) -> Vec<Sample> {
        let options = PhantomOptions { complexity, size: 96, ..PhantomOptions::new(kind) };
        (0..count).map(|i| make(&options, i)).collect()
    }

    fn mean(samples: &[Sample], f: impl Fn(&Sample) -> f64) -> f64 {
        samples.iter().map(f).sum::<f64>() / samples.len() as f64
    }

    #[test]
    fn equal_options_give_equal_samples_and_another_index_or_seed_another() {
        for kind in PhantomKind::ALL {
            let options = PhantomOptions { size: 48, ..PhantomOptions::new(kind) };
            let (a, b) = (make(&options, 3), make(&options, 3));
            assert_eq!((&a.image, &a.mask, &a.instances), (&b.image, &b.mask, &b.instances));
            assert_ne!(a.image, make(&options, 4).image);
            assert_ne!(a.image, make(&PhantomOptions { seed: 1, ..options }, 3).image);
        }
    }

    #[test]
    fn every_kind_has_foreground_and_background_and_eight_bit_values() {
        for kind in PhantomKind::ALL {
            for complexity in [0.0, 0.5, 1.0] {
                for sample in set(kind, complexity, 6) {
                    let share = sample.mask.foreground_fraction();
                    assert!((0.01..0.85).contains(&share), "{} at {complexity}: {share}", sample.name);
                    assert!(sample.mask.data.iter().all(|&c| c <= 1));
                    let exact = |v: &f32| (v * 255.0 - (v * 255.0).round()).abs() < 1e-4 && (0.0..=1.0).contains(v);
                    assert!(sample.image.data.iter().all(exact), "{}", sample.name);
                    if let Some(labels) = &sample.instances {
                        assert!(labels.iter().zip(&sample.mask.data).all(|(&l, &c)| (l > 0) == (c > 0)));
                    }
                }
            }
        }
    }

    #[test]
    fn larger_complexity_gives_more_complex_images() {
        for kind in PhantomKind::ALL {
            let bytes = |s: &Sample| -> Vec<u8> { s.image.gray().iter().map(|v| (v * 255.0).round() as u8).collect() };
            let j = |c: f32| mean(&set(kind, c, 8), |s| jpeg_complexity(&bytes(s), 96, 96, 80).unwrap());
            let (low, middle, high) = (j(0.0), j(0.5), j(1.0));
            assert!(low < middle && middle < high, "{}: {low} {middle} {high}", kind.name());
            assert!(mean(&set(kind, 1.0, 8), |s| entropy(&bytes(s)).unwrap()) > 4.0);
        }
    }

    #[test]
    fn noise_and_contrast_can_be_set_apart_from_complexity() {
        let base = PhantomOptions { size: 64, noise: Some(0.0), ..PhantomOptions::new(PhantomKind::Discs) };
        let edges = |o: &PhantomOptions| {
            let s = make(o, 0);
            edge_density(&sobel_magnitude(&s.image.gray(), 64, 64)).unwrap()
        };
        assert!(edges(&PhantomOptions { noise: Some(0.3), ..base.clone() }) > edges(&base) + 0.2);
        assert_eq!(make(&PhantomOptions { objects: Some(0), ..base }, 0).mask.foreground_fraction(), 0.0);
    }

    #[test]
    fn channels_follow_the_options() {
        for channels in [1, 2, 3, 5] {
            let s = make(&PhantomOptions { channels, size: 32, ..PhantomOptions::new(PhantomKind::Lesions) }, 0);
            assert_eq!((s.image.channels, s.image.data.len()), (channels, channels * 1024));
        }
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let good = PhantomOptions::new(PhantomKind::Discs);
        assert!(good.check().is_ok());
        let message = PhantomOptions { complexity: 1.5, ..good }.check().unwrap_err().to_string();
        assert!(message.contains("complexity") && message.contains("1.5"), "{message}");
        assert!(PhantomOptions { size: 4, ..good }.check().is_err());
        assert!(PhantomOptions { noise: Some(f32::NAN), ..good }.check().is_err());
        assert!("gland".parse::<PhantomKind>().unwrap_err().to_string().contains("glands"));
    }
}
