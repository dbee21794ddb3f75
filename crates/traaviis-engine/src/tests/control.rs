//! Control kinds besides retry and saga.

use expect_test::expect;

use super::check;

fn check_effect(effect: &str, script: &str, expected: expect_test::Expect) {
    let body = format!(
        r#"
initial: a
data: {{initial: {{n: 0, list: [1, 2, 3]}}}}
states:
  a:
    invoke:
      - id: w
        effect: {effect}
        onDone: {{target: ok}}
        onError: {{target: bad}}
  ok: {{type: final, output: "${{event.data}}"}}
  bad: {{type: final, status: failed, output: "${{event.data.code}}"}}
"#
    );
    check(&body, script, expected);
}

#[test]
fn sequence_passes_results_and_named_steps_on() {
    check_effect(
        "{type: sequence, effects: {x: {type: value, value: 2}, y: {type: transform, expr: result * 10}, z: {type: value, value: \"${steps.x.value + steps.y.value}\"}}}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/x = 2
              done w/y = 20
              done w/z = 22
              done w = {"x":2,"y":20,"z":22}
              done.invoke.w -> ok
              finished completed {"x":2,"y":20,"z":22}
        "#]],
    );
}

#[test]
fn parallel_needs_all_and_calls_off_the_rest() {
    let both = "{type: parallel, effects: {l: {type: call, function: f, args: {}}, r: {type: call, function: g, args: {}}}}";
    check_effect(
        both,
        "ok w/r 2\nok w/l 1",
        expect![[r#"
            > start
              - -> a
              start w/l#1
              start w/r#1
            > ok w/r 2
              done w/r = 2
            > ok w/l 1
              done w/l = 1
              done w = {"l":1,"r":2}
              done.invoke.w -> ok
              finished completed {"l":1,"r":2}
        "#]],
    );
    check_effect(
        both,
        "fail w/r boom",
        expect![[r#"
            > start
              - -> a
              start w/l#1
              start w/r#1
            > fail w/r boom
              failed w/r: boom
              cancelled w/l: sibling_failed
              failed w: boom
              error.invoke.w -> bad
              finished failed "boom"
        "#]],
    );
}

#[test]
fn race_takes_the_first_success() {
    let race = "{type: race, effects: [{type: call, function: f, args: {}}, {type: call, function: g, args: {}}]}";
    check_effect(
        race,
        "fail w/0 boom\nok w/1 2",
        expect![[r#"
            > start
              - -> a
              start w/0#1
              start w/1#1
            > fail w/0 boom
              failed w/0: boom
            > ok w/1 2
              done w/1 = 2
              done w = 2
              done.invoke.w -> ok
              finished completed 2
        "#]],
    );
    check_effect(
        race,
        "fail w/0 boom\nfail w/1 bang",
        expect![[r#"
            > start
              - -> a
              start w/0#1
              start w/1#1
            > fail w/0 boom
              failed w/0: boom
            > fail w/1 bang
              failed w/1: bang
              failed w: bang
              error.invoke.w -> bad
              finished failed "bang"
        "#]],
    );
}

#[test]
fn loops_count_and_stop() {
    check_effect(
        "{type: while_loop, cond: \"default(loop, 0) < 3\", max_iterations: 9, effect: {type: value, value: \"${default(loop, 0) + 1}\"}}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/body = 1
              done w/body = 2
              done w/body = 3
              done w = 3
              done.invoke.w -> ok
              finished completed 3
        "#]],
    );
    check_effect(
        "{type: while_loop, cond: \"true\", max_iterations: 2, effect: {type: value, value: 1}}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/body = 1
              done w/body = 1
              failed w: max_iterations_exceeded
              error.invoke.w -> bad
              finished failed "max_iterations_exceeded"
        "#]],
    );
}

#[test]
fn batch_runs_items_with_bounded_concurrency() {
    check_effect(
        "{type: batch, items: \"${data.list}\", concurrency: 2, effect: {type: call, function: f, args: {n: \"${item * 10 + index}\"}}}",
        "ok w/1 b\nok w/0 a\nok w/2 c"
            .replace(" b", " \"b\"")
            .replace(" a", " \"a\"")
            .replace(" c", " \"c\"")
            .as_str(),
        expect![[r#"
            > start
              - -> a
              start w/0#1
              start w/1#1
            > ok w/1 "b"
              done w/1 = "b"
              start w/2#1
            > ok w/0 "a"
              done w/0 = "a"
            > ok w/2 "c"
              done w/2 = "c"
              done w = ["a","b","c"]
              done.invoke.w -> ok
              finished completed ["a","b","c"]
        "#]],
    );
    check_effect(
        "{type: batch, items: \"${data.list}\", fail_fast: false, effect: {type: transform, expr: 6 / (item - 2)}}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/0 = -6
              failed w/1: expression_error
              done w/2 = 6
              done w = [{"ok":-6},{"error":{"attempt":0,"cause":null,"code":"expression_error","compensated":false,"compensations":[],"details":null,"kind":"transform","message":"division by zero","path":"w/1","retryable":false}},{"ok":6}]
              done.invoke.w -> ok
              finished completed [{"ok":-6},{"error":{"attempt":0,"cause":null,"code":"expression_error","compensated":false,"compensations":[],"details":null,"kind":"transform","message":"division by zero","path":"w/1","retryable":false}},{"ok":6}]
        "#]],
    );
}

#[test]
fn branches_and_cases_choose_once() {
    check_effect(
        "{type: if_condition, cond: data.n > 0, then: {type: value, value: yes}, else: {type: value, value: no}}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/else = "no"
              done w = "no"
              done.invoke.w -> ok
              finished completed "no"
        "#]],
    );
    check_effect(
        "{type: case_condition, value: \"${size(data.list)}\", cases: [{when: 2, effect: {type: value, value: two}}, {when: value > 2, effect: {type: value, value: many}}]}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/case1 = "many"
              done w = "many"
              done.invoke.w -> ok
              finished completed "many"
        "#]],
    );
}

#[test]
fn data_effects_change_data_and_give_values() {
    check_effect(
        "{type: sequence, effects: [{type: put_data, key: a.b, value: 1}, {type: update_data, key: a.b, expr: value + 1}, {type: get_data, key: zz, default: 5}, {type: delete_data, key: list}, {type: merge_data, value: {k: 1}}, {type: get_result}]}",
        "",
        expect![[r#"
            > start
              - -> a
              done w/0 = 1
              {"op":"add","path":"/a","value":{"b":1}}
              done w/1 = 2
              {"op":"replace","path":"/a/b","value":2}
              done w/2 = 5
              done w/3 = [1,2,3]
              {"op":"remove","path":"/list"}
              done w/4 = {"a":{"b":2},"k":1,"n":0}
              {"op":"add","path":"/k","value":1}
              done w/5 = {"a":{"b":2},"k":1,"n":0}
              done w = [1,2,5,[1,2,3],{"a":{"b":2},"k":1,"n":0},{"a":{"b":2},"k":1,"n":0}]
              done.invoke.w -> ok
              finished completed [1,2,5,[1,2,3],{"a":{"b":2},"k":1,"n":0},{"a":{"b":2},"k":1,"n":0}]
        "#]],
    );
}

#[test]
fn delays_wait_on_durable_timers() {
    check_effect(
        "{type: sequence, effects: [{type: delay, duration: 2s}, {type: value, value: 1}]}",
        "+1s\n+1s",
        expect![[r#"
            > start
              - -> a
            > at 2s
              done w/0 = null
              done w/1 = 1
              done w = [null,1]
              done.invoke.w -> ok
              finished completed [null,1]
        "#]],
    );
}

#[test]
fn long_pure_work_goes_on_in_later_steps() {
    let body = r#"
initial: a
states:
  a:
    invoke:
      - id: w
        effect: {type: while_loop, cond: "default(loop, 0) < 2500", max_iterations: 9999, effect: {type: value, value: "${default(loop, 0) + 1}"}}
        onDone: {target: ok}
  ok: {type: final, output: "${event.data}"}
"#;
    let trace = super::trace(body, "", traaviis_model::Value::empty_map());
    assert!(trace.ends_with("finished completed 2500\n"), "{trace}");
    let machine = super::machine(&super::with_head(body));
    assert!(super::World::new(&machine, traaviis_model::Value::empty_map()).snapshot.step > 2);
}

#[test]
fn what_would_forget_compensations_is_refused() {
    let errors = |effect: &str| {
        let body = format!("initial: a\nstates: {{a: {{invoke: [{{id: w, effect: {effect}}}]}}}}");
        let read = traaviis_model::document::read(
            &super::with_head(&body),
            traaviis_model::document::Format::Yaml,
        );
        let definition = read.definition.unwrap_or_else(|| panic!("{:?}", read.diagnostics));
        match crate::Machine::compile(std::sync::Arc::new(definition)) {
            Ok(_) => "accepted".to_string(),
            Err(found) => found.iter().map(|it| format!("{} {}", it.code, it.message)).collect(),
        }
    };
    let undoing = "{type: call, function: f, compensation: {type: call, function: g}}";
    let sequence = format!("{{type: sequence, effects: [{undoing}, {undoing}]}}");
    let saga = format!("{{type: saga, steps: [{{id: s, action: {undoing}}}]}}");
    let retried = |body: &str| errors(&format!("{{type: retry, effect: {body}}}"));
    let looped = |body: &str| {
        errors(&format!("{{type: while_loop, cond: 'true', max_iterations: 3, effect: {body}}}"))
    };
    assert_eq!(retried(undoing), "accepted");
    let tries = "E190 compensations of a try that fails inside `retry` would be forgotten when it begins again";
    assert_eq!(retried(&sequence), tries);
    assert_eq!(retried(&saga), tries);
    let rounds =
        "E190 compensations of a round inside `while_loop` would be forgotten when it begins again";
    assert_eq!(looped(undoing), rounds);
    assert_eq!(looped(&saga), rounds);
    assert_eq!(looped("{type: call, function: f}"), "accepted");
}

#[test]
fn an_outcome_of_a_former_round_is_not_taken_for_this_one() {
    // The call of round 1 loses against the delay; the same path is called again in round 2.
    let body = "\ninitial: a\nstates:\n  a:\n    invoke:\n      - id: w\n        effect: {type: while_loop, cond: 'true', max_iterations: 2, effect: {type: race, effects: [{type: call, function: f}, {type: delay, duration: 5s}]}}\n        onDone: {target: ok}\n  ok: {type: final, output: \"${event.data}\"}\n";
    check(
        body,
        "+5s\nstale w/body/0 1\nok w/body/0 2",
        expect![[r#"
            > start
              - -> a
              key .3.w/body/0.7
              start w/body/0#1
            > at 5s
              done w/body/1 = null
              cancelled w/body/0: lost_race
              done w/body = null
              key .3.w/body/0.18
              start w/body/0#1
            > stale w/body/0 1
              late w/body/0
            > ok w/body/0 2
              done w/body/0 = 2
              cancelled w/body/1: lost_race
              done w/body = 2
              failed w: max_iterations_exceeded
              finished failed null
        "#]],
    );
}

#[test]
fn steps_with_large_values_are_divided() {
    let body = r#"
initial: a
data: {initial: {blob: "${input.blob}"}}
states:
  a:
    invoke:
      - id: w
        effect: {type: batch, items: "${range(40)}", effect: {type: value, value: "${data.blob}"}}
        onDone: {target: ok}
        onError: {target: bad}
  ok: {type: final}
  bad: {type: final, status: failed, output: "${event.data.code}"}
"#;
    let machine = super::machine(&super::with_head(body));
    let ctx = traaviis_model::TenantCtx::for_test(1);
    let id = traaviis_model::InstanceId(uuid::Uuid::from_u128(1));
    let blob = traaviis_model::Value::from("x".repeat(900_000));
    let input = traaviis_model::Value::map([("blob", blob)]);
    let run =
        crate::simulate::Simulation::start(&machine, &ctx, id, input, traaviis_model::Timestamp(0))
            .unwrap();
    let mut steps = std::collections::BTreeMap::new();
    for record in run.records() {
        let mut line = Vec::new();
        record.write_line(&mut line);
        *steps.entry(record.header.step).or_insert(0) += line.len();
    }
    assert!(steps.len() > 4, "{steps:?}");
    let largest = steps.values().max().copied().unwrap_or_default();
    assert!(largest < traaviis_model::limits::STEP_BYTES_MAX, "{steps:?}");
}

#[test]
fn a_priority_holds_for_what_is_below_until_another_stands_there() {
    let machine = super::machine(&super::with_head(
        r#"
defaults: {priority: 2}
initial: a
effects:
  named: {type: call, function: f}
states:
  a:
    invoke:
      - {id: plain, effect: {type: call, function: f}}
      - id: tree
        effect:
          type: parallel
          priority: 5
          effects:
            - {type: call, function: f}
            - {type: call, function: f, priority: -3}
            - {type: use, effect: named}
            - {type: sequence, effects: [{type: call, function: f}], timeout: 1m}
      - {id: last, effect: {type: call, function: f}}
"#,
    ));
    let ctx = traaviis_model::TenantCtx::for_test(1);
    let id = traaviis_model::InstanceId(uuid::Uuid::from_u128(1));
    let context = super::context(traaviis_model::Timestamp(0));
    let begun = crate::start(&machine, &ctx, id, traaviis_model::Value::empty_map(), &context);
    let snapshot = begun.unwrap().snapshot;
    let found: Vec<(String, i8)> = snapshot
        .calls()
        .map(|(tree, path, _)| {
            (path.to_string(), crate::priority_of(&machine, &snapshot, tree, path))
        })
        .collect();
    let expected = [
        ("plain", 2),
        ("tree/0", 5),
        ("tree/1", -3),
        ("tree/2/body", 5),
        ("tree/3/body/0", 5),
        ("last", 2),
    ];
    assert_eq!(found, expected.map(|(path, it)| (path.to_string(), it)));
    assert_eq!(crate::priority_of(&machine, &snapshot, 99, "plain"), 0);
}
