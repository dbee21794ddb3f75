//! `traaviis show`: everything about one instance on one screen.

use std::collections::VecDeque;

use traaviis_model::{
    InstanceId, Snapshot, Span, Timestamp,
    budget::{Budget, BudgetKind},
    record::TimerKind,
    snapshot::{NodeStatus, Performance, Tree},
};

use crate::{
    clock,
    control::protocol::Ask,
    exit::{Exit, Failure},
    histories::{Place, read_record},
    operations::{Asker, ReadArgs, answer_line},
    output::Output,
    terminal::{Ink, Style, clip},
    trace::{Trace, ink_of, relative},
};

/// Open children that are shown; all stand in `--json`.
const CHILDREN_SHOWN: usize = 20;

/// Shows an instance.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// How many of the last records to show.
    #[arg(long, default_value_t = 12)]
    records: usize,
    #[command(flatten)]
    data: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut asker = Asker::open(&args.data)?;
    let answer = asker.ask(Ask::Show { id: args.id.clone() })?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let snapshot: Snapshot = serde_json::from_value(answer["snapshot"].clone())?;
    output.text(&describe(&snapshot, clock::now(), output.style()));
    if answer["archived"] == true {
        output.line("archived: it has left the log and does not go on");
    }
    output.text(&tail(&mut asker, snapshot.id, args.records, output.style())?);
    Ok(Exit::Ok)
}

fn describe(snapshot: &Snapshot, now: Timestamp, style: Style) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        text += &format!("{} {value}\n", style.paint(Ink::Dim, &format!("{name:<9}")));
    };
    row("instance", &snapshot.id.to_string());
    row("workflow", &format!("{} {}", snapshot.workflow, snapshot.version));
    if let Some(by) = &snapshot.created_by {
        row("by", &clip(by, 200));
    }
    if let Some(key) = &snapshot.correlation {
        row("key", key);
    }
    if let Some(subject) = &snapshot.subject {
        row("subject", &clip(subject, 200));
    }
    if !snapshot.tags.is_empty() {
        let tags: Vec<&str> = snapshot.tags.iter().map(|it| &**it).collect();
        row("tags", &clip(&tags.join(", "), 2_000));
    }
    for (name, value) in &snapshot.labels {
        let value = value.as_str().map_or_else(|| value.to_json(), ToString::to_string);
        row("label", &clip(&format!("{name}={value}"), 400));
    }
    if let Some(of) = &snapshot.correlation_id {
        row("part of", of);
    }
    if let Some(lineage) = &snapshot.lineage {
        let root = match lineage.root_id == lineage.parent_id {
            true => String::new(),
            false => format!(", first of the line {}", lineage.root_id),
        };
        row("parent", &format!("{}{root}", lineage.parent_id));
    }
    if let Some(origin) = &snapshot.forked_from {
        row("fork of", &format!("{} from record {}", origin.id, origin.seq));
    }
    let status = style.paint(ink_of(snapshot.status), snapshot.status.as_str());
    let waiting = if snapshot.is_waiting() { ", waiting" } else { "" };
    let age = relative(now.since(snapshot.created_at));
    row("status", &format!("{status}{waiting}, record {}, created {age} ago", snapshot.seq));
    row("moved", &moved(&snapshot.performance(), now));
    row("state", &snapshot.state());
    row("data", &clip(&snapshot.data.to_json(), 2_000));
    if !snapshot.output.is_null() {
        row("output", &clip(&snapshot.output.to_json(), 2_000));
    }
    if let Some(error) = &snapshot.error {
        row("error", &style.paint(Ink::Bad, &format!("{}: {}", error.code, error.message)));
    }
    for budget in snapshot.budgets.iter() {
        row("budget", &budget_text(budget));
    }
    for timer in &snapshot.timers {
        let wait = timer.due.since(now);
        let due = match wait.0 {
            _ if snapshot.holds_timer(&timer.id) => "waits for an answer".to_string(),
            ..=0 => "due now".to_string(),
            _ => format!("in {}", relative(wait)),
        };
        row("timer", &format!("{} {due} ({})", timer_name(&timer.kind), timer.due));
    }
    snapshot.trees.iter().for_each(|tree| effects(tree, &mut row));
    for (id, child) in snapshot.children.iter().take(CHILDREN_SHOWN) {
        let closing = if child.closing { ", told to end" } else { "" };
        row("child", &format!("{id} {} at {}{closing}", child.workflow, child.path));
    }
    if let Some(more) = snapshot.children.len().checked_sub(CHILDREN_SHOWN + 1) {
        row("", &format!("and {} more children", more + 1));
    }
    for incident in &snapshot.incidents {
        let assignee = incident.assignee.as_ref();
        let assignee = assignee.map(|it| format!(", looked after by {}", clip(it, 60)));
        let what = format!(
            "{} at {}{}: {}",
            incident.kind,
            incident.path,
            assignee.unwrap_or_default(),
            incident.message
        );
        row("incident", &style.paint(Ink::Bad, &clip(&what, 400)));
        row("", &answer_line(snapshot, incident));
    }
    text
}

