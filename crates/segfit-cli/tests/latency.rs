//! Latency tables through the program: made, read, planned with.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use serde_json::{Value, json};
use support::{Lab, names, refused, stderr};

/// A table for U-Nets of 4 channels and depth 1 on 16 x 16 pixels: a 3x3 convolution takes a microsecond for each pair of
/// channels, everything else next to nothing.
fn table(late: f64) -> Value {
    let conv = |pooled: &str, pixels: usize| (format!("conv2d kernel 3x3 padding 1x1 + relu{pooled}"), pixels, 1.0);
    let steps = [
        ("image".to_string(), 16, 1e-6),
        conv("", 16),
        conv(" + max_pool", 16),
        conv("", 8),
        ("conv_transpose2d kernel 2x2 + relu".to_string(), 8, 1e-6),
        ("conv2d kernel 1x1 padding 0x0".to_string(), 16, 1e-6),
        ("logits".to_string(), 16, 1e-6),
    ];
    let steps: Vec<Value> = steps
        .iter()
        .map(|(what, pixels, us)| {
            json!({"what": what, "rows": pixels, "columns": pixels, "inputs": [1, 16], "outputs": [1, 16],
                   "us": [[us, 16.0 * us], [16.0 * us, 256.0 * us]]})
        })
        .collect();
    json!({"format": "segfit-latency/1", "version": "0", "device": "a telephone", "threads": 3, "precision": "f32",
           "size": 16, "networks": "small U-Nets", "steps": steps,
           "error": {"networks": 10, "median": 0.05, "p90": 0.1, "late": late}})
}

/// A laboratory with this table in `table.json`.
fn lab(table: &Value) -> Lab {
    let lab = Lab::new();
    std::fs::write(lab.path("table.json"), table.to_string()).unwrap();
    lab
}

const PLAN: [&str; 12] = [
    "plan",
    "data",
    "--size",
    "16",
    "--width",
    "4",
    "--depth",
    "1",
    "--device",
    "table.json",
    "--max-latency",
    "0.1ms",
];

/// Pairs of channels of all 3x3 convolutions of a plan's network: its microseconds by the table.
fn pairs(plan: &Value) -> f64 {
    let width = |name: &str| {
        let widths = plan["widths"].as_array().unwrap();
        widths.iter().find(|w| w["group"] == name).unwrap()["channels"].as_f64().unwrap()
    };
    let image = plan["spec"]["groups"].as_array().unwrap().iter().find(|g| g["name"] == "image").unwrap();
    let image = image["channels"].as_f64().unwrap();
    let [enc0, enc1, up0, dec0] = ["enc0", "enc1", "up0", "dec0"].map(width);
    image * enc0 + enc0 * enc0 + enc0 * enc1 + enc1 * enc1 + (enc0 + up0) * dec0 + dec0 * dec0
}

#[test]
fn a_plan_keeps_to_the_time_of_a_device_and_states_it() {
    let lab = lab(&table(0.25));
    let plan = lab.json(&[&PLAN[..], &["--dry-run"]].concat());
    let predicted = plan["latency"]["predicted_ms"].as_f64().unwrap();
    assert!((predicted * 1e3 - pairs(&plan)).abs() < 0.01, "{predicted} ms, {} pairs", pairs(&plan));
    let most = plan["network"]["latency_ms"].as_f64().unwrap();
    assert!((most / predicted - 1.25).abs() < 1e-9 && most <= 0.1, "{most}");
    assert!(most > 0.07, "the limit is used: {most}");
    assert_eq!(plan["latency"]["device"], "a telephone");
    assert_eq!((&plan["latency"]["threads"], &plan["latency"]["precision"]), (&json!(3), &json!("f32")));
    let text = lab.run(&[&PLAN[..], &["--dry-run"]].concat());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("ms predicted on a telephone with 3 threads in f32"), "{text}");
    assert!(text.contains("at most 25.0% longer"), "{text}");
}

#[test]
fn the_least_time_that_keeps_a_share_can_be_asked_for() {
    let lab = lab(&table(0.0));
    let asked = |more: &[&str]| lab.json(&[&PLAN[..10], &["--keep", "60%", "--dry-run"], more].concat());
    let (fast, small) = (asked(&["--objective", "latency"]), asked(&[]));
    assert_eq!(fast["objective"], "latency");
    let time = |plan: &Value| plan["network"]["latency_ms"].as_f64().unwrap();
    assert!(time(&fast) <= time(&small) + 1e-12, "a table without a limit only states the time");
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let lab = lab(&table(0.0));
    let with = |changes: &[(usize, &str)]| {
        let mut arguments = PLAN.to_vec();
        changes.iter().for_each(|&(at, value)| arguments[at] = value);
        lab.run(&[&arguments[..], &["--dry-run"]].concat())
    };
    refused(&with(&[(3, "32")]), &["table.json", "32 x 32", "16 x 16", "hint:"]);
    refused(&with(&[(7, "2")]), &["a telephone", "does not hold", "segfit bench --table"]);
    refused(&with(&[(5, "16")]), &["at most 16 to 16 channels", "segfit bench --table"]);
    refused(&with(&[(9, "data")]), &["data"]);
    let slow = with(&[(11, "1us")]);
    assert_eq!(slow.status.code(), Some(3), "{}", stderr(&slow));
    let spoilt = table(0.0).to_string().replace("segfit-latency/1", "segfit-latency/9");
    std::fs::write(lab.path("table.json"), spoilt).unwrap();
    refused(&with(&[]), &["segfit-latency/1"]);
}

#[test]
fn a_measured_table_predicts_what_is_measured() {
    let lab = Lab::new();
    let small = ["--width", "4", "--depth", "1", "--size", "16", "--threads", "1", "--seconds", "0.5"];
    let report = lab.json(&[&["bench", "--table", "t.json", "--channels", "3"], &small[..]].concat());
    assert!(report["error"]["networks"].as_u64().unwrap() > 50 && report["steps"] == 7, "{report}");
    let table: Value = serde_json::from_slice(&std::fs::read(lab.path("t.json")).unwrap()).unwrap();
    assert_eq!((&table["threads"], &table["size"], &table["precision"]), (&json!(1), &json!(16), &json!("f32")));
    let timed =
        lab.json(&[&["bench", "--latency-table", "t.json", "--channels", "3", "--layers"], &small[..]].concat());
    let (predicted, measured) = (timed["predicted_ms"].as_f64().unwrap(), timed["ms"]["min"].as_f64().unwrap());
    assert!(predicted < 5.0 * measured && measured < 5.0 * predicted, "{predicted} and {measured}");
    let layers = timed["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 10);
    let share: f64 = layers.iter().map(|l| l["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9 && layers.iter().all(|l| l["ms"].as_f64().unwrap() > 0.0));
    assert!(
        names(&lab.path("")).iter().all(|name| ["data", "t.json"].contains(&name.as_str())),
        "nothing else is left"
    );
    let bad = lab.run(&[&["bench", "--table", "none/t.json"], &small[..]].concat());
    refused(&bad, &["none/t.json"]);
}
