//! `upgrade`: instances that run go on with another version, or say why not.

use expect_test::expect;

use crate::cli::World;

const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
initial: new
events: {pay: {}, ship: {}}
data: {initial: {amount: 5}}
states:
  new: {on: {pay: paying}}
  paying: {on: {ship: sent}}
  sent: {type: final, output: "${data}"}
"#;

/// One instance waits in `new`, one in `paying`.
fn two_orders(change: impl Fn(&str) -> String) -> World {
    let next = change(&ORDER.replace("1.0.0", "2.0.0"));
    let world = World::new().file("one.yaml", ORDER).file("two.yaml", &next);
    world.run(&["run", "one.yaml", "--data", "d"]);
    world.run(&["send", "0", "pay", "--data", "d"]);
    world.run(&["run", "one.yaml", "--input", r#"{"other": 1}"#, "--data", "d"]);
    world
}

/// One instance waits in `paying`.
fn one_order(change: impl Fn(&str) -> String) -> World {
    let next = change(&ORDER.replace("1.0.0", "2.0.0"));
    let world = World::new().file("one.yaml", ORDER).file("two.yaml", &next);
    world.run(&["run", "one.yaml", "--data", "d"]);
    world.run(&["send", "0", "pay", "--data", "d"]);
    world
}

#[test]
fn what_would_happen_is_told_by_class_and_state() {
    let world = two_orders(|it| it.replace("paying", "payment"));
    world.check(
        "upgrade --all two.yaml --dry-run --data d",
        expect![[r#"
            exit 1
            Order 2.0.0: 1 safe, 1 in need of mapping, 0 blocked, 0 current
              1 needs mapping: 1.0.0 in `paying`
                  state `paying` has no counterpart (perhaps `payment`)
              1 safe: 1.0.0 in `new`
        "#]],
    );
    world.check(
        "upgrade --all two.yaml --data d",
        expect![[r#"
            exit 1
            Order 2.0.0: 1 safe, 1 in need of mapping, 0 blocked, 0 current
              1 needs mapping: 1.0.0 in `paying`
                  state `paying` has no counterpart (perhaps `payment`)
              1 upgraded: 1.0.0 in `new`
        "#]],
    );
    world.check("upgrade --all two.yaml --data d --dry-run --json", expect![[r#"
        exit 1
        {"counts":{"blocked":0,"current":1,"needs_mapping":1,"safe":0},"dry_run":true,"hash":"HASH","instances":[{"class":"needs_mapping","divergence":null,"gaps":[{"name":"paying","suggestion":"payment","what":"state"}],"id":"ID","reasons":["state `paying` has no counterpart (perhaps `payment`)"],"state":"paying","upgraded":false,"version":"1.0.0"},{"class":"current","divergence":null,"id":"ID","reasons":[],"state":"new","upgraded":false,"version":"2.0.0"}],"version":"2.0.0","workflow":"Order"}
    "#]]);
}

#[test]
fn an_upgraded_instance_goes_on_and_its_history_replays() {
    let migration = "\nmigrations: [{from: <2.0.0, states: {paying: payment}, data: {total: \"${data.amount * 2}\"}}]";
    let world = one_order(|it| it.replace("paying", "payment") + migration);
    world.check(
        "upgrade 0 two.yaml --data d",
        expect![[r#"
            exit 0
            Order 2.0.0: 1 safe, 0 in need of mapping, 0 blocked, 0 current
              1 upgraded: 1.0.0 in `paying`
        "#]],
    );
    world.check(
        "upgrade 0 two.yaml --data d",
        expect![[r#"
            exit 0
            Order 2.0.0: 0 safe, 0 in need of mapping, 0 blocked, 1 current
              1 current: 2.0.0 in `payment`
        "#]],
    );
    world.check(
        "send 0 ship --data d",
        expect![[r#"
        exit 0
        event `ship` taken: ID is completed in `sent` at record 8
    "#]],
    );
    world.check(
        "logs 0 --data d",
        expect![[r#"
        exit 0
        T  ● Order 1.0.0
        T  → new
        T  ⇢ event pay
        T  new → paying  on pay
        T  ✎ goes on with version 2.0.0 (was 1.0.0)
        T  ⇢ event ship
        T  payment → sent  on ship
        T  ■ completed
    "#]],
    );
    world.check(
        "replay 0 --data d",
        expect![[r#"
        exit 0
        instance  ID
        record    8
        status    completed
        state     sent
        data      {"total":10}
        8 records, 4 steps: byte-identical
    "#]],
    );
    world.check(
        "upgrade --rollback 0 --data d",
        expect![[r#"
        exit 1
        error: instance `ID` has ended as completed; it takes nothing more (invalid_state)
    "#]],
    );
}

#[test]
fn an_upgrade_is_taken_back() {
    let world = one_order(|it| it.replace("paying: {", "paying: {title: Pays, "));
    world.check(
        "upgrade 0 two.yaml --data d",
        expect![[r#"
            exit 0
            Order 2.0.0: 1 safe, 0 in need of mapping, 0 blocked, 0 current
              1 upgraded: 1.0.0 in `paying`
        "#]],
    );
    world.check(
        "upgrade --rollback 0 --data d",
        expect![[r#"
        exit 0
        taken back: ID is running in `paying` at record 6
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check("upgrade --rollback 0 --data d", expect![[r#"
        exit 1
        error: there is no upgrade to take back: none happened, a transition followed, its data changed, or it gave up timers or effects (invalid_state)
    "#]]);
    world.check(
        "replay 0 --data d",
        expect![[r#"
        exit 0
        instance  ID
        record    6
        status    running
        state     paying
        data      {"amount":5}
        6 records, 4 steps: byte-identical
    "#]],
    );
}

#[test]
fn wrong_words_are_usage() {
    let world = one_order(|it| it.to_string());
    world.check("upgrade --all 0 two.yaml --data d", expect![[r#"
        exit 2
        error: name an instance and a file, `--all` and a file, or `--rollback` and an instance (usage)
    "#]]);
    world.check("upgrade two.yaml --data d", expect![[r#"
        exit 2
        error: name an instance and a file, `--all` and a file, or `--rollback` and an instance (usage)
    "#]]);
    world.check(
        "upgrade nobody two.yaml --data d",
        expect![[r#"
        exit 1
        error: no instance has id `nobody`; `traaviis ps --all` lists them (not_found)
    "#]],
    );
}

#[test]
fn two_instances_stand_side_by_side() {
    let world = World::new().file("one.yaml", ORDER);
    world.run(&["run", "one.yaml", "--event", "pay", "--event", "ship", "--data", "d"]);
    world.run(&["run", "one.yaml", "--new", "--event", "pay", "--data", "d"]);
    let listed = world.run(&["ps", "--all", "--json", "--data", "d"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = |at: usize| listed["instances"][at]["id"].as_str().unwrap().to_string();
    let shown = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        world.shown(&world.run(&arguments))
    };
    let (a, b) = (id(0), id(1));
    let same = shown(&format!("compare {a} {a} --data d"));
    assert!(same.starts_with("exit 0"), "{same}");
    let text = shown(&format!("compare {a} {b} --data d"));
    let marked: Vec<&str> =
        text.lines().filter(|it| it.starts_with('*') && !it.contains("took")).collect();
    expect![[r#"
        *  path 3       ship -> sent
        *  status       completed                             running
        *  output       {"amount":5}                          null"#]]
    .assert_eq(&marked.join("\n"));
    assert!(text.starts_with("exit 1"), "{text}");
}

/// What the example promises.
#[test]
fn the_example_changes_while_it_waits() {
    let world = World::new()
        .file("order-1.yaml", include_str!("../../../../examples/changing-order/order-1.yaml"))
        .file("order-2.yaml", include_str!("../../../../examples/changing-order/order-2.yaml"));
    world.check(
        "validate --strict order-1.yaml order-2.yaml",
        expect![[r#"
        exit 0
        order-1.yaml: PatientOrder 1.0.0 is valid (4 states, 2 events, 0 effects; hash HASH)
        order-2.yaml: PatientOrder 2.0.0 is valid (5 states, 2 events, 0 effects; hash HASH)
    "#]],
    );
    world.check(
        "test order-1.yaml order-2.yaml",
        expect![[r#"
        exit 0
        order-1.yaml: PatientOrder 1.0.0
          ✓ paid and shipped
          ✓ nobody pays
          2 passed, 0 failed; transitions 3 of 3 (100 %), guard outcomes 0 of 0 (100 %)
        order-2.yaml: PatientOrder 2.0.0
          ✓ paid and shipped
          ✓ nobody pays
          2 passed, 0 failed; transitions 3 of 3 (100 %), guard outcomes 0 of 0 (100 %)
        4 passed, 0 failed
    "#]],
    );
    world.check("diff order-1.yaml order-2.yaml", expect![[r#"
        exit 1
        PatientOrder 1.0.0 -> PatientOrder 2.0.0
        workflow
          + migrations: [{"data":{"cents":"${data.amount * 100}"},"from":"<2.0.0","states":{"packing":"warehouse.packing"},"...
        data
          - data schema properties amount: {"type":"integer"}
          + data schema properties cents: {"type":"integer"}
          ~ data schema required 0: amount => cents
          - data initial amount: ${input.amount}
          + data initial cents: ${input.amount * 100}
        states
          ~ waiting: was `unpaid`
          + warehouse
          + warehouse.packing
          - packing
        transitions
          ~ waiting on paid: -> packing => -> warehouse
        timers
          - waiting after 30d: -> expired
          + waiting after 45d: -> expired
    "#]]);
    world.run(&[
        "run",
        "order-1.yaml",
        "--input",
        r#"{"amount": 5}"#,
        "--timeout",
        "200ms",
        "--data",
        "d",
    ]);
    world.check(
        "replay 0 --against order-2.yaml --data d",
        expect![[r#"
        exit 0
        ID: version 2.0.0 does the same, 3 records
    "#]],
    );
    world.check(
        "upgrade --all order-2.yaml --data d --dry-run",
        expect![[r#"
            exit 0
            PatientOrder 2.0.0: 1 safe, 0 in need of mapping, 0 blocked, 0 current
              1 safe: 1.0.0 in `unpaid`
        "#]],
    );
    world.check(
        "upgrade --all order-2.yaml --data d",
        expect![[r#"
            exit 0
            PatientOrder 2.0.0: 1 safe, 0 in need of mapping, 0 blocked, 0 current
              1 upgraded: 1.0.0 in `unpaid`
        "#]],
    );
    world.check(
        "send 0 paid --data d",
        expect![[r#"
        exit 0
        event `paid` taken: ID is running in `warehouse.packing` at record 9
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        "logs 0 --data d",
        expect![[r#"
        exit 0
        T  ● PatientOrder 1.0.0
        T  → unpaid
        T  ⏲ 30d0h at most in unpaid
        T  ✎ goes on with version 2.0.0 (was 1.0.0)
        T  ⏲ 45d0h at most in waiting
        T  ⇢ event paid
        T  waiting → warehouse.packing  on paid
    "#]],
    );
}
