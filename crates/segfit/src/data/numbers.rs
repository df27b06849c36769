//! Numbers of any type from the bytes of a file.

use super::raster::Samples;

/// The type of a stored number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl Number {
    /// The type that NumPy calls so, without its byte order; booleans are bytes.
    pub fn of_numpy(kind: &str) -> Option<Self> {
        Some(match kind {
            "b1" | "u1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            _ => return None,
        })
    }

    /// Bytes in the file.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Bytes in memory.
    pub fn decoded(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            _ => 4,
        }
    }

    /// Bits of an unsigned integer; 32 for everything that is kept as floating point.
    pub fn bits(self) -> u8 {
        match self {
            Self::U8 => 8,
            Self::U16 => 16,
            _ => 32,
        }
    }

    /// A word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// The numbers in bytes; integers beyond 32 bits and fractions of 64 bits are rounded to 32-bit floating point.
    pub fn read(self, bytes: &[u8], big_endian: bool) -> Samples {
        let big = big_endian;
        match self {
            Self::U8 => Samples::U8(bytes.to_vec()),
            Self::I8 => Samples::F32(words(bytes, big, |b| f32::from(i8::from_le_bytes(b)))),
            Self::U16 => Samples::U16(words(bytes, big, u16::from_le_bytes)),
            Self::I16 => Samples::F32(words(bytes, big, |b| f32::from(i16::from_le_bytes(b)))),
            Self::U32 => Samples::U32(words(bytes, big, u32::from_le_bytes)),
            Self::I32 => Samples::F32(words(bytes, big, |b| i32::from_le_bytes(b) as f32)),
            Self::U64 => Samples::F32(words(bytes, big, |b| u64::from_le_bytes(b) as f32)),
            Self::I64 => Samples::F32(words(bytes, big, |b| i64::from_le_bytes(b) as f32)),
            Self::F16 => Samples::F32(words(bytes, big, |b| half(u16::from_le_bytes(b)))),
            Self::F32 => Samples::F32(words(bytes, big, f32::from_le_bytes)),
            Self::F64 => Samples::F32(words(bytes, big, |b| f64::from_le_bytes(b) as f32)),
        }
    }
}

/// All words of `N` bytes.
pub(crate) fn words<const N: usize, T>(bytes: &[u8], big_endian: bool, word: impl Fn([u8; N]) -> T) -> Vec<T> {
    let one = |b: &[u8]| {
        let mut b: [u8; N] = b.try_into().expect("N bytes");
        if big_endian {
            b.reverse();
        }
        word(b)
    };
    bytes.chunks_exact(N).map(one).collect()
}

/// IEEE 754 half precision.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff) / 1024.0);
    sign * match exponent {
        0 => fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction) * 2f32.powi(e - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_by_hand() {
        let values =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f32.powi(-24)), (0x7bff, 65504.0), (0x3555, 0.333_251_95)];
        for (bits, value) in values {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn both_byte_orders_are_read() {
        let read = |number: Number, bytes: &[u8], big| format!("{:?}", number.read(bytes, big));
        assert_eq!(read(Number::I16, &[0xff, 0xfe, 0, 1], true), "F32([-2.0, 1.0])");
        assert_eq!(read(Number::U16, &[0xff, 0xfe, 0, 1], false), "U16([65279, 256])");
        assert_eq!(read(Number::F64, &1.5f64.to_be_bytes(), true), "F32([1.5])");
        assert_eq!(read(Number::I64, &(-3i64).to_le_bytes(), false), "F32([-3.0])");
    }
}
