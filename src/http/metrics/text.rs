//! Families of metrics in the text format of Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::Durations;

/// A family: a name, and its values by label.
#[derive(Debug)]
pub(super) struct Family {
    /// Its name; of a counter without `_total`, which is written behind it.
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    label: Option<&'static str>,
    values: Vec<(String, Value)>,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Seconds(f64),
    Level(f64),
    Durations { sum: f64, buckets: Vec<(f64, u64)> },
}

impl Family {
    /// A number that only rises.
    pub(super) fn counter(name: &'static str, help: &'static str, count: u64) -> Self {
        Self::alone(name, help, MetricType::Counter, Value::Count(count))
    }

    /// Time that only rises.
    pub(super) fn seconds(name: &'static str, help: &'static str, seconds: f64) -> Self {
        Self::alone(name, help, MetricType::Counter, Value::Seconds(seconds))
    }

    /// Numbers that only rise, by the values of a label.
    pub(super) fn counters<L: Into<String>>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (L, u64)>,
    ) -> Self {
        let values = counts.into_iter().map(|(value, count)| (value.into(), Value::Count(count))).collect();
        Self { name, help, kind: MetricType::Counter, label: Some(label), values }
    }

    /// A number that rises and falls.
    pub(super) fn gauge(name: &'static str, help: &'static str, level: f64) -> Self {
        Self::alone(name, help, MetricType::Gauge, Value::Level(level))
    }

    /// Numbers that rise and fall, by the values of a label.
    pub(super) fn gauges<L: Into<String>>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        levels: impl IntoIterator<Item = (L, f64)>,
    ) -> Self {
        let values = levels.into_iter().map(|(value, level)| (value.into(), Value::Level(level))).collect();
        Self { name, help, kind: MetricType::Gauge, label: Some(label), values }
    }

    /// How long something took.
    pub(super) fn histogram(name: &'static str, help: &'static str, durations: &Durations) -> Self {
        Self::alone(name, help, MetricType::Histogram, Value::of(durations))
    }

    /// How long things took, by the values of a label.
    pub(super) fn histograms<'a>(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        durations: impl IntoIterator<Item = (&'static str, &'a Durations)>,
    ) -> Self {
        let values = durations.into_iter().map(|(value, durations)| (value.into(), Value::of(durations))).collect();
        Self { name, help, kind: MetricType::Histogram, label: Some(label), values }
    }

    fn alone(name: &'static str, help: &'static str, kind: MetricType, value: Value) -> Self {
        Self { name, help, kind, label: None, values: vec![(String::new(), value)] }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        for (label_value, value) in &self.values {
            match self.label {
                Some(label) => value.encode(&mut family.encode_family(&[(label, label_value.as_str())])?)?,
                None => value.encode(&mut family)?,
            }
        }
        Ok(())
    }
}

impl Value {
    fn of(durations: &Durations) -> Self {
        let bounds = durations.bounds().iter().map(|bound| bound.as_secs_f64()).chain([f64::INFINITY]);
        let buckets = bounds.zip(durations.counts()).collect();
        Self::Durations { sum: durations.sum_seconds(), buckets }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => encoder.encode_counter::<NoLabelSet, u64, u64>(count, None),
            Self::Seconds(seconds) => encoder.encode_counter::<NoLabelSet, f64, u64>(seconds, None),
            Self::Level(level) => encoder.encode_gauge(level),
            Self::Durations { sum, buckets } => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }
}

/// The families of one answer.
#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

/// How families are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Its content type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes the families one after the other.
///
/// # Errors
/// None that anybody has seen: a string takes whatever is written.
pub(super) fn write(families: Vec<Family>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, &registry)?,
        Format::OpenMetrics => text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn families_are_written_with_their_names_types_and_labels() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(500), Duration::from_secs(1)];
        let durations = Durations::new(BOUNDS);
        for millis in [250, 1_000, 3_000] {
            durations.record(Duration::from_millis(millis));
        }
        let families = vec![
            Family::counters("desk_calls", "Calls.", "outcome", [("good", 2), ("b\"ad", 0)]),
            Family::gauge("desk_wait_seconds", "Wait.", 1.5),
            Family::histogram("desk_start_seconds", "Start.", &durations),
        ];
        let text = write(families, Format::Prometheus).unwrap();
        for line in [
            "# HELP desk_calls_total Calls.",
            "# TYPE desk_calls_total counter",
            "desk_calls_total{outcome=\"good\"} 2",
            "desk_calls_total{outcome=\"b\\\"ad\"} 0",
            "# TYPE desk_wait_seconds gauge",
            "desk_wait_seconds 1.5",
            "# TYPE desk_start_seconds histogram",
            "desk_start_seconds_bucket{le=\"0.5\"} 1",
            "desk_start_seconds_bucket{le=\"1\"} 2",
            "desk_start_seconds_bucket{le=\"+Inf\"} 3",
            "desk_start_seconds_sum 4.25",
            "desk_start_seconds_count 3",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn open_metrics_names_a_counter_s_family_without_its_suffix_and_says_where_it_ends() {
        let text = write(vec![Family::counter("desk_calls", "Calls.", 2)], Format::OpenMetrics).unwrap();
        assert_eq!(text, "# HELP desk_calls Calls.\n# TYPE desk_calls counter\ndesk_calls_total 2\n# EOF\n");
    }
}
