//! A plan as people read it.

use super::{Plan, PlannedLatency};
use crate::cost::latency::Conditions;
use crate::numbers::{bytes, short, thousands};
use crate::predict::size_rows;
use crate::predict::table::{align, interval};

impl Plan {
    /// The plan as aligned text: cost beside the full network, prediction, channels of every group, alternatives.
    #[must_use]
    pub fn table(&self) -> String {
        let mut choice = self.choice.iter();
        let aim = choice.next().map_or("", String::as_str);
        let mut text = format!("plan for {}: {aim}\n", self.dataset.name);
        choice.for_each(|c| text.push_str(&format!("- {c}\n")));
        text.push('\n');
        text.push_str(&self.cost_table());
        if let Some(latency) = &self.latency {
            text.push_str(&latency.in_words());
        }
        text.push_str(&format!("\npredicted Dice       {}\n", interval(self.predicted.dice)));
        text.push_str(&format!("predicted retention  {}\n", interval(self.predicted.retention)));
        text.push_str(&format!("{}\n", self.reference));
        if self.predicted.extrapolated {
            text.push_str("extrapolated, outside of what was calibrated:\n");
            self.predicted.reasons.iter().for_each(|r| text.push_str(&format!("  - {r}\n")));
        }
        text.push('\n');
        text.push_str(&self.width_table());
        text.push('\n');
        text.push_str(&align(&size_rows(&self.alternatives, Some(&self.spec.widths()))));
        if self.alternatives.iter().any(|s| s.extrapolated) {
            text.push_str("* outside of what was calibrated\n");
        }
        text
    }

    fn cost_table(&self) -> String {
        let (chosen, full) = (&self.network, &self.full);
        let less = |full: u64, chosen: u64| match full as f64 / chosen.max(1) as f64 {
            factor if factor < 99.5 => format!("{factor:.1}x less"),
            factor => format!("{factor:.0}x less"),
        };
        let row = |name: &str, write: fn(u64) -> String, chosen: u64, full: u64| {
            vec![name.to_string(), write(chosen), write(full), less(full, chosen)]
        };
        let heading = [format!("{0}, input {1}x{1}", chosen.family, chosen.size), "chosen".into(), "full".into()];
        let plain = |name: &str, chosen: usize, full: usize| vec![name.into(), chosen.to_string(), full.to_string()];
        let mut rows = vec![
            heading.to_vec(),
            plain("base width", chosen.base_width, full.base_width),
            plain("depth", chosen.depth, full.depth),
            row("parameters", thousands, chosen.params, full.params),
            row("MACs per image", short, chosen.macs, full.macs),
            row("weights", bytes, chosen.weight_bytes, full.weight_bytes),
            row("memory", bytes, chosen.memory_bytes, full.memory_bytes),
        ];
        if let (Some(chosen), Some(full)) = (chosen.latency_ms, full.latency_ms) {
            let factor = format!("{:.1}x less", full / chosen.max(1e-9));
            rows.push(vec!["time, at most".into(), format!("{chosen:.2} ms"), format!("{full:.2} ms"), factor]);
        }
        align(&rows)
    }

    fn width_table(&self) -> String {
        let mut rows = vec![["channels of", "chosen", "full", "multiplier"].map(String::from).to_vec()];
        for width in &self.widths {
            let multiplier = format!("{:.3}", width.multiplier);
            rows.push(vec![width.group.clone(), width.channels.to_string(), width.full.to_string(), multiplier]);
        }
        align(&rows)
    }
}

impl PlannedLatency {
    fn in_words(&self) -> String {
        let Conditions { device, threads, precision, .. } = &self.measured;
        let threads = if *threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        format!(
            "time: {:.2} ms predicted on {device} with {threads} in {precision}; 19 of 20 networks take at most {:.1}% longer\n",
            self.predicted_ms,
            100.0 * self.late
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Budgets, plan};
    use crate::predict::synthetic::{World, measures, records};
    use crate::predict::{DatasetId, Mapping, NetworkOptions, Subject};

    #[test]
    fn the_first_lines_of_a_plan() {
        let mapping = Mapping::fit(&records(&World { sets: 6, ..World::default() })).unwrap();
        let dataset = DatasetId { name: "cells".into(), fingerprint: "f".into() };
        let subject = Subject { dataset, measures: measures(0.0), constant_dice: 0.4 };
        let family = "unet".into();
        let options = NetworkOptions { family, in_channels: 3, classes: 2, full_width: 64, depth: 4, size: 128 };
        let budgets = Budgets { max_params: Some(40_000), ..Budgets::default() };
        let table = plan(&mapping, &subject, &options, &budgets).unwrap().table();
        let first: Vec<&str> = table.lines().take(9).collect();
        let expected = [
            "plan for cells: most accurate within the budgets, fewest parameters on a tie",
            "- uniform shape: the mapping knows nothing of what others gain",
            "",
            "unet, input 128x128   chosen        full",
            "base width                 2          64",
            "depth                      4           4",
            "parameters            39,319  31,045,506  790x less",
            "MACs per image         15.9M       12.0G  756x less",
            "weights              155 KiB     118 MiB  780x less",
        ];
        assert_eq!(first, expected, "{table}");
    }
}
