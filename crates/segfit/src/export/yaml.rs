//! YAML for people: a JSON value in block style.

use serde_json::Value;

/// The value as a YAML document. Strings are quoted as in JSON, which YAML reads alike; lists of numbers stay on one
/// line.
#[must_use]
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (i, (key, value)) in map.iter().enumerate() {
                // The first key of a map in a list stands behind the list's dash.
                if i > 0 || out.is_empty() || out.ends_with('\n') {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str(&format!("{key}:"));
                nested(out, value, indent);
            }
        }
        Value::Array(list) if is_nested(value) => {
            for item in list {
                out.push_str(&" ".repeat(indent));
                out.push_str("- ");
                block(out, item, indent + 2);
            }
        }
        other => out.push_str(&format!("{other}\n")),
    }
}

fn nested(out: &mut String, value: &Value, indent: usize) {
    if is_nested(value) {
        out.push('\n');
        block(out, value, indent + 2);
    } else {
        out.push_str(&format!(" {value}\n"));
    }
}

/// Whether it needs lines of its own.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => list.iter().any(|v| matches!(v, Value::Object(_) | Value::Array(_))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_document_by_hand() {
        let value = serde_json::json!({
            "a": 1, "b": ["x: y", true], "c": {"d": null, "e": {}}, "f": [{"g": 1.5, "h": [{"i": "\"\n"}]}, {"j": []}]
        });
        let text = "a: 1\nb: [\"x: y\",true]\nc:\n  d: null\n  e: {}\n".to_string()
            + "f:\n  - g: 1.5\n    h:\n      - i: \"\\\"\\n\"\n  - j: []\n";
        assert_eq!(document(&value), text);
    }
}
