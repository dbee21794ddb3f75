//! `triggers`: how instances start by themselves.

use crate::{
    cron::Cron,
    definition::{Hook, Listener, Manual, Schedule, Verify},
    document::{
        read::{At, Fields, Keys, Reader, subscription},
        tree::NodeKind,
    },
    ids::Text,
    limits::{HOOK_REPLY_WAIT, HOOK_REPLY_WAIT_MAX, TRIGGERS_MAX},
    secret::is_name,
    time::Span,
    value::{Map, Value},
};

pub(super) const KNOWN: &[&str] = &[
    "type",
    "cron",
    "timezone",
    "input",
    "time_as",
    "overlap",
    "catch_up",
    "catch_up_window",
    "jitter",
    "description",
];
pub(super) const EVENT_KNOWN: &[&str] = &["type", "from", "event", "match", "input", "description"];
pub(super) const MANUAL_KNOWN: &[&str] = &["type", "input", "description"];
pub(super) const HOOK_KNOWN: &[&str] = &[
    "type",
    "name",
    "verify",
    "secret",
    "event",
    "correlation",
    "input",
    "reply",
    "timeout",
    "description",
];
const KEYS: Keys<'_> = Keys::new("a schedule", KNOWN);
const HOOK_KEYS: Keys<'_> = Keys::new("a webhook trigger", HOOK_KNOWN);
const EVENT_KEYS: Keys<'_> = Keys::new("an event trigger", EVENT_KNOWN);
const MANUAL_KEYS: Keys<'_> = Keys::new("a manual trigger", MANUAL_KNOWN);
/// Types of triggers; those that only a server can hear are part of the language already.
const TYPES: &[(&str, Option<Type>)] = &[
    ("schedule", Some(Type::Schedule)),
    ("webhook", Some(Type::Webhook)),
    ("event", Some(Type::Event)),
    ("email", None),
    ("manual", Some(Type::Manual)),
];

#[derive(Clone, Copy)]
enum Type {
    Schedule,
    Webhook,
    Event,
    Manual,
}

/// The triggers of a workflow by their type.
#[derive(Default)]
pub(super) struct Triggers {
    pub(super) schedules: Vec<Schedule>,
    pub(super) listeners: Vec<Listener>,
    pub(super) hooks: Vec<Hook>,
    pub(super) manual: Option<Manual>,
}

const OVERLAP: &[(&str, &str)] = &[
    ("skip", "skip"),
    ("queue", "queue"),
    ("allow", "allow"),
    ("cancel_running", "cancel_running"),
];
/// What a sender is told: that its message has arrived, or how the instance has ended.
const REPLY: &[(&str, bool)] = &[("ack", true), ("result", false)];
const CATCH_UP: &[(&str, &str)] = &[("latest", "latest"), ("all", "all"), ("none", "none")];

impl Reader {
    pub(super) fn triggers(&mut self, at: &At<'_>) -> Triggers {
        let items = self.list(at);
        self.at_most(at, items.len(), TRIGGERS_MAX, "triggers");
        let mut triggers = Triggers::default();
        for item in &items {
            match self.trigger_type(item) {
                Some(Type::Schedule) => triggers.schedules.extend(self.schedule(item)),
                Some(Type::Event) => triggers.listeners.extend(self.listener(item)),
                Some(Type::Webhook) => {
                    let Some(hook) = self.hook(item) else { continue };
                    if triggers.hooks.iter().any(|it| it.name == hook.name) {
                        let message = format!("two triggers have the name `{}`", hook.name);
                        self.report(item.error("E107", message));
                    }
                    triggers.hooks.push(hook);
                }
                Some(Type::Manual) if triggers.manual.is_some() => {
                    let message = "a workflow has one trigger of type `manual`";
                    self.report(item.error("E107", message));
                }
                Some(Type::Manual) => triggers.manual = self.manual(item),
                None => {}
            }
        }
        triggers
    }

