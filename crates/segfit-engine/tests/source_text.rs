//! Networks exported as C and Rust source text, compiled and held against the engine.

#![expect(clippy::print_stdout, reason = "skipped tests and measured differences are told")]

mod source;

use segfit::export::embedded::{EmbeddedOptions, Language, Numbers, source};
use segfit::network::NetworkSpec;
use segfit::network::families::{Activation, FAMILIES, Norm, Options, Upsampling, family};
use segfit::recipe::LossKind;
use source::{Compiler, Size, Subject};

/// Largest difference of two lists.
fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

fn mean(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum::<f32>() / a.len() as f32
}

/// The most probable class of every pixel.
fn labels(probabilities: &[f32], classes: usize) -> Vec<u8> {
    let n = probabilities.len() / classes;
    let at = |k: usize, i: usize| probabilities[k * n + i];
    (0..n).map(|i| (1..classes).fold(0, |best, k| if at(k, i) > at(best, i) { k } else { best }) as u8).collect()
}

/// Compares floats (1e-4) and, where it is calibrated, int8 (mean difference at most 0.04, 95% of the pixels of one
/// class).
///
/// Random weights are harder on int8 than trained ones, because their probabilities are near a half or turn over
/// within few units of the logits. Of these networks 0.026 and 95.5% were the worst; `benchmarks/export/c.md` has
/// trained ones.
fn compare(what: &str, subject: &Subject, compiler: Compiler, size: Size) {
    if !compiler.is_here() {
        println!("{what}: skipped, {compiler:?} is not installed");
        return;
    }
    let classes = subject.deployment.network.classes;
    let engine = subject.engine(size);
    let said = subject.said_by(compiler, size);
    let difference = largest(&said.f32, &engine);
    println!("{what} {compiler:?} {size:?}: f32 {difference:.1e}");
    assert!(difference <= 1e-4, "{what} {compiler:?} {size:?}: {difference}");
    let Some(int8) = said.int8 else { return };
    let same = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(x, y)| x == y).count() as f64 / a.len() as f64;
    let (want, got) = (labels(&engine, classes), labels(&int8.probabilities, classes));
    let (off, agreement) = (mean(&int8.probabilities, &engine), same(&want, &got));
    println!("    int8: mean {off:.1e}, largest {:.1e}, classes {agreement:.4}", largest(&int8.probabilities, &engine));
    assert!(off <= 0.04 && agreement >= 0.95, "{what} {compiler:?}: {off} {agreement}");
    let bytes = same(&got, &int8.labels);
    assert!(bytes >= 0.998, "{what} {compiler:?}: floats and bytes agree in {bytes} of the pixels");
}

fn small(name: &str, options: Options) -> NetworkSpec {
    family(name).unwrap().build(&options).unwrap()
}

/// A narrow network of a family at its published form.
fn narrow(which: usize) -> NetworkSpec {
    let family = &FAMILIES[which];
    let (channels, classes) = if which.is_multiple_of(2) { (3, 2) } else { (1, 3) };
    let options = Options { base_width: 4, depth: 2, growth: None, ..family.options(channels, classes) };
    family.build(&options).unwrap()
}

#[test]
fn every_family_compiled_by_gcc_is_the_engines() {
    for (which, family) in FAMILIES.iter().enumerate() {
        let size = if which.is_multiple_of(2) { (37, 29) } else { (24, 40) };
        compare(family.name, &Subject::new(&narrow(which), 5).calibrated(size), Compiler::Gcc, size);
    }
}

#[test]
fn every_family_compiled_by_rustc_is_the_engines() {
    for (which, family) in FAMILIES.iter().enumerate() {
        let size = if which.is_multiple_of(2) { (24, 40) } else { (37, 29) };
        compare(family.name, &Subject::new(&narrow(which), 6).calibrated(size), Compiler::Rustc, size);
    }
}

#[test]
fn options_of_the_families_are_the_engines() {
    let base = Options { in_channels: 1, base_width: 4, depth: 2, ..Options::default() };
    let norms = [Norm::Instance, Norm::Group, Norm::None];
    let ways = [Upsampling::Bilinear, Upsampling::Nearest, Upsampling::Transposed];
    for (k, (_, activation)) in Activation::ALL.into_iter().enumerate() {
        let (norm, how) = (norms[k % 3], ways[k / 2]);
        let options = Options {
            norm: Some(norm),
            activation: Some(activation),
            upsampling: Some(how),
            residual: k % 2 == 0,
            ..base.clone()
        };
        let mut subject = Subject::new(&small("unet", options), k as u64);
        subject.deployment.loss = if k % 2 == 0 { LossKind::BinaryDice } else { LossKind::CrossEntropyDice };
        let what = format!("{activation:?} {norm:?} {how:?}");
        for compiler in [Compiler::Gcc, Compiler::Rustc] {
            compare(&what, &subject, compiler, (19, 33));
        }
        // Norms of single images have no form in whole numbers.
        if norm == Norm::None {
            compare(&what, &subject.calibrated((19, 33)), Compiler::Gcc, (19, 33));
        }
    }
}

