//! Candidates of transitions: a target text, a map, or a list of both.

use crate::{
    definition::Candidate,
    document::{
        read::{At, Keys, Reader},
        tree::NodeKind,
    },
    ids::Text,
    value::Value,
};

pub(super) const KNOWN: &[&str] = &["target", "guard", "actions", "reenter", "description"];
const KEYS: Keys<'_> = Keys::new("a candidate", KNOWN);
const TIMER_KEYS: Keys<'_> =
    Keys::new("a timer", &["delay", "target", "guard", "actions", "reenter", "description"]);

impl Reader {
    /// Reads one candidate or a list of them.
    pub(super) fn candidates(&mut self, at: &At<'_>) -> Vec<Candidate> {
        at.one_or_many().iter().filter_map(|it| self.candidate(it)).collect()
    }

    fn candidate(&mut self, at: &At<'_>) -> Option<Candidate> {
        match &at.node.kind {
            NodeKind::String(_) => Some(Candidate {
                target: Some(vec![self.words(at)?]),
                guard: None,
                actions: Vec::new(),
                reenter: None,
                pointer: at.pointer.clone(),
            }),
            NodeKind::Map(_) => self.candidate_map(at, &KEYS),
            _ => {
                self.expected(at, "E101", "a state name or a candidate such as `{target: STATE}`");
                None
            }
        }
    }

    /// Reads a candidate of the list form of `after`.
    pub(super) fn candidate_with_delay(
        &mut self,
        at: &At<'_>,
    ) -> Option<(Candidate, Option<Value>)> {
        let candidate = self.candidate_map(at, &TIMER_KEYS)?;
        let delay = match at.node.entry("delay") {
            Some((key, node)) => self.duration(&at.child(key, node)),
            None => {
                let hint = "for example `{delay: 30s, target: STATE}`";
                self.report(at.error("E101", "`delay` is missing in the timer").hint(hint));
                None
            }
        };
        Some((candidate, delay))
    }

    fn candidate_map(&mut self, at: &At<'_>, keys: &Keys<'_>) -> Option<Candidate> {
        let fields = self.fields(at, keys)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        Some(Candidate {
            target: fields.get("target").map(|it| self.targets(&it)),
            guard: fields.get("guard").and_then(|it| self.cel(&it)),
            actions: fields.get("actions").map_or_else(Vec::new, |it| self.actions(&it)),
            reenter: fields.get("reenter").and_then(|it| self.flag(&it)),
            pointer: at.pointer.clone(),
        })
    }

    /// Reads a target or a list of them.
    pub(super) fn targets(&mut self, at: &At<'_>) -> Vec<Text> {
        if at.items().is_some_and(|it| it.is_empty()) {
            let hint = "leave `target` out for actions only";
            self.report(at.error("E101", "`target` is empty").hint(hint));
        }
        self.texts(at)
    }
}
