//! PyTorch's own files of weights, as `torch.save(state_dict)` writes them and `torch.load(weights_only=True)` reads
//! them.
//!
//! The file is a ZIP archive: `data.pkl` describes the tensors in Python's pickle format (protocol 2), `data/0`,
//! `data/1`, ... hold their values.

use super::{Deployment, ExportFile, zip};
use crate::error::{Error, Result};

/// The bytes of a `.pt` file with the weights.
///
/// # Errors
/// [`Error::Network`] when the weights are too large for the format (4 GiB).
pub fn weights(deployment: &Deployment) -> Result<Vec<u8>> {
    let mut pickle = Pickle::new();
    for (number, tensor) in deployment.weights.iter().enumerate() {
        pickle.tensor(&tensor.name, number, &tensor.shape, tensor.values.len());
    }
    let mut files = vec![
        ExportFile::new("weights/data.pkl", pickle.finished()),
        ExportFile::new("weights/.format_version", "1"),
        ExportFile::new("weights/byteorder", "little"),
    ];
    for (number, tensor) in deployment.weights.iter().enumerate() {
        let bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        files.push(ExportFile::new(&format!("weights/data/{number}"), bytes));
    }
    files.push(ExportFile::new("weights/version", "3\n"));
    zip::archive(&files, 64).ok_or_else(|| Error::Network {
        layer: deployment.network.output.clone(),
        reason: "the weights are too large for a .pt file".into(),
    })
}

/// A pickled `OrderedDict` of tensors, as a program for Python's pickle machine.
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        // Protocol 2; an empty ordered dictionary; the mark before its items.
        let mut out = b"\x80\x02".to_vec();
        out.extend(b"ccollections\nOrderedDict\n)R(");
        Self(out)
    }

    /// An item: the name, and `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, name: &str, number: usize, shape: &[usize], len: usize) {
        self.text(name);
        self.0.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.0.extend(b"ctorch\nFloatStorage\n");
        self.text(&number.to_string());
        self.text("cpu");
        self.number(len);
        self.0.extend(b"tQ");
        self.number(0);
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
        }
        for list in [shape, &strides] {
            self.0.push(b'(');
            list.iter().for_each(|&n| self.number(n));
            self.0.push(b't');
        }
        // False, an empty ordered dictionary, end of the arguments, the call.
        self.0.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    /// A number of up to 8 bytes as Python's long.
    fn number(&mut self, n: usize) {
        self.0.extend(b"\x8a\x09");
        self.0.extend((n as u64).to_le_bytes());
        self.0.push(0);
    }

    fn finished(mut self) -> Vec<u8> {
        self.0.extend(b"u.");
        self.0
    }
}
