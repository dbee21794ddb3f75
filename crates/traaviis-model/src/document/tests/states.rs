//! Findings of states: what belongs to each type, transitions, timers, actions and names.

use super::{HEAD, check_effect, check_rest, check_state, good};

#[test]
fn states_have_only_what_their_type_takes() {
    check_state(
        "{type: final, on: {a: s}}",
        "5:27: E104 `on` does not belong to a final state (at /states/s/on); a final state ends its parent; leave it out",
    );
    check_state(
        "{status: failed}",
        "5:14: E101 `status` does not belong to a state without children (at /states/s/status); add `type: final`",
    );
    check_state(
        "{type: atomic}",
        "5:20: E101 `type` must not be `atomic` (at /states/s/type); leave `type` out; it follows from `states`",
    );
    check_state(
        "{type: finl}",
        "5:20: E101 `type` must be one of `parallel`, `final`, `history`, not `finl` (at /states/s/type); did you mean `final`?",
    );
    check_state(
        "{type: parallel, initial: a}",
        "5:10: E101 `states` is missing in parallel state `s` (at /states/s)\n5:30: E101 `initial` does not belong to a parallel state (at /states/s/initial)",
    );
    check_state(
        "{type: history}",
        "5:10: E101 `target` is missing in history state `s` (at /states/s)",
    );
    check_state(
        "{states: {a: {}}}",
        "5:10: E103 `initial` is missing in state `s` (at /states/s); for example `initial: a`",
    );
    check_state(
        "{on_done: s}",
        "5:14: E101 unknown key `on_done` in a state (at /states/s/on_done); did you mean `onDone`?",
    );
    check_state(
        "7",
        "5:13: E101 `s` must be a state written as a map, found a number (at /states/s)",
    );
    check_rest(
        "initial: s\nstates: {s: {}, 2nd: {}}",
        "5:17: E109 `2nd` is not a name for a state (at /states/2nd); use a letter or `_`, then letters, digits, `_` and `-`",
    );
}

#[test]
fn candidates_and_timers_have_their_forms() {
    check_state(
        "{on: {a: {tagret: s}}}",
        "5:23: E101 unknown key `tagret` in a candidate (at /states/s/on/a/tagret); did you mean `target`?",
    );
    check_state(
        "{on: {a: }, always: [5]}",
        "5:19: E101 `a` must be a state name or a candidate such as `{target: STATE}`, found nothing (at /states/s/on/a)\n5:34: E101 item 0 of `always` must be a state name or a candidate such as `{target: STATE}`, found a number (at /states/s/always/0)",
    );
    check_state(
        "{on: {a: {target: [], guard: 5}}}",
        "5:23: E101 `target` is empty (at /states/s/on/a/target); leave `target` out for actions only\n5:42: E101 `guard` must be text, found a number (at /states/s/on/a/guard); write it in quotes: \"5\"",
    );
    check_state(
        "{after: [{target: s}]}",
        "5:22: E101 `delay` is missing in the timer (at /states/s/after/0); for example `{delay: 30s, target: STATE}`",
    );
    check_state(
        "{after: 5s}",
        "5:21: E101 `after` must be a map of delays or a list of candidates with `delay`, found text (at /states/s/after)",
    );
    check_state(
        "{on: {a: [{guard: true, target: [s, .t]}, {actions: []}], b.*: s, '*': s, error.*: s}, after: {5: s, 5s: {}}}",
        "",
    );
}

