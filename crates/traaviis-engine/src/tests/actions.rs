//! Actions that hold actions, names that are computed, families of events, actions of defaults.

use expect_test::expect;

use super::check;

#[test]
fn the_first_true_branch_is_taken_and_a_broken_condition_counts_as_false() {
    check(
        r#"
initial: a
data: {initial: {n: 0}}
events: {go: {}}
errors: {unhandled: ignore}
states:
  a:
    on:
      go:
        actions:
          - assign: {n: "${data.n + 1}"}
          - choose:
              - {when: data.n == 1, actions: [{log: {message: one}}]}
              - {when: data.absent.field, actions: [{log: {message: never}}]}
              - {when: data.n == 2, actions: [{log: {message: two}}, {log: {message: again two}}]}
              - {actions: [{log: {message: more}}]}
"#,
        "send go\nsend go\nsend go",
        expect![[r#"
            > start
              - -> a
            > send go
              go -> a
              {"op":"replace","path":"/n","value":1}
              log info one
            > send go
              go -> a
              {"op":"replace","path":"/n","value":2}
              warning expression_error: no such key `absent` in `data`
              log info two
              log info again two
            > send go
              go -> a
              {"op":"replace","path":"/n","value":3}
              warning expression_error: no such key `absent` in `data`
              log info more
        "#]],
    );
}

#[test]
fn for_each_reads_the_list_as_it_was_and_items_of_the_nearest_loop() {
    check(
        r#"
initial: a
data: {initial: {rows: [[1, 2], [3]], seen: []}}
states:
  a:
    entry:
      - for_each:
          in: "${data.rows}"
          actions:
            - assign: {rows: []}
            - for_each:
                in: "${item}"
                actions: [{when: item != 2, assign: {seen: "${data.seen + [[index, item]]}"}}]
            - assign: {seen: "${data.seen + [index]}"}
    always: {target: b, guard: size(data.seen) == 4}
  b: {type: final, output: "${data.seen}"}
"#,
        "",
        expect![[r#"
            > start
              - -> a
              {"op":"replace","path":"/rows","value":[]}
              {"op":"replace","path":"/seen","value":[[0,1]]}
              {"op":"replace","path":"/seen","value":[[0,1],0]}
              {"op":"replace","path":"/rows","value":[]}
              {"op":"replace","path":"/seen","value":[[0,1],0,[0,3]]}
              {"op":"replace","path":"/seen","value":[[0,1],0,[0,3],1]}
              - -> b
              finished completed [[0,1],0,[0,3],1]
        "#]],
    );
}

#[test]
fn a_failed_action_ends_its_block_and_the_loops_in_it() {
    check(
        r#"
initial: a
data: {initial: {n: 0}}
states:
  a:
    entry:
      - block:
          - for_each:
              in: "${[1, 2, 3]}"
              actions: [{assign: {n: "${data.n + 1}"}}, {assign: {x: "${data.absent.field}"}}]
          - assign: {n: 100}
      - assign: {n: "${data.n + 10}"}
      - for_each: {in: "${data.n}", actions: [{log: {message: never}}]}
      - assign: {n: 100}
    on: {error.*: [{target: b, guard: data.n == 11}]}
  b: {type: final}
"#,
        "",
        expect![[r#"
            > start
              - -> a
              {"op":"replace","path":"/n","value":1}
              warning expression_error: no such key `absent` in `data`
              {"op":"replace","path":"/n","value":11}
              warning expression_error: `for_each` needs a list, this is int
              error.expression -> b
              finished completed null
        "#]],
    );
}

#[test]
fn loops_have_limits() {
    check(
        r#"
initial: a
events: {long: {}, wide: {}}
states:
  a:
    on:
      long: {actions: [{for_each: {in: "${range(1001)}", actions: [{log: {message: x}}]}}]}
      wide:
        actions:
          - for_each:
              in: "${range(1000)}"
              actions: [{for_each: {in: "${range(20)}", actions: [{when: "false", merge: {}}]}}]
    onError: b
  b: {}
"#,
        "send wide\nsend long",
        expect![[r#"
            > start
              - -> a
            > send wide
              refused macrostep_overrun: `for_each` would run more than 10000 actions in one step
            > send long
              long -> a
              warning expression_error: `for_each` takes at most 1000 items, this list has 1001
              error.expression -> b
        "#]],
    );
}

#[test]
fn computed_names_are_checked_when_they_are_raised() {
    check(
        r#"
initial: a
events: {"told.*": {source: internal}, say: {}}
errors: {unhandled: ignore}
states:
  a:
    on:
      say: {actions: [{raise: {event: "${event.data}", id: x}}]}
      told.you: b
      error.expression: {actions: [{log: {message: "${event.id}: ${event.data.message}"}}]}
  b: {type: final}
"#,
        r#"send say "no name"
           send say 7
           send say "done.state.a"
           send say "untold"
           send say "told"
           send say "told.you""#,
        expect![[r#"
            > start
              - -> a
            > send say "no name"
              say -> a
              warning expression_error: cannot raise `no name`: it is not the name of a declared event
              error.expression -> a
              log info x: cannot raise `no name`: it is not the name of a declared event
            > send say 7
              say -> a
              warning expression_error: cannot raise `int`: it is not the name of a declared event
              error.expression -> a
              log info x: cannot raise `int`: it is not the name of a declared event
            > send say "done.state.a"
              say -> a
              warning expression_error: cannot raise `done.state.a`: it is not the name of a declared event
              error.expression -> a
              log info x: cannot raise `done.state.a`: it is not the name of a declared event
            > send say "untold"
              say -> a
              warning expression_error: cannot raise `untold`: it is not the name of a declared event
              error.expression -> a
              log info x: cannot raise `untold`: it is not the name of a declared event
            > send say "told"
              say -> a
            > send say "told.you"
              say -> a
              told.you -> b
              finished completed null
        "#]],
    );
}

#[test]
fn delayed_raises_carry_their_id_and_are_cancelled_by_it() {
    check(
        r#"
initial: a
data: {initial: {ids: [p, q]}}
events: {late: {source: internal}}
states:
  a:
    entry:
      - for_each: {in: "${data.ids}", actions: [{raise: {event: late, delay: 1s, id: "${item}"}}]}
      - cancel: "${data.ids[0]}"
    on: {late: {target: b, guard: event.id == "q" && event.source == "timer"}}
  b: {type: final}
"#,
        "+1s",
        expect![[r#"
            > start
              - -> a
            > at 1s
              late -> b
              finished completed null
        "#]],
    );
}

#[test]
fn a_family_declares_its_name_and_all_below() {
    check(
        r#"
initial: a
events:
  order: {source: internal}
  "order.*": {schema: {type: object}, merge: true}
  "order.line.*": {}
states:
  a:
    on:
      "order.line.*": {actions: [{log: {message: "line ${event.name}"}}]}
      "order.*": {actions: [{log: {message: "order ${event.name} ${data.n}"}}]}
"#,
        r#"send order {}
           send order.paid {"n": 1}
           send order.paid 7
           send order.line 7
           send order.line.added 7
           send orders {}"#,
        expect![[r#"
            > start
              - -> a
            > send order {}
              refused unknown_event: event `order` is not declared in workflow `Test`; declared are: order.*, order.line.*
            > send order.paid {"n": 1}
              {"op":"add","path":"/n","value":1}
              order.paid -> a
              log info order order.paid 1
            > send order.paid 7
              refused event_payload_invalid: the payload of `order.paid` does not fit its schema: /: 7 is not of type "object"
            > send order.line 7
              order.line -> a
              log info line order.line
            > send order.line.added 7
              order.line.added -> a
              log info line order.line.added
            > send orders {}
              refused unknown_event: event `orders` is not declared in workflow `Test`; declared are: order.*, order.line.*
        "#]],
    );
    check(
        r#"
initial: a
events: {"*": {}}
states: {a: {on: {go.*: b}}, b: {on: {"*": a}}}
"#,
        "send back\nsend go\nsend done.state.a\nsend no-name.\nsend any",
        expect![[r#"
            > start
              - -> a
            > send back
              refused event_not_accepted: state `a` does not accept event `back` now; accepted are: go.*
            > send go
              go -> b
            > send done.state.a
              refused unknown_event: event `done.state.a` is reserved for the engine in workflow `Test`; declared are: *
            > send no-name.
              refused unknown_event: event `no-name.` is not declared in workflow `Test`; declared are: *
            > send any
              any -> a
        "#]],
    );
}

#[test]
fn actions_of_defaults_run_only_where_defaults_are_followed() {
    check(
        r#"
initial: off
events: {plain: {}, named: {}, back: {}, out: {}}
states:
  off: {on: {plain: on, named: on.two, back: on.last}}
  on:
    initial: {target: one, actions: [{log: {message: default}}]}
    entry: [{log: {message: enter on}}]
    on: {out: off, back: {target: .last, reenter: true}}
    states:
      one: {entry: [{log: {message: enter one}}], on: {named: two}}
      two: {entry: [{log: {message: enter two}}]}
      last: {type: history, target: two, actions: [{log: {message: nothing remembered}}]}
"#,
        "send back\nsend out\nsend back\nsend out\nsend plain\nsend out\nsend named",
        expect![[r#"
            > start
              - -> off
            > send back
              back -> on.two
              log info enter on
              log info nothing remembered
              log info enter two
            > send out
              out -> off
            > send back
              back -> on.two
              log info enter on
              log info enter two
            > send out
              out -> off
            > send plain
              plain -> on.one
              log info enter on
              log info default
              log info enter one
            > send out
              out -> off
            > send named
              named -> on.two
              log info enter on
              log info enter two
        "#]],
    );
}

#[test]
fn a_computed_payload_must_fit_its_event() {
    let body = r#"
initial: a
data: {initial: {n: 0}}
events: {go: {}, later: {}, told: {source: internal, schema: {type: object, properties: {n: {type: integer}}}}}
states:
  a:
    on:
      go: {actions: [{raise: {event: told, data: {n: "${event.data}"}}}, {log: {message: after}}]}
      later: {actions: [{raise: {event: told, delay: 1s, data: {n: "${event.data}"}}}]}
      told: {actions: [{log: {message: "told ${event.data.n}"}}]}
"#;
    check(
        body,
        "send go 1\nsend go \"x\"",
        expect![[r#"
        > start
          - -> a
        > send go 1
          go -> a
          log info after
          told -> a
          log info told 1
        > send go "x"
          go -> a
          warning event_payload_invalid: cannot raise `told`: its payload does not fit its schema: /n: "x" is not of type "integer"
          finished failed null
    "#]],
    );
    let taken = body.replace("      told: {", "      error.expression: {actions: [{log: {message: \"${event.data.code}\"}}]}\n      told: {");
    check(
        &taken,
        "send later \"x\"",
        expect![[r#"
        > start
          - -> a
        > send later "x"
          later -> a
          warning event_payload_invalid: cannot raise `told`: its payload does not fit its schema: /n: "x" is not of type "integer"
          error.expression -> a
          log info event_payload_invalid
    "#]],
    );
}
