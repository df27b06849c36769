//! Records of trainings that never happened, with a planted dependence on complexity, for tests.

use super::Measures;
use super::SizeFeatures;
use super::axis::Axis;
use super::monotone::Monotone;
use super::record::{DatasetId, ImageCounts, ImageScore, RECORD_FORMAT, RecipeId, Record, short_hash};
use crate::cost::Cost;
use crate::network::families::{self, unet};
use crate::network::{NetworkSpec, Widths};
use crate::random::Stream;
use crate::recipe::{InputMode, InputSpec, Recipe};

/// What the records say.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Data sets; their complexity z runs from -1.5 to 1.5.
    pub sets: usize,
    /// ln of the deficit rises by this times z.
    pub effect: f64,
    /// Standard deviation of Dice between trainings.
    pub noise: f64,
    /// Trainings per network.
    pub seeds: u64,
    /// Depths; the first has the reference.
    pub depths: &'static [usize],
    /// Whether networks of base width 8 with slopes of -0.5 and 0.25 and with a decoder of half the width are trained too;
    /// only their effective width counts.
    pub shapes: bool,
    /// Which cells count in the size of a shape.
    pub axis: Axis,
    /// Whether a shape keeps what the uniform network of as many parameters keeps, and nothing else counts.
    pub by_params: bool,
    /// Measures `noise00`, `noise01`, ... that mean nothing.
    pub noise_measures: usize,
    /// Standard deviation of ln deficit between data sets that no measure explains.
    pub unexplained: f64,
    /// Names the random stream.
    pub seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            sets: 4,
            effect: 0.0,
            noise: 0.0,
            seeds: 1,
            depths: &[4],
            shapes: false,
            axis: Axis::default(),
            by_params: false,
            noise_measures: 0,
            unexplained: 0.0,
            seed: 0,
        }
    }
}

/// Measures of a data set of complexity z.
pub(crate) fn measures(z: f64) -> Measures {
    let list = [
        ("jpeg", 0.2 + 0.05 * z),
        ("edge", 0.1 + 0.02 * z),
        ("median_frequency", 0.05 + 0.01 * z),
        ("foreground", 0.3 - 0.05 * z),
        ("survival@1/4", 0.9 - 0.04 * z),
        ("blob_density", 0.35 - 0.04 * z),
    ];
    list.into_iter().map(|(n, v)| (n.to_string(), v)).collect()
}

/// Records of base widths 1, 2, 4, 8, 16: deficit 0.04 * 2^(3 - log2 width) e^(effect z), 0 at width 16.
pub(crate) fn records(world: &World) -> Vec<Record> {
    let mut records = Vec::new();
    for set in 0..world.sets {
        let z = 3.0 * set as f64 / (world.sets.max(2) - 1) as f64 - 1.5;
        let mut stream = Stream::new(&[world.seed, set as u64]);
        let constant_dice = 0.2 + 0.4 * f64::from(stream.unit());
        let reference = constant_dice + (1.0 - constant_dice) * f64::from(stream.range(0.7, 0.9));
        let own = (world.effect * z + world.unexplained * f64::from(stream.normal())).exp();
        let first = records.len();
        if world.shapes {
            for (slope, ratio) in [(-0.5, 0.0), (0.25, 0.0), (0.0, -1.0), (-0.5, -1.0)] {
                let widths = shape(slope, ratio);
                let network = net(8, 4).with_widths(&widths).unwrap();
                let size = SizeFeatures::of(&network).unwrap();
                let skill = if world.by_params {
                    uniform_skill(own).at(size.log2_params)
                } else {
                    1.0 - 0.04 * (3.0 - world.axis.log2_width(&size)).exp2() * own
                };
                let clean = constant_dice + skill.max(0.0) * (reference - constant_dice);
                let dice = (clean + world.noise * f64::from(stream.normal())).clamp(0.0, 1.0);
                let mut record = record(&format!("set{set:02}"), z, constant_dice, 8, 4, 0, dice);
                record.job = short_hash(&format!("{} {slope} {ratio}", record.job));
                record.cost = Cost::of(&network, 128).unwrap();
                record.widths = widths;
                records.push(record);
            }
        }
        for &depth in world.depths {
            for base_width in [1_usize, 2, 4, 8, 16] {
                for seed in 0..world.seeds {
                    let octaves = 3.0 - (base_width as f64).log2() + 0.5 * (world.depths[0] - depth) as f64;
                    let mut deficit = 0.04 * octaves.exp2() * own;
                    if base_width == 16 && depth == world.depths[0] {
                        deficit = 0.0;
                    }
                    let clean = constant_dice + (1.0 - deficit.min(1.0)) * (reference - constant_dice);
                    let dice = (clean + world.noise * f64::from(stream.normal())).clamp(0.0, 1.0);
                    records.push(record(&format!("set{set:02}"), z, constant_dice, base_width, depth, seed, dice));
                }
            }
        }
        for number in 0..world.noise_measures {
            let value = f64::from(stream.normal());
            let name = format!("noise{number:02}");
            records[first..].iter_mut().for_each(|r| _ = r.measures.insert(name.clone(), value));
        }
    }
    records
}

/// Skill of the uniform networks of depth 4 over log2 of their parameters.
fn uniform_skill(own: f64) -> Monotone {
    let point = |width: usize| {
        let deficit = if width == 16 { 0.0 } else { 0.32 / width as f64 * own };
        (SizeFeatures::of(&net(width, 4)).unwrap().log2_params, 1.0 - deficit.min(1.0), 1.0)
    };
    Monotone::fit([1, 2, 4, 8, 16].map(point).to_vec())
}

fn net(base_width: usize, depth: usize) -> NetworkSpec {
    unet(&families::Options { in_channels: 1, classes: 2, base_width, depth, ..families::Options::default() }).unwrap()
}

/// Channels of a network of base width 8 and depth 4, bent.
fn shape(slope: f64, ratio: f64) -> Widths {
    let bend = |name: &str, channels: usize| {
        let level = f64::from(name.chars().last().and_then(|c| c.to_digit(10)).unwrap());
        let side = if name.starts_with("enc") { 0.0 } else { ratio };
        (channels as f64 * (slope * (level - 2.0) + side).exp2()).round() as usize
    };
    net(8, 4).widths().into_iter().map(|(name, channels)| (name.clone(), bend(&name, channels))).collect()
}

fn record(name: &str, z: f64, constant_dice: f64, base_width: usize, depth: usize, seed: u64, dice: f64) -> Record {
    let input = InputSpec { mode: InputMode::Resize, size: 128 };
    let network = net(base_width, depth);
    let iou = dice / (2.0 - dice);
    Record {
        format: RECORD_FORMAT.into(),
        job: short_hash(&format!("{name} {base_width} {depth} {seed}")),
        attempt: 0,
        dataset: DatasetId { name: name.into(), fingerprint: short_hash(name) },
        measures: measures(z),
        images: ImageCounts { train: 20, test: 1 },
        family: "unet".into(),
        in_channels: 1,
        classes: 2,
        base_width,
        depth,
        widths: network.widths(),
        input,
        recipe: RecipeId::of(&Recipe::r0(input)),
        cost: Cost::of(&network, input.size).unwrap(),
        engine: "synthetic".into(),
        version: "0.0.0".into(),
        seed,
        constant_dice,
        dice,
        iou,
        per_image: vec![ImageScore { name: "0".into(), source: "0".into(), dice, iou }],
        steps: 800,
        seconds: 1.0,
        final_loss: 0.1,
        collapsed: false,
        parent: None,
        synthetic: false,
    }
}
