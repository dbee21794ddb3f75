//! Effects outside of the states where something goes wrong: a fork, a kill, budgets, an end of the
//! instance that somebody takes back.

use expect_test::{Expect, expect};

use super::check;

/// A desk with effects under names; `BUDGETS` stands for what the run may cost.
const DESK: &str = r#"
initial: open
data: {initial: {n: 0}}
events: {go: {}}
effects:
  charge: {type: call, function: charge, args: {sum: "${param.sum}"}, retry: {attempts: 2, base_delay: 5s, jitter: none}}
  fails: {type: call, function: charge, args: {}, on_unknown: fail}
  either:
    type: fallback
    effects:
      - {type: call, function: a, args: {}}
      - {type: put_data, key: n, value: 1}
  kept:
    type: sequence
    effects:
      - type: call
        function: a
        args: {}
        compensation: {type: sequence, effects: [{type: call, function: undo, args: {}}, {type: put_data, key: n, value: 1}]}
      - {type: call, function: b, args: {}}
  book:
    type: saga
    steps:
      - id: a
        action: {type: call, function: a, args: {}}
        compensation: {type: sequence, effects: [{type: call, function: undo, args: {}}, {type: put_data, key: n, value: 1}]}
      - {id: b, action: {type: call, function: b, args: {}}}
  ask: {type: call_llm, model: gpt-4o, prompt: "0123456789012345678901234567890123456789", max_tokens: 90}
states:
  open:
    on: {go: end}
    always: [{target: bad, guard: "data.n > 0"}]
  end: {type: final}
  bad: {type: final, status: failed}
BUDGETS
"#;

fn check_desk(budgets: &str, script: &str, expected: Expect) {
    let budgets = match budgets {
        "" => String::new(),
        some => format!("budgets: {{{some}}}"),
    };
    check(&DESK.replace("BUDGETS", &budgets), script, expected);
}

