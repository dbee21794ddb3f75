use std::time::{Duration, Instant};

use expect_test::expect;

use crate::cli::{PURE, World};

const SHOP: &str = r#"
traaviis: "1"
name: Shop
version: 1.0.0
initial: paying
events: {stop: {}}
states:
  paying:
    on: {stop: stopped}
    invoke:
      - id: pay
        effect: {type: call, function: bank.charge, args: {}}
        onDone:
          - {target: paid, guard: result.ok}
          - {target: refused}
        onError: refused
  paid: {type: final}
  refused: {type: final, status: failed}
  stopped: {type: final, status: cancelled}
tests:
  - {name: pays, mocks: {bank.charge: [{ok: true}]}, expect: {status: completed}}
  - {name: is refused, mocks: {bank.charge: [{ok: false}]}, expect: {status: failed, called: {pay: 1}}}
"#;

const MONTH: &str = r#"
traaviis: "1"
name: Month
version: 1.0.0
initial: trying
data: {initial: {hours: 0}}
states:
  trying:
    after: {30d: over}
    initial: hour
    states:
      hour: {after: {1h: {target: hour, actions: [{assign: {hours: "${data.hours + 1}"}}]}}}
  over: {type: final, output: {hours: "${data.hours}"}}
tests:
  - {name: a month, steps: [{advance: 29d}, {crash: true}, {advance: 1d}], expect: {status: completed, output: {hours: 719}, min_virtual_delay: 30d}}
"#;

