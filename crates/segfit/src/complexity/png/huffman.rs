//! Lengths of Huffman codes, and what the codes cost in deflate.

/// Lengths of an optimal code of at most `longest` bits for symbols of these counts; 0 for symbols that do not occur.
///
/// At least two symbols get a code (the first ones, where they do not occur), as deflate's decoders want it. A code that
/// would be too long is shortened as in zlib.
pub fn code_lengths(counts: &[u32], longest: usize) -> Vec<u8> {
    let mut symbols: Vec<(u32, usize)> = (0..counts.len()).filter(|&s| counts[s] > 0).map(|s| (counts[s], s)).collect();
    for s in (0..counts.len()).filter(|&s| counts[s] == 0) {
        if symbols.len() >= 2 {
            break;
        }
        symbols.push((1, s));
    }
    symbols.sort_unstable();
    let sorted: Vec<u32> = symbols.iter().map(|&(count, _)| count).collect();
    let mut per_length = limited(&depths(&sorted), longest);
    // The rarest symbols take the longest codes.
    let mut lengths = vec![0; counts.len()];
    let mut length = longest;
    for (_, symbol) in symbols {
        while per_length[length] == 0 {
            length -= 1;
        }
        per_length[length] -= 1;
        lengths[symbol] = length as u8;
    }
    lengths
}

/// Depth of each leaf in the Huffman tree of ascending counts, at least two.
fn depths(counts: &[u32]) -> Vec<usize> {
    let n = counts.len();
    let mut weights = counts.to_vec();
    let mut parents = vec![0; 2 * n - 1];
    // Joined nodes arise in ascending order, so that the lightest node is the next leaf or the next joined node.
    let (mut leaf, mut joined) = (0, n);
    for node in n..2 * n - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let take =
                if leaf < n && (joined >= node || weights[leaf] <= weights[joined]) { &mut leaf } else { &mut joined };
            weight += weights[*take];
            parents[*take] = node;
            *take += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * n - 1];
    for node in (0..2 * n - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
    }
    depths.truncate(n);
    depths
}

/// Number of codes of each length, none above `longest`.
fn limited(depths: &[usize], longest: usize) -> Vec<usize> {
    let mut per_length = vec![0; longest + 1];
    depths.iter().for_each(|&d| per_length[d.min(longest)] += 1);
    // In units of the longest code: a complete code fills exactly 2^longest.
    let mut filled: usize = (1..=longest).map(|l| per_length[l] << (longest - l)).sum();
    while filled > 1 << longest {
        // A leaf above the last level becomes a node that takes one leaf of the last level beside it.
        let Some(leaf) = (1..longest).rev().find(|&l| per_length[l] > 0) else { break };
        per_length[leaf] -= 1;
        per_length[leaf + 1] += 2;
        per_length[longest] -= 1;
        filled -= 1;
    }
    per_length
}

/// The order in which deflate writes the lengths of the codes for code lengths; the last that are 0 are left out.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bits of a block's description of its codes for literals and distances.
pub fn header_bits(literals: &[u8], distances: &[u8]) -> u64 {
    let mut counts = [0; 19];
    let mut extra = 0;
    for (lengths, least) in [(literals, 257), (distances, 1)] {
        let used = lengths.iter().rposition(|&l| l > 0).map_or(least, |last| (last + 1).max(least));
        for run in lengths[..used].chunk_by(|a, b| a == b) {
            extra += count_run(usize::from(run[0]), run.len(), &mut counts);
        }
    }
    let codes = code_lengths(&counts, 7);
    let written = ORDER.iter().rposition(|&s| codes[s] > 0).map_or(4, |last| (last + 1).max(4));
    let coded: u64 = counts.iter().zip(&codes).map(|(&n, &l)| u64::from(n) * u64::from(l)).sum();
    5 + 5 + 4 + 3 * written as u64 + coded + extra
}

/// Counts the symbols that stand for a run of equal lengths; returns the bits that follow the symbols.
fn count_run(value: usize, mut run: usize, counts: &mut [u32; 19]) -> u64 {
    let mut extra = 0;
    if value > 0 {
        // The first is written, the others may repeat it.
        counts[value] += 1;
        run -= 1;
    }
    while run > 0 {
        let (part, symbol, bits) = match (value, run) {
            (_, 1 | 2) => (1, value, 0),
            (0, 3..=10) => (run, 17, 3),
            (0, _) => (run.min(138), 18, 7),
            _ => (run.min(6), 16, 2),
        };
        counts[symbol] += 1;
        extra += bits;
        run -= part;
    }
    extra
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_symbols_have_short_codes() {
        assert_eq!(code_lengths(&[1, 0, 1, 2, 4], 15), [3, 0, 3, 2, 1]);
        assert_eq!(code_lengths(&[5, 5, 5, 5], 15), [2; 4]);
    }

    #[test]
    fn a_single_symbol_gets_a_companion() {
        assert_eq!(code_lengths(&[0, 0, 9], 15), [1, 0, 1]);
        assert_eq!(code_lengths(&[0, 0, 0], 15), [1, 1, 0]);
    }

    #[test]
    fn a_limited_code_is_complete() {
        // Fibonacci numbers give the deepest tree: 12 symbols, 11 bits.
        let counts = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144];
        assert_eq!(code_lengths(&counts, 15).iter().max(), Some(&11));
        let short = code_lengths(&counts, 7);
        assert_eq!(short.iter().max(), Some(&7));
        assert_eq!(short.iter().map(|&l| 1 << (7 - l)).sum::<u32>(), 128);
    }

    #[test]
    fn runs_are_counted_by_the_symbols_that_repeat() {
        let of = |value, run| {
            let mut counts = [0; 19];
            let extra = count_run(value, run, &mut counts);
            ((0..19).filter(|&s| counts[s] > 0).map(|s| (s, counts[s])).collect::<Vec<_>>(), extra)
        };
        assert_eq!(of(0, 2), (vec![(0, 2)], 0));
        assert_eq!(of(0, 145), (vec![(17, 1), (18, 1)], 10));
        assert_eq!(of(8, 3), (vec![(8, 3)], 0));
        assert_eq!(of(8, 8), (vec![(8, 2), (16, 1)], 2));
    }
}
