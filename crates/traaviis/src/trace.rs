//! The readable trace: what one record of a history says to a person.
//!
//! Input are records alone, so the trace of a live run, of a finished one, and of a file are the
//! same. Responsible for words, marks and indentation; printing is the caller's.
//! Invariant: foreign text (values, messages) passes [`clip`] before it reaches a line.

use std::collections::{BTreeMap, BTreeSet};

use traaviis_model::{
    Body, EffectError, Record, Seq, Span, Text, Timestamp, Value,
    call::CALL_KINDS,
    record::{EventSource, PatchOp, Status, TimerKind},
};

use crate::terminal::{Ink, Style, clip};

/// Characters of a value on a line; more pushes the reader's eye away from the shape.
const VALUE_CHARS_MAX: usize = 72;
/// Characters of a message on a line.
const MESSAGE_CHARS_MAX: usize = 160;

/// Turns records into lines. Keeps what later records refer to: kinds of nodes, names of timers,
/// compensations that failed.
#[derive(Debug)]
pub struct Trace {
    style: Style,
    begun: Option<Timestamp>,
    nodes: BTreeMap<(Seq, Text), NodeNote>,
    timers: BTreeMap<Text, (TimerKind, Span)>,
    not_undone: BTreeSet<(Seq, Text)>,
}

#[derive(Debug)]
struct NodeNote {
    kind: Text,
    what: String,
    is_call: bool,
}

impl Trace {
    /// Returns a trace whose clock starts with the first record it sees.
    pub fn new(style: Style) -> Trace {
        Trace {
            style,
            begun: None,
            nodes: BTreeMap::new(),
            timers: BTreeMap::new(),
            not_undone: BTreeSet::new(),
        }
    }

    /// Notes a record that is not shown, so that later ones read right.
    pub fn skip(&mut self, record: &Record) {
        self.line(record);
    }

    /// Returns the line of a record; none when it says nothing to a person.
    pub fn line(&mut self, record: &Record) -> Option<String> {
        let begun = *self.begun.get_or_insert(record.header.at);
        let (depth, text) = self.describe(record)?;
        let time = relative(record.header.at.since(begun));
        let time = self.style.paint(Ink::Dim, &format!("{time:>9}"));
        Some(format!("{time}  {}{text}", "  ".repeat(depth)))
    }

    fn describe(&mut self, record: &Record) -> Option<(usize, String)> {
        let at = record.header.at;
        match &record.body {
            Body::TimerScheduled { timer, due, timer_kind, .. } => {
                let wait = due.since(at);
                self.timers.insert(timer.clone(), (timer_kind.clone(), wait));
                self.timer_set(timer_kind, wait)
            }
            Body::TimerFired { timer } => {
                let (kind, wait) = self.timers.remove(timer)?;
                self.timer_fired(&kind, wait)
            }
            Body::TimerCancelled { timer } => {
                self.timers.remove(timer);
                None
            }
            Body::Created { .. }
            | Body::EventReceived { .. }
            | Body::EventIgnored { .. }
            | Body::EventDeferred { .. }
            | Body::EventRecalled { .. }
            | Body::Transition { .. }
            | Body::DataChanged { .. }
            | Body::Logged { .. }
            | Body::Warning { .. }
            | Body::Emitted { .. }
            | Body::IncidentOpened { .. }
            | Body::IncidentAssigned { .. }
            | Body::IncidentResolved { .. }
            | Body::ChildClosing { .. }
            | Body::ChildFinished { .. }
            | Body::CancelRequested { .. }
            | Body::EffectRequested(_)
            | Body::EffectCancelRequested { .. }
            | Body::BudgetGranted { .. }
            | Body::Paused { .. }
            | Body::Resumed { .. }
            | Body::DataEdited { .. }
            | Body::Moved { .. }
            | Body::Tagged { .. }
            | Body::Upgraded(_)
            | Body::Forked(_)
            | Body::Retried(_)
            | Body::Completing { .. }
            | Body::Finished { .. }
            | Body::DocumentPut { .. } => Some((0, self.machine(&record.body)?)),
            _ => self.effect(&record.body, at),
        }
    }

