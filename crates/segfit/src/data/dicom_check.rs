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
/// Kinds whose length takes two bytes; that of all others takes four behind two more.
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
];
/// The group of items, which say no kind.
const ITEMS: [u8; 2] = [0xfe, 0xff];
/// Sequences within sequences; the functional groups of enhanced images take 3.
const MOST_NESTED: usize = 32;
/// Elements of a file; each takes some 200 bytes of memory. An enhanced image has some 30 for every frame.
const MOST_ELEMENTS: usize = 2_000_000;

const DAMAGED: &str = "its elements are damaged";

type Reason<T> = std::result::Result<T, String>;

/// Fails when an element claims more bytes than the file has, sequences are nested too deeply, there are too many elements, or a
/// deflated file inflates to more than the limit. Elements from `until` on are not looked at.
pub(super) fn check(path: &Path, until: Option<Tag>) -> Result<()> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let length = file.get_ref().metadata().map_err(Error::io(path))?.len();
    look(&mut file, length, until).map_err(decode_error(path, "DICOM"))
}

fn look(file: &mut BufReader<File>, length: u64, until: Option<Tag>) -> Reason<()> {
    check_meta(file, length)?;
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

/// Goes over the elements that describe the file itself as the parser does: as many bytes as the first of them says, whatever their
/// tags.
fn check_meta(file: &mut BufReader<File>, length: u64) -> Reason<()> {
    let mut at = PREAMBLE + 4;
    file.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
    let mut first = [0; 12];
    // Where the file ends here, or begins with another element, the parser refuses it.
    if file.read_exact(&mut first).is_err() || first[..4] != [2, 0, 0, 0] {
        return Ok(());
    }
    if first[4..8] != *b"UL\x04\0" {
        return Err(DAMAGED.into());
    }
    at += first.len() as u64;
    let end = at + u64::from(u32::from_le_bytes([first[8], first[9], first[10], first[11]]));
    while at < end {
        let mut header = [0; 8];
        file.read_exact(&mut header).map_err(|_| DAMAGED)?;
        at += header.len() as u64;
        if header[..2] == ITEMS {
            return Err(DAMAGED.into());
        }
        let claimed = if SHORT.contains(&&[header[4], header[5]]) {
            u32::from(u16::from_le_bytes([header[6], header[7]]))
        } else {
            let mut claimed = [0; 4];
            file.read_exact(&mut claimed).map_err(|_| DAMAGED)?;
            at += claimed.len() as u64;
            u32::from_le_bytes(claimed)
        };
        check_claim(claimed, at, length)?;
        at += u64::from(claimed);
        file.seek_relative(claimed.into()).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn check_claim(claimed: u32, at: u64, length: u64) -> Reason<()> {
    match at.saturating_add(claimed.into()) > length {
        true => Err(format!("an element claims {claimed} bytes, beyond the end of the file")),
        false => Ok(()),
    }
}

/// Bytes of one number of an element.
fn unit(kind: &str) -> u32 {
    match kind {
        "OW" | "SS" | "US" => 2,
        "AT" | "FL" | "OF" | "OL" | "SL" | "UL" => 4,
        "FD" | "OD" | "OV" | "SV" | "UV" => 8,
        _ => 1,
    }
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
            Err(_) => return Err(DAMAGED.into()),
        };
        let is_end = |tag: Tag| nested == 0 && until.is_some_and(|until| tag >= until);
        elements += 1;
        let (claimed, at, unit) = match &token {
            LazyDataToken::ElementHeader(header) if is_end(header.tag) => return Ok(()),
            LazyDataToken::SequenceStart { tag, .. } if is_end(*tag) => return Ok(()),
            LazyDataToken::PixelSequenceStart if is_end(PIXEL_DATA) => return Ok(()),
            LazyDataToken::SequenceStart { .. } | LazyDataToken::PixelSequenceStart => {
                nested += 1;
                is_in_pixels = matches!(token, LazyDataToken::PixelSequenceStart);
                (0, 0, 1)
            }
            LazyDataToken::SequenceEnd => {
                nested = nested.saturating_sub(1);
                is_in_pixels = false;
                (0, 0, 1)
            }
            LazyDataToken::LazyValue { header, decoder } => {
                (header.len.get().unwrap_or(0), decoder.position(), unit(header.vr.to_string()))
            }
            LazyDataToken::LazyItemValue { len, decoder } => (*len, decoder.position(), 1),
            _ => (0, 0, 1),
        };
        check_claim(claimed, at, length)?;
        // The parser reads whole numbers only, and takes the bytes that are left for the next element.
        if claimed % unit != 0 && at + u64::from(claimed) < length {
            return Err(DAMAGED.into());
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
