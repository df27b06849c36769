//! What the candidate models share: the data set they look at, and the trait they implement.

mod deficit;
mod gaussian;
mod mean_curve;
mod median_curve;
mod paper_form;
mod params_only;
mod probe;
mod reference;

use std::fmt::Debug;

pub(crate) use deficit::{Deficit, Features};
pub(crate) use gaussian::Gaussian;
pub(crate) use mean_curve::MeanCurve;
pub(crate) use median_curve::MedianCurve;
pub(crate) use paper_form::PaperForm;
pub(crate) use params_only::ParamsOnly;
pub(crate) use probe::Probe;
pub(crate) use reference::Reference;

use super::Measures;
use super::grid::{Grid, Spot};

/// Measures of the regressions with a fixed choice, in this order; those that some calibrated set lacks are not used.
pub(crate) const FEATURES: [&str; 5] = ["jpeg", "edge", "median_frequency", "foreground", "survival@1/4"];

/// What a model knows of the data set that it predicts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits<'a> {
    /// Complexity.
    pub measures: &'a Measures,
    /// 1 - D0 / D_ref: how much retention a unit of skill is.
    pub stake: f64,
}

/// A fitted model of what every size keeps on any data set.
pub(crate) trait Model: Debug {
    /// Retention, 1 at the reference network; it never falls when a width grows.
    fn retention(&self, grid: &Grid, of: &Traits<'_>, at: &Spot) -> f64;

    /// Measures that it reads.
    fn measures(&self) -> Vec<&str> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complexity::MEASURES;

    #[test]
    fn every_feature_is_a_measure_that_a_profile_has() {
        for feature in FEATURES {
            let (name, scale) = feature.split_once("@1/").unwrap_or((feature, "1"));
            let index = scale.parse::<usize>().unwrap().ilog2() as usize;
            let measure = MEASURES.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no measure {name}"));
            assert!((measure.first_scale..=measure.last_scale).contains(&index), "{feature}");
        }
    }
}
