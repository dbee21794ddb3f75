//! Effect trees: common keys, parameters by the table of kinds, and children.

use std::collections::BTreeSet;

use crate::{
    call::redacts,
    definition::{Children, Effect, GateKey, SagaStep},
    document::{
        read::{
            At, Fields, Keys, Reader,
            kinds::{COMMON, Form, GATES, KINDS, Kind, MOCKED, Need, Param, Role, Shape},
            nearest, retry,
        },
        tree::NodeKind,
    },
    ids::Text,
    limits::{
        AGENTS_MAX, EFFECT_DEPTH_MAX, EFFECT_NODES_MAX, LOOP_ITERATIONS_MAX, PRIORITY_MAX,
        TASK_ATTACHMENTS_MAX, TASK_REMINDERS_MAX,
    },
    privacy::{PiiMode, Redact},
    value::Value,
};

const SAGA_STEP_KNOWN: &[&str] = &["id", "action", "compensation", "timeout", "retry"];

const AGENT_KNOWN: &[&str] = &[
    "id",
    "role",
    "task",
    "model",
    "tier",
    "capability",
    "provider",
    "system",
    "tools",
    "context",
    "weight",
];

/// What is counted over one tree.
#[derive(Default)]
pub(super) struct Tree {
    nodes: usize,
    ids: BTreeSet<Text>,
    too_deep: bool,
}

impl Reader {
    /// Reads an effect and everything below it.
    pub(super) fn effect(&mut self, at: &At<'_>, tree: &mut Tree, depth: usize) -> Option<Effect> {
        tree.nodes += 1;
        if tree.nodes > EFFECT_NODES_MAX {
            if tree.nodes == EFFECT_NODES_MAX + 1 {
                let message = format!("the effect tree has more than {EFFECT_NODES_MAX} nodes");
                self.report(at.error("E141", message));
            }
            return None;
        }
        if depth > EFFECT_DEPTH_MAX {
            if !tree.too_deep {
                let message = format!("effects are nested deeper than {EFFECT_DEPTH_MAX}");
                self.report(at.error("E141", message));
            }
            tree.too_deep = true;
            return None;
        }
        let kind = self.kind(at)?;
        let fields = self.effect_fields(at, kind)?;
        let effect = self.effect_common(&fields, kind, tree, depth);
        let params = self.params(&fields, kind);
        let children = self.children(&fields, kind, tree, depth);
        self.rules(&fields, kind);
        Some(Effect { params, children, ..effect })
    }

    fn kind(&mut self, at: &At<'_>) -> Option<&'static Kind> {
        if !at.is_map() {
            self.expected(at, "E140", "an effect such as `{type: call, function: NAME}`");
            return None;
        }
        let Some((key, node)) = at.node.entry("type") else {
            self.report(at.error("E140", "`type` is missing in the effect"));
            return None;
        };
        let at = at.child(key, node);
        let name = self.text(&at)?;
        if let Some(kind) = KINDS.iter().find(|it| it.name == &*name) {
            return Some(kind);
        }
        if let Some(kind) = MOCKED.iter().find(|it| it.name == &*name) {
            let message = format!(
                "feature_unavailable: effect `{name}` is checked, and tests answer it with mocks, \
                 but this release does not perform it"
            );
            self.report(at.error("W190", message).as_warning());
            return Some(kind);
        }
        let words = KINDS.iter().chain(MOCKED).map(|it| it.name);
        let diagnostic = at.error("E140", format!("unknown effect kind `{name}`"));
        self.report(match nearest(&name, words) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic,
        });
        None
    }

