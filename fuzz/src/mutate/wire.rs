//! One field of a protocol buffer changed: removed, doubled, another number, other bytes. Lengths around it stay right.

use super::{Dice, NUMBERS};

/// A field as it lies in the file.
#[derive(Clone)]
struct Field {
    key: u64,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
}

const TEXTS: [&str; 16] = [
    "",
    "Conv",
    "ConvTranspose",
    "Add",
    "Mul",
    "Concat",
    "Relu",
    "MaxPool",
    "Resize",
    "Reshape",
    "Slice",
    "Gather",
    "Pad",
    "Expand",
    "BatchNormalization",
    "../../x",
];

pub fn changed(file: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let mut fields = parse(file)?;
    let donor = fields.clone();
    for _ in 0..=dice.below(3) {
        change(&mut fields, &donor, dice, 0);
    }
    Some(written(&fields))
}

fn change(fields: &mut Vec<Field>, donor: &[Field], dice: &mut Dice, depth: usize) {
    if fields.is_empty() {
        return;
    }
    let at = dice.below(fields.len());
    // Most of the time down into a message, where the values are.
    if let Body::Bytes(bytes) = &mut fields[at].body {
        let inner = parse(bytes).filter(|f| !f.is_empty() && depth < 8);
        if let Some(mut inner) = inner
            && dice.below(8) > 0
        {
            change(&mut inner, donor, dice, depth + 1);
            *bytes = written(&inner);
            return;
        }
    }
    match dice.below(8) {
        0 => drop(fields.remove(at)),
        1 => fields.push(fields[at].clone()),
        2 => {
            let n = fields.len();
            fields.swap(at, n - 1);
        }
        3 if !donor.is_empty() => fields[at].body = donor[dice.below(donor.len())].body.clone(),
        4 => fields[at].key = fields[at].key & 7 | (1 + dice.below(20) as u64) << 3,
        _ => body_changed(&mut fields[at].body, dice),
    }
}

fn body_changed(body: &mut Body, dice: &mut Dice) {
    match body {
        Body::Number(n) => {
            *n = match dice.below(4) {
                0 => n.wrapping_add(1),
                1 => n.wrapping_sub(1),
                2 => n.wrapping_mul(2),
                _ => NUMBERS[dice.below(NUMBERS.len())].cast_unsigned(),
            }
        }
        Body::Fixed(bytes) => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
        }
        Body::Bytes(bytes) => match dice.below(4) {
            0 => bytes.truncate(dice.below(bytes.len() + 1)),
            1 => *bytes = TEXTS[dice.below(TEXTS.len())].as_bytes().to_vec(),
            2 => bytes.extend_from_slice(&NUMBERS[dice.below(NUMBERS.len())].to_le_bytes()),
            _ if !bytes.is_empty() => {
                let at = dice.below(bytes.len());
                bytes[at] = dice.below(256) as u8;
            }
            _ => bytes.push(1),
        },
    }
}

fn parse(mut file: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !file.is_empty() {
        let key = varint(&mut file)?;
        let body = match key & 7 {
            0 => Body::Number(varint(&mut file)?),
            1 => Body::Fixed(take(&mut file, 8)?),
            5 => Body::Fixed(take(&mut file, 4)?),
            2 => {
                let n = usize::try_from(varint(&mut file)?).ok()?;
                Body::Bytes(take(&mut file, n)?)
            }
            _ => return None,
        };
        if key >> 3 == 0 {
            return None;
        }
        fields.push(Field { key, body });
    }
    Some(fields)
}

fn take(file: &mut &[u8], n: usize) -> Option<Vec<u8>> {
    let (part, rest) = file.split_at_checked(n)?;
    *file = rest;
    Some(part.to_vec())
}

fn varint(file: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = file.split_first()?;
        *file = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn written(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        match &field.body {
            Body::Number(n) => {
                put(&mut out, field.key & !7);
                put(&mut out, *n);
            }
            Body::Fixed(bytes) => {
                put(&mut out, field.key & !7 | if bytes.len() == 8 { 1 } else { 5 });
                out.extend(bytes);
            }
            Body::Bytes(bytes) => {
                put(&mut out, field.key & !7 | 2);
                put(&mut out, bytes.len() as u64);
                out.extend(bytes);
            }
        }
    }
    out
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
