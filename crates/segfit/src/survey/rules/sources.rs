//! Test images from a source that was learnt from.

use std::collections::BTreeSet;

use super::Looked;
use crate::survey::facts::Facts;
use crate::survey::warning::{Warning, WarningKind};

/// Test images whose source also has training or validation images.
pub(super) fn shared(looked: &Looked<'_>) -> Vec<Warning> {
    let source = |f: &Facts| looked.dataset.pairs[f.index].source.as_str();
    let learnt: BTreeSet<&str> = looked.facts.iter().filter(|f| !looked.is_test(f)).map(source).collect();
    let tests: Vec<&Facts> = looked.facts.iter().filter(|f| looked.is_test(f) && learnt.contains(source(f))).collect();
    let Some(first) = tests.first() else { return vec![] };
    let sources = tests.iter().map(|f| source(f)).collect::<BTreeSet<_>>().len();
    let words = format!(
        "{} from {} that training or validation images come from too, for example {}. Images of one source are alike, so \
         that the test says little about new ones: divide whole sources in split.csv.",
        if tests.len() == 1 { "1 test image comes".into() } else { format!("{} test images come", tests.len()) },
        if sources == 1 { "a source".into() } else { format!("{sources} sources") },
        source(first),
    );
    vec![Warning::new(WarningKind::SharedSources, words, looked.names(tests))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::testing::{clean, folder, only_warning, standard, warned};

    #[test]
    fn a_source_on_both_sides_is_told_and_own_sources_are_not() {
        let dir = folder(
            48,
            |i| format!("{},{}", standard(i), if i % 20 == 1 { "film".into() } else { i.to_string() }),
            |_, _| {},
        );
        let warning = only_warning(&dir, WarningKind::SharedSources);
        assert_eq!(warning.images, ["41"]);
        assert!(warning.words.contains("1 test image comes from a source") && warning.words.contains("film"));
        assert_eq!(warned(&clean(), WarningKind::SharedSources), []);
    }
}
