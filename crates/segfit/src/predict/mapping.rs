//! [`Mapping`]: a fitted model with its intervals and its limits, as one JSON file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Measures;
use super::anchor::{Anchored, KnownRun};
use super::calibrated_on::CalibratedOn;
use super::candidates::{Estimate, Fitted, ModelKind, choose, leave_one_out, logit, mean_error, originals};
use super::decision::margin;
use super::grid::Spot;
use super::half_widths::{HalfWidths, Residual};
use super::hull::Hull;
use super::interval::{CONFORMAL_SETS, Interval};
use super::record::{Record, short_hash};
use super::samples::Samples;
use super::shape_gain::{ShapeGain, shape_gain};
use super::size::{Cell, SizeFeatures};
use crate::error::{Error, Result};
use crate::files::{read_json, write_json};
use crate::network::NetworkSpec;

/// `format` of mapping files.
pub const MAPPING_FORMAT: &str = "segfit-mapping/5";

/// Data sets that a mapping needs at least, so that leaving one out leaves two.
pub(crate) const SMALLEST_CALIBRATION: usize = 3;

/// Extrapolated intervals are wider by this factor and at least as wide as at the median calibrated size; each level of depth
/// away from a calibrated depth adds as much again. A convention: no data stand behind it.
const EXTRAPOLATED: f64 = 1.5;

/// A model that predicts accuracy from complexity and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// [`MAPPING_FORMAT`].
    pub format: String,
    /// Hash of the content.
    pub id: String,
    /// Where it comes from.
    pub calibrated_on: CalibratedOn,
    /// The model that leave-one-data-set-out chose.
    pub shipped: ModelKind,
    /// Mean absolute error of retention, leaving one data set out, of every candidate that could be fitted.
    pub errors: BTreeMap<ModelKind, f64>,
    /// How the intervals were made, in words.
    pub interval: String,
    /// Limits.
    pub hull: Hull,
    fitted: Fitted,
    half_widths: HalfWidths,
    /// Errors on data sets left out; an anchor is weighed by them.
    residuals: Vec<Residual>,
    /// What predicted gains of layer-wise shapes over uniform networks are worth. `None` when fewer than three data sets have shapes that
    /// are predicted to gain, so that nothing is known of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape_gain: Option<ShapeGain>,
    #[serde(skip)]
    anchored: Option<Anchored>,
}

/// What to expect of a network that has not been trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Mean test Dice.
    pub dice: Interval,
    /// Mean test Dice over that of the reference network.
    pub retention: Interval,
    /// Whether the data set or the network lies outside of what was calibrated.
    pub extrapolated: bool,
    /// Why, one short sentence each; empty when it is not.
    pub reasons: Vec<String>,
}

static EMBEDDED: LazyLock<std::result::Result<Mapping, String>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../../calibration/mapping.json")).map_err(|e| e.to_string())
});