/// Says how an instance has moved: `3 transitions, the last 5s ago, 2s apart on average`.
fn moved(performance: &Performance, now: Timestamp) -> String {
    let Performance { transition_count, last_transition_at, avg_transition_time_us } = performance;
    let (Some(last), Some(average)) = (last_transition_at, avg_transition_time_us) else {
        return "not yet".into();
    };
    let (ago, apart) = (relative(now.since(*last)), relative(Span(*average)));
    match transition_count {
        1 => format!("1 transition, {ago} ago"),
        count => format!("{count} transitions, the last {ago} ago, {apart} apart on average"),
    }
}

fn effects(tree: &Tree, row: &mut impl FnMut(&str, &str)) {
    let is_leaf = |path: &str| {
        let prefix = format!("{path}/");
        !tree.nodes.iter().any(|(it, node)| it.starts_with(&prefix) && !node.status.is_over())
    };
    for (path, node) in &tree.nodes {
        if node.status.is_over() || !is_leaf(path) {
            continue;
        }
        let attempt = match (node.status, node.attempt) {
            (NodeStatus::Scheduled, 0) => String::new(),
            (_, attempt) => format!(", attempt {attempt}"),
        };
        row("effect", &format!("{path} {}: {}{attempt}", node.kind, node.status.as_str()));
    }
}

/// Says what is spent of a budget: `the run: calls 3 of 10 (1 reserved)`.
fn budget_text(budget: &Budget) -> String {
    let mut parts = Vec::new();
    for kind in BudgetKind::ALL {
        let (spent, reserved) = (budget.spent.of(kind), budget.reserved.of(kind));
        let Some(limit) = budget.limit(kind).map(|it| kind.text(it)) else { continue };
        let reserved = match reserved {
            0 => String::new(),
            it => format!(" ({} reserved)", kind.text(it)),
        };
        let (name, spent) = (kind.as_str(), kind.text(spent));
        parts.push(format!("{name} {spent} of {limit}{reserved}"));
    }
    let granted = match budget.granted {
        0 => String::new(),
        1 => ", granted once more".into(),
        times => format!(", granted {times} times more"),
    };
    format!("{}: {}{granted}", budget.scope.words(), parts.join(", "))
}

fn timer_name(kind: &TimerKind) -> String {
    match kind {
        TimerKind::After { state, .. } => format!("after in {state}"),
        TimerKind::Raise { event, .. } => format!("raise {event}"),
        TimerKind::Delay { path, .. } => format!("delay {path}"),
        TimerKind::Retry { path, .. } => format!("retry {path}"),
        TimerKind::Deadline { path, .. } => format!("limit {path}"),
        TimerKind::Reminder { path, number, .. } => format!("reminder {number} {path}"),
        TimerKind::Escalation { path, .. } => format!("escalation {path}"),
        TimerKind::Cleanup { tree } => format!("limit of cleanup {tree}"),
    }
}

/// Returns the lines of the last records; what they say may refer to any before.
fn tail(asker: &mut Asker, id: InstanceId, count: usize, style: Style) -> Result<String, Failure> {
    let (id, mut place) = (id.to_string(), Place::before(1));
    let (mut trace, mut last) = (Trace::new(style), VecDeque::new());
    loop {
        let lines = asker.history_part(&id, &mut place)?;
        for line in &lines {
            last.push_back(trace.line(&read_record(line.as_bytes())?));
            if last.len() > count {
                last.pop_front();
            }
        }
        if !place.has_more {
            break;
        }
    }
    let mut text = style.paint(Ink::Dim, &format!("last {} records", last.len()));
    text.push('\n');
    last.into_iter().flatten().for_each(|line| text += &format!("{line}\n"));
    Ok(text)
}
