//! Multi-scale survival: how much of a mask a coarse level of a network can still represent.

use super::{Measure, Pyramid, pyramid};

pub(super) const SURVIVAL: Measure = Measure {
    name: "survival",
    unit: "Dice",
    larger_is_more_complex: false,
    first_scale: 1,
    last_scale: pyramid::SCALES - 1,
    compute: survival,
};

/// Dice of the mask with itself after going down to scale 1/2^s and back up, in [0, 1]. Larger is less complex: at 1 the
/// coarse level loses nothing.
///
/// Down is the majority of each 2^s x 2^s block (see [`Pyramid`]), up repeats it over the block; all foreground classes
/// count as one. `None` for a mask without foreground, and where the level does not exist.
///
/// Source: the definition is ours.
#[must_use]
pub fn survival(pyramid: &Pyramid, scale: usize) -> Option<f64> {
    let (full, coarse) = (pyramid.level(0)?, pyramid.level(scale)?);
    let (mut both, mut up) = (0, 0);
    let mut repeated = vec![0; full.width];
    for (rows, kept) in full.classes.chunks(full.width << scale).zip(coarse.classes.chunks(coarse.width)) {
        repeated.chunks_mut(1 << scale).zip(kept).for_each(|(block, &class)| block.fill(class));
        up += repeated.iter().filter(|&&c| c > 0).count() * (rows.len() / full.width);
        for row in rows.chunks(full.width) {
            both += row.chunks(255).zip(repeated.chunks(255)).map(both_foreground).sum::<usize>();
        }
    }
    let foreground = full.foreground();
    (foreground > 0).then(|| 2.0 * both as f64 / (foreground + up) as f64)
}

/// Number of pixels that are foreground in both, of at most 255: they are counted in a byte.
fn both_foreground((a, b): (&[u8], &[u8])) -> usize {
    a.iter().zip(b).map(|(&a, &b)| u8::from((a > 0) & (b > 0))).sum::<u8>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::pyramid::tests::sample;

    fn of(classes: Vec<u8>) -> Pyramid {
        Pyramid::new(&sample(16, 16, vec![0.0; 256], classes))
    }

    #[test]
    fn aligned_blocks_survive_and_single_pixels_do_not() {
        let block: Vec<u8> = (0..256).map(|i| u8::from(i / 16 < 4 && i % 16 < 4)).collect();
        assert_eq!(survival(&of(block), 1), Some(1.0));
        let pixel: Vec<u8> = (0..256).map(|i| u8::from(i == 0)).collect();
        assert_eq!(survival(&of(pixel), 1), Some(0.0));
    }

    #[test]
    fn a_line_of_one_pixel_is_doubled_at_half_scale() {
        // 16 pixels become 32 by ties: 2 * 16 / (16 + 32).
        let line: Vec<u8> = (0..256).map(|i| u8::from(i % 16 == 6)).collect();
        assert_eq!(survival(&of(line), 1), Some(2.0 / 3.0));
    }

    #[test]
    fn an_empty_mask_and_a_missing_level_have_none() {
        assert_eq!(survival(&of(vec![0; 256]), 1), None);
        assert_eq!(survival(&of(vec![1; 256]), 2), None);
    }
}
