//! Two versions of a document, an instance of the first, and what becomes of it.

mod random;

use std::fmt::Write;

use expect_test::{Expect, expect};
use traaviis_model::{
    InstanceId, Record, Snapshot, Span, TenantCtx, Timestamp, Value,
    document::{self, Format},
};

use super::{Class, classify, roll_back, upgrade};
use crate::{
    Machine,
    simulate::Simulation,
    step::{Input, step},
    tests::{context, machine, with_head},
};

/// Returns the second version of a document.
fn next(body: &str) -> Machine {
    machine(&with_head(body).replacen("version: 1.0.0", "version: 2.0.0", 1))
}

/// An instance of the first version after some events.
fn begun(machine: &Machine, events: &[&str]) -> (Snapshot, Vec<Record>, Timestamp) {
    let (ctx, id) = (TenantCtx::for_test(1), InstanceId(uuid::Uuid::from_u128(7)));
    let begun = Simulation::start(machine, &ctx, id, Value::empty_map(), Timestamp(0));
    let mut run = begun.unwrap();
    for event in events {
        run.advance(Span::secs(1)).unwrap();
        run.send((*event).into(), Value::Null).unwrap();
    }
    (run.snapshot().clone(), run.records().to_vec(), run.now())
}

/// Shows the class of an instance, and how it goes on when it is safe: each event is sent, the
/// timers that are open fire at the end.
fn check(old: &str, new: &str, before: &[&str], after: &[&str], expected: Expect) {
    let (old, new) = (machine(&with_head(old)), next(new));
    let (snapshot, mut records, now) = begun(&old, before);
    let class = classify(&old, &new, &snapshot);
    let mut out = format!("{}: {}\n", snapshot.state(), class.as_str());
    match &class {
        Class::NeedsMapping(gaps) => gaps.iter().for_each(|it| writeln!(out, "  {it}").unwrap()),
        Class::Blocked(reasons) => reasons.iter().for_each(|it| writeln!(out, "  {it}").unwrap()),
        Class::Current => {}
        Class::Safe(_) => {
            let mut taken = upgrade(&old, &new, &snapshot, &context(now)).unwrap();
            records.extend(taken.records.clone());
            let mut state = taken.snapshot;
            writeln!(out, "  now {} {}", state.state(), state.data).unwrap();
            for (_, path, node) in state.calls() {
                writeln!(out, "  call {path} {}", node.input).unwrap();
            }
            for event in after {
                let input = match event.strip_prefix('+') {
                    Some(_) => {
                        let timer = state.next_timer().unwrap();
                        let (due, timer) = (timer.due, timer.id.clone());
                        writeln!(out, "  at {}", due.since(Timestamp(0))).unwrap();
                        taken = step(&new, &state, Input::Timer { timer }, &context(due)).unwrap();
                        records.extend(taken.records.clone());
                        state = taken.snapshot;
                        writeln!(out, "  {event} {}", state.state()).unwrap();
                        continue;
                    }
                    None => Input::Event { event: (*event).into(), data: Value::Null, id: None },
                };
                taken = step(&new, &state, input, &context(now)).unwrap();
                records.extend(taken.records.clone());
                state = taken.snapshot;
                writeln!(out, "  {event} {}", state.state()).unwrap();
            }
            let replayed = crate::replay_versions(&[&old, &new], &records, None).unwrap().unwrap();
            assert_eq!(replayed.canonical(), state.canonical(), "replay differs");
        }
    }
    expected.assert_eq(&out);
}

const ORDER: &str = r#"
initial: new
events: {pay: {}, ship: {}, back: {}}
data: {initial: {n: 1}}
states:
  new: {after: {10s: lost}, on: {pay: work}}
  work:
    initial: one
    on: {back: new}
    states:
      one: {on: {ship: two}}
      two: {id: second}
      h: {type: history, target: one}
  lost: {type: final}
"#;

