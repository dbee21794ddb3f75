//! Functions that every process offers to `call` without a connectors file, because they are
//! computed from their arguments alone. Their names begin with `traaviis.`, which nobody else may
//! use.
//!
//! They are calls, not parts of expressions, where the answer may change from release to release
//! (time zones do): an answer of a call is recorded, and a replay reads it.

use crate::{
    cron::{CatchUp, Cron, Policy},
    effect_error::EffectError,
    ids::Text,
    time::{Span, Timestamp},
    value::Value,
};

/// What the names of these functions begin with.
pub const PREFIX: &str = "traaviis.";

/// Tells which times of a cron pattern are due, and when to look again.
pub const NEXT_RUN: &str = "traaviis.next_run";

/// Says whether a `call` with this input means a function of this module, known or not.
pub fn is_builtin(input: &Value) -> bool {
    name_of(input).starts_with(PREFIX)
}

/// Computes the answer to a `call` of a function of this module. `seed` tells one caller from
/// another where they should not do the same at the same time.
pub fn answer(input: &Value, seed: u64) -> Result<Value, EffectError> {
    let args = Args(input.get("args"));
    match name_of(input) {
        NEXT_RUN => next_run(&args, seed),
        other => Err(EffectError::new(
            "unknown_function",
            format!("there is no built-in function `{other}`; there is `{NEXT_RUN}`"),
        )),
    }
}

fn name_of(input: &Value) -> &str {
    input.get("function").and_then(Value::as_str).unwrap_or_default()
}

fn next_run(args: &Args<'_>, seed: u64) -> Result<Value, EffectError> {
    let cron = Cron::read(args.text("cron")?, args.text_or("timezone", "UTC")?).map_err(invalid)?;
    let catch_up = match args.text_or("catch_up", "latest")? {
        "latest" => CatchUp::Latest,
        "all" => CatchUp::All,
        "none" => CatchUp::None,
        other => return Err(invalid(format!("`catch_up` is `{other}`, not latest, all or none"))),
    };
    let window: Span = args.text_or("catch_up_window", "1h")?.parse().map_err(invalid)?;
    let jitter: Span = args.text_or("jitter", "0s")?.parse().map_err(invalid)?;
    let settled: Timestamp = args.text("settled")?.parse().map_err(invalid)?;
    let now: Timestamp = args.text("now")?.parse().map_err(invalid)?;
    let due = cron.due(&Policy { catch_up, window, jitter, seed }, settled, now);
    let time = |it: Timestamp| Value::from(it.to_string());
    Ok(Value::map([
        ("runs", Value::list(due.runs.into_iter().map(time))),
        ("missed", Value::Bool(due.missed)),
        ("settled", time(due.settled)),
        ("next", due.next.map_or(Value::Null, time)),
    ]))
}

/// Evaluated arguments.
struct Args<'a>(Option<&'a Value>);

impl<'a> Args<'a> {
    fn text(&self, name: &str) -> Result<&'a str, EffectError> {
        match self.0.and_then(|it| it.get(name)) {
            Some(Value::String(text)) => Ok(text),
            Some(found) => Err(invalid(format!("`{name}` must be text, found `{found}`"))),
            None => Err(invalid(format!("`{name}` is missing"))),
        }
    }

    fn text_or(&self, name: &str, otherwise: &'a str) -> Result<&'a str, EffectError> {
        match self.0.and_then(|it| it.get(name)) {
            None | Some(Value::Null) => Ok(otherwise),
            Some(_) => self.text(name),
        }
    }
}

fn invalid(message: impl Into<Text>) -> EffectError {
    EffectError::new("validation_failed", message)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(args: &str, expected: &Expect) {
        let args = serde_json::from_str(args).unwrap();
        let input = Value::map([("function", Value::from(NEXT_RUN)), ("args", args)]);
        let told = match answer(&input, 7) {
            Ok(value) => value.to_json(),
            Err(error) => format!("{}: {}", error.code, error.message),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn the_next_run_is_computed_from_the_arguments() {
        check(
            r#"{"cron": "0 9 * * *", "timezone": "Europe/Berlin",
                "settled": "2026-11-20T08:00:00Z", "now": "2026-11-22T08:00:00.5Z"}"#,
            &expect![[
                r#"{"missed":true,"next":"2026-11-23T08:00:00.000000Z","runs":["2026-11-22T08:00:00.000000Z"],"settled":"2026-11-22T08:00:00.000000Z"}"#
            ]],
        );
        check(
            r#"{"cron": "0 9 * * *", "catch_up": "all", "catch_up_window": "7d",
                "settled": "2026-11-20T09:00:00Z", "now": "2026-11-22T09:30:00Z"}"#,
            &expect![[
                r#"{"missed":false,"next":"2026-11-23T09:00:00.000000Z","runs":["2026-11-21T09:00:00.000000Z","2026-11-22T09:00:00.000000Z"],"settled":"2026-11-22T09:00:00.000000Z"}"#
            ]],
        );
    }

    #[test]
    fn wrong_arguments_are_told() {
        check("{}", &expect!["validation_failed: `cron` is missing"]);
        check(r#"{"cron": 5}"#, &expect!["validation_failed: `cron` must be text, found `5`"]);
        check(
            r#"{"cron": "* * * * *", "catch_up": "some"}"#,
            &expect!["validation_failed: `catch_up` is `some`, not latest, all or none"],
        );
        check(
            r#"{"cron": "* * * * *", "jitter": "soon"}"#,
            &expect![
                "validation_failed: `soon` is not a duration; write for example 250ms, 30s, 1h30m, 7d or PT30S"
            ],
        );
        check(
            r#"{"cron": "* * * * *", "settled": "today"}"#,
            &expect!["validation_failed: `today` is not a time such as 2026-01-31T10:00:00Z"],
        );
    }

    #[test]
    fn nobody_is_sent_away_without_a_name() {
        let input = Value::map([("function", Value::from("traaviis.next"))]);
        assert!(is_builtin(&input));
        let error = answer(&input, 0).unwrap_err();
        expect!["unknown_function: there is no built-in function `traaviis.next`; there is `traaviis.next_run`"].assert_eq(&format!("{}: {}", error.code, error.message));
    }
}
