//! Numbers that are told: names with their series, for whoever writes them in some format.
//!
//! Everything that is told goes through here once, so what Prometheus reads and what a collector is
//! sent are the same. Invariant: a name has at most [`SERIES_MAX`] series.

use std::fmt::Write as _;

use traaviis_model::times::{BOUNDS, Counted};

/// Series of one name; more are left out.
pub const SERIES_MAX: usize = 1_000;

/// Kinds of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    /// Returns its word, as Prometheus has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// What a series holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A number.
    Number(f64),
    /// Durations.
    Times(Counted),
}

/// A series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Labels with their values.
    pub labels: Vec<(&'static str, String)>,
    /// What it holds.
    pub reading: Reading,
}

/// A name with its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub kind: Kind,
    /// What it is, for people.
    pub help: String,
    /// Its series.
    pub samples: Vec<Sample>,
}

/// Numbers, gathered.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

impl Exposition {
    /// Begins the series of a name.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (name, help) = (name.to_owned(), help.to_owned());
        self.families.push(Family { name, kind, help, samples: Vec::new() });
    }

    /// Adds a series with its value to the name that was begun last.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.add(labels, Reading::Number(value));
    }

    /// Adds a name with a single number.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl FnOnce() -> f64) {
        self.family(name, kind, help);
        self.sample(&[], value());
    }

    /// Adds the series of a histogram to the name that was begun last, unless nothing was counted.
    pub fn times(&mut self, labels: &[(&'static str, &str)], counted: &Counted) {
        if counted.count > 0 {
            self.add(labels, Reading::Times(*counted));
        }
    }

    fn add(&mut self, labels: &[(&'static str, &str)], reading: Reading) {
        let Some(family) = self.families.last_mut() else { return };
        if family.samples.len() < SERIES_MAX {
            let labels = labels.iter().map(|(name, it)| (*name, (*it).to_owned())).collect();
            family.samples.push(Sample { labels, reading });
        }
    }

    /// Returns what was gathered.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// Returns it in the text format of Prometheus.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Family { name, kind, help, samples } in &self.families {
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str());
            for Sample { labels, reading } in samples {
                match reading {
                    Reading::Number(value) => line(&mut text, name, labels, None, *value),
                    Reading::Times(counted) => times(&mut text, name, labels, counted),
                }
            }
        }
        text
    }
}

fn times(text: &mut String, name: &str, labels: &[(&'static str, String)], counted: &Counted) {
    let bucket = format!("{name}_bucket");
    for (bound, count) in BOUNDS.iter().zip(counted.at_most) {
        line(text, &bucket, labels, Some(&bound.to_string()), count as f64);
    }
    line(text, &bucket, labels, Some("+Inf"), counted.count as f64);
    line(text, &format!("{name}_sum"), labels, None, counted.seconds);
    line(text, &format!("{name}_count"), labels, None, counted.count as f64);
}

fn line(
    text: &mut String,
    name: &str,
    labels: &[(&'static str, String)],
    le: Option<&str>,
    value: f64,
) {
    let mut shown = String::new();
    for (label, it) in
        labels.iter().map(|(label, it)| (*label, &**it)).chain(le.map(|it| ("le", it)))
    {
        let it = it.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let comma = if shown.is_empty() { "" } else { "," };
        let _ = write!(shown, "{comma}{label}=\"{it}\"");
    }
    let _ = match shown.is_empty() {
        true => writeln!(text, "{name} {value}"),
        false => writeln!(text, "{name}{{{shown}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
    use traaviis_model::times::Times;

    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let mut out = Exposition::default();
        out.family("a_total", Kind::Counter, "things");
        out.sample(&[("name", "say \"hi\"\\\n")], 3.0);
        let times = Times::default();
        times.note(Duration::from_millis(3));
        out.family("b_seconds", Kind::Histogram, "times");
        out.times(&[("x", "y")], &times.counted());
        out.times(&[("x", "none")], &Times::default().counted());
        expect![[r##"
            # HELP a_total things
            # TYPE a_total counter
            a_total{name="say \"hi\"\\\n"} 3
            # HELP b_seconds times
            # TYPE b_seconds histogram
            b_seconds_bucket{x="y",le="0.0001"} 0
            b_seconds_bucket{x="y",le="0.0005"} 0
            b_seconds_bucket{x="y",le="0.001"} 0
            b_seconds_bucket{x="y",le="0.002"} 0
            b_seconds_bucket{x="y",le="0.005"} 1
            b_seconds_bucket{x="y",le="0.01"} 1
            b_seconds_bucket{x="y",le="0.025"} 1
            b_seconds_bucket{x="y",le="0.05"} 1
            b_seconds_bucket{x="y",le="0.1"} 1
            b_seconds_bucket{x="y",le="0.5"} 1
            b_seconds_bucket{x="y",le="2"} 1
            b_seconds_bucket{x="y",le="10"} 1
            b_seconds_bucket{x="y",le="60"} 1
            b_seconds_bucket{x="y",le="+Inf"} 1
            b_seconds_sum{x="y"} 0.003
            b_seconds_count{x="y"} 1
        "##]]
        .assert_eq(&out.text());
    }

    #[test]
    fn there_are_no_more_series_than_the_limit() {
        let mut out = Exposition::default();
        out.family("a", Kind::Gauge, "many");
        (0..SERIES_MAX * 2).for_each(|it| out.sample(&[("n", &it.to_string())], 1.0));
        assert_eq!(out.text().lines().count(), 2 + SERIES_MAX);
    }
}
