//! Scenes with one knob for each thing that makes an image complex: turning one leaves everything else as it is.

use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::canvas::{Canvas, smooth_step};
use super::ground::Ground;
use super::option;
use crate::data::Sample;
use crate::error::Result;
use crate::random::Stream;

/// What a scene looks like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knobs {
    /// Standard deviation of the noise of a pixel, in units of the value range, 0 to 1.
    pub noise: f32,
    /// Objects in a frame at scale 1, 0 to 64. Their size is the same for any number.
    pub objects: usize,
    /// How wavy the outlines are, 0 (discs) to 0.5: about the deviation of a wave along the outline as a share of the radius.
    /// Areas stay.
    pub roughness: f32,
    /// Gray value of the objects minus that of the ground, 0 to 1.
    pub contrast: f32,
    /// Magnification, 1/8 to 8: at 2, half as many pixels of the scene in each direction, twice as large.
    pub scale: f32,
}

impl Knobs {
    /// The setting from which one knob is turned at a time: 16 slightly wavy objects, well visible, in little noise.
    pub const NEUTRAL: Self = Self { noise: 0.02, objects: 16, roughness: 0.1, contrast: 0.4, scale: 1.0 };
}

/// A set of scenes, as data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneOptions {
    /// Number of images in the set; [`scene`] accepts any index.
    pub count: usize,
    /// Rows and columns.
    pub size: usize,
    /// What the scenes look like.
    pub knobs: Knobs,
    /// Equal seeds give equal images.
    pub seed: u64,
}

impl SceneOptions {
    /// 64 images of 256 x 256 pixels and seed 0.
    #[must_use]
    pub fn new(knobs: Knobs) -> Self {
        Self { count: 64, size: 256, knobs, seed: 0 }
    }

    /// Whether the options make sense; [`scene`] expects that they do.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) that names the option, what it accepts and what it got.
    pub fn check(&self) -> Result<()> {
        if !(16..=4096).contains(&self.size) {
            return Err(option("scene size", "16 to 4096", &self.size.to_string()));
        }
        let k = &self.knobs;
        if k.objects > MOST_OBJECTS {
            return Err(option("scene objects", "0 to 64", &k.objects.to_string()));
        }
        let ranges = [
            ("scene noise", k.noise, 0.0..=1.0, "0 to 1"),
            ("scene roughness", k.roughness, 0.0..=0.5, "0 to 0.5"),
            ("scene contrast", k.contrast, 0.0..=1.0, "0 to 1"),
            ("scene scale", k.scale, 0.125..=8.0, "1/8 to 8"),
        ];
        match ranges.into_iter().find(|(_, value, range, _)| !range.contains(value)) {
            Some((what, value, _, expected)) => Err(option(what, expected, &value.to_string())),
            None => Ok(()),
        }
    }
}

/// Sites of objects along a side of a cell; a cell is what a frame shows at scale 1.
const SITES: usize = 8;
/// Sites along a side of a block. Every block gets an object before one gets a second.
const BLOCK_SITES: usize = 2;
const BLOCKS: usize = SITES / BLOCK_SITES;
const MOST_OBJECTS: usize = SITES * SITES;
/// An object's mean radius, and how far it may lie from the middle of its site, as shares of the cell.
const RADIUS: f32 = 1.0 / 26.0;
const JITTER: f32 = 1.0 / 64.0;
/// Strength of the texture, in units of the value range.
const TEXTURE: f32 = 0.06;
/// The texture's coarsest waves as a share of the cell, and the number of lattices.
const WAVE: f32 = 1.0 / 8.0;
const OCTAVES: usize = 4;
/// Half the width of the ramp of gray values at an outline, in pixels at any scale.
const SOFT: f32 = 0.7;

/// Names of the streams.
const PLACES: u64 = 0x5343_454E_0001;
const SHAPES: u64 = 0x5343_454E_0002;
const WAVES: u64 = 0x5343_454E_0003;
const GRAIN: u64 = 0x5343_454E_0004;

