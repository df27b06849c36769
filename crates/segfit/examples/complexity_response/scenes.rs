//! Scenes of bright discs of which one property changes and all others stay.

use segfit::data::{Image, Mask, Sample, resize_image, resize_labels, resize_mask};
use segfit::phantom::{PhantomKind, PhantomOptions, make};

/// Rows and columns that are measured.
pub const SIZE: usize = 256;
/// Images of each setting.
pub const IMAGES: usize = 8;
/// Settings of each knob.
pub const SETTINGS: usize = 7;

/// A property, and the settings that it is turned through.
pub struct Knob {
    pub name: &'static str,
    pub unit: &'static str,
    pub settings: [f32; SETTINGS],
    turn: fn(&mut PhantomOptions, f32),
}

/// What is turned.
pub const KNOBS: [Knob; 5] = [
    Knob {
        name: "noise",
        unit: "standard deviation, of the value range",
        settings: [0.0, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25],
        turn: |o, v| o.noise = Some(v),
    },
    Knob {
        name: "objects",
        unit: "number per image, about",
        settings: [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 48.0],
        turn: |o, v| o.objects = Some(v as usize),
    },
    Knob {
        name: "roughness",
        unit: "relative deviation of the radius",
        settings: [0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3],
        turn: |o, v| o.boundary_roughness = Some(v),
    },
    Knob {
        name: "contrast",
        unit: "of objects to ground, 1 is full",
        settings: [0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0],
        turn: |o, v| o.contrast = Some(v),
    },
    Knob {
        name: "scale",
        unit: "magnification of the same scene",
        settings: [0.25, 0.4, 0.6, 1.0, 1.6, 2.5, 4.0],
        turn: |_, _| {},
    },
];

impl Knob {
    /// The images at one setting. The neutral scene: about 12 slightly rough discs, contrast .6, noise .02.
    pub fn samples(&self, setting: f32) -> Vec<Sample> {
        let mut options = PhantomOptions {
            size: SIZE,
            complexity: 0.8,
            noise: Some(0.02),
            objects: Some(12),
            contrast: Some(0.6),
            boundary_roughness: Some(0.06),
            seed: 11,
            ..PhantomOptions::new(PhantomKind::Discs)
        };
        (self.turn)(&mut options, setting);
        if self.name == "scale" {
            return (0..IMAGES).map(|index| magnified(&options, index, setting)).collect();
        }
        (0..IMAGES).map(|index| make(&options, index)).collect()
    }
}

/// The middle of a scene four times as wide, with discs of the neutral size, at another magnification. Noise belongs to the camera: it is
/// not magnified, but added by the scene of the neutral size.
fn magnified(options: &PhantomOptions, index: usize, magnification: f32) -> Sample {
    let wide = 4 * SIZE;
    // The radius follows the size of the image and shrinks with complexity: these discs are a little larger than the
    // neutral ones.
    let scene = PhantomOptions { size: wide, complexity: 1.0, objects: Some(48), noise: Some(0.0), ..options.clone() };
    let scene = make(&scene, index);
    let side = (SIZE as f32 / magnification).round() as usize;
    let cut = cut(&scene, (wide - side) / 2, side);
    let mut image = resize_image(&cut.image, SIZE, SIZE);
    let blank = PhantomOptions { objects: Some(0), noise: Some(0.02), ..options.clone() };
    let noisy = make(&blank, index).image;
    let clean = make(&PhantomOptions { noise: Some(0.0), ..blank }, index).image;
    for (v, (a, b)) in image.data.iter_mut().zip(noisy.data.iter().zip(&clean.data)) {
        *v = (*v + a - b).clamp(0.0, 1.0);
    }
    let instances = cut.instances.as_ref().map(|labels| resize_labels(labels, (side, side), (SIZE, SIZE)));
    Sample { name: scene.name, image, mask: resize_mask(&cut.mask, SIZE, SIZE), instances }
}

/// The square of `side` pixels that begins at (`start`, `start`).
fn cut(scene: &Sample, start: usize, side: usize) -> Sample {
    let width = scene.image.width;
    let rows = (start..start + side).map(|y| y * width + start..y * width + start + side);
    let instances = scene.instances.as_ref().map(|all| rows.clone().flat_map(|r| all[r].to_vec()).collect());
    Sample {
        name: scene.name.clone(),
        image: Image {
            channels: 1,
            height: side,
            width: side,
            data: rows.clone().flat_map(|r| scene.image.data[r].to_vec()).collect(),
        },
        mask: Mask { height: side, width: side, data: rows.flat_map(|r| scene.mask.data[r].to_vec()).collect() },
        instances,
    }
}
