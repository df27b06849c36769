//! Filter responses as text: the bits of the numbers in Base64 (RFC 4648, section 4, without padding).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::filter_bank::Responses;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// [`Responses`] in a file.
#[derive(Serialize, Deserialize)]
struct Packed {
    pixels: usize,
    /// One bit per pixel, the lowest of each byte first.
    foreground: String,
    /// Per filter, the pixels' values as little-endian f32.
    filters: Vec<String>,
}

/// For `#[serde(serialize_with)]`.
pub(super) fn serialize<S: Serializer>(responses: &Option<Responses>, to: S) -> Result<S::Ok, S::Error> {
    responses.as_ref().map(packed).serialize(to)
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Responses>, D::Error> {
    let packed: Option<Packed> = Option::deserialize(from)?;
    let unpack = |p: &Packed| unpacked(p).ok_or_else(|| serde::de::Error::custom("filter responses are damaged"));
    packed.as_ref().map(unpack).transpose()
}

fn packed(responses: &Responses) -> Packed {
    let bits = |eight: &[bool]| eight.iter().enumerate().fold(0, |byte, (i, &bit)| byte | u8::from(bit) << i);
    let foreground: Vec<u8> = responses.foreground.chunks(8).map(bits).collect();
    let filter = |f: &Vec<f32>| encoded(&f.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    Packed {
        pixels: responses.foreground.len(),
        foreground: encoded(&foreground),
        filters: responses.filters.iter().map(filter).collect(),
    }
}

fn unpacked(packed: &Packed) -> Option<Responses> {
    let pixels = packed.pixels;
    let bytes = decoded(&packed.foreground).filter(|b| b.len() == pixels.div_ceil(8))?;
    let filter = |text: &String| {
        let bytes = decoded(text).filter(|b| b.len() == 4 * pixels)?;
        Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    Some(Responses {
        filters: packed.filters.iter().map(filter).collect::<Option<_>>()?,
        foreground: (0..pixels).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect(),
    })
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity((4 * bytes.len()).div_ceil(3));
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        text.extend((0..=three.len()).map(|i| char::from(DIGITS[(group >> (18 - 6 * i) & 63) as usize])));
    }
    text
}

/// `None` for other digits, or a length that no bytes have.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        for (i, &digit) in four.iter().enumerate() {
            group |= u32::from(value(digit)?) << (18 - 6 * i);
        }
        let whole = four.len().checked_sub(1).filter(|&n| n > 0)?;
        bytes.extend((0..whole).map(|i| (group >> (16 - 8 * i)) as u8));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_standard_hold() {
        for (plain, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(encoded(plain.as_bytes()), text);
            assert_eq!(decoded(text).unwrap(), plain.as_bytes());
        }
        assert!(decoded("Zm9").is_some() && decoded("Zm9vY").is_none() && decoded("Zm=v").is_none());
    }

    proptest! {
        #[test]
        fn responses_come_back_with_all_their_bits(
            values in proptest::collection::vec((any::<u32>(), any::<bool>()), 0..50)
        ) {
            let foreground: Vec<bool> = values.iter().map(|v| v.1).collect();
            let filter: Vec<f32> = values.iter().map(|v| f32::from_bits(v.0)).collect();
            let back = unpacked(&packed(&Responses { filters: vec![filter.clone()], foreground: foreground.clone() }));
            let back = back.unwrap();
            prop_assert_eq!(back.foreground, foreground);
            let bits = |f: &[f32]| f.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back.filters[0]), bits(&filter));
        }
    }
}
