//! Command line, measuring and output that the peers share.
//!
//! ```text
//! peer-NAME --point train:w16:b4:s128 [--threads 2] [--seconds 3] [--onnx FILE]
//! ```
//! prints one JSON line: `engine`, `point`, `threads`, `n`, `params`, `ms.min`, `ms.median`; or `skipped` with a reason.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

/// What is timed: the U-Net of base width `width` on `batch` square gray images of `size`, with two classes.
#[derive(Clone, Debug)]
pub struct Arguments {
    pub point: String,
    pub is_training: bool,
    pub width: usize,
    pub batch: usize,
    pub size: usize,
    pub threads: usize,
    /// Time to spend, about.
    pub seconds: f64,
    /// The network as ONNX, for the engines that read it.
    pub onnx: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line and tells rayon, before it starts, how many threads to use.
    ///
    /// # Panics
    /// When the command line is wrong.
    #[must_use]
    pub fn parse() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str| words.iter().position(|w| w == name).and_then(|k| words.get(k + 1)).cloned();
        let point = value("--point").expect("--point, for example train:w16:b4:s128");
        let parts: Vec<&str> = point.split(':').collect();
        let [mode, width, batch, size] = parts[..] else {
            panic!("expected for example train:w16:b4:s128, got {point}")
        };
        assert!(mode == "train" || mode == "infer", "expected train or infer, got {mode}");
        let number = |text: &str, letter: char| -> usize {
            text.strip_prefix(letter)
                .and_then(|t| t.parse().ok())
                .unwrap_or_else(|| panic!("{letter} and a number, not {text}"))
        };
        let threads = value("--threads").map_or(2, |t| t.parse().expect("--threads with a number"));
        // SAFETY: this is the only thread.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
        Self {
            is_training: mode == "train",
            width: number(width, 'w'),
            batch: number(batch, 'b'),
            size: number(size, 's'),
            threads,
            seconds: value("--seconds").map_or(3.0, |t| t.parse().expect("--seconds with a number")),
            onnx: value("--onnx").map(PathBuf::from),
            point,
        }
    }

    /// Parameters of the network, batch norm's means and variances not counted.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let conv = |inputs: usize, outputs: usize, area: usize| inputs * outputs * area + 3 * outputs;
        let mut sum = 2 * self.width + 2;
        for k in 0..=4 {
            let (inputs, outputs) = (if k == 0 { 1 } else { self.width << (k - 1) }, self.width << k);
            sum += conv(inputs, outputs, 9) + conv(outputs, outputs, 9);
            if k < 4 {
                sum += conv(2 * outputs, outputs, 4) + conv(2 * outputs, outputs, 9) + conv(outputs, outputs, 9);
            }
        }
        sum
    }

    /// Calls `step` twice to warm up and then for about the time asked for, at least three times; prints the result.
    ///
    /// # Panics
    /// When the network has not [`Arguments::parameters`].
    pub fn measure(&self, engine: &str, params: usize, mut step: impl FnMut()) {
        assert_eq!(params, self.parameters(), "the network is not the reference U-Net");
        step();
        step();
        let (begin, mut ms) = (Instant::now(), Vec::new());
        while ms.len() < 3 || begin.elapsed().as_secs_f64() < self.seconds {
            let start = Instant::now();
            step();
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        ms.sort_by(f64::total_cmp);
        let median = (ms[(ms.len() - 1) / 2] + ms[ms.len() / 2]) / 2.0;
        let ms = json!({"min": ms[0], "median": median, "n": ms.len()});
        println!(
            "{}",
            json!({"engine": engine, "point": self.point, "threads": self.threads, "params": params, "n": ms["n"],
            "ms": {"min": ms["min"], "median": ms["median"]}})
        );
    }

    /// Says why nothing was timed.
    pub fn skip(&self, engine: &str, reason: &str) {
        println!("{}", json!({"engine": engine, "point": self.point, "skipped": reason}));
    }
}
