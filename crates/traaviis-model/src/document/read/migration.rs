//! `migrations`: how instances of older versions go on with this one.

use semver::VersionReq;

use crate::{
    definition::{EffectsPolicy, Migration, TimersPolicy},
    document::read::{At, Keys, Reader},
    limits::MIGRATIONS_MAX,
};

pub(super) const KNOWN: &[&str] =
    &["from", "states", "data", "timers", "effects", "defer_when", "description"];
const KEYS: Keys<'_> = Keys::new("a migration", KNOWN);
const TIMERS: &[(&str, TimersPolicy)] = &[
    ("keep", TimersPolicy::Keep),
    ("restart", TimersPolicy::Restart),
    ("drop", TimersPolicy::Drop),
];
const EFFECTS: &[(&str, EffectsPolicy)] = &[
    ("keep", EffectsPolicy::Keep),
    ("restart", EffectsPolicy::Restart),
    ("cancel", EffectsPolicy::Cancel),
];

impl Reader {
    pub(super) fn migrations(&mut self, at: &At<'_>) -> Vec<Migration> {
        let items = self.list(at);
        self.at_most(at, items.len(), MIGRATIONS_MAX, "migrations");
        items.iter().filter_map(|it| self.migration(it)).collect()
    }

    fn migration(&mut self, at: &At<'_>) -> Option<Migration> {
        let fields = self.fields(at, &KEYS)?;
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let from = self.required(&fields, "from", "the migration").and_then(|it| self.range(&it));
        let states = fields.get("states").map_or_else(Vec::new, |it| {
            let entries = self.map(&it);
            let pair = |(key, entry): (&crate::document::tree::Key, At<'_>)| {
                Some((key.text.clone(), self.words(&entry)?))
            };
            entries.into_iter().filter_map(pair).collect()
        });
        let data = fields.get("data").and_then(|it| {
            if it.is_map() || it.text().is_some_and(|text| text.contains("${")) {
                return Some(it.value());
            }
            self.expected(&it, "E101", "a map or a template");
            None
        });
        let timers = fields.get("timers").and_then(|it| self.choice(&it, "E101", TIMERS));
        let effects = fields.get("effects").and_then(|it| self.choice(&it, "E101", EFFECTS));
        let defer_when = fields.get("defer_when").and_then(|it| self.cel(&it));
        Some(Migration {
            from: from?,
            states,
            data,
            timers: timers.unwrap_or_default(),
            effects: effects.unwrap_or_default(),
            defer_when,
            pointer: at.pointer.clone(),
        })
    }

    fn range(&mut self, at: &At<'_>) -> Option<VersionReq> {
        let text = self.words(at)?;
        let range = VersionReq::parse(&text);
        if let Err(why) = &range {
            let message = format!("`{text}` is not a range of versions: {why}");
            self.report(at.error("E101", message).hint("for example `>=1.2.0, <2.0.0`"));
        }
        range.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS_MAX;
    use crate::document::{Format, read};

    fn found(migrations: &str) -> String {
        let text = format!(
            "traaviis: '1'\nname: A\nversion: 9.0.0\ninitial: a\nstates: {{a: {{}}}}\n\
             migrations: {migrations}"
        );
        let found = read(&text, Format::Yaml).diagnostics;
        found.iter().map(|it| format!("{}: {}\n", it.code, it.message)).collect()
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        assert_eq!(found("[{from: '>=1.2.0, <2.0.0', timers: drop, data: {a: 1}}]"), "");
        let wrong = found("[{states: {a: b}}, {from: about 2, effects: stop, data: 3}]");
        let codes = wrong.lines().filter(|it| it.starts_with("E101: ")).count();
        assert_eq!((codes, wrong.lines().count()), (4, 4), "{wrong}");
    }

    #[test]
    fn there_is_a_most() {
        let many = |count: usize| format!("[{}]", "{from: <1.0.0}, ".repeat(count));
        assert_eq!(found(&many(MIGRATIONS_MAX)), "");
        assert!(found(&many(MIGRATIONS_MAX + 1)).starts_with("E160: 101 migrations"));
    }
}
