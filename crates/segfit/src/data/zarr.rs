//! OME-Zarr images, versions 0.1 to 0.5 (Zarr 2 and 3), at their full resolution (<https://ngff.openmicroscopy.org>).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::blosc;
use super::numbers::Number;
use super::ome::millimetres;
use super::raster::{Samples, Values};
use super::volume::{Axis, Geometry, Volume, check_voxels, quantile_range};
use crate::error::{Error, Result};

type Reason<T> = std::result::Result<T, String>;

/// Bytes of a description that are read.
const MAX_JSON: u64 = 16 << 20;

/// Whether a folder is a Zarr group: it has a description of one.
pub(crate) fn is_zarr(path: &Path) -> bool {
    [".zattrs", ".zgroup", "zarr.json"].iter().any(|name| path.join(name).is_file())
}

/// What a folder's descriptions say.
#[derive(Debug)]
pub(crate) struct Outline {
    /// Slices, rows and columns; further time points are further slices.
    pub shape: [usize; 3],
    pub channels: usize,
    pub times: usize,
    pub spacing_mm: Option<[f64; 3]>,
    array: Array,
    /// For each side of the array: `t`, `c`, `z`, `y` or `x`.
    axes: Vec<char>,
}

impl Outline {
    /// # Errors
    /// [`Error::Io`] and [`Error::Decode`].
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::Decode { path: path.into(), format: "OME-Zarr".into(), reason };
        let attributes = attributes(path)?;
        let scales = attributes.get("multiscales").and_then(Value::as_array).and_then(|all| all.first());
        let scales = scales.ok_or_else(|| refuse("it has no \"multiscales\": it is no OME-Zarr image".into()))?;
        let level = &scales["datasets"][0];
        let name = level["path"].as_str().ok_or_else(|| refuse("its first level has no path".into()))?;
        let within = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if !within || name.is_empty() {
            return Err(refuse("the path of its first level leads out of it".into()));
        }
        let array = Array::read(&path.join(name))?;
        let axes = axes(scales, array.shape.len()).map_err(refuse)?;
        let side = |axis: char| axes.iter().position(|a| *a == axis).map_or(1, |at| array.shape[at]);
        let times = side('t');
        let shape = [times.saturating_mul(side('z')), side('y'), side('x')];
        let spacing_mm = spacing(scales, level, &axes);
        Ok(Self { shape, channels: side('c'), times, spacing_mm, axes, array })
    }

    /// The decoded size of a number in bytes.
    pub fn number_bytes(&self) -> usize {
        self.array.number.decoded()
    }

    /// The axis that slices follow where the user names none.
    pub fn axis(&self) -> Axis {
        self.volume(Samples::U8(vec![])).coarsest_axis()
    }

    fn volume(&self, samples: Samples) -> Volume {
        let values = match &samples {
            Samples::U8(_) | Samples::U16(_) | Samples::U32(_) => Values::Type,
            Samples::F32(_) => quantile_range(&samples),
        };
        Volume {
            shape: self.shape,
            times: self.times,
            channels: self.channels,
            bits: self.array.number.bits(),
            alpha: false,
            samples,
            values,
            spacing_mm: self.spacing_mm,
            geometry: Geometry::None,
            notes: vec![],
        }
    }

    /// What is shown of a file.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        vec![
            ("axes", self.axes.iter().collect()),
            ("numbers", self.array.number.name().into()),
            ("chunks", self.array.chunks.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")),
        ]
    }
}

/// All voxels of the full resolution.
///
/// # Errors
/// [`Error::Io`] and [`Error::Decode`], also for codecs that are not read.
pub(crate) fn decode(path: &Path) -> Result<Volume> {
    let outline = Outline::read(path)?;
    let refuse = |reason: String| Error::Decode { path: path.into(), format: "OME-Zarr".into(), reason };
    let array = &outline.array;
    check_voxels(&array.shape, array.number.decoded().max(array.number.size())).map_err(refuse)?;
    check_voxels(&array.chunks, array.number.size()).map_err(refuse)?;
    let bytes = array.bytes()?;
    let samples = array.number.read(&bytes, array.big_endian);
    Ok(outline.volume(in_order(&samples, &array.shape, &outline.axes)))
}

/// The files that make the image, by name: descriptions and chunks.
pub(crate) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let entry = entry.map_err(Error::io(&folder))?;
            match entry.file_type().map_err(Error::io(&folder))? {
                kind if kind.is_dir() => folders.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.sort();
    Ok(files)
}

