//! The Dice of the reference network on new data, which turns skill and retention into Dice.
//!
//! What is modelled is the share g = (D_ref - D0) / (1 - D0) of the possible gain over the best constant mask, on the logit
//! scale, by ridge regression; so D_ref always lies between D0 and 1. The regression is on the same share for the linear pixel classifier, (P - D0) /
//! (1 - D0) with P its `probe_dice`, on the logit scale; on five measures where a data set was not probed. Families other than the main
//! one are shifted by the mean difference to it over the data sets that have both.

use serde::{Deserialize, Serialize};

use super::FEATURES;
use crate::complexity::PROBE_DICE;
use crate::predict::Measures;
use crate::predict::grid::Grid;
use crate::predict::linear::{Feature, PENALTIES, ridge, strongest_of_the_best};
use crate::predict::samples::SetSamples;

/// Ridge model of logit g.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reference {
    features: Vec<Feature>,
    intercept: f64,
    coefficients: Vec<f64>,
    penalty: f64,
    /// Shift of every family of the grid; 0 for the main one.
    families: Vec<f64>,
}

impl Reference {
    /// Fits with the penalty that leave-one-data-set-out chooses.
    pub(crate) fn fit(sets: &[&SetSamples], grid: &Grid) -> Self {
        let penalty = strongest_of_the_best(&PENALTIES, |penalty| left_out_error(sets, penalty));
        let mut model = Self::with_penalty(sets, penalty);
        model.families = grid.families.iter().map(|family| shift(sets, family)).collect();
        model
    }

    /// Predicted D_ref of a family of the grid, between `constant_dice` and 1.
    pub(crate) fn dice(&self, measures: &Measures, constant_dice: f64, family: usize) -> f64 {
        let seen = seen(measures, constant_dice);
        let terms = self.features.iter().zip(&self.coefficients).map(|(f, b)| f.value(&seen) * b);
        let shift = self.families.get(family).copied().unwrap_or(0.0);
        let gain = 1.0 / (1.0 + (-(self.intercept + shift + terms.sum::<f64>())).exp());
        constant_dice + gain * (1.0 - constant_dice)
    }

    /// Measures that it reads.
    pub(crate) fn measures(&self) -> Vec<&str> {
        self.features.iter().map(|f| if f.name == PROBE_GAIN { PROBE_DICE } else { f.name.as_str() }).collect()
    }

    fn with_penalty(sets: &[&SetSamples], penalty: f64) -> Self {
        let seen: Vec<Measures> = sets.iter().map(|s| seen(&s.measures, s.constant_dice)).collect();
        let seen: Vec<&Measures> = seen.iter().collect();
        let mut features = Feature::fit(&[PROBE_GAIN], &seen);
        if features.is_empty() {
            features = Feature::fit(&FEATURES, &seen);
        }
        let y: Vec<f64> = sets.iter().map(|s| logit_gain(s.reference_dice, s.constant_dice)).collect();
        let intercept = y.iter().sum::<f64>() / y.len() as f64;
        let rows: Vec<Vec<f64>> = seen.iter().map(|m| features.iter().map(|f| f.value(m)).collect()).collect();
        let centred: Vec<f64> = y.iter().map(|v| v - intercept).collect();
        let coefficients = ridge(&rows, &centred, penalty);
        Self { features, intercept, coefficients, penalty, families: Vec::new() }
    }
}

/// Name of logit (P - D0) / (1 - D0) among the features.
const PROBE_GAIN: &str = "probe_gain";

/// What the regression may look at: the five measures, and the gain of the probe.
fn seen(measures: &Measures, constant_dice: f64) -> Measures {
    let five = FEATURES.iter().filter_map(|name| Some(((*name).to_string(), *measures.get(*name)?)));
    let gain = measures.get(PROBE_DICE).map(|&dice| (PROBE_GAIN.to_string(), logit_gain(dice, constant_dice)));
    five.chain(gain).collect()
}

/// logit (D - D0) / (1 - D0), kept .01 away from 0 and 1.
fn logit_gain(reference_dice: f64, constant_dice: f64) -> f64 {
    let gain = ((reference_dice - constant_dice) / (1.0 - constant_dice)).clamp(0.01, 0.99);
    (gain / (1.0 - gain)).ln()
}

fn shift(sets: &[&SetSamples], family: &str) -> f64 {
    let of_set = |s: &&SetSamples| {
        let own = s.points.iter().find(|p| p.family == family)?;
        Some(logit_gain(own.reference_dice, s.constant_dice) - logit_gain(s.reference_dice, s.constant_dice))
    };
    let shifts: Vec<f64> = sets.iter().filter_map(of_set).collect();
    shifts.iter().sum::<f64>() / shifts.len().max(1) as f64
}

/// Sum of |predicted - measured D_ref| over the original data sets, each left out together with its variants.
fn left_out_error(sets: &[&SetSamples], penalty: f64) -> f64 {
    let error = |held: &&SetSamples| {
        let rest: Vec<&SetSamples> = sets.iter().filter(|s| s.root() != held.root()).copied().collect();
        if rest.len() < 2 {
            return f64::INFINITY;
        }
        let dice = Reference::with_penalty(&rest, penalty).dice(&held.measures, held.constant_dice, 0);
        (dice - held.reference_dice).abs()
    };
    sets.iter().filter(|s| s.is_original()).map(error).sum()
}
