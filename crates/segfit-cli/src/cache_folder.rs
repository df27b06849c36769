//! Where measured values are kept between calls.

use std::path::{Path, PathBuf};

use anyhow::Result;
use segfit::complexity::Cache;

use crate::context::Global;

/// Whether and where values are kept.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
pub struct CacheOptions {
    /// Keep what was measured of each image in this folder, so that a second call is instant; without it in the system's
    /// folder for caches. It may be deleted at any time
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Measure everything, and keep nothing
    #[arg(long)]
    no_cache: bool,
}

impl CacheOptions {
    /// The cache, if there is to be one. The system's folder may be missing or closed, which is noted.
    ///
    /// # Errors
    /// When the folder that was named cannot be made.
    pub fn open(&self, global: &Global) -> Result<Option<Cache>> {
        if self.no_cache {
            return Ok(None);
        }
        if let Some(folder) = &self.cache {
            return Ok(Some(Cache::open(folder)?));
        }
        let Some(folder) = system_folder() else {
            global.detail("no cache: the system names no folder for it");
            return Ok(None);
        };
        match Cache::open(&folder) {
            Ok(cache) => Ok(Some(cache)),
            Err(error) => {
                global.note(&format!("warning: no cache: {error}"));
                Ok(None)
            }
        }
    }
}

/// The folder where this program keeps what can be made again, if the system names one.
pub fn system_folder() -> Option<PathBuf> {
    default_folder(|name| std::env::var_os(name).map(PathBuf::from))
}

/// The folder `segfit` where programs of this system keep what can be made again, given the environment's folders.
///
/// `$XDG_CACHE_HOME` where it is set, else `%LOCALAPPDATA%` on Windows, `~/Library/Caches` on macOS, `~/.cache` elsewhere. A
/// relative folder is not used, as the XDG specification says.
fn default_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|folder| Path::is_absolute(folder));
    let base = set("XDG_CACHE_HOME").or_else(|| {
        if cfg!(windows) {
            set("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            set("HOME").map(|home| home.join("Library/Caches"))
        } else {
            set("HOME").map(|home| home.join(".cache"))
        }
    });
    base.map(|folder| folder.join("segfit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_folder_is_where_the_xdg_specification_says() {
        let with = |set: &[(&str, &str)]| {
            default_folder(|name| set.iter().find(|(n, _)| *n == name).map(|(_, folder)| PathBuf::from(folder)))
        };
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Some("/x/segfit".into()));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "x")]), Some("/h/.cache/segfit".into()));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")]), Some("/h/.cache/segfit".into()));
        assert_eq!(with(&[]), None);
    }
}