    fn machine(&self, body: &Body) -> Option<String> {
        let style = self.style;
        Some(match body {
            Body::Created { workflow, version, correlation, .. } => {
                let key = correlation.as_ref().map(|it| format!(" for `{}`", clip(it, 60)));
                let name = style.paint(Ink::Name, workflow);
                format!("● {name} {version}{}", key.unwrap_or_default())
            }
            Body::EventReceived { event, data, source: EventSource::External, .. } => {
                format!("⇢ event {}{}", style.paint(Ink::Name, event), suffix(data))
            }
            Body::EventReceived { event, data, .. } => {
                style.paint(Ink::Dim, &format!("⇢ {event}{}", suffix(data)))
            }
            Body::EventIgnored { event, refused: Some(why), .. } => style.paint(
                Ink::Care,
                &format!("⇢ event {event} not taken: {} ({})", why.message, why.code),
            ),
            Body::EventIgnored { event, .. } => {
                style.paint(Ink::Care, &format!("⇢ event {event} ignored"))
            }
            Body::EventDeferred { event, .. } => format!("⇢ event {event} kept for later"),
            Body::EventRecalled { event } => format!("⇢ event {event} offered again"),
            Body::Transition { from, to, event, guards, exited, entered, .. } => {
                let stays = !from.is_empty() && exited.is_empty() && entered.is_empty();
                let to = style.paint(Ink::Name, &states(to));
                let mut text = match (stays, from.is_empty()) {
                    (true, _) => format!("{to} stays"),
                    (false, true) => format!("→ {to}"),
                    (false, false) => format!("{} → {to}", states(from)),
                };
                if let Some(event) = event {
                    text += &style.paint(Ink::Dim, &format!("  on {event}"));
                }
                if !guards.is_empty() {
                    let guards = clip(&guards.join("; "), VALUE_CHARS_MAX);
                    text += &style.paint(Ink::Dim, &format!("  [{guards}]"));
                }
                text
            }
            Body::DataChanged { patch, .. } => {
                style.paint(Ink::Dim, &format!("data {}", clip(&changes(patch), VALUE_CHARS_MAX)))
            }
            Body::Logged { level, message, data } => {
                format!("“{}” {level}{}", clip(message, MESSAGE_CHARS_MAX), suffix(data))
            }
            Body::Warning { code, message, at_pointer } => {
                let message = clip(message, MESSAGE_CHARS_MAX);
                style.paint(Ink::Care, &format!("! {code}: {message} (at {at_pointer})"))
            }
            Body::ChildClosing { child } => {
                style.paint(Ink::Dim, &format!("⊘ child {child} is told to end"))
            }
            Body::ChildFinished { child, status, .. } => {
                let status = style.paint(ink_of(*status), status.as_str());
                format!("◌ child {child} {status}")
            }
            Body::Emitted { event, data, .. } => format!("⇠ emit {event}{}", suffix(data)),
            Body::IncidentOpened { incident, path, message, .. } => {
                let message = clip(message, MESSAGE_CHARS_MAX);
                style.paint(Ink::Bad, &format!("! incident {incident} at {path}: {message}"))
            }
            Body::IncidentAssigned { incident, to } => match to {
                Some(to) => format!("! incident {incident} given to {}", clip(to, 60)),
                None => format!("! incident {incident} given to nobody in particular"),
            },
            Body::IncidentResolved { incident, path, resolution, reason, .. } => {
                let why = because(reason.as_ref());
                format!("! incident {incident} at {path} resolved: {resolution}{why}")
            }
            Body::CancelRequested { terminate, reason } => {
                let how = if *terminate { "termination" } else { "cancellation" };
                format!("⊘ {how} asked for{}", because(reason.as_ref()))
            }
            Body::EffectRequested(asked) => {
                let name = style.paint(Ink::Name, &clip(&asked.root(), 60));
                format!("✎ runs {name} outside of the states{}", suffix(&asked.with))
            }
            Body::EffectCancelRequested { tree, reason } => {
                format!(
                    "⊘ cancellation of effect {} asked for{}",
                    tree + 1,
                    because(reason.as_ref())
                )
            }
            Body::BudgetGranted { of } => format!("✎ budget of {} granted once more", of.words()),
            Body::Paused { reason } => format!("‖ paused{}", because(reason.as_ref())),
            Body::Resumed { reason } => format!("‖ goes on{}", because(reason.as_ref())),
            Body::DataEdited { patch, reason } => {
                let changes = clip(&changes(patch), VALUE_CHARS_MAX);
                format!("✎ data {changes}{}", because(Some(reason)))
            }
            Body::Moved { to, reason } => {
                format!("✎ moved to {}{}", states(to), because(Some(reason)))
            }
            Body::Tagged { add, remove } => {
                let (add, remove) =
                    (add.iter().map(|it| ('+', it)), remove.iter().map(|it| ('-', it)));
                let tags = add.chain(remove).map(|(sign, it)| format!(" {sign}{it}"));
                format!("✎ tags{}", tags.collect::<String>())
            }
            Body::Upgraded(it) => {
                let how = if it.rollback { "back to" } else { "goes on with" };
                format!("✎ {how} version {} (was {})", it.to_version, it.from_version)
            }
            Body::Forked(it) => {
                let why = because(it.reason.as_ref());
                format!("⑂ fork of {} from record {}{why}", it.from, it.shared)
            }
            Body::Retried(it) => {
                let why = because(it.reason.as_ref());
                format!("✎ goes on from record {}{why}", it.to)
            }
            Body::Completing { status, .. } => {
                style.paint(Ink::Dim, &format!("ending as {}, cleaning up", status.as_str()))
            }
            Body::Finished { status, .. } => {
                format!("■ {}", style.paint(ink_of(*status), status.as_str()))
            }
            _ => return None,
        })
    }

