//! Actions: a map with exactly one action key and an optional `when`.

use crate::{
    definition::{Action, ActionKind, Branch},
    document::read::{At, Keys, Reader, join},
    ids::Text,
    limits::ACTIONS_PER_BLOCK_MAX,
    value::Value,
};

pub(super) const KINDS: &[&str] =
    &["assign", "merge", "raise", "cancel", "log", "emit", "choose", "for_each", "block"];
const KEYS: Keys<'_> = Keys::new(
    "an action",
    &["assign", "merge", "raise", "cancel", "log", "emit", "choose", "for_each", "block", "when"],
);

impl Reader {
    /// Reads a block of actions.
    pub(super) fn actions(&mut self, at: &At<'_>) -> Vec<Action> {
        let items = self.list(at);
        if items.len() > ACTIONS_PER_BLOCK_MAX {
            self.at_most(at, items.len(), ACTIONS_PER_BLOCK_MAX, "actions in one block");
            return Vec::new();
        }
        items.iter().filter_map(|it| self.action(it)).collect()
    }

    fn action(&mut self, at: &At<'_>) -> Option<Action> {
        let findings = self.diagnostics.len();
        let fields = self.fields(at, &KEYS)?;
        let when = fields.get("when").and_then(|it| self.cel(&it));
        let mut found: Vec<At<'_>> = KINDS.iter().filter_map(|key| fields.get(key)).collect();
        if found.len() != 1 {
            // An unknown key is the better explanation for an action without a kind.
            if !found.is_empty() || self.diagnostics.len() == findings {
                let message = format!("an action has one of {}", join(KINDS));
                self.report(at.error("E101", message).hint("write one map for each action"));
            }
            return None;
        }
        let it = found.pop()?;
        let kind = match &*it.key?.text {
            "assign" => self.assign(&it),
            "merge" => Some(ActionKind::Merge(it.value())),
            "raise" => self.raise(&it),
            "cancel" => Some(ActionKind::Cancel(self.words(&it)?)),
            "log" => self.log(&it),
            "emit" => self.emit(&it),
            "choose" => self.choose(&it),
            "for_each" => self.for_each(&it),
            _ => Some(ActionKind::Block(self.some_actions(&it))),
        };
        Some(Action { when, kind: kind?, pointer: at.pointer.clone() })
    }

    fn assign(&mut self, at: &At<'_>) -> Option<ActionKind> {
        let entries = self.map(at);
        if at.is_map() && entries.is_empty() {
            self.report(at.error("E101", "`assign` is empty"));
        }
        if let Some((_, remove)) =
            entries.iter().find(|(key, it)| &*key.text == "remove" && it.is_list())
        {
            if entries.len() > 1 {
                let message = "`remove` stands beside other keys of `assign`";
                let hint = "write it as an action of its own: `{assign: {remove: [path]}}`";
                self.report(remove.key_error("E101", message).hint(hint));
            }
            let items = self.list(remove);
            let paths = items.iter().filter_map(|it| {
                let text = self.words(it)?;
                self.path(&text, it)
            });
            return Some(ActionKind::Remove(paths.collect()));
        }
        let pairs = entries.into_iter().filter_map(|(key, it)| {
            let path = self.path(&key.text, &it)?;
            Some((path, it.value()))
        });
        Some(ActionKind::Assign(pairs.collect()))
    }

    fn raise(&mut self, at: &At<'_>) -> Option<ActionKind> {
        let keys = Keys::new("`raise`", &["event", "data", "delay", "id"]);
        let fields = self.fields(at, &keys)?;
        let event = self.required(&fields, "event", "`raise`").and_then(|it| {
            match it.text().filter(|text| text.contains("${")) {
                // The engine checks the name when it has it.
                Some(template) => Some(template.clone()),
                None => {
                    self.not_reserved(&it);
                    self.event_name(&it)
                }
            }
        });
        let delay = fields.get("delay").and_then(|it| self.duration(&it));
        let id = fields.get("id").and_then(|it| self.words(&it));
        Some(ActionKind::Raise { event: event?, data: value(fields.get("data")), delay, id })
    }

    fn choose(&mut self, at: &At<'_>) -> Option<ActionKind> {
        let keys = Keys::new("a branch of `choose`", &["when", "actions"]);
        let items = self.list(at);
        if at.is_list() && items.is_empty() {
            self.report(at.error("E101", "`choose` is empty"));
        }
        let mut branches: Vec<Branch> = Vec::new();
        for item in &items {
            let fields = self.fields(item, &keys)?;
            if branches.last().is_some_and(|it| it.when.is_none()) {
                let message = "a branch without `when` stands before others, which are never taken";
                self.report(item.error("E101", message).hint("put it at the end"));
            }
            let when = fields.get("when").and_then(|it| self.cel(&it));
            let actions = self.required(&fields, "actions", "the branch")?;
            let (actions, pointer) = (self.actions(&actions), item.pointer.clone());
            branches.push(Branch { when, actions, pointer });
        }
        Some(ActionKind::Choose(branches))
    }

    fn for_each(&mut self, at: &At<'_>) -> Option<ActionKind> {
        let fields = self.fields(at, &Keys::new("`for_each`", &["in", "actions"]))?;
        let list = self.required(&fields, "in", "`for_each`");
        let actions = self.required(&fields, "actions", "`for_each`");
        let actions = self.some_actions(&actions?);
        Some(ActionKind::ForEach { list: list?.value(), actions })
    }

    /// Reads actions inside an action, where none at all would be a slip.
    fn some_actions(&mut self, at: &At<'_>) -> Vec<Action> {
        if at.items().is_some_and(|it| it.is_empty()) {
            self.report(at.error("E101", format!("{} is empty", at.name())));
        }
        self.actions(at)
    }

    fn log(&mut self, at: &At<'_>) -> Option<ActionKind> {
        let fields = self.fields(at, &Keys::new("`log`", &["level", "message", "data"]))?;
        let level: Text = match fields.get("level") {
            Some(it) => {
                let levels = ["debug", "info", "warn", "error"].map(|it| (it, it));
                self.choice(&it, "E101", &levels).unwrap_or("info").into()
            }
            None => "info".into(),
        };
        let message = self.required(&fields, "message", "`log`")?.value();
        Some(ActionKind::Log { level, message, data: value(fields.get("data")) })
    }

    fn emit(&mut self, at: &At<'_>) -> Option<ActionKind> {
        let fields = self.fields(at, &Keys::new("`emit`", &["event", "data", "subject"]))?;
        let event = self.required(&fields, "event", "`emit`").and_then(|it| self.event_name(&it));
        Some(ActionKind::Emit {
            event: event?,
            data: value(fields.get("data")),
            subject: value(fields.get("subject")),
        })
    }
}

fn value(at: Option<At<'_>>) -> Option<Value> {
    at.map(|it| it.value())
}
