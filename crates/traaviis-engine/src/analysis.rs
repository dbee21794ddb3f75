//! What a workflow that compiles probably gets wrong: the warnings W201 to W212.
//!
//! Each group of findings is a file: states ([`reach`], [`waiting`]), candidates ([`choice`] over
//! the sets of [`guard`]), effects ([`effects`], [`paid`], [`tasks`]), events ([`events`]) and
//! personal data ([`personal`]). Most of them read one [`Chart`], the compiled states beside those
//! as written.
//!
//! Invariants: a finding is reported only where the document alone proves it, so nothing that data
//! or a peer decides is guessed; one cause gives one finding; the work grows with the length of the
//! document, and where comparing grows faster, a limit with a name stops it.

mod chart;

mod reach;

mod waiting;

mod guard;

mod choice;

mod effects;

mod paid;

mod tasks;

mod events;

mod personal;

use traaviis_model::{Diagnostic, Severity};

use crate::machine::Machine;
use chart::Chart;

/// Warnings that become errors under `--strict`.
pub const STRICT: &[&str] = &["W201", "W202", "W205", "W206", "W207", "W209"];

/// Returns the warnings about a machine that its author has not waived.
pub(crate) fn analyse(machine: &Machine) -> Vec<Diagnostic> {
    let chart = Chart::of(machine);
    let mut found = Vec::new();
    reach::check(&chart, &mut found);
    choice::check(&chart, &mut found);
    effects::check(&chart, &mut found);
    paid::check(machine.definition(), &mut found);
    tasks::check(machine.definition(), &mut found);
    events::check(&chart, &mut found);
    personal::check(&chart, &mut found);
    waiting::check(&chart, &mut found);
    let waivers = &machine.definition().waivers;
    found.retain(|it| waivers.reason(it.code, &it.path).is_none());
    found
}

/// Makes errors of the warnings that a strict check does not accept.
pub fn make_strict(diagnostics: &mut [Diagnostic]) {
    for diagnostic in diagnostics.iter_mut().filter(|it| STRICT.contains(&it.code)) {
        diagnostic.severity = Severity::Error;
    }
}

fn warning(
    code: &'static str,
    path: impl Into<String>,
    message: String,
    hint: impl Into<String>,
) -> Diagnostic {
    let found = Diagnostic::error(code, path, message).hint(hint);
    Diagnostic { severity: Severity::Warning, ..found }
}

#[cfg(test)]
mod tests;
