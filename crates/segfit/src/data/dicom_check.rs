//! What is checked of a DICOM file before it is parsed. The parser takes memory for as many bytes as an element claims, inflates
//! without a limit, and goes down into sequences by recursion.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use dicom_object::{FileMetaTable, Tag};
use dicom_parser::StatefulDecode as _;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::{TransferSyntax, TransferSyntaxIndex as _, TransferSyntaxRegistry};
use flate2::read::DeflateDecoder;

use super::dicom_tags::{DEFLATED, PIXEL_DATA};
use super::limits::{HOW_TO_RAISE, max_decoded_bytes, max_decoded_mib};
use super::read::decode_error;
use crate::error::{Error, Result};

/// Bytes before the letters DICM.
const PREAMBLE: u64 = 128;
/// Elements that say their kind, as those before the others always do.
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
/// The first tag that does not describe the file itself.
const BEHIND_META: Tag = Tag(0x0003, 0);
/// Sequences within sequences; the functional groups of enhanced images take 3.
const MOST_NESTED: usize = 32;
/// Elements of a file; each takes some 200 bytes of memory. An enhanced image has some 30 for every frame.
const MOST_ELEMENTS: usize = 2_000_000;

type Reason<T> = std::result::Result<T, String>;

/// Fails when an element claims more bytes than the file has, sequences are nested too deeply, there are too many elements, or a
/// deflated file inflates to more than the limit. Elements from `until` on are not looked at.
pub(super) fn check(path: &Path, until: Option<Tag>) -> Result<()> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let length = file.get_ref().metadata().map_err(Error::io(path))?.len();
    look(&mut file, length, until).map_err(decode_error(path, "DICOM"))
}

fn look(file: &mut BufReader<File>, length: u64, until: Option<Tag>) -> Reason<()> {
    let explicit = TransferSyntaxRegistry.get(EXPLICIT).ok_or("explicit little-endian is not known")?;
    file.seek(SeekFrom::Start(PREAMBLE + 4)).map_err(|e| e.to_string())?;
    walk(&mut *file, explicit, length, Some(BEHIND_META))?;
    file.seek(SeekFrom::Start(PREAMBLE)).map_err(|e| e.to_string())?;
    let meta = FileMetaTable::from_reader(&mut *file).map_err(|e| e.to_string())?;
    // Where the syntax is not known, the parser refuses the file.
    let Some(syntax) = TransferSyntaxRegistry.get(meta.transfer_syntax()) else { return Ok(()) };
    if meta.transfer_syntax() != DEFLATED {
        return walk(file, syntax, length, until);
    }
    let inflated = inflated(file)?;
    let length = inflated.len() as u64;
    walk(Cursor::new(inflated), syntax, length, until)
}

fn inflated(file: &mut BufReader<File>) -> Reason<Vec<u8>> {
    let limit = max_decoded_bytes();
    let mut bytes = Vec::new();
    let inflating = DeflateDecoder::new(file).take((limit as u64).saturating_add(1)).read_to_end(&mut bytes);
    inflating.map_err(|e| format!("deflate: {e}"))?;
    if bytes.len() > limit {
        return Err(format!("it inflates to more than the limit of {}: {HOW_TO_RAISE}", max_decoded_mib()));
    }
    Ok(bytes)
}

/// Goes over the elements from where the file stands. The first that is damaged refuses the file: the parser, which is more patient, could
/// take the bytes behind it for a claim of any size.
fn walk(file: impl Read + Seek, syntax: &TransferSyntax, length: u64, until: Option<Tag>) -> Reason<()> {
    let mut reader = LazyDataSetReader::new_with_ts(file, syntax).map_err(|e| e.to_string())?;
    let (mut nested, mut elements, mut is_in_pixels) = (0usize, 0usize, false);
    while let Some(token) = reader.advance() {
        let token = match token {
            Ok(token) => token,
            // Pixels may end without the mark of their end; the parser reads no other elements then.
            Err(_) if is_in_pixels => return Ok(()),
            Err(_) => return Err("its elements are damaged".into()),
        };
        let is_end = |tag: Tag| nested == 0 && until.is_some_and(|until| tag >= until);
        elements += 1;
        let (claimed, at) = match &token {
            LazyDataToken::ElementHeader(header) if is_end(header.tag) => return Ok(()),
            LazyDataToken::SequenceStart { tag, .. } if is_end(*tag) => return Ok(()),
            LazyDataToken::PixelSequenceStart if is_end(PIXEL_DATA) => return Ok(()),
            LazyDataToken::SequenceStart { .. } | LazyDataToken::PixelSequenceStart => {
                nested += 1;
                is_in_pixels = matches!(token, LazyDataToken::PixelSequenceStart);
                (0, 0)
            }
            LazyDataToken::SequenceEnd => {
                nested = nested.saturating_sub(1);
                is_in_pixels = false;
                (0, 0)
            }
            LazyDataToken::LazyValue { header, decoder } => (header.len.get().unwrap_or(0), decoder.position()),
            LazyDataToken::LazyItemValue { len, decoder } => (*len, decoder.position()),
            _ => (0, 0),
        };
        if at.saturating_add(u64::from(claimed)) > length {
            return Err(format!("an element claims {claimed} bytes, beyond the end of the file"));
        }
        if nested > MOST_NESTED {
            return Err(format!("its sequences are nested more than {MOST_NESTED} times"));
        }
        if elements > 2 * MOST_ELEMENTS {
            return Err(format!("it has more than {MOST_ELEMENTS} elements"));
        }
        token.skip().map_err(|e| e.to_string())?;
    }
    Ok(())
}
