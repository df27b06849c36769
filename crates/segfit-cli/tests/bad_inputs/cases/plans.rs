//! Faults of the other JSON files that a plan and its commands read.

use std::path::Path;

use serde_json::json;

use crate::case::Case;
use crate::files::{change, put, set};

const TRAIN: &str = "train plan/plan.json data --steps 1 --out out";
const REPORT: &str = "report plan --out page.html";
const PREDICT: &str = "predict data --size 32 --profile plan/profile.json --width 4 --depth 2";
const RECIPE: &str = "train network.json data --size 32 --recipe run/recipe.json --out out";

pub fn cases() -> Vec<Case> {
    let plan = "plan/plan.json";
    let sizes = "plan/sizes.json";
    let profile = "plan/profile.json";
    vec![
        Case::new(
            "a plan.json that is not there",
            TRAIN,
            move |lab| std::fs::remove_file(lab.join(plan)).expect("it is there"),
            "plan/plan.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a plan.json that is cut short",
            TRAIN,
            half(plan),
            "plan/plan.json: expected segfit-plan/1 or segfit-network/1: EOF while parsing a value at line * \
             column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a plan.json of another version",
            TRAIN,
            edit(plan, "/format", json!("segfit-plan/9")),
            "plan/plan.json: expected segfit-plan/1: its format is segfit-plan/9\n\
             hint: {edited}",
        ),
        Case::new(
            "a plan.json without its network",
            TRAIN,
            |lab| put(lab, "plan/plan.json", "{\"format\": \"segfit-plan/1\"}"),
            "plan/plan.json: expected segfit-plan/1: missing field `version`\n\
             hint: {edited}",
        ),
        Case::new(
            "a plan.json whose network is broken",
            TRAIN,
            edit(plan, "/spec/output", json!("none")),
            "plan/plan.json: expected a network whose layers fit together, found layer none: the output names \
             no layer\n\
             hint: {layer}",
        ),
        Case::new(
            "a plan.json whose input is of -32 pixels",
            TRAIN,
            edit(plan, "/input/size", json!(-32)),
            "plan/plan.json: expected segfit-plan/1: invalid value: integer `-32`, expected usize\n\
             hint: {edited}",
        ),
        Case::new(
            "a plan.json whose input is of 0 pixels",
            TRAIN,
            edit(plan, "/input/size", json!(0)),
            "plan/plan.json: expected segfit-plan/1: an input of 0 pixels along a side; 1 to 4096 are possible\n\
             hint: {edited}",
        ),
        Case::new(
            "a plan.json whose input is of 30 pixels",
            TRAIN,
            edit(plan, "/input/size", json!(30)),
            "plan/plan.json: rows and columns of the network's input: expected a multiple of 4, got 30",
        ),
        Case::new(
            "a plan.json whose input is of a million pixels",
            TRAIN,
            edit(plan, "/input/size", json!(1_000_000)),
            "plan/plan.json: expected segfit-plan/1: an input of 1000000 pixels along a side; 1 to 4096 are \
             possible\n\
             hint: {edited}",
        ),
        Case::new(
            "a sizes.json that is cut short",
            REPORT,
            half(sizes),
            "reading plan: plan/sizes.json: expected segfit-ladder/1: EOF while parsing a value at line * \
             column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a sizes.json of another version",
            REPORT,
            edit(sizes, "/format", json!("segfit-ladder/9")),
            "reading plan: plan/sizes.json: expected segfit-ladder/1: its format is segfit-ladder/9\n\
             hint: {edited}",
        ),
        Case::new(
            "a profile.json that is cut short",
            PREDICT,
            half(profile),
            "plan/profile.json: expected segfit-profile/1: EOF while parsing an object at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a profile.json of another version",
            PREDICT,
            edit(profile, "/format", json!("segfit-profile/0")),
            "plan/profile.json: expected segfit-profile/1: its format is segfit-profile/0\n\
             hint: {edited}",
        ),
        Case::new(
            "a profile.json with a measure that is a text",
            PREDICT,
            edit(profile, "/measures/jpeg/mean", json!("high")),
            "plan/profile.json: expected segfit-profile/1: invalid type: string \"high\", expected f64\n\
             hint: {edited}",
        ),
        Case::new(
            "a profile.json with a measure of null",
            PREDICT,
            edit(profile, "/measures/jpeg/mean", json!(null)),
            "plan/profile.json: expected segfit-profile/1: invalid type: null, expected f64\n\
             hint: {edited}",
        ),
        Case::new(
            "a folder to report on that holds nothing",
            "report empty --out page.html",
            |lab| std::fs::create_dir(lab.join("empty")).expect("a folder can be made"),
            "reading empty: empty/plan.json: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a folder to report on that is not there",
            "report nowhere --out page.html",
            |_| (),
            "reading nowhere: nowhere: {not there}\nhint: {spelling}",
        ),
        Case::new(
            "a recipe.json that is cut short",
            RECIPE,
            half("run/recipe.json"),
            "run/recipe.json: expected segfit-recipe/1: EOF while parsing a string at line * column *\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe.json of another version",
            RECIPE,
            edit("run/recipe.json", "/format", json!("segfit-recipe/9")),
            "run/recipe.json: expected segfit-recipe/1: its format is segfit-recipe/9\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe of 0 steps",
            RECIPE,
            edit("run/recipe.json", "/steps", json!(0)),
            "run/recipe.json: expected segfit-recipe/1: steps is 0, expected at least 1\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe of -5 steps",
            RECIPE,
            edit("run/recipe.json", "/steps", json!(-5)),
            "run/recipe.json: expected segfit-recipe/1: invalid value: integer `-5`, expected usize\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe of 0 images at a time",
            RECIPE,
            edit("run/recipe.json", "/batch", json!(0)),
            "run/recipe.json: expected segfit-recipe/1: batch is 0, expected at least 1\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe with an average that never moves",
            RECIPE,
            edit("run/recipe.json", "/ema", json!(1.0)),
            "run/recipe.json: expected segfit-recipe/1: ema is 1, expected a decay from 0 to below 1\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe with a negative learning rate",
            RECIPE,
            edit("run/recipe.json", "/learning_rate", json!(-0.01)),
            "run/recipe.json: expected segfit-recipe/1: learning_rate is -0.01, expected a number above 0\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe with an endless learning rate",
            RECIPE,
            edit("run/recipe.json", "/learning_rate", json!(1e300)),
            "run/recipe.json: expected segfit-recipe/1: learning_rate is inf, expected a number above 0\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe with an unknown loss",
            RECIPE,
            edit("run/recipe.json", "/loss", json!("hinge")),
            "run/recipe.json: expected segfit-recipe/1: unknown variant `hinge`, expected `cross_entropy_dice` \
             or `binary_dice`\n\
             hint: {edited}",
        ),
        Case::new(
            "a recipe for 0 pixels",
            "train network.json data --recipe run/recipe.json --out out",
            edit("run/recipe.json", "/input/size", json!(0)),
            "run/recipe.json: expected segfit-recipe/1: an input of 0 pixels along a side; 1 to 4096 are \
             possible\n\
             hint: {edited}",
        ),
    ]
}

fn half(file: &'static str) -> impl Fn(&Path) + Send + Sync {
    move |lab| change(lab, file, |bytes| bytes.truncate(bytes.len() / 2))
}

fn edit(file: &'static str, at: &'static str, value: serde_json::Value) -> impl Fn(&Path) + Send + Sync {
    move |lab| set(lab, file, at, value.clone())
}
