//! Otsu's threshold.

/// The threshold t of 8-bit values that best splits them into `value < t` and `value >= t`, 1 to 255.
///
/// Best is the largest variance between the two sides, n0 n1 (mean1 - mean0)^2; the lowest t of equals. `None` when all
/// values are equal or there are none.
///
/// ```
/// assert_eq!(segfit::complexity::otsu_threshold(&[10, 12, 200, 210]), Some(13));
/// ```
///
/// Source: Otsu, A threshold selection method from gray-level histograms, 1979.
#[must_use]
pub fn otsu_threshold(bytes: &[u8]) -> Option<u8> {
    // Neighbours are often equal: with four counts of a value, no addition waits for the one before.
    let mut parts = [[0_u64; 4]; 256];
    for pixels in bytes.chunks(4) {
        pixels.iter().enumerate().for_each(|(k, &b)| parts[usize::from(b)][k] += 1);
    }
    let counts = parts.map(|p| p.iter().sum::<u64>());
    let total = bytes.len() as u64;
    let sum: u64 = counts.iter().enumerate().map(|(v, &c)| v as u64 * c).sum();
    let (mut below, mut sum_below) = (0, 0);
    let mut best = (0.0, None);
    for t in 1..=255_u8 {
        let value = u64::from(t) - 1;
        below += counts[value as usize];
        sum_below += value * counts[value as usize];
        if below == 0 || below == total {
            continue;
        }
        let above = (total - below) as f64;
        let apart = (sum - sum_below) as f64 / above - sum_below as f64 / below as f64;
        let between = below as f64 * above * apart * apart;
        if between > best.0 {
            best = (between, Some(t));
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_groups_are_split_just_above_the_lower_one() {
        assert_eq!(otsu_threshold(&[0, 0, 0, 255]), Some(1));
        assert_eq!(otsu_threshold(&[0, 1, 2, 100, 101, 102]), Some(3));
        assert_eq!(otsu_threshold(&[9; 5]), None);
        assert_eq!(otsu_threshold(&[]), None);
    }
}
