//! Programs as text in C and in Rust.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Footprint;
use super::constants::{Constant, Values};
use super::kernels::{FLOAT_C, FLOAT_RUST, INT8_C, INT8_RUST, select};
use super::program::{Arg, Ends, Program};
use crate::export::Deployment;
use crate::recipe::InputMode;

/// What the head of a file tells.
pub struct Head<'a> {
    pub deployment: &'a Deployment,
    pub weights: u64,
    pub footprint: Footprint,
    pub name: &'a str,
}

/// Columns of the text.
const WIDTH: usize = 118;

impl Head<'_> {
    fn lines(&self, program: &Program) -> Vec<String> {
        let Deployment { provenance, network, input, .. } = self.deployment;
        let (rows, columns) = program.size;
        let numbers = if matches!(program.ends, Ends::F32 { .. }) { "32-bit floats" } else { "8-bit integers" };
        let mut lines = vec![
            format!("{}: a segmentation network in {numbers}, written by segfit {}.", self.name, provenance.version),
            String::new(),
            format!("Network: {}, {} weights.", network.family, self.weights),
        ];
        let dice = provenance.dice.map(|d| format!(", mean Dice {d:.4}"));
        let images = provenance.test_images.map(|n| format!(" of {n} test images"));
        let measured = dice.map(|d| d + &images.unwrap_or_default()).unwrap_or_default();
        lines.push(format!("Trained on {}{measured}; run {}.", provenance.dataset, provenance.run));
        if let Some(plan) = &provenance.plan {
            lines.push(format!("Plan: {plan}."));
        }
        lines.push(format!("Image: [channel][row][column], {} x {rows} x {columns}, values 0 to 1.", program.channels));
        if input.mode == InputMode::Resize {
            lines.push(format!(
                "It was trained on whole frames resized to {0} x {0}; whoever calls it resizes.",
                input.size
            ));
        }
        let mut classes = "Result: [class][row][column], the probability of".to_string();
        for (k, name) in self.deployment.class_names().iter().enumerate() {
            let comma = if k == 0 { "" } else { "," };
            let _ = write!(classes, "{comma} {name} ({k})");
        }
        lines.push(classes + ".");
        lines.push(String::new());
        lines.push(format!("Constants (flash): {} bytes.", self.footprint.flash_bytes));
        lines.push(format!("Arena (RAM): {} bytes, besides the image and the result.", self.footprint.ram_bytes));
        lines
    }
}

/// Text that is safe inside a comment of one line.
fn tame(text: &str) -> String {
    let one_line = text.replace(|c: char| c.is_control(), " ");
    one_line.replace("*/", "* /").replace("/*", "/ *").trim_end_matches('\\').to_string()
}

fn kernels(program: &Program, text: &str) -> String {
    let mut wanted: BTreeSet<&str> = program.calls.iter().map(|c| c.kernel).collect();
    wanted.extend([program.share, "read_image", "write_probabilities"]);
    if matches!(program.ends, Ends::Int8 { .. }) {
        wanted.extend(["read_bytes", "write_labels"]);
    }
    select(text, &wanted)
}

/// A float that reads back as the same in both languages, without C's suffix.
fn float(value: f32) -> String {
    format!("{value:?}")
}

fn values(constant: &Constant, float_suffix: &str) -> Vec<String> {
    match &constant.values {
        Values::F32(v) => v.iter().map(|&x| float(x) + float_suffix).collect(),
        Values::I8(v) => v.iter().map(ToString::to_string).collect(),
        Values::U8(v) => v.iter().map(ToString::to_string).collect(),
        Values::I32(v) => v.iter().map(ToString::to_string).collect(),
    }
}

/// Comma-separated items in indented lines.
fn wrapped(items: &[String], indent: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for item in items {
        if !line.is_empty() && indent.len() + line.len() + item.len() + 2 > WIDTH {
            let _ = writeln!(text, "{indent}{}", line.trim_end());
            line.clear();
        }
        let _ = write!(line, "{item}, ");
    }
    let _ = writeln!(text, "{indent}{}", line.trim_end());
    text
}

/// `opening`, the items and `closing` on one line, or the items on lines of their own.
fn call(opening: &str, items: &[String], closing: &str, indent: &str, trailing_comma: bool) -> String {
    let one = format!("{indent}{opening}{}{closing}\n", items.join(", "));
    if one.len() <= WIDTH {
        return one;
    }
    let mut list = wrapped(items, &format!("{indent}    "));
    if !trailing_comma {
        list = list.trim_end().trim_end_matches(',').to_string() + "\n";
    }
    format!("{indent}{opening}\n{list}{indent}{closing}\n")
}

