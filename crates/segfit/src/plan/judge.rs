//! [`Judge`]: what a candidate costs and keeps, each as cheaply as it can be known.
//!
//! Counts cost about a microsecond ([`super::forms`]); the prediction a few; memory and latency need the network itself, so
//! that they are looked at last, only where a budget or the objective is about them, and remembered.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::budget::{Bound, Budgets};
use super::forms::{Forms, Quadratic};
use super::objective::Objective;
use super::offer::Offer;
use super::space::{Level, Space};
use super::weights::weight_bytes;
use crate::cost::Cost;
use crate::error::{Error, Result};
use crate::network::NetworkSpec;
use crate::predict::{Mapping, Prediction, SizeFeatures, SizeRow, Subject};

/// Milliseconds that a network takes for one image at most, as far as can be told: what limits are compared with.
pub type Latency<'a> = dyn Fn(&NetworkSpec) -> Result<f64> + Sync + 'a;

/// One network that may be chosen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Index of its depth in the space.
    pub level: usize,
    /// Channels of the free groups, in order.
    pub channels: Vec<usize>,
    pub params: u64,
    pub macs: u64,
    pub weight_bytes: u64,
    pub size: SizeFeatures,
    /// Steps away from what was calibrated: levels of depth, and one more for a shape, a width or a number of parameters outside of the hull.
    pub tier: usize,
}

/// Memory and latency of a candidate.
#[derive(Clone, Copy, Debug, Default)]
struct Dear {
    memory: Option<u64>,
    latency: Option<f64>,
}

