//! States, transitions, history, timers, policies.

use expect_test::expect;

use super::check;

#[test]
fn inner_beats_outer_and_exact_beats_prefix_beats_any() {
    check(
        r#"
initial: a
events: {x.y: {}, x.z: {}, w: {}}
states:
  a:
    initial: b
    on: {x.y: outer}
    states:
      b: {on: {"*": any, x.*: prefix, x.y: exact}}
      exact: {on: {x.y: b}}
      prefix: {on: {w: b}}
      any: {}
  outer: {type: final}
"#,
        "send x.y {}\nsend x.y {}\nsend x.z {}\nsend w {}\nsend w {}\nsend x.y {}",
        expect![[r#"
            > start
              - -> a.b
            > send x.y {}
              x.y -> a.exact
            > send x.y {}
              x.y -> a.b
            > send x.z {}
              x.z -> a.prefix
            > send w {}
              w -> a.b
            > send w {}
              w -> a.any
            > send x.y {}
              x.y -> outer
              finished completed null
        "#]],
    );
}

#[test]
fn deep_and_shallow_history_return_where_it_was_left() {
    check(
        r#"
initial: p
events: {go: {}, out: {}, shallow: {}, deep: {}}
states:
  p:
    initial: q
    on: {out: off}
    states:
      q:
        initial: one
        states: {one: {on: {go: two}}, two: {}}
      s: {type: history, target: q}
      d: {type: history, history: deep, target: q}
  off: {on: {shallow: p.s, deep: p.d}}
"#,
        "send go {}\nsend out {}\nsend deep {}\nsend out {}\nsend shallow {}",
        expect![[r#"
            > start
              - -> p.q.one
            > send go {}
              go -> p.q.two
            > send out {}
              out -> off
            > send deep {}
              deep -> p.q.two
            > send out {}
              out -> off
            > send shallow {}
              shallow -> p.q.one
        "#]],
    );
}

#[test]
fn parallel_regions_move_together_and_finish_together() {
    check(
        r#"
initial: p
events: {e: {}, f: {}}
states:
  p:
    type: parallel
    onDone: end
    states:
      a: {initial: a1, states: {a1: {on: {e: a2}}, a2: {type: final}}}
      b: {initial: b1, states: {b1: {on: {e: b2}}, b2: {on: {f: b3}}, b3: {type: final}}}
  end: {type: final, output: {ok: true}}
"#,
        "send e {}\nsend f {}",
        expect![[r#"
            > start
              - -> p.a.a1 p.b.b1
            > send e {}
              e -> p.a.a2 p.b.b2
            > send f {}
              f -> p.a.a2 p.b.b3
              done.state.p -> end
              finished completed {"ok":true}
        "#]],
    );
}

#[test]
fn self_transitions_restart_timers_and_targetless_ones_do_not() {
    check(
        r#"
initial: a
data: {initial: {n: 0}}
events: {again: {}, touch: {}}
states:
  a:
    after: {10s: b}
    on:
      again: a
      touch: {actions: [{assign: {n: "${data.n + 1}"}}]}
  b: {type: final, output: "${data.n}"}
"#,
        "+6s\nsend again {}\n+6s\nsend touch {}\n+6s",
        expect![[r#"
            > start
              - -> a
            > send again {}
              again -> a
            > send touch {}
              touch -> a
              {"op":"replace","path":"/n","value":1}
            > at 16s
              after.a -> b
              finished completed 1
        "#]],
    );
}

#[test]
fn delayed_raise_survives_the_state_and_can_be_cancelled() {
    check(
        r#"
initial: a
events: {tick: {source: internal}, go: {}, stop: {}}
states:
  a: {entry: [{raise: {event: tick, delay: 5s, id: t}}, {raise: {event: tick, delay: 9s}}], on: {go: b}}
  b: {on: {tick: c, stop: {actions: [{cancel: t}]}}}
  c: {type: final}
"#,
        "send go {}\nsend stop {}\n+6s\n+6s",
        expect![[r#"
            > start
              - -> a
            > send go {}
              go -> b
            > send stop {}
              stop -> b
            > at 9s
              tick -> c
              finished completed null
        "#]],
    );
}

#[test]
fn payloads_name_no_secrets() {
    check(
        "initial: a\nevents: {go: {}}\nstates: {a: {on: {go: b}}, b: {}}",
        r#"send go {"deep": [{"$secret": "STRIPE"}]}"#,
        expect![[r#"
            > start
              - -> a
            > send go {"deep": [{"$secret": "STRIPE"}]}
              refused event_payload_invalid: the event payload holds an object with the reserved key `$secret`; only a workflow names secrets
        "#]],
    );
}

#[test]
fn undeclared_rejected_ignored_and_deferred_events_follow_the_policy() {
    check(
        r#"
initial: a
events: {go: {}, later: {}, n: {schema: {type: object, required: [n]}}}
states:
  a: {unhandled: defer, on: {go: b, n: a}}
  b: {on: {later: c}}
  c: {unhandled: ignore}
"#,
        "send nope {}\nsend n {}\nsend later {}\nsend go {}\nsend go {}\nsend done.x {}",
        expect![[r#"
            > start
              - -> a
            > send nope {}
              refused unknown_event: event `nope` is not declared in workflow `Test`; declared are: go, later, n
            > send n {}
              refused event_payload_invalid: the payload of `n` does not fit its schema: /: "n" is a required property
            > send later {}
              deferred later
            > send go {}
              go -> b
              recalled later
              later -> c
            > send go {}
              ignored go
            > send done.x {}
              refused unknown_event: event `done.x` is reserved for the engine in workflow `Test`; declared are: go, later, n
        "#]],
    );
}

#[test]
fn an_event_without_payload_has_an_empty_one_where_its_schema_wants_an_object() {
    check(
        r#"
initial: a
events:
  go: {schema: {type: object, properties: {by: {type: string}}}}
  n: {schema: {type: object, required: [n]}}
  free: {}
  none: {schema: {type: "null"}}
data: {initial: {got: ""}}
states:
  a:
    on:
      "*": {actions: [{assign: {got: "${json_encode(event.data)}"}}]}
"#,
        "send go null\nsend n null\nsend free null\nsend none null",
        expect![[r#"
            > start
              - -> a
            > send go null
              go -> a
              {"op":"replace","path":"/got","value":"{}"}
            > send n null
              refused event_payload_invalid: the payload of `n` does not fit its schema: /: "n" is a required property
            > send free null
              free -> a
              {"op":"replace","path":"/got","value":"null"}
            > send none null
              none -> a
              {"op":"replace","path":"/got","value":"null"}
        "#]],
    );
}

#[test]
fn a_guard_error_counts_as_false_and_raises_an_error_event_once() {
    check(
        r#"
initial: a
events: {go: {}}
states:
  a: {on: {go: [{target: b, guard: data.missing > 1}, {target: c}]}}
  b: {}
  c: {onError: d}
  d: {}
"#,
        "send go {}",
        expect![[r#"
            > start
              - -> a
            > send go {}
              warning expression_error: no such key `missing` in `data`
              go -> c
              finished failed null
        "#]],
    );
}

#[test]
fn a_state_left_and_entered_at_once_remembers_where_it_was() {
    check(
        r#"
initial: p
events: {go: {}, again: {}}
states:
  p:
    initial: last
    on: {again: {target: p, reenter: true}}
    states:
      last: {type: history, target: one}
      one: {on: {go: two}}
      two: {}
"#,
        "send go\nsend again",
        expect![[r#"
            > start
              - -> p.one
            > send go
              go -> p.two
            > send again
              again -> p.two
        "#]],
    );
}

/// The history changes its mind while the parallel state is left, from `r` to `r.a`; that must not
/// change what is left and entered.
#[test]
fn a_history_of_what_is_left_enters_all_of_it_again() {
    check(
        r#"
initial: p
events: {again: {}}
states:
  p:
    type: parallel
    entry: [{log: {message: into p}}]
    states:
      r:
        initial: a
        on: {again: '#p.h'}
        states: {a: {}, b: {}}
      h: {type: history, history: deep, target: r}
"#,
        "send again {}",
        expect![[r#"
            > start
              - -> p.r.a
              log info into p
            > send again {}
              again -> p.r.a
              log info into p
        "#]],
    );
}

/// A state that targets itself and stays is left alone, and so are the regions beside it.
#[test]
fn a_state_that_stays_enters_nothing_beside_it() {
    check(
        r#"
initial: p
events: {stay: {}, go: {}}
states:
  p:
    type: parallel
    states:
      r: {on: {stay: {target: r, reenter: false}}}
      q:
        initial: a
        states: {a: {on: {go: b}}, b: {}}
"#,
        "send go\nsend stay",
        expect![[r#"
            > start
              - -> p.r p.q.a
            > send go
              go -> p.r p.q.b
            > send stay
              stay -> p.r p.q.b
        "#]],
    );
}

/// It would be entered again without having been left, beside states that exclude it.
#[test]
fn a_state_that_stays_does_not_outlive_what_its_neighbour_leaves() {
    check(
        r#"
initial: p
events: {go: {}}
states:
  p:
    type: parallel
    states:
      q: {on: {go: '#away'}}
      r: {on: {go: {target: r, reenter: false, actions: [{log: {message: stays}}]}}}
  away: {}
"#,
        "send go",
        expect![[r#"
            > start
              - -> p.q p.r
            > send go
              go -> away
              log info stays
        "#]],
    );
}
