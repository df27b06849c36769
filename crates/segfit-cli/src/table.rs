//! Tables for people: columns as wide as their widest cell.

/// A table that is written with a header line and two spaces between columns.
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Align {
    Left,
    Right,
}

impl Table {
    /// A table with these columns; a name that begins with `<` makes its column left-aligned, others are right-aligned.
    pub fn new(columns: &[&str]) -> Self {
        let align = columns.iter().map(|c| if c.starts_with('<') { Align::Left } else { Align::Right }).collect();
        let header = columns.iter().map(|c| c.trim_start_matches('<').to_string()).collect();
        Self { align, rows: vec![header] }
    }

    /// Adds a row, with one cell for every column.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.align.len());
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = |cell: &String| cell.chars().count();
        let widths: Vec<usize> =
            (0..self.align.len()).map(|i| self.rows.iter().map(|r| length(&r[i])).max().unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), align) in row.iter().zip(&widths).zip(&self.align) {
                let gap = " ".repeat(width - length(cell));
                let (before, after) = if *align == Align::Left { ("", gap.as_str()) } else { (gap.as_str(), "") };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["<name", "n"]);
        table.row(vec!["a".into(), "1000".into()]);
        table.row(vec!["longer".into(), "2".into()]);
        assert_eq!(table.to_string(), "name       n\na       1000\nlonger     2\n");
    }
}