fn json(path: &Path) -> Result<Option<Value>> {
    use std::io::Read as _;
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    file.take(MAX_JSON).read_to_end(&mut text).map_err(Error::io(path))?;
    let bad = |e: serde_json::Error| Error::Json {
        path: path.into(),
        expected: "a description of Zarr".into(),
        reason: e.to_string(),
    };
    serde_json::from_slice(&text).map(Some).map_err(bad)
}

/// The attributes of OME: of Zarr 2 in `.zattrs`, of Zarr 3 in `zarr.json`.
fn attributes(path: &Path) -> Result<Value> {
    if let Some(group) = json(&path.join("zarr.json"))? {
        return Ok(group["attributes"]["ome"].clone());
    }
    Ok(json(&path.join(".zattrs"))?.unwrap_or(Value::Null))
}

/// The sides' names; versions before 0.3 have none and are `tczyx`.
fn axes(scales: &Value, sides: usize) -> Reason<Vec<char>> {
    let name = |axis: &Value| {
        let name = axis.as_str().or_else(|| axis["name"].as_str());
        match name {
            Some(n @ ("t" | "c" | "z" | "y" | "x")) => Ok(n.chars().next().unwrap_or('x')),
            other => Err(format!("an axis {}: expected t, c, z, y or x", other.unwrap_or("without a name"))),
        }
    };
    let named = match scales.get("axes").and_then(Value::as_array) {
        Some(axes) => axes.iter().map(name).collect::<Reason<Vec<char>>>()?,
        None => "tczyx".chars().collect(),
    };
    let mut once = named.clone();
    once.sort_unstable();
    once.dedup();
    if named.len() != sides || once.len() != sides || !once.contains(&'y') || !once.contains(&'x') {
        return Err(format!("axes {} for an array of {sides} sides", named.iter().collect::<String>()));
    }
    Ok(named)
}

/// Distances along x, y and z.
fn spacing(scales: &Value, level: &Value, axes: &[char]) -> Option<[f64; 3]> {
    let scale = |of: &Value| -> Option<Vec<f64>> {
        let found = of["coordinateTransformations"].as_array()?.iter().find(|t| t["type"] == "scale")?;
        found["scale"].as_array()?.iter().map(Value::as_f64).collect()
    };
    let level = scale(level)?;
    let all = scale(scales).unwrap_or_else(|| vec![1.0; level.len()]);
    let distance = |axis: char| {
        let at = axes.iter().position(|a| *a == axis)?;
        let unit = match scales["axes"][at]["unit"].as_str()? {
            "micrometer" => "µm",
            "nanometer" => "nm",
            "millimeter" => "mm",
            "centimeter" => "cm",
            "meter" => "m",
            "angstrom" => "Å",
            other => other,
        };
        Some(level.get(at)? * all.get(at)? * millimetres(unit)?).filter(|d| d.is_finite() && *d > 0.0)
    };
    Some([distance('x')?, distance('y')?, distance('z').unwrap_or(1.0)])
}

/// One array of numbers in chunks.
#[derive(Debug)]
struct Array {
    folder: PathBuf,
    shape: Vec<usize>,
    chunks: Vec<usize>,
    number: Number,
    big_endian: bool,
    codec: Codec,
    has_checksum: bool,
    /// What stands in front of a chunk's numbers, and between them.
    prefix: &'static str,
    separator: String,
    fill: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    None,
    Blosc,
    Gzip,
    Zlib,
    Zstd,
}

impl Codec {
    fn of(name: &str) -> Reason<Self> {
        match name {
            "blosc" => Ok(Self::Blosc),
            "gzip" => Ok(Self::Gzip),
            "zlib" => Ok(Self::Zlib),
            "zstd" => Ok(Self::Zstd),
            other => Err(format!("chunks in {other} are not read: save them with Blosc, zstd, gzip or zlib, or plain")),
        }
    }
}

impl Array {
    fn read(folder: &Path) -> Result<Self> {
        let (file, is_3) = if folder.join("zarr.json").is_file() { ("zarr.json", true) } else { (".zarray", false) };
        let path = folder.join(file);
        let refuse = |reason: String| Error::Decode { path: path.clone(), format: "Zarr".into(), reason };
        let value = json(&path)?.ok_or_else(|| Error::Path {
            path: path.clone(),
            expected: "the description of an array".into(),
            got: "nothing of that name".into(),
        })?;
        let array = if is_3 { Self::version_3(folder, &value) } else { Self::version_2(folder, &value) };
        let array = array.map_err(refuse)?;
        let sides = array.shape.len();
        if !(2..=5).contains(&sides) || array.chunks.len() != sides || array.chunks.contains(&0) {
            return Err(refuse(format!("an array of {sides} sides in chunks of {}", array.chunks.len())));
        }
        Ok(array)
    }

