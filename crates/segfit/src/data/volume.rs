//! Volumes in memory: voxels of one file, or of a series of files, as slices along an axis.

use serde::{Deserialize, Serialize};

use super::limits::{HOW_TO_RAISE, max_decoded_bytes, max_decoded_mib};
use super::raster::{Note, Raster, Samples, Values};

/// An axis of a volume: x runs along the columns of what is stored, y along its rows, z from slice to slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// The fastest in the file.
    X,
    /// The second.
    Y,
    /// The slowest.
    Z,
}

impl Axis {
    /// How many slices a volume of `shape` (slices, rows, columns of the file) has along this axis.
    pub(super) fn slices(self, shape: [usize; 3]) -> usize {
        let [z, y, x] = shape;
        match self {
            Self::X => x,
            Self::Y => y,
            Self::Z => z,
        }
    }

    /// Rows and columns of such a slice.
    pub(super) fn slice_size(self, shape: [usize; 3]) -> (usize, usize) {
        let [z, y, x] = shape;
        match self {
            Self::X => (z, y),
            Self::Y => (z, x),
            Self::Z => (y, x),
        }
    }
}

impl std::fmt::Display for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::X => "x",
            Self::Y => "y",
            Self::Z => "z",
        })
    }
}

/// One slice of a volume, or one page of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slice {
    /// The axis that slices follow.
    pub axis: Axis,
    /// Its number along the axis, from 0.
    pub index: usize,
}

/// Where the voxels lie in the patient or on the stage, as NIfTI says it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Geometry {
    /// The file says nothing.
    None,
    /// The first bytes of a NIfTI file; whether it is gzipped.
    Nifti { header: Vec<u8>, gzipped: bool },
    /// From (x, y, z) in voxels to millimetres to the right, to the front and up.
    #[cfg_attr(not(feature = "dicom"), expect(dead_code, reason = "only DICOM says it so"))]
    Affine([[f64; 4]; 3]),
}

/// Voxels: `samples[((z * rows + y) * columns + x) * channels + c]`.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Slices, rows and columns as stored; further time points are further slices.
    pub shape: [usize; 3],
    /// Time points.
    pub times: usize,
    /// Samples per voxel, the alpha channel included.
    pub channels: usize,
    /// Bits per sample.
    pub bits: u8,
    /// Whether the last channel is alpha.
    pub alpha: bool,
    /// The voxels.
    pub samples: Samples,
    /// How they become images.
    pub values: Values,
    /// Distances of voxels along x, y and z in millimetres, where the file says them.
    pub spacing_mm: Option<[f64; 3]>,
    /// Where they lie.
    pub geometry: Geometry,
    /// What was left out.
    pub notes: Vec<Note>,
}

impl Volume {
    /// How many slices there are along an axis.
    pub fn slices(&self, axis: Axis) -> usize {
        axis.slices(self.shape)
    }

    /// Rows and columns of a slice along an axis.
    pub fn slice_size(&self, axis: Axis) -> (usize, usize) {
        axis.slice_size(self.shape)
    }

    /// The axis along which neighbours are farthest apart, z where that is not clear: slices across it are the finest.
    pub fn coarsest_axis(&self) -> Axis {
        let flat = |axis| self.slices(axis) == 1;
        match self.spacing_mm {
            _ if flat(Axis::Z) || self.times > 1 => Axis::Z,
            Some([x, y, z]) if x > 1.05 * z && x >= y => Axis::X,
            Some([_, y, z]) if y > 1.05 * z => Axis::Y,
            _ => Axis::Z,
        }
    }

    /// Pixels of a slice. Columns run along the faster of the two other axes.
    ///
    /// # Panics
    /// When there is no such slice.
    pub fn slice(&self, slice: Slice) -> Raster {
        let (height, width) = self.slice_size(slice.axis);
        let n = self.channels;
        let [_, rows, columns] = self.shape;
        let at = |z: usize, y: usize, x: usize| ((z * rows + y) * columns + x) * n;
        let mut samples = self.samples.zeros(0);
        samples.reserve(height * width * n);
        let i = slice.index;
        assert!(i < self.slices(slice.axis), "slice {i} of {} along {}", self.slices(slice.axis), slice.axis);
        match slice.axis {
            Axis::Z => samples.append(&self.samples, std::iter::once(at(i, 0, 0)..at(i + 1, 0, 0))),
            Axis::Y => samples.append(&self.samples, (0..height).map(|z| at(z, i, 0)..at(z, i, 0) + width * n)),
            Axis::X => {
                let voxels = (0..height).flat_map(|z| (0..width).map(move |y| at(z, y, i)..at(z, y, i) + n));
                samples.append(&self.samples, voxels);
            }
        }
        let (values, notes) = (self.values, self.notes.clone());
        Raster { bits: self.bits, alpha: self.alpha, values, notes, ..Raster::plain(height, width, n, samples) }
    }

    /// Puts slices along an axis back to where their voxels lie in the file.
    pub fn unslice<T: Copy + Default>(&self, axis: Axis, slices: &[Vec<T>]) -> Vec<T> {
        if axis == Axis::Z {
            return slices.concat();
        }
        let [z, y, x] = self.shape;
        let mut voxels = vec![T::default(); z * y * x];
        for (i, slice) in slices.iter().enumerate() {
            for (j, &v) in slice.iter().enumerate() {
                let at = match axis {
                    Axis::Y => (j / x * y + i) * x + j % x,
                    _ => j * x + i,
                };
                voxels[at] = v;
            }
        }
        voxels
    }
}

