//! Images and masks on disk, as one checked [`Dataset`].

mod image;

pub use self::image::{Image, Mask, Sample};
