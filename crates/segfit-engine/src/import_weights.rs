//! Weights that another program trained: a PyTorch state dict as a safetensors file, for a network of ours.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use segfit::files::write_json;
use segfit::network::NetworkSpec;

use crate::checkpoint::save_weights;
use crate::error::{Error, Result};
use crate::lineage::{ImportRecord, LineageRecord};
use crate::run_folder::{RunFolder, RunInfo, identity};
use crate::state::{ParameterLayout, Weights};

/// What wrappers of PyTorch put before every name: `DataParallel` and `DistributedDataParallel`, `torch.compile`.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// The counters of batch norms, which nothing needs.
const COUNTER: &str = "num_batches_tracked";

/// Weights that were read, and the network that they are for.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedWeights {
    /// The network: the one that was asked for, without its auxiliary heads where the file does not have them.
    pub network: NetworkSpec,
    /// Its weights.
    pub weights: Weights,
    /// Whether auxiliary heads were left out.
    pub is_without_heads: bool,
}

/// Reads the state dict at `path`, whose names and shapes must be those of `network`, as `model.py` of an export has
/// them.
///
/// Values may be f32, f64, f16 or bf16; they become f32. The prefixes `module.` and `_orig_mod.` and the counters
/// `num_batches_tracked` are understood. A file without the parameters of auxiliary heads gives the network without
/// them.
///
/// # Errors
/// [`Error::Import`] with the first name, in the network's order, that is missing or of another shape or type, or the
/// first (in alphabetical order) that the network does not have; with a hint for PyTorch's own files, which are not
/// read.
pub fn import_weights(path: &Path, network: &NetworkSpec) -> Result<ImportedWeights> {
    let bytes = std::fs::read(path).map_err(|source| segfit::Error::Io { path: path.into(), source })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| unreadable(path, &bytes, &e.to_string()))?;
    let mut tensors = named(path, &file)?;
    let full = ParameterLayout::new(network)?;
    let deployed = network.without_auxiliary();
    let is_without_heads = deployed != *network && !full.parameters.iter().all(|p| tensors.contains_key(&p.name));
    let (network, layout) = match is_without_heads {
        true => (deployed.clone(), ParameterLayout::new(&deployed)?),
        false => (network.clone(), full),
    };
    let mut weights = Weights { trained: Vec::new(), running: Vec::new() };
    for parameter in &layout.parameters {
        let wrong = |got: String| Error::Import {
            path: path.into(),
            expected: format!("a tensor {} of shape {:?}", parameter.name, parameter.shape),
            got,
            hint: "export the run with `segfit export --pytorch` and train the Network of its model.py".into(),
        };
        let Some((_, view)) = tensors.remove(&parameter.name) else {
            let names = tensors.values().take(3).map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(wrong(if names.is_empty() {
                "no such tensor".into()
            } else {
                format!("no such tensor (but {names})")
            }));
        };
        if view.shape() != parameter.shape {
            return Err(wrong(format!("shape {:?}", view.shape())));
        }
        let values = floats(&view).ok_or_else(|| wrong(format!("values of type {:?}", view.dtype())))?;
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(wrong(format!("the value {bad}")));
        }
        let into = if parameter.kind.is_trained() { &mut weights.trained } else { &mut weights.running };
        into.extend(values);
    }
    if let Some((name, _)) = tensors.values().next() {
        return Err(Error::Import {
            path: path.into(),
            expected: "the parameters of the network and no others".into(),
            got: format!("{name}, which the network does not have"),
            hint: "name the run that the model.py was exported from".into(),
        });
    }
    Ok(ImportedWeights { network, weights, is_without_heads })
}

/// As [`import_weights`], for the network of a run, with its auxiliary heads.
///
/// # Errors
/// As there; an I/O error when the run's network cannot be read.
pub fn import_for_run(run: &RunFolder, state: &Path) -> Result<ImportedWeights> {
    let network = NetworkSpec::read(&run.path.join("network.json"))?;
    import_weights(state, &network)
}

