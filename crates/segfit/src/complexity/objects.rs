//! The objects of a mask: connected components or instances, their areas and convex areas.

use std::collections::BTreeMap;

use super::{Measure, Pyramid, pyramid};

pub(super) const OBJECTS: Measure = Measure {
    name: "objects",
    unit: "objects per image",
    larger_is_more_complex: true,
    first_scale: 0,
    last_scale: pyramid::SCALES - 1,
    compute: |p: &Pyramid, s| p.level(s).map(|l| l.objects().len() as f64),
};

pub(super) const OBJECT_AREA: Measure = Measure {
    name: "object_area",
    unit: "share of the image, median over its objects",
    larger_is_more_complex: false,
    first_scale: 0,
    last_scale: 0,
    compute: |p: &Pyramid, s| p.level(s).and_then(|l| median_area(l.objects(), l.height * l.width)),
};

/// One object of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Pixels of the object.
    pub area: u64,
    /// Pixels whose centres lie in the convex hull of the object's pixel centres; at least `area`.
    pub convex_area: u64,
}

/// The 8-connected components of equal class, background (0) left out, in the order of their first pixel.
///
/// `classes` has `height * width` values. Touching objects of one class are one component; where instances are known
/// use [`objects_by_instance`].
///
/// ```
/// // An L of three pixels and a single pixel:   1 0 0
/// //                                            1 1 0
/// //                                            0 0 0
/// //                                            0 0 1   (not connected: two rows away)
/// let objects = segfit::complexity::objects_of(&[1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1], 4, 3);
/// assert_eq!((objects[0].area, objects[0].convex_area), (3, 3));
/// assert_eq!(objects.len(), 2);
/// ```
#[must_use]
pub fn objects_of(classes: &[u8], height: usize, width: usize) -> Vec<Object> {
    measured(&components(classes, height, width))
}

/// The objects of an instance map: all pixels of one label other than 0 are one object, in the order of their first
/// pixel. `labels` has `height * width` values.
#[must_use]
pub fn objects_by_instance(labels: &[u32], height: usize, width: usize) -> Vec<Object> {
    measured(&numbered(&labels[..height * width], width))
}

/// Neighbouring pixels of one row that belong to one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Row.
    y: u32,
    /// First column.
    first: u32,
    /// Last column.
    last: u32,
    /// The object, from 0 on in the order of their first pixels.
    object: u32,
}

/// The runs of all objects, row by row and from left to right.
#[derive(Debug)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// Number of objects.
    pub count: usize,
}

impl Runs {
    /// The object of every pixel, from 1 on (0 is background).
    pub fn labels(&self, height: usize, width: usize) -> Vec<u32> {
        let mut labels = vec![0; height * width];
        for run in &self.runs {
            let row = run.y as usize * width;
            labels[row + run.first as usize..=row + run.last as usize].fill(run.object + 1);
        }
        labels
    }
}

/// The runs of equal values other than 0, row by row, each with its value.
fn for_each_run<T: Copy + Default + PartialEq>(values: &[T], width: usize, mut take: impl FnMut(Run, T)) {
    for (y, row) in values.chunks(width.max(1)).enumerate() {
        let mut first = 0;
        while first < row.len() {
            let value = row[first];
            let end = first + run_length(&row[first..], value);
            if value != T::default() {
                take(Run { y: y as u32, first: first as u32, last: end as u32 - 1, object: 0 }, value);
            }
            first = end;
        }
    }
}

/// How many values at the beginning of a row are `value`.
fn run_length<T: Copy + PartialEq>(row: &[T], value: T) -> usize {
    // Long runs are passed over by sixteen values, compared side by side.
    const PART: usize = 16;
    let parts = row.chunks_exact(PART).take_while(|part| part.iter().fold(true, |all, &v| all & (v == value)));
    let begin = PART * parts.count();
    row[begin..].iter().position(|&v| v != value).map_or(row.len(), |rest| begin + rest)
}

/// The runs of the instances, which are numbered in the order of their first pixel.
pub(super) fn numbered(labels: &[u32], width: usize) -> Runs {
    let mut places = BTreeMap::new();
    let mut runs = Vec::new();
    for_each_run(labels, width, |run, label| {
        let next = places.len() as u32;
        runs.push(Run { object: *places.entry(label).or_insert(next), ..run });
    });
    Runs { runs, count: places.len() }
}

/// The objects of some runs.
pub(super) fn measured(runs: &Runs) -> Vec<Object> {
    // The runs of each object lie together, in the order of their rows.
    let mut ends = vec![0; runs.count + 1];
    runs.runs.iter().for_each(|r| ends[r.object as usize + 1] += 1);
    (0..runs.count).for_each(|o| ends[o + 1] += ends[o]);
    let mut places = ends.clone();
    let mut sorted = vec![Run { y: 0, first: 0, last: 0, object: 0 }; runs.runs.len()];
    for run in &runs.runs {
        let place = &mut places[run.object as usize];
        sorted[*place] = *run;
        *place += 1;
    }
    let mut rows = Vec::new();
    ends.windows(2).map(|ends| object(&sorted[ends[0]..ends[1]], &mut rows)).collect()
}

