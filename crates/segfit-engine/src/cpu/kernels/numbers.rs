//! The numbers of low precision, one at a time: u8 and bf16 (the upper half of an f32).

/// The nearest whole number from 0 to 255, ties to even; 0 for what is not a number.
#[inline(always)]
#[must_use]
pub fn to_u8(v: f32) -> u8 {
    let low = if v > 0.0 { v } else { 0.0 };
    let in_range = if low < 255.0 { low } else { 255.0 };
    // At 2^23 the unit in the last place is 1, so that the sum is rounded to a whole number, in its lowest bits.
    (in_range + 8_388_608.0).to_bits() as u8
}

/// The nearest bf16, ties to even; a NaN stays one.
#[inline(always)]
#[must_use]
pub fn to_bf16(v: f32) -> u16 {
    let bits = v.to_bits();
    if v.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

/// The value of a bf16, exact.
#[inline(always)]
#[must_use]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// An element of two values, the first in the low half.
#[inline(always)]
#[must_use]
pub fn to_pair(first: f32, second: f32) -> u32 {
    u32::from(to_bf16(first)) | u32::from(to_bf16(second)) << 16
}

/// The two values of an element.
#[inline(always)]
#[must_use]
pub fn from_pair(element: u32) -> [f32; 2] {
    [f32::from_bits(element << 16), f32::from_bits(element & 0xFFFF_0000)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u8_rounds_ties_to_even_and_saturates() {
        let cases = [(0.5, 0), (1.5, 2), (2.5, 2), (254.6, 255), (300.0, 255), (-1.0, 0), (f32::NAN, 0), (1e30, 255)];
        for (v, expected) in cases {
            assert_eq!(to_u8(v), expected, "{v}");
        }
    }

    #[test]
    fn bf16_keeps_eight_bits_of_the_significand() {
        assert_eq!(from_bf16(to_bf16(1.0)), 1.0);
        // Neighbours of 1 are 1 + 1/128; the tie 1 + 1/256 goes to the even one, 1.
        assert_eq!(from_bf16(to_bf16(1.0 + 1.0 / 256.0)), 1.0);
        assert_eq!(from_bf16(to_bf16(1.0 + 3.0 / 256.0)), 1.0 + 2.0 / 128.0);
        assert_eq!(from_bf16(to_bf16(-3.0)), -3.0);
        assert_eq!(from_bf16(to_bf16(f32::MAX)), f32::INFINITY);
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
        assert_eq!(from_pair(to_pair(0.5, -2.0)), [0.5, -2.0]);
    }
}
