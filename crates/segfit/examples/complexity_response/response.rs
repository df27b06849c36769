//! The means of every measure at every setting of a knob, and how they move.

use rayon::prelude::*;
use segfit::complexity::{MEASURES, PROBE_DICE, ProbeImage, Pyramid, name_at_scale, probe_dice, responses};
use segfit::data::Sample;

use crate::expectations::Way;
use crate::knobs::{Knob, SETTINGS, images};

/// A range below this many deviations between images counts as none.
const LEAST_EFFECT: f64 = 1.0;
/// A rank correlation of at least this size counts as one direction.
const LEAST_RHO: f64 = 0.85;
/// Share of the mean that is added to the deviation between images, so that values equal in all images compare too.
const FLOOR: f64 = 0.01;

/// Scales that are measured beside the first of every measure.
const MORE_SCALES: [(&str, usize); 3] = [("jpeg", 2), ("jpeg_scan", 4), ("survival", 3)];

/// Values of one measure: by setting, then by image. Undefined values are left out.
pub struct Response {
    pub measure: String,
    pub values: Vec<Vec<f64>>,
    neutral: usize,
}

impl Response {
    /// The mean at each setting; NaN where it is defined for no image.
    pub fn means(&self) -> [f64; SETTINGS] {
        std::array::from_fn(|s| mean(&self.values[s]))
    }

    /// Standard deviation between the images at the neutral setting, plus a floor of 1% of their mean.
    pub fn spread(&self) -> f64 {
        let values = &self.values[self.neutral];
        let m = mean(values);
        let squares: f64 = values.iter().map(|v| (v - m) * (v - m)).sum();
        (squares / (values.len() as f64 - 1.0)).sqrt() + FLOOR * m.abs() + 1e-6
    }

    /// The means minus that of the neutral setting, in spreads.
    pub fn standardised(&self) -> [f64; SETTINGS] {
        let (means, spread) = (self.means(), self.spread());
        means.map(|m| (m - means[self.neutral]) / spread)
    }

    /// Range of the means, in spreads.
    pub fn effect(&self) -> f64 {
        let means = self.means();
        let (low, high) = means.iter().fold((f64::MAX, f64::MIN), |(l, h), &m| (l.min(m), h.max(m)));
        (high - low) / self.spread()
    }

    /// Spearman's rank correlation of the means with the settings.
    pub fn rho(&self) -> f64 {
        let ranks = ranks(&self.means());
        let middle = (SETTINGS as f64 - 1.0) / 2.0;
        let (mut joint, mut own, mut other) = (0.0, 0.0, 0.0);
        for (s, rank) in ranks.iter().enumerate() {
            let (a, b) = (s as f64 - middle, rank - middle);
            joint += a * b;
            own += a * a;
            other += b * b;
        }
        if other > 0.0 { joint / (own * other).sqrt() } else { 0.0 }
    }

    /// Whether every image has the same bits at all settings.
    pub fn is_untouched(&self) -> bool {
        self.values.iter().all(|v| v == &self.values[0])
    }

    pub fn way(&self) -> Way {
        match (self.effect(), self.rho()) {
            (effect, _) if effect < LEAST_EFFECT => Way::Stays,
            (_, rho) if rho >= LEAST_RHO => Way::Up,
            (_, rho) if rho <= -LEAST_RHO => Way::Down,
            _ => Way::NotMonotone,
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Ranks from 0; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |v: f64| values.iter().filter(|&&o| o < v).count() as f64;
    let equal = |v: f64| values.iter().filter(|&&o| o == v).count() as f64;
    values.iter().map(|&v| below(v) + (equal(v) - 1.0) / 2.0).collect()
}

/// The names and scales that are measured, in the order of a profile.
fn columns() -> Vec<(usize, usize)> {
    let scales = |(i, name, first): (usize, &str, usize)| {
        let more = MORE_SCALES.iter().filter(|m| m.0 == name).map(|m| m.1).collect::<Vec<_>>();
        std::iter::once(first).chain(more).map(move |s| (i, s)).collect::<Vec<_>>()
    };
    MEASURES.iter().enumerate().flat_map(|(i, m)| scales((i, m.name, m.first_scale))).collect()
}

/// What every measure does while a knob is turned.
pub fn responses_to(knob: Knob) -> Vec<Response> {
    let columns = columns();
    let settings: Vec<Vec<Vec<Option<f64>>>> =
        knob.settings().par_iter().map(|&value| measured(&columns, &images(knob.turned(value)))).collect();
    let name = |c: usize| match columns.get(c) {
        Some(&(measure, scale)) => name_at_scale(MEASURES[measure].name, scale),
        None => PROBE_DICE.to_string(),
    };
    let one = |c: usize| Response {
        measure: name(c),
        values: settings.iter().map(|images| images.iter().filter_map(|values| values[c]).collect()).collect(),
        neutral: knob.neutral(),
    };
    (0..=columns.len()).map(one).collect()
}

/// By image, the values of the columns and then the probe's Dice.
fn measured(columns: &[(usize, usize)], samples: &[Sample]) -> Vec<Vec<Option<f64>>> {
    let pyramids: Vec<Pyramid> = samples.iter().map(Pyramid::new).collect();
    let probed: Vec<ProbeImage> = samples
        .iter()
        .zip(&pyramids)
        .filter_map(|(s, p)| responses(p, &s.image).map(|r| ProbeImage { source: s.name.clone(), responses: r }))
        .collect();
    let dice = probe_dice(&probed).unwrap_or_default();
    let row = |(i, p): (usize, &Pyramid)| {
        let own = columns.iter().map(|&(measure, scale)| (MEASURES[measure].compute)(p, scale));
        own.chain([dice.get(i).copied()]).collect()
    };
    pyramids.iter().enumerate().map(row).collect()
}
