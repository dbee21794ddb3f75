//! Test cases: input, mocks, steps, expectations.

use std::collections::BTreeSet;

use crate::{
    budget::BudgetKind,
    definition::{
        Expectations, ExpectedBudget, ExpectedEvent, IncidentAnswer, Mock, MockAnswer, TestCase,
        TestStep, TestStepKind,
    },
    document::{
        read::{At, Fields, Keys, Reader, budget, join},
        tree::NodeKind,
    },
    effect_error::EffectError,
    ids::Text,
    limits::DELAY_SECS_MAX,
    record::Status,
    time::Span,
    value::Value,
};

pub(super) const KNOWN: &[&str] =
    &["name", "description", "start", "input", "by", "mocks", "steps", "expect"];
const KEYS: Keys<'_> = Keys::new("a test", KNOWN);
pub(super) const EXPECT_KNOWN: &[&str] = &[
    "state",
    "status",
    "data",
    "output",
    "called",
    "not_called",
    "order",
    "overlap",
    "min_virtual_delay",
    "max_virtual_delay",
    "emitted",
    "budgets",
    "incidents",
    "max_usd",
];
const EXPECT_KEYS: Keys<'_> = Keys::new("`expect`", EXPECT_KNOWN);
const STEP_KINDS: &[&str] = &["send", "advance", "complete_task", "resolve", "crash"];
const STEP_KEYS: Keys<'_> = Keys::new(
    "a step of a test",
    &["send", "data", "refused", "advance", "complete_task", "with", "resolve", "as", "crash"],
);
const DECISION_KEYS: Keys<'_> =
    Keys::new("the answer to a task", &["outcome", "form", "comment", "by"]);
/// Keys that only some kinds of steps have.
const STEP_EXTRAS: &[(&str, &[&str])] = &[
    ("data", &["send"]),
    ("with", &["complete_task"]),
    ("as", &["resolve"]),
    ("refused", &["send", "complete_task", "resolve"]),
];
const INCIDENT_ANSWERS: &[(&str, bool)] = &[("retry", true), ("fail", false)];
const BUDGET_KEYS: Keys<'_> = Keys::new("an expected budget", &["spent", "reserved"]);
const AMOUNT_KEYS: Keys<'_> =
    Keys::new("what a budget came to", &["usd", "tokens", "calls", "wall_time"]);
const EVENT_KEYS: Keys<'_> = Keys::new("an emitted event", &["event", "data", "subject"]);
const ANSWER_KEYS: &[&str] = &["value", "error", "delay"];
const ERROR_KEYS: Keys<'_> =
    Keys::new("the error of a mock", &["code", "message", "retryable", "details"]);

/// Codes of errors that trying again may mend, when a mock does not say.
const RETRYABLE: &[&str] = &[
    "timeout",
    "network_error",
    "rate_limit_exceeded",
    "circuit_breaker_open",
    "execution_crashed",
];

const STATUSES: &[(&str, Status)] = &[
    ("running", Status::Running),
    ("paused", Status::Paused),
    ("incident", Status::Incident),
    ("completing", Status::Completing),
    ("completed", Status::Completed),
    ("failed", Status::Failed),
    ("compensated", Status::Compensated),
    ("cancelled", Status::Cancelled),
];

impl Reader {
    pub(super) fn tests(&mut self, at: &At<'_>) -> Vec<TestCase> {
        let mut names = BTreeSet::new();
        let mut tests = Vec::new();
        for item in self.list(at) {
            let Some(test) = self.test(&item) else { continue };
            if !names.insert(test.name.clone()) {
                let name = item.node.entry("name").map(|(key, node)| item.child(key, node));
                let message = format!("the test `{}` stands twice", test.name);
                self.report(name.unwrap_or(item).error("E107", message));
            }
            tests.push(test);
        }
        tests
    }

