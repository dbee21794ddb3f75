//! Tasks: what a person is asked, and what their answer leads to.

use expect_test::expect;

use crate::cli::World;

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
