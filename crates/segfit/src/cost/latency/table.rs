//! [`LatencyTable`]: the measured steps of a device, as a file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::steps::StepKind;
use super::surface::Surface;
use crate::error::{Error, Result};

/// `format` of latency tables.
pub const LATENCY_FORMAT: &str = "segfit-latency/1";

/// How and where a table was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The device, in words.
    pub device: String,
    /// Threads that shared the work.
    pub threads: usize,
    /// Numbers that were computed with: `f32`, `bf16` or `int8`.
    pub precision: String,
    /// Rows and columns of the image; one image at a time.
    pub size: usize,
    /// The networks whose steps were measured, in words.
    pub networks: String,
}

/// The times of all steps of a family's networks on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyTable {
    /// [`LATENCY_FORMAT`].
    pub format: String,
    /// Version of segfit that measured.
    pub version: String,
    /// How and where it was measured.
    #[serde(flatten)]
    pub conditions: Conditions,
    /// How far predictions are from networks that were measured as a whole; absent where nobody compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<LatencyError>,
    /// From the sum over the steps to the whole network, in microseconds: what lies between the steps, and what small networks gain
    /// because all their data stays in the cache. Where it is empty, the sum itself.
    #[serde(default, skip_serializing_if = "Curve::is_empty")]
    pub whole: Curve,
    /// The steps.
    pub steps: Vec<StepTimes>,
}

/// Relative errors of predictions, each made by a table without the network in question.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyError {
    /// Networks that were compared.
    pub networks: usize,
    /// Median of |predicted / measured - 1|.
    pub median: f64,
    /// Its 90th percentile.
    pub p90: f64,
    /// 95th percentile of measured / predicted - 1, at least 0: how much longer a network may take than predicted.
    pub late: f64,
}

/// The times of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTimes {
    /// Its form.
    #[serde(flatten)]
    pub kind: StepKind,
    /// Over its channels.
    #[serde(flatten)]
    pub times: Surface,
}

impl LatencyTable {
    /// Reads a table.
    ///
    /// # Errors
    /// As [`crate::files::read_json`]; [`Error::Json`] when a step's grid does not fit together or a time is not above 0.
    pub fn read(path: &Path) -> Result<Self> {
        let table: Self = crate::files::read_json(path, LATENCY_FORMAT)?;
        match table.flaw() {
            None => Ok(table),
            Some(reason) => Err(Error::Json { path: path.into(), expected: LATENCY_FORMAT.into(), reason }),
        }
    }

    /// The table as a file: a line for every number of input channels of a step.
    ///
    /// # Panics
    /// Never: plain values become JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let without = Self { steps: Vec::new(), ..self.clone() };
        let head = serde_json::to_string_pretty(&without).expect("plain values become JSON");
        let steps = self.steps.iter().map(|step| {
            let rows: Vec<String> = step.times.us.iter().map(|row| format!("        {}", compact(row))).collect();
            format!(
                "    {{\n      \"what\": {},\n      \"rows\": {},\n      \"columns\": {},\n      \"inputs\": {},\n      \
                 \"outputs\": {},\n      \"us\": [\n{}\n      ]\n    }}",
                compact(&step.kind.what),
                step.kind.rows,
                step.kind.columns,
                compact(&step.times.inputs),
                compact(&step.times.outputs),
                rows.join(",\n")
            )
        });
        let steps: Vec<String> = steps.collect();
        let head = head.strip_suffix("\"steps\": []\n}").expect("the last field");
        format!("{head}\"steps\": [\n{}\n  ]\n}}\n", steps.join(",\n")).into_bytes()
    }

    fn flaw(&self) -> Option<String> {
        let of_step = |s: &StepTimes| Some(format!("{}: {}", s.kind, s.times.flaw()?));
        let error = self.error.filter(|e| !(e.late >= 0.0 && e.late.is_finite()));
        let late = error.map(|e| format!("error.late must be at least 0, got {}", e.late));
        self.steps.iter().find_map(of_step).or_else(|| self.whole.flaw()).or(late)
    }

    /// Index of the step of this form.
    pub(super) fn index(&self, kind: &StepKind) -> Option<usize> {
        self.steps.iter().position(|s| s.kind == *kind)
    }

    /// How much longer a network may take than predicted, as a share.
    #[must_use]
    pub fn late(&self) -> f64 {
        self.error.map_or(0.0, |e| e.late)
    }
}

fn compact(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values become JSON")
}