/// Items with an opening before the first and a closing behind the last.
fn enclosed(opening: &str, mut items: Vec<String>, closing: &str) -> Vec<String> {
    if let Some(first) = items.first_mut() {
        first.insert_str(0, opening);
    }
    if let Some(last) = items.last_mut() {
        last.push_str(closing);
    }
    items
}

struct C<'a> {
    program: &'a Program,
    /// `segfit` or `segfit_int8`.
    prefix: &'static str,
    element: &'static str,
}

impl C<'_> {
    fn constant(&self, id: usize) -> String {
        format!("{}_{}", self.prefix, self.program.constants.list[id].name)
    }

    /// In pieces between which a line may end.
    fn arg(&self, arg: &Arg) -> Vec<String> {
        let at = |&at: &usize| format!("arena + {at}");
        match arg {
            Arg::Tensor(place) => vec![at(place)],
            Arg::Tensors(places) => {
                let mut list =
                    enclosed(&format!("(const {} *const[]){{", self.element), places.iter().map(at).collect(), "}");
                list.push(places.len().to_string());
                list
            }
            Arg::Constant(id) => vec![self.constant(*id)],
            Arg::Geometry(place) => {
                let list = place.iter().map(|(_, v)| v.to_string()).collect();
                enclosed(&format!("&(const {}_geometry){{", self.prefix), list, "}")
            }
            Arg::Units(u) => {
                let mut list = [u.x_offset, u.bias, u.multiplier, u.shift].map(|id| self.constant(id)).to_vec();
                list.push(u.y_offset.to_string());
                enclosed(&format!("&(const {}_units){{", self.prefix), list, "}")
            }
            Arg::Int(v) => vec![v.to_string()],
            Arg::Bool(v) => vec![u8::from(*v).to_string()],
            Arg::Float(v) => vec![float(*v) + "f"],
        }
    }

    fn constants(&self) -> String {
        let mut text = String::new();
        for (id, constant) in self.program.constants.list.iter().enumerate() {
            let kind = match constant.values {
                Values::F32(_) => "float",
                Values::I8(_) => "int8_t",
                Values::U8(_) => "uint8_t",
                Values::I32(_) => "int32_t",
            };
            let opening = format!("static const {kind} {}[{}] = {{", self.constant(id), constant.values.len());
            text += &call(&opening, &values(constant, "f"), "};", "", false);
        }
        text
    }

    fn network(&self) -> String {
        let mut text = format!(
            "/* The layers, from the image in the arena to the logits. */\nstatic void {}_network({} *arena)\n{{\n",
            self.prefix, self.element
        );
        for c in &self.program.calls {
            let args: Vec<String> = c.args.iter().flat_map(|a| self.arg(a)).collect();
            let _ = writeln!(text, "    /* {} */", tame(&c.comment));
            text += &call(&format!("{}_{}(", self.prefix, c.kernel), &args, ");", "    ", false);
        }
        text + "}\n"
    }

    fn functions(&self) -> String {
        let (p, e, image, logits) = (self.prefix, self.element, self.program.image, self.program.logits);
        match self.program.ends {
            Ends::F32 { mean, std } => format!(
                "int {p}_run(const float *image, float *probabilities, float *arena)
{{
    if (image == NULL || probabilities == NULL || arena == NULL) {{
        return 1;
    }}
    {p}_read_image(image, arena + {image}, {}, {});
    {p}_network(arena);
    {p}_write_probabilities(arena + {logits}, probabilities);
    return 0;
}}
",
                self.constant(mean),
                self.constant(std)
            ),
            Ends::Int8 { factor, shift, tables, scale } => format!(
                "int {p}_run(const float *image, float *probabilities, {e} *arena)
{{
    if (image == NULL || probabilities == NULL || arena == NULL) {{
        return 1;
    }}
    {p}_read_image(image, arena + {image}, {}, {});
    {p}_network(arena);
    {p}_write_probabilities(arena + {logits}, probabilities, {}f);
    return 0;
}}

int {p}_label(const uint8_t *image, uint8_t *labels, {e} *arena)
{{
    if (image == NULL || labels == NULL || arena == NULL) {{
        return 1;
    }}
    {p}_read_bytes(image, arena + {image}, {});
    {p}_network(arena);
    {p}_write_labels(arena + {logits}, labels);
    return 0;
}}
",
                self.constant(factor),
                self.constant(shift),
                float(scale),
                self.constant(tables)
            ),
        }
    }

    fn declarations(&self) -> String {
        let (p, e, u) = (self.prefix, self.element, self.prefix.to_uppercase());
        let run = format!(
            "/* Fills probabilities[{u}_CLASSES * {u}_ROWS * {u}_COLUMNS] from
 * image[{u}_CHANNELS * {u}_ROWS * {u}_COLUMNS].
 * arena[{u}_ARENA] is working memory; nothing in it is kept. Returns 0, or 1 if a pointer is NULL. */
int {p}_run(const float *image, float *probabilities, {e} *arena);
"
        );
        if matches!(self.program.ends, Ends::F32 { .. }) {
            return run;
        }
        run + &format!(
            "
/* As {p}_run without any float: an image of bytes, 0 to 255, becomes
 * labels[{u}_ROWS * {u}_COLUMNS], the most probable class of every pixel. */
int {p}_label(const uint8_t *image, uint8_t *labels, {e} *arena);
"
        )
    }
}

