//! Which images stand for a data set that is too large to be measured whole.

use serde::{Deserialize, Serialize};

/// That only some images of a split were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledImages {
    /// Images that were measured.
    pub n: usize,
    /// Images of the split.
    pub of: usize,
    /// Seed of the choice.
    pub seed: u64,
}

/// Whether each image is among the `n` whose BLAKE3 hash of seed and name is smallest; all of them when there are no
/// more.
///
/// The choice depends on the names and the seed alone, not on the order. Samples of one seed are nested: the 5 images
/// of a sample are among the 10 of a larger one, and an image stays in when others are removed.
///
/// ```
/// let names = ["a", "b", "c", "d"];
/// let two = segfit::complexity::sampled(&names, 2, 0);
/// assert_eq!(two.iter().filter(|&&taken| taken).count(), 2);
/// assert_eq!(segfit::complexity::sampled(&names, 9, 0), [true; 4]);
/// ```
#[must_use]
pub fn sampled(names: &[&str], n: usize, seed: u64) -> Vec<bool> {
    let hash =
        |name: &str| *blake3::Hasher::new().update(&seed.to_le_bytes()).update(name.as_bytes()).finalize().as_bytes();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|&i| (hash(names[i]), names[i]));
    let mut taken = vec![false; names.len()];
    order.iter().take(n).for_each(|&i| taken[i] = true);
    taken
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn samples_are_nested_and_depend_on_the_seed_but_not_on_the_order() {
        let names: Vec<String> = (0..100).map(|i| format!("image{i}")).collect();
        let forward: Vec<&str> = names.iter().map(String::as_str).collect();
        let backward: Vec<&str> = forward.iter().rev().copied().collect();
        let chosen = |names: &[&str], n, seed| -> BTreeSet<String> {
            let taken = sampled(names, n, seed);
            names.iter().zip(taken).filter(|(_, taken)| *taken).map(|(n, _)| (*n).to_string()).collect()
        };
        let ten = chosen(&forward, 10, 3);
        assert_eq!(ten.len(), 10);
        assert_eq!(chosen(&backward, 10, 3), ten);
        assert!(chosen(&forward, 5, 3).is_subset(&ten) && ten.is_subset(&chosen(&forward, 60, 3)));
        assert_ne!(chosen(&forward, 10, 4), ten);
    }
}