    fn effect(&mut self, body: &Body, at: Timestamp) -> Option<(usize, String)> {
        let style = self.style;
        let (tree, path) = body.node()?;
        self.note_undo(tree, path, body);
        let note = self.nodes.get(&(tree, path.clone()));
        let is_call = note.is_some_and(|it| it.is_call);
        let name = style.paint(Ink::Name, name_of(path));
        let text = match body {
            Body::EffectScheduled { effect, input, key, .. } => {
                let is_call = key.is_some() || CALL_KINDS.contains(&&**effect);
                let what = if is_call { call_text(effect, input) } else { String::new() };
                let note = NodeNote { kind: effect.clone(), what, is_call };
                self.nodes.insert((tree, path.clone()), note);
                if is_call {
                    return None; // told when its first attempt begins
                }
                format!("{name} {}", style.paint(Ink::Dim, effect))
            }
            Body::EffectStarted { attempt, .. } => {
                let what = note.map_or("", |it| &it.what);
                let again =
                    if *attempt > 1 { format!("  attempt {attempt}") } else { String::new() };
                format!("→ {name}  {what}{again}")
            }
            Body::EffectRecalled { from, .. } => {
                let what = note.map_or("", |it| &it.what);
                format!("⑂ {name}  {what}  as record {from} of the original")
            }
            Body::EffectAttemptFailed { attempt, error, next_due, .. } => {
                let wait = relative(next_due.since(at));
                let error = style.paint(Ink::Care, &error_text(error));
                format!("✗ {name}  {error}; attempt {} in {wait}", attempt + 1)
            }
            Body::EffectCompleted { value, .. } => {
                let is_leaf = note.is_none_or(|it| it.is_call || value_matters(&it.kind));
                let value = if is_leaf { suffix(value) } else { String::new() };
                format!("{} {name} {value}", style.paint(Ink::Good, "✓"))
            }
            Body::EffectSkipped { .. } => style.paint(Ink::Dim, &format!("· {path} skipped")),
            Body::EffectFailed { error, .. } => {
                format!("{} {name}  {}", style.paint(Ink::Bad, "✗"), error_text(error))
            }
            Body::EffectCancelled { reason, .. } => {
                if !is_call && reason_is_plain(reason) {
                    style.paint(Ink::Dim, &format!("⊘ {} ({reason})", name_of(path)))
                } else {
                    format!("⊘ {name}  cancelled ({reason})")
                }
            }
            Body::EffectUnknown { attempt, policy, .. } => {
                let what = style.paint(Ink::Care, "outcome unknown");
                let next = match &**policy {
                    "retry" => "tried again with the same key",
                    "ask" => "a person decides",
                    _ => "counts as failed",
                };
                format!("? {name}  {what} after attempt {attempt}; {next}")
            }
            Body::EffectLate { outcome, .. } => {
                style.paint(Ink::Dim, &format!("… {} {outcome}, too late", name_of(path)))
            }
            Body::LoopAdvanced { iteration, .. } => format!("↻ {name}  round {iteration}"),
            Body::CompensationStarted { error, .. } => {
                let why = error.as_ref().map_or("cancelled".into(), error_text);
                format!("{} {name}  undoing, because {why}", style.paint(Ink::Care, "↩"))
            }
            Body::CompensationCompleted { .. } => match self.not_undone_below(tree, path) {
                failed if failed.is_empty() => {
                    format!("{} {name}  everything undone", style.paint(Ink::Good, "↩"))
                }
                failed => {
                    let failed = clip(&failed.join(", "), MESSAGE_CHARS_MAX);
                    let mark = style.paint(Ink::Bad, "↩");
                    format!("{mark} {name}  not everything undone; failed: {failed}")
                }
            },
            Body::CompensationFailed { error, .. } => {
                let error = error_text(error);
                format!("{} {name}  cannot be undone: {error}", style.paint(Ink::Bad, "↩"))
            }
            Body::BudgetReserved(it) if it.max_tokens.is_some() || it.unpriced.is_some() => {
                let cut = it.max_tokens.map(|it| format!("max_tokens cut to {it}"));
                let unpriced = it.unpriced.as_ref().map(|model| {
                    format!("model `{model}` has no known price and counts as nothing in `usd`")
                });
                let notes: Vec<String> = cut.into_iter().chain(unpriced).collect();
                style.paint(Ink::Care, &format!("! {name}  {}", notes.join("; ")))
            }
            Body::BudgetExceeded(it) => {
                let limit = it.limits.of(it.lacks).map(|limit| it.lacks.text(limit));
                let limit = format!("{}: {}", it.lacks.as_str(), limit.unwrap_or_default());
                let what = format!("⊘ {name}  not begun: beyond `{limit}` of {}", it.of.words());
                style.paint(Ink::Care, &what)
            }
            Body::TaskCreated { .. } => {
                format!("{} {name}  waits for people", style.paint(Ink::Care, "☐"))
            }
            Body::TaskClaimed { by, .. } => format!("☐ {name}  claimed by {by}"),
            Body::TaskReleased { .. } => format!("☐ {name}  released"),
            Body::TaskDelegated { to, by, .. } => format!("☐ {name}  handed to {to} by {by}"),
            Body::TaskCommented { comment, .. } => {
                let text = |key: &str| comment.get(key).and_then(Value::as_str).unwrap_or_default();
                format!("☐ {name}  {}: {}", text("by"), clip(text("text"), VALUE_CHARS_MAX))
            }
            Body::TaskDecided { decision, .. } => {
                let text =
                    |key: &str| decision.get(key).and_then(Value::as_str).unwrap_or_default();
                format!("☑ {name}  {} by {}", clip(text("outcome"), 60), text("by"))
            }
            Body::TaskReminded { number, .. } => format!("☐ {name}  reminder {number}"),
            Body::TaskEscalated { to, .. } => {
                let to = clip(&to.to_json(), VALUE_CHARS_MAX);
                style.paint(Ink::Care, &format!("☐ {name}  escalated to {to}"))
            }
            Body::TaskExpired { .. } => style.paint(Ink::Care, &format!("☐ {name}  expired")),
            Body::ChildStarted { child, workflow, .. } => {
                format!("● {name}  child {} {child}", style.paint(Ink::Name, workflow))
            }
            Body::SignalReceived { data, .. } => format!("⇢ {name}{}", suffix(data)),
            Body::TreeOrphaned { .. } => return None,
            _ => return None,
        };
        Some((depth_of(path), text.trim_end().to_string()))
    }

