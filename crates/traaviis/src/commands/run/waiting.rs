//! What a run waits for, told once: an event, a person, a child; and whether anything works.

use traaviis_model::{
    Seq, Snapshot, Text, Value,
    record::{Held, Status},
    snapshot::{Node, NodeStatus},
};

use super::Run;
use crate::{
    exit::Failure,
    operations::{accepted, answer_line},
    terminal::clip,
};

impl Run<'_> {
    /// Says what only a person can move: tells it once when this call waits for them, and fails
    /// with it when it does not.
    pub(super) fn tell_wait(
        &self,
        snapshot: &Snapshot,
        is_at_rest: bool,
        told: &mut Told,
    ) -> Result<(), Failure> {
        let is_working = is_working(snapshot);
        let (code, text) = if let Some(child) = self.resting_child(snapshot)? {
            ("waiting_for_child", self.child_text(&child))
        } else if !is_working && let Some(incident) = snapshot.incidents.last() {
            let about = (snapshot.incidents.len(), incident.path.clone());
            if self.waits() && told.incident.replace(about.clone()) == Some(about) {
                return Ok(());
            }
            told.waiting_at = 0;
            ("incident", self.incident_text(snapshot))
        } else if snapshot.status == Status::Paused {
            let (id, dir) = (snapshot.id, self.dir.display());
            let text = format!("the instance is paused; traaviis resume {id} --data {dir}");
            ("instance_paused", text)
        } else if !is_working
            && !snapshot.timers.iter().any(|it| it.kind.moves())
            && let Some(text) = self.task_text(snapshot)
        {
            ("waiting_for_task", text)
        } else if is_at_rest {
            ("waiting_for_event", self.event_text(snapshot))
        } else {
            return Ok(());
        };
        if !self.waits() {
            return Err(Failure::finding(code, text));
        }
        if told.waiting_at != snapshot.seq {
            told.waiting_at = snapshot.seq;
            self.output.note(&text);
        }
        Ok(())
    }

    /// Says whether this call stays while a person decides.
    fn waits(&self) -> bool {
        self.args.data.is_some() && (self.output.is_terminal() || self.args.wait)
    }

    /// Says which events the instance waits for, and how one is sent.
    fn event_text(&self, snapshot: &Snapshot) -> String {
        let names = accepted(&self.machine, snapshot);
        let (id, dir) = (snapshot.id, self.dir.display());
        if self.waits() {
            return format!("waits for {names}: traaviis send {id} NAME JSON --data {dir}");
        }
        let next = match &self.args.data {
            None => "send one with `--event NAME=JSON`, or keep the run with `--data DIR`".into(),
            Some(_) => format!(
                "`traaviis send {id} NAME JSON --data {dir}`, then run again; `--wait` stays"
            ),
        };
        format!("the instance waits in state `{}` for {names}; {next}", snapshot.state())
    }

    /// Returns a child that this run waits for and that only a person or an event can move.
    fn resting_child(&self, snapshot: &Snapshot) -> Result<Option<Snapshot>, Failure> {
        let is_waited = |node: &Node| {
            node.status == NodeStatus::Started
                && &*node.kind == "spawn_fsm"
                && node.input.get("wait") == Some(&Value::Bool(true))
        };
        for (id, known) in &snapshot.children {
            if !snapshot.node(known.tree, &known.path).is_some_and(is_waited) {
                continue;
            }
            let Some(child) = self.data.state(*id)? else { continue };
            if let Some(deeper) = self.resting_child(&child)? {
                return Ok(Some(deeper));
            }
            let is_stuck = !child.timers.iter().any(|it| it.kind.moves()) && !is_working(&child);
            if !child.status.is_finished() && is_stuck {
                return Ok(Some(child));
            }
        }
        Ok(None)
    }

    fn child_text(&self, child: &Snapshot) -> String {
        let Snapshot { id, workflow, .. } = child;
        let next = match &self.args.data {
            Some(dir) => format!("traaviis show {id} --data {}", dir.display()),
            None => "keep the run with `--data DIR` to move it".to_string(),
        };
        let state = child.state();
        format!("child `{workflow}` {id} waits in state `{state}` for somebody; {next}")
    }

    /// Says which task waits for people, and how it is answered.
    fn task_text(&self, snapshot: &Snapshot) -> Option<String> {
        let (_, path, node) = snapshot.open_tasks().next()?;
        let title = node.input.get("title").and_then(Value::as_str).unwrap_or_default();
        let title = clip(title, 80);
        let next = match &self.args.data {
            Some(dir) => {
                format!("traaviis tasks decide {} OUTCOME --data {}", snapshot.id, dir.display())
            }
            None => "a run that can be answered needs `--data DIR`".to_string(),
        };
        Some(format!("task `{title}` at {path} waits for an answer; {next}"))
    }

    fn incident_text(&self, snapshot: &Snapshot) -> String {
        let dir = match &self.args.data {
            Some(dir) => format!(" --data {}", dir.display()),
            None => String::new(),
        };
        let mut text = String::new();
        for incident in &snapshot.incidents {
            let message = clip(&incident.message, 400);
            let place = match &*incident.path {
                "" => String::new(),
                path => format!(" at {path}"),
            };
            text += &format!("incident {}{place}: {message}\n", incident.kind);
            text += &match &self.args.data {
                Some(_) => format!("answer: {}{dir}\n", answer_line(snapshot, incident)),
                None => "a run that can be answered needs `--data DIR`\n".to_string(),
            };
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// What the person was told already.
#[derive(Default)]
pub(super) struct Told {
    /// How many incidents there were, and the place of the last.
    incident: Option<(usize, Text)>,
    waiting_at: Seq,
}

/// Says whether nothing but an event can move the instance.
pub(super) fn is_at_rest(snapshot: &Snapshot) -> bool {
    snapshot.timers.is_empty() && snapshot.trees.is_empty() && snapshot.status == Status::Running
}

/// Says whether some effect is in flight, so that waiting may help without anybody's decision.
fn is_working(snapshot: &Snapshot) -> bool {
    let is_stuck = snapshot.incidents.iter().any(|it| it.held.as_deref() == Some(&Held::Continue));
    let moves = |node: &Node| match node.status {
        NodeStatus::Started | NodeStatus::Waiting => true,
        // A node without running children is a leaf that waits for a slot or a timer.
        NodeStatus::Scheduled => {
            node.running.is_empty() && !is_stuck && !node.is_task() && &*node.kind != "wait_signal"
        }
        _ => false,
    };
    let waits_for_person = |tree: Seq, path: &str| {
        let mut timers = snapshot.timers.iter().filter(|it| it.kind.is_of(tree, path));
        snapshot.asks_about(tree, path) || timers.any(|it| snapshot.holds_timer(&it.id))
    };
    snapshot.trees.iter().any(|tree| {
        let mut nodes = tree.nodes.iter();
        nodes.any(|(path, node)| moves(node) && !waits_for_person(tree.id, path))
    })
}