    /// Returns the type of a trigger; none when it can be no trigger.
    fn trigger_type(&mut self, at: &At<'_>) -> Option<Type> {
        // Keys of other types are not looked at before their type is known.
        let entries = match &at.node.kind {
            NodeKind::Map(entries) => entries,
            _ => {
                self.fields(at, &KEYS);
                return None;
            }
        };
        let Some((key, node)) = entries.iter().find(|(key, _)| &*key.text == "type") else {
            let fields = self.fields(at, &KEYS)?;
            self.required(&fields, "type", "the trigger");
            return None;
        };
        let of = at.child(key, node);
        let found = self.choice(&of, "E101", TYPES)?;
        if found.is_none() {
            let name = of.text().map(|it| &**it).unwrap_or_default();
            self.unavailable(&of, name);
        }
        found
    }

    fn listener(&mut self, at: &At<'_>) -> Option<Listener> {
        let fields = self.fields(at, &EVENT_KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let from = self.publisher(&fields);
        let mut is_fixed = true;
        if let Some(Value::String(text)) = &from.instance
            && text.contains("${")
        {
            is_fixed = false;
            let message = "`from.instance` of a trigger is fixed, there are no `data` to read";
            self.report(fields.get("from").as_ref().unwrap_or(at).error("E101", message));
        }
        let event =
            self.required(&fields, "event", "the event trigger").and_then(|it| self.heard(&it));
        let condition = fields.get("match").and_then(|it| self.cel(&it));
        let input = self.told_input(&fields, Value::empty_map())?;
        let (subscription, pointer) = (subscription::written(&fields), at.pointer.clone());
        let event = event.filter(|_| is_fixed)?;
        Some(Listener { subscription, event, condition, input, pointer })
    }

    /// Reads the input of what something from outside starts; `absent` where there is none.
    fn told_input(&mut self, fields: &Fields<'_>, absent: Value) -> Option<Value> {
        match fields.get("input") {
            Some(it) if it.is_map() || it.text().is_some_and(|text| text.contains("${")) => {
                Some(it.value())
            }
            Some(it) => {
                self.expected(&it, "E101", "a map or a template");
                None
            }
            None => Some(absent),
        }
    }

    fn hook(&mut self, at: &At<'_>) -> Option<Hook> {
        let fields = self.fields(at, &HOOK_KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let name = self.required(&fields, "name", "the webhook trigger");
        let name = name.and_then(|it| self.hook_name(&it));
        let verify = fields.get("verify").map(|it| self.choice(&it, "E101", Verify::WORDS));
        let verify = verify.unwrap_or(Some(Verify::Hmac));
        let secret = self.hook_secret(at, &fields, verify);
        let wait = self.hook_wait(&fields);
        let event = fields.get("event").and_then(|it| self.event_name(&it));
        let correlation = fields.get("correlation").and_then(|it| self.words(&it));
        if fields.get("event").is_some() != fields.get("correlation").is_some() {
            let message = "`event` and `correlation` stand together: which event, at the open \
                           instance with which business key";
            self.report(at.error("E101", message));
        }
        let input = self.told_input(&fields, Value::from("${event.data}"))?;
        let (correlation, pointer) = (correlation.map(Value::String), at.pointer.clone());
        let (name, verify) = (name?, verify?);
        Some(Hook { name, verify, secret, event, correlation, input, wait, pointer })
    }

    /// Reads how long a sender waits for the end of the instance.
    fn hook_wait(&mut self, fields: &Fields<'_>) -> Option<Span> {
        let reply = fields.get("reply").map(|it| self.choice(&it, "E101", REPLY));
        let is_ack = reply.unwrap_or(Some(true))?;
        let Some(it) = fields.get("timeout") else {
            return (!is_ack).then_some(HOOK_REPLY_WAIT);
        };
        if is_ack {
            let message = "`timeout` is how long `reply: result` waits, and nothing waits here";
            self.report(it.error("E101", message).hint("write `reply: result` beside it"));
            return None;
        }
        let wait = self.fixed_span(&it)?;
        if wait < Span::secs(1) || wait > HOOK_REPLY_WAIT_MAX {
            let message = format!("a sender waits 1s to {HOOK_REPLY_WAIT_MAX}, not {wait}");
            self.report(it.error("E101", message));
            return None;
        }
        Some(wait)
    }

    /// Reads a name that is a part of an address.
    fn hook_name(&mut self, at: &At<'_>) -> Option<Text> {
        let text = self.words(at)?;
        if !is_hook_name(&text) {
            let message = format!(
                "`{text}` is no name of a hook: a small letter, then small letters, digits, `_` \
                 and `-`, {HOOK_NAME_CHARS_MAX} at most"
            );
            self.report(at.error("E101", message));
            return None;
        }
        Some(text)
    }

    fn hook_secret(
        &mut self,
        at: &At<'_>,
        fields: &Fields<'_>,
        verify: Option<Verify>,
    ) -> Option<Text> {
        let Some(it) = fields.get("secret") else {
            if matches!(verify, Some(Verify::Hmac | Verify::Token)) {
                let message = "`secret` is missing: the name of the secret that the sender shares";
                let hint = "set it with `PUT /tenants/{t}/secrets/{name}`";
                self.report(at.error("E101", message).hint(hint));
            }
            return None;
        };
        let name = self.words(&it)?;
        if verify == Some(Verify::None) {
            self.report(it.error("E101", "`verify: none` checks no secret"));
        } else if !is_name(&name) {
            let message = format!("`{name}` is no name of a secret");
            self.report(it.error("E101", message));
        }
        Some(name)
    }

    fn manual(&mut self, at: &At<'_>) -> Option<Manual> {
        let fields = self.fields(at, &MANUAL_KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let input = match fields.get("input") {
            Some(it) => self.fixed_input(&it, "a manual trigger", None)?,
            None => Value::empty_map(),
        };
        Some(Manual { input, pointer: at.pointer.clone() })
    }

    fn schedule(&mut self, at: &At<'_>) -> Option<Schedule> {
        let fields = self.fields(at, &KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let cron = self.required(&fields, "cron", "the schedule").and_then(|it| self.words(&it));
        let zone = fields.get("timezone").and_then(|it| self.words(&it));
        if let Some(cron) = &cron
            && let Err(why) = Cron::read(cron, zone.as_deref().unwrap_or("UTC"))
        {
            let is_zone = Cron::read(cron, "UTC").is_ok();
            let place = fields.get(if is_zone { "timezone" } else { "cron" });
            self.report(place.as_ref().unwrap_or(at).error("E101", why));
        }
        let mut input = Map::new();
        input.insert("cron", Value::from(&*cron?));
        if let Some(zone) = zone {
            input.insert("timezone", Value::String(zone));
        }
        for (name, choices) in [("overlap", OVERLAP), ("catch_up", CATCH_UP)] {
            if let Some(choice) = fields.get(name).and_then(|it| self.choice(&it, "E101", choices))
            {
                input.insert(name, Value::from(choice));
            }
        }
        for name in ["catch_up_window", "jitter"] {
            if let Some(span) = fields.get(name).and_then(|it| self.fixed_span(&it)) {
                input.insert(name, Value::from(span.to_string()));
            }
        }
        if let Some(key) = fields.get("time_as").and_then(|it| self.words(&it)) {
            input.insert("time_as", Value::String(key));
        }
        if let Some(it) = fields.get("input").and_then(|it| {
            let hint = "`time_as: NAME` gives each run the time it is for under that key";
            self.fixed_input(&it, "a schedule", Some(hint))
        }) {
            input.insert("input", it);
        }
        Some(Schedule { input, pointer: at.pointer.clone() })
    }

    /// Reads a duration that is written out: nobody is there to compute one.
    fn fixed_span(&mut self, at: &At<'_>) -> Option<Span> {
        let text = self.words(at)?;
        match text.parse::<Span>() {
            Ok(span) if span.0 >= 0 => Some(span),
            Ok(_) => {
                self.report(at.error("E101", format!("{} must not be negative", at.name())));
                None
            }
            Err(why) => {
                self.report(at.error("E101", why));
                None
            }
        }
    }

    fn fixed_input(&mut self, at: &At<'_>, of: &str, hint: Option<&str>) -> Option<Value> {
        if !at.is_map() {
            self.expected(at, "E101", "a map");
            return None;
        }
        let value = at.value();
        if value.to_json().contains("${") {
            let message = format!("`input` of {of} is fixed, an expression would stay text");
            let told = at.error("E101", message);
            self.report(match hint {
                Some(hint) => told.hint(hint),
                None => told,
            });
        }
        Some(value)
    }
}

/// Characters of the name of a hook.
const HOOK_NAME_CHARS_MAX: usize = 63;

fn is_hook_name(text: &str) -> bool {
    text.len() <= HOOK_NAME_CHARS_MAX
        && text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.chars().all(|it| matches!(it, 'a'..='z' | '0'..='9' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::TRIGGERS_MAX;
    use crate::document::{Format, read};

    fn found(triggers: &str) -> String {
        let text = format!(
            "traaviis: '1'\nname: A\nversion: 1.0.0\ninitial: a\nstates: {{a: {{}}}}\n\
             triggers: {triggers}"
        );
        let found = read(&text, Format::Yaml).diagnostics;
        found.iter().map(|it| format!("{} {}: {}\n", it.code, it.path, it.message)).collect()
    }

    #[test]
    fn what_can_be_read_says_nothing() {
        let all = "[{type: schedule, cron: '30 7 * * MON-FRI', timezone: Europe/Berlin, \
                   input: {a: 1}, time_as: day, overlap: queue, catch_up: all, \
                   catch_up_window: 2d, jitter: 30s}, {type: schedule, cron: '@hourly'}, \
                   {type: event, from: {workflow: B}, event: paid, match: 'event.data.n > 1', \
                   input: {n: '${event.data.n}'}}, {type: event, event: e, input: '${event.data}'}, \
                   {type: webhook, name: paid-by_card, secret: shop_key}, \
                   {type: webhook, name: b, verify: token, secret: t, reply: ack, event: paid, \
                   correlation: '${event.data.order}', input: {n: '${event.data.n}'}}, \
                   {type: webhook, name: c, verify: none}, \
                   {type: webhook, name: d, verify: none, reply: result}, \
                   {type: webhook, name: e, verify: none, reply: result, timeout: 1m}, {type: manual, input: {a: 1}}]";
        assert_eq!(found(all), "");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let wrong = [
            "[{cron: '@hourly'}]",
            "[{type: scheduled, cron: '@hourly'}]",
            "[{type: email, name: x}]",
            "[{type: webhook, name: x}]",
            "[{type: webhook, name: X/y, verify: some, secret: A, input: 1}]",
            "[{type: webhook, name: a, verify: none, secret: a, reply: later, event: e}]",
            "[{type: webhook, name: a, verify: none, timeout: 5s}]",
            "[{type: webhook, name: a, verify: none, reply: ack, timeout: 5s}]",
            "[{type: webhook, name: a, verify: none, reply: result, timeout: 61s}]",
            "[{type: webhook, name: a, verify: none, reply: result, timeout: 999ms}]",
            "[{type: webhook, name: a, verify: none, reply: result, timeout: '${data.t}'}]",
            "[{type: webhook, name: a, secret: B}, {type: webhook, name: a, verify: none}]",
            "[{type: schedule}]",
            "[{type: schedule, cron: '0 0 30 2 *'}]",
            "[{type: schedule, cron: '61 * * * *'}]",
            "[{type: schedule, cron: '@daily', timezone: Berlin}]",
            "[{type: schedule, cron: '@daily', jitter: soon, catch_up_window: -1h, overlap: no}]",
            "[{type: schedule, cron: '@daily', input: {day: '${now}'}}]",
            "[{type: schedule, cron: '@daily', every: day}]",
            "[daily]",
            "[{type: event}]",
            "[{type: event, event: e, cron: '@daily', input: 1}]",
            "[{type: event, event: e, from: {instance: '${data.id}'}}]",
            "[{type: manual}, {type: manual}]",
            "[{type: manual, input: {a: '${now}'}}]",
        ];
        let all: String = wrong.iter().map(|it| found(it)).collect();
        expect![[r#"
            E101 /triggers/0: `type` is missing in the trigger
            E101 /triggers/0/type: `type` must be one of `schedule`, `webhook`, `event`, `email`, `manual`, not `scheduled`
            E190 /triggers/0/type: feature_unavailable: `email` is part of the language but not available in this release
            E101 /triggers/0: `secret` is missing: the name of the secret that the sender shares
            E101 /triggers/0/name: `X/y` is no name of a hook: a small letter, then small letters, digits, `_` and `-`, 63 at most
            E101 /triggers/0/verify: `verify` must be one of `hmac`, `token`, `none`, not `some`
            E101 /triggers/0/secret: `A` is no name of a secret
            E101 /triggers/0/input: `input` must be a map or a template, found a number
            E101 /triggers/0: `event` and `correlation` stand together: which event, at the open instance with which business key
            E101 /triggers/0/secret: `verify: none` checks no secret
            E101 /triggers/0/reply: `reply` must be one of `ack`, `result`, not `later`
            E101 /triggers/0/timeout: `timeout` is how long `reply: result` waits, and nothing waits here
            E101 /triggers/0/timeout: `timeout` is how long `reply: result` waits, and nothing waits here
            E101 /triggers/0/timeout: a sender waits 1s to 1m, not 1m1s
            E101 /triggers/0/timeout: a sender waits 1s to 1m, not 999ms
            E101 /triggers/0/timeout: `${data.t}` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S
            E101 /triggers/0/secret: `B` is no name of a secret
            E107 /triggers/1: two triggers have the name `a`
            E101 /triggers/0: `cron` is missing in the schedule
            E101 /triggers/0/cron: `0 0 30 2 *` never comes: no date fits its day and month
            E101 /triggers/0/cron: `61 * * * *` is no cron pattern: number out of bounds; write minute, hour, day, month and weekday such as `30 7 * * MON-FRI`, or `@hourly`
            E101 /triggers/0/timezone: `Berlin` is no time zone; write an IANA name such as `Europe/Berlin` or `UTC`
            E101 /triggers/0/jitter: `soon` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S
            E101 /triggers/0/catch_up_window: `catch_up_window` must not be negative
            E101 /triggers/0/overlap: `overlap` must be one of `skip`, `queue`, `allow`, `cancel_running`, not `no`
            E101 /triggers/0/input: `input` of a schedule is fixed, an expression would stay text
            E101 /triggers/0/every: unknown key `every` in a schedule
            E101 /triggers/0: item 0 of `triggers` must be a schedule written as a map, found text
            E101 /triggers/0: `event` is missing in the event trigger
            E101 /triggers/0/cron: unknown key `cron` in an event trigger
            E101 /triggers/0/input: `input` must be a map or a template, found a number
            E101 /triggers/0/from: `from.instance` of a trigger is fixed, there are no `data` to read
            E107 /triggers/1: a workflow has one trigger of type `manual`
            E101 /triggers/0/input: `input` of a manual trigger is fixed, an expression would stay text
        "#]].assert_eq(&all);
    }

    #[test]
    fn there_is_a_most() {
        let many =
            |count: usize| format!("[{}]", "{type: schedule, cron: '@daily'}, ".repeat(count));
        assert_eq!(found(&many(TRIGGERS_MAX)), "");
        assert!(found(&many(TRIGGERS_MAX + 1)).starts_with("E160 "));
    }
}
