//! `--device`: where the planner knows the time of networks from.

mod measure;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use segfit::cost::latency::{LatencyModel, LatencyTable, name_of_networks};
use segfit::files::write_atomically;
use segfit::network::NetworkSpec;
use segfit::plan::PlannedLatency;
use segfit_engine::backend::Precision;

pub use self::measure::{SECONDS, Wanted};
use crate::cache_folder::system_folder;
use crate::context::Global;

/// What `--device` calls the machine that runs segfit.
pub const THIS_MACHINE: &str = "this";

/// The model of a table that was given, for images of a size.
///
/// # Errors
/// When the file is no table or one of another image size.
pub fn given(path: &Path, size: usize) -> Result<LatencyModel> {
    let table = LatencyTable::read(path)?;
    let have = table.conditions.size;
    if have != size {
        bail!(segfit::Error::Content {
            path: path.into(),
            expected: format!("the times of images of {size} x {size} pixels"),
            got: format!("those of {have} x {have}"),
            hint: format!("take --size {have}, or measure with: segfit bench --table FILE --size {size}"),
        });
    }
    Ok(LatencyModel::new(table))
}

/// The model of a table that was given, or of one of this machine: kept from an earlier call, or measured now and kept.
///
/// # Errors
/// When the file is no table or one of another image size, or the engine does not execute a network.
pub fn model(device: Option<&Path>, full: &[NetworkSpec], size: usize, global: &Global) -> Result<LatencyModel> {
    if let Some(path) = device.filter(|path| path.as_os_str() != THIS_MACHINE) {
        return given(path, size);
    }
    let networks = full.last().map(in_words).unwrap_or_default();
    let wanted = Wanted { full, networks, size, precision: Precision::F32, seconds: SECONDS };
    let conditions = wanted.conditions();
    let place = system_folder().map(|folder| {
        let name = name_of_networks(full, &[&conditions.device, &conditions.networks]);
        folder.join("latency").join(format!("{}-{}-{size}-{name}.json", conditions.precision, conditions.threads))
    });
    let known = place.as_ref().filter(|path| path.exists()).and_then(|path| LatencyTable::read(path).ok());
    if let Some(table) = known.filter(|t| t.conditions == conditions && t.version == env!("CARGO_PKG_VERSION")) {
        let path = place.map_or_else(String::new, |path| path.display().to_string());
        global.note(&format!("latency table of this machine: {path} (measured anew when it is deleted)"));
        return Ok(LatencyModel::new(table));
    }
    let table = wanted.measure(global)?;
    match place.map(|path| keep(&path, &table)) {
        Some(Ok(path)) => global.note(&format!("latency table kept: {}", path.display())),
        Some(Err(error)) => global.note(&format!("warning: the latency table is not kept: {error}")),
        None => global.note("the latency table is not kept: the system names no folder for caches"),
    }
    Ok(LatencyModel::new(table))
}

fn keep(path: &Path, table: &LatencyTable) -> segfit::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        crate::together::make_folder(folder)?;
    }
    write_atomically(path, &table.to_json())?;
    Ok(path.into())
}

/// The widest network, in words.
pub fn in_words(full: &NetworkSpec) -> String {
    let most = full.widths().into_values().max().unwrap_or(0);
    format!(
        "{} of base width {} and depth {}, {most} channels at most, {} of the image, {} classes",
        full.family,
        full.base_width,
        full.depth,
        full.in_channels(),
        full.classes
    )
}

/// What a plan says of the time of its network.
///
/// # Errors
/// When the table does not hold a step of it.
pub fn planned(model: &LatencyModel, spec: &NetworkSpec) -> segfit::Result<PlannedLatency> {
    let table = model.table();
    Ok(PlannedLatency {
        predicted_ms: model.milliseconds(spec)?,
        late: table.late(),
        measured: table.conditions.clone(),
    })
}
