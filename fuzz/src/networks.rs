//! Targets: networks of ours and of others, up to a forward pass.

use segfit::cost::{Cost, layer_costs};
use segfit::data::{Image, Normalisation};
use segfit::files::read_json;
use segfit::network::{NETWORK_FORMAT, NetworkSpec};
use segfit::onnx::{ExportOptions, ImportOptions, export, import};
use segfit::recipe::{InputMode, InputSpec};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::initialise::initialise;
use segfit_engine::segmenter::Segmenter;
use segfit_engine::state::Weights;

use crate::place::{file, folder};

/// A network beyond is not run: it may be large, and only costs more.
const MEMORY: u64 = 64 << 20;
const MACS: u64 = 50_000_000;
/// Rows and columns of the image that networks are run on.
const SIDE: usize = 24;

/// network.json: read, costed, narrowed, exported, run.
pub fn network(bytes: &[u8]) {
    let path = file("network.json", bytes);
    let Ok(spec) = read_json::<NetworkSpec>(&path, NETWORK_FORMAT) else { return };
    let is_valid = spec.validate().is_ok();
    if !is_valid {
        return;
    }
    assert!(spec.without_auxiliary().validate().is_ok(), "what is deployed of a valid network is valid");
    let _ = spec.with_multiplier(0.5).map(|narrow| narrow.validate().expect("a narrowed network is valid"));
    for size in [1, 128, 1000] {
        let _ = Cost::of(&spec, size);
        let size = size.next_multiple_of(spec.input_multiple());
        let _ = layer_costs(&spec, size);
    }
    let deployed = spec.without_auxiliary();
    if is_small(&deployed)
        && let Ok(weights) = initialise(&deployed, 1)
    {
        forward(&deployed, weights);
    }
}

/// An ONNX file of others: imported, written again, run; and its properties, as of a file of ours.
pub fn onnx(bytes: &[u8]) {
    let path = file("model.onnx", bytes);
    let _ = segfit::export::onnx::Metadata::read(&path, bytes);
    for size in [None, Some((32, 48))] {
        let Ok(found) = import(&path, &ImportOptions { size }) else { continue };
        assert!(found.spec.validate().is_ok());
        let _ = Cost::of(&found.spec, 64);
        let _ = export(&found.spec, &found.weights, &ExportOptions::default());
        let out = folder().join("imported.json");
        segfit::files::write_json(&out, &found.spec).expect("a network can be written");
        let again: NetworkSpec = read_json(&out, NETWORK_FORMAT).expect("and read");
        if is_small(&again)
            && let Ok(weights) = initialise(&again, 1)
        {
            forward(&again, weights);
        }
    }
}

pub fn is_small(spec: &NetworkSpec) -> bool {
    let side = SIDE.next_multiple_of(spec.input_multiple());
    Cost::of(spec, side).is_ok_and(|c| c.memory_bytes() < MEMORY && c.macs < MACS)
}

/// Runs a network whose costs are known to be small.
pub fn forward(spec: &NetworkSpec, weights: Weights) {
    let backend = CpuBackend::detect();
    let channels = spec.in_channels();
    let normalisation = Normalisation { mean: vec![0.5; channels], std: vec![0.25; channels] };
    let input = InputSpec { mode: InputMode::Patch, size: SIDE };
    let data = (0..channels * SIDE * SIDE).map(|i| (i % 251) as f32 / 251.0).collect();
    let image = Image { channels, height: SIDE, width: SIDE, data };
    let mut segmenter = Segmenter::new(&backend, spec, weights, normalisation, input);
    if let Ok(mask) = segmenter.segment(&image) {
        assert_eq!(mask.data.len(), SIDE * SIDE);
    }
}