/// Writes what a run folder needs to be evaluated, to segment, and to begin a training, into the existing folder `to`:
/// the recipe and data of `run` with the weights that came from `source`.
///
/// # Errors
/// An I/O error when a file cannot be written.
pub fn write_run(to: &Path, run: &RunFolder, imported: &ImportedWeights, source: &str) -> Result<()> {
    let record = ImportRecord::new(source, &imported.weights, &run.info.id);
    let lineage = LineageRecord { imported: Some(record), ..LineageRecord::default() };
    let RunInfo { recipe, fingerprint, seed, .. } = &run.info;
    let info = RunInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        id: identity(&imported.network, recipe, fingerprint, *seed, &lineage),
        engine: "another program".into(),
        lineage,
        ..run.info.clone()
    };
    write_json(&to.join("network.json"), &imported.network)?;
    write_json(&to.join("recipe.json"), recipe)?;
    write_json(&to.join("run.json"), &info)?;
    save_weights(&to.join("weights.safetensors"), &imported.network, &imported.weights)
}

/// The tensors by their names without prefixes, each with the name in the file; counters are left out.
fn named<'a>(path: &Path, file: &SafeTensors<'a>) -> Result<BTreeMap<String, (String, TensorView<'a>)>> {
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let mut plain = name.as_str();
        while let Some(rest) = PREFIXES.iter().find_map(|p| plain.strip_prefix(p)) {
            plain = rest;
        }
        if plain.rsplit('.').next() == Some(COUNTER) {
            continue;
        }
        if let Some((other, _)) = tensors.insert(plain.to_string(), (name.clone(), view)) {
            return Err(Error::Import {
                path: path.into(),
                expected: "every tensor once".into(),
                got: format!("{other} and {name}"),
                hint: "save the state dict of one model alone".into(),
            });
        }
    }
    Ok(tensors)
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::BF16 => {
            let halves = data.as_chunks::<2>().0.iter();
            halves.map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)).collect()
        }
        Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
        _ => return None,
    })
}

/// The value of an IEEE 754 half-precision number.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2.0_f32.powi(exponent - 15),
    };
    sign * magnitude
}