/// Scene `index` of a set, named for example `scene-0007`: bright objects on an even, textured ground; one channel.
///
/// The gray value is 1/2 - contrast / 2 on the ground and 1/2 + contrast / 2 in objects, plus texture (deviation about
/// 0.015, the same on both) and noise, clipped to 0..1 and rounded to 8 bits. Of one index and seed, all settings share
/// their random draws:
///
/// - **noise** multiplies the same pattern;
/// - **objects**: fewer objects are the first of more, at the same places;
/// - **roughness** multiplies the same waves; radii are divided so that areas stay (outlines that meet still merge);
/// - **contrast** changes no outline and no texture;
/// - **scale** moves a lens over an endless plane that goes on at the same density, with one point held fixed. At 1/4, 1 and 4
///   the frame holds whole blocks, so that no object is cut and the density is the same. Texture is magnified with the objects (and
///   averaged over a pixel when made smaller); outlines stay as sharp, and noise stays of one pixel.
///
/// The mask is 1 where a pixel's centre lies in an object; `instances` holds the objects' numbers.
///
/// ```
/// use segfit::phantom::{Knobs, SceneOptions, scene};
/// let knobs = Knobs { objects: 3, ..Knobs::NEUTRAL };
/// let sample = scene(&SceneOptions { size: 64, ..SceneOptions::new(knobs) }, 0);
/// assert_eq!(sample.instances.unwrap().iter().max(), Some(&3));
/// ```
#[must_use]
pub fn scene(options: &SceneOptions, index: usize) -> Sample {
    let frame = Frame { size: options.size, scale: options.knobs.scale };
    let names = [options.seed, index as u64];
    let mut canvas = Canvas::new(options.size);
    let cover = objects(&mut canvas, &frame, &options.knobs, names);
    let ground = frame.ground(names);
    let level = 0.5 - options.knobs.contrast / 2.0;
    canvas.fill(|i| [level + options.knobs.contrast * cover[i] + TEXTURE * ground[i]; 3]);
    let mut grain = Stream::new(&[names[0], GRAIN, names[1]]);
    canvas.finish(format!("scene-{index:04}"), 1, options.knobs.noise, true, &mut grain)
}

/// Where the image lies on the plane. Places on the plane are counted in pixels at scale 1.
struct Frame {
    size: usize,
    scale: f32,
}

impl Frame {
    /// The row or column of pixel centres at a place on the plane.
    ///
    /// The point at a third of the frame is fixed: the frame of scale 4 is then the second block of scale 1, and the
    /// frame of scale 1 the second cell of scale 1/4.
    fn pixel(&self, place: f32) -> f32 {
        let fixed = self.size as f32 / 3.0;
        fixed + (place - fixed) * self.scale - 0.5
    }

    fn place(&self, pixel: f32) -> f32 {
        let fixed = self.size as f32 / 3.0;
        fixed + (pixel + 0.5 - fixed) / self.scale
    }

    /// The first and last cell of the plane that the frame shows, in both directions.
    fn cells(&self) -> std::ops::RangeInclusive<i64> {
        let cell = |pixel: f32, wider: f32| (self.place(pixel) / self.size as f32 + wider).floor() as i64;
        let wider = 0.5 / SITES as f32;
        cell(-0.5, -wider)..=cell(self.size as f32 - 0.5, wider)
    }

    /// The texture of every pixel: the mean over its area when the scene is made smaller.
    fn ground(&self, names: [u64; 2]) -> Vec<f32> {
        let size = self.size as f32;
        let plane = Ground::covering(
            self.place(-0.5),
            self.place(size - 0.5),
            WAVE * size,
            OCTAVES,
            [names[0], WAVES, names[1]],
        );
        let steps = (1.0 / self.scale).ceil() as usize;
        let places: Vec<f32> =
            (0..self.size * steps).map(|i| self.place((i as f32 + 0.5) / steps as f32 - 0.5)).collect();
        let pixel = |i: usize| {
            let rows = &places[i / self.size * steps..][..steps];
            let columns = &places[i % self.size * steps..][..steps];
            let sum: f32 = rows.iter().map(|&y| columns.iter().map(|&x| plane.at(y, x)).sum::<f32>()).sum();
            sum / (steps * steps) as f32
        };
        (0..self.size * self.size).map(pixel).collect()
    }
}

