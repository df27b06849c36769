//! A report: what segfit found, as one HTML page that needs nothing else, and its figures as SVG and CSV.
//!
//! [`render`] turns [`Content`] (a profile, a plan with the plans of other sizes, runs) into a [`Rendered`] page. It formats and
//! computes nothing but summaries of what it is given. Pages are filled in from `templates/`, where everything that comes from
//! outside (names of files and classes) is escaped; the page's own policy lets no other script run and nothing be fetched.

mod axis;
mod comparison;
mod curve;
mod explore;
mod figure;
mod images;
mod layers;
mod measures;
mod page;
mod picture;
mod run;
mod summary;
#[cfg(test)]
mod tests;
mod words;

pub use images::ShownImage;
pub use page::render;
pub use run::{Facts, LogPoint, Run};
pub use summary::summary;

use crate::complexity::ComplexityProfile;
use crate::plan::{Ladder, Plan};
use crate::predict::Mapping;
use crate::survey::Survey;

/// What a report is made from; everything but the title is optional, and what is missing is left out.
#[derive(Clone, Debug, Default)]
pub struct Content<'a> {
    /// What it is about, for example the name of the data set.
    pub title: String,
    /// Complexity of the images.
    pub profile: Option<&'a ComplexityProfile>,
    /// What is to be seen of the images, and warnings.
    pub survey: Option<&'a Survey>,
    /// What predicted: the calibration data sets are shown beside this one.
    pub mapping: Option<&'a Mapping>,
    /// The plan.
    pub plan: Option<&'a Plan>,
    /// Plans of other sizes, to choose from.
    pub ladder: Option<&'a Ladder>,
    /// Trained networks.
    pub runs: Vec<Run<'a>>,
}

/// A page and the files that go beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The page.
    pub html: String,
    /// Names and contents of SVG and CSV files.
    pub files: Vec<(String, String)>,
}
