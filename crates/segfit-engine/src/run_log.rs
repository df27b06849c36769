//! What a training writes down while it runs: `log.jsonl` for people and programs, and TensorBoard events.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use segfit::files::write_atomically;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// One line of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Optimiser steps done.
    pub step: usize,
    /// Mean loss since the line before, or since the training was resumed if that was later.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f32,
    /// Mean Dice over the validation images with the averaged weights, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_dice: Option<f64>,
    /// Seconds since the training began (of this call).
    pub seconds: f64,
}

/// Appends to both files; lines of steps that a resumed training will repeat are removed when it is opened.
#[derive(Debug)]
pub struct RunLog {
    lines: File,
    lines_path: PathBuf,
    events: File,
    events_path: PathBuf,
}

impl RunLog {
    /// Opens the logs of a run folder, keeping what was logged up to `step`.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn open(folder: &Path, step: usize) -> Result<Self> {
        let lines_path = folder.join("log.jsonl");
        let mut kept = read_lines(&lines_path)?;
        kept.retain(|l| l.step <= step);
        let events_path = folder.join("events.out.tfevents.0.segfit");
        let mut text = Vec::new();
        let mut events = record(&event(0, None));
        for line in &kept {
            text.extend(json_line(line));
            events.extend(scalars(line));
        }
        write_atomically(&lines_path, &text)?;
        write_atomically(&events_path, &events)?;
        let append = |path: &Path| {
            OpenOptions::new().append(true).open(path).map_err(|source| segfit::Error::Io { path: path.into(), source })
        };
        Ok(Self { lines: append(&lines_path)?, events: append(&events_path)?, lines_path, events_path })
    }

    /// The lines of a run folder's log so far; none when there is no log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn lines(folder: &Path) -> Result<Vec<LogLine>> {
        read_lines(&folder.join("log.jsonl"))
    }

    /// Seconds that a run's log has seen, about: those of every call up to its last line.
    #[must_use]
    pub fn seconds(lines: &[LogLine]) -> f64 {
        // The clock of every call begins at 0.
        let earlier = lines.windows(2).filter(|two| two[1].seconds < two[0].seconds).map(|two| two[0].seconds);
        earlier.sum::<f64>() + lines.last().map_or(0.0, |line| line.seconds)
    }

    /// Appends one line. It is on the disk before the checkpoint of its step, whose resumed training needs its Dice.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn append(&mut self, line: &LogLine) -> Result<()> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| segfit::Error::Io { path, source }
        };
        self.lines.write_all(&json_line(line)).map_err(io(&self.lines_path))?;
        self.lines.sync_data().map_err(io(&self.lines_path))?;
        self.events.write_all(&scalars(line)).map_err(io(&self.events_path))?;
        Ok(())
    }
}

/// The lines of a log; none when there is no log. A line that a crash cut off is left out.
fn read_lines(path: &Path) -> Result<Vec<LogLine>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(segfit::Error::Io { path: path.into(), source }.into()),
    }
}

fn json_line(line: &LogLine) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("numbers and names are JSON");
    text.push(b'\n');
    text
}

/// The TensorBoard events of one line.
fn scalars(line: &LogLine) -> Vec<u8> {
    let mut all = vec![("loss", line.loss as f32), ("learning_rate", line.learning_rate)];
    all.extend(line.validation_dice.map(|d| ("validation_dice", d as f32)));
    all.into_iter().flat_map(|(tag, value)| record(&event(line.step, Some((tag, value))))).collect()
}

/// A `tensorflow.Event` message: wall_time = 1 (double), step = 2, file_version = 3 or summary = 5. The wall time is the
/// step, so that equal trainings write equal files.
fn event(step: usize, scalar: Option<(&str, f32)>) -> Vec<u8> {
    let mut message = vec![0x09];
    message.extend((step as f64).to_le_bytes());
    message.push(0x10);
    message.extend(varint(step as u64));
    match scalar {
        None => message.extend(field(3, b"brain.Event:2")),
        Some((tag, value)) => {
            let mut inner = field(1, tag.as_bytes());
            inner.push(0x15);
            inner.extend(value.to_le_bytes());
            message.extend(field(5, &field(1, &inner)));
        }
    }
    message
}

/// A length-delimited protobuf field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n as u8 & 0x7F) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A TFRecord: length, masked CRC of the length, data, masked CRC of the data.
fn record(data: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes();
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length));
    out.extend(data);
    out.extend(masked(data));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_bytes_that_tensorboard_reads() {
        // Checked with tensorboard's own protobuf classes: step 3, tag "loss", simple_value 0.5.
        let message = event(3, Some(("loss", 0.5)));
        let want = [
            0x09, 0, 0, 0, 0, 0, 0, 0x08, 0x40, 0x10, 3, 0x2A, 13, 0x0A, 11, 0x0A, 4, b'l', b'o', b's', b's', 0x15, 0,
            0, 0, 0x3F,
        ];
        assert_eq!(message, want);
        assert_eq!(varint(300), [0xAC, 0x02]);
    }

    #[test]
    fn a_resumed_log_drops_the_lines_that_will_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step| LogLine { step, loss: 1.0, learning_rate: 0.1, validation_dice: Some(0.5), seconds: 0.0 };
        let mut log = RunLog::open(dir.path(), 0).unwrap();
        for step in [10, 20, 30] {
            log.append(&line(step)).unwrap();
        }
        drop(log);
        let mut log = RunLog::open(dir.path(), 20).unwrap();
        log.append(&line(25)).unwrap();
        drop(log);
        let text = std::fs::read_to_string(dir.path().join("log.jsonl")).unwrap();
        let steps: Vec<usize> = text.lines().map(|l| serde_json::from_str::<LogLine>(l).unwrap().step).collect();
        assert_eq!(steps, [10, 20, 25]);
    }

    #[test]
    fn the_seconds_of_all_calls_add_up() {
        let line = |seconds| LogLine { step: 1, loss: 1.0, learning_rate: 0.1, validation_dice: None, seconds };
        let of = |seconds: &[f64]| RunLog::seconds(&seconds.iter().map(|&s| line(s)).collect::<Vec<_>>());
        assert_eq!((of(&[]), of(&[1.0, 2.0])), (0.0, 2.0));
        assert_eq!(of(&[1.0, 2.0, 0.5, 4.0, 0.25]), 2.0 + 4.0 + 0.25, "three calls");
    }
}
