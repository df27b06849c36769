//! Aligned text tables.

use super::interval::Interval;

/// Columns aligned to the right, except the first; two spaces between.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cell = |(c, s): (usize, &String)| {
            if c == 0 { format!("{s:<0$}", widths[c]) } else { format!("{s:>0$}", widths[c]) }
        };
        let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `0.912 (0.880 to 0.934)`.
pub(crate) fn interval(i: Interval) -> String {
    format!("{:.3} ({:.3} to {:.3})", i.mean, i.low, i.high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_string(), "10".into()], vec!["long".into(), "7".into()]];
        assert_eq!(align(&rows), "a     10\nlong   7\n");
    }
}
