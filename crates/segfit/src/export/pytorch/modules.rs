//! `Network.__init__`: a module for every layer that has parameters, at the place in the tree that its name says.

use super::{number, pair};
use crate::error::{Error, Result};
use crate::network::{NetworkSpec, Op, Shapes};

/// Python's keywords, and what every PyTorch module (or the class that is written) has already: no module can be called
/// so.
const TAKEN: &[&str] = &[
    "T_destination",
    "add_module",
    "apply",
    "bfloat16",
    "buffers",
    "call_super_init",
    "children",
    "compile",
    "cpu",
    "cuda",
    "double",
    "dump_patches",
    "eval",
    "extra_repr",
    "float",
    "forward",
    "frame_probabilities",
    "get_buffer",
    "get_extra_state",
    "get_parameter",
    "get_submodule",
    "half",
    "ipu",
    "load_state_dict",
    "modules",
    "mtia",
    "named_buffers",
    "named_children",
    "named_modules",
    "named_parameters",
    "parameters",
    "probabilities",
    "register_backward_hook",
    "register_buffer",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook",
    "register_module",
    "register_parameter",
    "register_state_dict_post_hook",
    "register_state_dict_pre_hook",
    "requires_grad_",
    "segment",
    "set_extra_state",
    "set_submodule",
    "share_memory",
    "state_dict",
    "to",
    "to_empty",
    "train",
    "training",
    "type",
    "xpu",
    "zero_grad",
];

/// What layers have besides, so that nothing that lies within a layer can be called so.
const TAKEN_IN_LAYERS: &[&str] = &[
    "affine",
    "bias",
    "dilation",
    "eps",
    "groups",
    "in_channels",
    "kernel_size",
    "momentum",
    "num_batches_tracked",
    "num_channels",
    "num_features",
    "num_groups",
    "num_parameters",
    "out_channels",
    "output_padding",
    "padding",
    "padding_mode",
    "reset_parameters",
    "reset_running_stats",
    "running_mean",
    "running_var",
    "stride",
    "track_running_stats",
    "transposed",
    "weight",
];

const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Whether Python takes it as a name.
pub fn is_identifier(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !KEYWORDS.contains(&name)
}

/// How the module at `path` is reached: `self.enc0.conv1`, with `getattr` where a part is no identifier.
pub fn access(path: &str) -> String {
    let mut text = String::from("self");
    for part in path.split('.').filter(|p| !p.is_empty()) {
        text = if is_identifier(part) { format!("{text}.{part}") } else { format!("getattr({text}, \"{part}\")") };
    }
    text
}

/// The lines of `__init__`.
///
/// # Errors
/// [`Error::Network`] with a layer whose name cannot be a module's.
pub fn init(spec: &NetworkSpec, shapes: &Shapes) -> Result<String> {
    let made: Vec<(usize, String)> =
        (0..spec.layers.len()).filter_map(|i| Some((i, constructor(spec, shapes, i)?))).collect();
    let mut writer = Writer { spec, made: &made, known: Vec::new(), lines: Vec::new() };
    for (i, _) in &made {
        writer.module(&spec.layers[*i].name, &spec.layers[*i].name)?;
    }
    Ok(writer.lines.join("\n"))
}

struct Writer<'a> {
    spec: &'a NetworkSpec,
    made: &'a [(usize, String)],
    /// Paths of modules that exist.
    known: Vec<String>,
    lines: Vec<String>,
}

impl Writer<'_> {
    /// Writes the module at `path`, its parents first. `layer` is the layer that it is written for.
    fn module(&mut self, path: &str, layer: &str) -> Result<()> {
        if self.known.iter().any(|k| k == path) {
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        if !parent.is_empty() {
            self.module(parent, layer)?;
        }
        let is_layer = |path: &str| self.made.iter().find(|(i, _)| self.spec.layers[*i].name == path);
        let taken = TAKEN.contains(&name) || (is_layer(parent).is_some() && TAKEN_IN_LAYERS.contains(&name));
        let sound = !name.is_empty() && name.chars().all(|c| !c.is_control() && c != '"' && c != '\\' && c != '@');
        if taken || !sound || name.starts_with("__") {
            return Err(Error::Network {
                layer: layer.into(),
                reason: format!("a PyTorch module cannot be called {name:?}: rename the layer in network.json"),
            });
        }
        let value = is_layer(path).map_or("nn.Module()", |(_, constructor)| constructor);
        let line = if is_identifier(name) {
            format!("{} = {value}", access(path))
        } else {
            format!("{}.add_module(\"{name}\", {value})", access(parent))
        };
        if parent.is_empty() && is_layer(path).is_none() {
            self.lines.push(String::new());
        }
        self.lines.push(format!("        {line}"));
        self.known.push(path.into());
        Ok(())
    }
}

/// The call that makes layer `i`; `None` for layers without parameters.
fn constructor(spec: &NetworkSpec, shapes: &Shapes, i: usize) -> Option<String> {
    let out = shapes.tensors[i].channels;
    let input = shapes.inputs[i].first().map_or(0, |&j| shapes.tensors[j].channels);
    let op = &spec.layers[i].op;
    let options = |list: &[(&str, String, bool)]| -> String {
        list.iter().filter(|(.., differs)| *differs).map(|(name, value, _)| format!(", {name}={value}")).collect()
    };
    let eps = |eps: f32| ("eps", number(eps), eps != 1e-5);
    Some(match op {
        Op::Conv2d { bias, .. } | Op::DepthwiseConv2d { bias, .. } | Op::ConvTranspose2d { bias, .. } => {
            let g = op.geometry()?;
            let groups = match op {
                Op::Conv2d { groups, .. } => *groups,
                Op::DepthwiseConv2d { .. } => input,
                _ => 1,
            };
            let class = if g.transposed { "nn.ConvTranspose2d" } else { "nn.Conv2d" };
            let further = options(&[
                ("stride", pair(g.stride), g.stride != [1, 1]),
                ("padding", pair(g.padding), g.padding != [0, 0]),
                ("output_padding", pair(g.output_padding), g.output_padding != [0, 0]),
                ("dilation", pair(g.dilation), g.dilation != [1, 1]),
                ("groups", groups.to_string(), groups != 1),
                ("bias", "False".into(), !bias),
            ]);
            format!("{class}({input}, {out}, {}{further})", pair(g.kernel))
        }
        Op::BatchNorm { eps: e, momentum } => {
            let further = options(&[eps(*e), ("momentum", number(*momentum), *momentum != 0.1)]);
            format!("nn.BatchNorm2d({out}{further})")
        }
        Op::InstanceNorm { eps: e, affine } => {
            format!("InstanceNorm2d({out}{})", options(&[eps(*e), ("affine", "True".into(), *affine)]))
        }
        Op::GroupNorm { groups, eps: e } if *groups == out => {
            format!("InstanceNorm2d({out}{})", options(&[eps(*e), ("affine", "True".into(), true)]))
        }
        Op::GroupNorm { groups, eps: e } => format!("nn.GroupNorm({groups}, {out}{})", options(&[eps(*e)])),
        Op::Prelu { shared } => format!("nn.PReLU({})", if *shared { 1 } else { out }),
        _ => return None,
    })
}
