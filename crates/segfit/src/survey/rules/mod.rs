//! The rules: each reads the facts of all pairs and says what looks wrong, or nothing.

mod copies;
mod few;
mod inverted;
mod masks;
mod noise;
mod pictures;
mod sources;
mod unbalanced;

use super::ClassShare;
use super::facts::Facts;
use super::warning::Warning;
use crate::data::{Dataset, Split};
use crate::recipe::InputSpec;

/// All that the rules may look at.
pub(super) struct Looked<'a> {
    pub dataset: &'a Dataset,
    /// One per pair, in the order of the pairs.
    pub facts: &'a [Facts],
    pub classes: &'a [ClassShare],
    pub input: &'a InputSpec,
}

impl Looked<'_> {
    fn name(&self, facts: &Facts) -> String {
        self.dataset.pairs[facts.index].name.clone()
    }

    fn names<'f>(&self, facts: impl IntoIterator<Item = &'f Facts>) -> Vec<String> {
        facts.into_iter().map(|f| self.name(f)).collect()
    }

    fn split(&self, facts: &Facts) -> Split {
        self.dataset.pairs[facts.index].split
    }

    fn is_test(&self, facts: &Facts) -> bool {
        self.split(facts) == Split::Test
    }

    fn has_mask(&self, facts: &Facts) -> bool {
        self.dataset.pairs[facts.index].mask.is_some()
    }

    /// The pairs whose mask is a file.
    fn masked(&self) -> impl Iterator<Item = &Facts> {
        self.facts.iter().filter(|f| self.has_mask(f))
    }
}

/// What a rule finds.
type Rule = fn(&Looked<'_>) -> Vec<Warning>;

/// All rules, those whose finding spoils most first.
const RULES: &[Rule] = &[
    copies::leakage,
    sources::shared,
    copies::contradictions,
    copies::duplicates,
    inverted::inverted,
    noise::noisy,
    masks::equal,
    masks::empty,
    masks::full,
    masks::missing,
    pictures::constant,
    unbalanced::unbalanced,
    few::training,
    few::test,
    pictures::sizes,
];

/// What all rules find.
pub(super) fn warnings(looked: &Looked<'_>) -> Vec<Warning> {
    RULES.iter().flat_map(|rule| rule(looked)).collect()
}