    fn test(&mut self, at: &At<'_>) -> Option<TestCase> {
        let fields = self.fields(at, &KEYS)?;
        let name = self.required(&fields, "name", "the test").and_then(|it| self.words(&it));
        if let Some(it) = fields.get("description") {
            self.text(&it);
        }
        let expect = self.required(&fields, "expect", "the test");
        Some(TestCase {
            start: self.texts_of(&fields, "start"),
            input: fields.get("input").map_or_else(Value::empty_map, |it| it.value()),
            by: fields.get("by").and_then(|it| self.words(&it)),
            mocks: fields.get("mocks").map_or_else(Vec::new, |it| self.mocks(&it)),
            steps: fields.get("steps").map_or_else(Vec::new, |it| self.test_steps(&it)),
            expect: expect.and_then(|it| self.expectations(&it)).unwrap_or_default(),
            pointer: at.pointer.clone(),
            name: name?,
        })
    }

    pub(super) fn mocks(&mut self, at: &At<'_>) -> Vec<Mock> {
        let mut mocks = Vec::new();
        for (key, entry) in self.map(at) {
            // A list answers one call after the other; anything else answers all of them.
            let items = entry.items();
            mocks.push(Mock {
                name: key.text.clone(),
                is_endless: items.is_none(),
                answers: items
                    .unwrap_or_else(|| vec![entry.clone()])
                    .iter()
                    .filter_map(|it| self.answer(it))
                    .collect(),
                pointer: entry.pointer.clone(),
            });
        }
        mocks
    }

    /// Reads a result, or a map of how the call ends. A map is the latter when it has an `error` or
    /// a `delay` and nothing but the keys that say how a call ends.
    fn answer(&mut self, at: &At<'_>) -> Option<MockAnswer> {
        let entries = at.entries().unwrap_or_default();
        let is_known = entries.iter().all(|(key, _)| ANSWER_KEYS.contains(&&*key.text));
        let fields = Fields { at: at.clone() };
        if !is_known || !(fields.has("error") || fields.has("delay")) {
            return Some(MockAnswer { outcome: Ok(at.value()), delay: Span(0) });
        }
        let delay = match fields.get("delay") {
            Some(it) => self.span(&it)?,
            None => Span(0),
        };
        let outcome = match (fields.get("error"), fields.get("value")) {
            (Some(error), Some(_)) => {
                let message = "a mock gives `error` or `value`, not both";
                self.report(error.key_error("E101", message));
                return None;
            }
            (Some(error), None) => Err(self.mock_error(&error)?),
            (None, value) => Ok(value.map(|it| it.value()).unwrap_or_default()),
        };
        Some(MockAnswer { outcome, delay })
    }

    fn mock_error(&mut self, at: &At<'_>) -> Option<EffectError> {
        let fields = self.fields(at, &ERROR_KEYS)?;
        let code = self.required(&fields, "code", "the error of a mock")?;
        let code = self.words(&code)?;
        let message = fields.get("message").and_then(|it| self.text(&it));
        let retryable = fields.get("retryable").and_then(|it| self.flag(&it));
        let mut error = EffectError::new(&code, message.unwrap_or_else(|| "a mock says so".into()));
        error.retryable = retryable.unwrap_or(RETRYABLE.contains(&&*code));
        error.details = fields.get("details").map(|it| it.value()).unwrap_or_default();
        Some(error)
    }

    fn test_steps(&mut self, at: &At<'_>) -> Vec<TestStep> {
        let items = self.list(at);
        items
            .iter()
            .filter_map(|it| {
                let kind = self.test_step(it)?;
                Some(TestStep { kind, pointer: it.pointer.clone() })
            })
            .collect()
    }

