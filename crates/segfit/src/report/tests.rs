//! Whole pages.

use super::*;
use crate::complexity::{ProfileContext, profile};
use crate::evaluate::{Case, EvaluationOptions, evaluate};
use crate::network::NetworkSpec;
use crate::phantom::{PhantomKind, PhantomOptions, make};
use crate::plan::{Budgets, Freedom, Request, Space};
use crate::predict::synthetic::{World, measures, records};
use crate::predict::{DatasetId, NetworkOptions, Subject};
use crate::recipe::{InputMode, InputSpec};
use crate::survey::{ClassShare, Sizes, Warning, WarningKind};

const INPUT: InputSpec = InputSpec { mode: InputMode::Resize, size: 64 };

/// What a file or class may be called by somebody who means harm, or by chance.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "</script><script>alert(2)</script>",
    "line\nbreak\u{2028}'quoted'",
    "javascript:alert(3)",
];

struct Made {
    mapping: Mapping,
    profile: ComplexityProfile,
    plan: Plan,
    ladder: Ladder,
}

fn made(name: &str) -> Made {
    let mapping = Mapping::fit(&records(&World { sets: 6, ..World::default() })).unwrap();
    let dataset = DatasetId { name: name.into(), fingerprint: "f".into() };
    let subject = Subject { dataset, measures: measures(0.0), constant_dice: 0.4 };
    let family = "unet".into();
    let options = NetworkOptions { family, in_channels: 1, classes: 2, full_width: 64, depth: 4, size: 64 };
    let space = Space::of_family(&options, &Freedom::default()).unwrap();
    let budgets = Budgets { keep: Some(0.9), ..Budgets::default() };
    let request =
        Request { mapping: &mapping, subject: &subject, space: &space, budgets, objective: None, latency: None };
    let (mut plan, ladder) = (request.plan().unwrap(), request.ladder().unwrap());
    plan.input = Some(INPUT);
    let time = |_: &NetworkSpec| Ok::<_, ()>(None);
    let ladder = ladder.completed("segfit plan DATA".into(), INPUT, time).unwrap();
    let phantom = PhantomOptions { size: 64, ..PhantomOptions::new(PhantomKind::Nuclei) };
    let samples: Vec<_> = (0..4).map(|i| make(&phantom, i)).collect();
    let context = ProfileContext {
        dataset: name.into(),
        fingerprint: "f".into(),
        input: INPUT,
        split: "train".into(),
        seed: None,
        keep_images: false,
        classes: 2,
        sources: Default::default(),
    };
    Made { profile: profile(&samples, &context).unwrap(), mapping, plan, ladder }
}

impl Made {
    fn content<'a>(&'a self, survey: Option<&'a Survey>, runs: Vec<Run<'a>>) -> Content<'a> {
        Content {
            title: self.plan.dataset.name.clone(),
            profile: Some(&self.profile),
            survey,
            mapping: Some(&self.mapping),
            plan: Some(&self.plan),
            ladder: Some(&self.ladder),
            runs,
        }
    }
}

fn survey(names: &[&str]) -> Survey {
    let warning = Warning {
        kind: WarningKind::Leakage,
        words: format!("{} is in both", names[0]),
        images: names.iter().map(ToString::to_string).collect(),
    };
    let class = |class: u8, label: &str| ClassShare { class, label: label.into(), share: 0.5, images: 3 };
    Survey {
        dataset: names[0].into(),
        fingerprint: "f".into(),
        input: INPUT,
        images: 5,
        train: 3,
        validation: 1,
        test: 1,
        sources: 5,
        channels: 1,
        sizes: Sizes { smallest: (64, 64), largest: (64, 80) },
        classes: vec![class(0, names[1 % names.len()]), class(1, names[2 % names.len()])],
        simplest: Vec::new(),
        most_complex: Vec::new(),
        complexity: vec![0.1, 0.2],
        warnings: vec![warning],
        remarks: Vec::new(),
    }
}

fn image(name: &str) -> ShownImage {
    ShownImage { name: name.into(), words: "Dice 0.500".into(), height: 2, width: 2, png: vec![1, 2, 3] }
}

/// An evaluation of these images: perfect, but for those whose places are in `missed`, where nothing was found.
fn evaluation(names: &[&str], missed: &[usize]) -> crate::evaluate::Evaluation {
    let phantom = PhantomOptions { size: 64, ..PhantomOptions::new(PhantomKind::Nuclei) };
    let masks: Vec<_> = (0..names.len()).map(|i| make(&phantom, i).mask).collect();
    let empty = crate::data::Mask::background(64, 64);
    let cases: Vec<Case<'_>> = names
        .iter()
        .enumerate()
        .map(|(i, &name)| Case {
            name,
            source: name,
            predicted: if missed.contains(&i) { &empty } else { &masks[i] },
            truth: &masks[i],
            spacing: [1.0, 1.0],
        })
        .collect();
    evaluate(&cases, &EvaluationOptions::new(2)).unwrap()
}

