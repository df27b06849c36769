//! The Dice of the reference network on new data, which turns skill into Dice.
//!
//! What is modelled is the share g = (D_ref - D0) / (1 - D0) of the possible gain over the best constant mask, on the logit
//! scale, by ridge regression on the complexity measures; so D_ref always lies between D0 and 1.

use serde::{Deserialize, Serialize};

use super::FEATURES;
use super::ridge::{PENALTIES, strongest_of_the_best};
use crate::predict::Measures;
use crate::predict::linear::{Feature, ridge};
use crate::predict::samples::SetSamples;

/// Ridge model of logit g.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reference {
    features: Vec<Feature>,
    intercept: f64,
    coefficients: Vec<f64>,
    penalty: f64,
}

impl Reference {
    /// Fits with the penalty that leave-one-data-set-out chooses.
    pub(crate) fn fit(sets: &[&SetSamples]) -> Self {
        let penalty = strongest_of_the_best(&PENALTIES, |penalty| left_out_error(sets, penalty));
        Self::with_penalty(sets, penalty)
    }

    /// Predicted D_ref, between `constant_dice` and 1.
    pub(crate) fn dice(&self, measures: &Measures, constant_dice: f64) -> f64 {
        let terms = self.features.iter().zip(&self.coefficients).map(|(f, b)| f.value(measures) * b);
        let gain = 1.0 / (1.0 + (-(self.intercept + terms.sum::<f64>())).exp());
        constant_dice + gain * (1.0 - constant_dice)
    }

    fn with_penalty(sets: &[&SetSamples], penalty: f64) -> Self {
        let features = Feature::fit(&FEATURES, &sets.iter().map(|s| &s.measures).collect::<Vec<_>>());
        let y: Vec<f64> = sets.iter().map(|s| logit_gain(s)).collect();
        let intercept = y.iter().sum::<f64>() / y.len() as f64;
        let rows: Vec<Vec<f64>> =
            sets.iter().map(|s| features.iter().map(|f| f.value(&s.measures)).collect()).collect();
        let centred: Vec<f64> = y.iter().map(|v| v - intercept).collect();
        let coefficients = ridge(&rows, &centred, penalty);
        Self { features, intercept, coefficients, penalty }
    }
}

fn logit_gain(set: &SetSamples) -> f64 {
    let gain = ((set.reference_dice - set.constant_dice) / (1.0 - set.constant_dice)).clamp(0.01, 0.99);
    (gain / (1.0 - gain)).ln()
}

fn left_out_error(sets: &[&SetSamples], penalty: f64) -> f64 {
    if sets.len() < 3 {
        return f64::INFINITY;
    }
    let error = |i: usize| {
        let rest: Vec<&SetSamples> = sets.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s).collect();
        let dice = Reference::with_penalty(&rest, penalty).dice(&sets[i].measures, sets[i].constant_dice);
        (dice - sets[i].reference_dice).abs()
    };
    (0..sets.len()).map(error).sum()
}
