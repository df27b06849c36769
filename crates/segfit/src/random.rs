//! A counter-based random generator: every draw is a pure function of a key and a position, so that results do
//! not depend on the order of work, on the number of threads or on the device.

/// A stream of random numbers, named by up to four integers (for example seed, epoch, sample, purpose).
///
/// The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), applied to the key and then
/// to key + counter * golden ratio.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    counter: u64,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Stream {
    /// The stream that belongs to `names`; equal names give equal streams.
    #[must_use]
    pub fn new(names: &[u64]) -> Self {
        let key = names.iter().fold(GOLDEN, |k, &n| mix(k.wrapping_add(GOLDEN) ^ mix(n.wrapping_add(GOLDEN))));
        Self { key, counter: 0 }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        mix(self.key.wrapping_add(self.counter.wrapping_mul(GOLDEN)))
    }

    /// Uniform in [0, 1), with 24 bits.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 16_777_216.0
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in [0, n); 0 when n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box-Muller, one draw of two).
    pub fn normal(&mut self) -> f32 {
        let u = 1.0 - self.unit();
        let v = self.unit();
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }

    /// A uniform permutation of 0..n (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_the_same_name_agree_and_of_other_names_differ() {
        let draw = |names: &[u64]| Stream::new(names).bits();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[1]), draw(&[1, 0]));
    }

    #[test]
    fn draws_have_the_moments_of_their_distribution() {
        let mut s = Stream::new(&[7]);
        let n = 100_000;
        let mean = (0..n).map(|_| f64::from(s.unit())).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        let z: Vec<f64> = (0..n).map(|_| f64::from(s.normal())).collect();
        let var = z.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        assert!((var - 1.0).abs() < 0.02, "{var}");
        let mut p = s.permutation(50);
        p.sort_unstable();
        assert_eq!(p, (0..50).collect::<Vec<_>>());
    }
}