fn run<'a>(name: &str, made: &'a Made, evaluation: &'a crate::evaluate::Evaluation) -> Run<'a> {
    let point = |step: usize| LogPoint { step, loss: 1.0 / step as f64, validation_dice: Some(0.5) };
    Run {
        name: name.into(),
        network: &made.plan.spec,
        size: 64,
        plan: Some(&made.plan),
        evaluation: Some(evaluation),
        classes: vec!["background".into(), name.into()],
        log: (1..5).map(point).collect(),
        facts: Some(Facts {
            steps: 4,
            seconds: Some(2.0),
            peak_bytes: Some(1 << 20),
            engine: "cpu".into(),
            recipe: name.into(),
            seed: 0,
        }),
        best: vec![image(name)],
        worst: Vec::new(),
    }
}

/// The JSON that the script of a page reads.
fn offers(html: &str) -> serde_json::Value {
    let start = html.find("id=\"offers\">").unwrap() + "id=\"offers\">".len();
    let end = start + html[start..].find("</script>").unwrap();
    serde_json::from_str(&html[start..end]).unwrap()
}

#[test]
fn a_plan_says_its_answer_first_and_holds_the_plans_of_all_sizes() {
    let made = made("cells");
    let survey = survey(&["cells", "background", "nucleus"]);
    let rendered = render(&made.content(Some(&survey), Vec::new())).unwrap();
    let answer = super::words::answer(&made.plan);
    let (first, rest) = rendered.html.split_once(&answer).expect("the answer");
    assert!(first.len() < rest.len() && !first.contains("<section"), "nothing but the head stands before it");
    for part in ["id=\"sizes\"", "id=\"data\"", "id=\"layers\"", "is in both", "<main id=\"main\">"] {
        assert!(rendered.html.contains(part), "{part}");
    }
    let offers = offers(&rendered.html);
    let all = offers["offers"].as_array().unwrap();
    assert!(all.is_sorted_by_key(|o| o["params"].as_u64().unwrap()));
    assert_eq!(all[offers["start"].as_u64().unwrap() as usize]["rung"], serde_json::Value::Null);
    assert_eq!(serde_json::from_value::<Plan>(offers["chosen"].clone()).unwrap(), made.plan);
    assert_eq!(serde_json::from_value::<Ladder>(offers["ladder"].clone()).unwrap(), made.ladder);
    for offer in all {
        let Some(rung) = offer["rung"].as_u64() else { continue };
        let rung = &made.ladder.rungs[rung as usize];
        assert_eq!(offer["params"].as_u64().unwrap(), rung.plan.network.params);
        assert!(offer["show"]["command"].as_str().unwrap().ends_with(&rung.option.typed()));
        assert!(offer["picture"].as_str().unwrap().starts_with("<svg"));
    }
}

#[test]
fn figures_lie_beside_the_page_with_their_numbers() {
    let made = made("cells");
    let scores = evaluation(&["a", "b", "c"], &[1]);
    let rendered = render(&made.content(None, vec![run("one", &made, &scores)])).unwrap();
    let names: Vec<&str> = rendered.files.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["accuracy_and_size", "network", "run_loss", "run_validation_dice", "run_per_image", "measures"] {
        assert!(names.contains(&format!("{name}.svg").as_str()), "{name}: {names:?}");
        assert!(names.contains(&format!("{name}.csv").as_str()), "{name}: {names:?}");
    }
    for (name, text) in &rendered.files {
        if name.ends_with(".svg") {
            assert!(text.starts_with("<svg xmlns") && text.contains("<style>") && text.ends_with("</svg>"), "{name}");
            assert!(roxmltree::Document::parse(text).is_ok(), "{name} stands alone as XML");
        } else {
            assert!(text.lines().count() > 1, "{name}");
        }
    }
}

#[test]
fn a_run_is_compared_with_what_was_predicted() {
    let made = made("cells");
    let scores = evaluation(&["a", "b", "c"], &[1]);
    let html = render(&made.content(None, vec![run("one", &made, &scores)])).unwrap().html;
    assert!(html.contains(&format!("Mean Dice {:.3}", scores.dice.mean)));
    assert!(html.contains("what had been predicted"));
    assert!(html.contains("What is taken for what") && html.contains("point measured"));
}

