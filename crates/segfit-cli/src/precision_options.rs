//! `--precision`: the numbers that a network is run with.

use segfit_engine::backend::Precision;

/// Images that int8 is calibrated on, at most.
const MOST_CALIBRATION_IMAGES: usize = 16;

/// Up to 16 things, evenly spread over all of them.
pub fn some_of<T: Clone>(all: &[T]) -> Vec<T> {
    let count = all.len().min(MOST_CALIBRATION_IMAGES);
    (0..count).map(|i| all[i * all.len() / count].clone()).collect()
}

/// The numbers that inference computes with
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PrecisionOptions {
    /// Numbers that the network computes with
    #[arg(long, value_enum, default_value_t = PrecisionName::F32)]
    pub precision: PrecisionName,
}

/// A precision's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PrecisionName {
    /// 32-bit floats
    F32,
    /// 16-bit floats with 8 significant bits, summed in 32 bits
    Bf16,
    /// 8-bit integers, whose ranges are calibrated on images
    Int8,
}

impl PrecisionOptions {
    /// A file of the run folder that belongs to this precision: `metrics.json`, but `metrics.int8.json`.
    pub fn file(self, stem: &str, ending: &str) -> String {
        match self.engine() {
            Precision::F32 => format!("{stem}.{ending}"),
            other => format!("{stem}.{}.{ending}", other.name()),
        }
    }

    /// The engine's name of it.
    pub fn engine(self) -> Precision {
        match self.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Bf16 => Precision::Bf16,
            PrecisionName::Int8 => Precision::Int8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibration_images_are_spread_over_all() {
        let all: Vec<usize> = (0..40).collect();
        let some = some_of(&all);
        assert_eq!((some.len(), some[0], some[1], some[15]), (16, 0, 2, 37));
        assert_eq!(some_of(&all[..3]), [0, 1, 2]);
        assert!(some_of::<usize>(&[]).is_empty());
    }

    #[test]
    fn only_f32_owns_the_plain_file_names() {
        let file = |precision| PrecisionOptions { precision }.file("metrics", "json");
        assert_eq!(file(PrecisionName::F32), "metrics.json");
        assert_eq!(file(PrecisionName::Int8), "metrics.int8.json");
    }
}
