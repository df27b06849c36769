//! [`Figure`]: a chart with axes, as the template `figure.svg` draws it.

use serde::Serialize;

use super::axis::Tick;

/// The axes of a chart. All lengths are pixels of the figure.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Frame {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub x_ticks: Vec<Tick>,
    pub y_ticks: Vec<Tick>,
    /// With the unit.
    pub x_label: String,
    pub y_label: String,
    pub title: String,
    /// What a person who does not see the figure should know.
    pub description: String,
}

impl Frame {
    /// A chart of this size with room for labels; ticks and words are to be filled in.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, left: 62.0, right: width - 14.0, top: 14.0, bottom: height - 44.0, ..Self::default() }
    }
}

/// A chart.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figure {
    /// Name of its files, without their ending.
    #[serde(skip)]
    pub name: String,
    pub frame: Frame,
    pub bands: Vec<Path>,
    pub rules: Vec<Tick>,
    pub lines: Vec<Path>,
    pub bars: Vec<Bar>,
    pub spans: Vec<Span>,
    pub points: Vec<Point>,
    pub notes: Vec<Note>,
    pub marker: Option<Marker>,
    /// The numbers behind it: a heading and rows.
    #[serde(skip)]
    pub table: Vec<Vec<String>>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Path {
    pub class: String,
    pub d: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Bar {
    pub class: String,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub title: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Span {
    pub class: String,
    pub x1: f64,
    pub y1: f64,
    pub x2: f64,
    pub y2: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub class: String,
    pub x: f64,
    pub y: f64,
    pub r: f64,
    /// What is shown beside the pointer.
    pub title: String,
    /// Number of the offer that a click shows.
    pub index: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Note {
    pub class: String,
    pub x: f64,
    pub y: f64,
    pub anchor: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Marker {
    pub x: f64,
    pub y: f64,
    pub low: f64,
    pub high: f64,
}

/// The path through points; empty without any.
pub(super) fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let step = |(i, (x, y)): (usize, (f64, f64))| format!("{}{x} {y}", if i == 0 { "M" } else { "L" });
    points.into_iter().enumerate().map(step).collect()
}

/// A heading as a row of a table.
pub(super) fn heading<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}
