//! A package of bioimage.io: a model description (`rdf.yaml`, version 0.5), PyTorch and ONNX weights, a test image and
//! the probabilities that the network gives for it, documentation and a picture.
//!
//! The package's weights take pixel values from 0 to 1 and give probabilities: normalisation, padding and softmax are
//! inside, so that all of them do the same. The description's only preprocessing divides whole-numbered pixels by their
//! largest value.

use std::path::Path;

use serde_json::{Value, json};

use super::cover::cover;
use super::description::one_line;
use super::publication::{PixelType, Publication};
use super::{Deployment, ExportFile, pytorch, torch_file, write_files, yaml, zip};
use crate::data::Image;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::network::Op;
use crate::npy;
use crate::random::Stream;
use crate::recipe::InputMode;

/// Version of the description that is written.
const FORMAT: &str = "0.5.12";
/// The oldest PyTorch that reads the weights and `model.py`.
const PYTORCH: &str = "2.1.0";
/// Probabilities may differ by this between programs.
const TOLERANCE: f64 = 1e-4;
/// Rows and columns that a network for images of any size is asked for at least, where it was trained on as many.
const SMALLEST: usize = 64;

/// An ONNX file that takes pixel values from 0 to 1 of any size and gives probabilities.
#[derive(Clone, Copy, Debug)]
pub struct OnnxWeights<'a> {
    /// The file.
    pub bytes: &'a [u8],
    /// Version of its operators.
    pub opset: i64,
}

/// An image, values 0 to 1, and what the engine gives for it: one channel of probabilities for each class.
#[derive(Clone, Copy, Debug)]
pub struct TestPair<'a> {
    /// Of [`test_image`].
    pub image: &'a Image,
    /// As large as the image.
    pub probabilities: &'a Image,
}

/// An image that the package can be tested with: discs on noise, of a size that the network accepts, with values that
/// `pixels` can hold. Always the same.
#[must_use]
pub fn test_image(deployment: &Deployment, pixels: PixelType) -> Image {
    let channels = deployment.network.in_channels();
    let side = match deployment.input.mode {
        InputMode::Resize => deployment.input.size,
        InputMode::Patch => smallest(deployment).max(deployment.input.size.next_multiple_of(step(deployment))),
    };
    let mut stream = Stream::new(&[0x7E57]);
    let discs: Vec<[f32; 4]> = (0..12)
        .map(|_| {
            let radius = side as f32 * stream.range(0.04, 0.12);
            [stream.range(0.0, side as f32), stream.range(0.0, side as f32), radius, stream.range(0.3, 0.6)]
        })
        .collect();
    let mut image = Image::filled(channels, side, side, 0.0);
    let steps = if pixels == PixelType::Float32 { 255.0 } else { pixels.largest() };
    for c in 0..channels {
        for i in 0..side * side {
            let (y, x) = ((i / side) as f32, (i % side) as f32);
            let inside = discs.iter().filter(|d| (y - d[0]).powi(2) + (x - d[1]).powi(2) < d[2] * d[2]);
            let brightest = inside.map(|d| d[3] * (1.0 - 0.2 * c as f32 / channels as f32)).fold(0.0, f32::max);
            let value = 0.2 + brightest + stream.range(-0.05, 0.05);
            image.data[c * side * side + i] = (value.clamp(0.0, 1.0) * steps).round() / steps;
        }
    }
    image
}

/// The files of the package.
///
/// # Errors
/// [`Error::Option`] when the test pair does not fit the network; as [`pytorch::model`] and [`torch_file::weights`].
pub fn files(
    deployment: &Deployment,
    publication: &Publication,
    test: &TestPair<'_>,
    onnx: Option<OnnxWeights<'_>>,
) -> Result<Vec<ExportFile>> {
    check(deployment, test)?;
    let description = description(deployment, publication, onnx.map(|o| o.opset))?;
    let mut files = vec![
        ExportFile::new("rdf.yaml", yaml::document(&description)),
        ExportFile::new("README.md", documentation(deployment, publication)?),
        ExportFile::new("cover.png", cover(&deployment.network)?),
        ExportFile::new("model.py", pytorch::model(deployment)?),
        ExportFile::new("weights.pt", torch_file::weights(deployment)?),
        ExportFile::new("test_input.npy", input_array(test.image, publication.pixels)),
        ExportFile::new("test_output.npy", npy::floats(&batch_shape(test.probabilities), &test.probabilities.data)),
    ];
    if let Some(onnx) = onnx {
        files.push(ExportFile::new("weights.onnx", onnx.bytes));
    }
    Ok(files)
}

