//! `subscribe`: events of other instances that arrive by themselves.

use super::{At, Fields, Keys, Reader};
use crate::{
    definition::{Publisher, Subscription},
    ids::{InstanceId, Text},
    limits::SUBSCRIPTIONS_MAX,
    value::Value,
};

pub(super) const KNOWN: &[&str] = &["from", "event", "match", "as", "key", "description"];
pub(super) const FROM_KNOWN: &[&str] = &["workflow", "instance"];
const KEYS: Keys<'_> = Keys::new("a subscription", KNOWN);
const FROM_KEYS: Keys<'_> = Keys::new("`from`", FROM_KNOWN).without(&["source"]);

impl Reader {
    pub(super) fn subscriptions(&mut self, at: &At<'_>) -> Vec<Subscription> {
        let items = self.list(at);
        self.at_most(at, items.len(), SUBSCRIPTIONS_MAX, "subscriptions");
        items.iter().filter_map(|it| self.subscription(it)).collect()
    }

    fn subscription(&mut self, at: &At<'_>) -> Option<Subscription> {
        let fields = self.fields(at, &KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let from = self.publisher(&fields);
        let event =
            self.required(&fields, "event", "the subscription").and_then(|it| self.heard(&it));
        let condition = fields.get("match").and_then(|it| self.cel(&it));
        let key = fields.get("key").and_then(|it| self.words(&it)).map(Value::String);
        let arrives_as = match fields.get("as") {
            Some(it) => self.event_name(&it),
            None => event.clone(),
        };
        let pointer = at.pointer.clone();
        Some(Subscription { from, event: event?, condition, key, arrives_as: arrives_as?, pointer })
    }

    /// Reads the name of an event that others emit.
    pub(super) fn heard(&mut self, at: &At<'_>) -> Option<Text> {
        if at.text().is_some_and(|it| it.ends_with('*')) {
            let message = "one subscription hears one event, a family is no name of one";
            let hint = "write one item for each event";
            self.report(at.error("E101", message).hint(hint));
            return None;
        }
        self.event_name(at)
    }

    /// Reads `from`.
    pub(super) fn publisher(&mut self, fields: &Fields<'_>) -> Publisher {
        let Some(at) = fields.get("from") else { return Publisher::default() };
        let Some(from) = self.fields(&at, &FROM_KEYS) else { return Publisher::default() };
        let workflow = from.get("workflow").and_then(|it| self.words(&it));
        let instance = from.get("instance").and_then(|it| {
            let text = self.words(&it)?;
            if !text.contains("${") && text.parse::<InstanceId>().is_err() {
                let message = format!("`{text}` is no id of an instance");
                let hint = "write one as `traaviis ps` shows it, or a template over `data`";
                self.report(it.error("E101", message).hint(hint));
            }
            Some(Value::String(text))
        });
        Publisher { workflow, instance }
    }
}

/// Returns the words of a subscription that a trigger is made of.
pub(super) fn written(fields: &Fields<'_>) -> crate::value::Map {
    let names = ["from", "event", "match"].into_iter();
    names.filter_map(|key| Some((Text::from(key), fields.get(key)?.value()))).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::SUBSCRIPTIONS_MAX;
    use crate::document::{Format, read};

    fn found(subscribe: &str) -> String {
        let text = format!(
            "traaviis: '1'\nname: A\nversion: 1.0.0\ninitial: a\nstates: {{a: {{}}}}\n\
             events: {{e: {{}}}}\nsubscribe: {subscribe}"
        );
        let found = read(&text, Format::Yaml).diagnostics;
        found.iter().map(|it| format!("{} {}: {}\n", it.code, it.path, it.message)).collect()
    }

    #[test]
    fn what_can_be_read_says_nothing() {
        let all = "[{event: e}, {from: {workflow: B, instance: '${data.id}'}, event: paid.late, \
                   match: 'event.data.n > data.n', as: e, key: '${data.order}', description: x}]";
        assert_eq!(found(all), "");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let wrong = [
            "{event: e}",
            "[e]",
            "[{from: {workflow: B}}]",
            "[{event: 'e.*', as: e}]",
            "[{event: e, from: {source: https://example.org}}]",
            "[{event: e, from: {instance: someone}}]",
            "[{event: e, from: {workflow: ''}}]",
            "[{event: e, as: 1e, when: x}]",
        ];
        let all: String = wrong.iter().map(|it| found(it)).collect();
        expect![[r#"
            E101 /subscribe: `subscribe` must be a list, found a map
            E101 /subscribe/0: item 0 of `subscribe` must be a subscription written as a map, found text
            E101 /subscribe/0: `event` is missing in the subscription
            E101 /subscribe/0/event: one subscription hears one event, a family is no name of one
            E190 /subscribe/0/from/source: feature_unavailable: `source` is part of the language but not available in this release
            E101 /subscribe/0/from/instance: `someone` is no id of an instance
            E101 /subscribe/0/from/workflow: `workflow` must not be empty
            E109 /subscribe/0/as: `1e` is not a name for an event
            E101 /subscribe/0/when: unknown key `when` in a subscription
        "#]].assert_eq(&all);
    }

    #[test]
    fn there_is_a_most() {
        let many = |count: usize| format!("[{}]", "{event: e}, ".repeat(count));
        assert_eq!(found(&many(SUBSCRIPTIONS_MAX)), "");
        assert!(found(&many(SUBSCRIPTIONS_MAX + 1)).starts_with("E160 "));
    }

    #[test]
    fn an_event_arrives_under_its_own_name_unless_it_is_given_another() {
        let text = "{traaviis: '1', name: A, version: 1.0.0, initial: a, states: {a: {}}, \
                    subscribe: [{event: e}, {event: e, as: f}]}";
        let definition = read(text, Format::Yaml).definition.unwrap();
        let names: Vec<&str> = definition.subscriptions.iter().map(|it| &*it.arrives_as).collect();
        assert_eq!(names, ["e", "f"]);
    }
}
