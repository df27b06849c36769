//! Weights and training state as safetensors files.
//!
//! A *weights* file holds one f32 tensor per parameter and running statistic under its PyTorch name
//! (`enc0.conv1.weight`, `enc0.norm1.running_mean`, ...). A *checkpoint* holds the current ones under `now/`, the averaged
//! ones under `average/`, the optimiser's moments under `moment1/` and `moment2/`. Both carry `format`, and the
//! checkpoint its `step` and `run`, as text metadata.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use segfit::files::write_atomically;
use segfit::network::NetworkSpec;

use crate::error::{Error, Result};
use crate::state::{ParameterLayout, State, Weights};

const WEIGHTS_FORMAT: &str = "segfit-weights/1";
const CHECKPOINT_FORMAT: &str = "segfit-checkpoint/1";

/// Writes the weights of a network.
///
/// # Errors
/// When the file cannot be written; an older file is then untouched.
pub fn save_weights(path: &Path, spec: &NetworkSpec, weights: &Weights) -> Result<()> {
    let layout = ParameterLayout::new(spec)?;
    let tensors = named(&layout, "", &weights.trained, Some(&weights.running));
    write(path, &tensors, HashMap::from([("format".to_string(), WEIGHTS_FORMAT.to_string())]))
}

/// Reads the weights of a network.
///
/// # Errors
/// [`Error::Checkpoint`] naming the first tensor that is missing or of another shape.
pub fn load_weights(path: &Path, spec: &NetworkSpec) -> Result<Weights> {
    let bytes = read(path)?;
    let file = parse(path, &bytes, WEIGHTS_FORMAT)?;
    let layout = ParameterLayout::new(spec)?;
    let (trained, running) = collect(path, &file.tensors, &layout, "", true)?;
    Ok(Weights { trained, running })
}

/// Writes everything that a resumed training needs. `run` identifies the run (plan, data, recipe, seed).
///
/// # Errors
/// When the file cannot be written; an older file is then untouched.
pub fn save_checkpoint(path: &Path, spec: &NetworkSpec, state: &State, run: &str) -> Result<()> {
    let layout = ParameterLayout::new(spec)?;
    let mut tensors = named(&layout, "now/", &state.trained, Some(&state.running));
    tensors.extend(named(&layout, "average/", &state.average_trained, Some(&state.average_running)));
    tensors.extend(named(&layout, "moment1/", &state.moment1, None));
    tensors.extend(named(&layout, "moment2/", &state.moment2, None));
    let metadata = [("format", CHECKPOINT_FORMAT), ("step", &state.step.to_string()), ("run", run)];
    write(path, &tensors, metadata.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect())
}

/// Reads a checkpoint of the run identified by `run`.
///
/// # Errors
/// [`Error::Checkpoint`] when it belongs to another run or network, or is damaged.
pub fn load_checkpoint(path: &Path, spec: &NetworkSpec, run: &str) -> Result<State> {
    let bytes = read(path)?;
    let file = parse(path, &bytes, CHECKPOINT_FORMAT)?;
    let wrong =
        |expected: &str, got: &str| Error::Checkpoint { path: path.into(), expected: expected.into(), got: got.into() };
    let found = file.metadata.get("run").map_or("", String::as_str);
    if found != run {
        return Err(wrong(&format!("a checkpoint of this run ({run})"), &format!("one of another run ({found})")));
    }
    let step = file.metadata.get("step").and_then(|s| s.parse().ok());
    let step = step.ok_or_else(|| wrong("a step number", "none"))?;
    let layout = ParameterLayout::new(spec)?;
    let (trained, running) = collect(path, &file.tensors, &layout, "now/", true)?;
    let (average_trained, average_running) = collect(path, &file.tensors, &layout, "average/", true)?;
    let (moment1, _) = collect(path, &file.tensors, &layout, "moment1/", false)?;
    let (moment2, _) = collect(path, &file.tensors, &layout, "moment2/", false)?;
    Ok(State { trained, running, average_trained, average_running, moment1, moment2, step })
}

struct Named<'a> {
    name: String,
    shape: Vec<usize>,
    values: &'a [f32],
}

fn named<'a>(layout: &ParameterLayout, prefix: &str, trained: &'a [f32], running: Option<&'a [f32]>) -> Vec<Named<'a>> {
    let all = layout.parameters.iter().zip(&layout.ranges);
    all.filter_map(|(p, range)| {
        let from = if p.kind.is_trained() { Some(trained) } else { running }?;
        Some(Named { name: format!("{prefix}{}", p.name), shape: p.shape.clone(), values: &from[range.clone()] })
    })
    .collect()
}

