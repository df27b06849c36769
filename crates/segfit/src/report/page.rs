//! [`render`]: the page from its templates.

use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;
use serde_json::json;

use super::comparison::{differences, forest, section};
use super::explore::{Explored, command, explore};
use super::figure::Figure;
use super::images::{Row, ShownImage};
use super::layers::layers;
use super::measures::{Strips, all, table};
use super::picture::Picture;
use super::run::{Run, learning, per_image};
use super::summary::headline;
use super::words::percent;
use super::{Content, Rendered};
use crate::error::{Error, Result};
use crate::numbers::three_digits;
use crate::survey::{Shown, Survey};

const STYLE: &str = include_str!("templates/style.css");
const FIGURE_STYLE: &str = include_str!("templates/figure.css");
const SCRIPT: &str = include_str!("templates/script.js");

const TEMPLATES: [(&str, &str); 10] = [
    ("page.html", include_str!("templates/page.html")),
    ("explore.html", include_str!("templates/explore.html")),
    ("run.html", include_str!("templates/run.html")),
    ("data.html", include_str!("templates/data.html")),
    ("layers.html", include_str!("templates/layers.html")),
    ("comparison.html", include_str!("templates/comparison.html")),
    ("figure.svg", include_str!("templates/figure.svg")),
    ("frame.svg", include_str!("templates/frame.svg")),
    ("network.svg", include_str!("templates/network.svg")),
    ("measures.svg", include_str!("templates/measures.svg")),
];

/// The page of `content` and its figures as files.
///
/// # Errors
/// When a network does not fit together.
pub fn render(content: &Content<'_>) -> Result<Rendered> {
    let mut press = Press::new()?;
    let is_alone = content.runs.len() == 1;
    let comparison = (content.runs.len() > 1).then(|| press.comparison(&content.runs)).transpose()?;
    let names: Vec<(String, &str)> = match &content.runs[..] {
        [_] => vec![("run".into(), "After training")],
        runs => runs.iter().enumerate().map(|(i, run)| (format!("run{}", i + 1), run.name.as_str())).collect(),
    };
    let runs = content.runs.iter().zip(&names).map(|(run, (id, _))| press.run(run, id)).collect::<Result<Vec<_>>>()?;
    let explored = content.plan.map(|plan| press.explore(explore(plan, content))).transpose()?;
    let data = press.data(content)?;
    let spec = content.plan.map(|p| (&p.spec, p.network.size));
    let spec = spec.or_else(|| content.runs.first().filter(|_| is_alone).map(|r| (r.network, r.size)));
    let layers = spec.map(|(spec, size)| layers(spec, size)).transpose()?;
    // A run alone is about what it reached, everything else about what to choose: the page has the same order.
    let part = |is: bool, id: &str, title: &str| is.then(|| json!({ "id": id, "title": title }));
    let mut parts = vec![
        part(explored.is_some() && !is_alone, "sizes", "Accuracy and size"),
        part(comparison.is_some(), "comparison", "Comparison"),
    ];
    parts.extend(names.iter().map(|(id, title)| part(true, id, title)));
    parts.extend([
        part(explored.is_some() && is_alone, "sizes", "Accuracy and size"),
        part(data.is_some(), "data", "The images"),
        part(layers.is_some(), "layers", "Layers"),
    ]);
    let parts: Vec<serde_json::Value> = parts.into_iter().flatten().collect();
    let (explored, offers) = explored.unzip();
    let offers = offers.flatten();
    let nonce = blake3::hash(SCRIPT.as_bytes()).to_hex()[..24].to_string();
    let html = press.print(
        "page.html",
        context! {
            title => format!("segfit report: {}", content.title),
            version => env!("CARGO_PKG_VERSION"),
            nonce,
            style => Value::from_safe_string(format!("{FIGURE_STYLE}{STYLE}")),
            script => Value::from_safe_string(SCRIPT.into()),
            answer => headline(content),
            after => after(content),
            parts,
            comparison,
            explore => explored,
            runs,
            data,
            layers,
            made => format!("Made by segfit {} without any network access; this page loads nothing.", env!("CARGO_PKG_VERSION")),
            provenance => provenance(content),
            offers => offers.map(|o| Value::from_safe_string(in_script(&o))),
        },
    )?;
    Ok(Rendered { html, files: press.files })
}

/// JSON that may stand inside of a script element: no `<` can end it.
fn in_script(value: &serde_json::Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => text.push(other),
        }
    }
    text
}

/// The templates, and the files that were printed beside the page.
struct Press {
    templates: Environment<'static>,
    files: Vec<(String, String)>,
}

