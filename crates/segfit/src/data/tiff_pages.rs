//! The pages of a TIFF file: which of them are one stack, and where they lie.

use std::io::{Read, Seek};

use super::ome;
use super::raster::Note;
use super::tiff_directory::{
    BITS, CHANNELS, COMPRESSION, DESCRIPTION, Entry, HEIGHT, Order, PHOTOMETRIC, RESOLUTION_UNIT, SAMPLE_FORMAT,
    SUBFILE, WIDTH, X_RESOLUTION, Y_RESOLUTION, directory, part, size_of,
};

type Reason<T> = Result<T, String>;

/// Pages that are looked at; a file that claims more is refused.
const MAX_PAGES: usize = 100_000;
/// Entries of all directories together; a file can have directories that overlap, so that few bytes are many entries.
const MAX_ENTRIES: usize = 4_000_000;
/// Bytes of a description that are read.
const MAX_DESCRIPTION: u64 = 64 << 20;

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
    order: Order,
    first: u64,
    /// Entries that were looked at.
    entries: usize,
}

impl<'a, R: Read + Seek> Directory<'a, R> {
    fn open(file: &'a mut R) -> Reason<Self> {
        let head = part(file, 0, 16).ok_or("it cannot be read")?;
        let early = "it ends within its header";
        let order = Order::of(&head).ok_or(early)?;
        let first = head.get(order.pointer()..2 * order.pointer()).ok_or(early)?;
        Ok(Self { file, order, first: order.number(first), entries: 0 })
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
        let (entries, next) = directory(self.file, offset, self.order)?;
        self.entries += entries.len();
        let mut page =
            PageAt { offset, bits: 1, channels: 1, format: 1, compression: 1, resolution_unit: 2, ..PageAt::default() };
        page.photometric = BLACK_IS_ZERO;
        for entry in entries {
            let value = self.first_number(&entry);
            match entry.tag {
                SUBFILE => page.subfile = value,
                WIDTH => page.width = value,
                HEIGHT => page.height = value,
                BITS => page.bits = value,
                COMPRESSION => page.compression = value,
                PHOTOMETRIC => {
                    page.photometric = value;
                    page.photometric_at = Some(entry.at);
                }
                DESCRIPTION => page.description = Some((entry.place(), entry.count)),
                CHANNELS => page.channels = value,
                X_RESOLUTION => page.resolution_at[0] = Some(entry.place()),
                Y_RESOLUTION => page.resolution_at[1] = Some(entry.place()),
                RESOLUTION_UNIT => page.resolution_unit = value,
                SAMPLE_FORMAT => page.format = value,
                _ => {}
            }
        }
        Some((page, next))
    }

    /// The first number of a value; 0 when there is none, or it lies beyond the file's end.
    fn first_number(&mut self, entry: &Entry) -> u64 {
        let size = size_of(entry.kind) as usize;
        if entry.is_inline() {
            return if entry.count == 0 { 0 } else { self.order.number(&entry.field[..size]) };
        }
        let bytes = part(self.file, entry.place(), size).filter(|b| b.len() == size);
        bytes.map_or(0, |b| self.order.number(&b))
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
            let Some((over, under)) = bytes.split_at_checked(4).filter(|(_, under)| under.len() == 4) else { continue };
            let (over, under) = (self.order.number(over), self.order.number(under));
            if over > 0 && under > 0 {
                *found = Some(over as f64 / under as f64);
            }
        }
        Ok(found)
    }
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