    /// Keeps which compensations failed and were not tried again.
    fn note_undo(&mut self, tree: Seq, path: &Text, body: &Body) {
        match body {
            Body::EffectFailed { .. } if name_of(path).starts_with("undo:") => {
                self.not_undone.insert((tree, path.clone()));
            }
            Body::EffectScheduled { .. }
            | Body::EffectStarted { .. }
            | Body::EffectCompleted { .. } => {
                self.not_undone.remove(&(tree, path.clone()));
            }
            _ => (),
        }
    }

    /// Returns the failed compensations of a node itself, without those of nodes below it.
    fn not_undone_below(&self, tree: Seq, path: &str) -> Vec<&str> {
        let of_node = |at: &str| at.rsplit_once('/').is_some_and(|(parent, _)| parent == path);
        let failed = self.not_undone.iter().filter(|(of, at)| *of == tree && of_node(at));
        failed.map(|(_, at)| name_of(at)).collect()
    }

    fn timer_set(&self, kind: &TimerKind, wait: Span) -> Option<(usize, String)> {
        let wait = relative(wait);
        let (depth, text) = match kind {
            TimerKind::After { state, .. } => (0, format!("⏲ {wait} at most in {state}")),
            TimerKind::Raise { event, .. } => (0, format!("⏲ {event} in {wait}")),
            TimerKind::Delay { path, .. } => {
                (depth_of(path), format!("⏲ {} waits {wait}", name_of(path)))
            }
            TimerKind::Retry { .. }
            | TimerKind::Deadline { .. }
            | TimerKind::Reminder { .. }
            | TimerKind::Escalation { .. }
            | TimerKind::Cleanup { .. } => return None,
        };
        Some((depth, self.style.paint(Ink::Dim, &text)))
    }

