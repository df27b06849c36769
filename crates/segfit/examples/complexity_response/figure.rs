//! The responses as small multiples: one panel a knob, in SVG.

use std::fmt::Write as _;

use crate::expectations::{Way, expected};
use crate::knobs::{Knob, SETTINGS};
use crate::response::Response;
use crate::table::{Turned, arrow};

/// The curves that are named in each panel; the other ones that should move are thin and gray.
fn named(knob: Knob) -> [&'static str; 6] {
    match knob {
        Knob::Noise => ["noise", "jpeg", "entropy", "mean_frequency", "glcm_homogeneity", "fisher"],
        Knob::Objects => ["objects", "foreground", "boundary", "jpeg", "median_frequency", "glcm_energy"],
        Knob::Roughness => ["perimetric", "boundary", "thinness", "jpeg", "solidity", "survival@1/2"],
        Knob::Contrast => ["fisher", "edge", "si_mean", "jpeg", "separability", "mean_frequency"],
        Knob::Scale => ["object_area", "survival@1/2", "objects", "boundary", "jpeg", "mean_frequency"],
    }
}

/// Size of a panel's frame, and the place of the first.
const WIDTH: f64 = 268.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 52.0;
/// Steps from panel to panel.
const STEP: (f64, f64) = (322.0, 316.0);
/// Ticks, in standard deviations between images; the axis is asinh, linear near 0 and logarithmic far away.
const TICKS: [f64; 7] = [-1000.0, -100.0, -10.0, 0.0, 10.0, 100.0, 1000.0];
/// The end of the axis.
const LAST: f64 = 2500.0;

/// Colours of Okabe and Ito 2008, which the colour-blind can tell apart; a lighter variant on dark ground. Curves differ
/// by the sign at their points as well.
const STYLE: &str = "\
text{font:11px sans-serif;fill:#222}.h{font-weight:bold;font-size:13px}.t{font-size:10px}.b{font-weight:bold}\
.bg{fill:#fff}.fr{fill:none;stroke:#888}.gr{stroke:#ddd}.band{fill:#e8e8e8}.o{fill:none;stroke:#bbb}\
.l{fill:none;stroke-width:2}.m{stroke-width:1.2}\
.c0{color:#0072b2}.c1{color:#d55e00}.c2{color:#00825c}.c3{color:#a3477c}.c4{color:#946b00}.c5{color:#222}\
.l,.m{stroke:currentColor}.m{fill:currentColor}\
@media(prefers-color-scheme:dark){text{fill:#ddd}.bg{fill:#161616}.gr{stroke:#333}.band{fill:#2b2b2b}.o{stroke:#555}\
.c0{color:#56b4e9}.c1{color:#ff8b3d}.c2{color:#3fcf9f}.c3{color:#e79fc8}.c4{color:#f0e442}.c5{color:#eee}}";

pub fn svg(all: &[Turned]) -> String {
    let (width, height) = (3.0 * STEP.0 + 8.0, 2.0 * STEP.1 + 24.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
        role=\"img\">\n<title>Response of complexity measures to five knobs</title>\n<style>{STYLE}</style>\n\
        <rect class=\"bg\" width=\"{width}\" height=\"{height}\"/>\n\
        <text class=\"h\" x=\"{LEFT}\" y=\"20\">One knob is turned, all others stay: change of the mean, in standard \
        deviations between images at the neutral setting</text>\n"
    );
    for (i, turned) in all.iter().enumerate() {
        let (x, y) = (LEFT + STEP.0 * (i % 3) as f64, TOP + STEP.1 * (i / 3) as f64);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        panel(&mut out, turned);
        out.push_str("</g>\n");
    }
    reading(&mut out, LEFT + STEP.0 * 2.0, TOP + STEP.1);
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, (knob, responses): &Turned) {
    axes(out, *knob);
    let moving = |r: &&Response| {
        expected(*knob, &r.measure).is_some_and(|e| e.way != Way::Stays) && !named(*knob).contains(&r.measure.as_str())
    };
    for response in responses.iter().filter(moving) {
        let _ = writeln!(out, "<polyline class=\"o\" points=\"{}\"/>", points(response));
    }
    for (i, name) in named(*knob).into_iter().enumerate() {
        let Some(response) = responses.iter().find(|r| r.measure == name) else { continue };
        let _ = write!(
            out,
            "<g class=\"c{i}\"><polyline class=\"l\" points=\"{}\"/><path class=\"m\" d=\"",
            points(response)
        );
        for (s, &v) in response.standardised().iter().enumerate() {
            sign(out, i, column(s), row(v));
        }
        let (x, y) = (WIDTH / 2.0 * (i / 3) as f64, HEIGHT + 52.0 + 17.0 * (i % 3) as f64);
        let _ = write!(out, "M{x:.0} {y:.0}h18");
        sign(out, i, x + 9.0, y);
        let _ = writeln!(
            out,
            "\"/></g><text x=\"{:.0}\" y=\"{:.0}\">{name} {}</text>",
            x + 23.0,
            y + 4.0,
            arrow(response.way())
        );
    }
}

