//! Responses that follow from the definition of a measure, whatever was expected of the others.

use crate::expectations::{OF_MASKS, Way, expected};
use crate::knobs::Knob;
use crate::response::Response;
use crate::table::{Turned, digits};

pub struct Check {
    pub what: String,
    pub found: String,
    pub passed: bool,
}

/// The noise estimate may follow another knob by this share of its range over the noise (0 to 0.25).
const NOISE_LEAK: f64 = 0.1;
/// Over another knob, the objects of a frame may change by this share of what their own knob does: a tip of an object
/// beyond the frame may come into it.
const OBJECTS_LEAK: f64 = 0.01;
/// The perimetric complexity of one shape at several sizes differs by at most this, once the outline's place is allowed for.
const PERIMETRIC_TOLERANCE: f64 = 0.03;

pub fn checks(all: &[Turned]) -> Vec<Check> {
    let mut checks = Vec::new();
    for knob in [Knob::Noise, Knob::Contrast] {
        for name in OF_MASKS {
            checks.push(untouched(all, knob, name));
        }
    }
    checks.push(leaks(all, "objects", Knob::Objects, Knob::Roughness, OBJECTS_LEAK));
    checks.push(moves(all, Knob::Noise, "noise", Way::Up));
    checks.push(moves(all, Knob::Roughness, "perimetric", Way::Up));
    checks.push(moves(all, Knob::Roughness, "solidity", Way::Down));
    checks.push(moves(all, Knob::Contrast, "fisher", Way::Up));
    checks.push(moves(all, Knob::Scale, "object_area", Way::Up));
    checks.push(counted(all));
    for knob in [Knob::Objects, Knob::Roughness, Knob::Contrast, Knob::Scale] {
        checks.push(leaks(all, "noise", Knob::Noise, knob, NOISE_LEAK));
    }
    checks.push(outline_through_pixel_centres(all));
    checks.push(named_once());
    checks
}

fn of<'a>(all: &'a [Turned], knob: Knob, measure: &str) -> &'a Response {
    let found = all.iter().find(|(k, _)| *k == knob).and_then(|(_, r)| r.iter().find(|r| r.measure == measure));
    found.expect("every knob has every measure")
}

fn untouched(all: &[Turned], knob: Knob, measure: &str) -> Check {
    let response = of(all, knob, measure);
    Check {
        what: format!("{measure} has the same bits for any {}", knob.name()),
        found: format!("{} to {}", digits(response.means()[0]), digits(response.means()[6])),
        passed: response.is_untouched(),
    }
}

fn moves(all: &[Turned], knob: Knob, measure: &str, way: Way) -> Check {
    let response = of(all, knob, measure);
    Check {
        what: format!("{measure} moves {way:?} with {}", knob.name()),
        found: format!("rho {:+.2}, effect {}", response.rho(), digits(response.effect())),
        passed: response.way() == way,
    }
}

/// Every image of every setting has as many objects as the knob says.
fn counted(all: &[Turned]) -> Check {
    let response = of(all, Knob::Objects, "objects");
    let settings = Knob::Objects.settings();
    let passed = response.values.iter().zip(settings).all(|(v, n)| v.iter().all(|&v| v == f64::from(n)));
    Check { what: "objects are counted exactly".into(), found: response.means().map(digits).join(", "), passed }
}

/// The range of a measure over a knob that it should not follow, as a share of that over its own.
fn leaks(all: &[Turned], measure: &str, own: Knob, other: Knob, most: f64) -> Check {
    let range = |knob: Knob| {
        let means = of(all, knob, measure).means();
        means.iter().copied().fold(f64::MIN, f64::max) - means.iter().copied().fold(f64::MAX, f64::min)
    };
    let share = range(other) / range(own);
    Check {
        what: format!("{measure} follows {} by at most {most} of what it follows {}", other.name(), own.name()),
        found: digits(share),
        passed: share <= most,
    }
}

/// The outline of an object runs through the centres of its rim pixels, half a pixel inside of it. So an object of radius
/// r pixels has (1 - 1 / (2 r))^2 of its perimetric complexity in the continuum, and that has no scale. At 1/4, 1 and 4
/// the frame cuts no object.
fn outline_through_pixel_centres(all: &[Turned]) -> Check {
    let means = of(all, Knob::Scale, "perimetric").means();
    let settings = Knob::Scale.settings();
    let continuum = [0, Knob::Scale.neutral(), 6].map(|s| {
        let radius = 256.0 / 26.0 * f64::from(settings[s]);
        means[s] / (1.0 - 0.5 / radius).powi(2)
    });
    let differs = continuum.iter().map(|c| (c / continuum[1] - 1.0).abs()).fold(0.0, f64::max);
    Check {
        what: "perimetric without the half pixel is the same at scales 1/4, 1 and 4".into(),
        found: format!(
            "{} (as measured {})",
            continuum.map(digits).join(", "),
            [0, 3, 6].map(|s| digits(means[s])).join(", ")
        ),
        passed: differs <= PERIMETRIC_TOLERANCE,
    }
}

/// No measure is expected to do two things.
fn named_once() -> Check {
    let twice: Vec<String> = crate::expectations::EXPECTATIONS
        .iter()
        .flat_map(|e| e.measures.iter().map(move |m| (e, m)))
        .filter(|(e, m)| expected(e.knob, m).is_some_and(|first| !std::ptr::eq(first, *e)))
        .map(|(e, m)| format!("{m} for {}", e.knob.name()))
        .collect();
    Check {
        what: "a measure is expected to do one thing".into(),
        found: format!("{twice:?}"),
        passed: twice.is_empty(),
    }
}