/// A file that is no safetensors file; PyTorch's own are told how to become one.
fn unreadable(path: &Path, bytes: &[u8], reason: &str) -> Error {
    let is_pytorch = bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02");
    let (got, hint) = if is_pytorch {
        let convert = "python -c \"import torch, safetensors.torch as s; \
                       state = torch.load('STATE.pt', map_location='cpu', weights_only=True); \
                       s.save_file(state, 'STATE.safetensors')\"";
        ("a file of torch.save".to_string(), format!("convert the state dict first: {convert}"))
    } else {
        let hint =
            "save(network, \"trained.safetensors\") of model.py, or safetensors.torch.save_file, writes such files";
        (format!("something else ({reason})"), hint.into())
    };
    Error::Import { path: path.into(), expected: "a safetensors file".into(), got, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::save_weights;
    use crate::initialise::initialise;
    use safetensors::tensor::serialize;
    use segfit::network::families::{self, unet};

    fn network() -> NetworkSpec {
        unet(&families::Options { in_channels: 1, classes: 2, base_width: 2, depth: 1, ..Default::default() }).unwrap()
    }

    /// Name, type, shape and bytes of a tensor.
    type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

    /// The weights of a network as tensors of another program.
    fn state(spec: &NetworkSpec, seed: u64) -> Vec<Stored> {
        let weights = initialise(spec, seed).unwrap();
        let layout = ParameterLayout::new(spec).unwrap();
        let all = layout.parameters.iter().zip(&layout.ranges);
        all.map(|(p, range)| {
            let from = if p.kind.is_trained() { &weights.trained } else { &weights.running };
            let bytes = from[range.clone()].iter().flat_map(|v| v.to_le_bytes()).collect();
            (p.name.clone(), Dtype::F32, p.shape.clone(), bytes)
        })
        .collect()
    }

    fn write(path: &Path, state: &[Stored]) {
        let views = state.iter().map(|(n, d, s, b)| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap()));
        std::fs::write(path, serialize(views, None).unwrap()).unwrap();
    }

    #[test]
    fn a_state_dict_with_prefixes_counters_and_other_types_comes_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let spec = network();
        let mut tensors = state(&spec, 5);
        for (name, dtype, _, bytes) in &mut tensors {
            if name == "head.bias" {
                (*dtype, *bytes) = (Dtype::F16, [0x3C00_u16, 0xC000].iter().flat_map(|v| v.to_le_bytes()).collect());
            }
            *name = format!("module._orig_mod.{name}");
        }
        tensors.push(("module._orig_mod.enc0.norm1.num_batches_tracked".into(), Dtype::I64, vec![], vec![0; 8]));
        write(&path, &tensors);
        let found = import_weights(&path, &spec).unwrap();
        assert_eq!((&found.network, found.is_without_heads), (&spec, false));
        let mut expected = initialise(&spec, 5).unwrap();
        let bias = expected.trained.len() - 2;
        expected.trained[bias..].copy_from_slice(&[1.0, -2.0]);
        assert_eq!(found.weights, expected);
        save_weights(&path, &spec, &expected).unwrap();
        assert_eq!(import_weights(&path, &spec).unwrap().weights, expected, "our own files, too");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let spec = network();
        let refused = |change: &dyn Fn(&mut Vec<Stored>)| {
            let mut tensors = state(&spec, 5);
            change(&mut tensors);
            write(&path, &tensors);
            import_weights(&path, &spec).unwrap_err().to_string()
        };
        let first = "enc0.conv1.weight of shape [2, 1, 3, 3]";
        let missing = refused(&|t| t[0].0 = "encoder.weight".into());
        assert!(missing.contains(first) && missing.contains("no such tensor"), "{missing}");
        let shape = refused(&|t| t[0].2 = vec![1, 2, 3, 3]);
        assert!(shape.contains(first) && shape.contains("[1, 2, 3, 3]"), "{shape}");
        let kind = refused(&|t| t[0].1 = Dtype::I32);
        assert!(kind.contains(first) && kind.contains("I32"), "{kind}");
        let infinite = refused(&|t| t[0].3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()));
        assert!(infinite.contains("the value inf"), "{infinite}");
        let more = refused(&|t| t.push(("more".into(), Dtype::F32, vec![1], vec![0; 4])));
        assert!(more.contains("more, which the network does not have"), "{more}");
        let twice = refused(&|t| t.push(("module.head.bias".into(), Dtype::F32, vec![2], vec![0; 8])));
        assert!(
            twice.contains("head.bias and module.head.bias") || twice.contains("module.head.bias and head.bias"),
            "{twice}"
        );
        std::fs::write(&path, b"PK\x03\x04....").unwrap();
        let error = import_weights(&path, &spec).unwrap_err();
        assert!(error.hint().unwrap().contains("save_file"), "{error}");
    }

    #[test]
    fn auxiliary_heads_may_be_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let spec =
            unet(&families::Options { base_width: 2, depth: 2, deep_supervision: true, ..Default::default() }).unwrap();
        let deployed = spec.without_auxiliary();
        assert_ne!(deployed, spec);
        for (stored, is_without_heads) in [(&spec, false), (&deployed, true)] {
            write(&path, &state(stored, 1));
            let found = import_weights(&path, &spec).unwrap();
            assert_eq!((&found.network, found.is_without_heads), (stored, is_without_heads));
            assert_eq!(found.weights, initialise(stored, 1).unwrap());
        }
    }

    #[test]
    fn half_precision_by_hand() {
        let values = [(0x0000, 0.0), (0x3C00, 1.0), (0xC000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8)];
        for (bits, value) in values {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x7C00).is_infinite() && half(0x7E00).is_nan());
    }
}
