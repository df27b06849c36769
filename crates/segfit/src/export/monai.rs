//! A bundle of MONAI: metadata, a configuration for inference, the weights as a `.pt` file, and `model.py` as its
//! script.
//!
//! The network of the bundle takes pixel values from 0 to 1 and gives probabilities: normalisation, padding, softmax
//! and, where the training images were resized, resizing are inside (`Segmenter` or `FrameSegmenter` of
//! [`super::pytorch`]).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::description::one_line;
use super::publication::Publication;
use super::{Deployment, ExportFile, pytorch, torch_file, write_files};
use crate::data::{LabelCoding, LabelKind};
use crate::error::Result;
use crate::recipe::InputMode;

/// Version of the bundle itself.
const VERSION: &str = "0.1.0";
/// The schema that the metadata follow.
const SCHEMA: &str =
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json";

/// The files of the bundle.
///
/// # Errors
/// As [`pytorch::model`] and [`torch_file::weights`].
pub fn files(deployment: &Deployment, publication: &Publication) -> Result<Vec<ExportFile>> {
    Ok(vec![
        ExportFile::new("configs/metadata.json", text(&metadata(deployment, publication)?)),
        ExportFile::new("configs/inference.json", text(&inference(deployment, publication))),
        ExportFile::new("docs/README.md", documentation(deployment)?),
        ExportFile::new("models/model.pt", torch_file::weights(deployment)?),
        ExportFile::new("scripts/__init__.py", ""),
        ExportFile::new("scripts/model.py", pytorch::model(deployment)?),
    ])
}

/// Writes the bundle into `folder`.
///
/// # Errors
/// As [`files`]; [`crate::Error::Io`] when a file cannot be written.
pub fn write(deployment: &Deployment, publication: &Publication, folder: &Path) -> Result<()> {
    write_files(folder, &files(deployment, publication)?)
}

fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

fn metadata(deployment: &Deployment, publication: &Publication) -> Result<Value> {
    let spec = &deployment.network;
    let p = &deployment.provenance;
    let classes: Map<String, Value> = deployment
        .class_names()
        .iter()
        .enumerate()
        .map(|(i, name)| (i.to_string(), Value::from(one_line(name))))
        .collect();
    let channels: Map<String, Value> =
        (0..spec.in_channels()).map(|c| (c.to_string(), Value::from(format!("channel {c}")))).collect();
    let side = json!(["*", "*"]);
    let authors = match publication.authors.as_slice() {
        [] => "not stated".into(),
        list => list.join(", "),
    };
    let name = publication.name.clone().unwrap_or_else(|| format!("{} for {}", spec.family, one_line(&p.dataset)));
    let references: Vec<String> =
        deployment.architecture().map(|(paper, link)| format!("{paper}. {link}")).into_iter().collect();
    Ok(json!({
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: format!("written by segfit {}", one_line(&p.version))},
        "monai_version": "1.4.0",
        "pytorch_version": "2.1.0",
        "numpy_version": "1.24.4",
        "required_packages_version": {"pytorch-ignite": "0.4.11", "pillow": "10.0.0"},
        "name": name,
        "task": "Semantic segmentation of two-dimensional images",
        "description": one_line(&deployment.title()?),
        "authors": authors,
        "copyright": publication.licence.clone().unwrap_or_else(|| "not stated".into()),
        "data_source": format!("{} (fingerprint {})", one_line(&p.dataset), one_line(&p.fingerprint)),
        "data_type": "PNG, JPEG, TIFF",
        "image_classes": format!("{} channel(s), values 0 to 1", spec.in_channels()),
        "label_classes": "one number per class, 0 is the background",
        "pred_classes": format!("{} channels: probabilities of the classes", spec.classes),
        "eval_metrics": p.dice.map_or_else(|| json!({}), |dice| json!({"mean_dice": dice})),
        "intended_use": "Research. Not for diagnosis.",
        "references": references,
        "network_data_format": {
            "inputs": {"image": {
                "type": "image",
                "format": "magnitude",
                "modality": "n/a",
                "num_channels": spec.in_channels(),
                "spatial_shape": side,
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": false,
                "channel_def": channels,
            }},
            "outputs": {"pred": {
                "type": "image",
                "format": "segmentation",
                "num_channels": spec.classes,
                "spatial_shape": side,
                "dtype": "float32",
                "value_range": [0, 1],
                "is_patch_data": false,
                "channel_def": classes,
            }},
        },
    }))
}

