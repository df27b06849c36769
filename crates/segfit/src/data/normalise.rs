//! Zero mean and unit deviation per channel, with the training images' statistics.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::image::{Image, Sample};

/// Per-channel statistics of the training images; [`Normalisation::apply`] gives (value - mean) / std.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Mean of each channel over all pixels of all images.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel over the same; 1 for a channel that is practically constant.
    pub std: Vec<f32>,
}

/// A channel whose deviation is below this share of its largest absolute value counts as constant.
const CONSTANT: f64 = 1e-6;

impl Normalisation {
    /// The statistics of these samples, all pixels of all images weighing the same.
    ///
    /// Sums are in f64, pixel by pixel and then image by image in the order given, so that the result has the same bits
    /// for any number of threads.
    ///
    /// # Panics
    /// When there is no sample, or the samples differ in their number of channels.
    #[must_use]
    pub fn fit(samples: &[Sample]) -> Self {
        let channels = samples[0].image.channels;
        assert!(samples.iter().all(|s| s.image.channels == channels), "all images must have {channels} channels");
        let pixels: usize = samples.iter().map(|s| s.image.height * s.image.width).sum();
        let mut fitted = Self { mean: vec![], std: vec![] };
        for c in 0..channels {
            let total = |f: &(dyn Fn(f64) -> f64 + Sync)| -> f64 {
                let one = |s: &Sample| s.image.plane(c).iter().map(|&v| f(f64::from(v))).sum::<f64>();
                samples.par_iter().map(one).collect::<Vec<f64>>().iter().sum::<f64>() / pixels as f64
            };
            let mean = total(&|v| v);
            let std = total(&|v| (v - mean) * (v - mean)).sqrt();
            let values = samples.iter().flat_map(|s| s.image.plane(c));
            let largest = f64::from(values.fold(0f32, |m, v| m.max(v.abs())));
            fitted.mean.push(mean as f32);
            fitted.std.push(if std > CONSTANT * largest { std as f32 } else { 1.0 });
        }
        fitted
    }

    /// Fails when statistics that were read from a file are not for images of this many channels, or no numbers to divide by.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self, channels: usize) -> Result<(), String> {
        if self.mean.len() != channels || self.std.len() != channels {
            let (mean, std) = (self.mean.len(), self.std.len());
            return Err(format!("the statistics of {mean} and {std} channel(s), the image has {channels}"));
        }
        match self.mean.iter().chain(&self.std).find(|v| !v.is_finite()).or(self.std.iter().find(|v| **v <= 0.0)) {
            Some(v) => Err(format!("a mean or deviation of {v}")),
            None => Ok(()),
        }
    }

    /// Normalises the image in place.
    ///
    /// # Panics
    /// When the image has another number of channels.
    pub fn apply(&self, image: &mut Image) {
        assert_eq!(self.mean.len(), image.channels, "the statistics are of another number of channels");
        let n = image.height * image.width;
        for (c, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            image.data[c * n..(c + 1) * n].iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::image::Mask;
    use super::*;

    fn sample(channels: usize, data: Vec<f32>) -> Sample {
        let width = data.len() / channels;
        let image = Image { channels, height: 1, width, data };
        Sample { name: String::new(), image, mask: Mask::background(1, width), instances: None }
    }

    #[test]
    fn statistics_that_do_not_fit_are_refused() {
        let of = |mean: &[f32], std: &[f32]| Normalisation { mean: mean.into(), std: std.into() }.check(2);
        assert_eq!(of(&[0.0, 1.0], &[1.0, 2.0]), Ok(()));
        assert!(of(&[0.0], &[1.0]).unwrap_err().contains("1 and 1 channel(s)"));
        assert!(of(&[0.0, 1.0], &[1.0]).is_err());
        assert!(of(&[0.0, 1.0], &[1.0, 0.0]).unwrap_err().contains("deviation of 0"));
        assert!(of(&[0.0, f32::NAN], &[1.0, 1.0]).is_err());
    }

    #[test]
    fn two_small_images_by_hand() {
        // Channel 0 holds 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5. Channel 1 is constant.
        let samples = [sample(2, vec![1.0, 3.0, 0.5, 0.5]), sample(2, vec![5.0, 7.0, 0.5, 0.5])];
        let n = Normalisation::fit(&samples);
        assert_eq!(n, Normalisation { mean: vec![4.0, 0.5], std: vec![5f32.sqrt(), 1.0] });
        let mut image = samples[1].image.clone();
        n.apply(&mut image);
        assert_eq!(image.data, [1.0 / 5f32.sqrt(), 3.0 / 5f32.sqrt(), 0.0, 0.0]);
        let back: Normalisation = serde_json::from_str(&serde_json::to_string(&n).unwrap()).unwrap();
        assert_eq!(back, n);
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let samples: Vec<Sample> =
            (0..40).map(|i| sample(1, (0..999).map(|j| ((i * j) as f32 * 0.37).sin()).collect())).collect();
        let with = |n| {
            rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(|| Normalisation::fit(&samples))
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn a_dim_sixteen_bit_channel_is_not_taken_for_constant() {
        let n = Normalisation::fit(&[sample(1, vec![200.0 / 65535.0, 203.0 / 65535.0])]);
        assert!((n.std[0] - 1.5 / 65535.0).abs() < 1e-8, "{n:?}");
    }
}
