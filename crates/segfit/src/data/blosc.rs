//! Chunks in the format of Blosc 1, which Zarr uses unless told otherwise
//! (<https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst>).

use std::io::Read as _;

type Reason<T> = Result<T, String>;

const HEADER: usize = 16;
/// Streams of a block are kept together below this many bytes for each byte of a number.
const LEAST_SPLIT: usize = 128;
/// Numbers with more bytes are not split into streams.
const MOST_STREAMS: usize = 16;

/// What a chunk's header says.
struct Header {
    shuffled: bool,
    bits_shuffled: bool,
    is_copy: bool,
    is_split: bool,
    codec: u8,
    number_bytes: usize,
    bytes: usize,
    block: usize,
}

impl Header {
    fn parse(chunk: &[u8]) -> Reason<Self> {
        let word = |at: usize| {
            let b: [u8; 4] = chunk.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_le_bytes(b) as usize)
        };
        let (Some(flags), Some(&size)) = (chunk.get(2), chunk.get(3)) else {
            return Err("a Blosc chunk ends early".into());
        };
        let (Some(bytes), Some(block)) = (word(4), word(8)) else { return Err("a Blosc chunk ends early".into()) };
        Ok(Self {
            shuffled: flags & 1 != 0,
            is_copy: flags & 2 != 0,
            bits_shuffled: flags & 4 != 0,
            is_split: flags & 16 == 0,
            codec: flags >> 5,
            number_bytes: usize::from(size).max(1),
            bytes,
            block,
        })
    }
}

/// The bytes of a chunk, which must be `expected` many.
///
/// # Errors
/// When the chunk is damaged, of another size, or compressed with BloscLZ or Snappy.
pub(crate) fn decode(chunk: &[u8], expected: usize) -> Reason<Vec<u8>> {
    let header = Header::parse(chunk)?;
    if header.bytes != expected {
        return Err(format!("a Blosc chunk of {} bytes instead of {expected}", header.bytes));
    }
    if header.is_copy {
        let held = chunk.get(HEADER..HEADER + expected);
        return held.map(<[u8]>::to_vec).ok_or_else(|| "a Blosc chunk ends early".into());
    }
    if expected == 0 {
        return Ok(Vec::new());
    }
    if header.block == 0 {
        return Err("a Blosc chunk with blocks of no bytes".into());
    }
    let blocks = expected.div_ceil(header.block);
    let mut out = Vec::with_capacity(expected);
    for index in 0..blocks {
        let start = number(chunk, HEADER + 4 * index)?;
        let length = header.block.min(expected - index * header.block);
        let block = one_block(chunk, start, length, &header)?;
        match (header.shuffled, header.bits_shuffled) {
            (true, _) if header.number_bytes > 1 => unshuffle(&block, header.number_bytes, &mut out),
            (_, true) => unshuffle_bits(&block, header.number_bytes, &mut out),
            _ => out.extend_from_slice(&block),
        }
    }
    Ok(out)
}

fn number(chunk: &[u8], at: usize) -> Reason<usize> {
    let bytes = at.checked_add(4).and_then(|end| chunk.get(at..end)).and_then(|b| <[u8; 4]>::try_from(b).ok());
    bytes.map(|b| u32::from_le_bytes(b) as usize).ok_or_else(|| "a Blosc chunk ends early".into())
}

/// One block, still shuffled: one stream, or one for each byte of a number.
fn one_block(chunk: &[u8], start: usize, length: usize, header: &Header) -> Reason<Vec<u8>> {
    let size = header.number_bytes;
    let is_split = header.is_split
        && size <= MOST_STREAMS
        && length == header.block
        && header.block / size >= LEAST_SPLIT
        && header.block.is_multiple_of(size);
    let streams = if is_split { size } else { 1 };
    let each = length / streams;
    let mut block = Vec::with_capacity(length);
    let mut at = start;
    for _ in 0..streams {
        let packed = number(chunk, at)?;
        at += 4;
        let end = at.checked_add(packed);
        let stream = end.and_then(|end| chunk.get(at..end)).ok_or("a Blosc chunk ends early")?;
        at += packed;
        if packed == each {
            block.extend_from_slice(stream);
        } else {
            block.extend(unpacked(stream, each, header.codec)?);
        }
    }
    Ok(block)
}