/// PNG, JPEG and TIFF images of a folder become masks of their size.
fn inference(deployment: &Deployment, publication: &Publication) -> Value {
    let mut load = json!({
        "_target_": "LoadImaged",
        "keys": "image",
        "reader": "PILReader",
        "reverse_indexing": false,
    });
    // Palettes and transparency are resolved.
    if deployment.network.in_channels() == 3 {
        load["converter"] = json!("$lambda image: image.convert('RGB')");
    }
    let before = vec![
        load,
        json!({"_target_": "EnsureChannelFirstd", "keys": "image"}),
        json!({
            "_target_": "ScaleIntensityRanged", "keys": "image",
            "a_min": 0.0, "a_max": publication.pixels.largest(), "b_min": 0.0, "b_max": 1.0, "clip": false,
        }),
    ];
    let network = match deployment.input.mode {
        InputMode::Resize => "scripts.model.FrameSegmenter",
        InputMode::Patch => "scripts.model.Segmenter",
    };
    let mut after = vec![json!({"_target_": "AsDiscreted", "keys": "pred", "argmax": true})];
    if let Some((classes, values)) = label_values(deployment) {
        after.push(json!({
            "_target_": "MapLabelValued", "keys": "pred", "orig_labels": classes, "target_labels": values,
        }));
    }
    // The writer exchanges rows and columns; the reader here did not.
    after.push(json!({"_target_": "Transposed", "keys": "pred", "indices": [0, 2, 1]}));
    after.push(json!({
        "_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "",
        "output_ext": ".png",
        "output_dtype": "$np.uint8", "scale": null, "resample": false, "separate_folder": false, "writer": "PILWriter",
    }));
    json!({
        "imports": ["$import glob", "$import numpy as np", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/masks'",
        "endings": [".png", ".jpg", ".jpeg", ".tif", ".tiff"],
        "files": "$[f for f in sorted(glob.glob(@dataset_dir + '/*')) if f.lower().endswith(tuple(@endings))]",
        "datalist": "$[{'image': f} for f in @files]",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": network},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": false, "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "handlers": [{
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
            "map_location": "@device",
        }],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": false,
        },
        "run": ["$@evaluator.run()"],
    })
}

/// Classes and the values that the training masks had for them, where they differ and fit an 8-bit image.
fn label_values(deployment: &Deployment) -> Option<(Vec<u8>, Vec<u32>)> {
    let labels = &deployment.labels;
    let gray = labels.coding == LabelCoding::Value && labels.kind != LabelKind::Instances;
    let differ = labels.entries.iter().any(|e| u32::from(e.class) != e.value);
    let fit = labels.entries.iter().all(|e| e.value < 256);
    if !(gray && differ && fit) {
        return None;
    }
    Some(labels.entries.iter().map(|e| (e.class, e.value)).unzip())
}

fn documentation(deployment: &Deployment) -> Result<String> {
    Ok(format!(
        "# {}\n\n{}\n\n## Inference\n\nIn the folder of the bundle, with images in `images/`; masks go to `masks/`:\n\n\
         ```\npython -m monai.bundle run --config_file configs/inference.json\n```\n\n\
         Other folders: `--dataset_dir DIR --output_dir DIR`. The network takes pixel values from 0 to 1 and gives \
         probabilities ({}): normalisation, padding and, where it is needed, resizing are inside.\n",
        one_line(&deployment.title()?),
        deployment.story().join("\n"),
        deployment.probabilities_in_words(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::LabelEntry;
    use crate::export::pytorch::tests::deployment;
    use crate::network::families::{Options, unet};

    #[test]
    fn labels_and_sizes_are_in_the_configuration() {
        let mut d = deployment(unet(&Options { base_width: 2, depth: 2, ..Options::default() }).unwrap());
        let targets = |d: &Deployment| {
            let config = inference(d, &Publication::default());
            let of = |key: &str| -> Vec<String> {
                let list = config[key]["transforms"].as_array().unwrap();
                list.iter().map(|t| t["_target_"].as_str().unwrap().to_string()).collect()
            };
            [of("preprocessing"), of("postprocessing")].concat().join(" ")
        };
        let network = |d: &Deployment| inference(d, &Publication::default())["network_def"]["_target_"].clone();
        assert_eq!(network(&d), "scripts.model.Segmenter");
        assert!(!targets(&d).contains("MapLabelValued"), "{}", targets(&d));
        d.input.mode = InputMode::Resize;
        assert_eq!(network(&d), "scripts.model.FrameSegmenter");
        let entry = |value, class| LabelEntry { value, class, name: None };
        d.labels.entries = vec![entry(0, 0), entry(255, 1)];
        let all = targets(&d);
        assert!(all.contains("AsDiscreted MapLabelValued Transposed SaveImaged"), "{all}");
        assert_eq!(label_values(&d), Some((vec![0, 1], vec![0, 255])));
        d.labels.entries[1].value = 300;
        assert_eq!(label_values(&d), None, "8 bits are too few");
        let meta = metadata(&d, &Publication::default()).unwrap();
        assert_eq!(meta["network_data_format"]["inputs"]["image"]["spatial_shape"], json!(["*", "*"]));
        assert_eq!(meta["eval_metrics"]["mean_dice"], 0.9);
    }
}
