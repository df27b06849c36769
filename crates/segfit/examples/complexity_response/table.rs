//! The responses as a table in Markdown.

use std::fmt::Write as _;

use crate::expectations::{Way, expected};
use crate::knobs::{IMAGES, Knob, SETTINGS};
use crate::response::Response;

/// Responses of all measures to one knob.
pub type Turned = (Knob, Vec<Response>);

pub fn markdown(all: &[Turned]) -> String {
    let mut out = format!(
        "# Response of the complexity measures to single knobs\n\n\
        Written by `cargo run --release -p segfit --example complexity_response -- docs`: {SETTINGS} settings a knob, {IMAGES} \
        scenes of 256 x 256\npixels a setting, the same random draws at each setting; means over the {IMAGES} scenes. \
        The neutral setting is bold.\n\n| knob | settings |\n|---|---|\n"
    );
    for knob in Knob::ALL {
        let label = |(i, &v): (usize, &f32)| {
            let label = knob.label(v);
            if i == knob.neutral() { format!("**{label}**") } else { label }
        };
        let labels: Vec<String> = knob.settings().iter().enumerate().map(label).collect();
        let _ = writeln!(out, "| {}: {} | {} |", knob.name(), knob.axis(), labels.join(", "));
    }
    out.push_str(
        "\nA cell: the direction, the effect (range of the means over the settings, in standard deviations between images at the\n\
        neutral setting plus 1% of the mean), and Spearman's rho with the knob where it is not 1. ↑ rises and ↓ falls (|rho| at least\n\
        0.85, effect at least 1), → stays (effect below 1), ↕ moves in no one direction. **=**: the same bits at all settings. \
        ✓ as expected,\n✗ not as expected (in brackets what was), no mark: nothing was expected.\n\n",
    );
    out.push_str(&table(all));
    disagreements(&mut out, all);
    means(&mut out, all);
    out
}

/// One row a measure, one column a knob.
pub fn table(all: &[Turned]) -> String {
    let mut out = String::new();
    let names: Vec<&str> = Knob::ALL.iter().map(|k| k.name()).collect();
    let _ = writeln!(out, "| measure | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for row in 0..all[0].1.len() {
        let cells: Vec<String> = all.iter().map(|(knob, responses)| cell(*knob, &responses[row])).collect();
        let _ = writeln!(out, "| `{}` | {} |", all[0].1[row].measure, cells.join(" | "));
    }
    out
}

pub fn arrow(way: Way) -> &'static str {
    match way {
        Way::Up => "↑",
        Way::Down => "↓",
        Way::Stays => "→",
        Way::NotMonotone => "↕",
    }
}

fn cell(knob: Knob, response: &Response) -> String {
    let verdict = match expected(knob, &response.measure) {
        None => String::new(),
        Some(e) if e.way == response.way() => " ✓".into(),
        Some(e) => format!(" ✗ ({})", arrow(e.way)),
    };
    if response.is_untouched() {
        return format!("={verdict}");
    }
    let rho = response.rho();
    let rho = if rho.abs() > 0.999 { String::new() } else { format!(", {rho:+.2}") };
    format!("{} {}{rho}{verdict}", arrow(response.way()), digits(response.effect()))
}

fn disagreements(out: &mut String, all: &[Turned]) {
    out.push_str(
        "\n## Where the expectation failed\n\n\
        | knob | measure | expected | because | found | effect | rho | means at the settings |\n|---|---|---|---|---|---|---|---|\n",
    );
    let (mut kept, mut failed) = (0, 0);
    for (knob, responses) in all {
        for r in responses {
            match expected(*knob, &r.measure) {
                Some(e) if e.way != r.way() => {
                    failed += 1;
                    let _ = writeln!(
                        out,
                        "| {} | `{}` | {} | {} | {} | {} | {:+.2} | {} |",
                        knob.name(),
                        r.measure,
                        arrow(e.way),
                        e.why,
                        arrow(r.way()),
                        digits(r.effect()),
                        r.rho(),
                        r.means().map(digits).join(", ")
                    );
                }
                Some(_) => kept += 1,
                None => {}
            }
        }
    }
    let _ = writeln!(out, "\n{kept} of {} expectations were met, {failed} were not.", kept + failed);
}

fn means(out: &mut String, all: &[Turned]) {
    for (knob, responses) in all {
        let labels = knob.settings().map(|v| knob.label(v)).join(" | ");
        let _ =
            writeln!(out, "\n## Means: {}\n\n| measure | {labels} |\n|---|{}", knob.name(), "---|".repeat(SETTINGS));
        for r in responses {
            let _ = writeln!(out, "| `{}` | {} |", r.measure, r.means().map(digits).join(" | "));
        }
    }
}

/// Three significant digits.
pub fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { "-".into() };
    }
    let places = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.places$}")
}
