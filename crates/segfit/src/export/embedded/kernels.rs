//! The kernels' text, in sections that name what they need.

use std::collections::BTreeSet;

/// A section: `//# name needs other other`, then its text.
struct Section<'a> {
    name: &'a str,
    needs: Vec<&'a str>,
    text: &'a str,
}

pub const FLOAT_C: &str = include_str!("kernels/float.c");
pub const FLOAT_RUST: &str = include_str!("kernels/float.rs");
pub const INT8_C: &str = include_str!("kernels/int8.c");
pub const INT8_RUST: &str = include_str!("kernels/int8.rs");

const MARK: &str = "//# ";

fn sections(text: &str) -> Vec<Section<'_>> {
    let parts = text.split(MARK).skip(1);
    let section = |part| {
        let (head, text) = str::split_once(part, '\n').unwrap_or((part, ""));
        let mut words = head.split(' ');
        Section { name: words.next().unwrap_or(""), needs: words.skip(1).collect(), text: text.trim_end() }
    };
    parts.map(section).collect()
}

/// The sections called `wanted` and all that they need, in the order of the file.
///
/// # Panics
/// When a section is missing: a bug of a program.
pub fn select(text: &str, wanted: &BTreeSet<&str>) -> String {
    let sections = sections(text);
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = wanted.iter().copied().collect();
    while let Some(name) = open.pop() {
        let section = sections.iter().find(|s| s.name == name);
        let section = section.unwrap_or_else(|| panic!("no kernel is called {name}"));
        if needed.insert(section.name) {
            open.extend(&section.needs);
        }
    }
    let texts: Vec<&str> = sections.iter().filter(|s| needed.contains(s.name)).map(|s| s.text).collect();
    texts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let text = "//# a\nA\n\n//# b needs a\nB\n\n//# c needs b a\nC\n\n//# d\nD\n";
        assert_eq!(select(text, &["c"].into()), "A\n\nB\n\nC");
        assert_eq!(select(text, &["d", "a"].into()), "A\n\nD");
    }

    #[test]
    fn both_languages_have_the_same_kernels() {
        // Those that only one of the languages has are parts of others.
        let parts = ["each", "exp", "sqrt", "window", "range", "types", "relu", "leaky_relu"];
        let names = |text| -> Vec<&str> {
            sections(text)
                .iter()
                .map(|s| s.name)
                .filter(|n| !parts.contains(n))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        };
        assert_eq!(names(FLOAT_C), names(FLOAT_RUST));
        assert_eq!(names(INT8_C), names(INT8_RUST));
    }
}