#[test]
fn tests_that_pass_are_listed_with_what_they_reach() {
    let world = World::new().file("shop.yaml", SHOP);
    world.check(
        "test shop.yaml",
        expect![[r#"
        exit 0
        shop.yaml: Shop 1.0.0
          ✓ pays
          ✓ is refused
          2 passed, 0 failed; transitions 2 of 4 (50 %), guard outcomes 2 of 2 (100 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:16:18: never taken: paying: onError of pay → refused
    "#]],
    );
    world.check("test shop.yaml --json", expect![[r#"
        exit 0
        {"file":"shop.yaml","findings":[],"passed":true,"records":8,"test":"pays","virtual_time":"0s"}
        {"file":"shop.yaml","findings":[],"passed":true,"records":8,"test":"is refused","virtual_time":"0s"}
        {"coverage":{"guard_outcomes":{"covered":2,"percent":100,"total":2},"not_reached":[{"column":16,"file":"shop.yaml","line":9,"message":"never taken: paying: on stop → stopped","path":"/states/paying/on/stop"},{"column":18,"file":"shop.yaml","line":16,"message":"never taken: paying: onError of pay → refused","path":"/states/paying/invoke/0/onError"}],"transitions":{"covered":2,"percent":50,"total":4}},"failed":0,"file":"shop.yaml","passed":2,"version":"1.0.0","workflow":"Shop"}
    "#]]);
    world.check(
        "test shop.yaml --filter refused",
        expect![[r#"
        exit 0
        shop.yaml: Shop 1.0.0
          ✓ is refused
          1 passed, 0 failed; transitions 1 of 4 (25 %), guard outcomes 1 of 2 (50 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:14:13: never taken: paying: onDone of pay → paid
            shop.yaml:14:35: guard never true: result.ok
            shop.yaml:16:18: never taken: paying: onError of pay → refused
    "#]],
    );
    world.check(
        "test shop.yaml --min-coverage 50",
        expect![[r#"
            exit 0
            shop.yaml: Shop 1.0.0
              ✓ pays
              ✓ is refused
              2 passed, 0 failed; transitions 2 of 4 (50 %), guard outcomes 2 of 2 (100 %)
                shop.yaml:9:16: never taken: paying: on stop → stopped
                shop.yaml:16:18: never taken: paying: onError of pay → refused
        "#]],
    );
    world.check(
        "test shop.yaml --min-coverage 80",
        expect![[r#"
        exit 1
        shop.yaml: Shop 1.0.0
          ✓ pays
          ✓ is refused
          2 passed, 0 failed; transitions 2 of 4 (50 %), guard outcomes 2 of 2 (100 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:16:18: never taken: paying: onError of pay → refused
        shop.yaml: 50 % of transitions are covered, less than 80 %
    "#]],
    );
}

#[test]
fn a_test_that_fails_shows_findings_and_trace() {
    let wrong =
        SHOP.replace("expect: {status: completed}", "expect: {status: failed, state: stopped}");
    let world = World::new().file("shop.yaml", &wrong);
    world.check(
        "test shop.yaml",
        expect![[r#"
        exit 1
        shop.yaml: Shop 1.0.0
          ✗ pays
              shop.yaml:21:86: expected state `stopped`, found state `paid`
              shop.yaml:21:71: expected status `failed`, found `completed` in state `paid`
        T  ● Shop 1.0.0
        T  → paying
        T    → pay  bank.charge  {}
        T    ✓ pay   {"ok":true}
        T  paying → paid  on done.invoke.pay  [result.ok]
        T  ■ completed
          ✓ is refused
          1 passed, 1 failed; transitions 2 of 4 (50 %), guard outcomes 2 of 2 (100 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:16:18: never taken: paying: onError of pay → refused
    "#]],
    );
    let month = MONTH.replace("hours: 719", "hours: 720");
    let long = World::new().file("month.yaml", &month).file("shop.yaml", SHOP);
    long.check(
        "test month.yaml shop.yaml --filter month",
        expect![[r#"
        exit 1
        month.yaml: Month 1.0.0
          ✗ a month
              month.yaml:15:120: expected `output.hours` to be 720, found 719
              … 2863 lines before
                 29d19h  ⏲ 1h00m at most in trying.hour
                 29d20h  ⏲ 1h00m in trying.hour are over
                 29d20h  trying.hour → trying.hour  on after.trying.hour
                 29d20h  data hours=716
                 29d20h  ⏲ 1h00m at most in trying.hour
                 29d21h  ⏲ 1h00m in trying.hour are over
                 29d21h  trying.hour → trying.hour  on after.trying.hour
                 29d21h  data hours=717
                 29d21h  ⏲ 1h00m at most in trying.hour
                 29d22h  ⏲ 1h00m in trying.hour are over
                 29d22h  trying.hour → trying.hour  on after.trying.hour
                 29d22h  data hours=718
                 29d22h  ⏲ 1h00m at most in trying.hour
                 29d23h  ⏲ 1h00m in trying.hour are over
                 29d23h  trying.hour → trying.hour  on after.trying.hour
                 29d23h  data hours=719
                 29d23h  ⏲ 1h00m at most in trying.hour
                  30d0h  ⏲ 30d0h in trying are over
                  30d0h  trying.hour → over  on after.trying
                  30d0h  ■ completed
          0 passed, 1 failed; transitions 2 of 2 (100 %), guard outcomes 0 of 0 (100 %)
        0 passed, 1 failed
    "#]],
    );
    world.check("test shop.yaml --json --filter pays", expect![[r#"
        exit 1
        {"file":"shop.yaml","findings":[{"column":86,"expected":"state `stopped`","file":"shop.yaml","found":"state `paid`","line":21,"path":"/tests/0/expect/state"},{"column":71,"expected":"status `failed`","file":"shop.yaml","found":"`completed` in state `paid`","line":21,"path":"/tests/0/expect/status"}],"passed":false,"records":8,"test":"pays","trace":["   T  ● Shop 1.0.0","   T  → paying","   T    → pay  bank.charge  {}","   T    ✓ pay   {\"ok\":true}","   T  paying → paid  on done.invoke.pay  [result.ok]","   T  ■ completed"],"virtual_time":"0s"}
        {"coverage":{"guard_outcomes":{"covered":1,"percent":50,"total":2},"not_reached":[{"column":16,"file":"shop.yaml","line":9,"message":"never taken: paying: on stop → stopped","path":"/states/paying/on/stop"},{"column":35,"file":"shop.yaml","line":14,"message":"guard never false: result.ok","path":"/states/paying/invoke/0/onDone/0/guard"},{"column":13,"file":"shop.yaml","line":15,"message":"never taken: paying: onDone of pay → refused","path":"/states/paying/invoke/0/onDone/1"},{"column":18,"file":"shop.yaml","line":16,"message":"never taken: paying: onError of pay → refused","path":"/states/paying/invoke/0/onError"}],"transitions":{"covered":1,"percent":25,"total":4}},"failed":1,"file":"shop.yaml","passed":0,"version":"1.0.0","workflow":"Shop"}
    "#]]);
}

#[test]
fn a_guard_turned_round_is_noticed() {
    let turned = SHOP.replace("guard: result.ok", "guard: \"!result.ok\"");
    let world = World::new().file("shop.yaml", &turned);
    let output = world.run(&["test", "shop.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 passed, 2 failed"));
}

#[test]
fn what_cannot_be_tested_is_a_finding_and_the_others_are_tested() {
    let world = World::new()
        .file("pure.yaml", PURE)
        .file("shop.yaml", SHOP)
        .file("bad.yaml", &SHOP.replace("mocks", "moks"))
        .file("task.yaml", &SHOP.replace("{status: failed, ", "{max_usd: much, status: failed, "));
    world.check("test pure.yaml bad.yaml task.yaml shop.yaml", expect![[r#"
        exit 1
        bad.yaml:21:18: E101 unknown key `moks` in a test
          hint: did you mean `mocks`?
        bad.yaml:22:24: E101 unknown key `moks` in a test
          hint: did you mean `mocks`?
        task.yaml:22:79: E101 `max_usd` must be dollars with at most 6 decimals, such as 0.50, found text
        shop.yaml: Shop 1.0.0
          ✓ pays
          ✓ is refused
          2 passed, 0 failed; transitions 2 of 4 (50 %), guard outcomes 2 of 2 (100 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:16:18: never taken: paying: onError of pay → refused
        2 passed, 0 failed
        error: `pure.yaml` has no tests; write them under `tests` (no_tests)
        error: `bad.yaml` has 2 error(s); nothing was done (definition_invalid)
        error: `task.yaml` has 1 error(s); nothing was done (definition_invalid)
    "#]]);
    world.check(
        "test pure.yaml shop.yaml --filter pays",
        expect![[r#"
        exit 1
        shop.yaml: Shop 1.0.0
          ✓ pays
          1 passed, 0 failed; transitions 1 of 4 (25 %), guard outcomes 1 of 2 (50 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:14:35: guard never false: result.ok
            shop.yaml:15:13: never taken: paying: onDone of pay → refused
            shop.yaml:16:18: never taken: paying: onError of pay → refused
        1 passed, 0 failed
        error: `pure.yaml` has no tests; write them under `tests` (no_tests)
    "#]],
    );
    world.check(
        "test shop.yaml --filter nothing",
        expect![[r#"
            exit 1
            error: no test has `nothing` in its name (no_tests)
        "#]],
    );
    world.check(
        "test pure.yaml --json",
        expect![[r#"
        exit 1
        {"error":{"code":"no_tests","message":"`pure.yaml` has no tests; write them under `tests`"}}
    "#]],
    );
    world.check(
        "test",
        expect![[r#"
            exit 2
            error: no file is named, and this folder has no `workflow.yaml` (usage)
        "#]],
    );
}

#[test]
fn after_a_crash_the_connectors_file_says_what_may_be_repeated() {
    let crash = SHOP.replace(
        "mocks: {bank.charge: [{ok: true}]},",
        "mocks: {bank.charge: [{delay: 2s, value: {ok: true}}]}, steps: [{crash: true}, {advance: 2s}],",
    );
    let world = World::new().file("shop.yaml", &crash);
    world.check("test shop.yaml --filter pays", expect![[r#"
        exit 1
        shop.yaml: Shop 1.0.0
          ✗ pays
              shop.yaml:21:130: expected status `completed`, found `incident` in state `paying` (unknown_outcome: attempt 1 of `pay` was running when the process stopped; nobody recorded whether it happened)
        T  ● Shop 1.0.0
        T  → paying
        T    → pay  bank.charge  {}
        T    ? pay  outcome unknown after attempt 1; a person decides
        T  ! incident unknown_outcome at pay: attempt 1 of `pay` was running when the process stopped; nobody recorded whether it happened
          0 passed, 1 failed; transitions 0 of 4 (0 %), guard outcomes 0 of 2 (0 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:14:13: never taken: paying: onDone of pay → paid
            shop.yaml:14:35: guard never evaluated: result.ok
            shop.yaml:15:13: never taken: paying: onDone of pay → refused
            shop.yaml:16:18: never taken: paying: onError of pay → refused
    "#]]);
    let world = world.file(
        "connectors.yaml",
        "traaviis: \"1\"\nkind: connectors\nbase_url: http://127.0.0.1:1\nfunctions: {bank.charge: {method: POST, path: /charge, side_effect: true, idempotent: true}}\n",
    );
    world.check(
        "test shop.yaml --filter pays",
        expect![[r#"
        exit 0
        shop.yaml: Shop 1.0.0
          ✓ pays
          1 passed, 0 failed; transitions 1 of 4 (25 %), guard outcomes 1 of 2 (50 %)
            shop.yaml:9:16: never taken: paying: on stop → stopped
            shop.yaml:14:35: guard never false: result.ok
            shop.yaml:15:13: never taken: paying: onDone of pay → refused
            shop.yaml:16:18: never taken: paying: onError of pay → refused
    "#]],
    );
}

#[test]
fn a_month_passes_in_less_than_a_second() {
    let world = World::new().file("month.yaml", MONTH);
    let begun = Instant::now();
    world.check(
        "test month.yaml",
        expect![[r#"
        exit 0
        month.yaml: Month 1.0.0
          ✓ a month
          1 passed, 0 failed; transitions 2 of 2 (100 %), guard outcomes 0 of 0 (100 %)
    "#]],
    );
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn people_answer_in_tests() {
    let review = r#"
traaviis: "1"
name: Review
version: 1.0.0
initial: review
effects:
  ask: {type: approval, id: boss, title: "Pay?", deadline: 2d}
states:
  review:
    invoke:
      - id: pay
        effect: {type: use, effect: ask}
        onDone: {target: paid}
        onError: {target: refused}
  paid: {type: final}
  refused: {type: final, status: failed, output: "${event.data.code}"}
tests:
  - name: approved
    steps: [{complete_task: boss, with: {outcome: maybe}, refused: validation_failed}, {complete_task: boss, with: {outcome: approved}}]
    expect: {status: completed}
  - name: denied
    steps: [{crash: true}, {complete_task: pay/body, with: {outcome: denied, comment: too much}}]
    expect: {output: approval_denied}
  - name: too late
    steps: [{advance: 2d}, {complete_task: boss, with: {outcome: approved}}]
    expect: {output: human_task_expired}
"#;
    World::new().file("review.yaml", review).check(
        "test review.yaml",
        expect![[r#"
        exit 1
        review.yaml: Review 1.0.0
          ✓ approved
          ✓ denied
          ✗ too late
              review.yaml:25:28: expected task `boss` to be open, found no open task
        T  ● Review 1.0.0
        T  → review
        T    pay use
        T      body approval
        T      ☐ body  waits for people
                   2d0h      ⏲ body: 2d0h are over
                   2d0h      ☐ body  expired
                   2d0h      ✗ body  human_task_expired: nobody answered the task in time
                   2d0h    ✗ pay  human_task_expired: nobody answered the task in time
                   2d0h  review → refused  on error.invoke.pay
                   2d0h  ■ failed
          2 passed, 1 failed; transitions 2 of 2 (100 %), guard outcomes 0 of 0 (100 %)
    "#]],
    );
}
