//! The table that the programme prints, for people or as JSON.

use std::time::Duration;

use serde_json::{Value as Json, json};

/// Findings of one row that are printed; the rest is counted.
const SHOWN_MAX: usize = 5;

/// What a layer came to.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Name of the layer, and what it did.
    pub name: String,
    /// How many faults.
    pub runs: u64,
    /// Everything that is not as it must be.
    pub findings: Vec<String>,
    /// Figures worth knowing.
    pub figures: String,
    /// Why it was not run.
    pub skipped: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Row {
    /// Makes the row of a layer that was not run.
    pub fn skipped(name: &str, why: impl Into<String>) -> Row {
        Row { name: name.into(), skipped: Some(why.into()), ..Row::default() }
    }

    /// Takes what was found after one fault; says whether everything has held so far.
    pub fn holds(&mut self, fault: &str, findings: Vec<String>) -> bool {
        self.findings.extend(findings.into_iter().map(|it| format!("{fault}: {it}")));
        self.findings.is_empty()
    }

    /// Returns the word for what came of it.
    pub fn verdict(&self) -> &'static str {
        match (&self.skipped, self.findings.is_empty()) {
            (Some(_), _) => "skipped",
            (None, true) => "held",
            (None, false) => "BROKEN",
        }
    }

    /// Prints what was found; the row itself stands in the table at the end.
    pub fn tell(&self) {
        let Row { name, runs, figures, took, .. } = self;
        let why = self.skipped.as_deref().unwrap_or(figures);
        eprintln!("{:8} {name}: {runs} runs in {:.1} s; {why}", self.verdict(), took.as_secs_f64());
        for finding in self.findings.iter().take(SHOWN_MAX) {
            eprintln!("         {finding}");
        }
        if self.findings.len() > SHOWN_MAX {
            eprintln!("         and {} more", self.findings.len() - SHOWN_MAX);
        }
    }

    fn json(&self) -> Json {
        json!({
            "layer": self.name, "runs": self.runs, "verdict": self.verdict(),
            "findings": self.findings, "figures": self.figures, "skipped": self.skipped,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

/// Returns all rows as JSON.
pub fn json(rows: &[Row]) -> Json {
    let broken = rows.iter().filter(|it| !it.findings.is_empty()).count();
    json!({ "layers": rows.iter().map(Row::json).collect::<Vec<_>>(), "broken": broken })
}

/// Returns the table.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![["LAYER", "RUNS", "", "TIME", "FIGURES"].map(String::from)];
    lines.extend(rows.iter().map(|row| {
        let seconds = format!("{:.1} s", row.took.as_secs_f64());
        let last = row.skipped.clone().unwrap_or_else(|| row.figures.clone());
        [row.name.clone(), row.runs.to_string(), row.verdict().into(), seconds, last]
    }));
    let width = |at: usize| lines.iter().map(|it| it[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut text = String::new();
    for [name, runs, verdict, time, figures] in &lines {
        let [a, b, c, d] = [widths[0], widths[1], widths[2], widths[3]];
        let line = format!("{name:a$}  {runs:>b$}  {verdict:c$}  {time:>d$}  {figures}");
        text += line.trim_end();
        text.push('\n');
    }
    text
}
