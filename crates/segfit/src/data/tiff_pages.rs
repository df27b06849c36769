//! The pages of a TIFF file: which of them are one stack, and where they lie.

use std::io::{Read, Seek, SeekFrom};

use super::ome;
use super::raster::Note;

type Reason<T> = Result<T, String>;

/// Pages that are looked at; a file that claims more is refused.
const MAX_PAGES: usize = 100_000;
/// Entries of all directories together; a file can have directories that overlap, so that few bytes are many entries.
const MAX_ENTRIES: usize = 4_000_000;
/// Bytes of a description that are read.
const MAX_DESCRIPTION: u64 = 64 << 20;

const WIDTH: u64 = 256;
const HEIGHT: u64 = 257;
const BITS: u64 = 258;
const COMPRESSION: u64 = 259;
const PHOTOMETRIC: u64 = 262;
const DESCRIPTION: u64 = 270;
const CHANNELS: u64 = 277;
const X_RESOLUTION: u64 = 282;
const Y_RESOLUTION: u64 = 283;
const RESOLUTION_UNIT: u64 = 296;
const SAMPLE_FORMAT: u64 = 339;
const SUBFILE: u64 = 254;

/// Black is zero: what the photometric tag says where it is missing.
const BLACK_IS_ZERO: u64 = 1;

/// One page's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageAt {
    /// Where the directory lies.
    pub offset: u64,
    pub width: u64,
    pub height: u64,
    pub bits: u64,
    pub channels: u64,
    pub format: u64,
    pub compression: u64,
    pub photometric: u64,
    /// Where the value of the photometric tag lies.
    pub photometric_at: Option<u64>,
    /// A reduced image (bit 0) or a mask (bit 2).
    subfile: u64,
    description: Option<(u64, u64)>,
    resolution_at: [Option<u64>; 2],
    resolution_unit: u64,
}

impl PageAt {
    /// Whether another page can be a slice of the same stack.
    fn fits(&self, other: &Self) -> bool {
        let kind = |p: &Self| (p.width, p.height, p.bits, p.channels, p.format, p.photometric);
        kind(self) == kind(other)
    }
}

/// Which pages of a file are slices, and of which channels.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// Slices, each the pages of its channels.
    pub slices: Vec<Vec<PageAt>>,
    /// Time points among the slices.
    pub times: usize,
    /// Distances along x, y and z.
    pub spacing_mm: Option<[f64; 3]>,
    /// Where the axes are from: `pages`, `OME-XML` or `ImageJ`.
    pub axes: &'static str,
    pub notes: Vec<Note>,
}

impl Stack {
    /// The stack in a file.
    ///
    /// # Errors
    /// When directories form a circle or end early, or what OME-XML says does not fit the pages.
    pub fn read(file: &mut (impl Read + Seek)) -> Reason<Self> {
        let mut directory = Directory::open(file)?;
        let all = directory.pages()?;
        let full: Vec<PageAt> = all.iter().filter(|p| p.subfile & 5 == 0).cloned().collect();
        let first = full.first().or(all.first()).ok_or("it holds no page")?.clone();
        let pages: Vec<PageAt> = full.iter().filter(|p| p.fits(&first)).cloned().collect();
        let pages = if pages.is_empty() { vec![first.clone()] } else { pages };
        let mut notes = Vec::new();
        if pages.len() < full.len() {
            notes.push(if pages.len() == 1 { Note::FirstPage } else { Note::PagesLeftOut });
        }
        let description = directory.text(first.description)?;
        let resolution = directory.resolution(&first)?;
        let pixel_mm = |axis: usize| match (first.resolution_unit, resolution[axis]) {
            (2, Some(n)) => Some(25.4 / n),
            (3, Some(n)) => Some(10.0 / n),
            _ => None,
        };
        let plain = |p: &PageAt| vec![p.clone()];
        if ome::is_ome(&description) {
            let axes = ome::axes(&description)?;
            let per_page = first.channels as usize;
            let (slices, left_out) = axes.slices(pages.len(), per_page)?;
            if left_out {
                notes.push(Note::PagesLeftOut);
            }
            let slices = slices.iter().map(|s| s.iter().map(|&i| pages[i].clone()).collect()).collect();
            return Ok(Self { slices, times: axes.times, spacing_mm: axes.spacing_mm, axes: "OME-XML", notes });
        }
        if let Some(axes) = ImageJ::parse(&description) {
            if axes.images > pages.len() && all.len() == 1 {
                notes.push(Note::FirstPage);
            }
            let mut spacing_mm = axes.spacing_mm(resolution);
            if spacing_mm.is_none() {
                spacing_mm = pixel_mm(0).zip(pixel_mm(1)).map(|(x, y)| [x, y, 1.0]);
            }
            let slices = axes.slices.saturating_mul(axes.times);
            if axes.channels > 1 && first.channels == 1 && pages.len() == axes.channels.saturating_mul(slices) {
                let slices = pages.chunks_exact(axes.channels).map(<[PageAt]>::to_vec).collect();
                return Ok(Self { slices, times: axes.times, spacing_mm, axes: "ImageJ", notes });
            }
            let times = if pages.len() == slices { axes.times } else { 1 };
            return Ok(Self { slices: pages.iter().map(plain).collect(), times, spacing_mm, axes: "ImageJ", notes });
        }
        let spacing_mm = pixel_mm(0).zip(pixel_mm(1)).map(|(x, y)| [x, y, 1.0]);
        Ok(Self { slices: pages.iter().map(plain).collect(), times: 1, spacing_mm, axes: "pages", notes })
    }
}

