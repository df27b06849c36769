//! [`CalibratedOn`]: where a mapping comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Measures;
use super::record::{RecipeId, Record};
use super::samples::{Samples, SetSamples};

/// Where a mapping comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibratedOn {
    /// A remark of the person who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Names of the data sets.
    pub data_sets: Vec<String>,
    /// Network families.
    pub families: Vec<String>,
    /// Base widths.
    pub widths: Vec<usize>,
    /// Depths.
    pub depths: Vec<usize>,
    /// Base width and depth of the reference network, which retention compares with.
    pub reference: ReferenceNetwork,
    /// Rows and columns of the input.
    pub input_size: usize,
    /// The recipe of all the trainings.
    pub recipe: RecipeId,
    /// Devices and instruction sets.
    pub engines: Vec<String>,
    /// Number of records.
    pub records: usize,
    /// Further data sets that were learned from, made from the others or by a program; no error is reported on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
    /// Means of the measures of each of `data_sets` at full resolution; empty in mappings of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub complexity: BTreeMap<String, Measures>,
    /// Data sets that could not be used, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The network that retention compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceNetwork {
    /// Channels at full resolution.
    pub base_width: usize,
    /// Poolings.
    pub depth: usize,
}

impl CalibratedOn {
    pub(super) fn of(samples: &Samples, sets: &[&SetSamples]) -> Self {
        let names = |original: bool| -> Vec<String> {
            sets.iter().filter(|s| s.is_original() == original).map(|s| s.name.clone()).collect()
        };
        let is_used = |r: &&Record| sets.iter().any(|s| s.name == r.dataset.name);
        let used: Vec<&Record> = samples.records.iter().filter(is_used).collect();
        let (depth, widths) = &samples.reference;
        let reference = used.iter().find(|r| r.family == samples.family && r.depth == *depth && r.widths == *widths);
        Self {
            note: None,
            data_sets: names(true),
            variants: names(false),
            families: sorted(used.iter().map(|r| r.family.clone())),
            widths: sorted(used.iter().map(|r| r.base_width)),
            depths: sorted(used.iter().map(|r| r.depth)),
            reference: ReferenceNetwork {
                base_width: reference.map_or(0, |r| r.base_width),
                depth: reference.map_or(0, |r| r.depth),
            },
            input_size: used.first().map_or(0, |r| r.input.size),
            recipe: used
                .first()
                .map_or_else(|| RecipeId { name: String::new(), digest: String::new() }, |r| r.recipe.clone()),
            engines: sorted(used.iter().map(|r| r.engine.clone())),
            records: used.len(),
            complexity: sets.iter().filter(|s| s.is_original()).map(|s| (s.name.clone(), at_full_size(s))).collect(),
            left_out: samples.left_out.clone(),
        }
    }
}

/// The measures of whole images: names of other scales have an `@`.
fn at_full_size(set: &SetSamples) -> Measures {
    set.measures.iter().filter(|(name, _)| !name.contains('@')).map(|(name, &value)| (name.clone(), value)).collect()
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values.dedup();
    values
}
