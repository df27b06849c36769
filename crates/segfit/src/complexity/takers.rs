//! The samples that take part in the ridge probe, found while they come: at most [`PROBE_IMAGES`] are kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::filter_bank::Responses;
use super::probe::PROBE_IMAGES;

/// The place of a name in the draw: as [`probed`](super::probed) does, the lowest BLAKE3 hashes take part.
type Rank = ([u8; 32], String);

/// What is known of a sample that takes part.
#[derive(Clone, Debug)]
pub(super) struct Taker {
    /// Its image's position in the data set.
    pub image: usize,
    /// Its image's source.
    pub source: String,
    /// What its values are kept under in a cache.
    pub key: [u8; 32],
    /// Its filter responses.
    pub part: Part,
}

/// The filter responses of a sample.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// Its values came from a cache: the responses are made if the probe turns out to need them.
    Later,
    /// They are known; `None` where the image is too small to have any.
    Made(Option<Responses>),
}

/// The samples of lowest rank among those that came so far, from any thread.
///
/// Which samples remain depends on the names alone. When all names are known beforehand, nothing is made in vain.
#[derive(Debug, Default)]
pub(super) struct Takers {
    /// The last rank that takes part, where the names are known beforehand.
    last: Option<Rank>,
    kept: Mutex<BTreeMap<Rank, Taker>>,
}

impl Takers {
    /// When no other samples than these can come.
    pub fn among<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut ranks: Vec<Rank> = names.map(rank).collect();
        ranks.sort_unstable();
        Self { last: ranks.into_iter().nth(PROBE_IMAGES - 1), kept: Mutex::default() }
    }

    /// Whether a sample takes part as far as is known.
    pub fn wants(&self, name: &str) -> bool {
        let rank = rank(name);
        if self.last.as_ref().is_some_and(|last| rank > *last) {
            return false;
        }
        let kept = self.kept();
        kept.len() < PROBE_IMAGES || kept.last_key_value().is_some_and(|(last, _)| rank <= *last)
    }

    /// Adds a sample, in the place of one of the same name.
    pub fn add(&self, name: &str, taker: Taker) {
        let mut kept = self.kept();
        kept.insert(rank(name), taker);
        if kept.len() > PROBE_IMAGES {
            kept.pop_last();
        }
    }

    /// The samples that take part, by name; none are left behind.
    pub fn take(&self) -> BTreeMap<String, Taker> {
        std::mem::take(&mut *self.kept()).into_iter().map(|((_, name), taker)| (name, taker)).collect()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Rank, Taker>> {
        self.kept.lock().expect("nothing panics while it is locked")
    }
}

fn rank(name: &str) -> Rank {
    (*blake3::hash(name.as_bytes()).as_bytes(), name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::probed;

    #[test]
    fn the_same_samples_remain_as_when_all_names_are_known_in_any_order() {
        let names: Vec<String> = (0..3 * PROBE_IMAGES).map(|i| format!("i{i}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut wanted: Vec<&str> = all.iter().zip(probed(&all)).filter(|(_, p)| *p).map(|(n, _)| *n).collect();
        wanted.sort_unstable();
        let taker = || Taker { image: 0, source: "s".into(), key: [0; 32], part: Part::Later };
        for (takers, order) in [
            (Takers::default(), all.clone()),
            (Takers::default(), all.iter().rev().copied().collect()),
            (Takers::among(all.iter().copied()), all.clone()),
        ] {
            let known = takers.last.is_some();
            let mut made = 0;
            for name in order {
                if takers.wants(name) {
                    takers.add(name, taker());
                    made += 1;
                }
            }
            assert_eq!(takers.take().keys().map(String::as_str).collect::<Vec<_>>(), wanted);
            assert_eq!(known, made == PROBE_IMAGES, "{made}");
        }
    }
}
