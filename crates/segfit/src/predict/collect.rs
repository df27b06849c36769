//! Merging records from many files: nothing twice, nothing contradictory unseen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::record::Record;
use crate::error::{Error, Result};

/// Records merged from several files, and what was noticed.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// One record per job, attempt and engine, in the order of reading.
    pub records: Vec<Record>,
    /// Records that were there already (wall time aside) and were dropped.
    pub duplicates: usize,
    /// Records that contradict an earlier one of the same job and engine; the earlier one is kept.
    pub conflicts: Vec<Conflict>,
    /// `file:line` of unfinished last lines, as an interrupted writer leaves them; they were skipped.
    pub torn: Vec<String>,
}

/// Two records of one job that say different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The job.
    pub job: String,
    /// `file:line` of the record that was kept.
    pub kept: String,
    /// `file:line` of the record that was dropped.
    pub dropped: String,
}

/// The records of all `paths`: JSON-lines files, or folders whose `.jsonl` files are read (in the order of their names, also
/// in subfolders).
///
/// The same job run by another engine, or with other vector instructions, is another record: a last bit of difference
/// is no contradiction there.
///
/// # Errors
/// [`Error::Io`]; [`Error::Path`] for a folder without any `.jsonl` file; [`Error::Json`] at `file:line` for a line that is
/// not a record, unless it is the last one and has no line end (then it is reported in [`Collected::torn`]).
pub fn collect(paths: &[PathBuf]) -> Result<Collected> {
    let mut collected = Collected::default();
    let mut places: BTreeMap<(String, u32, String), (usize, String)> = BTreeMap::new();
    for path in paths {
        for file in files(path)? {
            let text = std::fs::read_to_string(&file).map_err(Error::io(&file))?;
            for (line, record) in lines(&text, &file, &mut collected.torn)? {
                let place = format!("{}:{line}", file.display());
                let key = (record.job.clone(), record.attempt, record.engine.clone());
                match places.get(&key) {
                    Some((i, _)) if collected.records[*i].same_result(&record) => collected.duplicates += 1,
                    Some((_, kept)) => {
                        let conflict = Conflict { job: record.job, kept: kept.clone(), dropped: place };
                        collected.conflicts.push(conflict);
                    }
                    None => {
                        places.insert(key, (collected.records.len(), place));
                        collected.records.push(record);
                    }
                }
            }
        }
    }
    Ok(collected)
}

fn lines(text: &str, file: &Path, torn: &mut Vec<String>) -> Result<Vec<(usize, Record)>> {
    let mut records = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match Record::parse(line, file, i + 1) {
            Ok(record) => records.push((i + 1, record)),
            Err(_) if !line.ends_with('\n') => torn.push(format!("{}:{}", file.display(), i + 1)),
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let entry = entry.map_err(Error::io(&folder))?.path();
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "jsonl") {
                found.push(entry);
            }
        }
    }
    if found.is_empty() {
        let (expected, got) = ("a folder with .jsonl files of records".into(), "none".into());
        return Err(Error::Path { path: path.into(), expected, got });
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::synthetic::{World, records};

    #[test]
    fn duplicates_are_dropped_conflicts_and_torn_lines_reported() {
        let dir = tempfile::tempdir().unwrap();
        let all = records(&World::default());
        let line = |r: &Record| r.line().unwrap();
        let slower = Record { seconds: all[0].seconds + 5.0, ..all[0].clone() };
        let other = Record { dice: all[1].dice * 0.5, ..all[1].clone() };
        std::fs::write(dir.path().join("a.jsonl"), format!("{}\n{}\n", line(&all[0]), line(&all[1]))).unwrap();
        let torn = &line(&all[3])[..200];
        let text = format!("{}\n\n{}\n{}\n{torn}", line(&slower), line(&other), line(&all[2]));
        std::fs::write(dir.path().join("b.jsonl"), text).unwrap();
        let collected = collect(&[dir.path().to_path_buf()]).unwrap();
        assert_eq!(collected.records.len(), 3);
        assert_eq!(collected.duplicates, 1);
        assert_eq!(collected.conflicts.len(), 1);
        assert!(collected.conflicts[0].kept.ends_with("a.jsonl:2"));
        assert!(collected.conflicts[0].dropped.ends_with("b.jsonl:3"));
        assert!(collected.torn[0].ends_with("b.jsonl:5"));
    }

    #[test]
    fn the_same_job_of_another_engine_is_another_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let first = records(&World::default()).remove(0);
        let other = Record { engine: "pytorch/cuda".into(), dice: 0.5 * first.dice, ..first.clone() };
        std::fs::write(&path, format!("{}\n{}\n", first.line().unwrap(), other.line().unwrap())).unwrap();
        let collected = collect(&[path.clone(), path]).unwrap();
        assert_eq!((collected.records.len(), collected.duplicates, collected.conflicts.len()), (2, 2, 0));
    }

    #[test]
    fn the_committed_records_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../calibration/records.jsonl");
        let collected = collect(&[path]).unwrap();
        assert!(collected.records.len() >= 60 && collected.conflicts.is_empty() && collected.torn.is_empty());
        assert!(collected.records.iter().all(|r| !r.synthetic), "phantoms are no evidence");
        let parents =
            collected.records.iter().filter_map(|r| r.parent.clone()).collect::<std::collections::BTreeSet<_>>();
        assert!(parents.iter().all(|p| collected.records.iter().any(|r| &r.dataset.name == p)), "{parents:?}");
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, "{\"format\": 3}\n").unwrap();
        let error = collect(&[path]).unwrap_err().to_string();
        assert!(error.contains("a.jsonl:1: expected segfit-record/1"), "{error}");
        assert!(collect(&[dir.path().join("none.jsonl")]).is_err());
    }
}