    fn test_step(&mut self, at: &At<'_>) -> Option<TestStepKind> {
        let findings = self.diagnostics.len();
        let fields = self.fields(at, &STEP_KEYS)?;
        let mut found: Vec<At<'_>> = STEP_KINDS.iter().filter_map(|key| fields.get(key)).collect();
        if found.len() != 1 {
            if !found.is_empty() || self.diagnostics.len() == findings {
                let message = format!("a step of a test has one of {}", join(STEP_KINDS));
                self.report(at.error("E101", message).hint("write one map for each step"));
            }
            return None;
        }
        let it = found.pop()?;
        let kind = it.key?.text.clone();
        for (extra, kinds) in STEP_EXTRAS {
            if let Some(extra) = fields.get(extra).filter(|_| !kinds.contains(&&*kind)) {
                let message =
                    format!("{} belongs to {}, not to `{kind}`", extra.name(), join(kinds));
                self.report(extra.key_error("E101", message));
            }
        }
        match &*kind {
            "send" => Some(TestStepKind::Send {
                event: self.words(&it)?,
                data: fields.get("data").map(|it| it.value()).unwrap_or_default(),
                refused: fields.get("refused").and_then(|it| self.words(&it)),
            }),
            "advance" => Some(TestStepKind::Advance(self.span(&it)?)),
            "complete_task" => {
                let with = self.required(&fields, "with", "the step")?;
                let with = self.fields(&with, &DECISION_KEYS)?;
                let outcome = self.required(&with, "outcome", "the answer");
                Some(TestStepKind::CompleteTask {
                    task: self.words(&it)?,
                    outcome: outcome.and_then(|it| self.words(&it))?,
                    form: with.get("form").map(|it| it.value()).unwrap_or_default(),
                    comment: with.get("comment").and_then(|it| self.words(&it)),
                    by: with.get("by").and_then(|it| self.words(&it)),
                    refused: fields.get("refused").and_then(|it| self.words(&it)),
                })
            }
            "resolve" => {
                let answer = self.required(&fields, "as", "the step")?;
                Some(TestStepKind::Resolve {
                    effect: self.words(&it)?,
                    answer: self.incident_answer(&answer)?,
                    refused: fields.get("refused").and_then(|it| self.words(&it)),
                })
            }
            _ => match it.node.kind {
                NodeKind::Bool(true) => Some(TestStepKind::Crash),
                _ => {
                    self.expected(&it, "E101", "true");
                    None
                }
            },
        }
    }

    /// Reads `retry`, `fail` or `{happened: VALUE}`.
    fn incident_answer(&mut self, at: &At<'_>) -> Option<IncidentAnswer> {
        if at.is_map() {
            let fields = self.fields(at, &Keys::new("the answer to an incident", &["happened"]))?;
            let value = self.required(&fields, "happened", "the answer")?;
            return Some(IncidentAnswer::Happened(value.value()));
        }
        let is_retry = self.choice(at, "E101", INCIDENT_ANSWERS)?;
        Some(if is_retry { IncidentAnswer::Retry } else { IncidentAnswer::Fail })
    }

    fn expectations(&mut self, at: &At<'_>) -> Option<Expectations> {
        let fields = self.fields(at, &EXPECT_KEYS)?;
        if at.entries().is_some_and(|it| it.is_empty()) {
            let hint = "for example `expect: {status: completed}`";
            self.report(at.error("E101", "`expect` is empty").hint(hint));
        }
        let overlap = fields.get("overlap").map_or_else(Vec::new, |it| self.groups(&it));
        let mut delay = |key: &str| fields.get(key).and_then(|it| self.span(&it));
        let (at_least, at_most) = (delay("min_virtual_delay"), delay("max_virtual_delay"));
        Some(Expectations {
            state: self.texts_of(&fields, "state"),
            status: fields.get("status").and_then(|it| self.choice(&it, "E101", STATUSES)),
            data: fields.get("data").map(|it| it.value()),
            output: fields.get("output").map(|it| it.value()),
            called: fields.get("called").map_or_else(Vec::new, |it| self.counts(&it)),
            not_called: self.texts_of(&fields, "not_called"),
            order: self.texts_of(&fields, "order"),
            overlap,
            min_virtual_delay: at_least,
            max_virtual_delay: at_most,
            emitted: fields.get("emitted").map_or_else(Vec::new, |it| self.emitted(&it)),
            budgets: fields.get("budgets").map_or_else(Vec::new, |it| self.expected_budgets(&it)),
            incidents: fields.get("incidents").map(|it| self.texts(&it)),
            max_usd_micros: fields.get("max_usd").and_then(|it| self.dollars(&it)),
            pointer: at.pointer.clone(),
        })
    }

    fn texts_of(&mut self, fields: &Fields<'_>, key: &str) -> Vec<Text> {
        fields.get(key).map_or_else(Vec::new, |it| self.texts(&it))
    }