fn unpacked(stream: &[u8], expected: usize, codec: u8) -> Reason<Vec<u8>> {
    let bytes = match codec {
        1 => lz4_flex::block::decompress(stream, expected).map_err(|e| format!("LZ4: {e}"))?,
        3 => exactly(flate2::read::ZlibDecoder::new(stream), expected, "zlib")?,
        4 => zstd(stream, expected)?,
        0 | 2 => return Err("Blosc with BloscLZ or Snappy is not read: save it with LZ4, zstd or zlib".into()),
        other => return Err(format!("Blosc with the unknown codec {other}")),
    };
    if bytes.len() == expected { Ok(bytes) } else { Err(format!("{} bytes instead of {expected}", bytes.len())) }
}

/// zstd, of no more bytes than expected.
pub(crate) fn zstd(stream: &[u8], expected: usize) -> Reason<Vec<u8>> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(stream)
        .map_err(|_| "its zstd has no frame that can be read".to_string())?;
    exactly(decoder, expected, "zstd")
}

/// As many bytes as expected; one more is an error.
pub(crate) fn exactly(reader: impl std::io::Read, expected: usize, name: &str) -> Reason<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    match bytes.len() {
        n if n == expected => Ok(bytes),
        n if n > expected => Err(format!("{name}: more than {expected} bytes")),
        n => Err(format!("{name}: {n} bytes instead of {expected}")),
    }
}

/// Puts the bytes of each number back together: the first bytes of all numbers come first.
fn unshuffle(block: &[u8], size: usize, out: &mut Vec<u8>) {
    let n = block.len() / size;
    for i in 0..n {
        out.extend((0..size).map(|j| block[j * n + i]));
    }
    out.extend_from_slice(&block[n * size..]);
}

/// As [`unshuffle`] for bits: the lowest bits of the first bytes of all numbers come first.
fn unshuffle_bits(block: &[u8], size: usize, out: &mut Vec<u8>) {
    // Eight numbers at a time; the rest is as it was.
    let n = block.len() / size / 8 * 8;
    for i in 0..n {
        for j in 0..size {
            let bit = |b: usize| block[(j * 8 + b) * (n / 8) + i / 8] >> (i % 8) & 1;
            out.push((0..8).fold(0, |byte, b| byte | bit(b) << b));
        }
    }
    out.extend_from_slice(&block[n * size..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(flags: u8, size: u8, bytes: usize, block: usize, body: &[u8]) -> Vec<u8> {
        let mut out = vec![2, 1, flags, size];
        for n in [bytes, block, HEADER + body.len()] {
            out.extend((n as u32).to_le_bytes());
        }
        out.extend(body);
        out
    }

    fn stream(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
    }

    #[test]
    fn a_copy_and_a_shuffled_block_in_lz4_come_back() {
        assert_eq!(decode(&chunk(2, 1, 3, 3, &[7, 8, 9]), 3).unwrap(), [7, 8, 9]);
        // 300 numbers of two bytes, in one stream (not split), LZ4, shuffled.
        let numbers: Vec<u8> = (0..300u16).flat_map(|v| (v * 7).to_le_bytes()).collect();
        let shuffled: Vec<u8> = (0..2).flat_map(|j| numbers.iter().skip(j).step_by(2).copied()).collect();
        let packed = stream(&lz4_flex::block::compress(&shuffled));
        let body = [&20u32.to_le_bytes()[..], &packed].concat();
        let whole = chunk(1 | 16 | 1 << 5, 2, 600, 600, &body);
        assert_eq!(decode(&whole, 600).unwrap(), numbers);
        assert!(decode(&whole, 601).unwrap_err().contains("600 bytes instead of 601"));
        assert!(decode(&whole[..50], 600).unwrap_err().contains("ends early"));
        // Split into two streams, one of them stored as it is.
        let (low, high) = shuffled.split_at(300);
        let body = [&20u32.to_le_bytes()[..], &stream(low), &stream(&lz4_flex::block::compress(high))].concat();
        assert_eq!(decode(&chunk(1 | 1 << 5, 2, 600, 600, &body), 600).unwrap(), numbers);
        assert!(decode(&chunk(1, 2, 600, 600, &[&20u32.to_le_bytes()[..], &stream(&[1])].concat()), 600).is_err());
    }

    #[test]
    fn bits_are_put_back() {
        let numbers: Vec<u8> = (0..16u16).flat_map(|v| (v * 4099).to_le_bytes()).chain([9]).collect();
        let mut shuffled = vec![0u8; 32];
        for i in 0..16 {
            for bit in 0..16 {
                let value = numbers[2 * i + bit / 8] >> (bit % 8) & 1;
                shuffled[bit * 2 + i / 8] |= value << (i % 8);
            }
        }
        shuffled.push(9);
        let mut out = Vec::new();
        unshuffle_bits(&shuffled, 2, &mut out);
        assert_eq!(out, numbers);
    }
}