pub(super) struct Judge<'a> {
    pub mapping: &'a Mapping,
    pub subject: &'a Subject,
    pub space: &'a Space,
    pub forms: &'a [Forms],
    pub budgets: Budgets,
    pub objective: Objective,
    pub latency: Option<&'a Latency<'a>>,
    dear: Mutex<BTreeMap<(usize, Vec<usize>), Dear>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        mapping: &'a Mapping,
        subject: &'a Subject,
        space: &'a Space,
        forms: &'a [Forms],
        budgets: Budgets,
        objective: Objective,
        latency: Option<&'a Latency<'a>>,
    ) -> Self {
        Self { mapping, subject, space, forms, budgets, objective, latency, dear: Mutex::default() }
    }

    /// The same with other budgets and another objective.
    pub(super) fn asked(&self, budgets: Budgets, objective: Objective) -> Judge<'a> {
        Self::new(self.mapping, self.subject, self.space, self.forms, budgets, objective, self.latency)
    }

    pub(super) fn level(&self, index: usize) -> &'a Level {
        &self.space.levels[index]
    }

    /// The network of depth `level` with these channels.
    pub(super) fn candidate(&self, level: usize, channels: Vec<usize>) -> Candidate {
        let forms = &self.forms[level];
        let params = forms.params.at(&channels);
        let size = forms.size(&channels, params);
        Candidate {
            level,
            params,
            macs: forms.macs.at(&channels),
            weight_bytes: forms.weight_bytes.at(&channels),
            tier: self.tier(level, &size),
            size,
            channels,
        }
    }

    fn family(&self, level: usize) -> &'a str {
        &self.level(level).full.family
    }

    /// A shape is judged by how far it is bent from the family's own network: families differ from each other by more.
    fn tier(&self, level: usize, size: &SizeFeatures) -> usize {
        let own = &self.level(level).own;
        let shapes = self.mapping.hull.shapes_at(size.depth);
        let shape = shapes.contains(size.slope - own.slope, size.decoder_ratio - own.decoder_ratio);
        let narrow = self.mapping.log2_width(size) < self.mapping.narrowest(self.family(level), size) - 1e-6;
        let small = self.mapping.hull.is_smaller(self.family(level), size);
        self.levels_away(level) + usize::from(!shape || narrow || small)
    }

    /// Levels between this depth and the nearest calibrated one.
    pub(super) fn levels_away(&self, level: usize) -> usize {
        let depth = self.level(level).full.depth;
        self.mapping.calibrated_on.depths.iter().map(|d| d.abs_diff(depth)).min().unwrap_or(0)
    }

    /// What the predicted retention of networks of one depth depends on.
    pub(super) fn rank(&self, candidate: &Candidate) -> f64 {
        self.mapping.rank(&candidate.size)
    }

    /// Predicted retention.
    pub(super) fn retention(&self, candidate: &Candidate) -> f64 {
        let family = self.family(candidate.level);
        self.mapping.retention(&self.subject.measures, self.subject.constant_dice, family, &candidate.size)
    }

    /// The whole prediction.
    pub(super) fn prediction(&self, candidate: &Candidate) -> Result<Prediction> {
        let (subject, family) = (self.subject, self.family(candidate.level));
        self.mapping.predict_size(&subject.measures, subject.constant_dice, family, &candidate.size, self.space.size)
    }

    /// Whether it keeps the share that is asked for.
    pub(super) fn keeps(&self, candidate: &Candidate) -> Result<bool> {
        let Some(keep) = self.budgets.keep else { return Ok(true) };
        Ok(match self.budgets.keep_bound {
            Bound::Mean | Bound::Likely => self.budgets.kept_of_mean(self.retention(candidate)) >= keep,
            Bound::Low => self.prediction(candidate)?.retention.low >= keep,
        })
    }

    /// Whether it meets the budgets of what is counted: parameters, multiply-accumulates, bytes of the weights.
    pub(super) fn fits_counts(&self, c: &Candidate) -> bool {
        let within = |have: u64, most: Option<u64>| most.is_none_or(|most| have <= most);
        let Budgets { max_params, max_macs, max_weights, .. } = self.budgets;
        within(c.params, max_params) && within(c.macs, max_macs) && within(c.weight_bytes, max_weights)
    }

    /// [`Self::fits_counts`] of the network with these channels, of which nothing else is known yet.
    pub(super) fn fits(&self, level: usize, channels: &[usize]) -> bool {
        let within = |form: &Quadratic, most: Option<u64>| most.is_none_or(|most| form.at(channels) <= most);
        let (forms, Budgets { max_params, max_macs, max_weights, .. }) = (&self.forms[level], self.budgets);
        within(&forms.params, max_params) && within(&forms.macs, max_macs) && within(&forms.weight_bytes, max_weights)
    }

    /// Whether some budget is about memory or latency.
    pub(super) fn is_dear(&self) -> bool {
        self.budgets.max_memory.is_some() || self.budgets.max_latency_ms.is_some()
    }

    /// Whether it meets the budgets of memory and latency.
    pub(super) fn fits_dear(&self, candidate: &Candidate) -> Result<bool> {
        if let Some(most) = self.budgets.max_memory
            && self.memory(candidate)? > most
        {
            return Ok(false);
        }
        match self.budgets.max_latency_ms {
            Some(most) => Ok(self.latency(candidate)? <= most),
            None => Ok(true),
        }
    }

    /// Whether it meets all budgets.
    pub(super) fn meets(&self, candidate: &Candidate) -> Result<bool> {
        Ok(self.fits_counts(candidate) && self.keeps(candidate)? && self.fits_dear(candidate)?)
    }

    /// What the objective makes small; 0 when it is accuracy.
    pub(super) fn cost(&self, candidate: &Candidate) -> Result<f64> {
        self.cost_of(candidate, self.objective)
    }

    /// The cost that `objective` is about.
    pub(super) fn cost_of(&self, candidate: &Candidate, objective: Objective) -> Result<f64> {
        Ok(match objective {
            Objective::Params => candidate.params as f64,
            Objective::Macs => candidate.macs as f64,
            Objective::Memory => self.memory(candidate)? as f64,
            Objective::Latency => self.latency(candidate)?,
            Objective::Accuracy => 0.0,
        })
    }

    /// Bytes of activations and weights at inference.
    pub(super) fn memory(&self, candidate: &Candidate) -> Result<u64> {
        if let Some(known) = self.known(candidate).memory {
            return Ok(known);
        }
        let network = self.level(candidate.level).network(&candidate.channels, 1)?;
        let memory = Cost::of(&network, self.space.size)?.memory_bytes();
        self.remember(candidate, |dear| dear.memory = Some(memory));
        Ok(memory)
    }

    /// Milliseconds for one image.
    pub(super) fn latency(&self, candidate: &Candidate) -> Result<f64> {
        if let Some(known) = self.known(candidate).latency {
            return Ok(known);
        }
        let network = self.level(candidate.level).network(&candidate.channels, 1)?;
        let latency = self.latency_of(&network)?;
        self.remember(candidate, |dear| dear.latency = Some(latency));
        Ok(latency)
    }

    fn latency_of(&self, network: &NetworkSpec) -> Result<f64> {
        let model = self.latency.ok_or_else(|| Error::Option {
            what: "--max-latency".into(),
            expected: "a latency table of the machine that is to run the network".into(),
            got: "none".into(),
        })?;
        model(network)
    }

    fn known(&self, candidate: &Candidate) -> Dear {
        let memo = self.dear.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        memo.get(&(candidate.level, candidate.channels.clone())).copied().unwrap_or_default()
    }

    fn remember(&self, candidate: &Candidate, set: impl FnOnce(&mut Dear)) {
        let mut memo = self.dear.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        set(memo.entry((candidate.level, candidate.channels.clone())).or_default());
    }

    /// The network of a candidate, called by the base width of the uniform network with the nearest parameters, which the
    /// recipe of the calibration goes by.
    pub(super) fn network(&self, candidate: &Candidate) -> Result<NetworkSpec> {
        let level = self.level(candidate.level);
        level.network(&candidate.channels, self.base_width(candidate))
    }

    fn base_width(&self, candidate: &Candidate) -> usize {
        let level = self.level(candidate.level);
        let full = level.full.base_width.max(1);
        let params = |width: usize| {
            let factor = width as f64 / full as f64;
            let uniform = level.groups.iter().map(|g| (g.full as f64 * factor).round().max(1.0) as usize);
            self.forms[candidate.level].params.at(&uniform.collect::<Vec<_>>())
        };
        (1..=full).min_by_key(|&width| (params(width).abs_diff(candidate.params), width)).unwrap_or(full)
    }

    /// Exact costs and prediction by the slow way that everything else uses, and the network.
    pub(super) fn offer(&self, candidate: &Candidate) -> Result<(Offer, Prediction, NetworkSpec)> {
        let network = self.network(candidate)?;
        let (row, prediction) = SizeRow::of(self.mapping, self.subject, &network, self.space.size)?;
        let latency_ms = self.latency.map(|_| self.latency(candidate)).transpose()?;
        let offer = Offer { row, weight_bytes: weight_bytes(&network, self.budgets.precision)?, latency_ms };
        Ok((offer, prediction, network))
    }
}
