//! Repeats in a stream of bytes: hash chains, as deflate's encoders use them.

/// The shortest and the longest repeat that deflate can name, in bytes.
pub const SHORTEST: usize = 3;
pub const LONGEST: usize = 258;

/// A repeat lies at most this far back: 32 KiB less what zlib looks ahead.
const FARTHEST: usize = WINDOW - LONGEST - SHORTEST - 1;
const WINDOW: usize = 1 << 15;

/// Three bytes cost more as a repeat than by themselves beyond this distance.
const FAR_FOR_THREE: usize = 4096;

/// A repeat this long is taken without looking for a longer one.
const NICE: usize = 128;

/// With a repeat this long in hand, a quarter of the places are looked at.
const GOOD: usize = 8;

/// At most so many places are looked at.
const PLACES: usize = 64;

const HASH_BITS: u32 = 15;

/// Zeros after the data, so that eight bytes can be read anywhere.
const PADDING: usize = 8;

/// Where the bytes at a position occurred before.
pub struct Matches {
    bytes: Vec<u8>,
    end: usize,
    /// By hash of three bytes: the last position. 0 is none, as in zlib.
    last_three: Vec<u32>,
    /// By hash of four bytes: the last position.
    last_four: Vec<u32>,
    /// By position modulo the window: steps back to the position before with the same hash of four bytes, 0 for none.
    back: Vec<u16>,
}

impl Matches {
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        bytes.resize(end + PADDING, 0);
        let table = || vec![0; 1 << HASH_BITS];
        Self { bytes, end, last_three: table(), last_four: table(), back: vec![0; WINDOW] }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Enters a position. Positions are entered in order.
    pub fn enter(&mut self, at: usize) {
        if at + SHORTEST > self.end {
            return;
        }
        let (three, four) = self.hashes(at);
        self.last_three[three] = at as u32;
        let step = at - self.last_four[four] as usize;
        let known = step < WINDOW && step < at;
        self.back[at % WINDOW] = if known { step as u16 } else { 0 };
        self.last_four[four] = at as u32;
    }

    /// Length and distance of the longest repeat at a position that is not yet entered, if it is longer than `known`
    /// (at least 2) and worth its distance; the nearest of equals.
    pub fn longest(&self, at: usize, known: usize) -> Option<(usize, usize)> {
        let most = (self.end - at).min(LONGEST);
        if most <= known {
            return None;
        }
        let (three, four) = self.hashes(at);
        let (mut length, mut distance) = (known, 0);
        let candidate = self.last_three[three] as usize;
        if known < SHORTEST && candidate > 0 && at - candidate <= FAR_FOR_THREE && self.starts_alike(at, candidate) {
            (length, distance) = (SHORTEST, at - candidate);
        }
        let mut place = self.last_four[four] as usize;
        let mut places = if known >= GOOD { PLACES / 4 } else { PLACES };
        while place > 0 && at - place <= FARTHEST && places > 0 && length < most {
            let tail = length.max(SHORTEST) - SHORTEST;
            if self.word(at + tail) == self.word(place + tail) {
                let found = self.common(at, place, most);
                if found > length {
                    (length, distance) = (found, at - place);
                    if found >= NICE {
                        break;
                    }
                }
            }
            let step = usize::from(self.back[place % WINDOW]);
            if step == 0 {
                break;
            }
            place -= step.min(place);
            places -= 1;
        }
        (distance > 0).then_some((length, distance))
    }

    /// The places of the next three and four bytes in the tables.
    fn hashes(&self, at: usize) -> (usize, usize) {
        let word = self.word(at);
        let hash = |bytes: u32| (bytes.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize;
        (hash(word << 8), hash(word))
    }

    fn starts_alike(&self, a: usize, b: usize) -> bool {
        (self.word(a) ^ self.word(b)) << 8 == 0
    }

    fn word(&self, at: usize) -> u32 {
        self.bytes[at..].first_chunk().map_or(0, |&b| u32::from_le_bytes(b))
    }

    /// Number of equal bytes at two positions.
    fn common(&self, at: usize, place: usize, most: usize) -> usize {
        let (a, b) = (self.bytes[at..].chunks_exact(8), self.bytes[place..].chunks_exact(8));
        let mut length = 0;
        for (x, y) in a.zip(b) {
            let word = |b: &[u8]| b.first_chunk().map_or(0, |&b| u64::from_le_bytes(b));
            let differs = word(x) ^ word(y);
            if differs != 0 {
                return most.min(length + differs.trailing_zeros() as usize / 8);
            }
            length += 8;
            if length >= most {
                break;
            }
        }
        most.min(length)
    }
}
