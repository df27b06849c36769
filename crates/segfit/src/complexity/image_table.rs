//! Every measure of every image: the table that a profile summarises.

use std::io::Write;
use std::path::Path;

use super::probe::PROBE_DICE;
use super::published::J;
use super::{MEASURES, Measure, Pyramid, name_at_scale};
use crate::error::Result;
use crate::files::write_atomically_with;

/// A measure at one of its scales.
#[derive(Debug)]
pub(super) struct Column {
    pub name: String,
    pub measure: &'static Measure,
    pub scale: usize,
}

/// The measures at all their scales, in the order of a profile.
pub(super) fn columns() -> Vec<Column> {
    let scales = |m: &'static Measure| (m.first_scale..=m.last_scale).map(move |s| (m, s));
    MEASURES
        .iter()
        .flat_map(scales)
        .map(|(measure, scale)| Column { name: name_at_scale(measure.name, scale), measure, scale })
        .collect()
}

/// The value of every column for one sample; NaN where it is not defined.
pub(super) fn values(pyramid: &Pyramid, columns: &[Column]) -> Vec<f64> {
    columns.iter().map(|c| (c.measure.compute)(pyramid, c.scale).unwrap_or(f64::NAN)).collect()
}

/// `None` for the NaN that stands for an undefined value.
pub(super) fn defined(value: f64) -> Option<f64> {
    Some(value).filter(|v| !v.is_nan())
}

/// The values of one image, or of one tile.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub name: String,
    pub source: String,
    /// One value per column; NaN where it is not defined.
    pub values: Vec<f64>,
    /// Published complexity of the whole image, on the first of its tiles; NaN elsewhere.
    pub j: f64,
    /// Dice of the ridge probe; NaN for images that took no part.
    pub probe: f64,
}

/// The values of all images of a profile, by name: about 1 KB for each.
#[derive(Debug)]
pub struct ImageTable {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
}

impl ImageTable {
    /// Number of rows: images, or tiles for patches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table as CSV (RFC 4180), atomically.
    ///
    /// The columns are `name`, `source`, `j`, then every measure at every scale as a profile names them, and
    /// `probe_dice`. Rows are sorted by name. Numbers are the shortest that come back as the same bits; a field is
    /// empty where the measure is not defined for the image. `j` belongs to the whole image and stands in the row of
    /// its first tile.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        write_atomically_with(path, |out| self.csv(out))
    }

    fn csv(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        let names = self.columns.iter().map(|c| c.name.as_str());
        writer.write_record(["name", "source", J].into_iter().chain(names).chain([PROBE_DICE])).map_err(io)?;
        let text = |v: f64| defined(v).map_or_else(String::new, |v| v.to_string());
        for row in &self.rows {
            let numbers = [row.j].into_iter().chain(row.values.iter().copied()).chain([row.probe]);
            let cells = [row.name.clone(), row.source.clone()].into_iter().chain(numbers.map(text));
            writer.write_record(cells).map_err(io)?;
        }
        writer.flush()
    }
}

/// The system's error with its kind, which says whether the disk is full.
fn io(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for one piece of a file.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_is_full_in_the_middle_of_a_table_is_told_as_such() {
        let row = |i| Row { name: format!("{i}"), source: "s".repeat(9000), values: vec![], j: 1.0, probe: 1.0 };
        let table = ImageTable { columns: vec![], rows: (0..9).map(row).collect() };
        assert_eq!(table.csv(&mut Full(1)).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_table_with_difficult_names_comes_back_from_its_csv() {
        let names = ["plain", "a,b", "say \"so\"", "two\nlines", " spaces ", "größe"];
        let columns: Vec<Column> = columns().into_iter().take(2).collect();
        let row = |(i, name): (usize, &&str)| Row {
            name: (*name).into(),
            source: format!("{name};s"),
            values: vec![if i == 1 { f64::NAN } else { 0.1 + i as f64 }, 1.0 / 3.0],
            j: f64::NAN,
            probe: 1e-9,
        };
        let table = ImageTable { columns, rows: names.iter().enumerate().map(row).collect() };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        table.write_csv(&path).unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        assert_eq!(reader.headers().unwrap(), vec!["name", "source", "j", "jpeg", "jpeg@1/2", "probe_dice"]);
        let back: Vec<csv::StringRecord> = reader.records().map(|record| record.unwrap()).collect();
        assert_eq!((back.len(), table.len(), table.is_empty()), (6, 6, false));
        for (record, row) in back.iter().zip(&table.rows) {
            assert_eq!((&record[0], &record[1], &record[2]), (row.name.as_str(), row.source.as_str(), ""));
            assert_eq!(record[3].parse().ok(), defined(row.values[0]));
            assert_eq!((record[4].parse(), record[5].parse()), (Ok(1.0 / 3.0), Ok(1e-9)));
        }
    }
}
