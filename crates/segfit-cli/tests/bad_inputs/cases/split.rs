//! Faults of `split.csv`.

use super::set;
use crate::case::Case;
use crate::files::{bytes_of, change, put, replace, zip};

const CSV: &str = "data/split.csv";
const LINE: &str = "nuclei-0003.png,train,nuclei-0003";

pub fn cases() -> Vec<Case> {
    vec![
        set(
            "a split.csv without a line for an image",
            |lab| replace(lab, CSV, &format!("{LINE}\n"), ""),
            "data/split.csv: expected a line for every image, found none for nuclei-0003\n\
             hint: add the line, or remove split.csv to have the split made",
        ),
        set(
            "a split.csv with an image twice",
            |lab| replace(lab, CSV, LINE, &format!("{LINE}\n{LINE}")),
            "data/split.csv: expected each file once, found nuclei-0003.png twice\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv with a use that does not exist",
            |lab| replace(lab, CSV, LINE, "nuclei-0003.png,tset,a"),
            "data/split.csv: expected train, validation or test as the split, found tset for nuclei-0003.png\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv whose uses are numbers",
            |lab| replace(lab, CSV, LINE, "nuclei-0003.png,0.8,a"),
            "data/split.csv: expected train, validation or test as the split, found 0.8 for nuclei-0003.png\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "an empty split.csv",
            |lab| put(lab, CSV, ""),
            "data/split.csv: expected a table with the columns file,split,source, found an empty file\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv of a header alone",
            |lab| put(lab, CSV, "file,split,source\n"),
            "data/split.csv: expected a line for every image, found none for nuclei-0000\n\
             hint: add the line, or remove split.csv to have the split made",
        ),
        set(
            "a split.csv without a header",
            |lab| replace(lab, CSV, "file,split,source\n", ""),
            "data/split.csv: expected the columns file,split,source, found the columns \
             nuclei-0000.png,train,nuclei-0000\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv with other columns",
            |lab| replace(lab, CSV, "file,split,source", "name,fold,patient"),
            "data/split.csv: expected the columns file,split,source, found the columns name,fold,patient\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv of files alone",
            |lab| put(lab, CSV, "file\nnuclei-0003.png\n"),
            "data/split.csv: expected the columns file,split,source, found the columns file\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv parted by semicolons",
            |lab| change(lab, CSV, |b| b.iter_mut().filter(|c| **c == b',').for_each(|c| *c = b';')),
            "data/split.csv: expected the columns file,split,source, found the columns file;split;source\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv with a field too many",
            |lab| replace(lab, CSV, LINE, &format!("{LINE},x")),
            "data/split.csv: expected a table with the columns file,split,source, found CSV error: record 4 \
             (line: 5, byte: 120): found record with 4 fields, but the previous record has 3 fields\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv with a line that names no file",
            |lab| replace(lab, CSV, LINE, ",train,a"),
            "data/split.csv: expected a file name in each line, found an empty one\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv without training images",
            |lab| every_use(lab, "test"),
            "data set data: none of its 10 images is for training\n\
             hint: mark some images as train in split.csv",
        ),
        set(
            "a split.csv with validation images alone",
            |lab| every_use(lab, "validation"),
            "data set data: none of its 10 images is for training\n\
             hint: mark some images as train in split.csv",
        ),
        set(
            "a split.csv in UTF-16",
            |lab| change(lab, CSV, |b| *b = utf16(b)),
            "data/split.csv: expected a table with the columns file,split,source, found bytes that are no text \
             in UTF-8: a spreadsheet must be saved as CSV\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv in Latin-1",
            |lab| change(lab, CSV, |b| b.extend(b"n\xfcclei.png,train,a\n")),
            "data/split.csv: expected a table with the columns file,split,source, found CSV parse error: \
             record 11 (line 12, field: 0, byte: 356): invalid utf-8: invalid UTF-8 in field 0 near byte index \
             1\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv that is a spreadsheet",
            |lab| put(lab, CSV, zip()),
            "data/split.csv: expected a table with the columns file,split,source, found bytes that are no text \
             in UTF-8: a spreadsheet must be saved as CSV\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
        set(
            "a split.csv with an open quote",
            |lab| replace(lab, CSV, LINE, "\"nuclei-0003.png,train,a"),
            "data/split.csv: expected a table with the columns file,split,source, found CSV error: record 4 \
             (line: 5, byte: 120): found record with 1 fields, but the previous record has 3 fields\n\
             hint: the first line of split.csv is `file,split,source`; each following line describes one image",
        ),
    ]
}

fn every_use(lab: &std::path::Path, word: &str) {
    let text = String::from_utf8(bytes_of(lab, CSV)).expect("a text");
    let text = text.replace(",train,", &format!(",{word},")).replace(",test,", &format!(",{word},"));
    put(lab, CSV, text);
}

/// As a spreadsheet saves it, with a mark at its start.
fn utf16(bytes: &[u8]) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(bytes.iter().flat_map(|b| [*b, 0])).collect()
}