fn axes(out: &mut String, knob: Knob) {
    let band = row(1.0);
    let _ = writeln!(
        out,
        "<text class=\"h\" y=\"-7\">{}</text><rect class=\"band\" y=\"{band:.1}\" width=\"{WIDTH}\" height=\"{:.1}\"/>",
        knob.name(),
        row(-1.0) - band
    );
    for tick in TICKS {
        let y = row(tick);
        let sign = if tick > 0.0 { "+" } else { "" };
        let _ = writeln!(
            out,
            "<path class=\"gr\" d=\"M0 {y:.1}h{WIDTH}\"/><text class=\"t\" x=\"-5\" y=\"{:.1}\" text-anchor=\"end\">{sign}{tick}</text>",
            y + 3.5
        );
    }
    for (s, value) in knob.settings().into_iter().enumerate() {
        let (x, class) = (column(s), if s == knob.neutral() { "t b" } else { "t" });
        let _ = writeln!(
            out,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT + 14.0,
            knob.label(value)
        );
    }
    let _ = writeln!(
        out,
        "<rect class=\"fr\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/><text class=\"t\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
        <text class=\"t\" transform=\"translate(-40 {}) rotate(-90)\" text-anchor=\"middle\">standard deviations</text>",
        WIDTH / 2.0,
        HEIGHT + 30.0,
        knob.axis(),
        HEIGHT / 2.0
    );
}

/// How to read the panels, in the place of the sixth.
fn reading(out: &mut String, x: f64, y: f64) {
    let lines = [
        "How to read this",
        "",
        "Means of 8 scenes of 256 x 256 pixels; the",
        "same random draws at every setting.",
        "",
        "The bold setting is neutral: all curves are 0",
        "there. In the gray band a measure changes by",
        "less than images of one setting differ.",
        "",
        "Colours: measures with a name. Thin gray: all",
        "others that should move with the knob.",
        "",
        "↑ rises, ↓ falls, → stays, ↕ not monotone",
    ];
    for (i, line) in lines.into_iter().enumerate() {
        let class = if i == 0 { " class=\"h\"" } else { "" };
        let _ = writeln!(out, "<text{class} x=\"{x}\" y=\"{}\">{line}</text>", y + 17.0 * i as f64);
    }
}

fn points(response: &Response) -> String {
    let place = |(s, &v): (usize, &f64)| format!("{:.1},{:.1}", column(s), row(v));
    response.standardised().iter().enumerate().map(place).collect::<Vec<_>>().join(" ")
}

fn column(setting: usize) -> f64 {
    WIDTH * (setting as f64 + 0.5) / SETTINGS as f64
}

fn row(value: f64) -> f64 {
    let height = value.clamp(-LAST, LAST).asinh() / LAST.asinh();
    HEIGHT / 2.0 - (HEIGHT / 2.0 - 6.0) * height
}

/// The sign of a curve around a point: disc, square, two triangles, diamond, cross.
fn sign(out: &mut String, curve: usize, x: f64, y: f64) {
    let _ = write!(out, "M{x:.1} {y:.1}");
    out.push_str(match curve {
        0 => "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
        1 => "m-2.7-2.7h5.4v5.4h-5.4z",
        2 => "m0-3.5l3.3 6h-6.6z",
        3 => "m0 3.5l3.3-6h-6.6z",
        4 => "m0-3.8l3.8 3.8-3.8 3.8-3.8-3.8z",
        _ => "m-3-3l6 6m0-6l-6 6",
    });
}
