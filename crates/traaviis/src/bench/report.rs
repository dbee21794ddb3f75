//! The table of a benchmark: what was reached, the goal beside it, medians over rounds.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::terminal::table;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things per second.
    PerSecond,
    /// Milliseconds.
    Millis,
    /// A ratio of two values of the same run.
    Ratio,
    /// Bytes.
    Bytes,
    /// Megabytes.
    Megabytes,
    /// Seconds.
    Seconds,
    /// A plain count.
    Count,
}

/// Values by name, in the order of first mention.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    by_name: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: Unit,
    goal: Option<Goal>,
    samples: Vec<f64>,
}

/// What is aimed for. Told beside the value; nothing fails because of it.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least this.
    Least(f64),
    /// At most this.
    Most(f64),
}

impl Report {
    /// Adds a sample.
    pub fn add(&mut self, name: &str, unit: Unit, goal: Option<Goal>, sample: f64) {
        let at = *self.by_name.entry(name.to_string()).or_insert_with(|| {
            self.rows.push(Row { name: name.into(), unit, goal, samples: Vec::new() });
            self.rows.len() - 1
        });
        self.rows[at].samples.push(sample);
    }

    /// Returns the median of a value.
    pub fn median(&self, name: &str) -> Option<f64> {
        self.by_name.get(name).map(|at| median(&self.rows[*at].samples))
    }

    /// Returns the table for people.
    pub fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let reached = median(&row.samples);
                let (low, high) = range(&row.samples);
                vec![
                    row.name.clone(),
                    shown(row.unit, reached),
                    match row.samples.len() {
                        1 => String::new(),
                        _ => format!("{} to {}", shown(row.unit, low), shown(row.unit, high)),
                    },
                    row.goal.map_or(String::new(), |it| it.text(row.unit)),
                    row.goal.map_or("", |it| if it.is_met(reached) { "yes" } else { "no" }).into(),
                ]
            })
            .collect();
        table(&["WHAT", "MEDIAN", "RANGE", "GOAL", "MET"], &rows)
    }

    /// Returns the values for programs.
    pub fn json(&self) -> Json {
        let rows = self.rows.iter().map(|row| {
            let reached = median(&row.samples);
            json!({
                "name": row.name,
                "unit": format!("{:?}", row.unit).to_lowercase(),
                "median": reached,
                "samples": row.samples,
                "goal": row.goal.map(|it| it.text(row.unit)),
                "met": row.goal.map(|it| it.is_met(reached)),
            })
        });
        Json::Array(rows.collect())
    }
}

impl Goal {
    fn is_met(self, reached: f64) -> bool {
        match self {
            Goal::Least(goal) => reached >= goal,
            Goal::Most(goal) => reached <= goal,
        }
    }

    fn text(self, unit: Unit) -> String {
        match self {
            Goal::Least(goal) => format!(">= {}", shown(unit, goal)),
            Goal::Most(goal) => format!("<= {}", shown(unit, goal)),
        }
    }
}

/// Returns the middle of the samples.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

fn range(samples: &[f64]) -> (f64, f64) {
    let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
    (low, samples.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", grouped(value)),
        Unit::Millis => format!("{value:.3} ms"),
        Unit::Ratio => format!("{value:.3}"),
        Unit::Bytes => format!("{} B", grouped(value)),
        Unit::Megabytes => format!("{value:.1} MB"),
        Unit::Seconds => format!("{value:.3} s"),
        Unit::Count => grouped(value),
    }
}

/// Writes a whole number in groups of three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_counts_and_goals_are_told() {
        let mut report = Report::default();
        for sample in [3.0, 1.0, 2_000.0] {
            report.add("rate", Unit::PerSecond, Some(Goal::Least(2.0)), sample);
        }
        report.add("time", Unit::Millis, Some(Goal::Most(0.1)), 0.25);
        expect_test::expect![[r#"
            WHAT  MEDIAN    RANGE           GOAL         MET
            rate  3/s       1/s to 2,000/s  >= 2/s       yes
            time  0.250 ms                  <= 0.100 ms  no
        "#]]
        .assert_eq(&report.text());
        assert_eq!(report.median("rate"), Some(3.0));
    }
}