    fn timer_fired(&self, kind: &TimerKind, wait: Span) -> Option<(usize, String)> {
        let wait = relative(wait);
        Some(match kind {
            TimerKind::After { state, .. } => (0, format!("⏲ {wait} in {state} are over")),
            TimerKind::Raise { event, .. } => (0, format!("⏲ {event} is due")),
            TimerKind::Deadline { path, .. } => {
                (depth_of(path), format!("⏲ {}: {wait} are over", name_of(path)))
            }
            TimerKind::Delay { .. }
            | TimerKind::Retry { .. }
            | TimerKind::Reminder { .. }
            | TimerKind::Escalation { .. }
            | TimerKind::Cleanup { .. } => return None,
        })
    }
}

fn because(reason: Option<&Text>) -> String {
    reason.map(|it| format!(": {}", clip(it, 80))).unwrap_or_default()
}

/// Writes a length of time as people read it beside others: `0.012s`, `1m05.2s`, `2h03m`.
pub fn relative(span: Span) -> String {
    let millis = span.as_millis().max(0);
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    if hours >= 48 {
        return format!("{}d{}h", hours / 24, hours % 24);
    }
    if hours > 0 {
        return format!("{hours}h{minutes:02}m");
    }
    if minutes > 0 {
        return format!("{minutes}m{:02}.{}s", millis / 1_000 % 60, millis % 1_000 / 100);
    }
    format!("{}.{:03}s", millis / 1_000, millis % 1_000)
}

/// Returns the colour of a status.
pub fn ink_of(status: Status) -> Ink {
    match status {
        Status::Completed => Ink::Good,
        Status::Failed => Ink::Bad,
        Status::Running | Status::Completing => Ink::Name,
        _ => Ink::Care,
    }
}

fn depth_of(path: &str) -> usize {
    1 + path.matches('/').count()
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn states(paths: &[Text]) -> String {
    match paths {
        [one] => one.to_string(),
        many => format!("({})", many.join("|")),
    }
}

fn changes(patch: &[PatchOp]) -> String {
    let one = |op: &PatchOp| match op {
        PatchOp::Add { path, value } | PatchOp::Replace { path, value } => {
            format!("{}={}", dotted(path), value.to_json())
        }
        PatchOp::Remove { path } => format!("{} removed", dotted(path)),
    };
    patch.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

fn suffix(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => format!("  {}", clip(&value.to_json(), VALUE_CHARS_MAX)),
    }
}

/// Values of control nodes repeat their children's.
fn value_matters(kind: &str) -> bool {
    !matches!(
        kind,
        "sequence"
            | "parallel"
            | "race"
            | "fallback"
            | "retry"
            | "timeout"
            | "saga"
            | "batch"
            | "with_compensation"
            | "if_condition"
            | "case_condition"
            | "while_loop"
    )
}

fn reason_is_plain(reason: &str) -> bool {
    matches!(reason, "state_left" | "lost_race" | "sibling_failed" | "cancelled")
}

fn call_text(kind: &str, input: &Value) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default();
    match kind {
        "call" => {
            let args = input.get("args").map(suffix).unwrap_or_default();
            format!("{}{args}", text("function"))
        }
        "query_fsm" => {
            format!("{} of {}", clip(text("select"), VALUE_CHARS_MAX), text("instance_id"))
        }
        "spawn_fsm" => format!(
            "starts {}{}",
            text("workflow"),
            input.get("input").map(suffix).unwrap_or_default()
        ),
        "send_event" | "invoke_fsm" => format!("{} to {}", text("event"), receiver(input)),
        "broadcast_event" => format!("{} to {}", text("event"), everybody(input)),
        "call_api" => {
            let method = match text("method") {
                "" => "GET".to_string(),
                method => method.to_uppercase(),
            };
            format!("{method} {}", clip(text("url"), VALUE_CHARS_MAX))
        }
        other => other.to_string(),
    }
}

