//! `triggers`: how instances start by themselves.

use crate::{
    cron::Cron,
    definition::Schedule,
    document::{
        read::{At, Keys, Reader},
        tree::NodeKind,
    },
    limits::TRIGGERS_MAX,
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
const KEYS: Keys<'_> = Keys::new("a schedule", KNOWN);
/// Types of triggers; those that only a server can hear are part of the language already.
const TYPES: &[(&str, bool)] = &[
    ("schedule", true),
    ("webhook", false),
    ("event", false),
    ("email", false),
    ("manual", false),
];
const OVERLAP: &[(&str, &str)] = &[
    ("skip", "skip"),
    ("queue", "queue"),
    ("allow", "allow"),
    ("cancel_running", "cancel_running"),
];
const CATCH_UP: &[(&str, &str)] = &[("latest", "latest"), ("all", "all"), ("none", "none")];

impl Reader {
    pub(super) fn triggers(&mut self, at: &At<'_>) -> Vec<Schedule> {
        let items = self.list(at);
        self.at_most(at, items.len(), TRIGGERS_MAX, "triggers");
        items.iter().filter_map(|it| self.trigger(it)).collect()
    }

    fn trigger(&mut self, at: &At<'_>) -> Option<Schedule> {
        // Keys of other types are not looked at before their type is known.
        let entries = match &at.node.kind {
            NodeKind::Map(entries) => entries,
            _ => {
                self.fields(at, &KEYS);
                return None;
            }
        };
        if let Some((key, node)) = entries.iter().find(|(key, _)| &*key.text == "type") {
            let of = at.child(key, node);
            let is_available = self.choice(&of, "E101", TYPES)?;
            if !is_available {
                let name = of.text().map(|it| &**it).unwrap_or_default();
                self.unavailable(&of, name);
                return None;
            }
        }
        let fields = self.fields(at, &KEYS)?;
        self.required(&fields, "type", "the trigger")?;
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
        if let Some(it) = fields.get("input").and_then(|it| self.fixed_input(&it)) {
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

    fn fixed_input(&mut self, at: &At<'_>) -> Option<Value> {
        if !at.is_map() {
            self.expected(at, "E101", "a map");
            return None;
        }
        let value = at.value();
        if value.to_json().contains("${") {
            let message = "`input` of a schedule is fixed, an expression would stay text";
            let hint = "`time_as: NAME` gives each run the time it is for under that key";
            self.report(at.error("E101", message).hint(hint));
        }
        Some(value)
    }
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
                   catch_up_window: 2d, jitter: 30s}, {type: schedule, cron: '@hourly'}]";
        assert_eq!(found(all), "");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let wrong = [
            "[{cron: '@hourly'}]",
            "[{type: scheduled, cron: '@hourly'}]",
            "[{type: webhook, name: x}]",
            "[{type: schedule}]",
            "[{type: schedule, cron: '0 0 30 2 *'}]",
            "[{type: schedule, cron: '61 * * * *'}]",
            "[{type: schedule, cron: '@daily', timezone: Berlin}]",
            "[{type: schedule, cron: '@daily', jitter: soon, catch_up_window: -1h, overlap: no}]",
            "[{type: schedule, cron: '@daily', input: {day: '${now}'}}]",
            "[{type: schedule, cron: '@daily', every: day}]",
            "[daily]",
        ];
        let all: String = wrong.iter().map(|it| found(it)).collect();
        expect![[r#"
            E101 /triggers/0: `type` is missing in the trigger
            E101 /triggers/0/type: `type` must be one of `schedule`, `webhook`, `event`, `email`, `manual`, not `scheduled`
            E190 /triggers/0/type: feature_unavailable: `webhook` is part of the language but not available in this release
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