    fn effect_fields<'a>(&mut self, at: &At<'a>, kind: &Kind) -> Option<Fields<'a>> {
        let mut own: Vec<&str> = kind.params.iter().map(|it| it.name).collect();
        own.extend(kind.roles.iter().map(|it| it.name));
        if kind.name == "retry" {
            own.extend(retry::KNOWN);
        }
        // A parameter hides the common key of the same name, as in `batch.concurrency`.
        own.extend(COMMON);
        let what = format!("effect `{}`", kind.name);
        let keys = Keys { what: &what, code: "E140", known: &own, unavailable: &[] };
        self.fields(at, &keys)
    }

    /// Reads the common keys; parameters and children are left empty.
    fn effect_common(
        &mut self,
        fields: &Fields<'_>,
        kind: &Kind,
        tree: &mut Tree,
        depth: usize,
    ) -> Effect {
        let is_child = kind.roles.iter().any(|it| it.name == "compensation");
        let compensation = fields
            .get("compensation")
            .filter(|_| !is_child)
            .and_then(|it| self.effect(&it, tree, depth + 1));
        Effect {
            kind: kind.name.into(),
            id: fields.get("id").and_then(|it| self.effect_id(&it, tree)),
            when: fields.get("when").and_then(|it| self.cel(&it)),
            timeout: fields.get("timeout").and_then(|it| self.duration(&it)),
            deadline: fields
                .get("deadline")
                .filter(|_| !kind.params.iter().any(|it| it.name == "deadline"))
                .and_then(|it| self.duration(&it)),
            retry: match fields.get("retry") {
                Some(it) if kind.name == "retry" => {
                    let message = "`retry` does not belong on effect `retry`";
                    let hint = "write its keys on the effect itself: `attempts`, `backoff`, ...";
                    self.report(it.key_error("E140", message).hint(hint));
                    None
                }
                Some(it) => self.retry(&it),
                None if kind.name == "retry" => Some(self.policy(fields)),
                None => None,
            },
            on_unknown: fields.get("on_unknown").and_then(|it| self.on_unknown(&it)),
            idempotency_key: fields.get("idempotency_key").and_then(|it| {
                let key = self.words(&it)?;
                Some(Value::String(key))
            }),
            compensation: compensation.map(Box::new),
            save: fields.get("save").and_then(|it| {
                let text = self.words(&it)?;
                self.path(&text, &it)
            }),
            waive: fields.get("waive").and_then(|it| self.words(&it)),
            budget: fields.get("budget").and_then(|it| self.budget(&it)),
            priority: fields.get("priority").and_then(|it| self.priority(&it, "E140")),
            redact: fields.get("redact").and_then(|it| self.redact(&it, kind)),
            gates: self.gates(fields, kind),
            params: Vec::new(),
            children: Vec::new(),
            pointer: fields.at.pointer.clone(),
        }
    }

    /// Reads who goes first: a whole number and not computed, so it is known before anything runs.
    pub(super) fn priority(&mut self, at: &At<'_>, code: &'static str) -> Option<i8> {
        let priority = match at.node.kind {
            NodeKind::Int(it) => i8::try_from(it).ok(),
            _ => None,
        };
        let priority = priority.filter(|it| (-PRIORITY_MAX..=PRIORITY_MAX).contains(it));
        if priority.is_none() {
            let wanted = format!("a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}");
            let message = format!("`priority` must be {wanted}, found {}", found(at));
            self.report(at.error(code, message));
        }
        priority
    }

    /// Reads what is done with personal data of a call.
    fn redact(&mut self, at: &At<'_>, kind: &Kind) -> Option<Redact> {
        let keys = Keys { what: "`redact`", code: "E140", known: &["in", "out"], unavailable: &[] };
        let fields = self.fields(at, &keys)?;
        if !redacts(kind.name) {
            self.unavailable(at, &format!("redact of {}", kind.name));
        }
        let is_input_said = fields.get("in").is_some();
        let mut mode = |name: &str| fields.get(name).and_then(|it| self.redact_mode(&it));
        Some(Redact { input: mode("in"), is_input_said, output: mode("out") })
    }

    /// Reads one of the modes that `redact` knows.
    fn redact_mode(&mut self, at: &At<'_>) -> Option<PiiMode> {
        let known = [PiiMode::Mask, PiiMode::Hash, PiiMode::Tokenise, PiiMode::Block].map(Some);
        let word = |it: &Option<PiiMode>| it.map_or("none", PiiMode::as_str);
        let choices: Vec<_> = known.iter().chain([&None]).map(|it| (word(it), *it)).collect();
        self.choice(at, "E140", &choices)?
    }

    /// Reads the common keys that put the effect behind a gate.
    fn gates(&mut self, fields: &Fields<'_>, kind: &Kind) -> Vec<GateKey> {
        let mut gates = Vec::new();
        for gate in GATES {
            // A parameter hides the common key of the same name.
            let is_own = kind.params.iter().any(|it| it.name == gate.name);
            let Some(at) = fields.get(gate.name).filter(|_| !is_own) else { continue };
            let known: Vec<&str> = gate.params.iter().map(|it| it.name).collect();
            let what = format!("`{}`", gate.name);
            let keys = Keys { what: &what, code: "E140", known: &known, unavailable: &[] };
            let Some(fields) = self.fields(&at, &keys) else { continue };
            let params = self.params(&fields, gate);
            gates.push(GateKey { kind: gate.name.into(), params, pointer: at.pointer.clone() });
        }
        gates
    }

    fn effect_id(&mut self, at: &At<'_>, tree: &mut Tree) -> Option<Text> {
        let id = self.text(at)?;
        self.segment(&id, at)?;
        if !tree.ids.insert(id.clone()) {
            let message = format!("the effect id `{id}` stands twice in this tree");
            self.report(at.error("E107", message));
        }
        Some(id)
    }

    /// Checks text that becomes a segment of an effect's path.
    fn segment(&mut self, text: &str, at: &At<'_>) -> Option<()> {
        if text.is_empty() || text.contains('/') {
            let message = format!("`{text}` is not an id for an effect");
            let hint = "it must not be empty or contain `/`";
            self.report(at.text_error("E109", text, message).hint(hint));
            return None;
        }
        Some(())
    }

    fn params(&mut self, fields: &Fields<'_>, kind: &Kind) -> Vec<(Text, Value)> {
        let mut params = Vec::new();
        for param in kind.params {
            match fields.get(param.name) {
                Some(at) => {
                    let value = self.param(&at, param, kind);
                    // `ms` is another spelling of `duration`: a number is milliseconds.
                    let name = if param.name == "ms" { "duration" } else { param.name };
                    params.extend(value.map(|it| (Text::from(name), it)));
                }
                None if param.need == Need::Must => self.lacks(fields, param.name, kind),
                None => {}
            }
        }
        params
    }

    fn lacks(&mut self, fields: &Fields<'_>, key: &str, kind: &Kind) {
        self.missing(fields, "E140", key, &format!("effect `{}`", kind.name));
    }

    fn param(&mut self, at: &At<'_>, param: &Param, kind: &Kind) -> Option<Value> {
        let is_template = at.text().is_some_and(|it| it.contains("${"));
        let (fits, wanted) = match param.shape {
            Shape::Any => (true, String::new()),
            Shape::Cel => return self.cel_param(at),
            Shape::Event => return self.event_name(at).map(Value::String),
            Shape::Reminders => return self.reminders(at),
            Shape::Escalation => return self.escalation(at),
            Shape::Later => {
                self.unavailable(at, param.name);
                return None;
            }
            Shape::Word(words) => {
                let choices: Vec<(&str, &str)> = words.iter().map(|it| (*it, *it)).collect();
                return self.choice(at, "E140", &choices).map(Value::from);
            }
            Shape::Method(_) if is_template => (true, String::new()),
            Shape::Method(words) => return self.method(at, words),
            Shape::Path if !is_template => {
                let text = self.words(at)?;
                return self.path(&text, at).map(Value::String);
            }
            Shape::Text | Shape::Path => {
                (at.text().is_some_and(|it| !it.is_empty()), "text".to_string())
            }
            Shape::Duration => return self.duration(at),
            Shape::Map => (at.is_map() || is_template, "a map".to_string()),
            Shape::List => (at.is_list() || is_template, "a list or a template".to_string()),
            Shape::Texts => {
                let fits =
                    at.items().is_some_and(|items| items.iter().all(|it| it.text().is_some()));
                (fits, "a list of texts".to_string())
            }
            Shape::Flag => (matches!(at.node.kind, NodeKind::Bool(_)), "true or false".to_string()),
            // `while_loop` tells its own code.
            Shape::Count(..) if param.name == "max_iterations" => (true, String::new()),
            Shape::Count(least, most) => {
                (is_count(at, least, most), format!("a whole number from {least} to {most}"))
            }
            Shape::Amount(least, most) => {
                let fits = is_template || is_amount(at, least, most);
                (fits, format!("a number from {least} to {most} or a template"))
            }
        };
        if !fits {
            let message = format!(
                "{} of effect `{}` must be {wanted}, found {}",
                at.name(),
                kind.name,
                found(at)
            );
            self.report(at.error("E140", message));
            return None;
        }
        Some(at.value())
    }

    fn cel_param(&mut self, at: &At<'_>) -> Option<Value> {
        match &at.node.kind {
            // A number is an expression too, and cannot be meant otherwise.
            NodeKind::Int(_) | NodeKind::Uint(_) | NodeKind::Float(_) => {
                Some(Value::from(at.node.to_json()))
            }
            _ => self.cel(at).map(Value::String),
        }
    }

    fn method(&mut self, at: &At<'_>, words: &[&'static str]) -> Option<Value> {
        let word = at.text().and_then(|text| {
            words.iter().find(|it| it.eq_ignore_ascii_case(text)).map(|it| Value::from(*it))
        });
        if word.is_none() {
            let choices: Vec<(&str, &str)> = words.iter().map(|it| (*it, *it)).collect();
            self.choice(at, "E140", &choices);
        }
        word
    }

    fn children(
        &mut self,
        fields: &Fields<'_>,
        kind: &Kind,
        tree: &mut Tree,
        depth: usize,
    ) -> Vec<(Text, Children)> {
        let mut children = Vec::new();
        for role in kind.roles {
            match fields.get(role.name) {
                Some(at) => {
                    let below = self.role(&at, role, tree, depth);
                    children.extend(below.map(|it| (Text::from(role.name), it)));
                }
                None if role.need == Need::Must => self.lacks(fields, role.name, kind),
                None => {}
            }
        }
        children
    }

    fn role(
        &mut self,
        at: &At<'_>,
        role: &Role,
        tree: &mut Tree,
        depth: usize,
    ) -> Option<Children> {
        if role.form == Form::One {
            return self.effect(at, tree, depth + 1).map(|it| Children::One(Box::new(it)));
        }
        if role.form == Form::ListOrMap
            && let Some(entries) = at.entries()
        {
            if entries.is_empty() {
                self.empty(at);
            }
            let mut effects = Vec::new();
            for (key, entry) in entries {
                self.segment(&key.text, &entry);
                let effect = self.effect(&entry, tree, depth + 1);
                effects.extend(effect.map(|it| (key.text.clone(), it)));
            }
            return Some(Children::Map(effects));
        }
        let Some(items) = at.items() else {
            let wanted = match role.form {
                Form::ListOrMap => "a list or map of effects",
                Form::Saga => "a list of steps",
                Form::Cases => "a list of cases",
                _ => "a list of effects",
            };
            self.expected(at, "E140", wanted);
            return None;
        };
        if items.is_empty() {
            self.empty(at);
        }
        Some(match role.form {
            Form::Saga => Children::Saga(self.saga_steps(&items, tree, depth)),
            Form::Cases => {
                Children::Cases(items.iter().filter_map(|it| self.case(it, tree, depth)).collect())
            }
            _ => Children::List(
                items.iter().filter_map(|it| self.effect(it, tree, depth + 1)).collect(),
            ),
        })
    }

    fn empty(&mut self, at: &At<'_>) {
        self.report(at.error("E140", format!("{} is empty", at.name())));
    }

    fn case(&mut self, at: &At<'_>, tree: &mut Tree, depth: usize) -> Option<(Value, Effect)> {
        let keys = Keys { code: "E140", ..Keys::new("a case", &["when", "effect"]) };
        let fields = self.fields(at, &keys)?;
        let when = fields.get("when");
        if when.is_none() {
            self.missing(&fields, "E140", "when", "the case");
        }
        let Some(effect) = fields.get("effect") else {
            self.missing(&fields, "E140", "effect", "the case");
            return None;
        };
        let effect = self.effect(&effect, tree, depth + 1)?;
        Some((when?.value(), effect))
    }

    fn saga_steps(&mut self, items: &[At<'_>], tree: &mut Tree, depth: usize) -> Vec<SagaStep> {
        let mut seen = BTreeSet::new();
        let mut steps = Vec::new();
        for item in items {
            let keys = Keys { code: "E140", ..Keys::new("a saga step", SAGA_STEP_KNOWN) };
            let Some(fields) = self.fields(item, &keys) else { continue };
            let id = match fields.get("id") {
                Some(at) => self.text(&at).filter(|id| {
                    if !seen.insert(id.clone()) {
                        let message = format!("the step id `{id}` stands twice in this saga");
                        self.report(at.error("E107", message));
                    }
                    self.segment(id, &at).is_some()
                }),
                None => {
                    self.missing(&fields, "E140", "id", "the saga step");
                    None
                }
            };
            let action = match fields.get("action") {
                Some(at) => self.effect(&at, tree, depth + 1),
                None => {
                    self.missing(&fields, "E140", "action", "the saga step");
                    None
                }
            };
            let compensation =
                fields.get("compensation").and_then(|it| self.effect(&it, tree, depth + 1));
            let action = self.step_keys(&fields, action);
            let (Some(id), Some(action)) = (id, action) else { continue };
            steps.push(SagaStep { id, action, compensation });
        }
        steps
    }

    /// Moves `timeout` and `retry` of a step onto its action.
    fn step_keys(&mut self, fields: &Fields<'_>, action: Option<Effect>) -> Option<Effect> {
        let timeout = fields.get("timeout").and_then(|it| self.duration(&it));
        let retry = fields.get("retry").and_then(|it| self.retry(&it));
        let mut action = action?;
        let is_double = [
            ("timeout", timeout.is_some() && action.timeout.is_some()),
            ("retry", retry.is_some() && action.retry.is_some()),
        ];
        for (key, _) in is_double.iter().filter(|(_, it)| *it) {
            if let Some(at) = fields.get(key) {
                let message = format!("`{key}` stands on the step and on its action");
                self.report(at.key_error("E140", message).hint("keep one of them"));
            }
        }
        action.timeout = timeout.or(action.timeout);
        action.retry = retry.or(action.retry);
        Some(action)
    }

    /// Checks what the table of kinds cannot say.
    fn rules(&mut self, fields: &Fields<'_>, kind: &Kind) {
        match kind.name {
            "timeout" => self.exactly_one(fields, kind, &["duration", "ms"]),
            "delay" => self.exactly_one(fields, kind, &["duration", "ms", "until"]),
            "batch" => {
                self.exactly_one(fields, kind, &["effect", "effects"]);
                match (fields.get("items"), fields.has("effect")) {
                    (None, true) => self.lacks(fields, "items", kind),
                    (Some(at), false) => {
                        let message = "`items` of effect `batch` needs `effect`";
                        self.report(at.key_error("E140", message));
                    }
                    _ => {}
                }
            }
            "while_loop" => self.loop_bound(fields),
            "wait_signal" => self.exactly_one(fields, kind, &["event", "events"]),
            "send_event" | "invoke_fsm" => {
                self.exactly_one(fields, kind, &["instance_id", "correlation"])
            }
            "call_llm" => self.exactly_one(fields, kind, &["prompt", "messages", "prompt_ref"]),
            "embed_text" => self.exactly_one(fields, kind, &["text", "texts"]),
            "coordinate_agents" => self.agents(fields),
            "human_task" | "approval" => self.task(fields),
            _ => {}
        }
    }

    fn exactly_one(&mut self, fields: &Fields<'_>, kind: &Kind, keys: &[&str]) {
        if keys.iter().filter(|key| fields.has(key)).count() != 1 {
            let message =
                format!("effect `{}` takes exactly one of {}", kind.name, super::join(keys));
            self.report(fields.at.error("E140", message));
        }
    }

    /// Reads when people are told of a task again: durations after it opened, or maps with `after`
    /// or `before`, which counts back from the deadline.
    fn reminders(&mut self, at: &At<'_>) -> Option<Value> {
        let Some(items) = at.items() else {
            self.expected(at, "E140", "a list of durations, or of maps with `after` or `before`");
            return None;
        };
        self.at_most(at, items.len(), TASK_REMINDERS_MAX, "reminders of one task");
        for item in items {
            if !item.is_map() {
                self.duration(&item)?;
                continue;
            }
            let keys = Keys { code: "E140", ..Keys::new("a reminder", &["after", "before"]) };
            let fields = self.fields(&item, &keys)?;
            let (after, before) = (fields.get("after"), fields.get("before"));
            if after.is_some() == before.is_some() {
                let message = "a reminder takes exactly one of `after`, `before`";
                self.report(item.error("E140", message));
                return None;
            }
            self.duration(&after.or(before)?)?;
        }
        Some(at.value())
    }

    /// Reads when more people are asked about a task, and whom.
    fn escalation(&mut self, at: &At<'_>) -> Option<Value> {
        let keys = Keys { code: "E140", ..Keys::new("`escalation`", &["after", "to"]) };
        let fields = self.fields(at, &keys)?;
        for key in ["after", "to"] {
            if !fields.has(key) {
                self.missing(&fields, "E140", key, "`escalation`");
            }
        }
        let (after, to) = (fields.get("after")?, fields.get("to")?);
        self.duration(&after)?;
        let is_template = to.text().is_some_and(|it| it.contains("${"));
        match to.items() {
            Some(items) if items.is_empty() => {
                let hint = "write whom to ask, such as `to: [\"role:managers\"]`";
                self.report(to.error("E140", "`to` is empty").hint(hint));
                None
            }
            Some(_) => Some(at.value()),
            None if is_template => Some(at.value()),
            None => {
                self.expected(&to, "E140", "a list or a template");
                None
            }
        }
    }

    /// Reminders that count back need something to count from.
    fn task(&mut self, fields: &Fields<'_>) {
        if let Some(at) = fields.get("attachments") {
            let count = at.entries().map_or(0, |it| it.len());
            self.at_most(&at, count, TASK_ATTACHMENTS_MAX, "attachments of one task");
        }
        if fields.has("deadline") {
            return;
        }
        let items = fields.get("reminders").and_then(|it| it.items()).unwrap_or_default();
        for item in items {
            if item.node.entry("before").is_some() && item.node.entry("after").is_none() {
                let hint = "give the task a `deadline`, or write `after`";
                let message = "a reminder `before` the deadline of a task that has none";
                self.report(item.error("E140", message).hint(hint));
            }
        }
    }

    /// Checks agents that are written out: 1 to 16, each with its own id, a role and a task.
    fn agents(&mut self, fields: &Fields<'_>) {
        let Some(agents) = fields.get("agents") else { return };
        let Some(items) = agents.items() else { return };
        if !(1..=AGENTS_MAX).contains(&items.len()) {
            let message =
                format!("`agents` must be 1 to {AGENTS_MAX} agents, found {}", items.len());
            self.report(agents.error("E140", message));
        }
        let mut seen = BTreeSet::new();
        for item in &items {
            let keys = Keys { code: "E140", ..Keys::new("an agent", AGENT_KNOWN) };
            let Some(fields) = self.fields(item, &keys) else { continue };
            for key in ["id", "role", "task"] {
                match fields.get(key) {
                    None => self.missing(&fields, "E140", key, "the agent"),
                    Some(at) => {
                        let id = self.words(&at);
                        if key == "id" && id.is_some_and(|it| !seen.insert(it)) {
                            let message = "another agent has this id already";
                            self.report(at.error("E107", message));
                        }
                    }
                }
            }
        }
    }

    fn loop_bound(&mut self, fields: &Fields<'_>) {
        let hint = format!("give a whole number from 1 to {LOOP_ITERATIONS_MAX}");
        match fields.get("max_iterations") {
            None => {
                let message = "`max_iterations` is missing in effect `while_loop`";
                self.report(fields.at.error("E142", message).hint(hint));
            }
            Some(at) if !is_count(&at, 1, LOOP_ITERATIONS_MAX) => {
                let message = format!("`max_iterations` cannot be {}", found(&at));
                self.report(at.error("E142", message).hint(hint));
            }
            Some(_) => {}
        }
    }
}

fn is_count(at: &At<'_>, least: u64, most: u64) -> bool {
    match at.node.kind {
        NodeKind::Int(it) => u64::try_from(it).is_ok_and(|it| (least..=most).contains(&it)),
        _ => false,
    }
}

fn is_amount(at: &At<'_>, least: f64, most: f64) -> bool {
    match at.node.kind {
        NodeKind::Int(it) => (least..=most).contains(&(it as f64)),
        NodeKind::Float(it) => (least..=most).contains(&it),
        _ => false,
    }
}

/// Returns a short value as written, or what kind it is.
fn found(at: &At<'_>) -> String {
    match &at.node.kind {
        NodeKind::Bool(_) | NodeKind::Int(_) | NodeKind::Uint(_) | NodeKind::Float(_) => {
            format!("`{}`", at.node.to_json())
        }
        _ => at.node.words().into(),
    }
}