impl Mapping {
    /// The mapping inside the program, `calibration/mapping.json` of the repository.
    ///
    /// # Panics
    /// Only when the program was built with a file that is no mapping; a test reads it.
    #[must_use]
    pub fn embedded() -> &'static Self {
        match &*EMBEDDED {
            Ok(mapping) => mapping,
            Err(reason) => panic!("calibration/mapping.json: {reason}"),
        }
    }

    /// Fits every candidate to the original data sets, chooses by leave-one-data-set-out, and measures the intervals.
    ///
    /// # Errors
    /// [`Error::Calibration`] when the records do not belong together or fewer than three data sets can be used.
    pub fn fit(records: &[Record]) -> Result<Self> {
        Self::fit_with(records, false)
    }

    /// As [`Self::fit`]; with `variants`, data sets made from others or by a program are learned from, too. Errors and
    /// intervals come from the original data sets alone.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn fit_with(records: &[Record], variants: bool) -> Result<Self> {
        let samples = Samples::of(records)?;
        let sets = samples.training(variants);
        let count = originals(&sets).len();
        if count < SMALLEST_CALIBRATION {
            let reason = format!("{count} data sets can be used, at least {SMALLEST_CALIBRATION} are needed");
            let reason = [vec![reason], samples.left_out].concat().join("; ");
            return Err(Error::Calibration { reason });
        }
        let fitted: Vec<_> = ModelKind::ALL.into_par_iter().map(|kind| (kind, leave_one_out(kind, &sets))).collect();
        let candidates: Vec<_> = fitted.into_iter().filter_map(|(kind, held)| Some((kind, held.ok()?))).collect();
        let Some(shipped) = choose(&candidates) else {
            return Err(Error::Calibration { reason: "no model can be fitted to these records".into() });
        };
        let fitted = Fitted::fit(shipped, &sets)?;
        let held = candidates.iter().find(|c| c.0 == shipped).map_or(&[][..], |c| &c.1);
        let residuals = Residual::of(held, &fitted.grid);
        let mapping = Self {
            format: MAPPING_FORMAT.into(),
            id: String::new(),
            calibrated_on: CalibratedOn::of(&samples, &sets),
            shipped,
            errors: candidates.iter().map(|(kind, held)| (*kind, mean_error(held))).collect(),
            interval: interval_in_words(count),
            hull: Hull::of(&sets, &fitted),
            half_widths: HalfWidths::of(&residuals, &fitted.grid),
            residuals,
            shape_gain: shape_gain(&sets),
            fitted,
            anchored: None,
        };
        Ok(mapping.identified())
    }

    /// The mapping with its predictions for one data set shifted by what a run on it has shown: `run` is a network that was
    /// trained on the data set described by `measures` and `constant_dice`, with its test Dice. The result is good for that data
    /// set only.
    ///
    /// # Errors
    /// [`Error::Option`] when a Dice is not in 0 to 1; [`Error::Network`] for a network that does not fit together.
    pub fn anchored(&self, measures: &Measures, constant_dice: f64, run: &KnownRun<'_>) -> Result<Self> {
        check_share("Dice of the constant mask", constant_dice)?;
        check_share("Dice of the anchor", run.dice)?;
        let spot = self.fitted.grid.spot(&run.network.family, &SizeFeatures::of(run.network)?);
        let estimate = self.fitted.estimate(measures, constant_dice, &spot);
        let surprise = logit(run.dice) - logit(estimate.dice());
        let anchored = Anchored::new(&self.residuals, &self.fitted.grid, &spot, surprise, &self.half_widths);
        Ok(Self { anchored: Some(anchored), ..self.clone() })
    }

    /// The mapping with a remark on where it comes from.
    #[must_use]
    pub fn with_note(mut self, note: &str) -> Self {
        self.calibrated_on.note = Some(note.into());
        self.identified()
    }

    /// Reads a mapping file.
    ///
    /// # Errors
    /// As [`read_json`].
    pub fn read(path: &Path) -> Result<Self> {
        let mapping: Self = read_json(path, MAPPING_FORMAT)?;
        if mapping.hull.shapes.is_empty() {
            let reason = "hull.shapes holds no depth, expected at least one".into();
            return Err(Error::Json { path: path.into(), expected: MAPPING_FORMAT.into(), reason });
        }
        Ok(mapping)
    }

    /// Writes a mapping file.
    ///
    /// # Errors
    /// As [`write_json`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Predicts Dice and retention of `network`, trained on images with these measures at `size` x `size` pixels.
    ///
    /// `constant_dice` is D0, the Dice of the best constant mask on the training masks, 0 to 1. The means rise with every
    /// width. Wider than calibrated, the curve is flat; other depths are taken for the nearest calibrated one.
    ///
    /// # Errors
    /// [`Error::Option`] when `constant_dice` is not in 0 to 1; [`Error::Network`] for a network that does not fit together.
    pub fn predict(
        &self,
        measures: &Measures,
        constant_dice: f64,
        network: &NetworkSpec,
        size: usize,
    ) -> Result<Prediction> {
        self.predict_size(measures, constant_dice, &network.family, &SizeFeatures::of(network)?, size)
    }

    /// [`Self::predict`] for a network of `family` of which only the size is known.
    pub(crate) fn predict_size(
        &self,
        measures: &Measures,
        constant_dice: f64,
        family: &str,
        features: &SizeFeatures,
        size: usize,
    ) -> Result<Prediction> {
        check_share("Dice of the constant mask", constant_dice)?;
        let spot = self.fitted.grid.spot(family, features);
        let mut reasons = self.beyond_network(features, &spot, family, size);
        reasons.extend(self.beyond_data(measures, constant_dice));
        let extrapolated = !reasons.is_empty();
        let estimate = self.fitted.estimate(measures, constant_dice, &spot);
        let plain = |at: &Spot| self.fitted.estimate(measures, constant_dice, at);
        let (mut retention, mut logit_dice) = (estimate.retention, logit(estimate.dice()));
        let mut widths = &self.half_widths;
        if let Some(anchored) = &self.anchored {
            (retention, logit_dice) = anchored.shifted(&self.fitted.grid, &spot, &plain);
            widths = &anchored.half_widths;
        }
        let half = self.half_width(widths, &plain, &estimate, features, &spot, extrapolated);
        let dice = |shift: f64| 1.0 / (1.0 + (-(logit_dice + shift)).exp());
        let mean = if self.anchored.is_some() { dice(0.0) } else { estimate.dice() };
        let retention = if extrapolated {
            Interval { low: (retention - half.0).max(0.0), mean: retention, high: retention + half.0 }
        } else {
            widths.around(retention, half.0)
        };
        let dice = Interval { low: dice(-half.1).min(mean), mean, high: dice(half.1).max(mean) };
        Ok(Prediction { dice, retention, extrapolated, reasons })
    }

    /// The mean of the predicted retention alone, the same bits as [`Self::predict_size`] gives, without its interval.
    pub(crate) fn retention(&self, measures: &Measures, constant_dice: f64, family: &str, size: &SizeFeatures) -> f64 {
        let grid = &self.fitted.grid;
        let spot = grid.spot(family, size);
        let plain = |at: &Spot| self.fitted.estimate(measures, constant_dice, at);
        match &self.anchored {
            Some(anchored) => anchored.shifted(grid, &spot, &plain).0,
            None => plain(&spot).retention,
        }
    }

    /// The one number on which the predicted retention of a family's networks of one depth depends; it never falls with it.
    pub(crate) fn rank(&self, size: &SizeFeatures) -> f64 {
        match self.shipped {
            ModelKind::ParamsOnly => size.log2_params,
            _ => self.fitted.grid.axis.log2_width(size),
        }
    }

    /// The smallest calibrated effective log2 width of a family at the depth of `size`.
    pub(crate) fn narrowest(&self, family: &str, size: &SizeFeatures) -> f64 {
        let grid = &self.fitted.grid;
        grid.width_range(&grid.spot(family, size)).0
    }

    /// The effective log2 width of a network.
    pub(crate) fn log2_width(&self, size: &SizeFeatures) -> f64 {
        self.fitted.grid.axis.log2_width(size)
    }

    /// Whether layer-wise shapes are expected to keep what they are predicted to gain ([`ShapeGain::pays`]).
    #[must_use]
    pub fn shapes_pay(&self) -> bool {
        self.shape_gain.is_some_and(|gain| gain.pays())
    }

    /// The mapping as if it had been calibrated on shapes inside these ranges, with this share of their gains measured, to a fifth.
    #[cfg(test)]
    pub(crate) fn with_shapes(mut self, slope: [f64; 2], decoder_ratio: [f64; 2], realised: f64) -> Self {
        for shapes in self.hull.shapes.values_mut() {
            *shapes = super::hull::ShapeHull { slope, decoder_ratio };
        }
        self.shape_gain = Some(ShapeGain { realised, error: 0.2, sets: 6 });
        self
    }

    /// By how much the predicted retention of a network should exceed the share `keep`, so that nine in ten choices keep it: the
    /// margin that this took on the data sets left out.
    #[must_use]
    pub fn keep_margin(&self, keep: f64) -> f64 {
        margin(&self.residuals, keep)
    }

    /// Whether records exist of this depth.
    #[must_use]
    pub fn is_calibrated_depth(&self, depth: usize) -> bool {
        self.calibrated_on.depths.contains(&depth)
    }

    /// Half widths of retention and of logit Dice.
    fn half_width(
        &self,
        widths: &HalfWidths,
        plain: &dyn Fn(&Spot) -> Estimate,
        estimate: &Estimate,
        size: &SizeFeatures,
        spot: &Spot,
        extrapolated: bool,
    ) -> (f64, f64) {
        let grid = &self.fitted.grid;
        let (retention, logit) = (widths.retention.at(grid, spot, estimate), widths.logit.at(grid, spot, estimate));
        if !extrapolated {
            return (retention, logit);
        }
        let levels = 1.0 + spot.depth.abs_diff(size.depth) as f64;
        let wider = |half: f64, typical: f64| (EXTRAPOLATED * half).max(typical) * levels;
        let retention = wider(retention, widths.retention.typical(estimate));
        (retention + self.unknown_shape(plain, size, spot), wider(logit, widths.logit.typical(estimate)))
    }

    /// What the retention of a shape that was not calibrated may be off by: its effective width is uncertain by the standard
    /// deviation of its cells, because nothing says which of them count. 0 for calibrated shapes.
    fn unknown_shape(&self, estimate: &dyn Fn(&Spot) -> Estimate, size: &SizeFeatures, spot: &Spot) -> f64 {
        if self.hull.shapes_at(spot.depth).contains(size.slope, size.decoder_ratio) {
            return 0.0;
        }
        let square = |c: &Cell| (c.log2_width - size.log2_width).powi(2);
        let deviation = (size.cells.iter().map(square).sum::<f64>() / size.cells.len() as f64).sqrt();
        let retention = |log2_width: f64| estimate(&Spot { log2_width, ..*spot }).retention;
        let here = retention(spot.log2_width);
        (here - retention(spot.log2_width - deviation)).max(retention(spot.log2_width + deviation) - here)
    }

    fn beyond_network(&self, features: &SizeFeatures, spot: &Spot, family: &str, size: usize) -> Vec<String> {
        let on = &self.calibrated_on;
        let mut reasons = Vec::new();
        if !on.families.iter().any(|f| f == family) {
            reasons.push(format!("family {family}: calibrated on {}", on.families.join(", ")));
        }
        if size != on.input_size {
            reasons.push(format!("input of {size} pixels: calibrated at {}", on.input_size));
        }
        let depth = spot.depth;
        if depth != features.depth {
            reasons.push(format!("depth {}: the nearest calibrated depth is {depth}", features.depth));
        }
        let (low, high) = self.fitted.grid.width_range(spot);
        if spot.log2_width < low - 1e-6 || spot.log2_width > high + 1e-6 {
            let width = spot.log2_width.exp2();
            let (low, high) = (low.exp2(), high.exp2());
            reasons.push(format!("effective width {width:.3}: calibrated from {low:.3} to {high:.3}"));
        }
        if self.hull.is_smaller(family, features) {
            let least = self.hull.least_params[family][&features.depth];
            reasons.push(format!("{:.0} parameters: calibrated from {least}", features.log2_params.exp2()));
        }
        let shapes = self.hull.shapes_at(depth);
        let slope = ("slope over depth", features.slope, shapes.slope);
        let ratio = ("decoder-to-encoder ratio", features.decoder_ratio, shapes.decoder_ratio);
        for (name, value, [low, high]) in [slope, ratio] {
            if !(low..=high).contains(&value) {
                reasons.push(format!("{name} of {value:+.2} octaves: calibrated from {low:+.2} to {high:+.2}"));
            }
        }
        reasons
    }

    fn beyond_data(&self, measures: &Measures, constant_dice: f64) -> Vec<String> {
        let mut reasons = Vec::new();
        for (name, &[low, high]) in &self.hull.measures {
            match measures.get(name) {
                None => reasons.push(format!("{name} was not measured; the calibrated average is assumed")),
                Some(v) if !(low..=high).contains(v) => {
                    reasons.push(format!("{name} is {v:.4}: calibrated from {low:.4} to {high:.4}"));
                }
                Some(_) => {}
            }
        }
        let [low, high] = self.hull.constant_dice;
        if !(low..=high).contains(&constant_dice) {
            reasons.push(format!("a constant mask has Dice {constant_dice:.3}: calibrated from {low:.3} to {high:.3}"));
        }
        reasons
    }

    fn identified(mut self) -> Self {
        self.id = String::new();
        self.id = short_hash(&serde_json::to_string(&self).unwrap_or_default());
        self
    }
}

