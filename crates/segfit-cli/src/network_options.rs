//! Options that name a network.

use std::path::Path;

use anyhow::Result;
use segfit::Error;
use segfit::files::read_json;
use segfit::network::families::{self, build};
use segfit::network::{NETWORK_FORMAT, NetworkSpec, Widths};

/// Base width and depth of the published U-Net.
const FULL: (usize, usize) = (64, 4);

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Full-size network")]
pub struct FamilyOptions {
    /// Family of the network; see `segfit network list`
    #[arg(long, value_name = "FAMILY", default_value = "unet")]
    pub network: String,
    /// Channels at full resolution; every level below has twice as many [default: 64]
    #[arg(long, value_name = "CHANNELS")]
    pub width: Option<usize>,
    /// How often the image is halved on its way down [default: 4]
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
}

impl FamilyOptions {
    /// Base width.
    pub fn base_width(&self) -> usize {
        self.width.unwrap_or(FULL.0)
    }

    /// Poolings.
    pub fn levels(&self) -> usize {
        self.depth.unwrap_or(FULL.1)
    }

    /// The network for images and classes of these numbers.
    ///
    /// # Errors
    /// When the family is unknown or an option is out of range.
    pub fn build(&self, in_channels: usize, classes: usize) -> segfit::Result<NetworkSpec> {
        let (base_width, depth) = (self.base_width(), self.levels());
        build(
            &self.network,
            &families::Options { in_channels, classes, base_width, depth, ..families::Options::default() },
        )
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
    /// Channels at full resolution; every level below has twice as many [default: 64]
    #[arg(long, value_name = "CHANNELS")]
    pub width: Option<usize>,
    /// How often the image is halved on its way down [default: 4]
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
    /// Multiply the channels of every layer by this, for example 0.25
    #[arg(long, value_name = "A")]
    pub multiplier: Option<f64>,
    /// Channels of single groups, for example enc1=16,dec0=8
    #[arg(long, value_name = "GROUP=N,...", value_parser = parse_widths)]
    pub widths: Option<Widths>,
}

impl NetworkSource {
    /// The network, narrowed as asked.
    ///
    /// # Errors
    /// When the file or family cannot be read or found, an option is out of range, or a group does not exist.
    pub fn build(&self) -> Result<NetworkSpec> {
        let mut spec = if self.network.ends_with(".json") { self.read()? } else { self.family()? };
        if let Some(factor) = self.multiplier {
            if !(factor > 0.0 && factor <= 16.0) {
                return Err(option("--multiplier", "a number above 0, at most 16", factor));
            }
            spec = spec.with_multiplier(factor)?;
        }
        if let Some(widths) = &self.widths {
            let known = spec.widths();
            if let Some(name) = widths.keys().find(|name| !known.contains_key(*name)) {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                return Err(option("--widths", &format!("groups among {}", names.join(", ")), name));
            }
            spec = spec.with_widths(widths)?;
        }
        Ok(spec)
    }

    fn family(&self) -> Result<NetworkSpec> {
        let family = FamilyOptions { network: self.network.clone(), width: self.width, depth: self.depth };
        Ok(family.build(self.channels.unwrap_or(3), self.classes.unwrap_or(2))?)
    }

    fn read(&self) -> Result<NetworkSpec> {
        let given = [
            ("--channels", self.channels),
            ("--classes", self.classes),
            ("--width", self.width),
            ("--depth", self.depth),
        ];
        if let Some((name, Some(value))) = given.into_iter().find(|(_, value)| value.is_some()) {
            return Err(option(name, "nothing: the network file says it", value));
        }
        let spec: NetworkSpec = read_json(Path::new(&self.network), NETWORK_FORMAT)?;
        spec.validate()?;
        Ok(spec)
    }
}

fn option(what: &str, expected: &str, got: impl std::fmt::Display) -> anyhow::Error {
    Error::Option { what: what.into(), expected: expected.into(), got: got.to_string() }.into()
}

fn parse_widths(text: &str) -> Result<Widths, String> {
    let one = |part: &str| {
        let (name, number) = part.split_once('=')?;
        let channels = number.trim().parse().ok().filter(|n| (1..=65_536).contains(n))?;
        Some((name.trim().to_string(), channels))
    };
    let widths: Option<Widths> = text.split(',').map(one).collect();
    widths.ok_or_else(|| "expected group=channels, for example enc1=16,dec0=8".into())
}