/// Writes the package as a folder, and beside it as `FOLDER.zip`, which is what websites and programs take.
///
/// # Errors
/// As [`files`]; [`Error::Io`] when a file cannot be written; [`Error::Network`] when the archive would be too large.
pub fn write(
    deployment: &Deployment,
    publication: &Publication,
    test: &TestPair<'_>,
    onnx: Option<OnnxWeights<'_>>,
    folder: &Path,
) -> Result<()> {
    let files = files(deployment, publication, test, onnx)?;
    let archive = zip::archive(&files, 1).ok_or_else(|| Error::Network {
        layer: deployment.network.output.clone(),
        reason: "the package is too large for a ZIP archive".into(),
    })?;
    write_files(folder, &files)?;
    write_atomically(&folder.with_extension("zip"), &archive)
}

fn check(deployment: &Deployment, test: &TestPair<'_>) -> Result<()> {
    let size = |channels: usize, image: &Image| format!("{channels} x {} x {} values", image.height, image.width);
    let checks = [
        ("test image", deployment.network.in_channels(), test.image),
        ("test probabilities", deployment.network.classes, test.probabilities),
    ];
    for (what, channels, image) in checks {
        let (expected, got) = (size(channels, test.image), size(image.channels, image));
        if expected != got || image.data.len() != image.channels * image.height * image.width {
            return Err(Error::Option { what: what.into(), expected, got });
        }
    }
    Ok(())
}

/// The image as its users store it.
fn input_array(image: &Image, pixels: PixelType) -> Vec<u8> {
    let shape = batch_shape(image);
    let whole = image.data.iter().map(|v| (v * pixels.largest()).round());
    match pixels {
        PixelType::Uint8 => npy::bytes(&shape, &whole.map(|v| v as u8).collect::<Vec<_>>()),
        PixelType::Uint16 => npy::shorts(&shape, &whole.map(|v| v as u16).collect::<Vec<_>>()),
        PixelType::Float32 => npy::floats(&shape, &image.data),
    }
}

fn batch_shape(image: &Image) -> [usize; 4] {
    [1, image.channels, image.height, image.width]
}

/// Sizes grow by this, so that nothing has to be padded.
fn step(deployment: &Deployment) -> usize {
    deployment.network.input_multiple()
}

/// The smallest size that users are asked for, where the network takes many.
fn smallest(deployment: &Deployment) -> usize {
    SMALLEST.min(deployment.input.size).max(2 * step(deployment)).next_multiple_of(step(deployment))
}

/// A name of letters, digits and `_+- ()`, of 5 to 64 characters.
fn name(deployment: &Deployment, publication: &Publication) -> String {
    let own = || {
        let dataset = one_line(&deployment.provenance.dataset);
        format!("{} of width {} for {dataset}", deployment.network.family, deployment.width())
    };
    let text = publication.name.clone().unwrap_or_else(own);
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_+- ()".contains(c) { c } else { '-' };
    let mut text: String = text.chars().map(allowed).take(64).collect();
    while text.len() < 5 {
        text.push('-');
    }
    text
}

