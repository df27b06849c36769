//! Pigmented skin lesions: a dark patch with an irregular border, on skin with freckles and hair.

use std::f32::consts::TAU;

use crate::phantom::Look;
use crate::phantom::blob::{Blob, scattered};
use crate::phantom::canvas::{Canvas, Colour, mix, scaled, smooth_step};
use crate::phantom::texture::clouds;
use crate::random::Stream;

const SKIN: Colour = [0.86, 0.66, 0.56];
const PIGMENT: Colour = [0.42, 0.26, 0.20];
const HAIR: Colour = [0.16, 0.11, 0.09];

pub fn paint(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let size = canvas.size;
    let (c, side) = (look.complexity, size as f32);
    let shading = clouds(size, 3, 4, stream);
    let tone = stream.range(0.88, 1.08);
    canvas.fill(|i| scaled(SKIN, tone * (1.0 + (0.04 + 0.12 * c) * shading[i])));
    freckles(canvas, look, stream);
    for number in 0..look.objects {
        let spread = 0.1 + 0.1 * c + 0.1 * number as f32;
        let place = |s: &mut Stream| side * (0.5 + s.range(-spread, spread));
        let (y, x) = (place(stream), place(stream));
        let radius = side * (0.27 - 0.08 * c) * stream.range(0.75, 1.2) / (1.0 + number as f32).sqrt();
        let lesion = Blob::new(y, x, radius, stream.range(1.0, 1.3 + 0.4 * c), look.roughness, stream);
        pigment(canvas, &lesion, number as u32 + 1, look, stream);
    }
    for _ in 0..(14.0 * c) as usize {
        hair(canvas, stream);
    }
}

fn pigment(canvas: &mut Canvas, lesion: &Blob, number: u32, look: &Look, stream: &mut Stream) {
    let side = canvas.size as f32;
    let network = clouds(canvas.size, 8, 3, stream);
    let soft = side * (0.006 + 0.03 * look.complexity);
    for (i, dy, dx) in canvas.around(lesion.y, lesion.x, lesion.reach() + 2.0 * soft) {
        let (share, depth) = lesion.at(dy, dx);
        let dark = 0.75 + 0.25 * smooth_step(1.0, 0.2, share) + (0.15 + 0.35 * look.complexity) * network[i];
        let alpha = look.contrast * dark * smooth_step(-soft, soft, depth);
        canvas.over(i, PIGMENT, alpha);
        if depth > 0.0 {
            canvas.owner[i] = number;
        }
    }
}

/// Small brown spots that are not the lesion.
fn freckles(canvas: &mut Canvas, look: &Look, stream: &mut Stream) {
    let (size, side) = (canvas.size, canvas.size as f32);
    for spot in scattered((14.0 * look.complexity) as usize, size, 0.02 * side, 1.5, 1.5, 0.15, stream) {
        let strength = stream.range(0.15, 0.5);
        for (i, dy, dx) in canvas.around(spot.y, spot.x, spot.reach() + 2.0) {
            canvas.over(i, PIGMENT, strength * smooth_step(-1.5, 1.5, spot.at(dy, dx).1));
        }
    }
}

/// One curved hair across part of the image.
fn hair(canvas: &mut Canvas, stream: &mut Stream) {
    let side = canvas.size as f32;
    let (mut y, mut x) = (stream.range(0.0, side), stream.range(0.0, side));
    let mut angle = stream.range(0.0, TAU);
    let bend = stream.range(-1.2, 1.2) / side;
    let colour = mix(HAIR, SKIN, stream.range(0.0, 0.3));
    for _ in 0..(side * stream.range(0.3, 0.8)) as usize {
        for (i, dy, dx) in canvas.around(y, x, 1.5) {
            canvas.over(i, colour, 0.55 * smooth_step(1.2, 0.2, dy.hypot(dx)));
        }
        y += angle.sin();
        x += angle.cos();
        angle += bend;
    }
}
