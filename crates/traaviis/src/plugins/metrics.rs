//! `metrics`: counters and times of the workflows that ask for them, in the text form of
//! Prometheus.

use std::{collections::BTreeMap, fmt::Write as _};

use traaviis_model::{
    Body, DefinitionHash, InstanceId, Record, Text, Timestamp,
    definition::{Definition, Plugin},
    document,
};

/// Series of one metric; more would fill whoever reads them.
const SERIES_MAX: usize = 1_000;

/// What was counted so far.
#[derive(Default)]
pub struct Metrics {
    /// Name of the workflow and labels, of the versions that ask for metrics.
    watched: BTreeMap<DefinitionHash, (Text, Labels)>,
    open: BTreeMap<InstanceId, (Text, Timestamp)>,
    counters: BTreeMap<&'static str, BTreeMap<Labels, f64>>,
}

type Labels = Vec<(Text, Text)>;

impl Metrics {
    /// Takes note of a record; records of one instance come in order.
    pub fn record(&mut self, record: &Record) {
        if let Body::DocumentPut { body, .. } = &record.body {
            if let Some(definition) = document::read_value(body).definition {
                self.watch(&definition);
            }
            return;
        }
        let header = &record.header;
        let Some((workflow, own)) = self.watched.get(&header.definition_hash).cloned() else {
            return;
        };
        let labels = |more: &[(&str, &str)]| -> Labels {
            let mut labels = vec![("workflow".into(), workflow.clone())];
            labels.extend(more.iter().map(|(name, value)| (Text::from(*name), Text::from(*value))));
            labels.extend(own.iter().cloned());
            labels
        };
        match &record.body {
            Body::Created { .. } => {
                self.add("traaviis_instances_started_total", labels(&[]), 1.0);
            }
            Body::Transition { from, to, event, .. } => {
                let (from, to) = (from.join(" "), to.join(" "));
                let event = event.as_deref().unwrap_or_default();
                let of = labels(&[("from", &from), ("to", &to), ("event", event)]);
                self.add("traaviis_transitions_total", of, 1.0);
                let entered = self.open.insert(header.instance_id, (to.into(), header.at));
                if let Some((state, since)) = entered {
                    self.stayed(labels(&[("state", &state)]), since, header.at);
                }
            }
            Body::Finished { status, .. } => {
                let of = labels(&[("status", status.as_str())]);
                self.add("traaviis_instances_finished_total", of, 1.0);
                self.open.remove(&header.instance_id);
            }
            _ => {}
        }
    }

    fn watch(&mut self, definition: &Definition) {
        let labels = definition.plugins.iter().find_map(|it| match it {
            Plugin::Metrics { labels } => Some(labels),
            _ => None,
        });
        if let Some(labels) = labels {
            let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            self.watched.insert(definition.hash, (definition.name.clone(), labels));
        }
    }

    fn stayed(&mut self, of: Labels, since: Timestamp, until: Timestamp) {
        let seconds = until.since(since).0 as f64 / 1e6;
        self.add("traaviis_state_seconds_count", of.clone(), 1.0);
        self.add("traaviis_state_seconds_sum", of, seconds);
    }

    fn add(&mut self, name: &'static str, labels: Labels, amount: f64) {
        let series = self.counters.entry(name).or_default();
        let is_full = series.len() >= SERIES_MAX && !series.contains_key(&labels);
        let labels = if is_full { vec![("workflow".into(), "other".into())] } else { labels };
        *series.entry(labels).or_default() += amount;
    }

    /// Returns everything as text, sorted.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, series) in &self.counters {
            for (labels, value) in series {
                let labels: Vec<String> =
                    labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
                // Writing to text cannot fail.
                let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
            }
        }
        text
    }
}
