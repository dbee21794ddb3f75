//! What an operator does by hand: pause, resume, edit, move, retry, and the lists that go with it.

use expect_test::expect;

use crate::cli::World;

const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
initial: open
data:
  schema: {type: object, properties: {amount: {type: integer}}}
  initial: {amount: 1}
events: {pay: {}}
states:
  open:
    on: {pay: paid}
    always: [{target: big, guard: "data.amount > 100"}]
  big: {on: {pay: paid}}
  paid: {type: final, output: "${data.amount}"}
"#;

fn waiting() -> World {
    let world = World::new().file("order.yaml", ORDER);
    assert_eq!(world.run(&["run", "order.yaml", "--data", "d"]).status.code(), Some(1));
    world
}

#[test]
fn a_paused_instance_takes_no_event_until_it_is_resumed() {
    let world = waiting();
    world.check(
        "pause 0 --reason audit --data d",
        expect![[r#"
            exit 0
            pause asked for: ID is paused in `open` at record 3
            it takes no step until `traaviis resume ID --data d`
        "#]],
    );
    world.check(
        "send 0 pay --data d",
        expect![[r#"
        exit 1
        error: the instance is paused; resume it first (instance_paused)
    "#]],
    );
    world.check(
        "run order.yaml --data d",
        expect![[r#"
            exit 1
            1 warning (W209); see `traaviis validate order.yaml`
            continuing ID from record 3 (state open)
            error: the instance is paused; traaviis resume ID --data d (instance_paused)
        "#]],
    );
    world.check(
        "resume 0 --data d",
        expect![[r#"
        exit 0
        resumed: ID is running in `open` at record 4
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        "send 0 pay --data d",
        expect![[r#"
        exit 0
        event `pay` taken: ID is completed in `paid` at record 7
    "#]],
    );
    world.check(
        "logs 0 --data d",
        expect![[r#"
        exit 0
        T  ● Order 1.0.0
        T  → open
        T  ‖ paused: audit
        T  ‖ goes on
        T  ⇢ event pay
        T  open → paid  on pay
        T  ■ completed
    "#]],
    );
    assert_eq!(world.run(&["replay", "0", "--data", "d"]).status.code(), Some(0));
}

#[test]
fn data_are_edited_with_a_reason_and_must_fit_their_schema() {
    let world = waiting();
    let edit = |patch: &str| {
        world.shown(&world.run(&["edit", "0", patch, "--reason", "wrong price", "--data", "d"]))
    };
    expect![[r#"
        exit 1
        error: after the step the data would not fit their schema: /amount: "much" is not of type "integer" (step_rejected)
    "#]].assert_eq(&edit(r#"[{"op":"replace","path":"/amount","value":"much"}]"#));
    expect![[r#"
        exit 2
        error: the patch cannot be read: unknown variant `copy`, expected one of `add`, `replace`, `remove` at line 1 column 25; write a list of `add`, `replace` (with `path` and `value`) and `remove` (with `path`) (usage)
    "#]].assert_eq(&edit(r#"[{"op":"copy","path":"/amount","from":"/x"}]"#));
    expect![[r#"
        exit 0
        data changed: ID is running in `big` at record 4
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]]
    .assert_eq(&edit(r#"[{"op":"replace","path":"/amount","value":500}]"#));
    world.check(
        "edit 0 [] --data d",
        expect![[r#"
        exit 2
        error: the following required arguments were not provided:
          --reason <REASON>

        Usage: traaviis edit --reason <REASON> --data <DIR> <ID> <FILE|-|JSON>

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn a_paused_instance_is_moved() {
    let world = waiting();
    world.check(
        "move 0 big --reason stuck --data d",
        expect![[r#"
        exit 1
        error: only a paused instance can be moved; pause it first (invalid_state)
    "#]],
    );
    world.check(
        "pause 0 --data d",
        expect![[r#"
            exit 0
            pause asked for: ID is paused in `open` at record 3
            it takes no step until `traaviis resume ID --data d`
        "#]],
    );
    world.check(
        "move 0 nowhere --reason stuck --data d",
        expect![[r#"
        exit 1
        error: workflow `Order` has no state `nowhere` (validation_failed)
    "#]],
    );
    world.check(
        "move 0 big --reason stuck --data d",
        expect![[r#"
            exit 0
            moved: ID is paused in `big` at record 5
            it takes no step until `traaviis resume ID --data d`
        "#]],
    );
}

const PICKY: &str = r#"
traaviis: "1"
name: Picky
version: 1.0.0
initial: waiting
data:
  schema: {type: object, properties: {n: {type: integer}}}
  initial: {n: 0, next: "text"}
states:
  waiting:
    after: {10ms: {target: done, actions: [{assign: {n: "${data.next}"}}]}}
  done: {type: final, output: "${data.n}"}
"#;

#[test]
fn incidents_are_listed_and_tried_again_after_an_edit() {
    let world = World::new().file("picky.yaml", PICKY);
    world.check(
        "incidents --data d",
        expect![[r#"
        exit 3
        error: `d` holds no log; name a data directory (data_directory_absent)
    "#]],
    );
    assert_eq!(world.run(&["run", "picky.yaml", "--data", "d"]).status.code(), Some(1));
    world.check("incidents --data d", expect![[r#"
        exit 0
        ID                                      WORKFLOW  AGE  INCIDENT       AT  WHAT
        ID:4  Picky     T  step_rejected  t3  after the step the data would not fit their schema: /n: "text" is not of type "integer"
        answer one: traaviis resolve ID --retry|--fail|--happened JSON
    "#]]);
    world.check(
        "incidents assign 0:4 mari --as jaan --data d",
        expect![[r#"
            exit 0
            incident given to `mari`: ID is incident in `waiting` at record 5
            no process runs `d`; it goes on with the next `traaviis run FILE --data d`
        "#]],
    );
    world.check(
        "incidents assign 0:5 mari --data d",
        expect![[r#"
            exit 1
            error: instance `ID` has no incident `5`; there are about: `t3` (ID:4) (invalid_state)
        "#]],
    );
    world.check(
        "incidents --assignee kati --data d",
        expect![[r#"
        exit 0
        no incidents in `d`
    "#]],
    );
    world.check("incidents --data d", expect![[r#"
        exit 0
        ID                                      WORKFLOW  AGE  INCIDENT       AT  WHAT                                                                                     ASSIGNEE
        ID:4  Picky     T  step_rejected  t3  after the step the data would not fit their schema: /n: "text" is not of type "integer"  mari
        answer one: traaviis resolve ID --retry|--fail|--happened JSON
    "#]]);
    let json =
        world.shown(&world.run(&["incidents", "--assignee", "mari", "--json", "--data", "d"]));
    assert!(json.contains(r#""assignee":"mari""#) && json.contains(r#""id":"ID:4""#), "{json}");
    world.check(
        "incidents assign 0 --nobody --data d",
        expect![[r#"
        exit 0
        incident given to nobody in particular: ID is incident in `waiting` at record 6
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check("resolve 0:4 --retry --data d", expect![[r#"
        exit 1
        error: after the step the data would not fit their schema: /n: "text" is not of type "integer" (step_rejected)
    "#]]);
    world.check("retry 0 --data d", expect![[r#"
        exit 1
        error: after the step the data would not fit their schema: /n: "text" is not of type "integer" (step_rejected)
    "#]]);
    let patch = r#"[{"op":"replace","path":"/next","value":7}]"#;
    world.run(&["edit", "0", patch, "--reason", "a number", "--data", "d"]);
    world.check(
        "retry 0 --data d",
        expect![[r#"
            exit 0
            tried again: ID is completed in `done` at record 12
        "#]],
    );
    world.check(
        "retry 0 --data d",
        expect![[r#"
            exit 1
            error: instance `ID` has not failed, and has no incident to try again (invalid_state)
        "#]],
    );
}

const PAIR: &str = r#"
traaviis: "1"
name: Pair
version: 1.0.0
initial: both
data:
  schema: {type: object, properties: {n: {type: integer}, m: {type: integer}}}
  initial: {n: 0, m: 0, next: "text"}
states:
  both:
    type: parallel
    onDone: end
    states:
      left:
        initial: a
        states:
          a:
            invoke: [{id: l, effect: {type: delay, duration: 10ms}, onDone: {target: b, actions: [{assign: {n: "${data.next}"}}]}}]
          b: {type: final}
      right:
        initial: c
        states:
          c:
            invoke: [{id: r, effect: {type: delay, duration: 10ms}, onDone: {target: d, actions: [{assign: {m: "${data.next}"}}]}}]
          d: {type: final}
  end: {type: final, output: "${data.n + data.m}"}
"#;

/// Returns the open incidents: id and place, the oldest first.
fn open_incidents(world: &World) -> Vec<(String, String)> {
    let output = world.run(&["incidents", "--json", "--data", "d"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |it: &serde_json::Value, key: &str| it[key].as_str().unwrap().to_string();
    let open = json["incidents"].as_array().unwrap().iter();
    open.map(|it| (text(it, "id"), text(it, "path"))).collect()
}

#[test]
fn one_of_several_incidents_is_answered_by_its_id() {
    let world = World::new().file("pair.yaml", PAIR);
    assert_eq!(world.run(&["run", "pair.yaml", "--data", "d"]).status.code(), Some(1));
    let open = open_incidents(&world);
    let [(left, _), (right, place)] = &open[..] else { panic!("{open:?}") };
    let patch = r#"[{"op":"replace","path":"/next","value":7}]"#;
    assert!(
        world.run(&["edit", "0", patch, "--reason", "a number", "--data", "d"]).status.success()
    );
    world.check("retry 0:999 --data d", expect![[r#"
        exit 1
        error: instance `ID` has no incident `999`; there are about: `t5` (ID:9), `t8` (ID:10) (invalid_state)
    "#]]);
    let output = world.run(&["retry", left, "--data", "d"]);
    assert!(output.status.success(), "{}", world.shown(&output));
    assert_eq!(open_incidents(&world), [(right.clone(), place.clone())]);
    let skip = |id: &str| world.run(&["skip", id, place, "--reason", "enough", "--data", "d"]);
    let closed = world.shown(&skip(left));
    assert!(closed.starts_with("exit 1") && closed.contains("has no incident about"), "{closed}");
    let shown = world.shown(&skip(right));
    assert!(shown.contains("completed in `end`"), "{shown}");
}