#[test]
fn a_fork_in_the_middle_is_answered_from_the_record_or_asks() {
    check_desk(
        "",
        "run charge {\"sum\": 3}\nfail charge/body down retryable\n+5s\nok charge/body 7\nfork 8\n+5s",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              start charge/body#1
            > fail charge/body down retryable
              charge/body#1 failed: down, next at 5s
            > at 5s
              start charge/body#2
            > ok charge/body 7
              done charge/body = 7
              done charge = 7
            > fork 8
              fork from 8, 1 recorded
              recall charge/body#1 from 11
              done charge/body = 7
              done charge = 7
        "#]],
    );
    // The original never learned how it ended.
    check_desk(
        "",
        "run charge {\"sum\": 3}\nfork\nretry charge/body\nok charge/body 9",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              start charge/body#1
            > fork
              fork from 6, 0 recorded
              unknown charge/body: ask
              incident result_not_recorded charge/body
            > retry charge/body
              resolved result_not_recorded: retry
              start charge/body#1
            > ok charge/body 9
              done charge/body = 9
              done charge = 9
        "#]],
    );
    check_desk(
        "",
        "run book\nok book/body/a 1\nfork-live\nfail book/body/b no\nok book/body/undo:a/0 null",
        expect![[r#"
            > start
              - -> open
            > run book
              asked book
              start book/body/a#1
            > ok book/body/a 1
              done book/body/a = 1
              start book/body/b#1
            > fork-live
              fork from 10, 0 recorded
              start book/body/b#1
            > fail book/body/b no
              failed book/body/b: no
              undo book/body
              start book/body/undo:a/0#1
            > ok book/body/undo:a/0 null
              done book/body/undo:a/0 = null
              done book/body/undo:a/1 = 1
              {"op":"replace","path":"/n","value":1}
              done book/body/undo:a = [null,1]
              failed book/body: no (compensated)
              failed book: no (compensated)
              - -> bad
              finished failed null
        "#]],
    );
}

#[test]
fn a_fork_goes_on_with_the_waits_of_an_effect_and_takes_none_that_began_later() {
    check_desk(
        "",
        "run charge {\"sum\": 3}\nfail charge/body down retryable\n+2s\nfork-live\n+5s\nok charge/body 4",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              start charge/body#1
            > fail charge/body down retryable
              charge/body#1 failed: down, next at 5s
            > fork-live
              fork from 8, 0 recorded
              start charge/body#1
            > ok charge/body 4
              done charge/body = 4
              done charge = 4
        "#]],
    );
    check_desk(
        "",
        "run charge {\"sum\": 3}\nfork-paused 6\nrun charge {\"sum\": 4}\nresume\ncall-off charge\nrun charge {\"sum\": 3}",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              start charge/body#1
            > fork-paused 6
              fork from 6, 0 recorded
              paused
            > run charge {"sum": 4}
              refused instance_paused: the instance is paused; resume it first
            > resume
              resumed
              unknown charge/body: ask
              incident result_not_recorded charge/body
            > call-off charge
              called off
              cancelled charge/body: cancelled
              cancelled charge: cancelled
              resolved result_not_recorded: cancelled
            > run charge {"sum": 3}
              asked charge
              unknown charge/body: ask
              incident result_not_recorded charge/body
        "#]],
    );
}

#[test]
fn an_attempt_of_unknown_outcome_is_made_again_or_asked_about() {
    check_desk(
        "",
        "run charge {\"sum\": 3}\nunknown charge/body keyed\nok charge/body 7",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              start charge/body#1
            > unknown charge/body keyed
              unknown charge/body: retry
              start charge/body#2
            > ok charge/body 7
              done charge/body = 7
              done charge = 7
        "#]],
    );
    for answer in ["happened charge/body 8", "skip charge/body 5", "retry charge/body"] {
        check_desk(
            "",
            &format!("run charge {{\"sum\": 3}}\nunknown charge/body other\n{answer}"),
            match answer.split(' ').next() {
                Some("happened") => expect![[r#"
                    > start
                      - -> open
                    > run charge {"sum": 3}
                      asked charge
                      start charge/body#1
                    > unknown charge/body other
                      unknown charge/body: ask
                      incident unknown_outcome charge/body
                    > happened charge/body 8
                      resolved unknown_outcome: happened
                      done charge/body = 8
                      done charge = 8
                "#]],
                Some("skip") => expect![[r#"
                    > start
                      - -> open
                    > run charge {"sum": 3}
                      asked charge
                      start charge/body#1
                    > unknown charge/body other
                      unknown charge/body: ask
                      incident unknown_outcome charge/body
                    > skip charge/body 5
                      resolved unknown_outcome: skip
                      done charge/body = 5
                      done charge = 5
                "#]],
                _ => expect![[r#"
                    > start
                      - -> open
                    > run charge {"sum": 3}
                      asked charge
                      start charge/body#1
                    > unknown charge/body other
                      unknown charge/body: ask
                      incident unknown_outcome charge/body
                    > retry charge/body
                      resolved unknown_outcome: retry
                      start charge/body#2
                "#]],
            },
        );
    }
    check_desk(
        "",
        "run charge {\"sum\": 3}\nunknown charge/body other\ncall-off charge\nrun fails\nunknown fails/body keyed",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 3}
              asked charge
              start charge/body#1
            > unknown charge/body other
              unknown charge/body: ask
              incident unknown_outcome charge/body
            > call-off charge
              called off
              cancelled charge/body: cancelled
              cancelled charge: cancelled
              resolved unknown_outcome: cancelled
            > run fails
              asked fails
              start fails/body#1
            > unknown fails/body keyed
              unknown fails/body: fail
              failed fails/body: unknown_outcome
              failed fails: unknown_outcome
        "#]],
    );
}

#[test]
fn money_and_tokens_are_reserved_and_settled_as_those_of_states_are() {
    let answer = "{\"usage\": {\"input_tokens\": 10, \"output_tokens\": 40}}";
    check_desk(
        "usd: 0.05, tokens: 190",
        &format!("run ask\nrun ask\nok ask/body {answer}\nrun ask"),
        expect![[r#"
            > start
              - -> open
            > run ask
              asked ask
              reserve ask/body usd $0.000925, tokens 100, calls 1
              start ask/body#1
            > run ask
              asked ask
              reserve ask/body usd $0.000825, tokens 90, calls 1; max_tokens 80
              start ask/body#1
            > ok ask/body {"usage": {"input_tokens": 10, "output_tokens": 40}}
              settle ask/body usd $0.000425, tokens 50, calls 1
              done ask/body = {"usage":{"input_tokens":10,"output_tokens":40}}
              done ask = {"usage":{"input_tokens":10,"output_tokens":40}}
            > run ask
              asked ask
              exceeded the run by ask/body
              failed ask/body: budget_exceeded
              failed ask: budget_exceeded
        "#]],
    );
    // Nobody knows what it cost: all that it may have cost is spent.
    check_desk(
        "tokens: 150",
        "run ask\nunknown ask/body other\nrun ask\ngive-up ask/body\nrun ask",
        expect![[r#"
            > start
              - -> open
            > run ask
              asked ask
              reserve ask/body usd $0.000925, tokens 100, calls 1
              start ask/body#1
            > unknown ask/body other
              unknown ask/body: ask
              incident unknown_outcome ask/body
            > run ask
              asked ask
              exceeded the run by ask/body
              failed ask/body: budget_exceeded
              failed ask: budget_exceeded
            > give-up ask/body
              resolved unknown_outcome: fail
              settle ask/body usd $0.000925, tokens 100, calls 1
              failed ask/body: unknown_outcome
              failed ask: unknown_outcome
            > run ask
              asked ask
              exceeded the run by ask/body
              failed ask/body: budget_exceeded
              failed ask: budget_exceeded
        "#]],
    );
    check_desk(
        "tokens: 1000",
        "run ask\ncall-off ask",
        expect![[r#"
        > start
          - -> open
        > run ask
          asked ask
          reserve ask/body usd $0.000925, tokens 100, calls 1
          start ask/body#1
        > call-off ask
          called off
          settle ask/body usd $0.000925, tokens 100, calls 1
          cancelled ask/body: cancelled
          cancelled ask: cancelled
    "#]],
    );
    // A budget of its own, around what is given.
    check_desk(
        "",
        r#"do {"type":"sequence","budget":{"calls":1},"effects":[{"type":"call","function":"a","args":{}},{"type":"call","function":"b","args":{}}]}
           ok effect/body/body/0 1"#,
        expect![[r#"
            > start
              - -> open
            > do {"type":"sequence","budget":{"calls":1},"effects":[{"type":"call","function":"a","args":{}},{"type":"call","function":"b","args":{}}]}
              asked effect
              reserve effect/body/body/0 calls 1
              start effect/body/body/0#1
            > ok effect/body/body/0 1
              settle effect/body/body/0 calls 1
              emit budget.warning {"effect_id":"effect/body/body/0","kind":"calls","limit":1,"place":"effect/body","reserved":0,"scope":"effect","spent":1}
              done effect/body/body/0 = 1
              exceeded effect `effect/body` by effect/body/body/1
              failed effect/body/body/1: budget_exceeded
              failed effect/body/body: budget_exceeded
              failed effect/body: budget_exceeded
              failed effect: budget_exceeded
        "#]],
    );
}

#[test]
fn a_budget_of_the_run_that_pauses_holds_it_back_until_more_is_granted() {
    check_desk(
        "calls: 1, on_exceeded: pause",
        "run charge {\"sum\": 1}\nok charge/body 1\nrun charge {\"sum\": 2}\nrun charge {\"sum\": 3}\nresume\nok charge/body 2",
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 1}
              asked charge
              reserve charge/body calls 1
              start charge/body#1
            > ok charge/body 1
              settle charge/body calls 1
              emit budget.warning {"effect_id":"charge/body","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
              done charge/body = 1
              done charge = 1
            > run charge {"sum": 2}
              asked charge
              exceeded the run by charge/body
              paused
            > run charge {"sum": 3}
              refused instance_paused: the instance is paused; resume it first
            > resume
              resumed
              granted the run
              reserve charge/body calls 1
              start charge/body#1
            > ok charge/body 2
              settle charge/body calls 1
              emit budget.warning {"effect_id":"charge/body","kind":"calls","limit":2,"place":"","reserved":0,"scope":"run","spent":2}
              done charge/body = 2
              done charge = 2
        "#]],
    );
}

#[test]
fn what_it_may_not_cost_fails_and_is_undone_whatever_the_budget_says() {
    for action in ["fail", "event"] {
        check_desk(
            &format!("calls: 1, on_exceeded: {action}"),
            "run book\nok book/body/a 1\nok book/body/undo:a/0 null",
            expect![[r#"
                > start
                  - -> open
                > run book
                  asked book
                  reserve book/body/a calls 1
                  start book/body/a#1
                > ok book/body/a 1
                  settle book/body/a calls 1
                  emit budget.warning {"effect_id":"book/body/a","kind":"calls","limit":1,"place":"","reserved":0,"scope":"run","spent":1}
                  done book/body/a = 1
                  exceeded the run by book/body/b
                  failed book/body/b: budget_exceeded
                  undo book/body
                  reserve book/body/undo:a/0 calls 1
                  start book/body/undo:a/0#1
                > ok book/body/undo:a/0 null
                  settle book/body/undo:a/0 calls 1
                  done book/body/undo:a/0 = null
                  done book/body/undo:a/1 = 1
                  {"op":"replace","path":"/n","value":1}
                  done book/body/undo:a = [null,1]
                  failed book/body: budget_exceeded (compensated)
                  failed book: budget_exceeded (compensated)
                  - -> bad
                  finished failed null
            "#]],
        );
    }
}

#[test]
fn an_instance_that_failed_by_it_goes_on_with_it() {
    let broke = "run either\nfail either/body/0 down\n";
    check_desk(
        "",
        &format!("{broke}again\nok either/body/0 1"),
        expect![[r#"
        > start
          - -> open
        > run either
          asked either
          start either/body/0#1
        > fail either/body/0 down
          failed either/body/0: down
          done either/body/1 = 1
          {"op":"replace","path":"/n","value":1}
          done either/body = 1
          done either = 1
          - -> bad
          finished failed null
        > again
          goes on after 7
          start either/body/0#1
        > ok either/body/0 1
          done either/body/0 = 1
          done either/body = 1
          done either = 1
    "#]],
    );
    check_desk(
        "",
        &format!("{broke}leave-out either/body/0 5\nsend go"),
        expect![[r#"
        > start
          - -> open
        > run either
          asked either
          start either/body/0#1
        > fail either/body/0 down
          failed either/body/0: down
          done either/body/1 = 1
          {"op":"replace","path":"/n","value":1}
          done either/body = 1
          done either = 1
          - -> bad
          finished failed null
        > leave-out either/body/0 5
          goes on after 7
          done either/body/0 = 5
          done either/body = 5
          done either = 5
        > send go
          go -> end
          finished completed null
    "#]],
    );
    check_desk(
        "",
        &format!("{broke}again paused\nresume\nok either/body/0 1"),
        expect![[r#"
        > start
          - -> open
        > run either
          asked either
          start either/body/0#1
        > fail either/body/0 down
          failed either/body/0: down
          done either/body/1 = 1
          {"op":"replace","path":"/n","value":1}
          done either/body = 1
          done either = 1
          - -> bad
          finished failed null
        > again paused
          goes on after 7
          paused
        > resume
          resumed
          start either/body/0#1
        > ok either/body/0 1
          done either/body/0 = 1
          done either/body = 1
          done either = 1
    "#]],
    );
    // Another one was running when the first ended the instance.
    check_desk(
        "",
        &format!("run charge {{\"sum\": 1}}\n{broke}again new\nhappened charge/body 1"),
        expect![[r#"
            > start
              - -> open
            > run charge {"sum": 1}
              asked charge
              start charge/body#1
            > run either
              asked either
              start either/body/0#1
            > fail either/body/0 down
              failed either/body/0: down
              done either/body/1 = 1
              {"op":"replace","path":"/n","value":1}
              done either/body = 1
              done either = 1
              - -> bad
              cancelled charge/body: cancelled
              cancelled charge: cancelled
              finished failed null
            > again new
              goes on after 11
              key .7.either/body/0.22
              start either/body/0#1
              released
              unknown charge/body: ask
              incident unknown_outcome charge/body
            > happened charge/body 1
              resolved unknown_outcome: happened
              done charge/body = 1
              done charge = 1
        "#]],
    );
}

#[test]
fn an_instance_that_failed_when_it_had_undone_its_work_does_not_go_on() {
    check_desk(
        "",
        "run book\nok book/body/a 1\nfail book/body/b no\nok book/body/undo:a/0 null\nagain",
        expect![[r#"
            > start
              - -> open
            > run book
              asked book
              start book/body/a#1
            > ok book/body/a 1
              done book/body/a = 1
              start book/body/b#1
            > fail book/body/b no
              failed book/body/b: no
              undo book/body
              start book/body/undo:a/0#1
            > ok book/body/undo:a/0 null
              done book/body/undo:a/0 = null
              done book/body/undo:a/1 = 1
              {"op":"replace","path":"/n","value":1}
              done book/body/undo:a = [null,1]
              failed book/body: no (compensated)
              failed book: no (compensated)
              - -> bad
              finished failed null
            > again
              refused invalid_state: its failure undid work (`book/body`) that cannot be taken for done again; fork it before record 16, or start another instance
        "#]],
    );
    check_desk(
        "",
        "run kept\nok kept/body/0 1\nfail kept/body/1 no\nok kept/undo:body>0/0 null\nagain",
        expect![[r#"
            > start
              - -> open
            > run kept
              asked kept
              start kept/body/0#1
            > ok kept/body/0 1
              done kept/body/0 = 1
              start kept/body/1#1
            > fail kept/body/1 no
              failed kept/body/1: no
              failed kept/body: no
              undo kept
              start kept/undo:body>0/0#1
            > ok kept/undo:body>0/0 null
              done kept/undo:body>0/0 = null
              done kept/undo:body>0/1 = 1
              {"op":"replace","path":"/n","value":1}
              done kept/undo:body>0 = [null,1]
              failed kept: no (compensated)
              - -> bad
              finished failed null
            > again
              refused invalid_state: its failure undid work (`kept`) that cannot be taken for done again; fork it before record 17, or start another instance
        "#]],
    );
}

#[test]
fn what_cannot_be_undone_asks_a_person() {
    let script = "run book\nok book/body/a 1\nfail book/body/b no\nfail book/body/undo:a/0 down\n";
    check_desk(
        "",
        &format!(
            "{script}retry book/body/undo:a\nfail book/body/undo:a/0 down\nskip book/body/undo:a null"
        ),
        expect![[r#"
            > start
              - -> open
            > run book
              asked book
              start book/body/a#1
            > ok book/body/a 1
              done book/body/a = 1
              start book/body/b#1
            > fail book/body/b no
              failed book/body/b: no
              undo book/body
              start book/body/undo:a/0#1
            > fail book/body/undo:a/0 down
              failed book/body/undo:a/0: down
              failed book/body/undo:a: down
              undo failed book/body/undo:a
              incident compensation_failed book/body/undo:a
            > retry book/body/undo:a
              resolved compensation_failed: retry
              start book/body/undo:a/0#1
            > fail book/body/undo:a/0 down
              failed book/body/undo:a/0: down
              failed book/body/undo:a: down
              undo failed book/body/undo:a
              incident compensation_failed book/body/undo:a
            > skip book/body/undo:a null
              resolved compensation_failed: skip
              done book/body/undo:a = null
              failed book/body: no (compensated)
              failed book: no (compensated)
        "#]],
    );
}