#[test]
fn images_smaller_than_their_continuation_are_reflected_again_and_again() {
    let spec = small("unet", Options { base_width: 2, depth: 4, ..Options::default() });
    for size in [(3, 21), (1, 1), (16, 5)] {
        let subject = Subject::new(&spec, 3).calibrated((32, 32));
        let said = subject.said_by(Compiler::Gcc, size);
        assert!(largest(&said.f32, &subject.engine(size)) <= 1e-4, "{size:?}");
    }
}

/// Name, operation and inputs of every layer behind the image of 2 channels; group a has 4 channels, k 2, one 1.
const LAYERS: &str = r#"
pad     | "op": "pad", "before": [1, 2], "after": [1, 0], "mode": "reflect" | image
stem    | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [0, 0], "bias": false | pad
stem.n  | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | stem
stem.p  | "op": "prelu", "shared": false | stem.n
b1      | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [2, 2], "dilation": [2, 2], "groups": 2, "bias": true | stem.p
b1.silu | "op": "silu" | b1
b2      | "op": "depthwise_conv2d", "kernel": [3, 5], "padding": [1, 2], "bias": false | stem.p
b2.l    | "op": "leaky_relu", "slope": 0.1 | b2
sum     | "op": "add" | b1.silu b2.l stem.p
relu    | "op": "relu" | sum
gate    | "op": "conv2d", "group": "one", "kernel": [1, 1], "padding": [0, 0], "bias": true | relu
gate.s  | "op": "sigmoid" | gate
gated   | "op": "mul" | relu gate.s
se      | "op": "global_average_pool" | gated
se.1    | "op": "conv2d", "group": "k", "kernel": [1, 1], "padding": [0, 0], "bias": true | se
se.e    | "op": "elu" | se.1
se.2    | "op": "conv2d", "group": "a", "kernel": [1, 1], "padding": [0, 0], "bias": true | se.e
se.h    | "op": "hard_sigmoid" | se.2
squeeze | "op": "mul" | gated se.h
mp3     | "op": "max_pool", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1] | squeeze
mp2     | "op": "max_pool", "kernel": [2, 2] | squeeze
ap      | "op": "average_pool", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1] | squeeze
st      | "op": "conv2d", "group": "a", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "bias": true | squeeze
down    | "op": "add" | mp3 mp2 ap st
d1.n    | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | down
d1.r    | "op": "relu" | d1.n
d1      | "op": "conv2d", "group": "k", "kernel": [3, 3], "padding": [1, 1], "bias": true | d1.r
c1      | "op": "concat" | down d1
d2.n    | "op": "batch_norm", "eps": 0.001, "momentum": 1.0 | c1
d2      | "op": "conv2d", "group": "k", "kernel": [3, 3], "padding": [1, 1], "bias": true | d2.n
new     | "op": "concat" | d1 d2
tanh    | "op": "tanh" | new
square  | "op": "mul" | tanh tanh
u1      | "op": "conv2d", "group": "a", "kernel": [3, 3], "padding": [1, 1], "bias": true | square
u1.up   | "op": "upsample", "factor": [2, 2], "interpolation": "nearest" | u1
u2.up   | "op": "upsample", "factor": [2, 2], "interpolation": "bilinear" | u1
u3.up   | "op": "upsample", "factor": [2, 2], "interpolation": "bilinear_corners" | u1
u4      | "op": "conv_transpose2d", "group": "a", "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "output_padding": [1, 1], "bias": true | tanh
up      | "op": "add" | u1.up u2.up u3.up u4
swish   | "op": "hard_swish" | up
wide    | "op": "pad", "before": [0, 0], "after": [1, 1], "mode": "replicate" | swish
mean    | "op": "average_pool", "kernel": [2, 2], "stride": [1, 1], "count_padding": true | wide
clamp   | "op": "clamp", "low": -0.5, "high": 1.5 | mean
slope   | "op": "prelu", "shared": true | squeeze
zeros   | "op": "pad", "before": [1, 0], "after": [0, 1], "mode": "zero" | slope
cut     | "op": "max_pool", "kernel": [2, 2], "stride": [1, 1] | zeros
joined  | "op": "concat" | clamp cut squeeze clamp
NORM
head    | "op": "conv2d", "group": "classes", "kernel": [1, 1], "padding": [0, 0], "bias": true | last
"#;