#[test]
fn runs_are_compared_image_by_image() {
    let made = made("cells");
    let (better, worse) = (evaluation(&["a", "b", "c", "d"], &[]), evaluation(&["d", "a", "b", "x"], &[1, 3]));
    let runs = vec![run("good", &made, &better), run("bad", &made, &worse)];
    let differences = super::comparison::differences(&runs);
    assert_eq!(differences.len(), 1);
    // Images a, b and d are common; of these the second run misses a.
    assert_eq!((differences[0].images, differences[0].better), (3, 0));
    let interval = differences[0].interval;
    assert!((interval.mean + 1.0 / 3.0).abs() < 1e-12, "{interval:?}");
    assert!(interval.low <= interval.mean && interval.high <= 0.0, "{interval:?}");
    let html = render(&Content { plan: None, ladder: None, ..made.content(None, runs) }).unwrap().html;
    assert!(html.contains("The runs side by side") && html.contains("Of 2 runs, good has the highest test Dice"));
}

#[test]
fn hostile_names_are_text() {
    let made = made(HOSTILE[0]);
    let scores = evaluation(&HOSTILE, &[1, 3]);
    let survey = survey(&HOSTILE);
    let one = render(&made.content(Some(&survey), vec![run(HOSTILE[1], &made, &scores)])).unwrap();
    let two = vec![run(HOSTILE[3], &made, &scores), run(HOSTILE[2], &made, &scores)];
    let two = render(&Content { plan: None, ladder: None, ..made.content(Some(&survey), two) }).unwrap();
    for rendered in [&one, &two] {
        for text in
            std::iter::once(&rendered.html).chain(rendered.files.iter().filter(|f| f.0.ends_with("svg")).map(|f| &f.1))
        {
            assert_eq!(text.matches("<script").count(), text.matches("</script>").count());
            assert!(!text.contains("<script>alert") && !text.contains("<img src=x"));
            assert!(!text.contains("49{"), "no template of a name is filled in");
        }
        assert!(rendered.html.matches("<script").count() <= 2, "only the data and the script of the page");
        assert!(rendered.html.contains("&lt;script&gt;alert(1)"), "the name is there as text");
    }
    assert_eq!(offers(&one.html)["chosen"]["dataset"]["name"], HOSTILE[0], "and whole where the script reads it");
}

#[test]
fn the_terminal_shows_the_answer_and_a_plot_that_fits() {
    let made = made("cells");
    let answer = summary(&made.plan, None);
    assert!(answer.ends_with("of the full accuracy on these images."), "{answer}");
    let plot = summary(&made.plan, Some(60));
    let lines: Vec<&str> = plot.lines().skip(2).collect();
    assert!(lines.iter().all(|l| l.chars().count() <= 60), "{plot}");
    let drawn = lines[1..].join("");
    assert_eq!(drawn.matches('#').count(), 1, "{plot}");
    assert!(drawn.matches('o').count() > 3 && drawn.matches(':').count() > 3, "{plot}");
}

#[test]
fn a_plan_whose_intervals_are_turned_round_still_has_a_plot() {
    let mut plan = made("cells").plan;
    plan.alternatives.reverse();
    plan.alternatives.iter_mut().for_each(|a| std::mem::swap(&mut a.dice.low, &mut a.dice.high));
    plan.network.params = u64::MAX;
    let text = summary(&plan, Some(60));
    assert!(text.contains('#') && text.lines().count() > 10, "{text}");
}

#[test]
fn what_is_missing_is_left_out() {
    let made = made("cells");
    let empty = render(&Content { title: "nothing".into(), ..Content::default() }).unwrap();
    assert!(!empty.html.contains("<section") && empty.files.is_empty());
    let only = Content { plan: Some(&made.plan), title: "cells".into(), ..Content::default() };
    let html = render(&only).unwrap().html;
    assert!(html.contains("id=\"curve\"") && !html.contains("id=\"offers\""));
    let profile = Content { profile: Some(&made.profile), title: "cells".into(), ..Content::default() };
    assert!(render(&profile).unwrap().html.contains("How complex the 4 training images of cells are."));
}

/// Found by fuzzing.
#[test]
fn a_plan_that_claims_any_depth_still_has_a_picture() {
    let mut made = made("cells");
    made.plan.full.depth = usize::MAX;
    let page = render(&Content { ladder: None, ..made.content(None, Vec::new()) }).unwrap();
    assert!(
        page.html.contains("2147483648") && !page.html.contains("4294967296"),
        "as many rows as an image can be halved"
    );
}
