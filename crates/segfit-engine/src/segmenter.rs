//! Running a trained network on images of any size: normalise, pad or tile, infer, put together.

use std::ops::Range;

use rayon::prelude::*;
use segfit::data::{BandedImage, Image, Mask, Normalisation, each_resized_row, resize_image};
use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};
use segfit::recipe::{InputMode, InputSpec, LossKind};

use crate::augment::reflect;
use crate::backend::{ActivationRanges, Backend, CalibrationImage, Executor, Precision};
use crate::error::{Error, Result};
use crate::state::Weights;
use crate::tiles::{cut, in_tiles, tiles_by_rows};

/// Images up to this many pixels along each side are run whole; larger ones in overlapping tiles of this size.
pub const DEFAULT_TILE: usize = 512;

/// Image sizes whose executors are kept; a set of images of ever other sizes must not fill the memory.
const KEPT_EXECUTORS: usize = 3;

/// A trained network with its pre-processing.
pub struct Segmenter<'a> {
    backend: &'a dyn Backend,
    spec: &'a NetworkSpec,
    weights: Weights,
    normalisation: Normalisation,
    input: InputSpec,
    loss: LossKind,
    tile: usize,
    precision: Precision,
    /// For int8: ranges with the current weights.
    ranges: Option<ActivationRanges>,
    /// Executors of the last sizes met, with the current weights; the latest is the last.
    executors: Vec<((usize, usize), Box<dyn Executor>)>,
}

impl<'a> Segmenter<'a> {
    /// A segmenter with these weights, for a network trained with [`LossKind::CrossEntropyDice`].
    #[must_use]
    pub fn new(
        backend: &'a dyn Backend,
        spec: &'a NetworkSpec,
        weights: Weights,
        normalisation: Normalisation,
        input: InputSpec,
    ) -> Self {
        let loss = LossKind::CrossEntropyDice;
        Self {
            backend,
            spec,
            weights,
            normalisation,
            input,
            loss,
            tile: DEFAULT_TILE,
            precision: Precision::F32,
            ranges: None,
            executors: Vec::new(),
        }
    }

    /// The loss that the network was trained with. It says what probabilities are: the softmax of the logits, or their
    /// sigmoids divided by the sum of these.
    #[must_use]
    pub fn with_loss(mut self, loss: LossKind) -> Self {
        self.loss = loss;
        self
    }

    /// Another tile size (at least 16), rounded up to what the network accepts.
    #[must_use]
    pub fn with_tile(mut self, tile: usize) -> Self {
        self.tile = tile.max(16).next_multiple_of(self.spec.input_multiple());
        self
    }

    /// Runs the network in another precision. Int8 is calibrated on `images` as they lie on disk, of which larger ones than a
    /// tile lend the tile in their middle; the other precisions do not look at them.
    ///
    /// # Errors
    /// When an image's channels do not fit the network, there are none for int8, or the device does not have the precision.
    pub fn with_precision(mut self, precision: Precision, images: &[Image]) -> Result<Self> {
        self.ranges = match precision {
            Precision::Int8 => {
                let prepared: Result<Vec<CalibrationImage>> =
                    images.iter().map(|i| self.calibration_image(i)).collect();
                Some(self.backend.calibrate(self.spec, &self.weights, &prepared?)?)
            }
            Precision::F32 | Precision::Bf16 => None,
        };
        self.precision = precision;
        self.executors.clear();
        Ok(self)
    }

    /// What the network sees of an image: resized or cut, normalised, padded.
    fn calibration_image(&self, image: &Image) -> Result<CalibrationImage> {
        let size = self.input.size;
        let scaled = match self.input.mode {
            InputMode::Resize => resize_image(image, size, size),
            InputMode::Patch => image.clone(),
        };
        let normalised = self.normalise(&scaled)?;
        let (h, w) = (self.tile.min(scaled.height), self.tile.min(scaled.width));
        let middle = cut(&normalised, (scaled.height - h) / 2, (scaled.width - w) / 2, h, w);
        let multiple = self.spec.input_multiple();
        let (height, width) = (h.next_multiple_of(multiple), w.next_multiple_of(multiple));
        Ok(CalibrationImage { height, width, data: pad(&middle, height, width) })
    }

