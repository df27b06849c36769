//! What the pipeline of measures asks of a data set: one pair of image and mask at a time.

use crate::data::{Dataset, Image, Sample};
use crate::error::Result;
use crate::recipe::InputSpec;

/// Pairs of image and mask that are read one by one, from any thread.
pub(super) trait Pairs: Sync {
    /// The pair's name.
    fn name(&self, index: usize) -> &str;

    /// What its image was taken from.
    fn source(&self, index: usize) -> &str;

    /// A hash of all that its image, classes and instances depend on.
    fn content(&self, index: usize) -> [u8; 32];

    /// Decodes the pair once: `original` gets the image as decoded, where it is in memory as a whole, then `each` its
    /// samples as the network sees them: the resized one, or the tiles, which are named after the pair.
    fn decode(
        &self,
        index: usize,
        input: &InputSpec,
        original: &mut dyn FnMut(&Image) -> Result<()>,
        each: &mut dyn FnMut(Sample) -> Result<()>,
    ) -> Result<()>;
}

impl Pairs for Dataset {
    fn name(&self, index: usize) -> &str {
        &self.pairs[index].name
    }

    fn source(&self, index: usize) -> &str {
        &self.pairs[index].source
    }

    fn content(&self, index: usize) -> [u8; 32] {
        self.content_hash(index)
    }

    fn decode(
        &self,
        index: usize,
        input: &InputSpec,
        original: &mut dyn FnMut(&Image) -> Result<()>,
        each: &mut dyn FnMut(Sample) -> Result<()>,
    ) -> Result<()> {
        self.for_each_with_original(index, input, original, each)
    }
}
