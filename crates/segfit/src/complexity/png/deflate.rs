//! The size of a deflate stream, without writing it.

use super::huffman::{code_lengths, header_bits};
use super::matches::{LONGEST, Matches, SHORTEST};

/// A repeat this long is not put off for a longer one a byte later.
const LAZY: usize = 16;

/// Literals and repeats of a block.
const BLOCK: usize = 16_383;

/// Literals, the end of the block, and codes for lengths.
const LITERALS: usize = 286;
const END: usize = 256;
const DISTANCES: usize = 30;

/// Bytes of the raw deflate stream of `bytes`, as zlib writes it at level 6.
///
/// Repeats are found and put off by zlib's rules, blocks end after as many symbols, and each block takes the cheapest of
/// stored bytes, fixed codes and its own codes. Streams differ from zlib's in fewer than 1% of their bytes: the search for
/// a repeat looks at other places when there are very many.
pub fn deflated_size(bytes: Vec<u8>) -> usize {
    let mut matches = Matches::new(bytes);
    let end = matches.bytes().len();
    let mut stream = Stream::new();
    // The repeat at the byte before, which is written unless a longer one begins here.
    let mut before = (0, 0);
    let mut waiting = false;
    let mut at = 0;
    while at < end {
        let known = before.0.max(SHORTEST - 1);
        let here = if known < LAZY { matches.longest(at, known) } else { None };
        matches.enter(at);
        if before.0 >= SHORTEST && here.is_none() {
            let next = at - 1 + before.0;
            (at + 1..next).for_each(|i| matches.enter(i));
            stream.repeat(before.0, before.1, next);
            (at, before, waiting) = (next, (0, 0), false);
        } else {
            if waiting {
                stream.literal(matches.bytes()[at - 1], at);
            }
            (at, before, waiting) = (at + 1, here.unwrap_or((0, 0)), true);
        }
    }
    if waiting {
        stream.literal(matches.bytes()[end - 1], end);
    }
    stream.finished(end)
}

/// Bits written so far, and the symbols of the block that is not yet written.
struct Stream {
    bits: u64,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    /// Bits that follow the codes for lengths and distances.
    extra: u64,
    symbols: usize,
    begin: usize,
    length_codes: [u8; LONGEST + 1],
}

impl Stream {
    fn new() -> Self {
        Self {
            bits: 0,
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            extra: 0,
            symbols: 0,
            begin: 0,
            length_codes: std::array::from_fn(|length| length_code(length.max(SHORTEST))),
        }
    }

    /// `end` is the position up to which the data is written with this byte.
    fn literal(&mut self, byte: u8, end: usize) {
        self.literals[usize::from(byte)] += 1;
        self.count_symbol(end);
    }

    fn repeat(&mut self, length: usize, distance: usize, end: usize) {
        let code = usize::from(self.length_codes[length]);
        self.literals[END + 1 + code] += 1;
        let distance = distance_code(distance);
        self.distances[distance] += 1;
        self.extra += length_extra(code) + distance_extra(distance);
        self.count_symbol(end);
    }

    fn count_symbol(&mut self, end: usize) {
        self.symbols += 1;
        if self.symbols == BLOCK {
            self.flush(end);
        }
    }

    /// Writes the block in the cheapest of the three ways.
    fn flush(&mut self, end: usize) {
        self.literals[END] = 1;
        let cost = |counts: &[u32], length: &dyn Fn(usize) -> u64| {
            counts.iter().enumerate().map(|(s, &n)| u64::from(n) * length(s)).sum::<u64>()
        };
        let (literals, distances) = (code_lengths(&self.literals, 15), code_lengths(&self.distances, 15));
        let own = header_bits(&literals, &distances)
            + cost(&self.literals, &|s| u64::from(literals[s]))
            + cost(&self.distances, &|s| u64::from(distances[s]));
        let fixed = cost(&self.literals, &fixed_length) + cost(&self.distances, &|_| 5);
        let coded = 3 + own.min(fixed) + self.extra;
        // Three bits, up to the next byte, twice the length, and the bytes.
        let stored = (self.bits + 3).next_multiple_of(8) + 32 + 8 * (end - self.begin) as u64 - self.bits;
        let is_stored = 4 + (end - self.begin) as u64 <= coded.div_ceil(8);
        self.bits += if is_stored { stored } else { coded };
        (self.literals, self.distances) = ([0; LITERALS], [0; DISTANCES]);
        (self.extra, self.symbols, self.begin) = (0, 0, end);
    }

    /// Bytes of the whole stream.
    fn finished(mut self, end: usize) -> usize {
        self.flush(end);
        self.bits.div_ceil(8) as usize
    }
}

/// Bits of a literal or a length among deflate's fixed codes.
fn fixed_length(symbol: usize) -> u64 {
    match symbol {
        0..=143 | 280.. => 8,
        144..=255 => 9,
        256..=279 => 7,
    }
}

/// The code of a length of 3 to 258, 0 to 28: eight single lengths, then four codes for every doubling, then 258.
fn length_code(length: usize) -> u8 {
    let value = length - SHORTEST;
    match value {
        0..8 => value as u8,
        255 => 28,
        _ => {
            let bits = value.ilog2() as usize - 2;
            (4 * bits + (value >> bits)) as u8
        }
    }
}

/// Bits after the code of a length.
fn length_extra(code: usize) -> u64 {
    if code < 8 || code == 28 { 0 } else { code as u64 / 4 - 1 }
}

/// The code of a distance of 1 to 32768: four single distances, then two codes for every doubling.
fn distance_code(distance: usize) -> usize {
    let value = distance - 1;
    if value < 4 {
        return value;
    }
    let bits = value.ilog2() as usize - 1;
    2 * bits + (value >> bits)
}

/// Bits after the code of a distance.
fn distance_extra(code: usize) -> u64 {
    if code < 4 { 0 } else { code as u64 / 2 - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_lengths_and_distances_are_those_of_rfc_1951() {
        let lengths =
            [(3, 0, 0), (10, 7, 0), (11, 8, 1), (12, 8, 1), (13, 9, 1), (19, 12, 2), (257, 27, 5), (258, 28, 0)];
        for (length, code, extra) in lengths {
            assert_eq!((length_code(length), length_extra(code)), (code as u8, extra), "length {length}");
        }
        let distances = [(1, 0, 0), (4, 3, 0), (5, 4, 1), (7, 5, 1), (9, 6, 2), (193, 15, 6), (24_577, 29, 13)];
        for (distance, code, extra) in distances {
            assert_eq!((distance_code(distance), distance_extra(code)), (code, extra), "distance {distance}");
        }
    }

    #[test]
    fn small_streams_have_the_size_that_zlib_gives_them() {
        // zlib.compressobj(6, zlib.DEFLATED, -15) of Python.
        assert_eq!(deflated_size(Vec::new()), 2);
        assert_eq!(deflated_size(b"a".to_vec()), 3);
        assert_eq!(deflated_size(b"abcabcabcabc".to_vec()), 7);
        assert_eq!(deflated_size((0..=255).collect()), 261, "stored");
        let text: Vec<u8> = (0..4000_u32).map(|i| (i * i / 7 % 23) as u8).collect();
        assert_eq!(deflated_size(text), 139);
        let long: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 28) as u8 * 3).collect();
        assert_eq!(deflated_size(long), 998);
    }
}
