//! Small sound files to begin with, one folder for each target.

pub mod images;
mod method;
mod networks;
pub mod runs;

use std::path::Path;

type Made = std::io::Result<()>;

/// Writes all seeds below `to`.
pub fn write(to: &Path) -> Made {
    images::write(to)?;
    networks::write(to)?;
    method::write(to)?;
    runs::write(to)
}

fn put(to: &Path, target: &str, name: &str, bytes: &[u8]) -> Made {
    std::fs::create_dir_all(to.join(target))?;
    std::fs::write(to.join(target).join(name), bytes)
}
