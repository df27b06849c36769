//! Numbers of integer programs: scales of tensors, factors as multiplier and shift.

/// Bits of a multiplier.
const BITS: i32 = 30;

/// What the values of a channel stand for: `scale * (q + offset)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    pub scale: f64,
    /// 0, or 128 where nothing is negative.
    pub offset: u8,
}

impl Quant {
    /// For values up to `range`; of either sign if `signed`.
    pub fn of_range(range: f32, signed: bool) -> Self {
        let (steps, offset) = if signed { (127.0, 0) } else { (255.0, 128) };
        // A tensor that is always zero can have any scale.
        let scale = if range < f32::MIN_POSITIVE * 1024.0 { 1.0 } else { f64::from(range) / steps };
        Self { scale, offset }
    }

    /// What the stored value `q` stands for.
    pub fn value(self, q: i8) -> f64 {
        self.scale * f64::from(i32::from(q) + i32::from(self.offset))
    }

    /// The stored value nearest to `value`.
    pub fn nearest(self, value: f64) -> i8 {
        ((value / self.scale).round() - f64::from(self.offset)).clamp(-128.0, 127.0) as i8
    }
}

/// Shift s with which factors up to `largest` become multipliers of at most 30 bits: factor = multiplier * 2^-s.
pub fn shift_for(largest: f64) -> u8 {
    if largest <= 0.0 {
        return 1;
    }
    (BITS - 1 - largest.log2().floor() as i32).clamp(1, 62) as u8
}

/// A factor as multiplier for `shift`.
pub fn multiplier(factor: f64, shift: u8) -> i32 {
    (factor * 2_f64.powi(i32::from(shift))).round().clamp(-(2_f64.powi(BITS)), 2_f64.powi(BITS)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_keep_thirty_bits() {
        for factor in [1.0, 0.3, 1e-6, 7.25, 1e-3, 0.999_999_999] {
            let shift = shift_for(factor);
            let m = multiplier(factor, shift);
            assert!((1 << 29..=1 << 30).contains(&m), "{factor}: {m} * 2^-{shift}");
            assert!((f64::from(m) / 2_f64.powi(i32::from(shift)) / factor - 1.0).abs() < 1e-8);
        }
        assert_eq!((shift_for(0.0), multiplier(0.0, 1)), (1, 0));
        assert_eq!(shift_for(1e-30), 62, "too small a factor is nearly zero");
    }

    #[test]
    fn values_with_and_without_sign() {
        let signed = Quant::of_range(127.0, true);
        assert_eq!([-200.0, -1.4, 0.0, 0.6, 500.0].map(|v| signed.nearest(v)), [-128, -1, 0, 1, 127]);
        let positive = Quant::of_range(255.0, false);
        assert_eq!([-3.0, 0.0, 1.0, 255.0, 300.0].map(|v| positive.nearest(v)), [-128, -128, -127, 127, 127]);
        assert_eq!(positive.value(-128), 0.0);
        assert_eq!(Quant::of_range(0.0, false).scale, 1.0);
    }
}
