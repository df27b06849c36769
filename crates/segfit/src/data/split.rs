//! Which images train, which choose, which test. Deterministic: names decide, not order or chance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::dataset::{Options, Pair};
use super::layout::Item;
use super::read::read_bytes;
use crate::error::{Error, Result};

/// The use of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Weights are fitted to it and complexity is measured on it.
    Train,
    /// Choices are made on it.
    Validation,
    /// Only results are measured on it.
    Test,
}

impl Split {
    /// The meaning of a word of `split.csv`: `test...` tests, `val...` validates, `train...` and `fold...` train. Others have none: a
    /// misspelled `test` must not train.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase();
        let begins = |starts: &[&str]| starts.iter().any(|start| word.starts_with(start));
        match () {
            () if begins(&["test"]) => Some(Self::Test),
            () if begins(&["val"]) => Some(Self::Validation),
            () if begins(&["train", "fold"]) => Some(Self::Train),
            () => None,
        }
    }
}

/// One row of `split.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub split: Option<Split>,
    pub source: Option<String>,
}

/// Reads `split.csv`: column `file`, and `split`, `source` or both. Files are matched by stem.
pub(crate) fn read_csv(path: &Path) -> Result<BTreeMap<String, Row>> {
    const TABLE: &str = "a table with the columns file,split,source";
    let content = |expected: &str, got: String| Error::Content {
        path: path.into(),
        expected: expected.into(),
        got,
        hint: "the first line of split.csv is `file,split,source`; each following line describes one image".into(),
    };
    let unreadable = |e: csv::Error| content(TABLE, e.to_string());
    let bytes = read_bytes(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.trim_ascii().is_empty() {
        return Err(content(TABLE, "an empty file".into()));
    }
    if bytes.contains(&0) {
        return Err(content(TABLE, "bytes that are no text in UTF-8: a spreadsheet must be saved as CSV".into()));
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(unreadable)?.clone();
    let column = |name: &str| header.iter().position(|h| h.eq_ignore_ascii_case(name));
    let found = format!("the columns {}", header.iter().collect::<Vec<_>>().join(","));
    let (file, split, source) = (column("file"), column("split"), column("source"));
    let file = match file {
        Some(file) if split.is_some() || source.is_some() => file,
        _ => return Err(content("the columns file,split,source", found)),
    };
    let mut rows = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let field = |i: Option<usize>| i.and_then(|i| record.get(i)).filter(|v| !v.is_empty());
        let name = field(Some(file)).ok_or_else(|| content("a file name in each line", "an empty one".into()))?;
        let unknown = |word| content("train, validation or test as the split", format!("{word} for {name}"));
        let row = Row {
            split: field(split).map(|word| Split::from_word(word).ok_or_else(|| unknown(word))).transpose()?,
            source: field(source).map(|s| s.split('#').next().unwrap_or(s).to_string()),
        };
        if rows.insert(stem(name), row).is_some() {
            return Err(content("each file once", format!("{name} twice")));
        }
    }
    Ok(rows)
}

/// The name of a file without its folder and extension, of which `.nii.gz`, `.ome.tif` and `.ome.zarr` are one.
#[must_use]
pub fn stem(name: &str) -> String {
    let stem =
        |name: &str| Path::new(name).file_stem().map_or_else(|| name.to_string(), |s| s.to_string_lossy().into());
    let (lower, first) = (name.to_ascii_lowercase(), stem(name));
    let is_double = [".nii.gz", ".ome.tif", ".ome.tiff", ".ome.zarr"].iter().any(|e| lower.ends_with(e));
    if is_double { stem(&first) } else { first }
}

/// Chooses whole groups so that about `share` of all members are in: groups in the order of the BLAKE3 hash of
/// `purpose` and their name, each taken when that brings the number closer to the aim; at least one group, never all.
/// Returns whether each member is in; nobody is when there are fewer than two groups.
pub(crate) fn choose_groups(groups: &[&str], share: f64, purpose: &str) -> Vec<bool> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for g in groups {
        *sizes.entry(g).or_insert(0) += 1;
    }
    let mut order: Vec<(blake3::Hash, &str, usize)> =
        sizes.iter().map(|(g, n)| (blake3::hash(format!("{purpose}\n{g}").as_bytes()), *g, *n)).collect();
    order.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let aim = share * groups.len() as f64;
    let mut chosen = std::collections::BTreeSet::new();
    let mut members = 0usize;
    for (_, group, n) in &order {
        let closer = ((members + n) as f64 - aim).abs() < (members as f64 - aim).abs();
        if closer && chosen.len() + 1 < order.len() {
            chosen.insert(*group);
            members += n;
        }
    }
    if chosen.is_empty() && order.len() > 1 && share > 0.0 {
        chosen.extend(order.iter().min_by_key(|(_, _, n)| *n).map(|(_, g, _)| *g));
    }
    groups.iter().map(|g| chosen.contains(g)).collect()
}

