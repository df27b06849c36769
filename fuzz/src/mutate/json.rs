//! One value of a JSON text changed.

use serde_json::{Number, Value};

use super::{Dice, NUMBERS};

const TEXTS: [&str; 10] =
    ["", "../../escape", "/absolute", "a/b", "a\\b", "\u{0}", "é#001", "relu", "classes", "\u{202e}x\n<script>"];

pub fn changed(text: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let start = text.iter().position(|b| *b == b'{' || *b == b'[').filter(|at| *at <= 1)?;
    let whole = std::str::from_utf8(&text[start..]).ok()?;
    let mut lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let is_lines = lines.len() > 1 && lines.iter().all(|l| serde_json::from_str::<Value>(l).is_ok());
    let mut out = text[..start].to_vec();
    if !is_lines {
        out.extend(one(whole, dice)?.into_bytes());
        return Some(out);
    }
    let at = dice.below(lines.len());
    let made = match dice.below(4) {
        0 => {
            lines.remove(at);
            None
        }
        1 => {
            lines.push(lines[at]);
            None
        }
        _ => Some(one(lines[at], dice)? + "\n"),
    };
    for (i, line) in lines.iter().enumerate() {
        let new = made.as_ref().filter(|_| i == at);
        out.extend(new.map_or(line.as_bytes(), |l| l.as_bytes()));
    }
    Some(out)
}

fn one(text: &str, dice: &mut Dice) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let donor = value.clone();
    for _ in 0..=dice.below(3) {
        let n = count(&value);
        let mut at = dice.below(n);
        change(&mut value, &mut at, &donor, dice);
    }
    serde_json::to_string(&value).ok()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The `at`-th value, in order.
fn nth<'a>(value: &'a Value, at: &mut usize) -> Option<&'a Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(list) => list.iter().find_map(|v| nth(v, at)),
        Value::Object(map) => map.values().find_map(|v| nth(v, at)),
        _ => None,
    }
}

fn change(value: &mut Value, at: &mut usize, donor: &Value, dice: &mut Dice) -> bool {
    if *at == 0 {
        *value = replaced(value, donor, dice);
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|v| change(v, at, donor, dice)),
        Value::Object(map) => map.values_mut().any(|v| change(v, at, donor, dice)),
        _ => false,
    }
}

fn replaced(value: &Value, donor: &Value, dice: &mut Dice) -> Value {
    if dice.below(8) == 0 {
        let mut at = dice.below(count(donor));
        return nth(donor, &mut at).cloned().unwrap_or(Value::Null);
    }
    match value {
        Value::Number(n) => number(n, dice),
        Value::Bool(b) => Value::Bool(!b),
        Value::String(_) => TEXTS[dice.below(TEXTS.len())].into(),
        Value::Array(list) => Value::Array(list_changed(list.clone(), dice)),
        Value::Object(map) if !map.is_empty() => {
            let mut map = map.clone();
            let key = map.keys().nth(dice.below(map.len())).cloned().unwrap_or_default();
            let taken = map.shift_remove(&key);
            match dice.below(3) {
                0 => {}
                1 => drop(map.insert(TEXTS[dice.below(TEXTS.len())].into(), taken.unwrap_or_default())),
                _ => drop(map.insert(key, Value::Null)),
            }
            Value::Object(map)
        }
        _ => Value::from(NUMBERS[dice.below(NUMBERS.len())]),
    }
}

fn number(n: &Number, dice: &mut Dice) -> Value {
    let near = n.as_i64().unwrap_or(0);
    match dice.below(6) {
        0 => Value::from(near.wrapping_add(1)),
        1 => Value::from(near.wrapping_sub(1)),
        2 => Value::from(near.wrapping_mul(2)),
        3 => {
            let floats = [0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, f64::MAX, 5e-324, 1e20, -1e20];
            Value::from(floats[dice.below(floats.len())])
        }
        4 => Value::from(u64::MAX),
        _ => Value::from(NUMBERS[dice.below(NUMBERS.len())]),
    }
}

fn list_changed(mut list: Vec<Value>, dice: &mut Dice) -> Vec<Value> {
    let n = list.len();
    match (dice.below(5), n) {
        (_, 0) => list.push(Value::from(NUMBERS[dice.below(NUMBERS.len())])),
        (0, _) => drop(list.remove(dice.below(n))),
        (1, _) => list.push(list[dice.below(n)].clone()),
        (2, _) => list.swap(dice.below(n), n - 1),
        (3, _) => list.truncate(dice.below(n)),
        _ => list.clear(),
    }
    list
}