    /// The ranges of int8, where it was calibrated.
    #[must_use]
    pub fn ranges(&self) -> Option<&ActivationRanges> {
        self.ranges.as_ref()
    }

    /// The weights in use.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Classes including background.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.spec.classes
    }

    /// Replaces the weights.
    ///
    /// # Errors
    /// When they belong to another network, or the segmenter was calibrated with the old ones.
    pub fn set_weights(&mut self, weights: Weights) -> Result<()> {
        if self.precision == Precision::Int8 {
            return Err(Error::Unsupported {
                what: "changing the weights".into(),
                device: self.backend.name(),
                reason: "the segmenter is calibrated for the weights that it has; make a new one".into(),
            });
        }
        for (_, executor) in &mut self.executors {
            executor.load(&weights)?;
        }
        self.weights = weights;
        Ok(())
    }

    /// The class of every pixel of an image as it lies on disk: in resize mode the frame is resized to the network's
    /// size and the probabilities back to the frame's; in patch mode the image is run at its own scale.
    ///
    /// # Errors
    /// When the image's channels do not fit the network or the device fails.
    pub fn segment(&mut self, image: &Image) -> Result<Mask> {
        match self.input.mode {
            InputMode::Patch => self.segment_prepared(image),
            InputMode::Resize => Ok(largest(&self.probabilities(image)?)),
        }
    }

    /// The probability of every class, one channel each, in the image's size.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn probabilities(&mut self, image: &Image) -> Result<Image> {
        match self.input.mode {
            InputMode::Patch => self.probabilities_prepared(image),
            InputMode::Resize => {
                let size = self.input.size;
                let small = self.probabilities_prepared(&resize_image(image, size, size))?;
                Ok(resize_image(&small, image.height, image.width))
            }
        }
    }

    /// The class of every pixel of an image that is at the network's scale already.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn segment_prepared(&mut self, image: &Image) -> Result<Mask> {
        let normalised = self.normalise(image)?;
        // The largest logit has the largest probability, too.
        if self.is_whole(image) {
            return Ok(largest(&self.logits(&normalised)?));
        }
        let (height, width, tile) = (image.height, image.width, self.tile);
        let mut data = Vec::with_capacity(height * width);
        let mut rows = |rows: Range<usize>| Ok(cut(&normalised, rows.start, 0, rows.len(), width));
        tiles_by_rows::<Error>((height, width), tile, &mut rows, &mut |part| self.run(part), &mut |band| {
            data.extend(largest(&band).data);
            Ok(())
        })?;
        Ok(Mask { height, width, data })
    }

    fn probabilities_prepared(&mut self, image: &Image) -> Result<Image> {
        let normalised = self.normalise(image)?;
        if self.is_whole(image) { self.run(&normalised) } else { self.run_tiles(&normalised) }
    }

    fn is_whole(&self, image: &Image) -> bool {
        image.height <= self.tile && image.width <= self.tile
    }

    fn normalise(&self, image: &Image) -> Result<Image> {
        if image.channels != self.spec.in_channels() {
            return Err(segfit::Error::Option {
                what: "image".into(),
                expected: format!("{} channels, as the network was made for", self.spec.in_channels()),
                got: format!("{} channels", image.channels),
            }
            .into());
        }
        let mut normalised = image.clone();
        self.normalisation.apply(&mut normalised);
        Ok(normalised)
    }

    /// The mask of an image that is too large to be held, in its own size: bands of rows go to `done`, from the first row to the
    /// last. They are those that [`Segmenter::segment`] finds of the whole (where the network sees a resized image: of one that
    /// differs by less than 1e-6).
    ///
    /// # Errors
    /// As there, the errors of reading, and those of `done`.
    pub fn segment_banded<E: From<Error>>(
        &mut self,
        image: &mut BandedImage,
        done: &mut dyn FnMut(&Mask) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (input, tile) = (self.input, self.tile);
        segment_banded_by(image, input, tile, &mut |piece| self.run(&self.normalise(piece)?), done)
    }

    fn run_tiles(&mut self, image: &Image) -> Result<Image> {
        in_tiles(image, self.tile, &mut |part| self.run(part))
    }

    fn run(&mut self, image: &Image) -> Result<Image> {
        let mut values = self.logits(image)?;
        to_probabilities(&mut values, self.loss);
        Ok(values)
    }

    /// One run of the network: padded by reflection to the next allowed size, cropped back.
    fn logits(&mut self, image: &Image) -> Result<Image> {
        let multiple = self.spec.input_multiple();
        let (h, w) = (image.height.next_multiple_of(multiple), image.width.next_multiple_of(multiple));
        let mut data = Vec::new();
        self.executor(h, w)?.infer(&pad(image, h, w), &mut data)?;
        let padded = Image { channels: self.spec.classes, height: h, width: w, data };
        if (h, w) == (image.height, image.width) {
            return Ok(padded);
        }
        Ok(cut(&padded, 0, 0, image.height, image.width))
    }

    /// The executor for images of this size.
    fn executor(&mut self, height: usize, width: usize) -> Result<&mut dyn Executor> {
        let size = (height, width);
        let entry = match self.executors.iter().position(|(s, _)| *s == size) {
            Some(i) => self.executors.remove(i),
            None => {
                if self.executors.len() == KEPT_EXECUTORS {
                    self.executors.remove(0);
                }
                let schedule = Schedule::new(self.spec, Mode::Infer, 1, height, width)?;
                self.spec.check_output_size(height, width)?;
                let ranges = self.ranges.as_ref();
                let mut made = self.backend.compile_low_precision(self.spec, schedule, self.precision, ranges)?;
                made.load(&self.weights)?;
                (size, made)
            }
        };
        self.executors.push(entry);
        let last = self.executors.len() - 1;
        Ok(self.executors[last].1.as_mut())
    }
}

