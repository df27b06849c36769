//! The kernels' source.

/// CUDA C++, for one compilation by NVRTC.
pub const SOURCE: &str = concat!(
    include_str!("kernels/common.cu"),
    include_str!("kernels/convolve.cu"),
    include_str!("kernels/norm.cu"),
    include_str!("kernels/plain.cu"),
    include_str!("kernels/resample.cu"),
    include_str!("kernels/loss.cu"),
    include_str!("kernels/update.cu"),
);

/// Threads of a block, `THREADS` in the source.
pub const THREADS: usize = 256;

/// Pixels of a block that changes every value by itself, `CHUNK` in the source.
pub(super) const CHUNK: usize = 1024;

/// Pixels of a block that sums a plane, `PART` in the source.
pub(super) const PART: usize = 4096;

/// Pixels of a block that sums the loss, `LOSS_PIXELS` in the source.
pub(super) const LOSS_PIXELS: usize = 1024;

/// The names of all kernels.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let definitions = SOURCE.lines().filter(|line| line.starts_with("KERNEL("));
    definitions.filter_map(|line| line["KERNEL(".len()..].split(',').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_of_blocks_are_those_of_the_source() {
        for (name, value) in [("THREADS", THREADS), ("CHUNK", CHUNK), ("PART", PART), ("LOSS_PIXELS", LOSS_PIXELS)] {
            assert!(SOURCE.contains(&format!("#define {name} {value}\n")), "{name}");
        }
    }

    #[test]
    fn every_kernel_has_a_name_of_its_own() {
        let mut all = names();
        assert!(all.contains(&"convolve_64") && all.contains(&"adam_w"), "{all:?}");
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
