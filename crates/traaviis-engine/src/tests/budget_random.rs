//! Random batches of model calls against random budgets: at no record is more spent and reserved
//! than a budget has, and `N` calls against a budget for `k` are `k` at most.

use proptest::prelude::*;
use traaviis_model::{
    Body, DeliveryClass, Snapshot, TenantCtx,
    budget::BudgetKind,
    document::{self, Format},
};

use super::{machine, with_head};
use crate::{Machine, replay, testing::run};

#[derive(Debug)]
struct Case {
    calls: usize,
    concurrency: usize,
    max_tokens: u64,
    tokens: u64,
    usd_micros: u64,
    calls_max: u64,
    /// What each call does: its share of what it may write, or an error; and how long.
    answers: Vec<(u8, u64)>,
    crash_after: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let answers = prop::collection::vec((0u8..12, 0u64..5), 24);
    (1usize..12, 1usize..12, 1u64..400, 1u64..2_000, 1u64..20_000, 1u64..12, answers, 0u64..6)
        .prop_map(
            |(
                calls,
                concurrency,
                max_tokens,
                tokens,
                usd_micros,
                calls_max,
                answers,
                crash_after,
            )| {
                Case {
                    calls,
                    concurrency,
                    max_tokens,
                    tokens,
                    usd_micros,
                    calls_max,
                    answers,
                    crash_after,
                }
            },
        )
}

/// Returns the document; as expressions, what a call reads and may write is known when it runs.
fn document(case: &Case, as_expressions: bool) -> String {
    let (prompt, max_tokens) = match as_expressions {
        true => ("${'12345678'}", format!("\"${{{}}}\"", case.max_tokens)),
        false => ("12345678", case.max_tokens.to_string()),
    };
    // The smallest share that a call can be given is what a truthful model keeps to.
    let least = case.max_tokens.min(64);
    let answers: Vec<String> = case
        .answers
        .iter()
        .map(|(what, delay)| match what {
            0 => format!("{{delay: {delay}s, error: {{code: timeout}}}}"),
            1 => format!("{{delay: {delay}s, error: {{code: provider_unavailable}}}}"),
            2 => format!("{{delay: {delay}s, value: {{text: hi}}}}"),
            share => {
                let written = least * u64::from(*share) / 12;
                format!("{{delay: {delay}s, value: {{usage: {{input_tokens: 2, output_tokens: {written}}}}}}}")
            }
        })
        .collect();
    let usd = format!("0.{:06}", case.usd_micros);
    format!(
        r#"budgets: {{usd: "{usd}", tokens: {}, calls: {}}}
initial: a
states:
  a:
    invoke:
      - id: w
        effect:
          type: batch
          items: "${{range({})}}"
          concurrency: {}
          fail_fast: false
          effect: {{id: ask, type: call_llm, model: gpt-4o, prompt: "{prompt}", max_tokens: {max_tokens}}}
        onDone: b
    on: {{budget.exceeded: {{actions: []}}}}
  b: {{type: final}}
tests:
  - name: t
    mocks: {{ask: [{}]}}
    steps: [{{advance: {}s}}, {{crash: true}}, {{advance: 1h}}]
    expect: {{status: completed}}
"#,
        case.tokens,
        case.calls_max,
        case.calls,
        case.concurrency,
        answers.join(", "),
        case.crash_after,
    )
}

fn holds(case: &Case) {
    let machine = machine(&with_head(&document(case, true)));
    let test = &machine.definition().tests[0];
    let class = |_: &str, _: &_| DeliveryClass::SafeRead;
    let run = run(&machine, &TenantCtx::for_test(1), test, &class);
    assert!(run.is_passed(), "{:?}", run.findings);
    replay(&machine, &run.records).unwrap();
    for at in 1..=run.records.len() {
        let state = Snapshot::fold(&run.records[..at]).unwrap().unwrap();
        for budget in state.budgets.iter() {
            for kind in BudgetKind::ALL {
                let taken = budget.spent.of(kind) + budget.reserved.of(kind);
                let limit = budget.limit(kind).unwrap_or(u64::MAX);
                assert!(taken <= limit, "record {at}: {} {taken} of {limit}", kind.as_str());
            }
        }
    }
    let started = |it: &&traaviis_model::Record| matches!(it.body, Body::EffectStarted { .. });
    let begun = run.records.iter().filter(started).count() as u64;
    let least = 2 + case.max_tokens.min(64);
    assert!(begun <= case.calls_max, "{begun} calls of {}", case.calls_max);
    let refused = run.records.iter().any(|it| matches!(it.body, Body::BudgetExceeded(_)));
    let is_ample = case.calls_max >= 24 && case.tokens >= 24 * (2 + case.max_tokens);
    assert!(!(is_ample && refused), "refused although there is plenty");
    assert!(case.tokens >= least || begun == 0, "{begun} calls begun with {} tokens", case.tokens);
    // What can be known before says that no call begins, exactly when none does.
    let written = document::read(&with_head(&document(case, false)), Format::Yaml);
    let can_begin = match Machine::compile(written.definition.unwrap().into()) {
        Ok(_) => true,
        Err(found) => found.iter().all(|it| it.code != "E153"),
    };
    assert_eq!(can_begin, begun > 0, "{case:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn branches_never_overshoot(case in case()) {
        holds(&case);
    }
}
