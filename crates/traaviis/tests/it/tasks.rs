//! Tasks: what a person is asked, and what their answer leads to.

use std::process::Stdio;

use expect_test::expect;
use serde_json::json;

use crate::cli::{World, wait_for_socket, wait_until};

const EXPENSE: &str = r#"
traaviis: "1"
name: Expense
version: 1.0.0
initial: review
events: {}
effects:
  ask:
    type: approval
    title: "Pay ${param.what}?"
    assignees: [role:finance]
    form: {type: object, properties: {limit: {type: integer}}}
states:
  review:
    invoke:
      - id: pay
        effect: {type: use, effect: ask, with: {what: taxi}}
        onDone: {target: paid}
        onError: {target: refused}
  paid: {type: final, output: "${event.data.form.limit}"}
  refused: {type: final, status: failed}
"#;

#[test]
fn a_run_waits_for_an_answer_and_goes_on_with_it() {
    let world = World::new().file("expense.yaml", EXPENSE);
    world.check("run expense.yaml --data d", expect![[r#"
        exit 1
        T  ● Expense 1.0.0
        T  → review
        T    pay use
        T      body approval
        T      ☐ body  waits for people
        error: task `Pay taxi?` at pay/body waits for an answer; traaviis tasks decide ID OUTCOME --data d (waiting_for_task)
    "#]]);
    world.check("tasks --data d", expect![[r#"
        exit 0
        INSTANCE                              WORKFLOW  AT        TITLE      OUTCOMES          FOR           CLAIMED  DUE
        ID  Expense   pay/body  Pay taxi?  approved, denied  role:finance
        answer one: traaviis tasks decide INSTANCE OUTCOME
    "#]]);
    world.check(
        "tasks claim 0 --data d",
        expect![[r#"
        exit 0
        claimed: ID is running in `review` at record 7
        no process runs `d`; it goes on with the next `traaviis run FILE --data d`
    "#]],
    );
    world.check(
        "tasks decide 0 maybe --data d",
        expect![[r#"
        exit 1
        error: `maybe` is no outcome of this task; it takes `approved`, `denied` (validation_failed)
    "#]],
    );
    world.check(r#"tasks decide 0 approved --form {"limit":"x"} --data d"#, expect![[r#"
        exit 1
        error: the answer does not fit the form: /limit: "x" is not of type "integer" (validation_failed)
    "#]]);
    world.check(
        r#"tasks decide 0 approved --form {"limit":7} --comment fine --data d"#,
        expect![[r#"
            exit 0
            answered `approved`: ID is completed in `paid` at record 12
        "#]],
    );
    world.check(
        "tasks decide 0 denied --data d",
        expect![[r#"
        exit 1
        error: instance `ID` has ended as completed; it takes nothing more (invalid_state)
    "#]],
    );
    world.check(
        "tasks --data d",
        expect![[r#"
        exit 0
        no open tasks in `d`
    "#]],
    );
    world.check(
        "logs 0 --data d",
        expect![[r#"
        exit 0
        T  ● Expense 1.0.0
        T  → review
        T    pay use
        T      body approval
        T      ☐ body  waits for people
        T      ☐ body  claimed by user:local
        T      ☑ body  approved by user:local
        T      ✓ body   {"at":"TIME","by":"user:local","comment":"fine",…
        T    ✓ pay   {"at":"TIME","by":"user:local","comment":"fine",…
        T  review → paid  on done.invoke.pay
        T  ■ completed
    "#]],
    );
    assert_eq!(world.run(&["replay", "0", "--data", "d"]).status.code(), Some(0));
}

#[test]
fn without_a_directory_nobody_can_answer() {
    let world = World::new().file("expense.yaml", EXPENSE);
    world.check("run expense.yaml", expect![[r#"
        exit 1
        T  ● Expense 1.0.0
        T  → review
        T    pay use
        T      body approval
        T      ☐ body  waits for people
        error: task `Pay taxi?` at pay/body waits for an answer; a run that can be answered needs `--data DIR` (waiting_for_task)
    "#]]);
}

const PAYMENT: &str = r#"
traaviis: "1"
name: Payment
version: 1.0.0
initial: approving
states:
  approving:
    invoke:
      - id: ask
        effect:
          type: approval
          title: "Pay?"
          assignees: ["user:ann"]
          deadline: 1h
          reminders: [10ms]
          escalation: {after: 20ms, to: ["role:managers"]}
          attachments: {invoice: {amount: 7}}
        onDone: {target: paid}
        onError: {target: refused}
  paid: {type: final, output: "${event.data.by}"}
  refused: {type: final, status: failed}
"#;

/// Each process reminds of what is due and has not been told, and of nothing twice.
#[test]
fn whoever_asks_does_not_answer_and_others_are_reminded_once() {
    let world = World::new().file("payment.yaml", PAYMENT);
    let run = || {
        let words = ["run", "payment.yaml", "--data", "d", "--as", "bob", "--timeout", "300ms"];
        world.run(&words);
        let told = world.shown(&world.run(&["log", "cat", "d"]));
        let count = |kind: &str| told.matches(&format!(r#""kind":"{kind}""#)).count();
        [count("task_reminded"), count("task_escalated")]
    };
    wait_until("both were told", || run() == [1, 1]);
    assert_eq!(run(), [1, 1], "another process tells nothing again");
    let listed = world.run(&["tasks", "--json", "--data", "d"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let task = &listed["tasks"][0];
    assert_eq!(task["assignees"], json!(["user:ann", "role:managers"]), "{task}");
    assert_eq!(task["attachments"], json!({"invoice": {"amount": 7}}), "{task}");
    assert_eq!(task["created_by"], "user:bob", "{task}");
    world.check("tasks claim 0 --as bob --data d", expect![[r#"
        exit 1
        error: `user:bob` started the instance and may not answer task `ask`; somebody else must (separation_of_duties)
    "#]]);
    world.check("tasks decide 0 approved --data d", expect![[r#"
        exit 1
        error: say who answers task `ask`: `user:bob`, who started the instance, may not, and an answer without a name could be theirs (separation_of_duties)
    "#]]);
    world.check(
        "tasks decide 0 approved --as ann --data d",
        expect![[r#"
        exit 0
        answered `approved`: ID is completed in `paid` at record 19
    "#]],
    );
    let shown = world.shown(&world.run(&["show", "0", "--data", "d"]));
    assert!(shown.contains("by        user:bob"), "{shown}");
    assert_eq!(world.run(&["replay", "0", "--data", "d"]).status.code(), Some(0));
}

/// With the end of its only run a process ends; who asked for it learns that it came.
#[test]
fn the_end_of_the_only_run_is_told_to_whoever_asked_for_it() {
    let world = World::new().file("payment.yaml", PAYMENT);
    for _ in 0..3 {
        let mut command = world.command(&["run", "payment.yaml", "--data", "d", "--new", "--wait"]);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_socket(&world.path("d"));
        let open = || world.shown(&world.run(&["ps", "--data", "d"]));
        wait_until("the run has begun", || open().contains("approving"));
        let listed = world.run(&["ps", "--json", "--data", "d"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let id = listed["instances"][0]["id"].as_str().unwrap();
        let ended = world.run(&["cancel", id, "--terminate", "--data", "d"]);
        assert_eq!(ended.status.code(), Some(0), "{}", world.shown(&ended));
        run.wait().unwrap();
    }
}