    fn version_2(folder: &Path, value: &Value) -> Reason<Self> {
        let kind = value["dtype"].as_str().ok_or("its numbers are records, which are no pixels")?;
        let (order, kind) = kind.split_at_checked(1).ok_or("it has no type of numbers")?;
        if value["order"].as_str() == Some("F") {
            return Err("columns first (order F) is not read: save it with order C".into());
        }
        if value["filters"].as_array().is_some_and(|f| !f.is_empty()) {
            return Err("filters are not read: save it without".into());
        }
        let codec = match &value["compressor"] {
            Value::Null => Codec::None,
            compressor => Codec::of(compressor["id"].as_str().unwrap_or("an unnamed codec"))?,
        };
        let number = Number::of_numpy(kind).ok_or_else(|| format!("numbers of type {kind} are not read"))?;
        let big_endian = order == ">";
        Ok(Self {
            folder: folder.into(),
            shape: whole(&value["shape"])?,
            chunks: whole(&value["chunks"])?,
            fill: fill(&value["fill_value"], number, big_endian)?,
            number,
            big_endian,
            codec,
            has_checksum: false,
            prefix: "",
            separator: value["dimension_separator"].as_str().unwrap_or(".").into(),
        })
    }

    fn version_3(folder: &Path, value: &Value) -> Reason<Self> {
        let number = match value["data_type"].as_str().unwrap_or_default() {
            "bool" | "uint8" => Number::U8,
            "uint16" => Number::U16,
            "uint32" => Number::U32,
            "uint64" => Number::U64,
            "int8" => Number::I8,
            "int16" => Number::I16,
            "int32" => Number::I32,
            "int64" => Number::I64,
            "float16" => Number::F16,
            "float32" => Number::F32,
            "float64" => Number::F64,
            other => return Err(format!("numbers of type {other} are not read")),
        };
        let (mut codec, mut big_endian, mut has_checksum) = (Codec::None, false, false);
        for step in value["codecs"].as_array().ok_or("it has no codecs")? {
            match step["name"].as_str().unwrap_or_default() {
                "bytes" => big_endian = step["configuration"]["endian"] == "big",
                "crc32c" => has_checksum = true,
                _ if codec != Codec::None || has_checksum => return Err("chunks are packed twice".into()),
                name => codec = Codec::of(name)?,
            }
        }
        if value["chunk_grid"]["name"] != "regular" {
            return Err("chunks of different sizes are not read".into());
        }
        let (prefix, usual) = match value["chunk_key_encoding"]["name"].as_str() {
            Some("v2") => ("", "."),
            _ => ("c", "/"),
        };
        let separator = value["chunk_key_encoding"]["configuration"]["separator"].as_str().unwrap_or(usual);
        Ok(Self {
            folder: folder.into(),
            shape: whole(&value["shape"])?,
            chunks: whole(&value["chunk_grid"]["configuration"]["chunk_shape"])?,
            fill: fill(&value["fill_value"], number, big_endian)?,
            number,
            big_endian,
            codec,
            has_checksum,
            prefix,
            separator: separator.into(),
        })
    }

    /// The bytes of all numbers, the last side fastest.
    fn bytes(&self) -> Result<Vec<u8>> {
        let size = self.number.size();
        let (outer, inner) = (steps(&self.shape), steps(&self.chunks));
        let mut out = self.fill.repeat(self.shape.iter().product());
        let counts: Vec<usize> = self.shape.iter().zip(&self.chunks).map(|(n, c)| n.div_ceil(*c)).collect();
        for place in places(&counts) {
            let Some(chunk) = self.chunk(&place)? else { continue };
            let first: Vec<usize> = place.iter().zip(&self.chunks).map(|(p, c)| p * c).collect();
            let held: Vec<usize> = (0..first.len()).map(|i| self.chunks[i].min(self.shape[i] - first[i])).collect();
            let last = held.len() - 1;
            for row in places(&held[..last]) {
                let to: usize = row.iter().enumerate().map(|(i, r)| (first[i] + r) * outer[i]).sum();
                let from: usize = row.iter().enumerate().map(|(i, r)| r * inner[i]).sum();
                let (to, from, n) = ((to + first[last]) * size, from * size, held[last] * size);
                out[to..to + n].copy_from_slice(&chunk[from..from + n]);
            }
        }
        Ok(out)
    }

