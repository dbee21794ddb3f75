//! Components as a user of the binary meets them.

use expect_test::expect;

use crate::cli::World;

/// The example of the repository, in a folder of its own.
fn example() -> World {
    let world = World::new();
    std::fs::create_dir(world.path("components")).unwrap();
    world.file("workflow.yaml", include_str!("../../../../examples/reminders/workflow.yaml")).file(
        "components/reminder.yaml",
        include_str!("../../../../examples/reminders/components/reminder.yaml"),
    )
}

#[test]
fn the_example_and_its_component_are_valid_and_pass_their_tests() {
    example()
        .check("validate workflow.yaml components/reminder.yaml --deny-warnings", expect![[r#"
            exit 0
            workflow.yaml: Invoice 1.0.0 is valid (5 states, 1 events, 0 effects; hash HASH)
            components/reminder.yaml: Reminder 1.0.0 is valid (4 states, 1 events, 0 effects; hash HASH)
        "#]]);
    example().check(
        "test workflow.yaml components/reminder.yaml",
        expect![[r#"
            exit 0
            workflow.yaml: Invoice 1.0.0
              ✓ a payment after one reminder settles it
              ✓ nobody pays
              ✓ reminder: an answer ends it
              ✓ reminder: it gives up after the last reminder
              4 passed, 0 failed; transitions 4 of 4 (100 %), guard outcomes 2 of 2 (100 %)
            components/reminder.yaml: Reminder 1.0.0
              ✓ an answer ends it
              ✓ it gives up after the last reminder
              2 passed, 0 failed; transitions 4 of 4 (100 %), guard outcomes 2 of 2 (100 %)
            6 passed, 0 failed
        "#]],
    );
}

#[test]
fn the_expanded_document_is_printed() {
    example().check(
        "validate workflow.yaml --expand",
        expect![[r##"
            exit 0
            traaviis: "1"
            name: Invoice
            version: "1.0.0"
            title: Waits for the payment of an invoice
            input:
              schema:
                type: object
                required: [number]
                properties: {number: {type: string}}
              examples: [{number: "7"}]
            data:
              schema:
                type: object
                properties:
                  reminder: {type: object, properties: {sent: {type: integer}}}
              initial: {number: "${input.number}", reminder: {sent: 0}}
            events: {paid: {}}
            initial: unpaid
            states:
              unpaid:
                initial: reminder_waiting
                states:
                  reminder_waiting:
                    on: {paid: "#settled"}
                    after:
                      "7d":
                        - {target: "#overdue", guard: "data.reminder.sent >= 3"}
                        - {target: "#unpaid.reminder_reminding"}
                  reminder_reminding:
                    entry:
                      - {assign: {reminder.sent: "${data.reminder.sent + 1}"}}
                      - emit:
                          event: reminder.reminded
                          data:
                            about: "invoice ${data.number}"
                            times: "${data.reminder.sent}"
                    always: "#unpaid.reminder_waiting"
              settled: {type: final, output: {number: "${data.number}"}}
              overdue:
                type: final
                status: failed
                output: {reminders: "${data.reminder.sent}"}
            tests:
              - name: a payment after one reminder settles it
                input: {number: "7"}
                steps: [{advance: "7d"}, {send: paid}]
                expect: {status: completed, output: {number: "7"}}
              - name: nobody pays
                input: {number: "7"}
                steps:
                  - {advance: "7d"}
                  - {advance: "7d"}
                  - {advance: "7d"}
                  - {advance: "7d"}
                expect: {status: failed, output: {reminders: 3}}
              - name: "reminder: an answer ends it"
                start: unpaid.reminder_waiting
                input: {number: "7"}
                steps: [{advance: "7d"}, {send: paid}]
                expect: {state: settled, data: {reminder: {sent: 1}}}
              - name: "reminder: it gives up after the last reminder"
                start: unpaid.reminder_waiting
                input: {number: "7"}
                steps: [{advance: "1000d"}]
                expect: {state: overdue, data: {reminder: {sent: 3}}}
        "##]],
    );
}

#[test]
fn a_workflow_with_a_component_runs_and_the_component_does_not() {
    let world = example().file("input.json", "{\"number\": \"7\"}");
    world.check(
        "run workflow.yaml --input input.json --event paid",
        expect![[r#"
        exit 0
        T  ● Invoice 1.0.0
        T  → unpaid.reminder_waiting
        T  ⏲ 7d0h at most in unpaid.reminder_waiting
        T  ⇢ event paid
        T  unpaid.reminder_waiting → settled  on paid
        completed in state settled after T  output {"number":"7"}
    "#]],
    );
    world.check("run components/reminder.yaml", expect![[r#"
        exit 1
        error: `components/reminder.yaml` is a component; name it in `components` of a workflow and run that (component_not_runnable)
    "#]]);
}

#[test]
fn findings_name_the_file_they_are_in() {
    let broken = include_str!("../../../../examples/reminders/components/reminder.yaml")
        .replace("always: waiting", "always: waitin");
    let world = example().file("components/reminder.yaml", &broken);
    world.check("validate workflow.yaml", expect![[r#"
        exit 1
        components/reminder.yaml:32:13: E102 target `waitin` names no state that can be seen from here
    "#]]);
    world.check("validate workflow.yaml --json", expect![[r#"
        exit 1
        {"diagnostics":[{"code":"E102","column":13,"file":"components/reminder.yaml","line":32,"message":"target `waitin` names no state that can be seen from here","path":"","severity":"error"}],"file":"workflow.yaml","valid":false}
    "#]]);
    let host = include_str!("../../../../examples/reminders/workflow.yaml")
        .replace("Reminder@1", "Reminder@2")
        .replace("unpaid: {}", "unpaid: {onn: {}}");
    example().file("workflow.yaml", &host).check("validate workflow.yaml", expect![[r#"
        exit 1
        workflow.yaml:12:10: E121 no version of `Reminder` fits `Reminder@2`; there is 1.0.0 (components/reminder.yaml)
    "#]]);
}

/// A timer of the catalogue beside states that know nothing of it; its tests hold there too.
#[test]
fn a_component_of_the_catalogue_runs_beside_states() {
    let world = World::new().file(
        "cook.yaml",
        r#"
traaviis: "1"
name: Cook
version: 1.0.0
components: [{use: Timer, as: alarm, at: cooking, mode: region, with: {duration: 5m}}]
initial: cooking
events: {next: {}}
states:
  cooking:
    initial: mixing
    onDone: served
    states:
      mixing: {on: {next: baking}}
      baking: {on: {next: ready, alarm.timeout: ready}}
      ready: {type: final}
  served: {type: final}
tests:
  - name: the alarm ends the baking
    steps: [{send: next}, {send: alarm.start}, {advance: 4m}, {crash: true}, {advance: 1m}]
    expect: {status: completed, min_virtual_delay: 5m, max_virtual_delay: 5m}
  - {name: starts in the middle, start: cooking.baking, steps: [{send: next}], expect: {state: served}}
"#,
    );
    world.check(
        "test cook.yaml",
        expect![[r#"
        exit 0
        cook.yaml: Cook 1.0.0
          ✓ the alarm ends the baking
          ✓ starts in the middle
          ✓ alarm: counts down, is ready again after a while, and counts anew
          ✓ alarm: a pause keeps what is left
          ✓ alarm: after a pause it counts on
          ✓ alarm: can be stopped, running or in a pause
          ✓ alarm: a pause that nobody ends stops the timer
          ✓ alarm: a duration is one that a timer takes
          ✓ alarm: only the clock ends its time
          9 passed, 0 failed; transitions 13 of 14 (92 %), guard outcomes 0 of 0 (100 %)
            catalogue/components/Timer.yaml:48:13: never taken: cooking.alarm.alarm_expired: after
    "#]],
    );
    world.check("run cook.yaml --event next --event next", expect![[r#"
        exit 0
        1 warning (W209); see `traaviis validate cook.yaml`
        T  ● Cook 1.0.0
        T  → (cooking.main.mixing|cooking.alarm.alarm_idle)
        T  ⇢ event next
        T  (cooking.main.mixing|cooking.alarm.alarm_idle) → (cooking.main.baking|cooking.alarm.alarm_idle)  on next
        T  ⇢ event next
        T  (cooking.main.baking|cooking.alarm.alarm_idle) → (cooking.main.ready|cooking.alarm.alarm_idle)  on next
        T  (cooking.main.ready|cooking.alarm.alarm_idle) → served  on done.state.cooking.main
        completed in state served after T
    "#]]);
}

/// Each change to the component is a defect that some test of the example finds.
#[test]
fn planted_defects_of_the_component_are_found() {
    let component = include_str!("../../../../examples/reminders/components/reminder.yaml");
    for (good, bad) in [
        ("data.sent >= param.most", "data.sent > param.most"),
        ("data.sent + 1", "data.sent + 2"),
        ("answer: answered", "answer: given_up"),
        ("always: waiting", "always: given_up"),
    ] {
        assert!(component.contains(good), "{good}");
        let world = example().file("components/reminder.yaml", &component.replace(good, bad));
        let output = world.run(&["test", "workflow.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{bad}");
    }
}