/// Draws the owners of the pixels, and returns how much of each pixel is covered by an object, 0 to 1.
fn objects(canvas: &mut Canvas, frame: &Frame, knobs: &Knobs, names: [u64; 2]) -> Vec<f32> {
    let mut cover = vec![0.0_f32; canvas.owner.len()];
    let mut number = 0;
    for (row, column) in frame.cells().flat_map(|y| frame.cells().map(move |x| (y, x))) {
        let name = [names[0], names[1], row as u64, column as u64];
        for site in sites(name).into_iter().take(knobs.objects) {
            let blob = blob(frame, knobs, name, site);
            let mut is_seen = false;
            for (i, dy, dx) in canvas.around(blob.y, blob.x, blob.reach() + SOFT) {
                let (_, depth) = blob.at(dy, dx);
                cover[i] = cover[i].max(smooth_step(-SOFT, SOFT, depth));
                if depth > 0.0 && canvas.owner[i] == 0 {
                    canvas.owner[i] = number + 1;
                    is_seen = true;
                }
            }
            number += u32::from(is_seen);
        }
    }
    cover
}

/// The sites of a cell in the order in which they get objects.
fn sites(name: [u64; 4]) -> Vec<usize> {
    let mut stream = Stream::new(&[name[0], PLACES, name[1], name[2], name[3]]);
    let blocks = stream.permutation(BLOCKS * BLOCKS);
    let within: Vec<Vec<usize>> = blocks.iter().map(|_| stream.permutation(BLOCK_SITES * BLOCK_SITES)).collect();
    let site = |k: usize| {
        let (block, inner) = (blocks[k % blocks.len()], within[k % blocks.len()][k / blocks.len()]);
        let row = block / BLOCKS * BLOCK_SITES + inner / BLOCK_SITES;
        row * SITES + block % BLOCKS * BLOCK_SITES + inner % BLOCK_SITES
    };
    (0..MOST_OBJECTS).map(site).collect()
}