    /// The bytes of a chunk; `None` when it is not stored.
    fn chunk(&self, place: &[usize]) -> Result<Option<Vec<u8>>> {
        let key = place.iter().map(usize::to_string).collect::<Vec<_>>().join(&self.separator);
        let key = if self.prefix.is_empty() { key } else { format!("{}{}{key}", self.prefix, self.separator) };
        let path = self.folder.join(key);
        let packed = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::Io { path, source: e }),
        };
        let expected = self.chunks.iter().product::<usize>() * self.number.size();
        let packed = match packed.len().checked_sub(4) {
            Some(end) if self.has_checksum => &packed[..end],
            _ => &packed[..],
        };
        let bytes = match self.codec {
            Codec::None => blosc::exactly(packed, expected, "a chunk"),
            Codec::Blosc => blosc::decode(packed, expected),
            Codec::Gzip => blosc::exactly(flate2::read::MultiGzDecoder::new(packed), expected, "gzip"),
            Codec::Zlib => blosc::exactly(flate2::read::ZlibDecoder::new(packed), expected, "zlib"),
            Codec::Zstd => blosc::zstd(packed, expected),
        };
        bytes.map(Some).map_err(|reason| Error::Decode { path, format: "Zarr".into(), reason })
    }
}

/// Whole numbers of a list.
fn whole(value: &Value) -> Reason<Vec<usize>> {
    let list = value.as_array().ok_or("it does not say the sides of its array")?;
    let one = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    list.iter().map(one).collect::<Option<_>>().ok_or_else(|| "a side of its array is no whole number".into())
}

/// The bytes of the number that stands where no chunk is.
fn fill(value: &Value, number: Number, big_endian: bool) -> Reason<Vec<u8>> {
    let Some(v) = value.as_f64().or(value.as_bool().map(f64::from)) else {
        return match value {
            Value::Null => Ok(vec![0; number.size()]),
            other => Err(format!("{other} where no chunk is, instead of a number")),
        };
    };
    if v == 0.0 {
        return Ok(vec![0; number.size()]);
    }
    let mut bytes = match number {
        Number::U8 => vec![v as u8],
        Number::I8 => (v as i8).to_le_bytes().to_vec(),
        Number::U16 => (v as u16).to_le_bytes().to_vec(),
        Number::I16 => (v as i16).to_le_bytes().to_vec(),
        Number::U32 => (v as u32).to_le_bytes().to_vec(),
        Number::I32 => (v as i32).to_le_bytes().to_vec(),
        Number::U64 => (v as u64).to_le_bytes().to_vec(),
        Number::I64 => (v as i64).to_le_bytes().to_vec(),
        Number::F32 => (v as f32).to_le_bytes().to_vec(),
        Number::F64 => v.to_le_bytes().to_vec(),
        Number::F16 => return Err(format!("{v} of 16 bits where no chunk is")),
    };
    if big_endian {
        bytes.reverse();
    }
    Ok(bytes)
}

/// How far neighbours along each side are apart.
fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    (0..shape.len() - 1).rev().for_each(|i| steps[i] = steps[i + 1] * shape[i + 1]);
    steps
}

/// All places of a grid, the last side fastest; one place of a grid without sides.
fn places(counts: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let steps = if counts.is_empty() { Vec::new() } else { steps(counts) };
    let counts = counts.to_vec();
    let n: usize = counts.iter().product();
    (0..n).map(move |i| steps.iter().zip(&counts).map(|(step, count)| i / step % count).collect())
}

