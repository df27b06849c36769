//! The weights of a network as a safetensors file, as in a run's folder (`docs/formats.md`).

use std::collections::HashMap;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView, serialize};

use super::Deployment;
use crate::error::{Error, Result};

/// `format` of weights files.
pub const WEIGHTS_FORMAT: &str = "segfit-weights/1";

/// The bytes of a weights file (`segfit-weights/1`), which PyTorch, `segfit train --init` and `segfit import-weights`
/// read.
///
/// The same weights give the same bytes.
///
/// # Errors
/// [`Error::Network`] when two parameters have one name or a tensor's values do not fill its shape.
pub fn weights(deployment: &Deployment) -> Result<Vec<u8>> {
    let broken =
        |e: SafeTensorError| Error::Network { layer: deployment.network.output.clone(), reason: e.to_string() };
    let bytes: Vec<Vec<u8>> =
        deployment.weights.iter().map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = deployment.weights.iter().zip(&bytes);
    let views = views
        .map(|(t, b)| Ok((t.name.as_str(), TensorView::new(Dtype::F32, t.shape.clone(), b).map_err(broken)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = format!(r#"[["format","{WEIGHTS_FORMAT}"]]"#);
    serialize(views, Some(HashMap::from([("segfit".to_string(), metadata)]))).map_err(broken)
}
