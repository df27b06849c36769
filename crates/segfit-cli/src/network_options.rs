//! Options that name a network.

use std::path::Path;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use segfit::Error;
use segfit::network::families::{self, Activation, Norm, Upsampling, build, family};
use segfit::network::{Narrowing, NetworkSpec};

use crate::shell::quoted;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Full-size network")]
pub struct FamilyOptions {
    /// Family of the network; see `segfit network list`
    #[arg(long, value_name = "FAMILY", default_value = "unet")]
    pub network: String,
    /// Channels at full resolution [default: those of the publication, 64 for unet]
    #[arg(long, value_name = "CHANNELS")]
    pub width: Option<usize>,
    /// How often the image is halved on its way down [default: as in the publication, 4 for unet]
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
}

impl FamilyOptions {
    /// The family's options for images and classes of these numbers.
    ///
    /// # Errors
    /// When the family is unknown.
    pub fn options(&self, in_channels: usize, classes: usize) -> segfit::Result<families::Options> {
        let published = family(&self.network)?.options(in_channels, classes);
        let base_width = self.width.unwrap_or(published.base_width);
        Ok(families::Options { base_width, depth: self.depth.unwrap_or(published.depth), ..published })
    }

    /// The options that are not the default, as typed.
    pub fn typed(&self) -> Option<String> {
        let network = (self.network != "unet").then(|| format!("--network {}", quoted(&self.network)));
        let width = self.width.map(|w| format!("--width {w}"));
        let depth = self.depth.map(|d| format!("--depth {d}"));
        let options: Vec<String> = [network, width, depth].into_iter().flatten().collect();
        (!options.is_empty()).then(|| options.join(" "))
    }

    /// The network for images and classes of these numbers.
    ///
    /// # Errors
    /// When the family is unknown or an option is out of range.
    pub fn build(&self, in_channels: usize, classes: usize) -> segfit::Result<NetworkSpec> {
        build(&self.network, &self.options(in_channels, classes)?)
    }
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkSource {
    /// Family of the network (see `segfit network list`), or a network.json
    #[arg(long, value_name = "FAMILY|FILE", default_value = "unet")]
    pub network: String,
    /// Channels of the image: 1 for gray, 3 for RGB [default: 3]
    #[arg(long, value_name = "N")]
    pub channels: Option<usize>,
    /// Classes, background included [default: 2]
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// Channels at full resolution [default: those of the publication, 64 for unet]
    #[arg(long, value_name = "CHANNELS")]
    pub width: Option<usize>,
    /// How often the image is halved on its way down [default: as in the publication, 4 for unet]
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub narrow: Narrow,
}

/// What else can be chosen of a family.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Form of the family (refused where a family has no such choice)")]
pub struct Form {
    /// Normalisation
    #[arg(long, value_name = "NORM", value_parser = one_of(&Norm::ALL))]
    norm: Option<Norm>,
    /// Activation behind the convolutions
    #[arg(long, value_name = "ACTIVATION", value_parser = one_of(&Activation::ALL))]
    activation: Option<Activation>,
    /// Add a shortcut to every block
    #[arg(long)]
    residual: bool,
    /// Train heads at lower levels beside the output; they cost nothing later
    #[arg(long)]
    deep_supervision: bool,
    /// How the decoder enlarges
    #[arg(long, value_name = "HOW", value_parser = one_of(&Upsampling::ALL))]
    upsampling: Option<Upsampling>,
    /// Channels that each layer of a dense block adds
    #[arg(long, value_name = "CHANNELS")]
    growth: Option<usize>,
    /// Probability of dropout
    #[arg(long, value_name = "P")]
    dropout: Option<f32>,
}

/// How a network is made narrower.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Narrowing")]
pub struct Narrow {
    /// Multiply the channels of every layer by this, for example 0.25
    #[arg(long, value_name = "A")]
    multiplier: Option<f64>,
    /// Multiply single groups by something else, for example 'dec*=0.5,enc4=0.125'; * and ? as in file names
    #[arg(long, value_name = "GROUP=A,...", value_delimiter = ',', value_parser = factor_of)]
    multipliers: Vec<(String, f64)>,
    /// Channels of single groups, for example 'enc1=16,dec*=8'
    #[arg(long, value_name = "GROUP=N,...", value_delimiter = ',', value_parser = width_of)]
    widths: Vec<(String, usize)>,
    /// Round channels (other than those of --widths) to multiples of this
    #[arg(long, value_name = "N", default_value_t = 1)]
    divisor: usize,
}

impl NetworkSource {
    /// The network, narrowed as asked.
    ///
    /// # Errors
    /// When the file or family cannot be read or found, an option is out of range, or a group does not exist.
    pub fn build(&self) -> Result<NetworkSpec> {
        let full = self.full()?;
        let narrowing = self.narrow.narrowing();
        Ok(if narrowing == Narrowing::default() { full } else { full.narrowed(&narrowing)? })
    }

