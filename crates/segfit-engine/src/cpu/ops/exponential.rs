//! The exponential of numbers up to zero, in plain arithmetic that the compiler turns into vectors.

/// Below this the result would no longer be a normal number.
const LOWEST: f32 = -87.0;

/// (s, p) with exp(x) = s + s p: s a power of two, p = exp(r) - 1 with |r| <= ln 2 / 2. For x <= 0; what is not a number
/// stays so in p.
///
/// The polynomial is Cephes' `expf` (Moshier): relative error of exp below 2e-7.
#[inline(always)]
fn parts(x: f32) -> (f32, f32) {
    // 1.5 * 2^23: adding it rounds to whole numbers and leaves them in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < LOWEST { LOWEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let s = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
        p = p * r + c;
    }
    (s, p * (r * r) + r)
}

/// exp(x) for x <= 0.
#[inline(always)]
pub fn exp_of_negative(x: f32) -> f32 {
    let (s, p) = parts(x);
    s * p + s
}

/// exp(x) - 1 for x <= 0, exact near 0.
#[inline(always)]
pub fn exp_m1_of_negative(x: f32) -> f32 {
    let (s, p) = parts(x);
    s * p + (s - 1.0)
}

/// 1 / (1 + exp(-x)).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp_of_negative(-x.abs());
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let t = exp_m1_of_negative(-2.0 * x.abs());
    (-t / (2.0 + t)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_within_a_few_units_of_the_last_place() {
        let mut worst = [0.0_f64; 4];
        for i in -86_000..=86_000 {
            let x = i as f32 / 1000.0 + 1e-5;
            let wide = f64::from(x);
            let low = -wide.abs();
            let pairs = [
                (exp_of_negative(-x.abs()), low.exp()),
                (exp_m1_of_negative(-x.abs()), low.exp_m1()),
                (sigmoid(x), 1.0 / (1.0 + (-wide).exp())),
                (tanh(x), wide.tanh()),
            ];
            for (w, (got, want)) in worst.iter_mut().zip(pairs) {
                *w = w.max((f64::from(got) / want - 1.0).abs());
            }
        }
        assert!(worst.iter().all(|w| *w < 4e-7), "{worst:?}");
    }

    #[test]
    fn the_ends_are_what_they_must_be() {
        assert_eq!((exp_of_negative(0.0), exp_m1_of_negative(0.0), sigmoid(0.0), tanh(0.0)), (1.0, 0.0, 0.5, 0.0));
        assert!(exp_of_negative(f32::NEG_INFINITY) < 1e-37 && sigmoid(-1000.0) < 1e-37);
        assert_eq!((sigmoid(1000.0), tanh(-1000.0), tanh(f32::INFINITY)), (1.0, -1.0, 1.0));
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && exp_m1_of_negative(f32::NAN).is_nan());
    }
}