    fn counts(&mut self, at: &At<'_>) -> Vec<(Text, u64)> {
        let entries = self.map(at);
        let mut counts = Vec::new();
        for (key, entry) in entries {
            match entry.node.kind {
                NodeKind::Int(count @ 0..) => counts.push((key.text.clone(), count as u64)),
                _ => self.expected(&entry, "E101", "a whole number from 0"),
            }
        }
        counts
    }

    /// Reads one group of names, or a list of groups.
    fn groups(&mut self, at: &At<'_>) -> Vec<Vec<Text>> {
        let items = self.list(at);
        let groups = match items.iter().any(|it| it.is_list()) {
            true => items,
            false => vec![at.clone()],
        };
        let mut found = Vec::new();
        for group in groups.iter().filter(|it| it.is_list()) {
            let names = self.texts(group);
            if names.len() < 2 {
                let message = format!("{} names fewer than two that overlap", group.name());
                self.report(group.error("E101", message));
            }
            found.push(names);
        }
        found
    }

    fn expected_budgets(&mut self, at: &At<'_>) -> Vec<ExpectedBudget> {
        let mut budgets = Vec::new();
        for (key, entry) in self.map(at) {
            let Some(fields) = self.fields(&entry, &BUDGET_KEYS) else { continue };
            let mut amounts =
                |key: &str| fields.get(key).map_or_else(Vec::new, |it| self.amounts(&it));
            budgets.push(ExpectedBudget {
                place: key.text.clone(),
                spent: amounts("spent"),
                reserved: amounts("reserved"),
                pointer: entry.pointer.clone(),
            });
        }
        budgets
    }

    fn amounts(&mut self, at: &At<'_>) -> Vec<(BudgetKind, u64)> {
        let Some(fields) = self.fields(at, &AMOUNT_KEYS) else { return Vec::new() };
        let mut amounts = Vec::new();
        let usd = fields.get("usd").and_then(|it| self.dollars(&it));
        amounts.extend(usd.map(|it| (BudgetKind::Usd, it)));
        for kind in [BudgetKind::Tokens, BudgetKind::Calls] {
            let Some(it) = fields.get(kind.as_str()) else { continue };
            match it.node.kind {
                NodeKind::Int(count @ 0..) => amounts.push((kind, count as u64)),
                _ => self.expected(&it, "E101", "a whole number from 0"),
            }
        }
        let time = fields.get("wall_time").and_then(|it| self.span(&it));
        let micros = time.and_then(|it| u64::try_from(it.0).ok());
        amounts.extend(micros.map(|it| (BudgetKind::WallTime, it)));
        amounts
    }

    fn dollars(&mut self, at: &At<'_>) -> Option<u64> {
        let micros = budget::dollars(at);
        if micros.is_none() {
            self.expected(at, "E101", budget::MONEY);
        }
        micros
    }

    fn emitted(&mut self, at: &At<'_>) -> Vec<ExpectedEvent> {
        let items = at.one_or_many();
        items.iter().filter_map(|it| self.expected_event(it)).collect()
    }

    fn expected_event(&mut self, at: &At<'_>) -> Option<ExpectedEvent> {
        if at.text().is_some() {
            return Some(ExpectedEvent { event: self.words(at)?, data: None, subject: None });
        }
        let fields = self.fields(at, &EVENT_KEYS)?;
        let event = self.required(&fields, "event", "the emitted event")?;
        Some(ExpectedEvent {
            event: self.words(&event)?,
            data: fields.get("data").map(|it| it.value()),
            subject: fields.get("subject").and_then(|it| self.text(&it)),
        })
    }

