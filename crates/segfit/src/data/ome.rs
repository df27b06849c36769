//! What OME-XML says of the pages of a TIFF file (<https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/>).

type Reason<T> = Result<T, String>;

/// Whether a description is OME-XML.
pub(crate) fn is_ome(description: &str) -> bool {
    let start = description.get(..description.len().min(4096)).unwrap_or(description);
    description.trim_end().ends_with("OME>") && start.contains("<OME")
}

/// Axes of the first image.
#[derive(Debug, PartialEq)]
pub(crate) struct Axes {
    /// Of X, Y, Z, C and T, from the fastest.
    order: Vec<char>,
    pub slices: usize,
    pub channels: usize,
    pub times: usize,
    /// Distances along x, y and z.
    pub spacing_mm: Option<[f64; 3]>,
    /// Page, and the first channel, slice and time point that it holds.
    placed: Vec<(usize, [usize; 3])>,
}

/// The axes that OME-XML gives its first image.
///
/// # Errors
/// When the text is damaged, lacks a size, or says that pages lie in other files.
pub(crate) fn axes(description: &str) -> Reason<Axes> {
    let text = description.trim();
    let document = roxmltree::Document::parse(text).map_err(|e| format!("its OME-XML is damaged: {e}"))?;
    let pixels = document.descendants().find(|n| n.has_tag_name_without_namespace("Pixels"));
    let pixels = pixels.ok_or("its OME-XML describes no pixels")?;
    let size = |name: &str| -> Reason<usize> {
        let value = pixels.attribute(name).ok_or_else(|| format!("its OME-XML lacks {name}"))?;
        value.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("its OME-XML gives {name} as {value}"))
    };
    let order: Vec<char> = pixels.attribute("DimensionOrder").unwrap_or("XYCZT").chars().skip(2).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != ['C', 'T', 'Z'] {
        return Err(format!("its OME-XML orders pages by {}", order.iter().collect::<String>()));
    }
    let (slices, channels, times) = (size("SizeZ")?, size("SizeC")?, size("SizeT")?);
    let mut placed = Vec::new();
    for data in pixels.children().filter(|n| n.has_tag_name_without_namespace("TiffData")) {
        let number = |name: &str| data.attribute(name).and_then(|v| v.parse::<usize>().ok());
        let first = ["FirstC", "FirstZ", "FirstT"].map(|n| number(n).unwrap_or(0));
        if let (Some(page), 1) = (number("IFD"), number("PlaneCount").unwrap_or(1)) {
            placed.push((page, first));
        }
    }
    let files: std::collections::BTreeSet<&str> = pixels
        .descendants()
        .filter(|n| n.has_tag_name_without_namespace("UUID"))
        .filter_map(|n| n.attribute("FileName"))
        .collect();
    if files.len() > 1 {
        return Err(format!("its OME-XML spreads its pages over {} files: save the image as one file", files.len()));
    }
    let distance = |axis: &str| {
        let value: f64 = pixels.attribute(format!("PhysicalSize{axis}").as_str())?.parse().ok()?;
        let unit = pixels.attribute(format!("PhysicalSize{axis}Unit").as_str()).unwrap_or("µm");
        millimetres(unit).map(|mm| value * mm).filter(|v| v.is_finite() && *v > 0.0)
    };
    let spacing_mm = distance("X").zip(distance("Y")).map(|(x, y)| [x, y, distance("Z").unwrap_or(1.0)]);
    Ok(Axes { order, slices, channels, times, spacing_mm, placed })
}