impl Press {
    fn new() -> Result<Self> {
        let mut templates = Environment::new();
        // Everything is escaped, in figures too.
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        templates.add_global("figure_style", Value::from_safe_string(FIGURE_STYLE.into()));
        for (name, text) in TEMPLATES {
            templates.add_template(name, text).map_err(|e| broken(name, &e))?;
        }
        Ok(Self { templates, files: Vec::new() })
    }

    fn print(&self, name: &str, values: Value) -> Result<String> {
        let template = self.templates.get_template(name).map_err(|e| broken(name, &e))?;
        template.render(values).map_err(|e| broken(name, &e))
    }

    /// A drawing inside of the page.
    fn inside(&self, template: &str, drawing: &impl Serialize) -> Result<Value> {
        let values = context! { alone => false, ..Value::from_serialize(drawing) };
        Ok(Value::from_safe_string(self.print(template, values)?))
    }

    /// The same inside of the page and as a file of its own, with its numbers.
    fn drawn(&mut self, template: &str, name: &str, drawing: &impl Serialize, table: &[Vec<String>]) -> Result<Value> {
        let alone = context! { alone => true, ..Value::from_serialize(drawing) };
        let text = self.print(template, alone)?;
        self.files.push((format!("{name}.svg"), text));
        self.files.push((format!("{name}.csv"), csv(table)?));
        self.inside(template, drawing)
    }

    fn figure(&mut self, figure: &Figure) -> Result<Value> {
        self.drawn("figure.svg", &figure.name, figure, &figure.table)
    }

    fn explore(&mut self, explored: Explored) -> Result<(Value, Option<serde_json::Value>)> {
        let curve = self.figure(&explored.curve)?;
        let picture = self.drawn("network.svg", "network", &explored.picture, &explored.picture.table)?;
        let section = context! { curve, picture, ..Value::from_serialize(&explored.section) };
        let mut script = explored.script;
        if let Some(offers) = script.as_mut().and_then(|s| s["offers"].as_array_mut()) {
            let draw = |p: &Picture| self.inside("network.svg", p).map(|v| v.to_string());
            for (offer, picture) in offers.iter_mut().zip(&explored.pictures) {
                offer["picture"] = draw(picture)?.into();
            }
        }
        Ok((section, script))
    }