/// Samples slice by slice (time points after each other), row by row, channels last.
fn in_order(samples: &Samples, shape: &[usize], axes: &[char]) -> Samples {
    let file = steps(shape);
    let side = |axis: char| axes.iter().position(|a| *a == axis).map_or((1, 0), |at| (shape[at], file[at]));
    let [t, z, y, x, c] = ['t', 'z', 'y', 'x', 'c'].map(side);
    let mut out = samples.zeros(0);
    out.reserve(samples.len());
    for it in 0..t.0 {
        for iz in 0..z.0 {
            for iy in 0..y.0 {
                let row = it * t.1 + iz * z.1 + iy * y.1;
                let places = (0..x.0).flat_map(|ix| (0..c.0).map(move |ic| row + ix * x.1 + ic * c.1));
                if (c.0, x.1) == (1, 1) {
                    out.append(samples, std::iter::once(row..row + x.0));
                } else {
                    out.append(samples, places.map(|at| at..at + 1));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// An image of 2 channels, 3 slices, 5 rows and 4 columns in chunks of 1 x 2 x 3 x 4; the value at (c, z, y, x) is
    /// 60 c + 20 z + 4 y + x. The last chunk is not stored.
    fn write_v2(folder: &Path) {
        fs::create_dir_all(folder.join("0")).unwrap();
        let attributes = serde_json::json!({"multiscales": [{"version": "0.4",
            "axes": [{"name": "c", "type": "channel"}, {"name": "z", "type": "space", "unit": "micrometer"},
                     {"name": "y", "type": "space", "unit": "micrometer"}, {"name": "x", "type": "space", "unit": "micrometer"}],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 2.0, 0.5, 0.25]}]}]}]});
        fs::write(folder.join(".zattrs"), attributes.to_string()).unwrap();
        let array = serde_json::json!({"zarr_format": 2, "shape": [2, 3, 5, 4], "chunks": [1, 2, 3, 4], "dtype": ">u2",
            "compressor": null, "filters": null, "order": "C", "fill_value": 9, "dimension_separator": "/"});
        fs::write(folder.join("0/.zarray"), array.to_string()).unwrap();
        for place in places(&[2, 2, 2, 1]) {
            if place == [1, 1, 1, 0] {
                continue;
            }
            let value = |i: Vec<usize>| {
                let (c, z, y, x) = (place[0] + i[0], 2 * place[1] + i[1], 3 * place[2] + i[2], i[3]);
                (60 * c + 20 * z + 4 * y + x) as u16
            };
            let bytes: Vec<u8> = places(&[1, 2, 3, 4]).flat_map(|i| value(i).to_be_bytes()).collect();
            let key = place.iter().map(usize::to_string).collect::<Vec<_>>().join("/");
            let path = folder.join("0").join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    #[test]
    fn chunks_of_every_place_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a.zarr");
        write_v2(&folder);
        let volume = decode(&folder).unwrap();
        assert_eq!((volume.shape, volume.channels, volume.times), ([3, 5, 4], 2, 1));
        assert_eq!(volume.spacing_mm, Some([0.00025, 0.0005, 0.002]));
        let Samples::U16(values) = &volume.samples else { unreachable!() };
        for place in places(&[3, 5, 4, 2]) {
            let [z, y, x, c] = place[..] else { unreachable!() };
            let stored = if c == 1 && z >= 2 && y >= 3 { 9 } else { 60 * c + 20 * z + 4 * y + x };
            assert_eq!(usize::from(values[((z * 5 + y) * 4 + x) * 2 + c]), stored, "{place:?}");
        }
        // A chunk of another size is refused, and so is a path out of the folder.
        fs::write(folder.join("0/0/0/0/0"), [1, 2, 3]).unwrap();
        assert!(decode(&folder).unwrap_err().to_string().contains("3 bytes instead of 48"));
        let text = fs::read_to_string(folder.join(".zattrs")).unwrap();
        fs::write(folder.join(".zattrs"), text.replace("\"path\":\"0\"", "\"path\":\"../0\"")).unwrap();
        assert!(decode(&folder).unwrap_err().to_string().contains("leads out"));
    }

    #[test]
    fn version_3_in_gzip_with_a_checksum_is_read() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a.zarr");
        fs::create_dir_all(folder.join("s0/c/0")).unwrap();
        let group = serde_json::json!({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5",
            "multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "s0"}]}]}}});
        fs::write(folder.join("zarr.json"), group.to_string()).unwrap();
        let array = serde_json::json!({"zarr_format": 3, "node_type": "array", "shape": [2, 3], "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": 0.0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}, {"name": "crc32c"}]});
        fs::write(folder.join("s0/zarr.json"), array.to_string()).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        (0..6).for_each(|i| packed.write_all(&(i as f32 / 2.0).to_le_bytes()).unwrap());
        let mut bytes = packed.finish().unwrap();
        bytes.extend([0; 4]);
        fs::write(folder.join("s0/c/0/0"), bytes).unwrap();
        let volume = decode(&folder).unwrap();
        let Samples::F32(values) = &volume.samples else { unreachable!() };
        assert_eq!(
            (volume.shape, volume.spacing_mm, &values[..]),
            ([1, 2, 3], None, &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5][..])
        );
        let sharded = fs::read_to_string(folder.join("s0/zarr.json")).unwrap().replace("gzip", "sharding_indexed");
        fs::write(folder.join("s0/zarr.json"), sharded).unwrap();
        assert!(decode(&folder).unwrap_err().to_string().contains("sharding_indexed"));
    }
}
