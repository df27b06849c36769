//! `.npy` files to pixels: one picture, or a stack.

use super::numbers::Number;
use super::raster::{Samples, Values};
use super::volume::{Geometry, Volume, check_voxels};
use crate::npy::Header;

type Reason<T> = Result<T, String>;

/// Most channels that an array has whose channel axis is not named.
pub(crate) const MAX_CHANNELS: usize = 4;

/// How an array's sides are understood.
#[derive(Debug, PartialEq, Eq)]
struct Sides {
    slices: usize,
    height: usize,
    width: usize,
    channels: usize,
    channels_first: bool,
}

/// The pixels of a file.
///
/// Two sides are rows and columns. Of three, the last one is channels when it is 4 at most, otherwise the first one when
/// it is 4 at most, otherwise the first one counts slices. Of four, the first one counts slices.
pub(crate) fn decode_npy(bytes: &[u8]) -> Reason<Volume> {
    let header = Header::parse(bytes)?;
    let (number, is_boolean) = number_of(&header.kind)?;
    let sides = sides_of(&header.shape)?;
    let n = check_voxels(&header.shape, number.decoded())?;
    let held = bytes.len() - header.start;
    if held < n * number.size() {
        return Err(format!("it ends after {held} of {} bytes of numbers", n * number.size()));
    }
    let samples = number.read(&bytes[header.start..header.start + n * number.size()], header.big_endian);
    let samples = in_order(samples, &header, &sides);
    let bits = if is_boolean { 1 } else { number.bits() };
    Ok(Volume {
        shape: [sides.slices, sides.height, sides.width],
        times: 1,
        channels: sides.channels,
        bits,
        alpha: false,
        samples,
        values: Values::Type,
        spacing_mm: None,
        geometry: Geometry::None,
        notes: vec![],
    })
}

fn number_of(kind: &str) -> Reason<(Number, bool)> {
    let unknown = || format!("numbers of type {kind} are not read: save integers or floating point");
    Ok((Number::of_numpy(kind).ok_or_else(unknown)?, kind == "b1"))
}

fn sides_of(shape: &[usize]) -> Reason<Sides> {
    let few = |n: usize| (1..=MAX_CHANNELS).contains(&n);
    let (slices, height, width, channels, channels_first) = match *shape {
        [h, w] => (1, h, w, 1, false),
        [h, w, c] if few(c) => (1, h, w, c, false),
        [c, h, w] if few(c) => (1, h, w, c, true),
        [n, h, w] => (n, h, w, 1, false),
        [n, h, w, c] if few(c) => (n, h, w, c, false),
        [n, c, h, w] if few(c) => (n, h, w, c, true),
        _ => {
            return Err(format!(
                "an array of shape {shape:?} is no picture: expected rows x columns, with channels (up to \
                 {MAX_CHANNELS}) as first or last side, or a stack of such"
            ));
        }
    };
    Ok(Sides { slices, height, width, channels, channels_first })
}

/// The samples slice by slice, row by row, channels last.
fn in_order(samples: Samples, header: &Header, sides: &Sides) -> Samples {
    let is_apart = sides.channels_first && sides.channels > 1;
    if !header.fortran_order && !is_apart {
        return samples;
    }
    // Steps of the file's sides in the file.
    let shape = &header.shape;
    let mut steps = vec![1; shape.len()];
    if header.fortran_order {
        (1..shape.len()).for_each(|i| steps[i] = steps[i - 1] * shape[i - 1]);
    } else {
        (0..shape.len() - 1).rev().for_each(|i| steps[i] = steps[i + 1] * shape[i + 1]);
    }
    let has_channels = shape.len() == 4 || shape.len() == 3 && sides.slices == 1;
    let mut steps = steps.into_iter();
    let mut next = |present: bool| if present { steps.next().unwrap_or(0) } else { 0 };
    let slice = next(shape.len() == 4 || shape.len() == 3 && !has_channels);
    let first = next(has_channels && sides.channels_first);
    let (row, column) = (next(true), next(true));
    let last = next(has_channels && !sides.channels_first);
    let channel = if sides.channels_first { first } else { last };
    let mut out = samples.zeros(0);
    out.reserve(samples.len());
    let places = (0..sides.slices).flat_map(|s| {
        (0..sides.height).flat_map(move |y| {
            (0..sides.width)
                .flat_map(move |x| (0..sides.channels).map(move |c| s * slice + y * row + x * column + c * channel))
        })
    });
    out.append(&samples, places.map(|at| at..at + 1));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of unsigned 8-bit numbers that count up as the file has them.
    fn file(shape: &[usize], fortran: bool) -> Vec<u8> {
        let values: Vec<u8> = (0..shape.iter().product::<usize>()).map(|v| v as u8).collect();
        let file = crate::npy::bytes(shape, &values);
        if !fortran {
            return file;
        }
        let at = file.windows(5).position(|w| w == b"False").unwrap();
        let mut file = file;
        file[at..at + 5].copy_from_slice(b"True ");
        file
    }

    fn values(shape: &[usize], fortran: bool) -> ([usize; 3], usize, Vec<u8>) {
        let volume = decode_npy(&file(shape, fortran)).unwrap();
        let Samples::U8(values) = volume.samples else { unreachable!() };
        (volume.shape, volume.channels, values)
    }

    #[test]
    fn orders_of_sides_by_hand() {
        assert_eq!(values(&[2, 3], false), ([1, 2, 3], 1, vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(values(&[2, 3], true), ([1, 2, 3], 1, vec![0, 2, 4, 1, 3, 5]));
        let (shape, channels, first) = values(&[2, 5, 6], false);
        assert_eq!((shape, channels, &first[..4]), ([1, 5, 6], 2, &[0, 30, 1, 31][..]), "channels first");
        let (shape, channels, last) = values(&[5, 6, 2], true);
        assert_eq!((shape, channels, &last[..6]), ([1, 5, 6], 2, &[0, 30, 5, 35, 10, 40][..]), "channels last");
        let (shape, channels, stack) = values(&[5, 6, 7], true);
        assert_eq!((shape, channels, &stack[..3]), ([5, 6, 7], 1, &[0, 30, 60][..]), "a stack");
        let (shape, channels, _) = values(&[5, 2, 6, 7], false);
        assert_eq!((shape, channels), ([5, 6, 7], 2));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(decode_npy(&file(&[7], false)).unwrap_err().contains("[7]"));
        assert!(decode_npy(&file(&[5, 0], false)).unwrap_err().contains("empty"));
        let mut short = file(&[5, 6], false);
        short.pop();
        assert!(decode_npy(&short).unwrap_err().contains("29 of 30"));
        assert!(number_of("c8").unwrap_err().contains("c8"));
    }
}
