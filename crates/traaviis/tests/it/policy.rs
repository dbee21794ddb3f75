//! What documents limit: who may send what, and what a run may spend.

use expect_test::expect;

use crate::cli::{Process, World, wait_for_socket};

const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
initial: open
events: {note: {merge: true}, pay: {requires: [workflow_execute, tenant_billing]}}
states:
  open: {on: {note: {actions: []}, pay: paid}}
  paid: {type: final}
x-waive: {W209: an order may wait}
"#;

#[test]
fn a_role_may_give_only_the_commands_it_has_permissions_for() {
    let world = World::new().file("order.yaml", ORDER);
    world.run(&["run", "order.yaml", "--data", "d"]);
    for (line, expected) in [
        ("send 0 note --data d --as vera --role viewer", expect![[r#"
            exit 4
            error: `vera` may not send event `note`: the role `viewer` has no `workflow_execute` (permission_denied)
        "#]]),
        ("cancel 0 --data d --as vera --role viewer", expect![[r#"
            exit 4
            error: `vera` may not cancel: the role `viewer` has no `workflow_execute` (permission_denied)
        "#]]),
        ("send 0 pay --data d --as dan --role developer", expect![[r#"
            exit 4
            error: `dan` may not send event `pay`: the role `developer` has no `tenant_billing` (permission_denied)
        "#]]),
        ("send 0 note --data d --as dan --role developer", expect![[r#"
            exit 0
            event `note` taken: ID is running in `open` at record 4
            no process runs `d`; it goes on with the next `traaviis run FILE --data d`
        "#]]),
        ("send 0 note --data d --role boss", expect![[r#"
            exit 2
            error: invalid value 'boss' for '--role <ROLE>': `boss` is none of `owner`, `admin`, `developer`, `viewer`

            For more information, try '--help'.
        "#]]),
        ("show 0 --data d --role viewer --records 0", expect![[r#"
            exit 0
            instance  ID
            workflow  Order 1.0.0
            status    running, record 4, created T ago
            state     open
            data      {}
            last 0 records
        "#]]),
        ("send 0 pay --data d --as olga", expect![[r#"
            exit 0
            event `pay` taken: ID is completed in `paid` at record 7
        "#]]),
    ] {
        world.check(line, expected);
    }
    let log = world.run(&["logs", "0", "--data", "d", "--json"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let actors = |kind: &str| {
        let line = log.lines().find(|it| it.contains(kind)).unwrap_or_default();
        ["local", "vera", "dan", "olga"]
            .into_iter()
            .find(|it| line.contains(&format!(r#""id":"{it}""#)))
    };
    assert_eq!(actors(r#""kind":"created""#), Some("local"));
    assert_eq!(actors(r#""event":"note""#), Some("dan"));
    assert_eq!(actors(r#""event":"pay""#), Some("olga"));
    assert!(!log.contains("vera"), "a refusal leaves no record");
}

#[test]
fn the_running_process_asks_for_permissions_too() {
    let world = World::new().file("order.yaml", ORDER);
    let mut command = world.command(&["run", "order.yaml", "--data", "d", "--wait"]);
    let _running = Process(command.stdout(std::process::Stdio::null()).spawn().unwrap());
    wait_for_socket(&world.path("d"));
    world.check("pause 0 --data d --as vera --role viewer", expect![[r#"
        exit 4
        error: `vera` may not operate: the role `viewer` has no `workflow_execute` (permission_denied)
    "#]]);
    world.check("send 0 pay --data d --as ada --role admin", expect![[r#"
        exit 4
        error: `ada` may not send event `pay`: the role `admin` has no `tenant_billing` (permission_denied)
    "#]]);
    world.check("send 0 pay --data d --as olga", expect![[r#"
        exit 0
        event `pay` taken: ID is completed in `paid` at record 5
    "#]]);
}

const SPENDER: &str = r#"
traaviis: "1"
name: Spender
version: 1.0.0
budgets: {calls: 1, on_exceeded: pause}
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect:
          type: batch
          fail_fast: false
          effects: [{type: call, function: f}, {type: call, function: g}]
        onDone: done
        onError: done
  done: {type: final}
x-waive: {W209: it ends by itself}
"#;

#[test]
fn a_run_that_a_budget_paused_says_so_and_goes_on_when_resumed() {
    let world = World::new().file("spender.yaml", SPENDER);
    let ended = world.shown(&world.run(&["run", "spender.yaml", "--data", "d"]));
    assert!(ended.contains("⊘ 1  not begun: beyond `calls: 1` of the run"), "{ended}");
    assert!(ended.contains("(instance_paused)"), "{ended}");
    let shown = world.shown(&world.run(&["show", "0", "--data", "d", "--records", "0"]));
    assert!(shown.contains("budget    the run: calls 0 of 1 (1 reserved)\n"), "{shown}");
    assert_eq!(world.run(&["resume", "0", "--data", "d"]).status.code(), Some(0));
    assert_eq!(world.run(&["run", "spender.yaml", "--data", "d"]).status.code(), Some(0));
    let shown = world.shown(&world.run(&["show", "0", "--data", "d", "--records", "0"]));
    assert!(shown.contains("budget    the run: calls 2 of 2, granted once more\n"), "{shown}");
    assert_eq!(world.run(&["replay", "0", "--data", "d"]).status.code(), Some(0));
}