#[test]
fn actions_have_one_kind() {
    check_state(
        "{entry: [{assign: {a: 1}, log: {message: x}}]}",
        "5:22: E101 an action has one of `assign`, `merge`, `raise`, `cancel`, `log`, `emit`, \
         `choose`, `for_each`, `block` (at /states/s/entry/0); write one map for each action",
    );
    check_state(
        "{entry: {log: {message: x}}}",
        "5:14: E101 `entry` must be a list, found a map (at /states/s/entry); put the map into brackets: `[{...}]`",
    );
    check_state(
        "{entry: [{asign: {a: 1}}]}",
        "5:23: E101 unknown key `asign` in an action (at /states/s/entry/0/asign); did you mean `assign`?",
    );
    check_state(
        "{entry: [{assign: {a..b: 1}}, {assign: {a: 1, remove: [b]}}]}",
        "5:32: E101 `a..b` is not a path such as `order.items` (at /states/s/entry/0/assign/a..b)\n5:59: E101 `remove` stands beside other keys of `assign` (at /states/s/entry/1/assign/remove); write it as an action of its own: `{assign: {remove: [path]}}`",
    );
    check_state(
        "{entry: [{raise: {event: a b}}, {log: {level: loud}}]}",
        "5:38: E109 `a b` is not a name for an event (at /states/s/entry/0/raise/event); segments joined by dots; in each use a letter or `_`, then letters, digits, `_` and `-`\n5:46: E101 `message` is missing in `log` (at /states/s/entry/1/log)\n5:59: E101 `level` must be one of `debug`, `info`, `warn`, `error`, not `loud` (at /states/s/entry/1/log/level)",
    );
    let definition = good(&format!(
        "{HEAD}initial: s\nstates: {{s: {{entry: [{{assign: {{remove: [a.b]}}}}, {{assign: {{b: 1, a: 2}}, when: true}}]}}}}"
    ));
    let entry = &definition.states[0].entry;
    assert_eq!(entry[0].kind_debug(), "Remove([\"a.b\"])");
    assert_eq!(entry[1].kind_debug(), "Assign([(\"b\", Int(1)), (\"a\", Int(2))])");
    assert_eq!(entry[1].when.as_deref(), Some("true"));
}

#[test]
fn actions_that_hold_actions_have_their_forms() {
    let entry = |actions: &str, expected: &str| {
        check_state(&format!("{{entry: [{actions}]}}"), expected);
    };
    entry("{choose: [{when: a, actions: []}, {actions: [{merge: {}}]}]}", "");
    entry("{for_each: {in: [1], actions: [{block: [{merge: {}}]}]}}", "");
    entry("{raise: {event: '${data.name}', id: '${item}'}}", "");
    entry("{choose: []}", "5:23: E101 `choose` is empty (at /states/s/entry/0/choose)");
    entry(
        "{choose: [{actions: []}, {when: a, actions: []}]}",
        "5:47: E101 a branch without `when` stands before others, which are never taken (at /states/s/entry/0/choose/1); put it at the end",
    );
    entry(
        "{choose: [{when: a, then: []}]}",
        "5:32: E101 `actions` is missing in the branch (at /states/s/entry/0/choose/0)\n\
         5:42: E101 unknown key `then` in a branch of `choose` (at /states/s/entry/0/choose/0/then); did you mean `when`?",
    );
    entry(
        "{for_each: {in: [1], actions: [{assign: {}}]}}",
        "5:54: E101 `assign` is empty (at /states/s/entry/0/for_each/actions/0/assign)",
    );
    entry(
        "{for_each: {actions: [], index: i}}",
        "5:23: E101 `in` is missing in `for_each` (at /states/s/entry/0/for_each)\n\
         5:34: E101 `actions` is empty (at /states/s/entry/0/for_each/actions)\n\
         5:47: E101 unknown key `index` in `for_each` (at /states/s/entry/0/for_each/index); known keys: `in`, `actions`",
    );
    entry("{block: []}", "5:23: E101 `block` is empty (at /states/s/entry/0/block)");
}

