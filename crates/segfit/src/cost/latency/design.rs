//! Which networks are measured for a table.
//!
//! How long a step takes depends also on what the steps before it left in the caches. So the networks look like those that a
//! plan may choose: an overall width, evenly spread over the octaves; a bend over the depth; a decoder that is wider or
//! narrower; and every group up to half an octave off, so that all steps meet many pairs of channels.

use crate::error::Result;
use crate::network::{GroupKind, NetworkSpec, Widths};
use crate::random::Stream;

/// `count` networks with the layers of `full`, from one channel to those of `full` in every group: first the widest, then the
/// narrowest, then `count` - 2 drawn ones. The same seed gives the same networks.
///
/// # Errors
/// When `full` does not fit together.
pub fn networks_to_measure(full: &NetworkSpec, count: usize, seed: u64) -> Result<Vec<NetworkSpec>> {
    let groups = groups(full)?;
    let widest = groups.iter().map(|g| (g.name.clone(), g.most)).collect();
    let narrowest = groups.iter().map(|g| (g.name.clone(), g.multiple)).collect();
    let drawn = (2..count).map(|k| draw(&groups, k - 2, seed));
    [widest, narrowest].into_iter().chain(drawn).take(count).map(|widths: Widths| full.with_widths(&widths)).collect()
}

/// A short name that differs for other networks or other words: for files that keep tables.
#[must_use]
pub fn name_of_networks(full: &[NetworkSpec], words: &[&str]) -> String {
    let mut hash = blake3::Hasher::new();
    let json = serde_json::to_vec(&(full, words)).expect("plain values become JSON");
    hash.update(&json);
    hash.finalize().to_hex()[..16].into()
}

struct Group {
    name: String,
    most: usize,
    /// Its channels are multiples of this.
    multiple: usize,
    /// Octaves above the narrowest group of the full network.
    octaves: f64,
    /// Whether its first layer stands behind the smallest tensor.
    decodes: bool,
}

fn groups(full: &NetworkSpec) -> Result<Vec<Group>> {
    let shapes = full.smallest_shapes()?;
    let multiples = full.channel_multiples()?;
    let smallest = shapes.tensors.iter().map(|t| t.pixels()).min().unwrap_or(0);
    let turn = shapes.tensors.iter().rposition(|t| t.pixels() == smallest).unwrap_or(0);
    let free = || full.groups.iter().zip(multiples.iter()).filter(|(g, _)| g.kind == GroupKind::Free);
    let least = free().map(|(g, _)| g.channels).min().unwrap_or(1) as f64;
    let group = |(g, &multiple): (&crate::network::Group, &usize)| Group {
        name: g.name.clone(),
        most: g.channels,
        multiple,
        octaves: (g.channels as f64 / least).log2(),
        decodes: full.layers.iter().position(|l| l.op.group() == Some(&g.name)).is_some_and(|first| first > turn),
    };
    Ok(free().map(group).collect())
}

/// Channels of the `k`-th drawn network.
fn draw(groups: &[Group], k: usize, seed: u64) -> Widths {
    /// Fractional part of the golden ratio: its multiples fill an interval evenly.
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let mut stream = Stream::new(&[seed, 0x1a7e, k as u64]);
    let mut bend = |low: f32, high: f32| {
        let (is_straight, amount) = (stream.unit() < 0.4, stream.range(low, high));
        if is_straight { 0.0 } else { f64::from(amount) }
    };
    let (slope, ratio) = (bend(-1.0, 0.3), bend(-1.0, 0.5));
    let narrowest = groups.iter().map(|g| g.most).min().unwrap_or(1) as f64;
    let octaves = narrowest.log2() + 0.5;
    let base = (octaves * ((k as f64 + 0.5) * GOLDEN).fract() - 0.5).exp2();
    let channels = |g: &Group| {
        let jitter = f64::from(stream.range(-0.5, 0.5));
        let bent = g.octaves * (1.0 + slope) + if g.decodes { ratio } else { 0.0 } + jitter;
        let multiples = (base * bent.exp2() / g.multiple as f64).round().max(1.0) as usize;
        (multiples * g.multiple).min(g.most)
    };
    groups.iter().map(|g| g.name.clone()).zip(groups.iter().map(channels).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{Options, unet};

    #[test]
    fn drawn_networks_reach_from_one_channel_to_all_and_differ() {
        let full = unet(&Options { base_width: 32, depth: 3, ..Options::default() }).unwrap();
        let networks = networks_to_measure(&full, 40, 7).unwrap();
        assert_eq!(networks.len(), 40);
        assert_eq!(networks[0], full);
        assert!(networks[1].widths().values().all(|&c| c == 1));
        let of = |name: &str| networks.iter().map(|n| n.widths()[name]).collect::<std::collections::BTreeSet<_>>();
        assert!(of("enc0").len() > 12 && of("dec2").len() > 15, "{:?} {:?}", of("enc0"), of("dec2"));
        assert!(of("enc3").iter().all(|&c| c <= 256));
        assert_eq!(networks_to_measure(&full, 40, 7).unwrap(), networks, "the same seed, the same networks");
        assert_ne!(networks_to_measure(&full, 40, 8).unwrap(), networks);
        assert_eq!(networks_to_measure(&full, 1, 7).unwrap(), networks[..1]);
        assert_ne!(name_of_networks(&networks[..1], &["a"]), name_of_networks(&networks[1..2], &["a"]));
        assert_ne!(name_of_networks(&networks[..1], &["a"]), name_of_networks(&networks[..1], &["b"]));
    }

    #[test]
    fn what_stands_behind_the_smallest_tensor_decodes() {
        let full = unet(&Options { base_width: 8, depth: 2, ..Options::default() }).unwrap();
        let names = |decodes: bool| -> Vec<String> {
            groups(&full).unwrap().into_iter().filter(|g| g.decodes == decodes).map(|g| g.name).collect()
        };
        assert_eq!(names(false), ["enc0", "enc1", "enc2"]);
        assert_eq!(names(true), ["up1", "dec1", "up0", "dec0"]);
    }
}
