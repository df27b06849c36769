//! Which measures of complexity move when one property of the images is turned, and which stay.
//!
//! `cargo run --release -p segfit --example complexity_response -- FOLDER` writes `complexity_response.md` and
//! `complexity_response.svg`, and fails when a measure does not do what [`EXPECTED`] says.

mod figure;
mod scenes;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use scenes::{KNOBS, Knob, SETTINGS};
use segfit::complexity::{MEASURES, Pyramid, name_at_scale};
use segfit::data::Sample;
use segfit::files::write_atomically;

/// A measure stays when its means over the settings differ by less than this share of its spread between images.
const STAYS: f64 = 0.5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    Up,
    Down,
    Mixed,
    Stays,
}

/// What follows from the definitions alone, and so must happen: knob, measures, move.
const EXPECTED: [(&str, &[&str], Move); 9] = [
    ("noise", &["noise", "jpeg", "png", "delentropy", "median_frequency", "glcm_contrast"], Move::Up),
    ("noise", &["glcm_correlation", "glcm_homogeneity", "fisher"], Move::Down),
    ("noise", &MASKS, Move::Stays),
    ("objects", &["objects", "foreground", "boundary", "blob_density", "jpeg", "edge"], Move::Up),
    ("roughness", &["perimetric"], Move::Up),
    ("roughness", &["solidity"], Move::Down),
    ("contrast", &["edge", "si_mean", "fisher", "separability"], Move::Up),
    ("contrast", &MASKS, Move::Stays),
    ("scale", &["boundary", "objects"], Move::Down),
];

/// Measures that do not look at the image.
const MASKS: [&str; 9] = [
    "foreground",
    "objects",
    "object_area",
    "blob_density",
    "boundary",
    "thinness",
    "perimetric",
    "solidity",
    "class_balance",
];

/// A measure's answer to a knob.
struct Response {
    means: [f64; SETTINGS],
    /// Range of the means / mean standard deviation between the images of one setting.
    effect: f64,
    moves: Move,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else {
        return fail("usage: complexity_response FOLDER");
    };
    let columns: Vec<_> = KNOBS.iter().map(responses).collect();
    let written = write_atomically(&folder.join("complexity_response.md"), markdown(&columns).as_bytes())
        .and_then(|()| write_atomically(&folder.join("complexity_response.svg"), figure::svg(&columns).as_bytes()));
    if let Err(error) = written {
        return fail(&error.to_string());
    }
    let wrong = disagreements(&columns);
    if wrong.is_empty() { ExitCode::SUCCESS } else { fail(&wrong.join("\n")) }
}

#[expect(clippy::print_stderr, reason = "the program's only message")]
fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}

/// The answers of all measures, each at its first scale.
fn responses(knob: &Knob) -> Vec<Response> {
    let rows = knob.settings.map(|setting| measured(&knob.samples(setting)));
    (0..MEASURES.len()).map(|m| response(&rows.each_ref().map(|images| values(images, m)))).collect()
}

/// One row of values for each image.
fn measured(samples: &[Sample]) -> Vec<Vec<Option<f64>>> {
    let one = |sample: &Sample| {
        let pyramid = Pyramid::new(sample);
        MEASURES.iter().map(|m| (m.compute)(&pyramid, m.first_scale)).collect()
    };
    samples.iter().map(one).collect()
}

fn values(images: &[Vec<Option<f64>>], measure: usize) -> Vec<f64> {
    images.iter().filter_map(|row| row[measure]).collect()
}

fn response(settings: &[Vec<f64>; SETTINGS]) -> Response {
    let means = settings.each_ref().map(|v| mean(v));
    let deviation = mean(&settings.each_ref().map(|v| deviation(v)));
    let (low, high) = means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let floor = 1e-9 * high.abs().max(low.abs()) + f64::MIN_POSITIVE;
    let effect = (high - low) / (deviation + floor);
    let steps: Vec<f64> = means.windows(2).map(|w| w[1] - w[0]).collect();
    let (up, down): (f64, f64) =
        (steps.iter().filter(|s| **s > 0.0).sum(), -steps.iter().filter(|s| **s < 0.0).sum::<f64>());
    let moves = match effect {
        e if e < STAYS => Move::Stays,
        _ if up > 9.0 * down => Move::Up,
        _ if down > 9.0 * up => Move::Down,
        _ => Move::Mixed,
    };
    Response { means, effect, moves }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    (values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// What differs from [`EXPECTED`].
fn disagreements(columns: &[Vec<Response>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (knob, measures, expected) in EXPECTED {
        let column = KNOBS.iter().position(|k| k.name == knob).expect("a knob");
        for name in measures {
            let measure = MEASURES.iter().position(|m| m.name == *name).expect("a measure");
            let Response { effect, moves, .. } = columns[column][measure];
            if moves != expected {
                wrong.push(format!(
                    "{name} was expected {expected:?} with {knob}, and is {moves:?} (effect {effect:.2})"
                ));
            }
        }
    }
    wrong
}

fn markdown(columns: &[Vec<Response>]) -> String {
    let mut text = String::from("# What moves the measures\n\n");
    text.push_str("Output of `cargo run --release -p segfit --example complexity_response -- docs`. Scenes of bright discs on an uneven ground, 256 x 256\n");
    text.push_str("pixels; one property is turned through seven settings, the others stay; eight images a setting. The arrow says where the mean\n");
    text.push_str("goes when the property grows (↕ up and down by turns or with a maximum); the number is the range of the means for the\n");
    let _ = writeln!(
        text,
        "standard deviation between images of one setting; below {STAYS} the measure stays (·). **Bold**: required by the definition.\n"
    );
    for knob in &KNOBS {
        let settings: Vec<String> = knob.settings.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "- **{}** ({}): {}", knob.name, knob.unit, settings.join(", "));
    }
    let names: Vec<&str> = KNOBS.iter().map(|k| k.name).collect();
    let _ = writeln!(text, "\n| measure | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (m, measure) in MEASURES.iter().enumerate() {
        let cells: Vec<String> = (0..KNOBS.len()).map(|k| cell(k, m, &columns[k][m])).collect();
        let _ = writeln!(text, "| {} | {} |", name_at_scale(measure.name, measure.first_scale), cells.join(" | "));
    }
    let noise = MEASURES.iter().position(|m| m.name == "noise").expect("a measure");
    let means = |knob: usize| columns[knob][noise].means.map(|v| format!("{v:.2}")).join(", ");
    let _ = writeln!(
        text,
        "\nThe noise estimate also sees sharp boundaries. It reads, in gray levels, at the settings of noise (truth 255 times\nthe setting, less where values are clipped): {}; at those of objects (truth 5.1): {}.",
        means(0),
        means(1)
    );
    text
}

fn cell(knob: usize, measure: usize, response: &Response) -> String {
    let effect = response.effect;
    let number = if effect >= 1000.0 { "> 1000".into() } else { format!("{effect:.1}") };
    let text = match response.moves {
        Move::Stays => "·".to_string(),
        Move::Up => format!("↑ {number}"),
        Move::Down => format!("↓ {number}"),
        Move::Mixed => format!("↕ {number}"),
    };
    let required =
        |(k, measures, _): &(&str, &[&str], Move)| *k == KNOBS[knob].name && measures.contains(&MEASURES[measure].name);
    if EXPECTED.iter().any(required) { format!("**{text}**") } else { text }
}
