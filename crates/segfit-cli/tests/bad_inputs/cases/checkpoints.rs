//! Faults of weights and checkpoints.

use std::path::Path;

use crate::case::Case;
use crate::files::{bytes_of, change, put, zip};

const WEIGHTS: &str = "run/weights.safetensors";
const CHECKPOINT: &str = "run/checkpoint.safetensors";
const OPEN: &str = "evaluate run data\n\
                    \x20segment run data/images --out masks\n\
                    \x20export run --onnx --out exported";
const RESUME: &str = "train network.json data --size 32 --steps 4 --out run --resume";
const IMPORT: &str = "import-weights run state.safetensors --out back";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "a run whose training has not finished",
            OPEN,
            |lab| std::fs::remove_file(lab.join(WEIGHTS)).expect("it is there"),
            "run/weights.safetensors: expected the weights of a finished training, found no such file\n\
             hint: run the same `segfit train` again to finish it",
        ),
        Case::new(
            "empty weights",
            OPEN,
            |lab| put(lab, WEIGHTS, ""),
            "run/weights.safetensors: expected segfit-weights/1, found a damaged or incomplete file (header \
             too small)\n\
             hint: {weights}",
        ),
        Case::new(
            "weights that are cut short",
            OPEN,
            half(WEIGHTS),
            "run/weights.safetensors: expected segfit-weights/1, found a damaged or incomplete file \
             (incomplete metadata, file not fully covered)\n\
             hint: {weights}",
        ),
        Case::new(
            "weights whose header claims a million terabytes",
            OPEN,
            |lab| change(lab, WEIGHTS, |b| b[..8].fill(0x7f)),
            "run/weights.safetensors: expected segfit-weights/1, found a damaged or incomplete file (header \
             too large)\n\
             hint: {weights}",
        ),
        Case::new(
            "weights whose header is no JSON",
            OPEN,
            |lab| change(lab, WEIGHTS, |b| b[8] = b'['),
            "run/weights.safetensors: expected segfit-weights/1, found a damaged or incomplete file (invalid \
             JSON in header: invalid type: sequence, expected struct HashMetadata at line * column *)\n\
             hint: {weights}",
        ),
        Case::new(
            "weights whose tensors overlap",
            OPEN,
            overlapping,
            "run/weights.safetensors: expected segfit-weights/1, found a damaged or incomplete file (invalid \
             offset for tensor `b`)\n\
             hint: {weights}",
        ),
        Case::new(
            "weights of another program",
            OPEN,
            |lab| put(lab, WEIGHTS, tensors("{}")),
            "run/weights.safetensors: expected segfit-weights/1, found a safetensors file of another program\n\
             hint: {weights}",
        ),
        Case::new(
            "a checkpoint in place of the weights",
            OPEN,
            |lab| put(lab, WEIGHTS, bytes_of(lab, CHECKPOINT)),
            "run/weights.safetensors: expected segfit-weights/1, found format segfit-checkpoint/1\n\
             hint: {weights}",
        ),
        Case::new(
            "weights of another network",
            OPEN,
            |lab| rename_tensor(lab, WEIGHTS, "enc0.conv1.weight", "enc0.conv9.weight"),
            "run/weights.safetensors: expected tensor enc0.conv1.weight of shape [2, 1, 3, 3] in f32, of \
             finite numbers, found no such tensor\n\
             hint: {weights}",
        ),
        Case::new(
            "weights that are no numbers",
            OPEN,
            nan,
            "run/weights.safetensors: expected tensor up1.conv.weight of shape [8, 4, 2, 2] in f32, of finite \
             numbers, found NaN in it\n\
             hint: {weights}",
        ),
        Case::new(
            "a file of torch.save in place of the weights",
            OPEN,
            |lab| put(lab, WEIGHTS, zip()),
            "run/weights.safetensors: expected segfit-weights/1, found a damaged or incomplete file (header \
             too large)\n\
             hint: {weights}",
        ),
        Case::new(
            "a checkpoint that is cut short",
            RESUME,
            half(CHECKPOINT),
            "training into run: run/checkpoint.safetensors: expected segfit-checkpoint/1, found a damaged or \
             incomplete file (incomplete metadata, file not fully covered)\n\
             hint: {weights}",
        ),
        Case::new(
            "an empty checkpoint",
            RESUME,
            |lab| put(lab, CHECKPOINT, ""),
            "training into run: run/checkpoint.safetensors: expected segfit-checkpoint/1, found a damaged or \
             incomplete file (header too small)\n\
             hint: {weights}",
        ),
        Case::new(
            "weights in place of the checkpoint",
            RESUME,
            |lab| put(lab, CHECKPOINT, bytes_of(lab, WEIGHTS)),
            "training into run: run/checkpoint.safetensors: expected segfit-checkpoint/1, found format \
             segfit-weights/1\n\
             hint: {weights}",
        ),
        Case::new(
            "a state of torch.save to import",
            IMPORT,
            |lab| put(lab, "state.safetensors", zip()),
            "state.safetensors: expected a safetensors file, found a file of torch.save\n\
             hint: convert the state dict first: python -c \"import torch, safetensors.torch as s; state = \
             torch.load('STATE.pt', map_location='cpu', weights_only=True); s.save_file(state, \
             'STATE.safetensors')\"",
        ),
        Case::new(
            "a state to import that is not there",
            IMPORT,
            |_| (),
            "state.safetensors: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a state to import without tensors",
            IMPORT,
            |lab| put(lab, "state.safetensors", tensors("{}")),
            "state.safetensors: expected a tensor enc0.conv1.weight of shape [2, 1, 3, 3], found no such tensor\n\
             hint: export the run with `segfit export --pytorch` and train the Network of its model.py",
        ),
        Case::new(
            "a state to import that is cut short",
            IMPORT,
            |lab| {
                let b = bytes_of(lab, WEIGHTS);
                put(lab, "state.safetensors", &b[..b.len() / 2]);
            },
            "state.safetensors: expected a safetensors file, found something else (incomplete metadata, file \
             not fully covered)\n\
             hint: save(network, \"trained.safetensors\") of model.py, or safetensors.torch.save_file, writes \
             such files",
        ),
        Case::new(
            "initial weights that are not there",
            "train network.json data --size 32 --steps 1 --init none --out out",
            |_| (),
            "--init none: a file must be of this very network; of a wider one, name the run's folder: none: \
             {not there}\n\
             hint: {spelling}",
        ),
        Case::new(
            "a teacher that is no run",
            "train network.json data --size 32 --steps 1 --teacher data --out out",
            |_| (),
            "--teacher data: data/run.json: {not there}\nhint: {spelling}",
        ),
    ]
}

fn half(file: &'static str) -> impl Fn(&Path) + Send + Sync {
    move |lab| change(lab, file, |bytes| bytes.truncate(bytes.len() / 2))
}

/// A safetensors file with this header and no tensors.
fn tensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

fn rename_tensor(lab: &Path, file: &str, from: &str, to: &str) {
    change(lab, file, |bytes| {
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the file has the tensor");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    });
}

fn overlapping(lab: &Path) {
    let tensor = |from: usize, to: usize| serde_json::json!({"dtype": "F32", "shape": [2], "data_offsets": [from, to]});
    let header = serde_json::json!({"a": tensor(0, 8), "b": tensor(4, 12)}).to_string();
    put(lab, WEIGHTS, [tensors(&header), vec![0; 12]].concat());
}

fn nan(lab: &Path) {
    change(lab, WEIGHTS, |bytes| {
        let n = bytes.len();
        bytes[n - 400..].as_chunks_mut::<4>().0.iter_mut().for_each(|four| *four = f32::NAN.to_le_bytes());
    });
}