/// What ImageJ writes into the description.
#[derive(Debug, PartialEq)]
struct ImageJ {
    images: usize,
    channels: usize,
    slices: usize,
    times: usize,
    spacing: Option<f64>,
    unit: Option<f64>,
}

impl ImageJ {
    fn parse(description: &str) -> Option<Self> {
        description.starts_with("ImageJ=").then_some(())?;
        let field = |key: &str| {
            description.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim().to_string())
        };
        let count = |key| field(key).and_then(|v| v.parse::<usize>().ok()).filter(|n| *n > 0).unwrap_or(1);
        let unit = field("unit").and_then(|u| ome::millimetres(&u.replace("\\u00B5", "µ")));
        Some(Self {
            images: count("images"),
            channels: count("channels"),
            slices: count("slices"),
            times: count("frames"),
            spacing: field("spacing").and_then(|v| v.parse().ok()),
            unit,
        })
    }

    fn spacing_mm(&self, resolution: [Option<f64>; 2]) -> Option<[f64; 3]> {
        let (mm, x, y) = (self.unit?, resolution[0]?, resolution[1]?);
        Some([mm / x, mm / y, self.spacing.map_or(1.0, |z| z.abs() * mm)])
    }
}

/// A file whose directories are read.
struct Directory<'a, R> {
    file: &'a mut R,
    big_endian: bool,
    big_tiff: bool,
    first: u64,
    /// Entries that were looked at.
    entries: usize,
}

impl<'a, R: Read + Seek> Directory<'a, R> {
    fn open(file: &'a mut R) -> Reason<Self> {
        let head = part(file, 0, 16).ok_or("it cannot be read")?;
        let mut this = Self { file, big_endian: head.starts_with(b"MM"), big_tiff: false, first: 0, entries: 0 };
        let version = this.number(&head, 2, 2).ok_or("it ends within its header")?;
        this.big_tiff = version == 43;
        let first = if this.big_tiff { this.number(&head, 8, 8) } else { this.number(&head, 4, 4) };
        this.first = first.ok_or("it ends within its header")?;
        Ok(this)
    }