/// The object of some runs; `rows` is only there to be used again.
fn object(runs: &[Run], rows: &mut Vec<(i64, i64, i64)>) -> Object {
    let area = runs.iter().map(|r| u64::from(r.last - r.first + 1)).sum();
    if let [run] = runs {
        return Object { area, convex_area: u64::from(run.last - run.first + 1) };
    }
    rows.clear();
    for run in runs {
        let (y, first, last) = (i64::from(run.y), i64::from(run.first), i64::from(run.last));
        match rows.last_mut() {
            Some((row, _, end)) if *row == y => *end = last,
            _ => rows.push((y, first, last)),
        }
    }
    Object { area, convex_area: convex_area(rows) }
}

/// Lattice points in the convex hull of rows (y, first x, last x), by Pick's theorem: area + boundary / 2 + 1.
///
/// All numbers are integers, so nothing is rounded. A hull without area (a point, a segment) obeys the same formula when
/// its boundary is walked there and back.
fn convex_area(rows: &[(i64, i64, i64)]) -> u64 {
    let left = chain(rows.iter().map(|&(y, first, _)| (y, -first)));
    let right = chain(rows.iter().map(|&(y, _, last)| (y, last)));
    let outline: Vec<(i64, i64)> = left.iter().map(|&(y, x)| (y, -x)).chain(right.iter().rev().copied()).collect();
    let (mut doubled_area, mut boundary) = (0, 0);
    for (i, &(y0, x0)) in outline.iter().enumerate() {
        let (y1, x1) = outline[(i + 1) % outline.len()];
        doubled_area += y0 * x1 - y1 * x0;
        boundary += greatest_divisor((y1 - y0).unsigned_abs(), (x1 - x0).unsigned_abs());
    }
    (doubled_area.unsigned_abs() + boundary) / 2 + 1
}

/// The upper convex chain of points (y, x) with rising y: the polyline nowhere below them (Andrew 1979).
fn chain(points: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut hull: Vec<(i64, i64)> = Vec::new();
    for (y, x) in points {
        while let [.., a, b] = hull[..] {
            if (b.0 - a.0) * (x - a.1) - (b.1 - a.1) * (y - a.0) < 0 {
                break;
            }
            hull.pop();
        }
        hull.push((y, x));
    }
    hull
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// The runs of the 8-connected components of equal class (0 is background), which are numbered in the order of their
/// first pixel.
pub(super) fn components(classes: &[u8], height: usize, width: usize) -> Runs {
    let mut runs: Vec<Run> = Vec::new();
    let mut kinds = Vec::new();
    let mut parent: Vec<u32> = Vec::new();
    // Runs of the row above from `above` on may touch this run or those to its right.
    let mut above = 0;
    for_each_run(&classes[..height * width], width, |run, kind| {
        let here = runs.len() as u32;
        parent.push(here);
        while above < runs.len()
            && (runs[above].y + 1 < run.y || (runs[above].y < run.y && runs[above].last + 1 < run.first))
        {
            above += 1;
        }
        let touching = runs[above..].iter().take_while(|r| r.y < run.y && r.first <= run.last + 1);
        for (other, _) in (above..).zip(touching).filter(|&(other, _)| kinds[other] == kind) {
            join(&mut parent, here, other as u32);
        }
        runs.push(run);
        kinds.push(kind);
    });
    // A root is the first run of its component, so it is numbered before the others ask for its number.
    let mut count = 0;
    for i in 0..runs.len() {
        let first = root(&mut parent, i as u32) as usize;
        runs[i].object = if first == i { count } else { runs[first].object };
        count += u32::from(first == i);
    }
    Runs { runs, count: count as usize }
}

fn root(parent: &mut [u32], mut i: u32) -> u32 {
    while parent[i as usize] != i {
        parent[i as usize] = parent[parent[i as usize] as usize];
        i = parent[i as usize];
    }
    i
}

fn join(parent: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b) as usize] = a.min(b);
}

