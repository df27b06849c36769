//! The tiles that a patch-trained network sees, and the images that they were cut from.

pub use crate::data::tiles;

/// The name of the sample that a tile was cut from: `a` for `a@0,128`. Other names are returned as they are.
pub(super) fn whole(name: &str) -> &str {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let is_tile = |place: &str| place.split_once(',').is_some_and(|(y, x)| digits(y) && digits(x));
    name.rsplit_once('@').filter(|(_, place)| is_tile(place)).map_or(name, |(whole, _)| whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Image, Mask, Sample};

    #[test]
    fn the_names_of_tiles_lead_back_to_their_image() {
        let (image, mask) = (Image::filled(1, 3, 5, 0.0), Mask::background(3, 5));
        let all = tiles(&Sample { name: "s".into(), image, mask, instances: None }, 3);
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|t| whole(&t.name) == "s"));
        assert_eq!((whole("s@b"), whole("s@1,"), whole("a@b@1,2")), ("s@b", "s@1,", "a@b"));
    }
}