    fn comparison(&mut self, runs: &[Run<'_>]) -> Result<Value> {
        let differences = differences(runs);
        let values = section(runs, &differences)?;
        let first = runs.first().map_or("", |r| r.name.as_str());
        let forest = forest(&differences, first).map(|f| self.figure(&f)).transpose()?;
        let all: Vec<&Run<'_>> = runs.iter().collect();
        let learning = learning(&all, "learning_curves", "Dice on validation images", |p| p.validation_dice);
        let learning = learning.map(|f| self.figure(&f)).transpose()?;
        Ok(context! { forest, learning, ..Value::from_serialize(&values) })
    }

    fn run(&mut self, run: &Run<'_>, id: &str) -> Result<Value> {
        let dice =
            learning(&[run], &format!("{id}_validation_dice"), "Dice on validation images", |p| p.validation_dice);
        let loss = learning(&[run], &format!("{id}_loss"), "loss on training images", |p| Some(p.loss));
        let learning = match (dice, loss) {
            (None, None) => None,
            (dice, loss) => {
                let mut figure = |f: Option<Figure>| f.map(|f| self.figure(&f)).transpose();
                Some(context! { dice => figure(dice)?, loss => figure(loss)? })
            }
        };
        let per_image = run.evaluation.map(|e| self.figure(&per_image(e, &format!("{id}_per_image")))).transpose()?;
        let rows = [("Lowest Dice", &run.worst), ("Highest Dice", &run.best)];
        let thumbnails: Vec<Row> = rows.iter().filter_map(|(title, images)| Row::of(title, images)).collect();
        Ok(context! { learning, per_image, thumbnails, ..Value::from_serialize(run.section(id)?) })
    }

    fn data(&mut self, content: &Content<'_>) -> Result<Option<Value>> {
        let strips = content.profile.and_then(|p| Strips::of(p, content.mapping).map(|s| (p, s)));
        let measures = strips
            .map(|(profile, strips)| self.drawn("measures.svg", "measures", &strips, &table(profile, content.mapping)))
            .transpose()?;
        if measures.is_none() && content.survey.is_none() {
            return Ok(None);
        }
        let rows = content.survey.map(|s| {
            let simple = Row::of("The simplest training images", &shown(&s.simplest));
            [simple, Row::of("The most complex training images", &shown(&s.most_complex))]
        });
        Ok(Some(context! {
            summary => of_images(content),
            warnings => content.survey.map(|s| &s.warnings),
            classes => content.survey.map(classes),
            thumbnails => rows.into_iter().flatten().flatten().collect::<Vec<_>>(),
            others => content.mapping.map_or(0, |m| m.calibrated_on.complexity.len()),
            measures,
            more => content.profile.map(all),
        }))
    }
}

fn broken(name: &str, error: &minijinja::Error) -> Error {
    Error::Content {
        path: name.into(),
        expected: "a template that can be filled in".into(),
        got: format!("{error:#}"),
        hint: "this is a fault of segfit; please report it with the command".into(),
    }
}

fn csv(table: &[Vec<String>]) -> Result<String> {
    let fault = |e: &dyn std::fmt::Display| Error::Content {
        path: "a table of the report".into(),
        expected: "rows".into(),
        got: e.to_string(),
        hint: "this is a fault of segfit; please report it with the command".into(),
    };
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in table {
        writer.write_record(row).map_err(|e| fault(&e))?;
    }
    let bytes = writer.into_inner().map_err(|e| fault(&e))?;
    String::from_utf8(bytes).map_err(|e| fault(&e))
}

fn shown(all: &[Shown]) -> Vec<ShownImage> {
    let one = |s: &Shown| ShownImage {
        name: s.name.clone(),
        words: format!("{} bytes per pixel, {} foreground", three_digits(s.complexity), percent(s.foreground)),
        height: s.height,
        width: s.width,
        png: s.png.clone(),
    };
    all.iter().map(one).collect()
}

fn classes(survey: &Survey) -> Vec<serde_json::Value> {
    let row = |c: &crate::survey::ClassShare| json!({ "name": c.label, "share": percent(c.share), "images": format!("{} of {}", c.images, survey.train) });
    survey.classes.iter().map(row).collect()
}

/// What the data set consists of, in one sentence.
fn of_images(content: &Content<'_>) -> String {
    let Some(s) = content.survey else {
        let profile = content.profile;
        return profile.map_or_else(String::new, |p| {
            let side = p.input.size;
            format!("{} training images of {}, as the network sees them: {side} x {side} pixels.", p.images, p.dataset)
        });
    };
    let ((h, w), (tall, broad)) = (s.sizes.smallest, s.sizes.largest);
    let size = if (h, w) == (tall, broad) { format!("{w} x {h}") } else { format!("{w} x {h} to {broad} x {tall}") };
    format!(
        "{}: {} images of {size} pixels with {} channel{} from {} sources: {} to train, {} to validate, {} to test.",
        s.dataset,
        s.images,
        s.channels,
        if s.channels == 1 { "" } else { "s" },
        s.sources,
        s.train,
        s.validation,
        s.test
    )
}

/// What stands below the answer.
fn after(content: &Content<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let [run] = &content.runs[..] {
        lines.extend(run.words().into_iter().skip(1));
    }
    if content.runs.len() > 1 && content.plan.is_some() {
        lines.extend(content.runs.iter().map(|run| format!("{}: {}", run.name, run.headline())));
    }
    if let Some(plan) = content.plan {
        if content.runs.len() != 1 {
            let words = "The interval is meant to hold the true value nine times in ten. Nothing was trained for this prediction.";
            lines.push(words.into());
        }
        if plan.predicted.extrapolated {
            lines.push(format!("Outside of what was calibrated: {}.", plan.predicted.reasons.join("; ")));
        }
    }
    if let Some(count) = content.survey.map(|s| s.warnings.len()).filter(|&n| n > 0) {
        let warnings = if count == 1 { "1 warning".into() } else { format!("{count} warnings") };
        lines.push(format!("{warnings} about the images: see below."));
    }
    lines
}

/// Where the numbers come from, for a person who wants to repeat them.
fn provenance(content: &Content<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(plan) = content.plan {
        lines.push(format!(
            "Plan by segfit {} with mapping {} for data set {} (fingerprint {}).",
            plan.version, plan.mapping, plan.dataset.name, plan.dataset.fingerprint
        ));
    }
    if let Some(on) = content.mapping.map(|m| &m.calibrated_on) {
        lines.push(format!("The mapping was fitted to {} trainings on {} data sets.", on.records, on.data_sets.len()));
    }
    lines.extend(content.plan.map(|plan| format!("Made again by: {}", command(plan, content))));
    lines
}