fn write(path: &Path, tensors: &[Named<'_>], metadata: HashMap<String, String>) -> Result<()> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let broken = |e: safetensors::SafeTensorError| Error::Checkpoint {
        path: path.into(),
        expected: "tensors that fit a safetensors file".into(),
        got: e.to_string(),
    };
    let views = tensors.iter().zip(&bytes);
    let views = views
        .map(|(t, b)| Ok((t.name.as_str(), TensorView::new(Dtype::F32, t.shape.clone(), b).map_err(broken)?)))
        .collect::<Result<Vec<_>>>()?;
    // The writer orders metadata by a hash map's order; one sorted entry keeps equal states equal in bytes.
    let mut sorted: Vec<_> = metadata.into_iter().collect();
    sorted.sort();
    let text = serde_json::to_string(&sorted).expect("strings are JSON");
    let file = serialize(views, Some(HashMap::from([("segfit".to_string(), text)]))).map_err(broken)?;
    Ok(write_atomically(path, &file)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| segfit::Error::Io { path: path.into(), source }.into())
}

struct Parsed<'a> {
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

fn parse<'a>(path: &Path, bytes: &'a [u8], format: &str) -> Result<Parsed<'a>> {
    let wrong = |got: String| Error::Checkpoint { path: path.into(), expected: format.into(), got };
    let damaged = |e: safetensors::SafeTensorError| wrong(format!("a damaged or incomplete file ({e})"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let text = header.metadata().as_ref().and_then(|m| m.get("segfit")).cloned();
    let text = text.ok_or_else(|| wrong("a safetensors file of another program".into()))?;
    let pairs: Vec<(String, String)> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let metadata: HashMap<_, _> = pairs.into_iter().collect();
    match metadata.get("format") {
        Some(found) if found == format => {}
        found => return Err(wrong(format!("format {}", found.map_or("unknown", String::as_str)))),
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    Ok(Parsed { tensors, metadata })
}

fn collect(
    path: &Path,
    file: &SafeTensors<'_>,
    layout: &ParameterLayout,
    prefix: &str,
    with_running: bool,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut trained = vec![0.0; layout.trained_len];
    let mut running = vec![0.0; layout.running_len];
    for (parameter, range) in layout.parameters.iter().zip(&layout.ranges) {
        if !parameter.kind.is_trained() && !with_running {
            continue;
        }
        let name = format!("{prefix}{}", parameter.name);
        let wrong = |got: String| Error::Checkpoint {
            path: path.into(),
            expected: format!("tensor {name} of shape {:?} in f32, of finite numbers", parameter.shape),
            got,
        };
        let view = file.tensor(&name).map_err(|_| wrong("no such tensor".into()))?;
        if view.dtype() != Dtype::F32 || view.shape() != parameter.shape {
            return Err(wrong(format!("shape {:?} in {:?}", view.shape(), view.dtype())));
        }
        let into = if parameter.kind.is_trained() { &mut trained } else { &mut running };
        for (value, four) in into[range.clone()].iter_mut().zip(view.data().as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*four);
        }
        if let Some(value) = into[range.clone()].iter().find(|v| !v.is_finite()) {
            return Err(wrong(format!("{value} in it")));
        }
    }
    Ok((trained, running))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initialise::initialise;
    use segfit::network::families::{self, unet};

    fn network(base_width: usize) -> NetworkSpec {
        unet(&families::Options { in_channels: 1, classes: 2, base_width, depth: 1, ..families::Options::default() })
            .unwrap()
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit_and_equal_states_give_equal_files() {
        let dir = tempfile::tempdir().unwrap();
        let spec = network(3);
        let mut state = State::fresh(initialise(&spec, 7).unwrap());
        state.step = 12;
        state.moment1[3] = 0.25;
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        save_checkpoint(&a, &spec, &state, "run").unwrap();
        let back = load_checkpoint(&a, &spec, "run").unwrap();
        assert_eq!(back, state);
        save_checkpoint(&b, &spec, &back, "run").unwrap();
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    }

    #[test]
    fn a_file_of_another_network_run_or_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c");
        let spec = network(2);
        let weights = initialise(&spec, 1).unwrap();
        save_weights(&path, &spec, &weights).unwrap();
        assert_eq!(load_weights(&path, &spec).unwrap(), weights);
        let error = load_weights(&path, &network(3)).unwrap_err().to_string();
        assert!(error.contains("enc0.conv1.weight"), "{error}");
        assert!(load_checkpoint(&path, &spec, "run").is_err(), "weights are no checkpoint");
        save_checkpoint(&path, &spec, &State::fresh(weights), "one").unwrap();
        let error = load_checkpoint(&path, &spec, "two").unwrap_err().to_string();
        assert!(error.contains("another run"), "{error}");
        std::fs::write(&path, &std::fs::read(&path).unwrap()[..100]).unwrap();
        let error = load_checkpoint(&path, &spec, "one").unwrap_err().to_string();
        assert!(error.contains("damaged or incomplete"), "{error}");
    }
}
