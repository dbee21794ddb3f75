//! Small documents and what analysis says about them.

mod planted;

mod random;

use expect_test::{Expect, expect};
use traaviis_model::{
    Diagnostic,
    document::{self, Format},
};

use crate::{Machine, tests::with_head};

/// Returns the findings of a document, errors of reading included.
fn findings(document: &str) -> Vec<Diagnostic> {
    let read = document::read(document, Format::Yaml);
    let mut found = read.diagnostics;
    if let Some(definition) = &read.definition {
        found.extend(Machine::analyse(definition));
        found.iter_mut().for_each(|it| read.positions.place(it));
    }
    found
}

/// Checks the findings of a document without its head; its first line is line 4.
fn check(body: &str, expected: Expect) {
    let found = findings(&with_head(body));
    expected.assert_eq(&found.iter().map(|it| format!("{it}\n")).collect::<String>());
}

#[test]
fn a_state_that_nothing_enters_is_found_once() {
    check(
        "
events: {go: {}}
initial: a
states:
  a: {on: {go: b}, after: {1h: b}}
  b: {type: final}
  lost:
    initial: one
    after: {1h: b}
    states: {one: {}, two: {}}
",
        expect![[r#"
            10:3: W201 state `lost` can never be active: nothing that can happen enters it (at /states/lost); add a transition to it, or remove it
        "#]],
    );
    check(
        "
events: {go: {}}
initial: a
states:
  a:
    initial: one
    on: {go: b}
    after: {1h: b}
    states: {one: {}, two: {}, was: {type: history, target: one}}
  b: {type: final}
",
        expect![[r#"
            12:23: W201 state `a.two` can never be active: nothing that can happen enters it (at /states/a/states/two); add a transition to it, or remove it
            12:32: W201 no transition goes to the history state `a.was` (at /states/a/states/was); target it where the parent is entered again, or remove it
        "#]],
    );
}

#[test]
fn what_history_and_parallel_states_enter_is_reachable() {
    check(
        "
events: {go: {}, stop: {}, back: {}}
initial: work
states:
  work:
    type: parallel
    on: {stop: rest}
    after: {1h: end}
    states:
      left: {initial: a, states: {a: {on: {go: b}}, b: {}}}
      right: {initial: c, states: {c: {always: {target: d, guard: data.n > 1}}, d: {}}}
      was: {type: history, history: deep, target: right.d}
  rest: {on: {back: work.was}, after: {1h: end}}
  end: {type: final}
",
        expect![[""]],
    );
}

#[test]
fn states_without_a_way_to_the_end_are_told_together() {
    check(
        "
events: {go: {}, stop: {}}
initial: a
states:
  a: {on: {go: b, stop: end}, after: {1h: end}}
  b: {after: {1s: c}}
  c: {after: {1s: b}}
  end: {type: final}
",
        expect![[r#"
            9:3: W202 no way leads from state `b` (nor from `c`) to a final state (at /states/b); add a transition that leads on, or make it final
        "#]],
    );
    // Without `onDone` the end of the inner states leads nowhere.
    check(
        "
initial: a
states:
  a:
    initial: one
    states: {one: {after: {1s: two}}, two: {type: final}}
  b: {type: final}
",
        expect![[r#"
            10:3: W201 state `b` can never be active: nothing that can happen enters it (at /states/b); add a transition to it, or remove it
            7:3: W202 no way leads from state `a` to a final state (at /states/a); add a transition that leads on, or make it final
        "#]],
    );
    check(
        "
initial: a
states:
  a:
    initial: one
    onDone: b
    states: {one: {after: {1s: two}}, two: {type: final}}
  b: {type: final}
",
        expect![""],
    );
}

#[test]
fn a_region_may_rest_when_another_one_leads_on() {
    check(
        "
initial: p
states:
  p:
    type: parallel
    states:
      clock: {initial: a, states: {a: {after: {1s: '#end'}}}}
      lamp: {initial: dark, states: {dark: {}}}
  end: {type: final}
",
        expect![[""]],
    );
}

#[test]
fn a_machine_without_an_end_is_told_once_and_can_be_waived() {
    let body = "
events: {press: {}}
initial: dark
states:
  dark: {on: {press: bright}, after: {1h: bright}}
  bright: {on: {press: dark}, after: {1h: dark}}
";
    check(
        body,
        expect![[r#"
        7:1: W202 no top state is final, so an instance never ends (at /states); add a state with `type: final`; if it is meant to run for ever, say why: `x-waive: {W202: REASON}`
    "#]],
    );
    check(&format!("x-waive: {{W202: a lamp has no end}}{body}"), expect![[""]]);
}

#[test]
fn candidates_that_are_never_chosen_are_found() {
    check(
        "
events: {e: {}, f: {}, g: {}}
initial: a
states:
  a:
    on:
      e: [b, {target: a, guard: data.x}]
      f: [{target: b, guard: data.x > 1}, {target: a, guard: ' data.x > 1'}, b]
      g:
        - {target: a, guard: 1 > 2 && data.x}
        - {target: a, guard: '!true || in_state(\"nowhere\")'}
        - {target: b, guard: 'data.x == 1 || true'}
        - {actions: [{log: {message: no}}]}
      done.invoke.lod: b
      error.invoke.load: b
      done.state.c: b
    after: {1h: b}
    invoke: [{id: load, effect: {type: transform, expr: data.x}}]
  b: {type: final}
",
        expect![[r#"
            10:33: W203 this candidate is never chosen: an earlier candidate of the list is always chosen (at /states/a/on/e/1/guard); move it before the candidate without a guard, or remove it
            11:62: W203 this candidate is never chosen: an earlier candidate has the same guard `data.x > 1` (at /states/a/on/f/1/guard); correct one of the guards, or remove the candidate
            13:30: W203 this candidate is never chosen: its guard `1 > 2 && data.x` is never true (at /states/a/on/g/0/guard); correct the guard, or remove the candidate
            14:30: W203 this candidate is never chosen: its guard `!true || in_state("nowhere")` is never true (at /states/a/on/g/1/guard); correct the guard, or remove the candidate
            16:11: W203 this candidate is never chosen: an earlier candidate of the list is always chosen (at /states/a/on/g/3); move it before the candidate without a guard, or remove it
            17:24: W203 `done.invoke.lod` never happens: there is no such invoke (at /states/a/on/done.invoke.lod); write the name of an existing invoke
            19:21: W203 `done.state.c` never happens: there is no such state (at /states/a/on/done.state.c); write the name of an existing state
        "#]],
    );
}

#[test]
fn drawn_guards_are_not_the_same() {
    check(
        "
events: {e: {}}
initial: a
states:
  a:
    on: {e: [{target: b, guard: random() < 0.5}, {target: b, guard: random() < 0.5}, b]}
    after: {1h: b}
  b: {type: final}
",
        expect![[""]],
    );
}

#[test]
fn a_state_that_is_left_at_once_waits_for_nothing() {
    check(
        "
events: {e: {}}
initial: a
states:
  a: {always: [{target: b, guard: data.x}, b], on: {e: b}}
  b: {type: final}
",
        expect![[r#"
            8:48: W203 `on` of state `a` never comes to anything: `always` leaves the state at once (at /states/a/on); give the `always` a guard, or move what waits to another state
        "#]],
    );
}

/// Guards of one list on an event, with a schema of `data`.
fn guards(schema: &str, guards: &[&str]) -> String {
    let list: Vec<String> =
        guards.iter().map(|it| format!("{{target: b, guard: '{it}'}}")).collect();
    format!(
        "data: {{schema: {{type: object, properties: {{{schema}}}}}}}\nevents: {{e: {{}}}}\n\
         initial: a\nstates:\n  a: {{on: {{e: [{}]}}, after: {{1h: b}}}}\n  b: {{type: final}}\n",
        list.join(", ")
    )
}

#[test]
fn guards_are_compared_over_the_values_that_a_schema_allows() {
    const KIND: &str = "kind: {enum: [new, paid, sent]}";
    let check =
        |schema: &str, list: &[&str], expected: Expect| check(&guards(schema, list), expected);
    check(
        KIND,
        &["data.kind == \"new\"", "data.kind == \"paid\""],
        expect![[r#"
        8:12: W204 the guards of this list leave a gap: none is true for `sent` (at /states/a/on/e); add a candidate for it, or one without a guard at the end
    "#]],
    );
    check(KIND, &["data.kind == \"new\"", "data.kind in [\"paid\", \"sent\"]"], expect![[""]]);
    check(
        KIND,
        &["data.kind == \"new\"", "\"payed\" == data.kind"],
        expect![[r#"
        8:77: W203 this candidate is never chosen: its guard `"payed" == data.kind` is true for none of the possible values (at /states/a/on/e/1/guard); correct the guard, or remove the candidate
    "#]],
    );
    check(
        KIND,
        &["data.kind in [\"new\", \"paid\"]", "data.kind != \"new\""],
        expect![[r#"
        8:87: W204 the guards `data.kind in ["new", "paid"]` and `data.kind != "new"` overlap: both are true for `paid`, which the first takes (at /states/a/on/e/1/guard); exclude it from one of them, so that the order does not decide
    "#]],
    );
    check(
        KIND,
        &["data.kind != \"new\"", "data.kind != \"sent\"", "data.kind == \"paid\""],
        expect![[r#"
        8:77: W204 the guards `data.kind != "new"` and `data.kind != "sent"` overlap: both are true for `paid`, which the first takes (at /states/a/on/e/1/guard); exclude it from one of them, so that the order does not decide
        8:120: W203 this candidate is never chosen: earlier candidates take everything that `data.kind == "paid"` is true for (at /states/a/on/e/2/guard); put it before them, or remove it
    "#]],
    );
    check(
        "ok: {type: boolean}",
        &["data.ok", "data.ok == true"],
        expect![[r#"
        8:66: W203 this candidate is never chosen: earlier candidates take everything that `data.ok == true` is true for (at /states/a/on/e/1/guard); put it before them, or remove it
    "#]],
    );
    check("ok: {type: boolean}", &["data.ok", "!data.ok"], expect![[""]]);
    check("", &["data.ok", "data.ok == false", "data.n > 1"], expect![[""]]);
    // Without a schema a text can be anything.
    check("", &["data.kind == \"new\"", "data.kind == \"paid\""], expect![[""]]);
    // One guard alone is a condition, no choice.
    check(KIND, &["data.kind == \"new\""], expect![[""]]);
}

#[test]
fn guards_are_compared_over_the_numbers_they_name() {
    let check = |list: &[&str], expected: Expect| check(&guards("", list), expected);
    check(
        &["data.n < 3", "data.n > 3"],
        expect![[r#"
        8:12: W204 the guards of this list leave a gap: none is true for `3` (at /states/a/on/e); add a candidate for it, or one without a guard at the end
    "#]],
    );
    check(
        &["data.n <= 3", "data.n >= 3"],
        expect![[r#"
        8:70: W204 the guards `data.n <= 3` and `data.n >= 3` overlap: both are true for `3`, which the first takes (at /states/a/on/e/1/guard); exclude it from one of them, so that the order does not decide
    "#]],
    );
    check(&["data.n <= 3", "data.n >= 4"], expect![[""]]);
    check(
        &["data.n < 0.5", "0.75 < data.n"],
        expect![[r#"
        8:12: W204 the guards of this list leave a gap: none is true for `0.5`, numbers between 0.5 and 0.75, `0.75` (at /states/a/on/e); add a candidate for it, or one without a guard at the end
    "#]],
    );
    check(&["data.n > 10", "data.n > 5", "data.n > 1"], expect![[""]]);
    check(
        &["data.n > 5", "data.n > 10"],
        expect![[r#"
        8:69: W203 this candidate is never chosen: earlier candidates take everything that `data.n > 10` is true for (at /states/a/on/e/1/guard); put it before them, or remove it
    "#]],
    );
    check(
        &["data.n > 5 && data.n < 2", "data.n == 3.0", "data.n == 3"],
        expect![[r#"
        8:35: W203 this candidate is never chosen: its guard `data.n > 5 && data.n < 2` is never true (at /states/a/on/e/0/guard); correct the guard, or remove the candidate
        8:120: W203 this candidate is never chosen: earlier candidates take everything that `data.n == 3` is true for (at /states/a/on/e/2/guard); put it before them, or remove it
    "#]],
    );
    check(
        &["size(data.l) == 0", "size(data.l) > 1"],
        expect![[r#"
        8:12: W204 the guards of this list leave a gap: none is true for `1` (at /states/a/on/e); add a candidate for it, or one without a guard at the end
    "#]],
    );
    check(&["data.n < 3", "data.m > 3"], expect![[""]]);
}

#[test]
fn a_gap_that_something_else_takes_is_none() {
    check(
        "
events: {e: {}, f: {}, g: {source: internal}, h.x: {}}
initial: a
states:
  a:
    initial: in
    on: {e: b}
    after: {1h: b}
    states:
      in:
        entry: [{raise: {event: g}}]
        unhandled: ignore
        always: [{target: b, guard: data.n < 3}, {target: b, guard: data.n > 8}]
        on:
          e: [{target: b, guard: data.n < 3}, {target: b, guard: data.n > 3}]
          f: [{target: b, guard: data.n < 3}, {target: b, guard: data.n > 3}]
          g: [{target: b, guard: data.n < 3}, {target: b, guard: data.n > 3}]
          h.*: [{target: b, guard: data.n < 3}, {target: b, guard: data.n > 3}]
  b: {type: final}
",
        expect![""],
    );
    check(
        "
events: {e: {schema: {properties: {ok: {type: boolean}, n: {enum: [1, 2, 3]}}}}}
initial: a
states:
  a:
    on: {e: [{target: b, guard: event.data.n == 1}, {target: c, guard: event.data.n == 2}]}
    after: {1h: [{target: b, guard: data.n < 3}, {target: c, guard: data.n > 3}]}
  b: {always: [{target: c, guard: data.ok == true}, {target: c, guard: data.n == 1}]}
  c: {type: final}
",
        expect![[r#"
            9:10: W204 the guards of this list leave a gap: none is true for `3` (at /states/a/on/e); add a candidate for it, or one without a guard at the end
            10:13: W204 the guards of this list leave a gap: none is true for `3` (at /states/a/after/1h); add a candidate for it, or one without a guard at the end
        "#]],
    );
}

#[test]
fn errors_of_invokes_need_somebody_who_takes_them() {
    let state = |around: &str, invoke: &str, effect: &str| {
        format!(
            "initial: a\nstates:\n  a:\n    initial: one\n    after: {{1h: b}}\n{around}    states:\n      \
             one: {{invoke: [{{id: run, effect: {effect}, onDone: b{invoke}}}]}}\n  b: {{type: final}}\n"
        )
    };
    const CALL: &str = "{type: call, function: f}";
    check(
        &state("", "", CALL),
        expect![[r#"
            10:22: W205 nothing takes the error of invoke `run`, so the whole instance fails with it (at /states/a/states/one/invoke/0); add `onError` to the invoke or to a state around it
        "#]],
    );
    check(&state("", ", onError: b", CALL), expect![[""]]);
    check(&state("    onError: b\n", "", CALL), expect![[""]]);
    check(&state("    on: {error.*: b}\n", "", CALL), expect![[""]]);
    check(&state("    on: {error.invoke.run: b}\n", "", CALL), expect![[""]]);
    check(
        &state("    on: {'*': b}\n", "", CALL),
        expect![[r#"
            11:22: W205 nothing takes the error of invoke `run`, so the whole instance fails with it (at /states/a/states/one/invoke/0); add `onError` to the invoke or to a state around it
        "#]],
    );
    check(&format!("errors: {{unhandled: incident}}\n{}", state("", "", CALL)), expect![[""]]);
    // What asks nobody has no outcome to plan for, unless it has a limit.
    const SURE: &str =
        "{type: sequence, effects: [{type: delay, duration: 1s}, {type: value, value: 1}]}";
    check(&state("", "", SURE), expect![[""]]);
    check(
        &state("", "", "{type: timeout, duration: 1s, effect: {type: delay, duration: 2s}}"),
        expect![[r#"
            10:22: W205 nothing takes the error of invoke `run`, so the whole instance fails with it (at /states/a/states/one/invoke/0); add `onError` to the invoke or to a state around it
        "#]],
    );
}

#[test]
fn calls_that_a_rollback_leaves_standing_are_found() {
    const POST: &str = "type: call_api, method: post, url: 'https://a.example/'";
    let check = |effect: String, expected: Expect| {
        check(
            &format!(
                "initial: a\nstates:\n  a:\n    invoke:\n      - id: run\n        onError: b\n        \
                 onDone: b\n        effect: {effect}\n  b: {{type: final}}\n"
            ),
            expected,
        );
    };
    let get = "{type: call_api, url: 'https://a.example/'}";
    // Alone, or at the end, its success is the success of the tree.
    check(format!("{{{POST}}}"), expect![[""]]);
    check(format!("{{type: sequence, effects: [{get}, {{{POST}}}]}}"), expect![[""]]);
    check(
        format!("{{type: sequence, effects: [{{{POST}}}, {{type: value, value: 1}}]}}"),
        expect![[""]],
    );
    check(
        format!("{{type: sequence, effects: [{{{POST}}}, {get}]}}"),
        expect![[r#"
        11:44: W207 nothing undoes this POST when work that comes after it or runs beside it fails (at /states/a/invoke/0/effect/effects/0); add `compensation`, or `idempotent: true` if the peer honours `Idempotency-Key`, or say why none is needed: `waive: REASON`
    "#]],
    );
    check(
        format!("{{type: sequence, effects: [{{{POST}, idempotent: true}}, {get}]}}"),
        expect![[""]],
    );
    check(
        format!("{{type: sequence, effects: [{{{POST}, waive: a note}}, {get}]}}"),
        expect![[""]],
    );
    check(
        format!("{{type: sequence, effects: [{{{POST}, compensation: {get}}}, {get}]}}"),
        expect![[""]],
    );
    check(
        format!("{{type: parallel, effects: {{a: {{{POST}}}, b: {get}}}}}"),
        expect![[r#"
        11:44: W207 nothing undoes this POST when work that comes after it or runs beside it fails (at /states/a/invoke/0/effect/effects/a); add `compensation`, or `idempotent: true` if the peer honours `Idempotency-Key`, or say why none is needed: `waive: REASON`
    "#]],
    );
    check(format!("{{type: fallback, effects: [{{{POST}}}, {get}]}}"), expect![[""]]);
    check(
        format!("{{type: batch, items: '${{data.l}}', effect: {{{POST}}}}}"),
        expect![[r#"
        11:51: W207 nothing undoes this POST when work that comes after it or runs beside it fails (at /states/a/invoke/0/effect/effect); add `compensation`, or `idempotent: true` if the peer honours `Idempotency-Key`, or say why none is needed: `waive: REASON`
    "#]],
    );
    check(
        format!(
            "{{type: saga, steps: [{{id: a, action: {{{POST}}}}}, {{id: b, action: {{{POST}}}}}]}}"
        ),
        expect![[r#"
            11:46: W207 nothing undoes this POST when work that comes after it or runs beside it fails (at /states/a/invoke/0/effect/steps/0/action); add `compensation`, or `idempotent: true` if the peer honours `Idempotency-Key`, or say why none is needed: `waive: REASON`
        "#]],
    );
    check(
        format!(
            "{{type: saga, steps: [{{id: a, action: {{{POST}}}, compensation: {{{POST}}}}}, {{id: b, action: {get}}}]}}"
        ),
        expect![[""]],
    );
    check(
        format!(
            "{{type: sequence, effects: [{{type: with_compensation, action: {{{POST}}}, compensation: {get}}}, {get}]}}"
        ),
        expect![[""]],
    );
}

#[test]
fn declared_events_must_be_used() {
    check(
        "
events:
  lost: {}
  deaf: {source: internal}
  mute: {source: internal}
  order.paid: {}
  note: {merge: true}
  told: {}
initial: a
states:
  a:
    entry: [{raise: {event: deaf}}, {emit: {event: told}}]
    on: {mute: b, order.*: b}
    after: {1h: b}
  b: {type: final}
",
        expect![[r#"
            6:3: W208 event `lost` is declared, but nothing uses it (at /events/lost); take it under `on` of a state, or remove the declaration
            7:3: W208 event `deaf` is raised, but no state takes it (at /events/deaf); take it under `on` of a state, or remove it
            8:3: W208 internal event `mute` is never raised, so nothing of `on` takes it (at /events/mute); raise it, or remove `source: internal` if callers send it
        "#]],
    );
}

#[test]
fn a_state_that_only_people_can_end_needs_a_time_limit() {
    check(
        "
events: {go: {}, tick: {source: internal}}
initial: a
states:
  a: {on: {go: b}}
  b: {x-waive: {W209: somebody is always there}, on: {go: c}}
  c: {entry: [{raise: {event: tick, delay: 1s}}], on: {tick: d, go: d}}
  d: {initial: in, after: {1h: e}, states: {in: {on: {go: e}}}}
  e: {always: {target: f, guard: data.x}, on: {go: f}}
  f:
    type: parallel
    states:
      clock: {initial: a, states: {a: {after: {1s: '#end'}}}}
      lamp: {initial: dark, states: {dark: {on: {go: '#end'}}}}
  end: {type: final}
",
        expect![[r#"
            8:3: W209 state `a` waits for events from outside without a time limit (at /states/a); add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`
        "#]],
    );
}

#[test]
fn a_waiver_holds_for_everything_below() {
    let body = |waive: &str| {
        format!(
            "
events: {{go: {{}}}}
initial: a
states:
  a: {{{waive}initial: one, states: {{one: {{on: {{go: b}}}}}}}}
  b: {{type: final}}
"
        )
    };
    check(
        &body(""),
        expect![[r#"
        8:30: W209 state `a.one` waits for events from outside without a time limit (at /states/a/states/one); add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`
    "#]],
    );
    check(&body("x-waive: {W209: a person decides}, "), expect![[""]]);
    check(
        &body("x-waive: {W208: another matter}, "),
        expect![[r#"
        8:63: W209 state `a.one` waits for events from outside without a time limit (at /states/a/states/one); add `after: {DURATION: STATE}` here or around it; if it may wait for ever, say why: `x-waive: {W209: REASON}`
    "#]],
    );
}

#[test]
fn strict_makes_errors_of_the_grave_ones() {
    let mut found = findings(&with_head(
        "
events: {go: {}, lost: {}}
initial: a
states:
  a: {on: {go: b}}
  b: {type: final}
",
    ));
    super::make_strict(&mut found);
    let shown: String = found.iter().map(|it| format!("{} {:?}\n", it.code, it.severity)).collect();
    expect![[r#"
        W208 Warning
        W209 Error
    "#]]
    .assert_eq(&shown);
}

#[test]
fn cycles_of_always_are_told_once() {
    check(
        "initial: a\nstates: {a: {always: b}, b: {always: a}}",
        expect![[r#"
        5:22: E108 `always` leads from `a` back to itself without a guard (at /states/a/always); give one of the candidates a guard, or use an event or a timer
    "#]],
    );
    check(
        "initial: a\nstates: {a: {always: {actions: []}}}",
        expect![[r#"
        5:14: E108 `always` of `a` has neither target nor guard, so it never rests (at /states/a/always); give one of the candidates a guard, or use an event or a timer
    "#]],
    );
    check(
        "initial: a\nstates: {a: {always: {target: b, guard: true}}, b: {always: a}}",
        expect![[r#"
        5:14: E108 `always` leads from `a` back to itself without a guard (at /states/a/always); give one of the candidates a guard, or use an event or a timer
    "#]],
    );
    // The inner state rests, the outer one does not.
    check(
        "initial: a\nstates: {a: {initial: c, always: b, states: {c: {}}}, b: {always: a}}",
        expect![[r#"
            5:34: E108 `always` leads from `a` back to itself without a guard (at /states/a/always); give one of the candidates a guard, or use an event or a timer
        "#]],
    );
    check(
        "initial: a\nstates: {a: {type: parallel, always: a, states: {c: {}, d: {}}}}",
        expect![[r#"
            5:38: E108 `always` leads from `a` back to itself without a guard (at /states/a/always); give one of the candidates a guard, or use an event or a timer
        "#]],
    );
    // A guard on the way lets it end.
    check(
        "
initial: a
states:
  a: {entry: [{assign: {n: '${data.n + 1}'}}], always: b}
  b: {always: [{target: c, guard: data.n > 3}, a]}
  c: {type: final}
",
        expect![[""]],
    );
    // So may another region.
    check(
        "
initial: p
states:
  p:
    type: parallel
    states:
      a: {initial: one, states: {one: {always: two}, two: {always: one}}}
      b: {initial: one, states: {one: {always: {target: '#end', guard: data.n > 1}}}}
  end: {type: final}
",
        expect![[""]],
    );
}

#[test]
fn errors_name_their_place() {
    check(
        "
events: {e: {}}
validations: [{name: v, events: [f], check: data.n + 1, message: no}]
initial: p
states:
  p:
    type: parallel
    states:
      a: {initial: one, states: {one: {on: {e: {target: one, guard: '\"yes\"'}}}}}
      b: {initial: [one, two], states: {one: {}, two: {}}}
  q:
    invoke:
      - id: i
        when: '[1]'
        effect: {type: if_condition, cond: 1 + 1, then: {type: value, value: 1}}
        onDone: {target: [p.a.one, p.a]}
        onProgress: nowhere
",
        expect![[r#"
            20:9: W190 feature_unavailable: `onProgress` is kept but not applied in this release (at /states/q/invoke/0/onProgress)
            6:34: E106 event `f` is not declared (at /validations/0/events/0); did you mean `e`? Otherwise declare it under `events`
            6:45: E130 `data.n + 1` gives the result of a calculation, not true or false (at /validations/0/check); compare it with something
            12:69: E130 `"yes"` gives string, not true or false (at /states/p/states/a/states/one/on/e/guard); compare it with something
            20:21: E102 target `nowhere` names no state that can be seen from here (at /states/q/invoke/0/onProgress)
            17:15: E130 `[1]` gives list, not true or false (at /states/q/invoke/0/when); compare it with something
            18:44: E130 `1 + 1` gives int, not true or false (at /states/q/invoke/0/effect/cond); compare it with something
            13:11: E105 the targets do not stand in different regions of one parallel state (at /states/p/states/b/initial); name at most one state for each region
            19:9: E105 the targets do not stand in different regions of one parallel state (at /states/q/invoke/0/onDone); name at most one state for each region
        "#]],
    );
}