#[test]
fn an_instance_whose_parts_all_exist_goes_on() {
    let new = ORDER.replace("lost: {type: final}", "lost: {type: final}\n  more: {}");
    check(
        ORDER,
        &new,
        &[],
        &["+"],
        expect![[r#"
        new: safe
          now new {"n":1}
          at 10s
          + lost
    "#]],
    );
    check(
        ORDER,
        &new,
        &["pay", "ship", "back"],
        &["pay"],
        expect![[r#"
        new: safe
          now new {"n":1}
          pay work.one
    "#]],
    );
}

#[test]
fn states_are_found_by_id_and_suggested_by_name_and_neighbourhood() {
    let by_id =
        ORDER.replace("two: {id: second}", "deux: {id: second}").replace("ship: two", "ship: deux");
    check(
        ORDER,
        &by_id,
        &["pay", "ship"],
        &["back"],
        expect![[r#"
        work.two: safe
          now work.deux {"n":1}
          back new
    "#]],
    );
    let renamed = ORDER.replace("one", "erste");
    check(
        ORDER,
        &renamed,
        &["pay"],
        &[],
        expect![[r#"
        work.one: needs_mapping
          state `work.one` has no counterpart (perhaps `work.erste`)
    "#]],
    );
}

#[test]
fn a_migration_maps_states_data_and_timers() {
    let new = r#"
initial: fresh
events: {pay: {}, ship: {}}
data:
  schema: {type: object, properties: {total: {type: integer}}, required: [total]}
  initial: {total: 0}
migrations:
  - from: <2.0.0
    states: {new: fresh, work: busy}
    data: {total: "${data.n + 1}"}
    timers: restart
states:
  fresh: {after: {20s: lost}, on: {pay: busy}}
  busy: {initial: one, states: {one: {on: {ship: two}}, two: {}, h: {type: history, target: one}}}
  lost: {type: final}
"#;
    check(
        ORDER,
        new,
        &[],
        &["+"],
        expect![[r#"
        new: safe
          now fresh {"total":2}
          at 20s
          + lost
    "#]],
    );
    check(
        ORDER,
        new,
        &["pay"],
        &["ship"],
        expect![[r#"
        work.one: safe
          now busy.one {"total":2}
          ship busy.two
    "#]],
    );
    check(
        ORDER,
        &new.replace("timers: restart", "timers: keep"),
        &[],
        &[],
        expect![[r#"
        new: needs_mapping
          timer `after 10s of new` has no counterpart (perhaps `after 20s`)
    "#]],
    );
    check(
        ORDER,
        &new.replace("timers: restart", "timers: drop"),
        &[],
        &["pay"],
        expect![[r#"
        new: safe
          now fresh {"total":2}
          pay busy.one
    "#]],
    );
    let unfit = new.replace("${data.n + 1}", "${string(data.n)}");
    check(
        ORDER,
        &unfit,
        &[],
        &[],
        expect![[r#"
        new: blocked
          the data do not fit the new schema: /total: "1" is not of type "integer"
    "#]],
    );
    let deferred = new.replace("timers: restart", "defer_when: data.n < 5");
    check(
        ORDER,
        &deferred,
        &[],
        &[],
        expect![[r#"
        new: blocked
          its migration waits while `data.n < 5` is true
    "#]],
    );
}

const CALLS: &str = r#"
initial: a
states:
  a: {invoke: [{id: c, effect: {type: call, function: f, args: {x: 1}}, onDone: b}]}
  b: {type: final}
"#;

#[test]
fn running_effects_must_be_the_same_or_be_given_up() {
    let moved =
        CALLS.replace("invoke: [", "invoke: [{id: other, effect: {type: value, value: 1}}, ");
    check(
        CALLS,
        &moved,
        &[],
        &[],
        expect![[r#"
            a: safe
              now a {}
              call c {"args":{"x":1},"function":"f"}
        "#]],
    );
    let changed = CALLS.replace("x: 1", "x: 2");
    check(
        CALLS,
        &changed,
        &[],
        &[],
        expect![[r#"
            a: blocked
              effect `c of a` is running and another one in the new version; let it end, or say `effects: restart` or `cancel` in a migration
        "#]],
    );
    let cancel = format!("migrations: [{{from: <2.0.0, effects: cancel}}]{changed}");
    check(
        CALLS,
        &cancel,
        &[],
        &[],
        expect![[r#"
        a: safe
          now a {}
    "#]],
    );
    let restart = format!("migrations: [{{from: <2.0.0, effects: restart}}]{changed}");
    check(
        CALLS,
        &restart,
        &[],
        &[],
        expect![[r#"
            a: safe
              now a {}
              call c {"args":{"x":2},"function":"f"}
        "#]],
    );
    check(
        CALLS,
        &CALLS.replace("id: c", "id: d"),
        &[],
        &[],
        expect![[r#"
        a: needs_mapping
          effect `c of a` has no counterpart (perhaps `d of a`)
    "#]],
    );
}

#[test]
fn an_upgrade_is_taken_back_until_the_next_transition() {
    let (old, new) = (
        machine(&with_head(ORDER)),
        next(&ORDER.replace("two: {", "zwei: {").replace("ship: two", "ship: zwei")),
    );
    let (before, mut records, now) = begun(&old, &["pay", "ship"]);
    let taken = upgrade(&old, &new, &before, &context(now)).unwrap();
    records.extend(taken.records.clone());
    let back = roll_back(&old, &taken.snapshot, &context(now)).unwrap();
    records.extend(back.records.clone());
    let same = |it: &Snapshot| {
        (it.configuration.clone(), it.version.clone(), it.definition_hash, it.timers.clone())
    };
    assert_eq!(same(&back.snapshot), same(&before));
    let replayed = crate::replay_versions(&[&old, &new], &records, None).unwrap().unwrap();
    assert_eq!(replayed.canonical(), back.snapshot.canonical());
    assert!(roll_back(&old, &back.snapshot, &context(now)).is_err(), "only once");

    let input = Input::Event { event: "back".into(), data: Value::Null, id: None };
    let moved = step(&new, &taken.snapshot, input, &context(now)).unwrap();
    assert_eq!(roll_back(&old, &moved.snapshot, &context(now)).unwrap_err().code, "invalid_state");
}

#[test]
fn contradictory_migrations_are_findings() {
    let found = |migrations: &str| -> String {
        let text = with_head(&format!("migrations: {migrations}{ORDER}"));
        let definition = document::read(&text, Format::Yaml).definition.unwrap();
        let errors = Machine::compile(std::sync::Arc::new(definition)).unwrap_err();
        errors.iter().map(|it| format!("{} {}: {}\n", it.code, it.path, it.message)).collect()
    };
    let all = [
        "[{from: '>=1.0.0'}]",
        "[{from: <1.0.0}, {from: <1.0.0}]",
        "[{from: <1.0.0, states: {x: wrok}}]",
        "[{from: <1.0.0, states: {x: new, x.y: work.one}}]",
        "[{from: <1.0.0, data: {a: '${event.data}'}, defer_when: '1'}]",
    ];
    let text: String = all.iter().map(|it| found(it)).collect();
    expect![[r#"
        E152 /migrations/0/from: `from` takes in version 1.0.0 itself
        E152 /migrations/1/from: an earlier migration has `from: <1.0.0` too
        E102 /migrations/0/states/x: `wrok` is no path of a state in this version
        E152 /migrations/0/states: `x.y` is active only inside `x`, but `work.one` does not stand below `new`
        E131 /migrations/0/data/a: variable `event` is not available here; available are `data`, `input`
        E130 /migrations/0/defer_when: `1` gives int, not true or false
    "#]].assert_eq(&text);
}

const LIMITED: &str = r#"
initial: a
PERMISSIONS
BUDGETS
MIGRATIONS
data: {initial: {f: x}}
events: {e: {}}
states:
  a: {STATE on: {e: b}}
  b: {invoke: [{id: w, effect: {type: call, function: "${data.f}"}, onError: c}], on: {e: c}}
  c: {type: final}
"#;

/// Says what becomes of an instance in state `a` when what limits it changes.
fn check_limits(key: &str, pairs: &[(&str, &str, &str)]) {
    let document = |value: &str, migration: &str| {
        let all = "permissions: {tools: ['*']}";
        let value = if value.is_empty() { String::new() } else { format!("{key}: {value}") };
        let (workflow, state) = match (key, value.strip_prefix("permissions: state ")) {
            ("permissions", Some(own)) => (all, format!("permissions: {own}, ")),
            ("budgets", _) if value.starts_with("budgets: state ") => {
                (all, format!("budgets: {}, ", &value["budgets: state ".len()..]))
            }
            ("permissions", None) => (&*value, String::new()),
            _ => (all, String::new()),
        };
        let budgets = if key == "budgets" && state.is_empty() { &*value } else { "" };
        LIMITED
            .replace("PERMISSIONS", workflow)
            .replace("BUDGETS", budgets)
            .replace("STATE", &state)
            .replace("MIGRATIONS", migration)
    };
    for (old, new, expected) in pairs {
        let before = machine(&with_head(&document(old, "")));
        let (snapshot, ..) = begun(&before, &[]);
        let told = |migration: &str| match classify(
            &before,
            &next(&document(new, migration)),
            &snapshot,
        ) {
            Class::Blocked(reasons) => reasons.join("\n"),
            class => class.as_str().to_string(),
        };
        let end = "; a migration from version 1.0.0 must be there to say that this is meant";
        assert_eq!(told("").replace(end, ""), *expected, "{old} -> {new}");
        assert_eq!(told("migrations: [{from: '1.0.0'}]"), "safe", "{old} -> {new}");
    }
}

#[test]
fn permissions_are_not_widened_in_passing() {
    let widened =
        |who: &str, by: &str| format!("`permissions.tools` of {who} would be widened by {by}");
    check_limits(
        "permissions",
        &[
            ("{tools: [a*]}", "{tools: [ab, ac*]}", "safe"),
            ("{tools: [a*]}", "{tools: [b]}", &widened("the workflow", "`b`")),
            ("{tools: [a*]}", "{tools: ['*']}", &widened("the workflow", "`*`")),
            (
                "{tools: [a]}",
                "{tools: [a], hosts: [h]}",
                "`permissions.hosts` of the workflow would be widened by `h:*`",
            ),
            (
                "{tools: [a], approve_untrusted: true}",
                "{tools: [a]}",
                "`permissions.approve_untrusted` would be lifted",
            ),
            ("{tools: [a]}", "{tools: [a], approve_untrusted: true}", "safe"),
            ("state {tools: [a]}", "state {tools: []}", "safe"),
            ("state {tools: [a]}", "state {tools: [b]}", &widened("state `a`", "`b`")),
            (
                "state {tools: [a]}",
                "state {}",
                &widened("state `a`", "everything that the workflow may"),
            ),
            ("state {}", "state {tools: [a]}", "safe"),
        ],
    );
}

#[test]
fn budgets_are_not_widened_in_passing() {
    let widened = |who: &str, from: &str, to: &str| {
        format!("the budget of {who} would be widened from `{from}` to `{to}`")
    };
    check_limits(
        "budgets",
        &[
            ("{calls: 3}", "{calls: 2}", "safe"),
            ("{calls: 3}", "{calls: 3, wall_time: 1m}", "safe"),
            ("", "{calls: 3}", "safe"),
            ("{calls: 3}", "{calls: 4}", &widened("the run", "calls: 3", "calls: 4")),
            ("{calls: 3}", "", &widened("the run", "calls: 3", "calls: no limit")),
            (
                "{wall_time: 1m}",
                "{calls: 1}",
                &widened("the run", "wall_time: 1m", "wall_time: no limit"),
            ),
            ("state {calls: 1}", "state {calls: 2}", &widened("state `a`", "calls: 1", "calls: 2")),
            ("state {calls: 2}", "state {calls: 1}", "safe"),
        ],
    );
}