/// Median area of the objects as a share of the image; `None` without objects.
fn median_area(objects: &[Object], pixels: usize) -> Option<f64> {
    let mut areas: Vec<u64> = objects.iter().map(|o| o.area).collect();
    areas.sort_unstable();
    let middle = areas.len() / 2;
    let doubled = match areas.len() {
        0 => return None,
        n if n % 2 == 1 => 2 * areas[middle],
        _ => areas[middle - 1] + areas[middle],
    };
    Some(doubled as f64 / 2.0 / pixels as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plane(rows: &[&str]) -> (Vec<u8>, usize, usize) {
        let data = rows.iter().flat_map(|r| r.bytes().map(|b| b - b'0')).collect();
        (data, rows.len(), rows[0].len())
    }

    fn objects(rows: &[&str]) -> Vec<(u64, u64)> {
        let (data, h, w) = plane(rows);
        objects_of(&data, h, w).iter().map(|o| (o.area, o.convex_area)).collect()
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_one_object() {
        assert_eq!(objects(&["1000", "0100", "0000", "0001"]), [(2, 2), (1, 1)]);
        assert_eq!(objects(&["00100", "01010", "10001"]), [(5, 9)], "a roof: rows of 1, 3 and 5 pixels");
    }

    #[test]
    fn touching_objects_of_two_classes_are_two() {
        assert_eq!(objects(&["1122", "1122"]), [(4, 4), (4, 4)]);
    }

    #[test]
    fn a_convex_object_is_its_own_hull_and_a_ring_is_filled() {
        assert_eq!(objects(&["11111", "11111"]), [(10, 10)]);
        assert_eq!(objects(&["00100", "01110", "11111", "01110", "00100"]), [(13, 13)]);
        assert_eq!(objects(&["11111", "10001", "10001", "10001", "11111"]), [(16, 25)]);
        assert_eq!(objects(&["1", "1", "1"]), [(3, 3)]);
    }

    #[test]
    fn the_arms_of_a_u_become_one_object() {
        assert_eq!(objects(&["10001", "10001", "11111"]), [(9, 15)]);
        assert_eq!(objects(&["00000", "01100"]), [(2, 2)]);
        assert!(objects(&["000", "000"]).is_empty());
    }

    #[test]
    fn an_instance_in_two_parts_is_one_object() {
        let found = objects_by_instance(&[7, 0, 7, 9, 9, 9], 2, 3);
        assert_eq!(found, [Object { area: 2, convex_area: 3 }, Object { area: 3, convex_area: 3 }]);
    }

    #[test]
    fn the_median_area_is_between_the_two_middle_objects() {
        let object = |area| Object { area, convex_area: area };
        assert_eq!(median_area(&[object(9), object(1), object(4), object(2)], 10), Some(0.3));
        assert_eq!(median_area(&[], 10), None);
    }

    /// Flood fill from every pixel that has not been reached.
    fn flood(classes: &[u8], h: usize, w: usize) -> Vec<Vec<(i64, i64)>> {
        let mut seen = vec![false; h * w];
        let mut all = Vec::new();
        for start in 0..h * w {
            if classes[start] == 0 || seen[start] {
                continue;
            }
            let (mut stack, mut pixels) = (vec![start], Vec::new());
            seen[start] = true;
            while let Some(i) = stack.pop() {
                let (y, x) = ((i / w) as i64, (i % w) as i64);
                pixels.push((y, x));
                for (dy, dx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx))) {
                    let (a, b) = (y + dy, x + dx);
                    if (0..h as i64).contains(&a) && (0..w as i64).contains(&b) {
                        let j = a as usize * w + b as usize;
                        if classes[j] == classes[start] && !seen[j] {
                            seen[j] = true;
                            stack.push(j);
                        }
                    }
                }
            }
            all.push(pixels);
        }
        all
    }

    /// A point is outside of the hull when some line through two points of the object has all of the object on one side
    /// and the point strictly on the other.
    fn slow_convex_area(pixels: &[(i64, i64)], h: i64, w: i64) -> u64 {
        let side = |a: (i64, i64), b: (i64, i64), p: (i64, i64)| (b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0);
        let extent =
            |f: fn(&(i64, i64)) -> i64| (pixels.iter().map(f).min().unwrap(), pixels.iter().map(f).max().unwrap());
        let ((y0, y1), (x0, x1)) = (extent(|p| p.0), extent(|p| p.1));
        let mut faces = Vec::new();
        for &a in pixels {
            faces.extend(
                pixels.iter().filter(|&&b| b != a && pixels.iter().all(|&p| side(a, b, p) >= 0)).map(|&b| (a, b)),
            );
        }
        let inside = |p: (i64, i64)| {
            (y0..=y1).contains(&p.0) && (x0..=x1).contains(&p.1) && faces.iter().all(|&(a, b)| side(a, b, p) >= 0)
        };
        (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).filter(|&p| inside(p)).count() as u64
    }

    proptest! {
        #[test]
        fn objects_agree_with_flood_fill_and_with_testing_every_pixel_against_every_edge(
            h in 1_usize..12, w in 1_usize..12, seed in 0_u64..10_000, share in 1_usize..10
        ) {
            let mut s = crate::random::Stream::new(&[seed]);
            let classes: Vec<u8> =
                (0..h * w).map(|_| if s.below(10) < share { 1 + s.below(2) as u8 } else { 0 }).collect();
            let found = objects_of(&classes, h, w);
            let truth = flood(&classes, h, w);
            prop_assert_eq!(found.len(), truth.len());
            prop_assert_eq!(
                found.iter().map(|o| o.area).sum::<u64>() as usize,
                classes.iter().filter(|&&c| c > 0).count()
            );
            for (object, pixels) in found.iter().zip(&truth) {
                prop_assert_eq!(object.area, pixels.len() as u64);
                prop_assert_eq!(object.convex_area, slow_convex_area(pixels, h as i64, w as i64));
                prop_assert!(object.convex_area >= object.area);
            }
        }
    }
}