/// The head and the sizes as names and values.
fn sizes(program: &Program) -> [(&'static str, usize); 7] {
    [
        ("CHANNELS", program.channels),
        ("ROWS", program.size.0),
        ("COLUMNS", program.size.1),
        ("CLASSES", program.classes),
        ("ARENA", program.arena),
        ("PADDED_ROWS", program.padded.0),
        ("PADDED_COLUMNS", program.padded.1),
    ]
}

/// A C99 header: declarations, and, where its implementation is asked for, everything else.
pub fn c(program: &Program, head: &Head<'_>) -> String {
    let is_float = matches!(program.ends, Ends::F32 { .. });
    let (prefix, element, kernel_text) =
        if is_float { ("segfit", "float", FLOAT_C) } else { ("segfit_int8", "int8_t", INT8_C) };
    let writer = C { program, prefix, element };
    let upper = prefix.to_uppercase();
    let mut lines = head.lines(program);
    lines.push(String::new());
    lines.push(format!(
        "In one C file: #define {upper}_IMPLEMENTATION before including this; elsewhere include it as it is."
    ));
    let mut text = String::from("/*\n");
    for line in lines {
        let _ = writeln!(text, "{}", format!(" * {}", tame(&line)).trim_end());
    }
    let _ = write!(
        text,
        " */\n#ifndef {upper}_MODEL_H\n#define {upper}_MODEL_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n"
    );
    for (name, value) in sizes(program) {
        let remark = if name == "ARENA" { format!(" /* {element}s of working memory */") } else { String::new() };
        let _ = writeln!(text, "#define {upper}_{name} {value}{remark}");
    }
    let _ = write!(
        text,
        "\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n{}\n\
         #ifdef __cplusplus\n}}\n#endif\n\n#endif\n\n#ifdef {upper}_IMPLEMENTATION\n\n#include <math.h>\n\n",
        writer.declarations()
    );
    let _ = write!(
        text,
        "{}\n\n{}\n{}\n{}\n#endif\n",
        kernels(program, kernel_text),
        writer.constants(),
        writer.network(),
        writer.functions()
    );
    text
}

struct Rust<'a> {
    program: &'a Program,
    element: &'static str,
}

