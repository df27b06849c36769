//! What is in memory: planar images and class masks.

/// An image, planar: `data[(c * height + y) * width + x]`.
///
/// Integer files are mapped to [0, 1] by the largest value of their type (255, 65535); floating-point files keep
/// their values.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Number of channels, at least 1.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels * height * width` values.
    pub data: Vec<f32>,
}

/// Class indices of one image: `data[y * width + x]`, 0 is background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` class indices.
    pub data: Vec<u8>,
}

/// One image with its mask, as loaded or as prepared for the network.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The image's file stem (unique within a data set).
    pub name: String,
    /// The image.
    pub image: Image,
    /// Its classes, same height and width.
    pub mask: Mask,
    /// Instance labels where the mask file held them (0 is background), same height and width.
    pub instances: Option<Vec<u32>>,
}

impl Image {
    /// A constant image.
    #[must_use]
    pub fn filled(channels: usize, height: usize, width: usize, value: f32) -> Self {
        Self { channels, height, width, data: vec![value; channels * height * width] }
    }

    /// One channel, row by row.
    #[must_use]
    pub fn plane(&self, channel: usize) -> &[f32] {
        let n = self.height * self.width;
        &self.data[channel * n..(channel + 1) * n]
    }

    /// Luma: the plane itself for one channel; 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) for three or four; the mean
    /// of all channels otherwise.
    #[must_use]
    pub fn gray(&self) -> Vec<f32> {
        match self.channels {
            1 => self.data.clone(),
            3 | 4 => {
                let (r, g, b) = (self.plane(0), self.plane(1), self.plane(2));
                (0..r.len()).map(|i| 0.299 * r[i] + 0.587 * g[i] + 0.114 * b[i]).collect()
            }
            n => {
                let scale = 1.0 / n as f32;
                (0..self.height * self.width).map(|i| (0..n).map(|c| self.plane(c)[i]).sum::<f32>() * scale).collect()
            }
        }
    }
}

impl Mask {
    /// A mask of background only.
    #[must_use]
    pub fn background(height: usize, width: usize) -> Self {
        Self { height, width, data: vec![0; height * width] }
    }

    /// Share of pixels of class 1 or higher, in [0, 1].
    #[must_use]
    pub fn foreground_fraction(&self) -> f64 {
        let n = self.data.iter().filter(|&&c| c > 0).count();
        n as f64 / self.data.len().max(1) as f64
    }
}
