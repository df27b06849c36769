//! Running a file with tract.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use segfit::data::Image;
use tract_onnx::prelude::*;

use super::{Program, Values};

/// Image sizes whose compiled models are kept.
const KEPT: usize = 3;

type Compiled = Arc<TypedRunnableModel>;

/// A file, and what was compiled of it for the last sizes met; the latest is the last.
pub struct Tract {
    bytes: Vec<u8>,
    compiled: Vec<([usize; 3], Compiled)>,
}

impl Tract {
    pub fn open(bytes: Vec<u8>) -> Self {
        Self { bytes, compiled: Vec::new() }
    }

    /// tract knows more of a graph whose sizes are fixed, so that every size is compiled.
    fn compiled(&mut self, size: [usize; 3]) -> Result<&Compiled> {
        let entry = match self.compiled.iter().position(|(s, _)| *s == size) {
            Some(i) => self.compiled.remove(i),
            None => {
                if self.compiled.len() == KEPT {
                    self.compiled.remove(0);
                }
                let shape = [1, size[0], size[1], size[2]];
                let model = tract_onnx::onnx()
                    .model_for_read(&mut Cursor::new(&self.bytes))?
                    .with_input_fact(0, f32::fact(shape).into())?
                    .into_optimized()?
                    .into_runnable()?;
                (size, model)
            }
        };
        self.compiled.push(entry);
        self.compiled.last().map(|(_, model)| model).context("a model was compiled above")
    }
}

impl Program for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn run(&mut self, image: &Image) -> Result<Values> {
        let size = [image.channels, image.height, image.width];
        let input = Tensor::from_shape(&[1, size[0], size[1], size[2]], &image.data)?;
        let outputs = self.compiled(size)?.run(tvec!(input.into()))?;
        let output = outputs[0].cast_to::<f32>()?;
        Ok(Values { shape: output.shape().to_vec(), data: output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec() })
    }
}