    fn number(&self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let field = bytes.get(at..at + size)?;
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if self.big_endian { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    }

    fn pages(&mut self) -> Reason<Vec<PageAt>> {
        let mut seen = std::collections::BTreeSet::new();
        let mut pages = Vec::new();
        let mut at = self.first;
        while at != 0 {
            if !seen.insert(at) {
                return Err("its pages form a circle".into());
            }
            if pages.len() == MAX_PAGES {
                return Err(format!("it claims more than {MAX_PAGES} pages"));
            }
            // A directory that ends too early: the decoder says so when the page is read, if it is the first.
            let Some((page, next)) = self.page(at) else { break };
            if self.entries > MAX_ENTRIES {
                return Err(format!("its directories have more than {MAX_ENTRIES} entries"));
            }
            pages.push(page);
            at = next;
        }
        Ok(pages)
    }

    fn page(&mut self, offset: u64) -> Option<(PageAt, u64)> {
        let (count_size, entry_size, value_at) = if self.big_tiff { (8, 20, 12) } else { (2, 12, 8) };
        let pointer = if self.big_tiff { 8 } else { 4 };
        let count = part(self.file, offset, count_size)?;
        let count = self.number(&count, 0, count_size)?.min(4096) as usize;
        let first = offset.checked_add(count_size as u64)?;
        let directory = part(self.file, first, count * entry_size + pointer)?;
        self.entries += count;
        let mut page =
            PageAt { offset, bits: 1, channels: 1, format: 1, compression: 1, resolution_unit: 2, ..PageAt::default() };
        page.photometric = BLACK_IS_ZERO;
        for (i, entry) in directory[..(count * entry_size).min(directory.len())].chunks_exact(entry_size).enumerate() {
            let kind = self.number(entry, 2, 2)?;
            let size =
                [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8].get(kind as usize).copied().unwrap_or(0);
            let n = self.number(entry, 4, value_at - 4)?;
            let at = first + (i * entry_size + value_at) as u64;
            let inline = n.saturating_mul(size) <= pointer as u64;
            let place = if inline { at } else { self.number(entry, value_at, pointer)? };
            let value = if inline && size > 0 {
                self.number(entry, value_at, size as usize)?
            } else {
                // The first of several values that lie elsewhere.
                part(self.file, place, size as usize).and_then(|b| self.number(&b, 0, size as usize)).unwrap_or(0)
            };
            match self.number(entry, 0, 2)? {
                SUBFILE => page.subfile = value,
                WIDTH => page.width = value,
                HEIGHT => page.height = value,
                BITS => page.bits = value,
                COMPRESSION => page.compression = value,
                PHOTOMETRIC => {
                    page.photometric = value;
                    page.photometric_at = Some(at);
                }
                DESCRIPTION => page.description = Some((place, n)),
                CHANNELS => page.channels = value,
                X_RESOLUTION => page.resolution_at[0] = Some(place),
                Y_RESOLUTION => page.resolution_at[1] = Some(place),
                RESOLUTION_UNIT => page.resolution_unit = value,
                SAMPLE_FORMAT => page.format = value,
                _ => {}
            }
        }
        // The pointer to the next page may be missing at the end of a file.
        Some((page, self.number(&directory, count * entry_size, pointer).unwrap_or(0)))
    }

    fn text(&mut self, place: Option<(u64, u64)>) -> Reason<String> {
        let Some((at, n)) = place else { return Ok(String::new()) };
        if n > MAX_DESCRIPTION {
            return Err(format!("its description claims {n} bytes; the limit is {MAX_DESCRIPTION}"));
        }
        let bytes = part(self.file, at, n as usize).unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string())
    }

    /// Pixels per unit along x and y.
    fn resolution(&mut self, page: &PageAt) -> Reason<[Option<f64>; 2]> {
        let mut found = [None; 2];
        for (found, at) in found.iter_mut().zip(page.resolution_at) {
            let Some(bytes) = at.and_then(|at| part(self.file, at, 8)) else { continue };
            let (Some(over), Some(under)) = (self.number(&bytes, 0, 4), self.number(&bytes, 4, 4)) else { continue };
            if over > 0 && under > 0 {
                *found = Some(over as f64 / under as f64);
            }
        }
        Ok(found)
    }
}

/// Up to `length` bytes from `at`.
pub(crate) fn part(file: &mut (impl Read + Seek), at: u64, length: usize) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_overlap_are_not_read_for_ever() {
        // Every entry of 12 bytes is the start of another directory of 4096 entries, whose pointer is its own last 4 bytes.
        let mut file = b"II\x2a\0\x08\0\0\0".to_vec();
        file.resize(200_000, 0);
        for i in 0..3000 {
            let at = 8 + 32 * i;
            file[at..at + 2].copy_from_slice(&4096u16.to_le_bytes());
            let next = at + 2 + 4096 * 12;
            file[next..next + 4].copy_from_slice(&(at as u32 + 32).to_le_bytes());
        }
        let error = Stack::read(&mut std::io::Cursor::new(&file)).unwrap_err();
        assert!(error.contains("entries"), "{error}");
    }

    #[test]
    fn image_j_says_what_the_pages_are() {
        let text =
            "ImageJ=1.53t\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\nunit=micron\nspacing=2.5\n";
        let axes = ImageJ::parse(text).unwrap();
        assert_eq!((axes.channels, axes.slices, axes.times, axes.images), (2, 3, 2, 12));
        assert_eq!(axes.spacing_mm([Some(4.0), Some(2.0)]), Some([0.000_25, 0.0005, 0.0025]));
        assert_eq!(ImageJ::parse("a stack"), None);
    }
}
