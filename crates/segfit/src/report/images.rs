//! Thumbnails.

use base64::Engine as _;
use serde::Serialize;

/// An image with outlines, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownImage {
    /// Name of the image.
    pub name: String,
    /// What is to be said of it, for example its Dice.
    pub words: String,
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// The picture as a PNG file.
    pub png: Vec<u8>,
}

/// A row of thumbnails with a title.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub title: String,
    pub images: Vec<Thumbnail>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Thumbnail {
    name: String,
    words: String,
    height: usize,
    width: usize,
    png: String,
}

impl Row {
    /// `None` without images.
    pub(super) fn of(title: &str, images: &[ShownImage]) -> Option<Self> {
        let thumbnail = |i: &ShownImage| Thumbnail {
            name: i.name.clone(),
            words: i.words.clone(),
            height: i.height,
            width: i.width,
            png: base64::engine::general_purpose::STANDARD.encode(&i.png),
        };
        let images: Vec<Thumbnail> = images.iter().map(thumbnail).collect();
        (!images.is_empty()).then(|| Self { title: title.into(), images })
    }
}