/// The probability of every class in the image's size, as [`Segmenter::probabilities`] finds it, by any means: `run` gives the
/// probabilities of a piece of the image of at most `tile` rows and columns, in the piece's size.
///
/// # Errors
/// What `run` returns.
pub fn probabilities_by(
    image: &Image,
    input: InputSpec,
    tile: usize,
    run: &mut dyn FnMut(&Image) -> Result<Image>,
) -> Result<Image> {
    let mut any_size = |image: &Image| match image.height <= tile && image.width <= tile {
        true => run(image),
        false => in_tiles(image, tile, run),
    };
    match input.mode {
        InputMode::Patch => any_size(image),
        InputMode::Resize => {
            let small = any_size(&resize_image(image, input.size, input.size))?;
            Ok(resize_image(&small, image.height, image.width))
        }
    }
}

/// The mask of an image that is too large to be held, as [`Segmenter::segment_banded`] finds it, by any means: `run` as in
/// [`probabilities_by`].
///
/// # Errors
/// What `run`, reading and `done` return.
pub fn segment_banded_by<E: From<Error>>(
    image: &mut BandedImage,
    input: InputSpec,
    tile: usize,
    run: &mut dyn FnMut(&Image) -> Result<Image>,
    done: &mut dyn FnMut(&Mask) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let (height, width) = image.size();
    match input.mode {
        InputMode::Patch => {
            let mut rows = |rows| image.rows(rows).map_err(Error::from);
            tiles_by_rows((height, width), tile, &mut rows, run, &mut |band| done(&largest(&band)))
        }
        InputMode::Resize => {
            let small = image.resized(input.size, input.size).map_err(Error::from)?;
            let whole = InputSpec { mode: InputMode::Patch, ..input };
            let small = probabilities_by(&small, whole, tile, run)?;
            each_resized_row(&small, height, width, |_, row| {
                let row = Image { channels: small.channels, height: 1, width, data: row.to_vec() };
                done(&largest(&row))
            })
        }
    }
}

