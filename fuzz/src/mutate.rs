//! Mutations that keep a file well-formed, so that the checks behind the syntax are reached: half of the time libFuzzer changes
//! bytes as ever.

mod json;
mod wire;

use libfuzzer_sys::fuzzer_mutate;

/// Small numbers from a seed (xorshift).
pub struct Dice(u64);

impl Dice {
    fn new(seed: u32) -> Self {
        Self(u64::from(seed) << 17 | 0x9e37_79b9)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if n == 0 { 0 } else { (self.0 % n as u64) as usize }
    }
}

/// Numbers at which readers stumble.
const NUMBERS: [i64; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    64,
    255,
    256,
    1000,
    4096,
    65_535,
    65_536,
    1 << 20,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 40,
    1 << 53,
    i64::MAX,
    -1,
    -2,
    i64::MIN,
];

/// Any file, as libFuzzer does.
pub fn bytes(data: &mut [u8], size: usize, most: usize, _seed: u32) -> usize {
    fuzzer_mutate(data, size, most)
}

/// JSON, one value a line; a byte that chooses a file may stand before it.
pub fn json(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut dice = Dice::new(seed);
    let made = if dice.below(3) > 0 { json::changed(&data[..size], &mut dice) } else { None };
    put(data, size, most, made)
}

/// A safetensors file: 8 bytes of length, a header in JSON, values.
pub fn safetensors(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut dice = Dice::new(seed);
    let made = if dice.below(3) > 0 { header_changed(&data[..size], &mut dice) } else { None };
    put(data, size, most, made)
}

fn header_changed(file: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let length = usize::try_from(u64::from_le_bytes(file.get(..8)?.try_into().ok()?)).ok()?;
    let header = file.get(8..8usize.checked_add(length)?)?;
    let header = json::changed(header, dice)?;
    let mut made = (header.len() as u64).to_le_bytes().to_vec();
    made.extend(header);
    made.extend(&file[8 + length..]);
    Some(made)
}

/// Protocol buffers, without knowing the messages.
pub fn protobuf(data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut dice = Dice::new(seed);
    let made = if dice.below(4) > 0 { wire::changed(&data[..size], &mut dice) } else { None };
    put(data, size, most, made)
}

/// What was made where it fits, else what libFuzzer makes.
fn put(data: &mut [u8], size: usize, most: usize, made: Option<Vec<u8>>) -> usize {
    match made {
        Some(made) if made.len() <= most && !made.is_empty() => {
            data[..made.len()].copy_from_slice(&made);
            made.len()
        }
        _ => fuzzer_mutate(data, size, most),
    }
}
