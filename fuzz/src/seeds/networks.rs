//! Small networks of every family, as network.json and as ONNX.

use std::path::Path;

use segfit::network::NetworkSpec;
use segfit::network::families::{FAMILIES, Norm, Options, Upsampling, unet};
use segfit::onnx::{ExportOptions, Tensor, export};
use segfit_engine::initialise::initialise;
use segfit_engine::state::{ParameterLayout, Weights};

use super::{Made, put};

pub fn write(to: &Path) -> Made {
    for (name, spec) in networks() {
        put(to, "network", &format!("{name}.json"), serde_json::to_string(&spec)?.as_bytes())?;
        let weights = initialise(&spec, 1).expect("a valid network");
        if let Ok(bytes) = export(&spec, &tensors(&spec, &weights), &ExportOptions::default())
            && bytes.len() < 200_000
        {
            put(to, "onnx", &format!("{name}.onnx"), &bytes)?;
        }
    }
    put(to, "onnx", "deployed.onnx", &super::runs::exported())
}

fn networks() -> Vec<(String, NetworkSpec)> {
    let small = Options { in_channels: 1, classes: 2, base_width: 1, depth: 1, ..Options::default() };
    let mut all = Vec::new();
    for family in FAMILIES {
        let built = [1, 2, 4, 8, 16].into_iter().find_map(|base_width| {
            let depth = family.depth.min(2);
            family
                .build(&Options { base_width, depth, ..small })
                .or_else(|_| family.build(&Options { base_width, ..family.options(1, 2) }))
                .ok()
        });
        all.extend(built.map(|spec| (family.name.to_string(), spec)));
    }
    let more = [
        Options { deep_supervision: true, depth: 2, ..small },
        Options { norm: Some(Norm::Instance), residual: true, ..small },
        Options { norm: Some(Norm::Group), base_width: 8, upsampling: Some(Upsampling::Bilinear), ..small },
        Options { dropout: Some(0.25), ..small },
    ];
    for (i, options) in more.iter().enumerate() {
        all.extend(unet(options).ok().map(|spec| (format!("unet{i}"), spec)));
    }
    all
}

fn tensors(spec: &NetworkSpec, weights: &Weights) -> Vec<Tensor> {
    let layout = ParameterLayout::new(spec).expect("a valid network");
    let all = layout.parameters.iter().zip(&layout.ranges);
    all.map(|(p, range)| {
        let from = if p.kind.is_trained() { &weights.trained } else { &weights.running };
        Tensor { name: p.name.clone(), shape: p.shape.clone(), values: from[range.clone()].to_vec() }
    })
    .collect()
}