/// Refuses what is no Dice below 1.
fn check_share(what: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Option { what: what.into(), expected: "0 to below 1".into(), got: value.to_string() })
}

fn interval_in_words(sets: usize) -> String {
    if sets >= CONFORMAL_SETS {
        return format!(
            "90% for the whole curve of a new data set: conformal quantile of the largest scaled errors on {sets} data sets, \
             each left out once"
        );
    }
    format!(
        "90% under the assumption of normal errors, from {sets} data sets, each left out once (fewer than {CONFORMAL_SETS}, so that \
         no distribution-free 90% interval exists), never narrower than the largest error"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::families::{self, unet};
    use crate::predict::synthetic::{World, measures, records};
    use proptest::prelude::*;

    fn net(base_width: usize, depth: usize) -> NetworkSpec {
        unet(&families::Options { in_channels: 1, classes: 2, base_width, depth, ..families::Options::default() })
            .unwrap()
    }

    fn planted() -> Mapping {
        Mapping::fit(&records(&World { sets: 12, effect: 1.0, noise: 0.002, ..World::default() })).unwrap()
    }

    #[test]
    fn the_embedded_file_is_a_mapping() {
        let mapping = Mapping::embedded();
        assert_eq!(mapping.format, MAPPING_FORMAT);
        assert!(!mapping.calibrated_on.data_sets.is_empty());
    }

    #[test]
    fn a_dependence_on_complexity_is_found() {
        let mapping = planted();
        let reads_complexity = [ModelKind::Ridge, ModelKind::Selected, ModelKind::Gaussian].contains(&mapping.shipped);
        assert!(reads_complexity, "{:?}", mapping.errors);
        assert!(mapping.errors[&mapping.shipped] < 0.5 * mapping.errors[&ModelKind::MeanCurve], "{:?}", mapping.errors);
        let retention = |z: f64| mapping.predict(&measures(z), 0.4, &net(2, 4), 128).unwrap().retention.mean;
        assert!(
            retention(-1.0) > retention(1.0) + 0.02,
            "easy images keep more: {} {}",
            retention(-1.0),
            retention(1.0)
        );
    }

    #[test]
    fn without_a_dependence_complexity_hardly_moves_the_prediction() {
        for seed in 0..5 {
            let world = World { sets: 10, effect: 0.0, noise: 0.005, seed, ..World::default() };
            let mapping = Mapping::fit(&records(&world)).unwrap();
            let [easy, hard] = [-1.0, 1.0].map(|z| mapping.predict(&measures(z), 0.4, &net(2, 4), 128).unwrap());
            let change = (easy.retention.mean - hard.retention.mean).abs();
            assert!(change < 0.03, "seed {seed}: {change} by {:?}, {:?}", mapping.shipped, mapping.errors);
        }
    }

    #[test]
    fn a_users_records_move_the_mapping() {
        let world = World { sets: 10, effect: 1.0, noise: 0.002, ..World::default() };
        let all = records(&world);
        let (own, others): (Vec<Record>, Vec<Record>) = all.into_iter().partition(|r| r.dataset.name == "set09");
        let without = Mapping::fit(&others).unwrap();
        let with = Mapping::fit(&[others, own.clone()].concat()).unwrap();
        assert_eq!(with.calibrated_on.data_sets.len(), without.calibrated_on.data_sets.len() + 1);
        let own = &own[0];
        let predict = |m: &Mapping| m.predict(&own.measures, own.constant_dice, &net(1, 4), 128).unwrap();
        assert!(predict(&without).extrapolated && !predict(&with).extrapolated, "its complexity is now in the range");
    }

    #[test]
    fn a_margin_makes_choices_safer() {
        let mapping = planted();
        let (low, high) = (mapping.keep_margin(0.5), mapping.keep_margin(0.95));
        assert!((0.0..0.05).contains(&low) && (0.0..0.5).contains(&high), "{low} {high}");
    }

    #[test]
    fn a_mapping_file_predicts_as_the_mapping_that_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        let mapping = planted().with_note("a note");
        mapping.write(&path).unwrap();
        let back = Mapping::read(&path).unwrap();
        assert_eq!(back.calibrated_on, mapping.calibrated_on);
        assert_eq!(back.id, mapping.id);
        for (width, depth) in [(1, 4), (3, 4), (40, 4), (2, 2)] {
            let [a, b] = [&mapping, &back].map(|m| m.predict(&measures(0.3), 0.4, &net(width, depth), 128).unwrap());
            assert!((a.dice.low - b.dice.low).abs() < 1e-9 && (a.retention.high - b.retention.high).abs() < 1e-9);
            assert_eq!(a.reasons, b.reasons);
        }
    }

    #[test]
    fn the_reference_keeps_everything_and_wider_networks_no_more() {
        let mapping = planted();
        let at = |width: usize| mapping.predict(&measures(0.0), 0.4, &net(width, 4), 128).unwrap();
        assert_eq!(at(16).retention, Interval { low: 1.0, mean: 1.0, high: 1.0 });
        assert!(!at(16).extrapolated && at(16).dice.low < at(16).dice.mean);
        let wide = at(64);
        assert_eq!(wide.retention.mean, 1.0);
        assert!(wide.extrapolated && wide.retention.low < 1.0, "flat, and not certain");
        assert_eq!(wide.reasons, ["effective width 64.000: calibrated from 1.000 to 16.000"]);
    }

    #[test]
    fn extrapolations_are_named_and_wider() {
        let mapping = planted();
        let inside = mapping.predict(&measures(0.2), 0.4, &net(4, 4), 128).unwrap();
        assert!(!inside.extrapolated, "{:?}", inside.reasons);
        let width = |p: &Prediction| p.retention.high - p.retention.low;
        let mut odd = measures(0.2);
        odd.insert("jpeg".into(), 9.0);
        let mut fewer = measures(0.2);
        fewer.remove("jpeg");
        let lean = [("enc4".to_string(), 16), ("enc3".to_string(), 16)].into();
        let cases = [
            (mapping.predict(&odd, 0.4, &net(4, 4), 128), "jpeg is 9.0000"),
            (mapping.predict(&fewer, 0.4, &net(4, 4), 128), "jpeg was not measured"),
            (mapping.predict(&measures(0.2), 0.4, &net(4, 4), 256), "input of 256 pixels"),
            (mapping.predict(&measures(0.2), 0.4, &net(4, 2), 128), "depth 2"),
            (mapping.predict(&measures(0.2), 0.95, &net(4, 4), 128), "a constant mask has Dice 0.950"),
            (mapping.predict(&measures(0.2), 0.4, &net(4, 4).with_widths(&lean).unwrap(), 128), "slope over depth"),
        ];
        for (prediction, reason) in cases {
            let prediction = prediction.unwrap();
            assert!(prediction.reasons.iter().any(|r| r.contains(reason)), "{reason}: {:?}", prediction.reasons);
            assert!(prediction.extrapolated && (reason.contains("constant") || width(&prediction) >= width(&inside)));
        }
        assert!(mapping.predict(&measures(0.0), f64::NAN, &net(4, 4), 128).is_err());
    }

    #[test]
    fn a_file_without_shapes_is_refused() {
        let path = std::env::temp_dir().join(format!("segfit-mapping-{}.json", std::process::id()));
        let mut mapping = planted();
        mapping.write(&path).unwrap();
        assert_eq!(Mapping::read(&path).unwrap(), mapping);
        mapping.hull.shapes.clear();
        mapping.write(&path).unwrap();
        let refused = Mapping::read(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(refused.to_string().contains("hull.shapes"), "{refused}");
    }

    #[test]
    fn shapes_are_known_by_depth() {
        let world = World { sets: 6, depths: &[3, 4], ..World::default() };
        let mut records = records(&world);
        records.extend(crate::predict::synthetic::records(&World { shapes: true, sets: 6, ..World::default() }));
        let mapping = Mapping::fit(&records).unwrap();
        let (three, four) = (mapping.hull.shapes_at(3), mapping.hull.shapes_at(4));
        assert!(
            three.contains(0.0, 0.0) && !three.contains(-0.5, 0.0) && four.contains(-0.5, 0.0),
            "{three:?} {four:?}"
        );
        assert_eq!((mapping.hull.shapes_at(1), mapping.hull.shapes_at(7)), (three, four), "the nearest depth");
    }

    #[test]
    fn nothing_clearly_smaller_than_what_was_trained_is_inside() {
        let mapping = planted();
        let least = crate::cost::parameters(&net(1, 4)).unwrap();
        assert_eq!(mapping.hull.least_params["unet"], [(4, least)].into());
        let reasons = |channels: usize| {
            let network = net(1, 4).with_widths(&[("enc4".to_string(), channels)].into()).unwrap();
            mapping.predict(&measures(0.2), 0.4, &network, 128).unwrap().reasons.join("; ")
        };
        assert!(!reasons(16).contains("parameters") && reasons(8).contains("parameters: calibrated from"));
    }

    #[test]
    fn too_few_data_sets_are_refused_with_the_reasons() {
        let error = Mapping::fit(&records(&World { sets: 2, ..World::default() })).unwrap_err();
        assert!(error.to_string().contains("2 data sets can be used, at least 3"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn predictions_rise_with_every_width(
            world in 0_u64..4, width in 2_usize..24, pick in 0_usize..50, z in -3.0..3.0_f64, d0 in 0.0..0.9_f64,
        ) {
            let world = World { sets: 6, effect: 0.8, noise: 0.1, seed: world, depths: &[4, 2], ..World::default() };
            let mapping = Mapping::fit(&records(&world)).unwrap();
            let full = net(width, 4);
            let widths: Vec<_> = full.widths().into_iter().collect();
            let (name, channels) = widths[pick % widths.len()].clone();
            let less = full.with_widths(&[(name, channels - 1)].into()).unwrap();
            let [a, b] = [less, full].map(|n| mapping.predict(&measures(z), d0, &n, 128).unwrap());
            prop_assert!(a.retention.mean <= b.retention.mean + 1e-12);
            prop_assert!(a.dice.mean <= b.dice.mean + 1e-12);
            prop_assert!(a.dice.low <= a.dice.mean && a.dice.mean <= a.dice.high && a.dice.high <= 1.0);
        }
    }
}