    /// The network before it is narrowed.
    ///
    /// # Errors
    /// When the file or family cannot be read or found, or an option is out of range.
    pub fn full(&self) -> Result<NetworkSpec> {
        if self.network.ends_with(".json") { self.read() } else { self.family() }
    }

    fn family(&self) -> Result<NetworkSpec> {
        let family = FamilyOptions { network: self.network.clone(), width: self.width, depth: self.depth };
        let size = family.options(self.channels.unwrap_or(3), self.classes.unwrap_or(2))?;
        let Form { norm, activation, residual, deep_supervision, upsampling, growth, dropout } = self.form.clone();
        let form =
            families::Options { norm, activation, residual, deep_supervision, upsampling, growth, dropout, ..size };
        Ok(build(&self.network, &form)?)
    }

    fn read(&self) -> Result<NetworkSpec> {
        let given = [
            ("--channels", self.channels),
            ("--classes", self.classes),
            ("--width", self.width),
            ("--depth", self.depth),
        ];
        if let Some((what, got)) = self.form.given() {
            return Err(option(what, "nothing: the network file says it", got));
        }
        if let Some((name, Some(value))) = given.into_iter().find(|(_, value)| value.is_some()) {
            return Err(option(name, "nothing: the network file says it", value));
        }
        Ok(NetworkSpec::read(Path::new(&self.network))?)
    }
}

impl Form {
    /// The first choice that the user made, and what it is.
    fn given(&self) -> Option<(&'static str, String)> {
        let choices = [
            ("--norm", self.norm.map(|v| name_of(&Norm::ALL, v))),
            ("--activation", self.activation.map(|v| name_of(&Activation::ALL, v))),
            ("--residual", self.residual.then(|| "it".into())),
            ("--deep-supervision", self.deep_supervision.then(|| "it".into())),
            ("--upsampling", self.upsampling.map(|v| name_of(&Upsampling::ALL, v))),
            ("--growth", self.growth.map(|v| v.to_string())),
            ("--dropout", self.dropout.map(|v| v.to_string())),
        ];
        choices.into_iter().find_map(|(what, got)| Some((what, got?)))
    }
}

fn name_of<T: PartialEq>(all: &[(&str, T)], value: T) -> String {
    all.iter().find(|(_, v)| *v == value).map_or_else(String::new, |(name, _)| (*name).to_string())
}

impl Narrow {
    fn narrowing(&self) -> Narrowing {
        Narrowing {
            multiplier: self.multiplier.unwrap_or(1.0),
            multipliers: self.multipliers.clone(),
            widths: self.widths.clone(),
            divisor: self.divisor,
        }
    }
}

fn option(what: &str, expected: &str, got: impl std::fmt::Display) -> anyhow::Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.to_string() }.into()
}

/// A parser of names that stand for values.
fn one_of<T: Copy + Send + Sync>(all: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    let value = move |name: String| all.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    PossibleValuesParser::new(all.iter().map(|(name, _)| *name)).try_map(move |n| value(n).ok_or("not one of them"))
}

/// A group's channels as people write them: `enc1=16`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn width_of(text: &str) -> Result<(String, usize), String> {
    let channels = |number: &str| number.parse().ok().filter(|n| (1..=65_536).contains(n));
    pair(text, channels).ok_or_else(|| "expected group=channels, for example enc1=16,dec*=8".into())
}

fn factor_of(text: &str) -> Result<(String, f64), String> {
    let factor = |number: &str| number.parse().ok();
    pair(text, factor).ok_or_else(|| "expected group=factor, for example dec*=0.5".into())
}

fn pair<T>(text: &str, value: impl Fn(&str) -> Option<T>) -> Option<(String, T)> {
    let (name, number) = text.split_once('=')?;
    Some((name.trim().to_string(), value(number.trim())?))
}