#[test]
fn defaults_may_have_actions() {
    let below = "states: {t: {}, h: {type: history, target: t, actions: [{merge: {}}]}}";
    check_state(&format!("{{initial: {{target: t, actions: []}}, {below}}}"), "");
    check_state(
        &format!("{{initial: {{actions: []}}, {below}}}"),
        "5:14: E101 `target` is missing in `initial` of state `s` (at /states/s/initial)",
    );
    check_state(
        &format!("{{initial: {{target: t, to: t}}, {below}}}"),
        "5:35: E101 unknown key `to` in `initial` (at /states/s/initial/to); known keys: `target`, `actions`",
    );
    check_state(
        "{actions: []}",
        "5:14: E101 `actions` does not belong to a state without children (at /states/s/actions)",
    );
    check_rest(
        "initial: {target: s}\nstates: {s: {}}",
        "4:1: E101 `initial` must be text, found a map (at /initial)",
    );
}

#[test]
fn families_of_events_can_be_declared() {
    check_rest("initial: s\nevents: {order.*: {}, '*': {}}\nstates: {s: {}}", "");
    check_rest(
        "initial: s\nevents: {error.*: {}, 'o*': {}}\nstates: {s: {}}",
        "5:10: E109 the event name `error.*` is reserved (at /events/error.*); names starting with \
         `error` belong to the engine; errors of your own are raised without being declared\n\
         5:23: E109 `o*` is not a name for an event (at /events/o*); segments joined by dots; in \
         each use a letter or `_`, then letters, digits, `_` and `-`",
    );
}

#[test]
fn names_of_events_and_ids_are_checked() {
    check_rest(
        "initial: s\nstates: {s: {on: {a..b: s}}}\nevents: {done.x: {}, a b: {}}\nvalidations: [{name: v, check: a, message: m}, {name: v, check: b, message: m}]",
        "5:19: E109 `a..b` is not a name for an event (at /states/s/on/a..b); segments joined by dots; in each use a letter or `_`, then letters, digits, `_` and `-`\n\
         6:10: E109 the event name `done.x` is reserved (at /events/done.x); names starting with `done` belong to the engine\n\
         6:22: E109 `a b` is not a name for an event (at /events/a b); segments joined by dots; in each use a letter or `_`, then letters, digits, `_` and `-`\n\
         7:55: E107 the validation `v` stands twice (at /validations/1/name)",
    );
    check_state(
        "{invoke: [{id: a, effect: {type: value, value: 1}}, {id: a, effect: {type: value, value: 1}}]}",
        "5:70: E107 the invoke id `a` stands twice in this state (at /states/s/invoke/1/id)",
    );
    check_effect(
        "{type: sequence, effects: [{type: value, value: 1, id: a}, {type: value, value: 1, id: a}, {type: value, value: 1, id: a/b}]}",
        "5:128: E107 the effect id `a` stands twice in this tree (at /states/s/invoke/0/effect/effects/1/id)\n5:160: E109 `a/b` is not an id for an effect (at /states/s/invoke/0/effect/effects/2/id); it must not be empty or contain `/`",
    );
    check_effect(
        "{type: saga, steps: [{id: a, action: {type: value, value: 1}}, {id: a, action: {type: value, value: 1}}]}",
        "5:109: E107 the step id `a` stands twice in this saga (at /states/s/invoke/0/effect/steps/1/id)",
    );
}

#[test]
fn what_is_reserved_or_named_twice_is_refused() {
    check_state(
        "{entry: [{raise: {event: done.card}}]}",
        "5:38: E109 `done.card` cannot be raised, the name is reserved (at /states/s/entry/0/raise/event); names starting with `done` belong to the engine",
    );
    check_rest(
        "initial: s\nstates: {s: {id: one}, t: {id: one}}",
        "5:32: E107 the state id `one` stands twice (at /states/t/id)",
    );
    check_state(
        "{invoke: [{id: a, effect: {type: value, value: 1}, onProgress: s}]}",
        "5:64: W190 feature_unavailable: `onProgress` is kept but not applied in this release (at /states/s/invoke/0/onProgress)",
    );
}

trait KindDebug {
    fn kind_debug(&self) -> String;
}

impl KindDebug for crate::definition::Action {
    fn kind_debug(&self) -> String {
        format!("{:?}", self.kind)
    }
}
