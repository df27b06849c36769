//! PyTorch: a readable `model.py` that depends on torch alone, and its weights.
//!
//! The modules of `model.py` are named after the network's layers, so that the keys of its `state_dict` are the names
//! of [`NetworkSpec::parameters`](crate::network::NetworkSpec::parameters). Batch norms are kept, so that it trains on.

mod forward;
mod modules;

use std::path::Path;

use super::description::{one_line, wrapped};
use super::{Deployment, ExportFile, safetensors, write_files};
use crate::error::Result;
use crate::network::{NetworkSpec, Op, Shapes};
use crate::recipe::{InputMode, LossKind};

/// Columns of the texts in the file.
const WIDTH: usize = 118;

const SOFTMAX_LOSS: &str = "    p = torch.softmax(logits, 1)\n    cross_entropy = F.cross_entropy(logits, target)";
const SIGMOID_LOSS: &str =
    "    p = torch.sigmoid(logits)\n    cross_entropy = F.binary_cross_entropy_with_logits(logits, t)";

const INSTANCE_NORM: &str = r#"class InstanceNorm2d(nn.InstanceNorm2d):
    """As PyTorch's, but single pixels, which equal their mean, are no error."""

    def forward(self, x):
        if x.shape[2] * x.shape[3] > 1:
            return super().forward(x)
        zero = torch.zeros_like(x)
        return zero if self.bias is None else zero + self.bias.view(1, -1, 1, 1)


"#;

const FRAME: &str = r#"
    def frame_probabilities(self, image):
        """The probabilities of whole frames: resized to @N@ x @N@ pixels, as the training images were, and back."""
        small = F.interpolate(image, (@N@, @N@), mode="bilinear", antialias=True)
        return F.interpolate(self.probabilities(small), image.shape[-2:], mode="bilinear", antialias=True)
"#;

const FRAME_CLASS: &str = r#"class FrameSegmenter(Network):
    """The network as a function from whole frames to probabilities."""

    def forward(self, image):
        return self.frame_probabilities(image)


"#;

/// The files `model.py` and `weights.safetensors`.
///
/// # Errors
/// As [`model`] and [`safetensors::weights`].
pub fn files(deployment: &Deployment) -> Result<Vec<ExportFile>> {
    Ok(vec![
        ExportFile::new("model.py", model(deployment)?),
        ExportFile::new("weights.safetensors", safetensors::weights(deployment)?),
    ])
}

/// Writes `model.py` and `weights.safetensors` into `folder`.
///
/// # Errors
/// As [`files`]; [`crate::Error::Io`] when a file cannot be written.
pub fn write(deployment: &Deployment, folder: &Path) -> Result<()> {
    write_files(folder, &files(deployment)?)
}

/// The text of `model.py`: the class `Network`, with normalisation, padding and cropping in `probabilities` and
/// `segment`; `Segmenter`, whose `forward` is `probabilities`, and, where the training images were resized,
/// `FrameSegmenter`, which resizes; the loss; loading and saving of weights.
///
/// # Errors
/// [`crate::Error::Network`] when the network does not fit together, or a layer's name cannot be that of a module.
pub fn model(deployment: &Deployment) -> Result<String> {
    let spec = &deployment.network;
    let shapes = roomy_shapes(spec)?;
    let title = one_line(&deployment.title()?);
    let needs_instance_norm = spec.layers.iter().enumerate().any(|(i, layer)| match layer.op {
        Op::InstanceNorm { .. } => true,
        Op::GroupNorm { groups, .. } => groups == shapes.tensors[i].channels,
        _ => false,
    });
    let (words, loss, probabilities) = match deployment.loss {
        LossKind::CrossEntropyDice => (
            "Mean softmax cross-entropy of the pixels + 1 - mean soft Dice of the foreground classes.",
            SOFTMAX_LOSS,
            "torch.softmax(logits, 1)",
        ),
        LossKind::BinaryDice => (
            "Mean sigmoid cross-entropy of pixels and classes + 1 - mean soft Dice of the foreground classes.",
            SIGMOID_LOSS,
            "torch.softmax(F.logsigmoid(logits), 1)  # sigmoids divided by their sum",
        ),
    };
    let is_resized = deployment.input.mode == InputMode::Resize;
    let frame = filled(FRAME, &[("N", deployment.input.size.to_string())]);
    let only_resized = |text: &str| if is_resized { text.to_string() } else { String::new() };
    let values = [
        ("FRAME", only_resized(&frame)),
        ("FRAME_CLASS", only_resized(FRAME_CLASS)),
        ("TITLE", capital(&title)),
        ("ABOUT", wrapped(&deployment.story().join(" "), WIDTH)),
        ("SIZE", wrapped(&deployment.size_in_words(), WIDTH)),
        ("CHANNELS", spec.in_channels().to_string()),
        ("CLASSES", spec.classes.to_string()),
        ("MULTIPLE", spec.input_multiple().to_string()),
        ("CLASS_NAMES", list(deployment.class_names().iter().map(|n| literal(n)))),
        ("MEAN", list(deployment.normalisation.mean.iter().map(|v| number(*v)))),
        ("STD", list(deployment.normalisation.std.iter().map(|v| number(*v)))),
        ("INIT", modules::init(spec, &shapes)?),
        ("FORWARD", forward::body(spec, &shapes)?),
        ("HELPERS", if needs_instance_norm { INSTANCE_NORM.into() } else { String::new() }),
        ("PROBABILITIES", probabilities.into()),
        ("LOSS_WORDS", words.into()),
        ("LOSS", loss.into()),
    ];
    Ok(filled(include_str!("template.py"), &values))
}

/// The shapes at a size at which reductions can be told apart.
fn roomy_shapes(spec: &NetworkSpec) -> Result<Shapes> {
    let smallest = spec.smallest_shapes()?;
    let image = spec.layers.iter().zip(&smallest.tensors).find(|(layer, _)| matches!(layer.op, Op::Input { .. }));
    let (rows, columns) = image.map_or((1, 1), |(_, t)| (t.height, t.width));
    Shapes::infer(spec, 4 * rows, 4 * columns)
}

/// The template with every `@NAME@` replaced; what is put in is not looked at again.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (i, part) in template.split('@').enumerate() {
        match values.iter().find(|(name, _)| i % 2 == 1 && *name == part) {
            Some((_, value)) => text.push_str(value),
            None => text.push_str(part),
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect::<String>() + ".")
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A string as Python writes it: JSON's form is one of Python's.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The shortest number that is this f32.
fn number(value: f32) -> String {
    match value {
        v if v == f32::INFINITY => "float(\"inf\")".into(),
        v if v == f32::NEG_INFINITY => "-float(\"inf\")".into(),
        v => format!("{v:?}"),
    }
}

/// Two numbers as Python writes them for PyTorch: one where they are equal.
fn pair(values: [usize; 2]) -> String {
    if values[0] == values[1] { values[0].to_string() } else { format!("({}, {})", values[0], values[1]) }
}

#[cfg(test)]
pub(super) mod tests;
