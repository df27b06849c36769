//! The volumes that slices were last asked of, so that neighbours do not decode them again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::slices::Slices;
use crate::error::Result;

/// Files that are kept open: images and masks of a few threads.
const KEPT: usize = 8;

type Cell = Arc<Mutex<Option<Arc<Slices>>>>;

/// A few opened files, the one that was asked for last at the end.
#[derive(Debug, Default)]
pub(crate) struct Volumes(Mutex<Vec<(PathBuf, Cell)>>);

impl Volumes {
    /// A file, opened once for all who ask for it at the same time: an image, or the mask of an `image`.
    ///
    /// # Errors
    /// As [`Slices::open`].
    pub fn get(&self, path: &Path, image: Option<&Path>) -> Result<Arc<Slices>> {
        let cell = self.cell(path);
        let mut file = cell.lock().expect("no thread panics while it opens a file");
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = Arc::new(match image {
            Some(image) => Slices::open_mask(path, image)?,
            None => Slices::open(path)?,
        });
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn cell(&self, path: &Path) -> Cell {
        let mut kept = self.0.lock().expect("no thread panics here");
        let entry = match kept.iter().position(|(p, _)| p == path) {
            Some(at) => kept.remove(at),
            None => (path.into(), Cell::default()),
        };
        if kept.len() == KEPT {
            kept.remove(0);
        }
        let cell = Arc::clone(&entry.1);
        kept.push(entry);
        cell
    }
}
