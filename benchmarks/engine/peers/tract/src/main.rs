//! The reference U-Net, read from ONNX, in tract (inference).

use common::Arguments;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

/// Parameters of the network before the export folded batch norm into convolutions, from the weights' shapes: a
/// convolution with batch norm has a bias, a scale and a shift for each output; the 1x1 head has the bias alone.
fn parameters(model: &tract_onnx::pb::ModelProto) -> usize {
    let graph = model.graph.as_ref().expect("a graph");
    graph
        .initializer
        .iter()
        .filter(|t| t.dims.len() == 4)
        .map(|t| {
            let dims: Vec<usize> = t.dims.iter().map(|d| *d as usize).collect();
            let outputs = if dims[2] == 2 { dims[1] } else { dims[0] };
            dims.iter().product::<usize>() + if dims[2] == 1 { outputs } else { 3 * outputs }
        })
        .sum()
}

fn main() -> TractResult<()> {
    let arguments = Arguments::parse();
    if arguments.is_training {
        arguments.skip("tract", "tract does not train");
        return Ok(());
    }
    set_default_executor(if arguments.threads > 1 {
        Executor::multithread(arguments.threads)
    } else {
        Executor::SingleThread
    });
    let file = arguments.onnx.as_ref().expect("--onnx with the exported network");
    let params = parameters(&tract_onnx::onnx().proto_model_for_path(file)?);
    let shape = [arguments.batch, 1, arguments.size, arguments.size];
    let model = tract_onnx::onnx()
        .model_for_path(file)?
        .with_input_fact(0, f32::fact(shape).into())?
        .into_optimized()?
        .into_runnable()?;
    let mut state = 1_u32;
    let input = tract_ndarray::Array4::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / u32::MAX as f32 - 0.5
    });
    let input: Tensor = input.into();
    arguments.measure("tract", params, || {
        let out = model.run(tvec!(input.clone().into())).expect("a run");
        assert_eq!(out[0].shape(), [arguments.batch, 2, arguments.size, arguments.size]);
    });
    Ok(())
}