fn description(deployment: &Deployment, publication: &Publication, onnx: Option<i64>) -> Result<Value> {
    let space = |id: &str, size: Value| json!({"type": "space", "id": id, "size": size});
    let (input_size, pixels) = (input_size(deployment), publication.pixels);
    let same = |axis: &str| json!({"tensor_id": "image", "axis_id": axis});
    let classes: Vec<String> = deployment.class_names().iter().map(|n| one_line(n)).collect();
    let mut steps = vec![json!({"id": "ensure_dtype", "kwargs": {"dtype": "float32"}})];
    if pixels != PixelType::Float32 {
        let gain = 1.0 / f64::from(pixels.largest());
        steps.push(json!({"id": "scale_linear", "kwargs": {"gain": gain, "offset": 0.0}}));
        // Without this the last step of a description is a cast to the type of the image.
        steps.push(json!({"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}));
    }
    let mut weights = json!({"pytorch_state_dict": {
        "source": "weights.pt",
        "architecture": {"source": "model.py", "callable": "Segmenter", "kwargs": {}},
        "pytorch_version": PYTORCH,
    }});
    if let Some(opset) = onnx {
        weights["onnx"] = json!({"source": "weights.onnx", "opset_version": opset, "parent": "pytorch_state_dict"});
    }
    let mut value = json!({
        "format_version": FORMAT,
        "type": "model",
        "name": name(deployment, publication),
        "description": format!("Semantic segmentation: {}.", one_line(&deployment.title()?)),
        "documentation": {"source": "README.md"},
        "covers": [{"source": "cover.png"}],
        "tags": tags(deployment),
        "cite": citations(deployment),
        "inputs": [{
            "id": "image",
            "description": format!("{} pixels", pixels.name()),
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": channel_names(deployment.network.in_channels())},
                space("y", input_size.clone()),
                space("x", input_size),
            ],
            "data": {"type": pixels.name(), "range": [0.0, pixels.largest()]},
            "preprocessing": steps,
            "test_tensor": {"source": "test_input.npy"},
        }],
        "outputs": [{
            "id": "probabilities",
            "description": "Probability of every class",
            "axes": [
                {"type": "batch"},
                {"type": "channel", "channel_names": classes},
                space("y", same("y")),
                space("x", same("x")),
            ],
            "data": {"type": "float32", "range": [0.0, 1.0]},
            "test_tensor": {"source": "test_output.npy"},
        }],
        "weights": weights,
        "config": {
            "bioimageio": {"reproducibility_tolerance": [
                {"relative_tolerance": TOLERANCE, "absolute_tolerance": TOLERANCE, "mismatched_elements_per_million": 0}
            ]},
            "segfit": {
                "version": deployment.provenance.version,
                "run": deployment.provenance.run,
                "dataset": deployment.provenance.dataset,
                "fingerprint": deployment.provenance.fingerprint,
                "input": deployment.input,
                "normalisation": deployment.normalisation,
                "labels": deployment.labels,
            },
        },
    });
    if !publication.authors.is_empty() {
        let authors = publication.authors.iter().map(|a| json!({"name": one_line(a).replace('/', "-")}));
        value["authors"] = Value::Array(authors.collect());
    }
    if let Some(licence) = &publication.licence {
        value["license"] = json!(licence);
    }
    Ok(value)
}

/// One size where frames were resized to it; any multiple that is not too small otherwise.
fn input_size(deployment: &Deployment) -> Value {
    match deployment.input.mode {
        InputMode::Resize => json!(deployment.input.size),
        InputMode::Patch => json!({"min": smallest(deployment), "step": step(deployment)}),
    }
}

fn channel_names(channels: usize) -> Vec<String> {
    match channels {
        1 => vec!["gray".into()],
        3 => ["red", "green", "blue"].map(String::from).to_vec(),
        n => (0..n).map(|c| format!("channel{c}")).collect(),
    }
}

fn tags(deployment: &Deployment) -> Vec<String> {
    let has_norm = deployment.network.layers.iter().any(|l| matches!(l.op, Op::BatchNorm { .. }));
    let mut tags = vec!["semantic-segmentation", "2d", "pytorch", "segfit", "biomedical"];
    if has_norm {
        tags.push("batch-norm");
    }
    tags.into_iter().map(String::from).chain([deployment.network.family.clone()]).collect()
}

fn citations(deployment: &Deployment) -> Value {
    let list = deployment.architecture().map(|(paper, link)| json!({"text": paper, "url": link}));
    Value::Array(list.into_iter().collect())
}

fn documentation(deployment: &Deployment, publication: &Publication) -> Result<String> {
    let p = &deployment.provenance;
    let classes = deployment.class_names();
    let list: String = classes.iter().enumerate().map(|(i, n)| format!("- channel {i}: {}\n", one_line(n))).collect();
    let measured = match (p.dice, p.test_images) {
        (Some(dice), Some(n)) => format!("Mean Dice {dice:.4} on {n} test images, which had no part in the training."),
        (Some(dice), None) => format!("Mean Dice {dice:.4} on the test images, which had no part in the training."),
        (None, _) => "The network was not evaluated on test images.".into(),
    };
    let pixels = match publication.pixels {
        PixelType::Float32 => "values from 0 to 1".into(),
        other => format!("{} values, which the package divides by {}", other.name(), other.largest()),
    };
    Ok(format!(
        "# {}\n\n{}.\n\n{}\n\n## Use\n\nInput: {} channel(s), {pixels}. {} Normalisation is inside of the network.\n\n\
         Output: probabilities ({}), one channel for each class:\n\n{list}\n\
         ## Validation\n\n{measured} To validate the network on images of your own, compare its masks with masks drawn \
         by hand (Dice, intersection over union) on images that were not trained on.\n",
        name(deployment, publication),
        one_line(&deployment.title()?),
        deployment.story().join("\n"),
        deployment.network.in_channels(),
        deployment.size_in_words(),
        deployment.probabilities_in_words(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::pytorch::tests::deployment;
    use crate::network::families::{Options, unet};

    fn small(mode: InputMode) -> Deployment {
        let options = Options { in_channels: 3, classes: 2, base_width: 2, depth: 4, ..Options::default() };
        let mut made = deployment(unet(&options).unwrap());
        (made.input.mode, made.input.size) = (mode, 100);
        made
    }

    #[test]
    fn sizes_are_those_that_the_network_takes() {
        let (patch, resize) = (small(InputMode::Patch), small(InputMode::Resize));
        assert_eq!(input_size(&patch), json!({"min": 64, "step": 16}));
        assert_eq!(input_size(&resize), json!(100));
        let image = test_image(&patch, PixelType::Uint8);
        assert_eq!((image.channels, image.height, image.width), (3, 112, 112));
        assert_eq!(test_image(&resize, PixelType::Uint8).height, 100);
        assert!(image.data.iter().all(|v| (v * 255.0 - (v * 255.0).round()).abs() < 1e-4 && (0.0..=1.0).contains(v)));
        let spread = image.data.iter().fold(0.0_f32, |m, v| m.max(*v));
        assert!(spread > 0.5, "there are discs");
    }

    #[test]
    fn a_package_describes_its_files_and_a_wrong_test_is_refused() {
        let d = small(InputMode::Resize);
        let image = test_image(&d, PixelType::Uint8);
        let probabilities = Image::filled(2, 100, 100, 0.5);
        let pair = TestPair { image: &image, probabilities: &probabilities };
        let onnx = OnnxWeights { bytes: b"onnx", opset: 17 };
        let publication =
            Publication { authors: vec!["A/B".into()], licence: Some("MIT".into()), ..Default::default() };
        let made = files(&d, &publication, &pair, Some(onnx)).unwrap();
        let text = String::from_utf8(made[0].bytes.clone()).unwrap();
        for file in &made[1..] {
            assert!(text.contains(&format!("\"{}\"", file.path)), "{} in\n{text}", file.path);
        }
        for line in ["license: \"MIT\"", "  - name: \"A-B\"", "          dtype: \"float32\"", "    opset_version: 17"] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert_eq!(files(&d, &publication, &pair, Some(onnx)).unwrap(), made, "always the same bytes");
        let wrong = TestPair { image: &image, probabilities: &image };
        assert!(matches!(files(&d, &publication, &wrong, None), Err(Error::Option { .. })));
    }

    #[test]
    fn names_are_cut_to_what_is_allowed() {
        let d = small(InputMode::Patch);
        let named = |name: &str| name_of(&d, name);
        assert_eq!(named("a"), "a----");
        assert_eq!(named("Zellen/Kerne: 1"), "Zellen-Kerne- 1");
        assert_eq!(named(&"x".repeat(99)).len(), 64);
    }

    fn name_of(d: &Deployment, text: &str) -> String {
        name(d, &Publication { name: Some(text.into()), ..Default::default() })
    }
}