/// Gives every image its source and its use.
///
/// `split.csv` comes first, then the layout's own word (nnU-Net's `imagesTs`), then the hash of the sources' names. Validation is carved from
/// training when nothing names it.
pub(crate) fn assign(
    options: &Options,
    items: Vec<Item>,
    folder: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<Pair>> {
    let csv = folder.join("split.csv");
    let rows = if csv.symlink_metadata().is_ok() { Some(read_csv(&csv)?) } else { None };
    let mut splits: Vec<Option<Split>> = Vec::new();
    let mut sources: Vec<String> = Vec::new();
    for item in &items {
        let row = match &rows {
            Some(rows) => {
                let row = rows.get(&item.name).or(item.volume.as_ref().and_then(|v| rows.get(v)));
                Some(row.ok_or_else(|| missing_row(&csv, &item.name))?)
            }
            None => None,
        };
        splits.push(row.and_then(|r| r.split).or(item.split));
        let own = item.volume.as_ref().unwrap_or(&item.name);
        sources.push(row.and_then(|r| r.source.clone()).unwrap_or_else(|| own.clone()));
    }
    check_volumes(&csv, &items, &splits)?;
    let named: BTreeSet<&str> =
        items.iter().flat_map(|i| [Some(&i.name), i.volume.as_ref()]).flatten().map(String::as_str).collect();
    if let Some(unused) = rows.iter().flatten().map(|(n, _)| n).find(|n| !named.contains(n.as_str())) {
        warnings.push(format!("{} names images that are not there, for example {unused}", csv.display()));
    }
    let validation_named = splits.contains(&Some(Split::Validation));
    if splits.iter().all(Option::is_none) {
        carve(&mut splits, &sources, None, Split::Test, options.test_share);
    }
    splits.iter_mut().for_each(|s| *s = s.or(Some(Split::Train)));
    if !validation_named {
        carve(&mut splits, &sources, Some(Split::Train), Split::Validation, options.validation_share);
    }
    let count = |split| splits.iter().filter(|s| **s == Some(split)).count();
    if count(Split::Train) == 0 {
        return Err(Error::Dataset {
            path: options.root.clone(),
            reason: format!("none of its {} images is for training", items.len()),
            hint: "mark some images as train in split.csv".into(),
        });
    }
    if count(Split::Validation) == 0 && options.validation_share > 0.0 {
        warnings.push("all training images have one source: there are no validation images".into());
    }
    let pairs = items.into_iter().zip(splits).zip(sources).map(|((item, split), source)| {
        let mut images = item.images.into_iter();
        Pair {
            name: item.name,
            image: images.next().unwrap_or_default(),
            more_channels: images.collect(),
            mask: item.mask,
            slice: item.slice,
            split: split.unwrap_or(Split::Train),
            source,
        }
    });
    Ok(pairs.collect())
}

/// Fails when slices of one volume are given different uses.
fn check_volumes(csv: &Path, items: &[Item], splits: &[Option<Split>]) -> Result<()> {
    let mut uses: BTreeMap<&str, Option<Split>> = BTreeMap::new();
    for (item, split) in items.iter().zip(splits) {
        let (Some(volume), Some(_)) = (&item.volume, item.slice) else { continue };
        if *uses.entry(volume).or_insert(*split) != *split {
            return Err(Error::Content {
                path: csv.into(),
                expected: format!("one use for all slices of {volume}"),
                got: format!("another one for {}", item.name),
                hint: "slices of one volume resemble each other: name the volume once, with one split".into(),
            });
        }
    }
    Ok(())
}

fn missing_row(csv: &Path, name: &str) -> Error {
    Error::Content {
        path: csv.into(),
        expected: "a line for every image".into(),
        got: format!("none for {name}"),
        hint: "add the line, or remove split.csv to have the split made".into(),
    }
}

/// Turns about `share` of the images that are `from` into `to`, by whole sources.
fn carve(splits: &mut [Option<Split>], sources: &[String], from: Option<Split>, to: Split, share: f64) {
    let members: Vec<usize> = (0..splits.len()).filter(|&i| splits[i] == from).collect();
    let groups: Vec<&str> = members.iter().map(|&i| sources[i].as_str()).collect();
    let purpose = if to == Split::Test { "test" } else { "validation" };
    for (&i, chosen) in members.iter().zip(choose_groups(&groups, share, purpose)) {
        if chosen {
            splits[i] = Some(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_groups_are_chosen_near_the_share_and_order_does_not_matter() {
        let groups: Vec<String> = (0..100).map(|i| format!("s{}", i / 4)).collect();
        let names: Vec<&str> = groups.iter().map(String::as_str).collect();
        let chosen = choose_groups(&names, 0.15, "validation");
        let n = chosen.iter().filter(|c| **c).count();
        assert!((13..=17).contains(&n), "{n}");
        for four in chosen.chunks(4) {
            assert!(four.iter().all(|c| *c == four[0]));
        }
        let reversed: Vec<&str> = names.iter().rev().copied().collect();
        let mut again = choose_groups(&reversed, 0.15, "validation");
        again.reverse();
        assert_eq!(again, chosen);
    }

    #[test]
    fn one_group_is_never_taken_and_of_two_the_smaller_one_is() {
        assert_eq!(choose_groups(&["a", "a"], 0.2, "test"), [false, false]);
        assert_eq!(choose_groups(&["a", "a", "a", "b"], 0.01, "test"), [false, false, false, true]);
    }

    #[test]
    fn words_of_split_csv_are_understood() {
        use Split::{Test, Train, Validation};
        let words = ["testA", "TEST", "val", "validation", "train", "fold1"].map(Split::from_word);
        assert_eq!(words, [Test, Test, Validation, Validation, Train, Train].map(Some));
        assert_eq!(["tset", "0.8", "yes"].map(Split::from_word), [None; 3]);
    }

    #[test]
    fn a_table_without_its_columns_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("split.csv");
        std::fs::write(&path, "file,split,source\na.png,testB,x/y.png#tile3\n b.png , train,\n").unwrap();
        let rows = read_csv(&path).unwrap();
        assert_eq!(rows["a"], Row { split: Some(Split::Test), source: Some("x/y.png".into()) });
        assert_eq!(rows["b"], Row { split: Some(Split::Train), source: None });
        std::fs::write(&path, "name,fold\na,1\n").unwrap();
        assert!(read_csv(&path).unwrap_err().to_string().contains("name,fold"));
        std::fs::write(&path, "file,split\na.png,train\na.png,test\n").unwrap();
        assert!(read_csv(&path).unwrap_err().to_string().contains("twice"));
    }
}
