//! A stranger's first minutes: a project that runs, and what goes wrong on the way.

use expect_test::{Expect, expect};

use crate::cli::World;

#[test]
fn a_new_project_runs() {
    let world = World::new();
    world.check(
        "init demo-shop",
        expect![[r#"
        exit 0
        written demo-shop/workflow.yaml
        written demo-shop/input.json
        written demo-shop/README.md
        written demo-shop/.gitignore
        next: cd demo-shop && traaviis run workflow.yaml --input input.json --event pay
    "#]],
    );
    world.check(
        "validate --strict demo-shop/workflow.yaml",
        expect![[r#"
        exit 0
        demo-shop/workflow.yaml: DemoShop 0.1.0 is valid (4 states, 2 events, 0 effects; hash HASH)
    "#]],
    );
    world.check(
        "run demo-shop/workflow.yaml --input demo-shop/input.json --event pay",
        expect![[r#"
            exit 0
            T  ● DemoShop 0.1.0 for `A-1`
            T  → waiting
            T  ⏲ 24h00m at most in waiting
            T  ⇢ event pay
            T  waiting → paid  on pay
            T  data paid_at="TIME"
            completed in state paid after T  output {"order_id":"A-1","paid_at":"TIME"}
        "#]],
    );
    world.check(
        "init demo-shop",
        expect![[r#"
        exit 1
        error: `demo-shop/workflow.yaml` is there already; it was not changed (file_exists)
    "#]],
    );
}

/// Runs a command in the project with one mistake planted in its workflow.
fn planted(world: &World, from: &str, to: &str, line: &str, expected: Expect) {
    let file = world.path("demo/workflow.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    assert_eq!(good.matches(from).count(), 1, "`{from}` must stand once");
    std::fs::write(&file, good.replacen(from, to, 1)).unwrap();
    here(world, line, expected);
    std::fs::write(&file, good).unwrap();
}

fn here(world: &World, line: &str, expected: Expect) {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = world.command(&arguments).current_dir(world.path("demo")).output().unwrap();
    expected.assert_eq(&world.shown(&output));
}

/// Each message names the place and says how to go on.
#[test]
fn a_stranger_finds_the_way_back_from_five_mistakes() {
    let world = World::new();
    world.run(&["init", "demo"]);
    here(
        &world,
        "test",
        expect![[r#"
        exit 0
        workflow.yaml: Demo 0.1.0
          ✓ a paid order is complete
          ✓ an order that nobody pays is given up after a day
          ✓ an order can be cancelled
          3 passed, 0 failed; transitions 3 of 3 (100 %), guard outcomes 0 of 0 (100 %)
    "#]],
    );
    let run = "run workflow.yaml --input input.json --event pay";
    here(
        &world,
        run,
        expect![[r#"
        exit 0
        T  ● Demo 0.1.0 for `A-1`
        T  → waiting
        T  ⏲ 24h00m at most in waiting
        T  ⇢ event pay
        T  waiting → paid  on pay
        T  data paid_at="TIME"
        completed in state paid after T  output {"order_id":"A-1","paid_at":"TIME"}
    "#]],
    );

    planted(
        &world,
        "title: Demo",
        "titel: Demo",
        "test",
        expect![[r#"
        exit 1
        workflow.yaml:7:1: E101 unknown key `titel` in a workflow
          hint: did you mean `title`?
        error: `workflow.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]],
    );
    planted(
        &world,
        "{target: paid,",
        "{target: payed,",
        "test",
        expect![[r#"
        exit 1
        workflow.yaml:25:7: E102 target `payed` names no state that can be seen from here
          hint: did you mean `paid`?
        error: `workflow.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]],
    );
    planted(
        &world,
        "\"${now}\"",
        "\"${now +}\"",
        "test",
        expect![[r#"
        exit 1
        workflow.yaml:25:56: E130 expected a value but found the end
          hint: expressions are CEL, such as `data.count + 1 > 3`
        error: `workflow.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]],
    );
    planted(
        &world,
        "paid_at: \"${now}\"",
        "paid_at: \"${order.amount}\"",
        "test",
        expect![[r#"
            exit 1
            workflow.yaml:25:56: E131 unknown variable `order`; available are `data`, `input`, `event`, `result`, `tenant`, `workflow`, `now`
              hint: fields of the data are `data.order`
            error: `workflow.yaml` has 1 error(s); nothing was done (definition_invalid)
        "#]],
    );
    let call = "  waiting:\n    invoke: [{id: tell, effect: {type: call, function: mail.send}, onError: expired}]\n";
    planted(
        &world,
        "  waiting:\n",
        call,
        "test --filter cancelled",
        expect![[r#"
        exit 1
        workflow.yaml: Demo 0.1.0
          ✗ an order can be cancelled
              workflow.yaml:41:5: expected a mock for function `mail.send` at `tell`, found none; add `mail.send` under `mocks`
        T  ● Demo 0.1.0 for `A-3`
        T  → waiting
        T  ⏲ 24h00m at most in waiting
        T    → tell  mail.send
          0 passed, 1 failed; transitions 0 of 4 (0 %), guard outcomes 0 of 0 (100 %)
            workflow.yaml:24:77: never taken: waiting: onError of tell → expired
            workflow.yaml:26:7: never taken: waiting: on pay → paid
            workflow.yaml:27:15: never taken: waiting: on cancel → cancelled
            workflow.yaml:28:18: never taken: waiting: after → expired
    "#]],
    );
    // Without an event nothing but the call that nobody answers can move it.
    let alone = "run workflow.yaml --input input.json";
    planted(
        &world,
        "  waiting:\n",
        call,
        alone,
        expect![[r#"
        exit 1
        nobody binds the function `mail.send`: a call of it fails with unknown_function; name an endpoint in `connectors.yaml` beside the workflow, or give `--connectors FILE`
        T  ● Demo 0.1.0 for `A-1`
        T  → waiting
        T  ⏲ 24h00m at most in waiting
        T    → tell  mail.send
        T    ✗ tell  unknown_function: function `mail.send` is not known: there is no connectors file
        T  waiting → expired  on error.invoke.tell
        failed in state expired after T  output "nobody paid in time"
    "#]],
    );
    planted(
        &world,
        "[{send: pay}]",
        "[{send: pya}]",
        "test --filter paid",
        expect![[r#"
        exit 1
        workflow.yaml: Demo 0.1.0
          ✗ a paid order is complete
              workflow.yaml:34:13: expected event `pya` to be taken, found event `pya` is not declared in workflow `Demo`; declared are: cancel, pay (unknown_event)
        T  ● Demo 0.1.0 for `A-1`
        T  → waiting
        T  ⏲ 24h00m at most in waiting
          0 passed, 1 failed; transitions 0 of 3 (0 %), guard outcomes 0 of 0 (100 %)
            workflow.yaml:25:7: never taken: waiting: on pay → paid
            workflow.yaml:26:15: never taken: waiting: on cancel → cancelled
            workflow.yaml:27:18: never taken: waiting: after → expired
    "#]],
    );
    here(
        &world,
        "run workflow.yaml --input input.json --event pya",
        expect![[r#"
        exit 2
        error: event `pya` is not declared in workflow `Demo`; declared are: cancel, pay; nothing was run (unknown_event)
    "#]],
    );
    here(
        &world,
        "run workflow.yaml --input {}",
        expect![[r#"
        exit 1
        error: the input does not fit the schema of workflow `Demo`: /: "order_id" is a required property; /: "amount" is a required property (input_invalid)
    "#]],
    );
    // Outside of a project there is nothing to take.
    world.check(
        "test",
        expect![[r#"
        exit 2
        error: no file is named, and this folder has no `workflow.yaml` (usage)
    "#]],
    );
}

#[test]
fn a_new_file_is_checked_and_never_overwritten() {
    let world = World::new();
    world.check(
        "new workflow Order",
        expect![[r#"
        exit 0
        written Order.yaml
        next: traaviis validate Order.yaml
    "#]],
    );
    world.check(
        "new workflow Order",
        expect![[r#"
        exit 1
        error: `Order.yaml` is there already; it was not changed (file_exists)
    "#]],
    );
    world.check(
        "new workflow 7up",
        expect![[r#"
        exit 2
        error: `7up` cannot be used: `7up` is not a name for a workflow (usage)
    "#]],
    );
    world.check("new workflow Order --output missing/order.yaml", expect![[r#"
        exit 4
        error: cannot write `missing/order.yaml`: No such file or directory (os error 2) (file_unwritable)
    "#]]);
}

#[test]
fn shells_complete_commands() {
    let output = World::new().run(&["completions", "bash"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("incidents"));
}

/// A new component is good as it is, and its tests reach all of it.
#[test]
fn a_new_component_is_checked_tested_and_used() {
    let world = World::new();
    world.check(
        "new component Reminder",
        expect![[r#"
            exit 0
            written Reminder.yaml
            next: traaviis validate Reminder.yaml
        "#]],
    );
    let told = world.shown(&world.run(&["validate", "Reminder.yaml", "--deny-warnings"]));
    assert!(told.starts_with("exit 0"), "{told}");
    let told = world.shown(&world.run(&["test", "Reminder.yaml", "--min-coverage", "100"]));
    assert!(told.starts_with("exit 0") && told.contains("2 passed"), "{told}");
    let uses = "traaviis: \"1\"\nname: Bill\nversion: 1.0.0\ninitial: unpaid\n\
                components: [{use: Reminder@0, as: reminder, at: unpaid, with: {wait: 7d}, \
                targets: {answered: settled, given_up: overdue}}]\n\
                states: {unpaid: {}, settled: {type: final}, overdue: {type: final}}\n";
    let world = world.file("bill.yaml", uses);
    let told = world.shown(&world.run(&["validate", "bill.yaml"]));
    assert!(told.starts_with("exit 0"), "{told}");
    let again = world.shown(&world.run(&["new", "component", "Reminder"]));
    assert!(again.starts_with("exit 1") && again.contains("file_exists"), "{again}");
}