impl Axes {
    /// The pages of every slice, channel by channel; time points follow each other. Also whether pages are left over.
    ///
    /// # Errors
    /// When there are fewer pages than planes.
    pub fn slices(&self, pages: usize, per_page: usize) -> Reason<(Vec<Vec<usize>>, bool)> {
        let channels = if per_page > 1 { self.channels.div_ceil(per_page) } else { self.channels };
        let sizes = |axis: char| match axis {
            'Z' => self.slices,
            'C' => channels,
            _ => self.times,
        };
        let planes = [channels, self.slices, self.times].iter().try_fold(1usize, |n, &m| n.checked_mul(m));
        if planes.is_none_or(|n| n > pages) {
            return Err(format!(
                "its OME-XML claims {} channel(s), {} slice(s) and {} time point(s), but it has {pages} page(s) of that \
                 kind: the others may lie in other files, or the file is cut short",
                self.channels, self.slices, self.times
            ));
        }
        let planes = planes.unwrap_or(0);
        let explicit = |c: usize, z: usize, t: usize| {
            self.placed.iter().find(|(_, first)| *first == [c * per_page.max(1), z, t]).map(|(page, _)| *page)
        };
        let by_order = |c: usize, z: usize, t: usize| {
            let at = |axis: char| match axis {
                'Z' => z,
                'C' => c,
                _ => t,
            };
            self.order.iter().rev().fold(0, |n, &axis| n * sizes(axis) + at(axis))
        };
        let use_placed = self.placed.len() == planes;
        let mut all = Vec::new();
        for t in 0..self.times {
            for z in 0..self.slices {
                let page = |c| {
                    let page = if use_placed { explicit(c, z, t) } else { None };
                    let page = page.unwrap_or_else(|| by_order(c, z, t));
                    if page < pages { Ok(page) } else { Err(format!("its OME-XML names page {page} of {pages}")) }
                };
                all.push((0..channels).map(page).collect::<Reason<Vec<usize>>>()?);
            }
        }
        Ok((all, planes < pages))
    }
}

/// Millimetres of a unit, by the names that OME and ImageJ give it.
pub(crate) fn millimetres(unit: &str) -> Option<f64> {
    Some(match unit.trim() {
        "m" => 1000.0,
        "cm" => 10.0,
        "mm" => 1.0,
        "µm" | "μm" | "um" | "micron" | "microns" => 1e-3,
        "nm" => 1e-6,
        "Å" => 1e-7,
        "inch" | "in" => 25.4,
        _ => return None,
    })
}

trait WithoutNamespace {
    fn has_tag_name_without_namespace(&self, name: &str) -> bool;
}

impl WithoutNamespace for roxmltree::Node<'_, '_> {
    fn has_tag_name_without_namespace(&self, name: &str) -> bool {
        self.tag_name().name() == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(order: &str, data: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\"><Image><Pixels \
             DimensionOrder=\"{order}\" SizeX=\"9\" SizeY=\"8\" SizeZ=\"2\" SizeC=\"3\" SizeT=\"1\" \
             PhysicalSizeX=\"0.5\" PhysicalSizeY=\"0.25\" PhysicalSizeZ=\"2\">{data}</Pixels></Image></OME>"
        )
    }

    #[test]
    fn pages_are_put_in_the_order_of_the_axes() {
        let slices = |order: &str| axes(&text(order, "")).unwrap().slices(6, 1).unwrap().0;
        assert_eq!(slices("XYCZT"), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(slices("XYZCT"), [[0, 2, 4], [1, 3, 5]]);
        let data: String = (0..6)
            .map(|i| format!("<TiffData IFD=\"{}\" FirstC=\"{}\" FirstZ=\"{}\"/>", 5 - i, i % 3, i / 3))
            .collect();
        let a = axes(&text("XYCZT", &data)).unwrap();
        assert_eq!(a.slices(6, 1).unwrap(), (vec![vec![5, 4, 3], vec![2, 1, 0]], false));
        assert_eq!(a.spacing_mm, Some([0.0005, 0.00025, 0.002]));
        assert_eq!(axes(&text("XYCZT", "")).unwrap().slices(3, 3).unwrap(), (vec![vec![0], vec![1]], true));
    }

    #[test]
    fn contradictions_are_told() {
        assert!(axes(&text("XYCZT", "")).unwrap().slices(5, 1).unwrap_err().contains("5 page(s)"));
        assert!(axes(&text("XYCCT", "")).unwrap_err().contains("CCT"));
        assert!(axes("<OME><Pixels></OME>").unwrap_err().contains("damaged"));
        assert!(axes("<OME><Image/></OME>").unwrap_err().contains("no pixels"));
        let two = "<TiffData><UUID FileName=\"a.tif\"/></TiffData><TiffData><UUID FileName=\"b.tif\"/></TiffData>";
        assert!(axes(&text("XYCZT", two)).unwrap_err().contains("2 files"));
        assert!(axes("<!DOCTYPE a [<!ENTITY b \"b\">]><OME>&b;</OME>").is_err(), "no entities");
        assert!(is_ome(&text("XYCZT", "")) && !is_ome("ImageJ=1"));
    }
}
