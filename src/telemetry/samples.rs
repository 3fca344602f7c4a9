//! Values that are read when somebody asks, as Prometheus text. They do not go through the
//! registry: what is gone from the catalog must be gone from the answer too.

use std::fmt::Write as _;

use super::names::ALL;

/// One value of a metric of `names`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: &'static str,
    /// Values of its labels, in the order in which the metric names them.
    pub labels: Vec<String>,
    pub value: f64,
}

impl Sample {
    pub fn new(name: &'static str, labels: &[&str], value: f64) -> Self {
        Self {
            name,
            labels: labels.iter().map(ToString::to_string).collect(),
            value,
        }
    }
}

/// Prometheus' text format (version 0.0.4); samples of one metric must follow each other.
pub fn render(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut last = "";
    for sample in samples {
        let Some(metric) = ALL.iter().find(|m| m.name == sample.name) else {
            continue;
        };
        if last != sample.name {
            last = sample.name;
            let _ = writeln!(text, "# HELP {last} {}\n# TYPE {last} {}", metric.help, metric.kind.as_str());
        }
        let labels: Vec<String> = metric
            .labels
            .iter()
            .zip(&sample.labels)
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        if labels.is_empty() {
            let _ = writeln!(text, "{last} {}", sample.value);
        } else {
            let _ = writeln!(text, "{last}{{{}}} {}", labels.join(","), sample.value);
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CATALOG_UP, SNAPSHOTS};

    #[test]
    fn samples_are_prometheus_text_and_nothing_in_a_label_breaks_out() {
        let samples = [
            Sample::new(CATALOG_UP, &[], 1.0),
            Sample::new(SNAPSHOTS, &["a\"b\\c\nd"], 2.0),
            Sample::new(SNAPSHOTS, &["pending"], 0.0),
        ];
        let text = render(&samples);
        assert!(text.contains("\nstillframe_catalog_up 1\n"), "{text}");
        assert!(
            text.contains("\nstillframe_snapshots{state=\"a\\\"b\\\\c\\nd\"} 2\n"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE stillframe_snapshots gauge").count(), 1, "{text}");
    }
}
