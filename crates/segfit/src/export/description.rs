//! What is known of a network, in words, for the texts of every export.

use super::Deployment;
use crate::error::Result;
use crate::network::families::FAMILIES;
use crate::numbers::thousands;
use crate::recipe::{InputMode, LossKind};

impl Deployment {
    /// One line: architecture and size, for example `unet of width 2 and depth 4 with 30,998 parameters, for RGB
    /// images`.
    ///
    /// # Errors
    /// When the network does not fit together.
    pub fn title(&self) -> Result<String> {
        let spec = &self.network;
        let parameters: usize = spec.parameters()?.iter().filter(|p| p.kind.is_trained()).map(|p| p.len()).sum();
        let first = self.width();
        let images = match spec.in_channels() {
            1 => "gray images".into(),
            3 => "RGB images".into(),
            n => format!("images of {n} channels"),
        };
        Ok(format!(
            "{} of width {first} and depth {} with {} parameters, for {images}",
            spec.family,
            spec.depth,
            thousands(parameters as u64)
        ))
    }

    /// Sentences on data, accuracy and plan, each as far as it is known.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        let p = &self.provenance;
        let mut story = vec![format!(
            "Trained on the data set {} (fingerprint {}) with segfit {}, run {}.",
            one_line(&p.dataset),
            one_line(&p.fingerprint),
            one_line(&p.version),
            one_line(&p.run)
        )];
        if let Some(dice) = p.dice {
            let images = p.test_images.map_or_else(|| "the test images".into(), |n| format!("{n} test images"));
            story.push(format!("Mean Dice on {images}: {dice:.4}."));
        }
        if let Some(plan) = &p.plan {
            story.push(format!("Planned by: {}.", one_line(plan)));
        }
        story
    }

    /// What has to be done with an image before the network sees it.
    #[must_use]
    pub fn size_in_words(&self) -> String {
        let n = self.input.size;
        match self.input.mode {
            InputMode::Resize => format!(
                "The network was trained on whole frames resized to {n} x {n} pixels (bilinear with antialiasing): \
                 resize images to that size first, and the probabilities back."
            ),
            InputMode::Patch => format!(
                "The network was trained on patches of {n} x {n} pixels at the images' own scale: do not resize images."
            ),
        }
    }

    /// What probabilities are.
    #[must_use]
    pub fn probabilities_in_words(&self) -> &'static str {
        match self.loss {
            LossKind::CrossEntropyDice => "softmax of the logits",
            LossKind::BinaryDice => "sigmoids of the logits divided by their sum",
        }
    }

    /// Where the architecture was published, and a link to it.
    #[must_use]
    pub fn architecture(&self) -> Option<(&'static str, &'static str)> {
        let family = FAMILIES.iter().find(|f| f.name == self.network.family)?;
        let link = match family.name {
            "unet" => "https://arxiv.org/abs/1505.04597",
            "cumednet" => "https://ojs.aaai.org/index.php/AAAI/article/view/10141",
            "fc_densenet56" | "fc_densenet67" | "fc_densenet103" => "https://arxiv.org/abs/1611.09326",
            "attention_unet" => "https://arxiv.org/abs/1804.03999",
            "resunet" => "https://arxiv.org/abs/1711.10684",
            "unetpp" => "https://arxiv.org/abs/1807.10165",
            "lean_unet" => "https://arxiv.org/abs/2512.03834",
            "separable_unet" => "https://arxiv.org/abs/1610.02357",
            _ => return None,
        };
        Some((family.paper, link))
    }

    /// Channels of the first convolution.
    pub(super) fn width(&self) -> usize {
        let made = self.network.layers.iter().skip(1).find_map(|l| l.op.group());
        made.and_then(|g| self.network.group(g)).map_or(self.network.base_width, |g| g.channels)
    }
}

/// Text of others that cannot end a line, a string or a comment.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '"' || c == '\\' { ' ' } else { c }).collect()
}

/// Words in lines of at most `width` characters.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|l| l.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.into()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lines_by_hand() {
        assert_eq!(wrapped("a bb  ccc d", 4), "a bb\nccc\nd");
        assert_eq!(one_line("a\n\"b\\"), "a  b ");
    }
}
