//! Running a file with ONNX Runtime, whose shared library is loaded when it is asked for.

use std::path::Path;

use anyhow::{Context as _, Result};
use ort::session::Session;
use ort::value::TensorRef;
use segfit::data::Image;

use super::{Program, Values};

/// A session; it keeps the library's environment alive.
pub struct OnnxRuntime {
    session: Session,
    output: String,
    _environment: ort::environment::Environment,
}

impl OnnxRuntime {
    pub fn open(path: &Path, bytes: &[u8], library: &Path) -> Result<Self> {
        let loading = || format!("loading ONNX Runtime from {}", library.display());
        let environment = ort::init_from(library).with_context(loading)?.build().with_context(loading)?;
        let opening = || format!("{} in ONNX Runtime", path.display());
        let threads = rayon::current_num_threads();
        let mut builder = Session::builder(&environment).with_context(opening)?;
        builder = builder.with_intra_threads(threads).map_err(ort::Error::<()>::from).with_context(opening)?;
        let session = builder.commit_from_memory(bytes).with_context(opening)?;
        let output = session.outputs().first().map(|o| o.name().to_string()).context("the file has no output")?;
        Ok(Self { session, output, _environment: environment })
    }
}

impl Program for OnnxRuntime {
    fn name(&self) -> &'static str {
        "ONNX Runtime"
    }

    fn run(&mut self, image: &Image) -> Result<Values> {
        let shape = [1, image.channels, image.height, image.width];
        let input = TensorRef::from_array_view((shape, image.data.as_slice()))?;
        let outputs = self.session.run(ort::inputs!["image" => input])?;
        let output = &outputs[self.output.as_str()];
        let whole = |shape: &[i64]| shape.iter().map(|&n| n as usize).collect();
        if let Ok((shape, data)) = output.try_extract_tensor::<f32>() {
            return Ok(Values { shape: whole(shape), data: data.to_vec() });
        }
        let (shape, data) = output.try_extract_tensor::<u8>()?;
        Ok(Values { shape: whole(shape), data: data.iter().map(|&v| f32::from(v)).collect() })
    }
}