/// The object of a site, in pixels of the frame.
fn blob(frame: &Frame, knobs: &Knobs, name: [u64; 4], site: usize) -> Blob {
    let mut stream = Stream::new(&[name[0], SHAPES, name[1], name[2], name[3], site as u64]);
    let side = frame.size as f32;
    let mut along = |cell: u64, line: usize| {
        let middle = (line as f32 + 0.5) / SITES as f32 + stream.range(-JITTER, JITTER);
        frame.pixel(side * (cell as i64 as f32 + middle))
    };
    let (y, x) = (along(name[2], site / SITES), along(name[3], site % SITES));
    let radius = side * RADIUS * stream.range(0.85, 1.15) * frame.scale;
    let mut blob = Blob::new(y, x, radius, 1.0, knobs.roughness, &mut stream);
    blob.radius /= blob.relative_area().sqrt();
    blob
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::{MEASURES, Pyramid};

    fn with(knobs: Knobs, index: usize) -> Sample {
        scene(&SceneOptions { size: 128, ..SceneOptions::new(knobs) }, index)
    }

    /// Mean over four scenes.
    fn mean(knobs: Knobs, of: impl Fn(&Sample) -> f64) -> f64 {
        (0..4).map(|i| of(&with(knobs, i))).sum::<f64>() / 4.0
    }

    fn measure(name: &'static str) -> impl Fn(&Sample) -> f64 {
        let measure = MEASURES.iter().find(|m| m.name == name).unwrap();
        move |sample| (measure.compute)(&Pyramid::new(sample), measure.first_scale).unwrap()
    }

    const NEUTRAL: Knobs = Knobs::NEUTRAL;

    #[test]
    fn equal_options_give_equal_scenes_and_another_index_or_seed_another() {
        let options = SceneOptions { size: 64, ..SceneOptions::new(NEUTRAL) };
        let (a, b) = (scene(&options, 3), scene(&options, 3));
        assert_eq!((&a.image, &a.mask, &a.instances), (&b.image, &b.mask, &b.instances));
        assert_ne!(a.mask, scene(&options, 4).mask);
        assert_ne!(a.mask, scene(&SceneOptions { seed: 1, ..options }, 3).mask);
    }

    #[test]
    fn noise_and_contrast_leave_the_masks_as_they_are() {
        let neutral = with(NEUTRAL, 1);
        for knobs in [
            Knobs { noise: 0.0, ..NEUTRAL },
            Knobs { noise: 0.25, ..NEUTRAL },
            Knobs { contrast: 0.1, ..NEUTRAL },
            Knobs { contrast: 0.9, ..NEUTRAL },
        ] {
            let turned = with(knobs, 1);
            assert_eq!((&turned.mask, &turned.instances), (&neutral.mask, &neutral.instances), "{knobs:?}");
            assert_ne!(turned.image, neutral.image);
        }
    }

    #[test]
    fn the_number_of_objects_is_exact_and_fewer_are_the_first_of_more() {
        let of = |objects: usize| with(Knobs { objects, roughness: 0.0, ..NEUTRAL }, 2);
        for n in [0, 1, 5, 16, 17, 64] {
            let labels = of(n).instances.unwrap();
            assert_eq!(labels.iter().max(), Some(&(n as u32)));
        }
        let (few, many) = (of(5).mask, of(40).mask);
        assert!(few.data.iter().zip(&many.data).all(|(f, m)| f <= m));
    }

    #[test]
    fn roughness_keeps_the_area_and_lengthens_the_outline() {
        let of = |roughness: f32| Knobs { roughness, ..NEUTRAL };
        let area = |r: f32| mean(of(r), measure("foreground"));
        let outline = |r: f32| mean(of(r), measure("perimetric"));
        assert!((area(0.3) / area(0.0) - 1.0).abs() < 0.06, "{} {}", area(0.0), area(0.3));
        assert!(outline(0.3) > 1.5 * outline(0.0), "{} {}", outline(0.0), outline(0.3));
        assert!(outline(0.1) > outline(0.0));
    }

    #[test]
    fn scale_changes_number_and_size_of_objects_but_not_their_density() {
        let of = |scale: f32| Knobs { scale, roughness: 0.0, ..NEUTRAL };
        let objects = [0.25, 1.0, 4.0].map(|s| mean(of(s), measure("objects")));
        assert_eq!(objects, [256.0, 16.0, 1.0]);
        let [far, middle, near] = [0.25, 1.0, 4.0].map(|s| mean(of(s), measure("foreground")));
        assert!((far / middle - 1.0).abs() < 0.15 && (near / middle - 1.0).abs() < 0.25, "{far} {middle} {near}");
    }

    #[test]
    fn contrast_is_the_difference_of_objects_and_ground() {
        for contrast in [0.1, 0.5, 0.8] {
            let difference = mean(Knobs { contrast, ..NEUTRAL }, |s| {
                let side = |class: u8| {
                    let of: Vec<f32> =
                        s.image.data.iter().zip(&s.mask.data).filter(|(_, c)| **c == class).map(|(v, _)| *v).collect();
                    f64::from(of.iter().sum::<f32>()) / of.len() as f64
                };
                side(1) - side(0)
            });
            // Outlines are soft: objects of 5 pixels' radius lose some.
            assert!((0.8..1.0).contains(&(difference / f64::from(contrast))), "{contrast}: {difference}");
        }
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let check = |knobs: Knobs| SceneOptions::new(knobs).check();
        assert!(check(NEUTRAL).is_ok());
        for (knobs, word) in [
            (Knobs { noise: -0.1, ..NEUTRAL }, "noise"),
            (Knobs { objects: 65, ..NEUTRAL }, "objects"),
            (Knobs { roughness: 0.6, ..NEUTRAL }, "roughness"),
            (Knobs { contrast: f32::NAN, ..NEUTRAL }, "contrast"),
            (Knobs { scale: 0.0, ..NEUTRAL }, "scale"),
        ] {
            let message = check(knobs).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
        assert!(SceneOptions { size: 8, ..SceneOptions::new(NEUTRAL) }.check().is_err());
    }
}
