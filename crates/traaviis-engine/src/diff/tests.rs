//! Two documents in, the lines of their differences out.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::diff;
use crate::tests::{machine, with_head};

fn check(old: &str, new: &str, expected: Expect) {
    let (old, new) = (machine(&with_head(old)), machine(&with_head(new)));
    let mut text = String::new();
    for it in diff(old.definition(), new.definition()) {
        writeln!(text, "{}: {it}", it.part.heading()).unwrap();
    }
    expected.assert_eq(&text);
    let back = diff(new.definition(), old.definition());
    assert_eq!(back.is_empty(), text.is_empty(), "both ways or none");
}

#[test]
fn other_words_for_the_same_are_no_difference() {
    check(
        "initial: a\ntitle: one\nevents: {go: {}}\nstates: {a: {on: {go: b}}, b: {type: final}}",
        r#"
initial: a
events: {go: {description: Go}}
states:
  a: {title: First, description: waits, on: {go: [{target: '#b', actions: []}]}}
  b: {type: final}
tests: [{name: t, steps: [{send: go}], expect: {status: completed}}]
"#,
        expect![[""]],
    );
}

#[test]
fn states_are_the_same_by_id_then_by_name() {
    check(
        r#"
initial: new
events: {pay: {}, ship: {}}
states:
  new: {on: {pay: paying}}
  paying: {id: pay, on: {ship: done}}
  old: {}
  done: {type: final}
"#,
        r#"
initial: new
events: {pay: {}, ship: {}}
states:
  new: {on: {pay: money.payment}}
  money:
    initial: payment
    states:
      payment: {id: pay, on: {ship: done}}
  done: {type: final, output: 1}
"#,
        expect![[r#"
            states: + money
            states: ~ money.payment: was `paying`
            states: + done output: 1
            states: - old
        "#]],
    );
}

#[test]
fn transitions_timers_and_effects_are_told_one_by_one() {
    check(
        r#"
initial: a
events: {x: {}, y: {schema: {type: object}}}
data: {schema: {properties: {n: {type: integer}}}, initial: {n: 0}}
states:
  a:
    entry: [{log: {message: hello}}]
    on: {x: [{target: b, guard: data.n > 1}, c], y: b}
    after: {10s: b}
    invoke: [{id: i, effect: {type: call, function: f, args: {a: 1}}, onDone: b}]
  b: {}
  c: {}
"#,
        r#"
initial: b
events: {x: {}, y: {schema: {type: string}}, z: {}}
data: {schema: {properties: {n: {type: number}, m: {}}}, initial: {n: 0}}
errors: {unhandled: ignore}
states:
  a:
    entry: [{log: {message: good day}}]
    on: {x: [c, {target: b, guard: data.n > 1}], y: {target: b, guard: data.n == 0}, z: c}
    after: {20s: b}
    invoke: [{id: i, effect: {type: call, function: g, args: {a: 1}}, onDone: c}]
  b: {type: final}
  c: {}
"#,
        expect![[r#"
            workflow: + errors: {"unhandled":"ignore"}
            workflow: ~ initial: ["a"] => ["b"]
            events: ~ y schema type: object => string
            events: + z: {}
            data: ~ data schema properties n type: integer => number
            data: + data schema properties m: {}
            states: ~ a entry 0 log message: hello => good day
            states: + b type: final
            transitions: ~ a on x: the order of its candidates
            transitions: ~ a on y: -> b => -> b if data.n == 0
            transitions: + a on z: -> c
            transitions: ~ a invoke i onDone: -> b => -> c
            timers: - a after 10s: -> b
            timers: + a after 20s: -> b
            effects: ~ a invoke i effect function: f => g
        "#]],
    );
}