/// Replaces logits by probabilities that sum to 1: with f = exp or the sigmoid,
/// `p[c] = f(z[c]) / sum over k of f(z[k])`.
pub fn to_probabilities(values: &mut Image, loss: LossKind) {
    let (classes, width) = (values.channels, values.width);
    // By rows, so that threads share nothing: [row][class][column].
    let mut rows: Vec<Vec<&mut [f32]>> = (0..values.height).map(|_| Vec::with_capacity(classes)).collect();
    for (i, row) in values.data.chunks_exact_mut(width).enumerate() {
        rows[i % values.height].push(row);
    }
    rows.par_iter_mut().for_each(|row| {
        for x in 0..width {
            if loss == LossKind::BinaryDice {
                row.iter_mut().for_each(|z| z[x] = log_sigmoid(z[x]));
            }
            let most = row.iter().map(|z| z[x]).fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|z| z[x] = (z[x] - most).exp());
            let total: f32 = row.iter().map(|z| z[x]).sum();
            row.iter_mut().for_each(|z| z[x] /= total);
        }
    });
}

/// ln(1 / (1 + exp(-z))), which does not underflow.
fn log_sigmoid(z: f32) -> f32 {
    z.min(0.0) - (-z.abs()).exp().ln_1p()
}

/// The class with the largest value at each pixel, the lower one on a tie.
#[must_use]
pub fn largest(values: &Image) -> Mask {
    let n = values.height * values.width;
    let best = |i: usize| {
        let larger = |best: usize, c: usize| if values.data[c * n + i] > values.data[best * n + i] { c } else { best };
        (1..values.channels).fold(0, larger)
    };
    Mask { height: values.height, width: values.width, data: (0..n).map(|i| best(i) as u8).collect() }
}