impl Rust<'_> {
    fn constant(&self, id: usize) -> String {
        self.program.constants.list[id].name.to_uppercase()
    }

    /// In pieces between which a line may end.
    fn arg(&self, arg: &Arg) -> Vec<String> {
        match arg {
            Arg::Tensor(at) => vec![at.to_string()],
            Arg::Tensors(places) => enclosed("&[", places.iter().map(ToString::to_string).collect(), "]"),
            Arg::Constant(id) => vec![format!("&{}", self.constant(*id))],
            Arg::Geometry(place) => {
                enclosed("&Geometry { ", place.iter().map(|(name, v)| format!("{name}: {v}")).collect(), " }")
            }
            Arg::Units(u) => {
                let fields =
                    [("x_offset", u.x_offset), ("bias", u.bias), ("multiplier", u.multiplier), ("shift", u.shift)];
                let mut list = fields.map(|(name, id)| format!("{name}: &{}", self.constant(id))).to_vec();
                list.push(format!("y_offset: {}", u.y_offset));
                enclosed("&Units { ", list, " }")
            }
            Arg::Int(v) => vec![v.to_string()],
            Arg::Bool(v) => vec![v.to_string()],
            Arg::Float(v) => vec![float(*v)],
        }
    }

    fn constants(&self) -> String {
        let mut text = String::new();
        for (id, constant) in self.program.constants.list.iter().enumerate() {
            let kind = match constant.values {
                Values::F32(_) => "f32",
                Values::I8(_) => "i8",
                Values::U8(_) => "u8",
                Values::I32(_) => "i32",
            };
            let opening = format!("static {}: [{kind}; {}] = [", self.constant(id), constant.values.len());
            text += &call(&opening, &values(constant, ""), "];", "", true);
        }
        text
    }

    fn network(&self) -> String {
        let mut text = format!(
            "/// The layers, from the image in the arena to the logits.\nfn network(arena: &mut [{}]) {{\n",
            self.element
        );
        for c in &self.program.calls {
            let args: Vec<String> =
                std::iter::once("arena".to_string()).chain(c.args.iter().flat_map(|a| self.arg(a))).collect();
            let _ = writeln!(text, "    // {}", tame(&c.comment));
            text += &call(&format!("{}(", c.kernel), &args, ");", "    ", true);
        }
        text + "}\n"
    }

    fn functions(&self) -> String {
        let (e, image, logits) = (self.element, self.program.image, self.program.logits);
        let read = match self.program.ends {
            Ends::F32 { mean, std } => (mean, std),
            Ends::Int8 { factor, shift, .. } => (factor, shift),
        };
        let scale = match self.program.ends {
            Ends::F32 { .. } => String::new(),
            Ends::Int8 { scale, .. } => format!(", {}", float(scale)),
        };
        let mut text = format!(
            "/// Fills `probabilities` from `image`. `arena` is working memory; nothing in it is kept.
pub fn run(
    image: &[f32; CHANNELS * ROWS * COLUMNS],
    probabilities: &mut [f32; CLASSES * ROWS * COLUMNS],
    arena: &mut [{e}; ARENA],
) {{
    read_image(image, arena, {image}, &{}, &{});
    network(arena);
    write_probabilities(arena, {logits}, probabilities{scale});
}}
",
            self.constant(read.0),
            self.constant(read.1)
        );
        if let Ends::Int8 { tables, .. } = self.program.ends {
            let _ = write!(
                text,
                "
/// As [`run`] without any float: bytes, 0 to 255, become the most probable class of every pixel.
pub fn label(image: &[u8; CHANNELS * ROWS * COLUMNS], labels: &mut [u8; ROWS * COLUMNS], arena: &mut [i8; ARENA]) {{
    read_bytes(image, arena, {image}, &{});
    network(arena);
    write_labels(arena, {logits}, labels);
}}
",
                self.constant(tables)
            );
        }
        text
    }
}

/// A Rust module that uses `core` alone.
pub fn rust(program: &Program, head: &Head<'_>) -> String {
    let is_float = matches!(program.ends, Ends::F32 { .. });
    let (element, kernel_text) = if is_float { ("f32", FLOAT_RUST) } else { ("i8", INT8_RUST) };
    let writer = Rust { program, element };
    let mut text = String::new();
    for line in head.lines(program) {
        let _ = writeln!(text, "{}", format!("//! {}", tame(&line)).trim_end());
    }
    text += "\n#![allow(clippy::all)]\n#![allow(dead_code)]\n#![forbid(unsafe_code)]\n\n";
    for (name, value) in sizes(program) {
        let words = match name {
            "CHANNELS" => "Channels of the image.",
            "ROWS" => "Rows of the image and of the result.",
            "COLUMNS" => "Columns of the image and of the result.",
            "CLASSES" => "Classes, background included.",
            "ARENA" => "Elements of working memory.",
            "PADDED_ROWS" => "Rows that the network runs on.",
            _ => "Columns that the network runs on.",
        };
        let _ = writeln!(text, "/// {words}\npub const {name}: usize = {value};");
    }
    let _ = write!(
        text,
        "\n{}\n\n{}\n{}\n{}",
        kernels(program, kernel_text),
        writer.constants(),
        writer.network(),
        writer.functions()
    );
    text
}
