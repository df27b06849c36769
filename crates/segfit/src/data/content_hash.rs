//! What a pair's samples depend on, as one hash: equal hashes mean equal images and masks, whatever the files' names.

use super::label_map::{LabelKind, LabelMap, MaskSummary};

/// The BLAKE3 hash over the hashes of the image's files and the mask's, and over the meaning of the labels in the mask.
///
/// `labels` is the summary of the mask in the map's coding, if there is a mask; `files` ends with its hash.
pub(crate) fn content_hash(files: &[blake3::Hash], labels: Option<&MaskSummary>, map: &LabelMap) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"segfit-pair/1\n");
    hasher.update(&(files.len() as u64).to_le_bytes());
    files.iter().for_each(|hash| {
        hasher.update(hash.as_bytes());
    });
    hasher.update(&[u8::from(labels.is_some())]);
    if let Some(labels) = labels {
        // Instance labels are kept in the map's coding.
        hasher.update(map.coding.to_string().as_bytes());
        hasher.update(&[u8::from(map.kind == LabelKind::Instances)]);
        for &label in labels.counts.keys() {
            hasher.update(&label.to_le_bytes());
            hasher.update(&[map.class_of(label).unwrap_or(u8::MAX)]);
        }
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::LabelCoding;

    fn summary(labels: &[u32]) -> MaskSummary {
        let counts = labels.iter().map(|&l| (l, 1)).collect();
        MaskSummary { path: "m.png".into(), counts, coding: LabelCoding::Value, palette: None }
    }

    #[test]
    fn only_labels_that_the_mask_holds_count() {
        let map =
            |labels: &[u32], instances| LabelMap::from_labels(Path::new("set"), &[summary(labels)], instances).unwrap();
        let files = [blake3::hash(b"image"), blake3::hash(b"mask")];
        let hash = |map: &LabelMap| content_hash(&files, Some(&summary(&[0, 5])), map);
        let alone = hash(&map(&[0, 5], false));
        assert_eq!(alone, hash(&map(&[0, 5, 9], false)), "9 comes after 5, which stays class 1");
        assert_ne!(alone, hash(&map(&[0, 3, 5], false)), "5 is class 2");
        assert_ne!(alone, hash(&map(&[0, 5, 9], true)), "instances are kept");
        assert_ne!(alone, content_hash(&files, None, &map(&[0, 5], false)), "two channels without a mask");
        assert_ne!(alone, content_hash(&[files[1], files[0]], Some(&summary(&[0, 5])), &map(&[0, 5], false)));
    }
}
