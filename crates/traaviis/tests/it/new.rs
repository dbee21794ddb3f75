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
    here(&world, "test", expect![[r#""#]]);
    let run = "run workflow.yaml --input input.json --event pay";
    here(&world, run, expect![[r#""#]]);

    planted(&world, "title: Demo", "titel: Demo", "test", expect![[r#""#]]);
    planted(&world, "{target: paid,", "{target: payed,", "test", expect![[r#""#]]);
    planted(&world, "\"${now}\"", "\"${now +}\"", "test", expect![[r#""#]]);
    planted(
        &world,
        "paid_at: \"${now}\"",
        "paid_at: \"${order.amount}\"",
        "test",
        expect![[r#""#]],
    );
    let call = "  waiting:\n    invoke: [{id: tell, effect: {type: call, function: mail.send}, onError: expired}]\n";
    planted(&world, "  waiting:\n", call, "test --filter cancelled", expect![[r#""#]]);
    planted(&world, "  waiting:\n", call, run, expect![[r#""#]]);
    planted(&world, "[{send: pay}]", "[{send: pya}]", "test --filter paid", expect![[r#""#]]);
    here(&world, "run workflow.yaml --input input.json --event pya", expect![[r#""#]]);
    here(&world, "run workflow.yaml --input {}", expect![[r#""#]]);
    // Outside of a project there is nothing to take.
    world.check("test", expect![[r#""#]]);
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
