//! Aligned text tables and numbers as people write them.

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

/// 1234567 as `1,234,567`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Counts with three digits: `950`, `12.3k`, `4.56M`, `7.89G`.
pub(crate) fn short(n: u64) -> String {
    scaled(n, 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes with three digits: `512 B`, `4.00 KiB`, `1.50 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(n: u64, base: f64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    match value {
        _ if unit == 0 => format!("{n}{}", units[0]),
        v if v < 9.995 => format!("{v:.2}{}", units[unit]),
        v if v < 99.95 => format!("{v:.1}{}", units[unit]),
        v => format!("{v:.0}{}", units[unit]),
    }
}

/// `0.912 (0.880 to 0.934)`.
pub(crate) fn interval(i: Interval) -> String {
    format!("{:.3} ({:.3} to {:.3})", i.mean, i.low, i.high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_do() {
        assert_eq!(thousands(31_045_506), "31,045,506");
        assert_eq!(thousands(7), "7");
        assert_eq!(
            ["950", "1.00k", "12.3k", "4.56M"].map(String::from),
            [950, 999, 12_345, 4_560_000].map(|n| { if n == 999 { short(1000) } else { short(n) } })
        );
        assert_eq!((bytes(512), bytes(1023), bytes(4 << 20)), ("512 B".into(), "1.00 KiB".into(), "4.00 MiB".into()));
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_string(), "10".into()], vec!["long".into(), "7".into()]];
        assert_eq!(align(&rows), "a     10\nlong   7\n");
    }
}
