//! What documents limit: who may send what, and what a run may spend.

use expect_test::expect;

use crate::cli::{Process, World, wait_for_socket, wait_until};

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
        (
            "send 0 note --data d --as vera --role viewer",
            expect![[r#"
            exit 4
            error: `vera` may not send event `note`: the role `viewer` has no `workflow_execute` (permission_denied)
        "#]],
        ),
        (
            "cancel 0 --data d --as vera --role viewer",
            expect![[r#"
            exit 4
            error: `vera` may not cancel: the role `viewer` has no `workflow_execute` (permission_denied)
        "#]],
        ),
        (
            "send 0 pay --data d --as dan --role developer",
            expect![[r#"
            exit 4
            error: `dan` may not send event `pay`: the role `developer` has no `tenant_billing` (permission_denied)
        "#]],
        ),
        (
            "send 0 note --data d --as dan --role developer",
            expect![[r#"
            exit 0
            event `note` taken: ID is running in `open` at record 4
            no process runs `d`; it goes on with the next `traaviis run FILE --data d`
        "#]],
        ),
        (
            "send 0 note --data d --role boss",
            expect![[r#"
            exit 2
            error: invalid value 'boss' for '--role <ROLE>': `boss` is none of `owner`, `admin`, `developer`, `viewer`

            For more information, try '--help'.
        "#]],
        ),
        (
            "show 0 --data d --role viewer --records 0",
            expect![[r#"
                exit 0
                instance  ID
                workflow  Order 1.0.0
                by        user:local
                status    running, waiting, record 4, created T ago
                moved     2 transitions, the last T ago, T apart on average
                state     open
                data      {}
                last 0 records
            "#]],
        ),
        (
            "send 0 pay --data d --as olga",
            expect![[r#"
            exit 0
            event `pay` taken: ID is completed in `paid` at record 7
        "#]],
        ),
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
    // The socket is there before the run is.
    wait_until("the run has begun", || {
        let listed = world.run(&["ps", "--json", "--data", "d"]);
        String::from_utf8_lossy(&listed.stdout).contains("\"Order\"")
    });
    world.check("pause 0 --data d --as vera --role viewer", expect![[r#"
        exit 4
        error: `vera` may not operate: the role `viewer` has no `workflow_execute` (permission_denied)
    "#]]);
    world.check("send 0 pay --data d --as ada --role admin", expect![[r#"
        exit 4
        error: `ada` may not send event `pay`: the role `admin` has no `tenant_billing` (permission_denied)
    "#]]);
    world.check(
        "send 0 pay --data d --as olga",
        expect![[r#"
        exit 0
        event `pay` taken: ID is completed in `paid` at record 5
    "#]],
    );
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

const WATCHED: &str = r#"
traaviis: "1"
name: Watched
version: 1.0.0
plugins:
  - {use: logger, with: {level: debug, include_data: true}}
  - {use: audit, with: {events: ["pay"]}}
  - {use: metrics, with: {labels: {team: sales}}}
initial: open
events: {note: {}, pay: {}}
states:
  open: {on: {note: open, pay: paid}}
  paid: {type: final}
x-waive: {W209: it may wait}
"#;

#[test]
fn plugins_tell_of_transitions_what_the_records_say() {
    let world = World::new().file("watched.yaml", WATCHED);
    let run = ["run", "watched.yaml", "--data", "d", "--event", "note={\"x\":1}", "--event", "pay"];
    let ended = world.run(&run);
    let lines = |text: &[u8]| world.redacted(&String::from_utf8_lossy(text));
    expect![[r#"
        {"data":null,"event":null,"from":[],"instance_id":"ID","level":"debug","msg":"transition","seq":2,"target":"plugin.logger","tenant_id":"ID","to":["open"],"ts":"TIME","workflow":"Watched"}
        {"data":{"x":1},"event":"note","from":["open"],"instance_id":"ID","level":"debug","msg":"transition","seq":4,"target":"plugin.logger","tenant_id":"ID","to":["open"],"ts":"TIME","workflow":"Watched"}
        {"data":null,"event":"pay","from":["open"],"instance_id":"ID","level":"debug","msg":"transition","seq":6,"target":"plugin.logger","tenant_id":"ID","to":["paid"],"ts":"TIME","workflow":"Watched"}
    "#]].assert_eq(&lines(&ended.stderr));
    // Shown once more, it is not logged once more.
    let again = world.run(&["run", "watched.yaml", "--data", "d"]);
    assert_eq!(lines(&again.stderr), "");
    world.check("audit 0 --data d", expect![[r#"
        exit 0
        {"action":"transition","actor":{"id":"local","type":"user"},"hash":"HASH","metadata":{"event":"pay","from":["open"],"to":["paid"],"workflow":"Watched"},"outcome":"ok","prev_hash":"HASH","resource_id":"ID","resource_type":"instance","seq":6,"tenant_id":"ID","timestamp":"TIME"}
    "#]]);
    let metrics = world.run(&["metrics", "--data", "d"]);
    let metrics = String::from_utf8(metrics.stdout).unwrap();
    let counters: Vec<&str> = metrics.lines().filter(|it| !it.contains("seconds_sum")).collect();
    expect![[r#"
        traaviis_instances_finished_total{workflow="Watched",status="completed",team="sales"} 1
        traaviis_instances_started_total{workflow="Watched",team="sales"} 1
        traaviis_state_seconds_count{workflow="Watched",state="open",team="sales"} 2
        traaviis_transitions_total{workflow="Watched",from="",to="open",event="",team="sales"} 1
        traaviis_transitions_total{workflow="Watched",from="open",to="open",event="note",team="sales"} 1
        traaviis_transitions_total{workflow="Watched",from="open",to="paid",event="pay",team="sales"} 1"#]].assert_eq(&counters.join("\n"));
    assert_eq!(metrics.lines().count(), counters.len() + 1, "{metrics}");
}

#[test]
fn each_audit_entry_holds_the_hash_of_the_one_before() {
    let document = WATCHED.replace(r#", with: {events: ["pay"]}"#, "");
    let world = World::new().file("watched.yaml", &document);
    let run = ["run", "watched.yaml", "--data", "d", "--event", "note", "--event", "pay"];
    world.run(&run);
    let audit = world.run(&["audit", "0", "--data", "d"]);
    let entries: Vec<serde_json::Value> = String::from_utf8(audit.stdout)
        .unwrap()
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(entries.len(), 3);
    let mut before = serde_json::json!("0".repeat(64));
    for entry in &entries {
        assert_eq!(entry["prev_hash"], before);
        before = entry["hash"].clone();
    }
    let plain = WATCHED.replace("  - {use: audit, with: {events: [\"pay\"]}}\n", "");
    let world = World::new().file("plain.yaml", &plain);
    world.run(&["run", "plain.yaml", "--data", "d"]);
    let refused = world.shown(&world.run(&["audit", "0", "--data", "d"]));
    assert!(refused.contains("asks for no audit"), "{refused}");
    assert!(refused.contains("(not_audited)"), "{refused}");
}

const REACHING: &str = r#"
traaviis: "1"
name: Reaching
version: 1.0.0
plugins: [{use: audit}]
permissions: {workflows: ["Bill*"], hosts: []}
input: {schema: {type: object, required: [who], properties: {who: {type: string}}}}
initial: asking
states:
  asking:
    invoke:
      - {id: bill, effect: {type: spawn_fsm, workflow: "${input.who}"}, onDone: done, onError: failed}
  done: {type: final}
  failed: {type: final, status: failed, output: "${event.data.details}"}
"#;

#[test]
fn what_is_not_granted_is_refused_told_and_audited() {
    let world = World::new().file("reaching.yaml", REACHING);
    world.check(r#"run reaching.yaml --data d --input {"who":"Payout"}"#, expect![[r#"
        exit 1
        T  ● Reaching 1.0.0
        T  → asking
        T    ✗ bill  permission_denied: the workflow `Payout` was computed, and `permissions.workflows` of the workflow does not list it
        T  asking → failed  on error.invoke.bill
        failed in state failed after T  output {"by":"workflow","kind":"workflow","name":"Payout"}
    "#]]);
    world.check("audit 0 --data d", expect![[r#"
        exit 0
        {"action":"transition","actor":{"id":"local","type":"user"},"hash":"HASH","metadata":{"event":null,"from":[],"to":["asking"],"workflow":"Reaching"},"outcome":"ok","prev_hash":"HASH","resource_id":"ID","resource_type":"instance","seq":2,"tenant_id":"ID","timestamp":"TIME"}
        {"action":"effect","actor":{"id":"local","type":"user"},"hash":"HASH","metadata":{"details":{"by":"workflow","kind":"workflow","name":"Payout"},"effect":"bill","kind":"spawn_fsm","message":"the workflow `Payout` was computed, and `permissions.workflows` of the workflow does not list it","workflow":"Reaching"},"outcome":"denied","prev_hash":"HASH","resource_id":"ID","resource_type":"instance","seq":5,"tenant_id":"ID","timestamp":"TIME"}
        {"action":"transition","actor":{"id":"local","type":"user"},"hash":"HASH","metadata":{"event":"error.invoke.bill","from":["asking"],"to":["failed"],"workflow":"Reaching"},"outcome":"ok","prev_hash":"HASH","resource_id":"ID","resource_type":"instance","seq":6,"tenant_id":"ID","timestamp":"TIME"}
    "#]]);
    let expanded = world.shown(&world.run(&["validate", "reaching.yaml", "--expand"]));
    assert!(expanded.contains("# may reach workflows: Bill*\ntraaviis:"), "{expanded}");
    let json = world.shown(&world.run(&["validate", "reaching.yaml", "--expand", "--json"]));
    assert!(json.contains(r#""grant":{"workflows":["Bill*"]}"#), "{json}");
    let computed = REACHING.replace("permissions:", "x-permissions:");
    World::new().file("reaching.yaml", &computed).check("validate reaching.yaml", expect![[r#"
        exit 1
        reaching.yaml:12:56: E150 the workflow that this `spawn_fsm` reaches is computed, and the workflow has no `permissions.workflows` that could grant it
          hint: list what it may be: `permissions: {workflows: [...]}`
    "#]]);
}

#[test]
fn a_run_sends_its_events_in_the_name_of_somebody() {
    let world = World::new().file("order.yaml", ORDER);
    let run = |who: &str, event: &str| {
        format!("run order.yaml --data d --event {event} --as ada --role {who}")
    };
    world.check(&run("developer", "pay"), expect![[r#"
        exit 4
        T  ● Order 1.0.0
        T  → open
        error: `ada` may not send event `pay`: the role `developer` has no `tenant_billing` (permission_denied)
    "#]]);
    world.check(
        &run("owner", "pay"),
        expect![[r#"
        exit 0
        continuing ID from record 2 (state open)
        T  ⇢ event pay
        T  open → paid  on pay
        completed in state paid after T
    "#]],
    );
    let records = world.shown(&world.run(&["log", "cat", "d"]));
    assert!(records.contains(r#""id":"ada""#), "{records}");
    let listed = world.shown(&world.run(&["ps", "--all", "--json", "--data", "d"]));
    assert!(listed.contains(r#""created_by":"user:ada""#), "{listed}");
    world.check("run order.yaml --data e --as ada --role viewer", expect![[r#"
        exit 4
        error: `ada` may not start instances: the role `viewer` has no `workflow_execute` (permission_denied)
    "#]]);
}