/// A network of every layer; with norms of single images or without.
fn every_layer(with_norms: bool) -> NetworkSpec {
    let norms = if with_norms {
        "n1 | \"op\": \"instance_norm\", \"eps\": 0.001, \"affine\": true | joined\n\
         last | \"op\": \"group_norm\", \"groups\": 2, \"eps\": 0.001 | n1"
    } else {
        "last | \"op\": \"batch_norm\", \"eps\": 0.001, \"momentum\": 1.0 | joined"
    };
    let layer = |line: &str| {
        let part: Vec<&str> = line.split('|').map(str::trim).collect();
        let inputs: Vec<&str> = part[2].split_whitespace().collect();
        format!(r#"{{"name": "{}", {}, "inputs": {inputs:?}}}"#, part[0], part[1])
    };
    let text = LAYERS.replace("NORM", norms);
    let layers: Vec<String> = text.lines().filter(|l| !l.is_empty()).map(layer).collect();
    let text = format!(
        r#"{{"format": "segfit-network/1", "family": "other", "base_width": 4, "depth": 1, "rank": 2, "classes": 3,
        "groups": [{{"name": "image", "channels": 2, "kind": "fixed"}}, {{"name": "a", "channels": 4, "kind": "free"}},
            {{"name": "k", "channels": 2, "kind": "free"}}, {{"name": "one", "channels": 1, "kind": "fixed"}},
            {{"name": "classes", "channels": 3, "kind": "fixed"}}],
        "layers": [{{"name": "image", "op": "input", "group": "image"}}, {}], "output": "head"}}"#,
        layers.join(",\n")
    );
    let spec: NetworkSpec = serde_json::from_str(&text).unwrap();
    spec.validate().unwrap();
    spec
}

#[test]
fn every_layer_is_the_engines_and_breaks_no_rule_of_c() {
    for compiler in [Compiler::Sanitised, Compiler::Rustc] {
        let size = (21, 18);
        compare("every layer", &Subject::new(&every_layer(true), 8), compiler, size);
        compare("without norms", &Subject::new(&every_layer(false), 8).calibrated(size), compiler, size);
    }
    let size = (37, 29);
    compare("fc_densenet56", &Subject::new(&narrow(2), 4).calibrated(size), Compiler::Sanitised, size);
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    let subject = Subject::new(&small("unet", Options { base_width: 2, depth: 1, ..Options::default() }), 1);
    let refused = |subject: &Subject, numbers, options| {
        source(&subject.deployment, Language::C, numbers, options).unwrap_err().to_string()
    };
    let options = EmbeddedOptions::new(subject.deployment.input);
    assert_eq!(options.size, (32, 32));
    let text = refused(&subject, Numbers::Int8, options);
    assert!(text.contains("calibrate"), "{text}");
    let text = refused(&subject, Numbers::F32, EmbeddedOptions { most_weights: 100, ..options });
    assert!(text.contains("at most 100 weights") && text.contains("narrow"), "{text}");
    let text = refused(&subject, Numbers::F32, EmbeddedOptions { size: (0, 4), ..options });
    assert!(text.contains("0x4"), "{text}");
    let normed = small("unet", Options { base_width: 2, depth: 1, norm: Some(Norm::Instance), ..Options::default() });
    let text = refused(&Subject::new(&normed, 1).calibrated((32, 32)), Numbers::Int8, options);
    assert!(text.contains("enc0.norm1") && text.contains("f32"), "{text}");
    let mut broken = subject;
    broken.deployment.weights[0].values[0] = f32::NAN;
    assert!(refused(&broken, Numbers::F32, options).contains("not finite"));
}

#[test]
fn the_same_network_gives_the_same_text_and_its_footprint_counts_what_is_there() {
    let size = (32, 48);
    let spec = small("unet", Options { in_channels: 1, base_width: 4, depth: 2, ..Options::default() });
    let subject = Subject::new(&spec, 1).calibrated(size);
    let options = EmbeddedOptions { size, ..EmbeddedOptions::new(subject.deployment.input) };
    for numbers in [Numbers::F32, Numbers::Int8] {
        let make = |language| source(&subject.deployment, language, numbers, options).unwrap();
        let (c, rust) = (make(Language::C), make(Language::Rust));
        assert_eq!(c, make(Language::C));
        assert_eq!(c.footprint, rust.footprint);
        assert!(c.text.contains(&format!("Arena (RAM): {} bytes", c.footprint.ram_bytes)));
        let long = c.text.lines().chain(rust.text.lines()).find(|l| l.len() > 120);
        assert_eq!(long, None);
        // The norms are folded away.
        let folded = subject.deployment.folded().unwrap();
        let weights = folded.weights.iter().map(|t| t.values.len() as u64).sum::<u64>();
        // Most is alive in the second block of the encoder: both concatenations (8 channels at full size, 16 at a
        // quarter of its pixels) and what the block has between its convolutions (8 there).
        let pixels = (size.0 * size.1) as u64;
        let each = if numbers == Numbers::F32 { 4 } else { 1 };
        let flash = each * weights..(each + 1) * weights + 2000;
        assert!(flash.contains(&c.footprint.flash_bytes), "{:?} {flash:?}", c.footprint);
        assert_eq!(c.footprint.ram_bytes, each * pixels * 14, "{numbers:?}");
    }
}
