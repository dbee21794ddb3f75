//! How a run ends: by itself, by Ctrl-C, or because its time is up.

use std::time::Duration;

use serde_json::json;

use traaviis_model::{Snapshot, Span, record::Status};

use super::{Run, events::unsent_text};
use crate::{
    exit::{Exit, Failure},
    terminal::{Ink, clip, quoted},
    trace::{ink_of, relative},
};

impl Run<'_> {
    pub(super) fn interrupted(&self, snapshot: &Snapshot) -> Exit {
        let next = match &self.args.data {
            Some(_) => self.continue_text(),
            None => "it was not kept; `--data DIR` keeps a run".to_string(),
        };
        let (state, seq) = (snapshot.state(), snapshot.seq);
        self.output.note(&format!("stopped in state {state} at record {seq}; {next}"));
        self.result(snapshot, &[]);
        Exit::Interrupted
    }

    pub(super) fn time_is_up(&self, snapshot: &Snapshot) -> Failure {
        let limit = self.args.timeout.unwrap_or_default();
        let next = match &self.args.data {
            Some(_) => self.continue_text(),
            None => "give more time, or keep the run with `--data DIR`".to_string(),
        };
        let message =
            format!("not finished after {limit}, in state `{}`; {next}", snapshot.state());
        Failure::finding("timeout", message)
    }

    fn continue_text(&self) -> String {
        let arguments: Vec<String> = std::env::args().skip(1).map(|it| quoted(&it)).collect();
        format!("go on with: traaviis {}", arguments.join(" "))
    }

    /// Prints the last line and says how the process ends. `unsent` are events that the run ended
    /// without.
    pub(super) fn finish(&self, snapshot: &Snapshot, took: Duration, unsent: &[&str]) -> Exit {
        self.result(snapshot, unsent);
        if !self.output.is_json() {
            let style = self.output.style();
            let status = style.paint(ink_of(snapshot.status), snapshot.status.as_str());
            let took = relative(Span(i64::try_from(took.as_micros()).unwrap_or(i64::MAX)));
            let mut line = format!("{status} in state {} after {took}", snapshot.state());
            if !snapshot.output.is_null() {
                line += &format!("  output {}", clip(&snapshot.output.to_json(), 4_000));
            }
            if let Some(error) = &snapshot.error {
                let text = format!("{}: {}", error.code, clip(&error.message, 400));
                line += &format!("  error {}", style.paint(Ink::Bad, &text));
            }
            self.output.line(&line);
        }
        if !unsent.is_empty() {
            self.output.note(&unsent_text(unsent));
        }
        match snapshot.status {
            Status::Completed if unsent.is_empty() => Exit::Ok,
            _ => Exit::Finding,
        }
    }

    fn result(&self, snapshot: &Snapshot, unsent: &[&str]) {
        if self.output.is_json() {
            let mut result = json!({
                "instance": snapshot.id,
                "status": snapshot.status,
                "state": snapshot.state(),
                "output": snapshot.output,
                "error": snapshot.error,
            });
            if !unsent.is_empty() {
                result["unsent"] = json!(unsent);
            }
            self.output.json(&result);
        }
    }
}
