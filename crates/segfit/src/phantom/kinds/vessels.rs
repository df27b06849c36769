//! The vessels of a fundus: trunks that leave the optic disc, bend, taper and branch.

use std::f32::consts::{FRAC_PI_2, TAU};

use crate::phantom::Look;
use crate::phantom::canvas::{Canvas, Colour, mix, scaled, smooth_step};
use crate::phantom::texture::clouds;
use crate::random::Stream;

const RETINA: Colour = [0.80, 0.42, 0.22];
const DISC: Colour = [0.98, 0.82, 0.55];
const BLOOD: Colour = [0.42, 0.10, 0.07];

pub fn paint(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let size = canvas.size;
    let c = look.complexity;
    let side = size as f32;
    let choroid = clouds(size, 5, 3, stream);
    let (dy, dx) = (side * stream.range(0.3, 0.7), side * if stream.unit() < 0.5 { 0.08 } else { 0.92 });
    canvas.fill(|i| {
        let (y, x) = ((i / size) as f32, (i % size) as f32);
        let away = ((y - side / 2.0).hypot(x - side / 2.0)) / side;
        let ground = scaled(RETINA, 1.05 - 0.6 * away * away + (0.06 + 0.24 * c) * choroid[i]);
        mix(ground, DISC, smooth_step(0.16 * side, 0.08 * side, (y - dy).hypot(x - dx)))
    });
    for (index, (width, deep)) in tree(look, size, (dy, dx), stream).into_iter().enumerate() {
        // A thin vessel holds little blood and is faint.
        let strength = look.contrast * (0.4 + 0.6 * smooth_step(0.0, 0.02 * side, width));
        canvas.over(index, BLOOD, strength * smooth_step(-0.6, 0.6, deep));
        canvas.owner[index] = u32::from(deep > 0.0);
    }
}

/// A growing end of the tree.
struct Tip {
    y: f32,
    x: f32,
    angle: f32,
    width: f32,
}

/// Per pixel: half the width of the nearest vessel, and how deep the pixel lies in it (negative outside), in pixels.
fn tree(look: &Look, size: usize, origin: (f32, f32), stream: &mut Stream) -> Vec<(f32, f32)> {
    let side = size as f32;
    let mut plane = vec![(0.0, f32::NEG_INFINITY); size * size];
    let inwards = (side / 2.0 - origin.0).atan2(side / 2.0 - origin.1);
    let mut tips: Vec<Tip> = (0..look.objects)
        .map(|k| {
            let spread = (k as f32 + 0.5) / look.objects as f32 - 0.5 + stream.range(-0.08, 0.08);
            let width = (side * stream.range(0.016, 0.024) * (1.0 - 0.35 * look.complexity)).max(1.0);
            Tip { y: origin.0, x: origin.1, angle: inwards + spread * 1.7 * FRAC_PI_2, width }
        })
        .collect();
    let mut budget = size * (4 + (12.0 * look.complexity) as usize);
    while let Some(mut tip) = tips.pop() {
        let finest = (side * (0.009 - 0.004 * look.complexity)).max(0.6);
        while tip.width >= finest && budget > 0 && inside(&tip, side) {
            budget -= 1;
            stamp(&mut plane, size, &tip);
            advance(&mut tip, look, side, stream);
            if stream.unit() < (0.6 + 1.4 * look.complexity) * 3.0 / side {
                let turn = if stream.unit() < 0.5 { -1.0 } else { 1.0 } * stream.range(0.4, 0.9);
                tips.insert(0, Tip { angle: tip.angle + turn, width: tip.width * stream.range(0.6, 0.85), ..tip });
                tip.angle -= 0.4 * turn;
                tip.width *= 0.92;
            }
        }
    }
    plane
}

fn inside(tip: &Tip, side: f32) -> bool {
    (-3.0..side + 3.0).contains(&tip.y) && (-3.0..side + 3.0).contains(&tip.x)
}

/// One pixel onwards, bending and tapering.
fn advance(tip: &mut Tip, look: &Look, side: f32, stream: &mut Stream) {
    let bend = (1.5 + 12.0 * look.roughness) / side.sqrt() * 0.5;
    tip.angle = (tip.angle + bend * (stream.unit() - 0.5)) % TAU;
    tip.y += tip.angle.sin();
    tip.x += tip.angle.cos();
    tip.width *= 1.0 - 0.35 / side;
}

/// Keeps at every pixel the vessel in which it lies deepest.
fn stamp(plane: &mut [(f32, f32)], size: usize, tip: &Tip) {
    let reach = tip.width + 1.0;
    let clip = |v: f32| v.clamp(0.0, size as f32) as usize;
    for y in clip(tip.y - reach)..clip(tip.y + reach + 1.0) {
        for x in clip(tip.x - reach)..clip(tip.x + reach + 1.0) {
            let deep = tip.width - (y as f32 - tip.y).hypot(x as f32 - tip.x);
            if deep > plane[y * size + x].1 {
                plane[y * size + x] = (tip.width, deep);
            }
        }
    }
}
