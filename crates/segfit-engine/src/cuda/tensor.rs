//! Where a tensor lies in the device's memory.

/// `[batch][channels][height][width]`, dense but for the distance between images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    /// Of the first value, in bytes.
    pub address: u64,
    /// Floats from one image to the next.
    pub image: usize,
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Tensor {
    /// A tensor without gaps.
    pub fn dense(address: u64, batch: usize, channels: usize, (height, width): (usize, usize)) -> Self {
        Self { address, image: channels * height * width, batch, channels, height, width }
    }

    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub fn planes(&self) -> usize {
        self.batch * self.channels
    }

    pub fn values(&self) -> usize {
        self.planes() * self.pixels()
    }
}
