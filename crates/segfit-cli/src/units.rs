//! Numbers as people read them.

pub use segfit::numbers::{thousands as count, three_digits};

/// Three digits and a decimal unit: `31.0 M`, `122 k`, `998`.
pub fn short(n: u64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " G", " T"])
}

/// Three digits and a binary unit: `4.00 MiB`, `512 KiB`, `40 B`.
pub fn bytes(n: u64) -> String {
    scaled(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(n: u64, base: f64, units: &[&str]) -> String {
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    if unit == 0 { format!("{n}{}", units[0]) } else { format!("{}{}", three_digits(value), units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_units() {
        assert_eq!(short(122_586), "123 k");
        assert_eq!(short(999), "999");
        assert_eq!(short(999_999), "1.00 M");
        assert_eq!(bytes(4 << 20), "4.00 MiB");
        assert_eq!(bytes(1000), "0.977 KiB");
    }
}
