//! What the pipeline of measures asks of a data set: one pair of image and mask at a time.

use crate::data::{Dataset, Image, Sample, prepare};
use crate::error::{Error, Result};
use crate::recipe::{InputMode, InputSpec};

use super::tiles::tiles;

/// Pairs of image and mask that are read one by one, from any thread.
pub(super) trait Pairs: Sync {
    /// The pair's name.
    fn name(&self, index: usize) -> &str;

    /// What its image was taken from.
    fn source(&self, index: usize) -> &str;

    /// A hash of the bytes of its files.
    fn content(&self, index: usize) -> Result<[u8; 32]>;

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

    fn content(&self, index: usize) -> Result<[u8; 32]> {
        let pair = &self.pairs[index];
        let images = pair.image_files().map(|path| ("image", path));
        let mut hasher = blake3::Hasher::new();
        for (role, path) in images.chain(pair.mask.iter().map(|path| ("mask", path.as_path()))) {
            let bytes = std::fs::read(path).map_err(Error::io(path))?;
            hasher.update(role.as_bytes()).update(blake3::hash(&bytes).as_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn decode(
        &self,
        index: usize,
        input: &InputSpec,
        original: &mut dyn FnMut(&Image) -> Result<()>,
        each: &mut dyn FnMut(Sample) -> Result<()>,
    ) -> Result<()> {
        for sample in self.load(&[index])? {
            original(&sample.image)?;
            prepared(&sample, input).into_iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }
}

/// A sample as the network sees it, resized or in tiles.
pub(super) fn prepared(sample: &Sample, input: &InputSpec) -> Vec<Sample> {
    match input.mode {
        InputMode::Resize => prepare(std::slice::from_ref(sample), input),
        InputMode::Patch => tiles(sample, input.size),
    }
}