/// Continues an image to the bottom and right by reflection, again and again where it is smaller than its continuation.
fn pad(image: &Image, height: usize, width: usize) -> Vec<f32> {
    if (height, width) == (image.height, image.width) {
        return image.data.clone();
    }
    let mut out = Vec::with_capacity(image.channels * height * width);
    for c in 0..image.channels {
        let plane = image.plane(c);
        for y in 0..height {
            let row = &plane[reflect(y as i64, image.height) * image.width..][..image.width];
            out.extend((0..width).map(|x| row[reflect(x as i64, image.width)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuBackend;
    use crate::initialise::initialise;
    use segfit::data::{LabelCoding, LabelEntry, LabelKind, LabelMap, read_image, write_mask};
    use segfit::network::families::{self, unet};
    use segfit::random::Stream;

    #[test]
    fn any_means_of_running_gives_what_the_segmenter_gives() {
        let options =
            families::Options { in_channels: 1, classes: 2, base_width: 2, depth: 1, ..families::Options::default() };
        let spec = unet(&options).unwrap();
        let backend = CpuBackend::detect();
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        let image = noise(21, 40);
        for mode in [InputMode::Patch, InputMode::Resize] {
            let input = InputSpec { mode, size: 24 };
            let make = |mode| {
                let weights = initialise(&spec, 3).unwrap();
                Segmenter::new(&backend, &spec, weights, normalisation.clone(), InputSpec { mode, ..input })
                    .with_tile(16)
            };
            let expected = make(mode).probabilities(&image).unwrap();
            let mut any = make(InputMode::Patch);
            let got = probabilities_by(&image, input, 16, &mut |piece| any.probabilities(piece)).unwrap();
            assert_eq!(got, expected, "{mode:?}");
        }
    }

    #[test]
    fn a_network_whose_output_has_another_size_is_refused() {
        let mut spec =
            unet(&families::Options { in_channels: 1, base_width: 2, depth: 1, ..families::Options::default() })
                .unwrap();
        let Some(segfit::network::Op::Conv2d { kernel, .. }) = spec.layers.last_mut().map(|l| &mut l.op) else {
            unreachable!()
        };
        *kernel = vec![2, 1];
        let backend = CpuBackend::detect();
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        let input = InputSpec { mode: InputMode::Patch, size: 24 };
        let mut segmenter = Segmenter::new(&backend, &spec, initialise(&spec, 3).unwrap(), normalisation, input);
        let text = segmenter.segment(&noise(24, 24)).unwrap_err().to_string();
        assert!(text.contains("23 x 24 pixels has not the size of the image, 24 x 24"), "{text}");
    }

    #[test]
    fn bands_of_a_file_give_the_mask_of_the_whole_image() {
        let dir = tempfile::tempdir().unwrap();
        // 256 gray values, as labels of 16 bits, so that the file is an image of one channel.
        let entry = |class: u8| LabelEntry { value: 200 * u32::from(class), class, name: None };
        let entries = (0..=255).map(entry).collect();
        let map = LabelMap { kind: LabelKind::Classes, coding: LabelCoding::Value, entries };
        let mut stream = Stream::new(&[9]);
        let pixels = Mask { height: 75, width: 101, data: (0..75 * 101).map(|_| stream.below(256) as u8).collect() };
        let path = write_mask(&dir.path().join("a"), &pixels, &map).unwrap();
        let image = read_image(&path).unwrap();
        let options =
            families::Options { in_channels: 1, classes: 3, base_width: 2, depth: 1, ..families::Options::default() };
        let (spec, backend) = (unet(&options).unwrap(), CpuBackend::detect());
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        for (mode, least) in [(InputMode::Patch, 1.0), (InputMode::Resize, 0.999)] {
            let weights = initialise(&spec, 3).unwrap();
            let input = InputSpec { mode, size: 40 };
            let mut segmenter = Segmenter::new(&backend, &spec, weights, normalisation.clone(), input).with_tile(16);
            let whole = segmenter.segment(&image).unwrap();
            assert!(whole.data.iter().any(|&c| c != whole.data[0]), "more than one class");
            let mut banded = BandedImage::open(&path).unwrap().unwrap();
            let mut classes = Vec::new();
            let mut keep = |rows: &Mask| {
                classes.extend_from_slice(&rows.data);
                Ok::<(), Error>(())
            };
            segmenter.segment_banded(&mut banded, &mut keep).unwrap();
            assert_eq!(classes.len(), whole.data.len());
            let same = classes.iter().zip(&whole.data).filter(|(a, b)| a == b).count() as f64 / classes.len() as f64;
            assert!(same >= least, "{mode:?}: {same}");
        }
    }

    #[test]
    fn reflection_by_hand() {
        let image = Image { channels: 1, height: 1, width: 3, data: vec![1.0, 2.0, 3.0] };
        assert_eq!(pad(&image, 2, 5), [1.0, 2.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
        assert_eq!(pad(&image, 1, 7), [1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn probabilities_by_hand() {
        // Two pixels, three classes; a logit ln 2 counts twice as much as 0.
        let ln2 = 2.0_f32.ln();
        let logits = Image { channels: 3, height: 2, width: 1, data: vec![0.0, -200.0, ln2, -200.0, 0.0, -201.0] };
        let near = |loss, want: [f32; 6]| {
            let mut p = logits.clone();
            to_probabilities(&mut p, loss);
            for (got, want) in p.data.iter().zip(want) {
                assert!((got - want).abs() < 1e-6, "{loss:?} {:?}", p.data);
            }
        };
        let share = 1.0 / (2.0 + (-1.0_f32).exp());
        near(LossKind::CrossEntropyDice, [0.25, share, 0.5, share, 0.25, share * (-1.0_f32).exp()]);
        // Sigmoids 1/2, 2/3, 1/2; far below 0 a sigmoid is an exponential.
        near(LossKind::BinaryDice, [0.3, share, 0.4, share, 0.3, share * (-1.0_f32).exp()]);
    }

    #[test]
    fn few_executors_are_kept_and_the_result_does_not_depend_on_it() {
        let spec = unet(&families::Options {
            in_channels: 1,
            classes: 2,
            base_width: 1,
            depth: 1,
            ..families::Options::default()
        })
        .unwrap();
        let backend = CpuBackend::detect();
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        let input = InputSpec { mode: InputMode::Patch, size: 8 };
        let mut segmenter = Segmenter::new(&backend, &spec, initialise(&spec, 3).unwrap(), normalisation, input);
        let first = segmenter.probabilities(&noise(8, 8)).unwrap();
        for size in [8, 10, 12, 14, 8, 14, 9, 8] {
            segmenter.probabilities(&noise(size, size)).unwrap();
            assert!(segmenter.executors.len() <= KEPT_EXECUTORS);
        }
        assert_eq!(segmenter.probabilities(&noise(8, 8)).unwrap(), first);
    }

    #[test]
    fn low_precision_gives_nearly_the_same_probabilities() {
        let spec = unet(&families::Options {
            in_channels: 1,
            classes: 2,
            base_width: 4,
            depth: 2,
            ..families::Options::default()
        })
        .unwrap();
        let backend = CpuBackend::detect();
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        let input = InputSpec { mode: InputMode::Patch, size: 16 };
        let make = || Segmenter::new(&backend, &spec, initialise(&spec, 3).unwrap(), normalisation.clone(), input);
        let image = noise(21, 40);
        let expected = make().with_tile(16).probabilities(&image).unwrap();
        for (precision, most) in [(Precision::F32, 0.0), (Precision::Bf16, 0.02), (Precision::Int8, 0.06)] {
            let calibration = [noise(21, 40), noise(5, 9)];
            let mut segmenter = make().with_tile(16).with_precision(precision, &calibration).unwrap();
            let got = segmenter.probabilities(&image).unwrap();
            let worst = got.data.iter().zip(&expected.data).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= most, "{precision:?} {worst}");
            assert_eq!(worst == 0.0, precision == Precision::F32, "{precision:?} is another arithmetic");
            let changed = segmenter.set_weights(initialise(&spec, 4).unwrap());
            assert_eq!(changed.is_err(), precision == Precision::Int8);
        }
        assert!(make().with_precision(Precision::Int8, &[]).is_err(), "nothing to calibrate with");
        assert!(make().with_precision(Precision::Int8, &[Image::filled(2, 16, 16, 0.0)]).is_err(), "two channels");
    }

    fn noise(height: usize, width: usize) -> Image {
        let mut stream = Stream::new(&[5]);
        Image { channels: 1, height, width, data: (0..height * width).map(|_| stream.unit()).collect() }
    }

    #[test]
    fn odd_sizes_are_padded_and_cropped_and_probabilities_sum_to_one() {
        let spec = unet(&families::Options {
            in_channels: 1,
            classes: 3,
            base_width: 2,
            depth: 2,
            ..families::Options::default()
        })
        .unwrap();
        let backend = CpuBackend::detect();
        let weights = initialise(&spec, 3).unwrap();
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.3] };
        let input = InputSpec { mode: InputMode::Patch, size: 16 };
        let mut segmenter = Segmenter::new(&backend, &spec, weights, normalisation, input);
        let image = noise(13, 22);
        let p = segmenter.probabilities(&image).unwrap();
        assert_eq!((p.channels, p.height, p.width), (3, 13, 22));
        for i in 0..13 * 22 {
            let total: f32 = (0..3).map(|c| p.plane(c)[i]).sum();
            assert!((total - 1.0).abs() < 1e-5, "{total}");
        }
        let mut tiled = segmenter.with_tile(16);
        let q = tiled.probabilities(&image).unwrap();
        assert_eq!((q.channels, q.height, q.width), (3, 13, 22));
        assert!(q.data.iter().all(|v| v.is_finite()));
        assert!(tiled.probabilities(&Image::filled(2, 16, 16, 0.0)).is_err(), "two channels");
    }
}