    /// Reads a length of time that is known here and does not go back.
    pub(super) fn span(&mut self, at: &At<'_>) -> Option<Span> {
        let span = match self.duration(at)? {
            Value::String(text) => text.parse::<Span>(),
            number => match number.as_f64() {
                Some(millis) if millis.abs() < 9e15 => Ok(Span((millis * 1e3) as i64)),
                _ => Err(format!("`{number}` is not a duration")),
            },
        };
        match span {
            Ok(span) if (Span(0)..=Span::secs(DELAY_SECS_MAX)).contains(&span) => Some(span),
            Ok(span) => {
                let most = Span::secs(DELAY_SECS_MAX);
                let message = format!("duration `{span}` is outside 0s to `{most}`");
                self.report(at.error("E101", message));
                None
            }
            Err(why) => {
                self.report(at.error("E101", why));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::document::{Format, read};

    const HEAD: &str = "traaviis: \"1\"\nname: A\nversion: 1.0.0\ninitial: s\nstates: {s: {}}\n";

    fn check(tests: &str, expected: Expect) {
        let read = read(&format!("{HEAD}tests:\n{tests}"), Format::Yaml);
        let found: Vec<String> = read.diagnostics.iter().map(|it| format!("{it}\n")).collect();
        expected.assert_eq(&found.concat());
    }

    fn good(test: &str) -> TestCase {
        let read = read(&format!("{HEAD}tests: [{test}]"), Format::Yaml);
        assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
        read.definition.unwrap().tests.remove(0)
    }

    #[test]
    fn unknown_keys_and_wrong_types_have_places() {
        check(
            "  - {name: a, inputs: {}, expect: {stat: s}}\n  - {name: b}\n  - 7\n  - {name: 5, expect: {}}",
            expect![[r#"
                7:15: E101 unknown key `inputs` in a test (at /tests/0/inputs); did you mean `input`?
                7:36: E101 unknown key `stat` in `expect` (at /tests/0/expect/stat); did you mean `state`?
                8:5: E101 `expect` is missing in the test (at /tests/1)
                9:5: E101 item 2 of `tests` must be a test written as a map, found a number (at /tests/2)
                10:12: E101 `name` must be text, found a number (at /tests/3/name); write it in quotes: "5"
                10:15: E101 `expect` is empty (at /tests/3/expect); for example `expect: {status: completed}`
            "#]],
        );
        check(
            "  - name: a\n    steps: [{send: e, advance: 5s}, {crash: false}, {advance: soon}, {advance: -1s}, {advance: 1s, data: 1}, {}]\n    expect: {status: done, called: {f: -1}, overlap: [a], emitted: [{data: 1}]}\n  - {name: a, expect: {state: s}}",
            expect![[r#"
                8:13: E101 a step of a test has one of `send`, `advance`, `complete_task`, `resolve`, `crash` (at /tests/0/steps/0); write one map for each step
                8:45: E101 `crash` must be true, found a truth value (at /tests/0/steps/1/crash)
                8:63: E101 `soon` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S (at /tests/0/steps/2/advance)
                8:80: E101 duration `-1s` is outside 0s to `1830d` (at /tests/0/steps/3/advance)
                8:100: E101 `data` belongs to `send`, not to `advance` (at /tests/0/steps/4/data)
                8:110: E101 a step of a test has one of `send`, `advance`, `complete_task`, `resolve`, `crash` (at /tests/0/steps/5); write one map for each step
                9:22: E101 `status` must be one of `running`, `paused`, `incident`, `completing`, `completed`, `failed`, `compensated`, `cancelled`, not `done` (at /tests/0/expect/status)
                9:40: E101 `f` must be a whole number from 0, found a number (at /tests/0/expect/called/f)
                9:45: E101 `overlap` names fewer than two that overlap (at /tests/0/expect/overlap)
                9:69: E101 `event` is missing in the emitted event (at /tests/0/expect/emitted/0)
                10:12: E107 the test `a` stands twice (at /tests/1/name)
            "#]],
        );
    }

    #[test]
    fn an_incident_is_answered_in_one_of_three_ways() {
        check(
            "  - {name: a, steps: [{resolve: pay, as: retry}, {resolve: pay, as: {happened: {id: 1}}}, {resolve: pay}, {resolve: pay, as: ask}, {resolve: pay, as: {happend: 1}}, {send: e, as: fail}], expect: {state: s}}",
            expect![[r#"
                7:91: E101 `as` is missing in the step (at /tests/0/steps/2)
                7:126: E101 `as` must be one of `retry`, `fail`, not `ask` (at /tests/0/steps/3/as)
                7:147: E101 `happened` is missing in the answer (at /tests/0/steps/4/as)
                7:152: E101 unknown key `happend` in the answer to an incident (at /tests/0/steps/4/as/happend); did you mean `happened`?
                7:176: E101 `as` belongs to `resolve`, not to `send` (at /tests/0/steps/5/as)
            "#]],
        );
    }

    #[test]
    fn what_needs_other_releases_is_said() {
        check(
            "  - {name: a, steps: [{complete_task: t, with: {}}, {complete_task: t}, {crash: true, with: 1}], expect: {max_usd: 1}}",
            expect![[r#"
                7:42: E101 `outcome` is missing in the answer (at /tests/0/steps/0/with)
                7:53: E101 `with` is missing in the step (at /tests/0/steps/1)
                7:87: E101 `with` belongs to `complete_task`, not to `crash` (at /tests/0/steps/2/with)
            "#]],
        );
    }

    #[test]
    fn money_and_incidents_are_read() {
        let test = good("{name: a, expect: {max_usd: 0, incidents: unknown_outcome}}");
        assert_eq!(test.expect.max_usd_micros, Some(0));
        assert_eq!(test.expect.incidents, Some(vec!["unknown_outcome".into()]));
        let test = good("{name: a, expect: {max_usd: \"0.25\", incidents: []}}");
        assert_eq!(test.expect.max_usd_micros, Some(250_000));
        assert_eq!(test.expect.incidents, Some(Vec::new()));
        check(
            "  - {name: a, expect: {max_usd: much, budgets: {run: {spent: {usd: -1, tokens: 1.5}}}}}",
            expect![[r#"
                7:33: E101 `max_usd` must be dollars with at most 6 decimals, such as 0.50, found text (at /tests/0/expect/max_usd)
                7:68: E101 `usd` must be dollars with at most 6 decimals, such as 0.50, found a number (at /tests/0/expect/budgets/run/spent/usd)
                7:80: E101 `tokens` must be a whole number from 0, found a number (at /tests/0/expect/budgets/run/spent/tokens)
            "#]],
        );
    }

    #[test]
    fn answers_are_results_or_say_how_the_call_ends() {
        let test = good(
            "{name: a, expect: {state: s}, mocks: {f: [{id: 1}, {value: 1}, {delay: 2s, value: 5}, {error: {code: timeout}}, {delay: 1s, error: {code: call_failed, message: no}}, {error: no, id: 2}, [1]], g: {id: 2}}}",
        );
        let shown: Vec<String> = test.mocks[0]
            .answers
            .iter()
            .map(|it| match &it.outcome {
                Ok(value) => format!("{} {value}", it.delay),
                Err(error) => format!("{} {} {}", it.delay, error.code, error.retryable),
            })
            .collect();
        expect![[r#"
            0s {"id":1}
            0s {"value":1}
            2s 5
            0s timeout true
            1s call_failed false
            0s {"error":"no","id":2}
            0s [1]"#]]
        .assert_eq(&shown.join("\n"));
        assert!(test.mocks[1].is_endless && !test.mocks[0].is_endless);
        check(
            "  - {name: a, expect: {state: s}, mocks: {f: [{value: 1, error: {code: c}}, {error: {cod: x}}, {delay: x, value: 1}]}}",
            expect![[r#"
                7:58: E101 a mock gives `error` or `value`, not both (at /tests/0/mocks/f/0/error)
                7:78: E101 `code` is missing in the error of a mock (at /tests/0/mocks/f/1/error)
                7:86: E101 unknown key `cod` in the error of a mock (at /tests/0/mocks/f/1/error/cod); did you mean `code`?
                7:104: E101 `x` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S (at /tests/0/mocks/f/2/delay)
            "#]],
        );
    }

    #[test]
    fn tests_are_part_of_the_hash_but_their_extensions_are_not() {
        let hash =
            |tests: &str| read(&format!("{HEAD}{tests}"), Format::Yaml).definition.unwrap().hash;
        let plain = hash("tests: [{name: a, expect: {state: s}}]");
        assert_ne!(plain, hash(""));
        assert_ne!(plain, hash("tests: [{name: b, expect: {state: s}}]"));
        assert_eq!(plain, hash("tests: [{name: a, expect: {state: s}, x-note: 1}]"));
    }
}
