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
        expect![[r#""#]],
    );
}

#[test]
fn parallel_needs_all_and_calls_off_the_rest() {
    let both = "{type: parallel, effects: {l: {type: call, function: f, args: {}}, r: {type: call, function: g, args: {}}}}";
    check_effect(both, "ok w/r 2\nok w/l 1", expect![[r#""#]]);
    check_effect(both, "fail w/r boom", expect![[r#""#]]);
}

#[test]
fn race_takes_the_first_success() {
    let race = "{type: race, effects: [{type: call, function: f, args: {}}, {type: call, function: g, args: {}}]}";
    check_effect(race, "fail w/0 boom\nok w/1 2", expect![[r#""#]]);
    check_effect(race, "fail w/0 boom\nfail w/1 bang", expect![[r#""#]]);
}

#[test]
fn loops_count_and_stop() {
    check_effect(
        "{type: while_loop, cond: \"default(loop, 0) < 3\", max_iterations: 9, effect: {type: value, value: \"${default(loop, 0) + 1}\"}}",
        "",
        expect![[r#""#]],
    );
    check_effect(
        "{type: while_loop, cond: \"true\", max_iterations: 2, effect: {type: value, value: 1}}",
        "",
        expect![[r#""#]],
    );
}

#[test]
fn batch_runs_items_with_bounded_concurrency() {
    check_effect(
        "{type: batch, items: \"${data.list}\", concurrency: 2, effect: {type: call, function: f, args: {n: \"${item * 10 + index}\"}}}",
        "ok w/1 b\nok w/0 a\nok w/2 c".replace(" b", " \"b\"").replace(" a", " \"a\"").replace(" c", " \"c\"").as_str(),
        expect![[r#""#]],
    );
    check_effect(
        "{type: batch, items: \"${data.list}\", fail_fast: false, effect: {type: transform, expr: 6 / (item - 2)}}",
        "",
        expect![[r#""#]],
    );
}

#[test]
fn branches_and_cases_choose_once() {
    check_effect(
        "{type: if_condition, cond: data.n > 0, then: {type: value, value: yes}, else: {type: value, value: no}}",
        "",
        expect![[r#""#]],
    );
    check_effect(
        "{type: case_condition, value: \"${size(data.list)}\", cases: [{when: 2, effect: {type: value, value: two}}, {when: value > 2, effect: {type: value, value: many}}]}",
        "",
        expect![[r#""#]],
    );
}

#[test]
fn data_effects_change_data_and_give_values() {
    check_effect(
        "{type: sequence, effects: [{type: put_data, key: a.b, value: 1}, {type: update_data, key: a.b, expr: value + 1}, {type: get_data, key: zz, default: 5}, {type: delete_data, key: list}, {type: merge_data, value: {k: 1}}, {type: get_result}]}",
        "",
        expect![[r#""#]],
    );
}

#[test]
fn delays_wait_on_durable_timers() {
    check_effect("{type: sequence, effects: [{type: delay, duration: 2s}, {type: value, value: 1}]}", "+1s\n+1s", expect![[r#""#]]);
}

#[test]
fn long_pure_work_goes_on_in_later_steps() {
    check_effect(
        "{type: sequence, returns: last, effects: [{type: while_loop, cond: \"default(loop, 0) < 2500\", max_iterations: 9999, save: n, effect: {type: value, value: \"${default(loop, 0) + 1}\"}}]}",
        "",
        expect![[r#""#]],
    );
}