/// Sides of a volume in voxels, of which `bytes` each are decoded.
///
/// # Errors
/// When a side is 0 or there are more bytes than are decoded of one file.
pub(crate) fn check_voxels(sides: &[usize], bytes: usize) -> Result<usize, String> {
    let shape = sides.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    if sides.contains(&0) {
        return Err(format!("the volume is empty ({shape})"));
    }
    let all = sides.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
    match all {
        Some(n) if n.checked_mul(bytes).is_some_and(|b| b <= max_decoded_bytes()) => Ok(n),
        _ => Err(format!(
            "it claims {shape} voxels, {bytes} bytes each when decoded; the limit is {} for one file: cut it into several \
             files, or {HOW_TO_RAISE}",
            max_decoded_mib()
        )),
    }
}

/// Voxels that are looked at for the range of a volume.
const RANGE_VOXELS: usize = 1 << 20;
/// Share of the voxels below the range, and above it.
const OUTSIDE: f64 = 0.005;

/// The range of a volume whose numbers have no fixed meaning: its 0.5% and 99.5% quantiles.
///
/// Of large volumes every n-th voxel counts, so that about a million are looked at. Numbers that are not finite do not
/// count.
pub(crate) fn quantile_range(samples: &Samples) -> Values {
    let step = (samples.len() / RANGE_VOXELS).max(1);
    let numbers = (0..samples.len()).step_by(step).map(|i| samples.number(i));
    let mut numbers: Vec<f64> = numbers.filter(|v| v.is_finite()).collect();
    numbers.sort_by(f64::total_cmp);
    let Some(last) = numbers.len().checked_sub(1) else { return Values::Range { low: 0.0, high: 1.0 } };
    let at = |share: f64| numbers[(share * last as f64).round() as usize];
    let (mut low, mut high) = (at(OUTSIDE), at(1.0 - OUTSIDE));
    if low == high {
        // Nearly all is background.
        (low, high) = (numbers[0], numbers[last]);
    }
    Values::Range { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(shape: [usize; 3]) -> Volume {
        let n = shape.iter().product::<usize>();
        Volume {
            shape,
            times: 1,
            channels: 1,
            bits: 8,
            alpha: false,
            samples: Samples::U8((0..n as u8).collect()),
            values: Values::Type,
            spacing_mm: None,
            geometry: Geometry::None,
            notes: vec![],
        }
    }

    #[test]
    fn slices_along_each_axis_go_back_to_their_place() {
        // The voxel at (x, y, z) is x + 4 y + 12 z.
        let v = volume([2, 3, 4]);
        for (axis, index, size, expected) in [
            (Axis::Z, 1, (3, 4), (12..24).collect::<Vec<u8>>()),
            (Axis::Y, 2, (2, 4), vec![8, 9, 10, 11, 20, 21, 22, 23]),
            (Axis::X, 3, (2, 3), vec![3, 7, 11, 15, 19, 23]),
        ] {
            let slice = v.slice(Slice { axis, index });
            let Samples::U8(values) = slice.samples else { unreachable!() };
            assert_eq!(((slice.height, slice.width), &values), (size, &expected), "{axis}");
            let slices: Vec<Vec<u8>> = (0..v.slices(axis))
                .map(|index| match v.slice(Slice { axis, index }).samples {
                    Samples::U8(values) => values,
                    _ => unreachable!(),
                })
                .collect();
            assert_eq!(v.unslice(axis, &slices), (0..24).collect::<Vec<u8>>(), "{axis}");
        }
    }

    #[test]
    fn slices_lie_across_the_coarsest_axis() {
        let with = |spacing| Volume { spacing_mm: Some(spacing), ..volume([2, 3, 4]) }.coarsest_axis();
        assert_eq!([with([1.0, 1.0, 5.0]), with([1.0, 1.0, 1.0]), with([1.0, 1.0, 0.97])], [Axis::Z; 3]);
        assert_eq!((with([3.0, 0.5, 0.5]), with([0.5, 2.0, 0.5])), (Axis::X, Axis::Y));
        assert_eq!(Volume { spacing_mm: Some([9.0, 1.0, 1.0]), ..volume([1, 3, 4]) }.coarsest_axis(), Axis::Z);
    }

    #[test]
    fn a_range_leaves_out_half_a_percent_at_each_end() {
        let samples = Samples::F32((0..=1000).map(|v| v as f32).collect());
        assert_eq!(quantile_range(&samples), Values::Range { low: 5.0, high: 995.0 });
        let mut rare = vec![0.0; 1000];
        rare[7] = 3.0;
        rare[8] = f32::NAN;
        assert_eq!(quantile_range(&Samples::F32(rare)), Values::Range { low: 0.0, high: 3.0 });
    }

    #[test]
    fn giant_and_empty_volumes_are_refused() {
        assert_eq!(check_voxels(&[2, 3], 4), Ok(6));
        assert!(check_voxels(&[2, 0], 4).unwrap_err().contains("2 x 0"));
        assert!(check_voxels(&[1 << 20, 1 << 20], 1).unwrap_err().contains("1024 MiB"));
        assert!(check_voxels(&[usize::MAX, 9], 1).is_err());
    }
}
