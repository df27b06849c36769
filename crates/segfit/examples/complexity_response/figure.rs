//! The responses as small multiples: one panel a knob, one line a measure.

use std::fmt::Write as _;

use segfit::complexity::MEASURES;

use super::Response;
use super::scenes::{KNOBS, SETTINGS};

/// Measures that are drawn, with a colour that colour-blind readers tell apart (Okabe and Ito) and a dash.
const DRAWN: [(&str, &str, &str); 8] = [
    ("jpeg", "#0072B2", ""),
    ("edge", "#D55E00", ""),
    ("noise", "#009E73", ""),
    ("glcm_correlation", "#CC79A7", ""),
    ("foreground", "#56B4E9", "6 3"),
    ("objects", "#E69F00", "6 3"),
    ("perimetric", "#7F7F7F", "6 3"),
    ("fisher", "#B5A900", "6 3"),
];

const PANEL: (f64, f64) = (150.0, 150.0);
const GAP: f64 = 40.0;

/// The figure. Each line is a measure's mean, from its least to its greatest value over all settings of all knobs.
pub fn svg(columns: &[Vec<Response>]) -> String {
    let width = GAP + KNOBS.len() as f64 * (PANEL.0 + GAP);
    let height = 290.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <title>Response of complexity measures to five properties of the image</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (k, knob) in KNOBS.iter().enumerate() {
        let left = GAP + k as f64 * (PANEL.0 + GAP);
        let _ = writeln!(
            out,
            "<g transform=\"translate({left} 30)\"><text x=\"0\" y=\"-10\" font-weight=\"bold\">{}</text>\
             <path d=\"M0 0V{}H{}\" fill=\"none\" stroke=\"#555\"/>",
            knob.name, PANEL.1, PANEL.0
        );
        for (x, setting) in [(0, knob.settings[0]), (SETTINGS - 1, knob.settings[SETTINGS - 1])] {
            let anchor = if x == 0 { "start" } else { "end" };
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{setting}</text>",
                place(x),
                PANEL.1 + 14.0
            );
        }
        for (name, colour, dash) in DRAWN {
            let m = MEASURES.iter().position(|m| m.name == name).expect("a measure");
            let (low, high) = range(columns, m);
            let points: Vec<String> = columns[k][m]
                .means
                .iter()
                .enumerate()
                .map(|(x, v)| {
                    format!("{:.1},{:.1}", place(x), PANEL.1 * (1.0 - (v - low) / (high - low).max(f64::MIN_POSITIVE)))
                })
                .collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dash}\"/>",
                points.join(" ")
            );
        }
        out.push_str("</g>\n");
    }
    let _ = writeln!(
        out,
        "<text x=\"{GAP}\" y=\"222\">setting of the knob (left to right) against the mean, from its least to its greatest over all panels; dashed: uses the mask</text>"
    );
    for (i, (name, colour, dash)) in DRAWN.iter().enumerate() {
        let (x, y) = (GAP + (i % 4) as f64 * 200.0, 244.0 + (i / 4) as f64 * 20.0);
        let _ = writeln!(
            out,
            "<path d=\"M{x} {y}h30\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            x + 36.0,
            y + 4.0
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Horizontal place of a setting in its panel; settings are evenly spaced.
fn place(setting: usize) -> f64 {
    PANEL.0 * setting as f64 / (SETTINGS - 1) as f64
}

/// Least and greatest mean of a measure over all knobs.
fn range(columns: &[Vec<Response>], measure: usize) -> (f64, f64) {
    let all = columns.iter().flat_map(|column| column[measure].means);
    all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
}