/// Returns whom a broadcast is for.
fn everybody(input: &Value) -> String {
    let text = |key: &str| input.get("match")?.get(key)?.as_str().map(str::to_string);
    let workflow = text("workflow").map_or("every instance".into(), |it| format!("every {it}"));
    let state = text("state").map_or(String::new(), |it| format!(" in {it}"));
    format!("{workflow}{state}")
}

/// Returns the instance that a message is for, as it was named.
fn receiver(input: &Value) -> String {
    let text =
        |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_string();
    match input.get("correlation") {
        Some(name) => format!("{} {}", text(name.get("workflow")), text(name.get("key"))),
        None => text(input.get("instance_id")),
    }
}

fn error_text(error: &EffectError) -> String {
    let mut text = format!("{}: {}", error.code, clip(&error.message, MESSAGE_CHARS_MAX));
    if let Some(cause) = &error.cause
        && !error.message.contains(&*cause.code)
    {
        text += &format!(" ({}: {})", cause.code, clip(&cause.message, MESSAGE_CHARS_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        let cases =
            [(12, "0.012s"), (65_200, "1m05.2s"), (7_380_000, "2h03m"), (259_200_000, "3d0h")];
        for (millis, text) in cases {
            assert_eq!(relative(Span::millis(millis)), text);
        }
    }

    #[test]
    fn a_short_history_reads_as_a_story() {
        let history = concat!(
            r#"{"tenant_id":"00000000-0000-0000-0000-000000000001","instance_id":"00000000-0000-0000-0000-000000000002","seq":1,"v":1,"at":"2026-01-01T00:00:00Z","step":1,"definition_hash":"0000000000000000000000000000000000000000000000000000000000000000","actor":{"type":"user","id":"local"},"kind":"created","workflow":"W","version":"1.0.0","input":{},"data":{}}"#,
            "\n",
            r#"{"tenant_id":"00000000-0000-0000-0000-000000000001","instance_id":"00000000-0000-0000-0000-000000000002","seq":2,"v":1,"at":"2026-01-01T00:00:00Z","step":1,"definition_hash":"0000000000000000000000000000000000000000000000000000000000000000","actor":{"type":"user","id":"local"},"kind":"transition","from":[],"to":["a"],"microstep":1}"#,
            "\n",
            r#"{"tenant_id":"00000000-0000-0000-0000-000000000001","instance_id":"00000000-0000-0000-0000-000000000002","seq":3,"v":1,"at":"2026-01-01T00:00:01.5Z","step":2,"definition_hash":"0000000000000000000000000000000000000000000000000000000000000000","actor":{"type":"user","id":"local"},"kind":"effect_attempt_failed","tree":3,"path":"go/charge","attempt":1,"error":{"code":"http_error","message":"503","retryable":true},"next_due":"2026-01-01T00:00:02Z"}"#,
        );
        let mut trace = Trace::new(Style::PLAIN);
        let mut shown = "trace\n".to_string();
        for line in history.lines() {
            shown += &trace.line(&Record::read_line(line.as_bytes()).unwrap()).unwrap();
            shown.push('\n');
        }
        expect_test::expect![[r#"
            trace
               0.000s  ● W 1.0.0
               0.000s  → a
               1.500s      ✗ charge  http_error: 503; attempt 2 in 0.500s
        "#]]
        .assert_eq(&shown);
    }
}
