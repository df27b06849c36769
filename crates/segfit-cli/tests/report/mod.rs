//! Pages that `report`, `plan` and `train` write.

use serde_json::Value;

use crate::support::{Lab, names, refused, stderr};

/// A data set with a plan and two short trainings.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.json(&["plan", "data", "--size", "32", "--max-params", "5k", "--out", "plan"]);
    for (seed, run) in [("0", "run"), ("1", "other")] {
        lab.json(&["train", "plan/plan.json", "data", "--out", run, "--steps", "4", "--seed", seed]);
    }
    lab
}

fn page(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(lab.path(name)).unwrap()
}

/// The JSON inside of a page.
fn offers(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"offers\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_plan_has_a_page_whose_sizes_are_what_the_command_line_plans() {
    let lab = Lab::new();
    let options = ["--size", "32", "--network", "resunet", "--width", "16", "--divisor", "2"];
    let plan = lab.json(&[&["plan", "data", "--keep", "90%", "--out", "plan"], &options[..]].concat());
    let data = offers(&page(&lab, "plan/report.html"));
    assert_eq!(data["chosen"], plan);
    let offers = data["offers"].as_array().unwrap();
    assert!(offers.len() > 3);
    for offer in offers.iter().step_by(1.max(offers.len() / 4)) {
        let command = offer["show"]["command"].as_str().unwrap();
        let words: Vec<&str> = command.split(' ').map(|w| if w == "DATA" { "data" } else { w }).collect();
        let again = lab.json(&[&words[1..], &["--dry-run"]].concat());
        assert_eq!(offer["params"], again["network"]["params"], "{command}");
        let Some(rung) = offer["rung"].as_u64() else { continue };
        let rung = &data["ladder"]["rungs"][rung as usize];
        for (part, expected) in [("plan", &again), ("spec", &again["spec"])] {
            for place in rung[part].as_array().unwrap() {
                let value = &data["ladder"]["pool"][place[1].as_u64().unwrap() as usize];
                assert_eq!(*value, expected[place[0].as_str().unwrap()], "{command}: {place}");
            }
        }
    }
}

#[test]
fn runs_have_a_page_and_can_be_compared() {
    let lab = lab();
    assert!(names(&lab.path("run")).contains(&"report.html".to_string()));
    let run = page(&lab, "run/report.html");
    for part in ["Learning curves", "Lowest Dice", "What is taken for what", "id=\"offers\"", "time of training"] {
        assert!(run.contains(part), "{part}");
    }
    let written = lab.json(&["report", "run", "other", "--data", "data", "--out", "both.html"]);
    assert_eq!(written["bytes"].as_u64().unwrap(), page(&lab, "both.html").len() as u64);
    assert!(names(&lab.path("both")).contains(&"differences.csv".to_string()));
    let both = page(&lab, "both.html");
    assert!(both.contains("Differences on the same images") && both.contains("data:image/png;base64"));
    let output = lab.run(&["report", "plan"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("of the full accuracy on these images."), "{text}{}", stderr(&output));
}

#[test]
fn a_page_is_the_same_when_it_is_made_again() {
    let lab = lab();
    let once = page(&lab, "run/report.html");
    lab.json(&["report", "run", "--data", "data"]);
    assert_eq!(page(&lab, "run/report.html"), once);
    lab.json(&["report", "run", "--data", "data", "--threads", "1", "--out", "again.html"]);
    assert_eq!(page(&lab, "again.html"), once);
}

#[test]
fn what_cannot_be_reported_is_refused_by_name() {
    let lab = lab();
    std::fs::write(lab.path("broken.json"), "{\"format\": \"segfit-plan/1\"}").unwrap();
    refused(&lab.run(&["report", "broken.json"]), &["broken.json", "hint:"]);
    refused(&lab.run(&["report", "missing"]), &["missing"]);
    refused(&lab.run(&["report", "plan/network.json"]), &["network.json", "segfit-network/1", "hint:"]);
    refused(&lab.run(&["report", "plan", "--out", "page.pdf"]), &["page.pdf", ".html"]);
    refused(&lab.run(&["report", "plan", "plan/plan.json"]), &["one plan"]);
    refused(&lab.run(&["report", "run", "plan", "other"]), &["not of both"]);
    lab.json(&["phantom", "discs", "--count", "10", "--size", "32", "--out", "others"]);
    refused(&lab.run(&["report", "run", "--data", "others"]), &["others", "other files"]);
    std::fs::write(lab.path("run/metrics.json"), "{}").unwrap();
    refused(&lab.run(&["report", "run"]), &["metrics.json"]);
}
