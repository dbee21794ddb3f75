//! What is counted is exact, whatever happens in between: kills, a projection that is gone, forks,
//! time zones and clocks that are changed.

use std::sync::Arc;

use serde_json::json;
use traaviis_model::{
    Actor, Body, DefinitionHash, Header, InstanceId, Record, Seq, Span, TenantCtx, TenantId,
    Timestamp, Value,
    budget::Amounts,
    permission::Permission,
    record::{BudgetReserved, Forked, ModelUse, RECORD_VERSION, Results, Status, Upgraded},
};
use traaviis_platform::{
    Entered,
    alerts::Alert,
    expected::Expected,
    usage::{OpenSocket, Used},
};
use traaviis_policy::{
    access::Action,
    invoice::decimal,
    plan::{Metric, Plan},
};
use traaviis_ports::{Append, Lines, LogStore as _, append_alone};

use crate::{alert_rules::keep, world::World};

const HOUR: i64 = 3_600;

/// An instance with a name, for its records.
struct Of {
    tenant: TenantId,
    instance: u128,
    definition: u8,
}

impl Of {
    fn id(&self) -> InstanceId {
        InstanceId(uuid::Uuid::from_u128(0x9_0000 + self.instance))
    }

    fn record(&self, seq: Seq, at: Timestamp, body: Body) -> Record {
        let header = Header {
            origin: None,
            tenant_id: self.tenant,
            instance_id: self.id(),
            seq,
            v: RECORD_VERSION,
            at,
            step: seq,
            definition_hash: DefinitionHash([self.definition; 32]),
            actor: Actor::local(),
            causation_id: None,
            correlation_id: None,
        };
        Record { header, body }
    }

    /// Puts records into the log in one step, from a number on.
    fn put(&self, world: &World, first: Seq, bodies: Vec<(Timestamp, Body)>) {
        let numbered = (first..).zip(bodies);
        let records: Vec<Record> =
            numbered.map(|(seq, (at, body))| self.record(seq, at, body)).collect();
        let append = Append {
            stream: self.id(),
            first_seq: first,
            count: records.len() as u32,
            lines: Lines::Of(Arc::new(records)),
            ends_stream: false,
            known_to: world.log.tail(),
            subject: None,
        };
        let ctx = TenantCtx::for_test(self.tenant.0.as_u128());
        append_alone(&*world.log, &ctx, append).recv().unwrap().unwrap();
    }

    fn now(&self, world: &World, first: Seq, bodies: Vec<Body>) {
        let now = world.platform.now();
        self.put(world, first, bodies.into_iter().map(|it| (now, it)).collect());
    }
}

fn created() -> Body {
    Body::Created {
        workflow: "Order".into(),
        version: "1.0.0".into(),
        input: Value::Null,
        data: Value::Null,
        correlation: None,
        lineage: None,
        tags: Default::default(),
        labels: Default::default(),
        created_by: None,
        subject: None,
    }
}

fn transition() -> Body {
    Body::Transition {
        from: Default::default(),
        to: Default::default(),
        event: None,
        candidates: Default::default(),
        guards: Default::default(),
        exited: Default::default(),
        entered: Default::default(),
        remembered: Vec::new(),
        microstep: 1,
    }
}

fn effect() -> Body {
    let (tree, path) = (1, "ask".into());
    Body::EffectScheduled { tree, path, effect: "call".into(), input: Value::Null, key: None }
}

fn task() -> Body {
    Body::TaskCreated { tree: 1, path: "approve".into() }
}

fn finished() -> Body {
    Body::Finished { status: Status::Completed, output: Value::Null, error: None }
}

fn asks_model(tokens: u64) -> [Body; 2] {
    let cost = Amounts { tokens, usd_micros: tokens * 2, calls: 1, ..Amounts::default() };
    let (tree, path) = (1, traaviis_model::Text::from("ask"));
    let reserved = BudgetReserved {
        tree,
        path: path.clone(),
        amounts: cost,
        of: Vec::new(),
        max_tokens: None,
        unpriced: None,
    };
    let (input_tokens, output_tokens) = (tokens / 4, tokens - tokens / 4);
    let model = ModelUse { model: "gpt-4o".into(), input_tokens, output_tokens };
    [
        Body::BudgetReserved(Box::new(reserved)),
        Body::BudgetSettled { tree, path, cost, model: Some(Box::new(model)) },
    ]
}

fn forked(from: &Of, shared: Seq) -> Body {
    Body::Forked(Box::new(Forked {
        from: from.id(),
        shared,
        reason: None,
        results: Results::Recorded,
        told: Vec::new(),
        timers: Vec::new(),
        patch: Vec::new(),
        paused: false,
        by: None,
    }))
}

fn enter(world: &World, permission: Permission) -> (TenantId, Entered) {
    let ada = world.log_in("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    (tenant, world.enter(&world.caller(&ada), tenant, Action::Needs(permission)).unwrap())
}

fn of(world: &World) -> (TenantId, Entered) {
    enter(world, Permission::TenantBilling)
}

fn used(world: &World) -> Used {
    world.platform.usage(&of(world).1, None).unwrap()
}

fn metric(used: &Used, metric: Metric) -> u64 {
    used.used.iter().find(|it| it.0 == metric).unwrap().1
}

/// The metrics that records count.
const COUNTED: [Metric; 8] = [
    Metric::WorkflowExecutions,
    Metric::StateTransitions,
    Metric::EffectExecutions,
    Metric::HumanTasks,
    Metric::LlmTokens,
    Metric::LlmInputTokens,
    Metric::LlmOutputTokens,
    Metric::LlmCost,
];

fn counted(used: &Used) -> [u64; 8] {
    COUNTED.map(|it| metric(used, it))
}

/// Has the process die in one of three ways: after it has put its counts down, before, and with
/// everything lost that is made from the log.
fn killed(world: World, how: usize) -> World {
    match how % 3 {
        0 => {
            world.platform.keep_usage().unwrap();
            world.restarted()
        }
        1 => world.restarted(),
        _ => world.rebuilt(),
    }
}

#[test]
fn every_metric_counts_each_cause_once_whenever_the_process_dies() {
    let cases: [(Vec<Body>, [u64; 8]); 6] = [
        (vec![created()], [1, 0, 0, 0, 0, 0, 0, 0]),
        (vec![transition()], [0, 1, 0, 0, 0, 0, 0, 0]),
        (vec![effect()], [0, 0, 1, 0, 0, 0, 0, 0]),
        (vec![task()], [0, 0, 0, 1, 0, 0, 0, 0]),
        (asks_model(40).into(), [0, 0, 0, 0, 40, 10, 30, 80]),
        (vec![finished()], [0; 8]),
    ];
    for how in 0..3 {
        let mut world = World::new();
        world.register("ada@example.org");
        let (tenant, _) = of(&world);
        let instance = Of { tenant, instance: 1, definition: 7 };
        let (mut expected, mut seq) = ([0; 8], 1);
        for (step, (bodies, counts)) in cases.iter().enumerate() {
            instance.now(&world, seq, bodies.clone());
            seq += bodies.len() as u64;
            expected.iter_mut().zip(counts).for_each(|(it, more)| *it += more);
            // It was looked at before it dies, or not.
            if step % 2 == 0 {
                assert_eq!(counted(&used(&world)), expected, "{how} {step}");
            }
            world = killed(world, how);
            let used = used(&world);
            assert_eq!(counted(&used), expected, "{how} {step}");
            let workflow = &used.counts.by_workflow["Order"];
            assert_eq!(COUNTED.map(|it| workflow.of(it).unwrap()), expected, "{how} {step}");
            let day = &used.counts.by_day["2027-01-15"];
            assert_eq!(COUNTED.map(|it| day.of(it).unwrap()), expected, "{how} {step}");
        }
        let by_model = &used(&world).counts.by_model["gpt-4o"];
        assert_eq!((by_model.llm_tokens, by_model.llm_cost_micros), (40, 80));
    }
}

#[test]
fn what_a_fork_has_copied_is_counted_once() {
    for how in 0..3 {
        let world = World::new();
        world.register("ada@example.org");
        let (tenant, _) = of(&world);
        let original = Of { tenant, instance: 1, definition: 7 };
        let mut history = vec![created(), transition(), effect()];
        history.extend(asks_model(40));
        original.now(&world, 1, history.clone());
        let made = world.platform.now();
        world.clock.advance(Span::secs(26 * HOUR));
        let now = world.platform.now();
        let mut copied: Vec<_> = history.into_iter().map(|it| (made, it)).collect();
        copied.extend([(now, forked(&original, 5)), (now, transition())]);
        Of { tenant, instance: 2, definition: 7 }.put(&world, 1, copied);
        let world = killed(world, how);
        let used = used(&world);
        assert_eq!(counted(&used), [2, 2, 1, 0, 40, 10, 30, 80], "{how}");
        assert_eq!(used.counts.by_day["2027-01-15"].workflow_executions, 1);
        assert_eq!(used.counts.by_day["2027-01-16"].workflow_executions, 1);
        assert_eq!(used.counts.by_model["gpt-4o"].llm_tokens, 40);
        // The original is open since then, and the fork since now.
        assert_eq!(metric(&used, Metric::ActiveMachines), 26 * HOUR as u64, "{how}");
        let budgets = world.platform.budgets(&of(&world).1).unwrap();
        let spent = budgets.iter().map(|it| it.spent).max();
        assert_eq!(spent, Some(80), "a fork has spent nothing again");
    }
}

#[test]
fn instances_are_counted_for_as_long_as_they_are_open() {
    for how in 0..3 {
        let mut world = World::new();
        world.register("ada@example.org");
        let (tenant, _) = of(&world);
        let long = Of { tenant, instance: 1, definition: 7 };
        let short = Of { tenant, instance: 2, definition: 7 };
        long.now(&world, 1, vec![created()]);
        world = killed(world, how);
        world.clock.advance(Span::secs(10 * HOUR));
        short.now(&world, 1, vec![created()]);
        world.clock.advance(Span::secs(90));
        short.now(&world, 2, vec![finished()]);
        world = killed(world, how);
        let seconds = |world: &World| metric(&used(world), Metric::ActiveMachines);
        assert_eq!(seconds(&world), (10 * HOUR + 2 * 90) as u64, "{how}");
        world.clock.advance(Span::secs(10 * HOUR - 90));
        world = killed(world, how);
        long.now(&world, 2, vec![finished()]);
        let all = (20 * HOUR + 90) as u64;
        assert_eq!(seconds(&world), all);
        world.clock.advance(Span::secs(100 * HOUR));
        world = killed(world, how);
        assert_eq!(seconds(&world), all, "who has ended counts no more");
        // It began at eight in the morning.
        let day = |it: &str| used(&world).counts.by_day[it].of(Metric::ActiveMachines).unwrap();
        assert_eq!(day("2027-01-15"), (16 * HOUR + 90) as u64);
        assert_eq!(day("2027-01-16"), (4 * HOUR) as u64);
    }
}

#[test]
fn who_is_open_over_the_end_of_a_month_counts_in_both() {
    for how in 0..3 {
        let mut world = World::new();
        world.register("ada@example.org");
        let (tenant, _) = of(&world);
        Of { tenant, instance: 1, definition: 7 }.now(&world, 1, vec![created()]);
        // To 2027-02-02 at noon.
        world.clock.advance(Span::secs(18 * 24 * HOUR + 4 * HOUR));
        world = killed(world, how);
        world.platform.keep_usage().unwrap();
        world = killed(world, how + 1);
        let (_, entered) = of(&world);
        let of_month = |month: &str| {
            let used = world.platform.usage(&entered, Some(month.parse().unwrap())).unwrap();
            (used.is_closed, metric(&used, Metric::ActiveMachines))
        };
        assert_eq!(of_month("2027-01"), (true, (16 * 24 * HOUR + 16 * HOUR) as u64), "{how}");
        assert_eq!(of_month("2027-02"), (false, (36 * HOUR) as u64), "{how}");
    }
}

#[test]
fn an_upgraded_instance_counts_for_the_workflow_that_it_was_started_of() {
    for how in 0..3 {
        let mut world = World::new();
        world.register("ada@example.org");
        let (tenant, _) = of(&world);
        let before = Of { tenant, instance: 1, definition: 7 };
        before.now(&world, 1, vec![created()]);
        world = killed(world, how);
        let upgraded = Upgraded {
            from: DefinitionHash([7; 32]),
            from_version: "1.0.0".into(),
            to: DefinitionHash([8; 32]),
            to_version: "1.1.0".into(),
            rollback: false,
            reversible: true,
            states: Vec::new(),
            configuration: Default::default(),
            history: Default::default(),
            timers: Vec::new(),
            trees: Vec::new(),
            data: None,
        };
        before.now(&world, 2, vec![Body::Upgraded(Box::new(upgraded))]);
        world = killed(world, how + 1);
        Of { definition: 8, ..before }.now(&world, 3, vec![transition()]);
        let by_workflow = used(&world).counts.by_workflow;
        assert_eq!(by_workflow["Order"].state_transitions, 1, "{how} {by_workflow:?}");
        assert_eq!(by_workflow.len(), 1);
    }
}

#[test]
fn sockets_and_what_is_sent_are_counted_as_they_come() {
    let world = World::new();
    world.register("ada@example.org");
    let (tenant, _) = of(&world);
    let socket = OpenSocket::of(&world.platform, tenant);
    world.clock.advance(Span::secs(150));
    world.platform.count_sent(tenant, 1_000);
    assert_eq!(metric(&used(&world), Metric::SocketMinutes), 2);
    world.platform.keep_usage().unwrap();
    world.clock.advance(Span::secs(40));
    drop(socket);
    world.clock.advance(Span::secs(4_000));
    world.platform.count_sent(tenant, 24);
    let both = |world: &World| {
        let used = used(world);
        (metric(&used, Metric::SocketMinutes), metric(&used, Metric::Egress))
    };
    assert_eq!(both(&world), (3, 1_024));
    world.platform.keep_usage().unwrap();
    assert_eq!(both(&world.restarted()), (3, 1_024));
}

fn set_zone(world: &World, zone: &str) -> String {
    let (_, entered) = enter(world, Permission::TenantSettings);
    let wanted = json!({ "timezone": zone });
    let set = world.platform.change_settings(&entered, Expected::ANY, &wanted);
    set.map_or_else(|error| error.code.to_string(), |_| "set".into())
}

#[test]
fn a_month_ends_at_midnight_of_the_tenant() {
    // When the last hour of it begins, and how many hours it has.
    for (zone, before, hours) in [
        ("UTC", "2027-03-31T23:00:00Z", 31 * 24),
        // Clocks are put forward in March.
        ("Europe/Berlin", "2027-03-31T21:00:00Z", 31 * 24 - 1),
        ("America/New_York", "2027-04-01T03:00:00Z", 31 * 24 - 1),
        ("Asia/Kolkata", "2027-03-31T17:30:00Z", 31 * 24),
        ("Pacific/Kiritimati", "2027-03-31T09:00:00Z", 31 * 24),
    ] {
        let mut world = World::new();
        world.register("ada@example.org");
        assert_eq!(set_zone(&world, zone), "set");
        let (tenant, _) = of(&world);
        Of { tenant, instance: 1, definition: 7 }.now(&world, 1, vec![created()]);
        let before: Timestamp = before.parse().unwrap();
        world.clock.advance(before.since(world.platform.now()));
        Of { tenant, instance: 2, definition: 7 }.now(&world, 1, vec![created()]);
        let month = |world: &World| used(world).month.to_string();
        assert_eq!(month(&world), "2027-03", "{zone}");
        world.clock.advance(Span::secs(HOUR - 1));
        assert_eq!(month(&world), "2027-03", "{zone}");
        world.clock.advance(Span::secs(1));
        assert_eq!(month(&world), "2027-04", "{zone}");
        assert_eq!(metric(&used(&world), Metric::WorkflowExecutions), 0, "{zone}");
        world.clock.advance(Span::secs(601));
        world.platform.keep_usage().unwrap();
        world = world.rebuilt();
        let (_, entered) = of(&world);
        let march = world.platform.usage(&entered, Some("2027-03".parse().unwrap())).unwrap();
        assert!(march.is_closed, "{zone}");
        assert_eq!(metric(&march, Metric::WorkflowExecutions), 1, "{zone}");
        let seconds = (hours * HOUR + HOUR) as u64;
        assert_eq!(metric(&march, Metric::ActiveMachines), seconds, "{zone}");
        let billed = world.platform.invoice(&entered, "2027-03".parse().unwrap()).unwrap();
        assert_eq!(billed.period.1, before.plus(Span::secs(HOUR)), "{zone}");
    }
}

#[test]
fn a_month_that_is_billed_does_not_go_on_in_another_zone() {
    let world = World::new();
    world.register("ada@example.org");
    assert_eq!(set_zone(&world, "Pacific/Kiritimati"), "set");
    assert_eq!(set_zone(&world, "Mars/Olympus"), "validation_failed");
    // It is February there, and January nearly everywhere else.
    let at: Timestamp = "2027-01-31T10:20:00Z".parse().unwrap();
    world.clock.advance(at.since(world.platform.now()));
    world.platform.keep_usage().unwrap();
    assert_eq!(set_zone(&world, "Europe/Berlin"), "invalid_state");
    world.clock.advance(Span::secs(13 * HOUR));
    assert_eq!(set_zone(&world, "Europe/Berlin"), "set");
    assert_eq!(used(&world).month.to_string(), "2027-02");
}

#[test]
fn invoices_are_the_same_each_time_whatever_was_used() {
    for (seed, plan) in [(3_u128, Plan::Starter), (5, Plan::Pro), (9, Plan::Free)] {
        let mut world = World::new();
        world.register("ada@example.org");
        let (tenant, entered) = of(&world);
        world.platform.choose_plan(&entered, plan).unwrap();
        for instance in 0..40 {
            let mut bodies = vec![created()];
            bodies.extend(asks_model((instance * seed * 100_003) as u64));
            if instance % seed > 0 {
                bodies.push(finished());
            }
            Of { tenant, instance, definition: 7 }.now(&world, 1, bodies);
            world.clock.advance(Span::secs((instance * seed % 17) as i64 * HOUR));
        }
        world.clock.advance(Span::secs(30 * 24 * HOUR));
        let month = "2027-01".parse().unwrap();
        let (_, entered) = of(&world);
        let first = world.platform.invoice(&entered, month).unwrap();
        let sum: u64 = first.invoice.lines.iter().map(|it| it.micros).sum();
        assert_eq!(first.invoice.subtotal, sum);
        for how in 0..3 {
            world = killed(world, how);
            let (_, entered) = of(&world);
            let again = world.platform.invoice(&entered, month).unwrap();
            assert_eq!(format!("{again:?}"), format!("{first:?}"));
        }
    }
}

#[test]
fn tokens_beyond_the_plan_are_billed_on_plans_that_are_paid() {
    let world = World::new();
    world.register("ada@example.org");
    let (tenant, entered) = of(&world);
    world.platform.choose_plan(&entered, Plan::Starter).unwrap();
    let mut bodies = vec![created()];
    bodies.extend(asks_model(7_500_000));
    Of { tenant, instance: 1, definition: 7 }.now(&world, 1, bodies);
    let billed = world.platform.invoice(&entered, "2027-01".parse().unwrap()).unwrap();
    let lines: Vec<_> =
        billed.invoice.lines.iter().map(|it| (it.what.as_str(), decimal(it.micros))).collect();
    assert_eq!(lines[1], ("llm_tokens beyond the plan", "1.000000".into()));
    assert_eq!(billed.invoice.prices.version, "2");
}

fn plan_alerts(world: &World) -> Vec<Alert> {
    let (_, entered) = enter(world, Permission::TenantSettings);
    let all = world.platform.alerts(&entered).unwrap().into_iter().map(|it| it.it);
    let mut all: Vec<Alert> = all.filter(|it| &*it.rule == "plan").collect();
    all.reverse();
    all
}

#[test]
fn a_plan_that_is_used_up_is_told_of_once_at_each_share_in_each_month() {
    let mut world = World::new();
    world.register("ada@example.org");
    let (tenant, entered) = of(&world);
    world.platform.choose_plan(&entered, Plan::Free).unwrap();
    let run_to = |world: &World, from: u128, to: u128| {
        let of = |instance| Of { tenant, instance, definition: 7 };
        (from..to).for_each(|it| of(it).now(world, 1, vec![created()]));
        to
    };
    let (mut number, mut expected) = (0, Vec::new());
    for (runs, share, how) in [(499, 0, 0), (500, 50, 1), (799, 0, 2), (1_001, 100, 0)] {
        number = run_to(&world, number, runs);
        if share > 0 {
            expected.push(format!("plan-workflow_executions-2027-01-{share}"));
        }
        for _ in 0..3 {
            keep(&world);
            world.clock.advance(Span::secs(20));
        }
        world = killed(world, how);
        keep(&world);
        let ids: Vec<String> = plan_alerts(&world).iter().map(|it| it.id.to_string()).collect();
        assert_eq!(ids, expected, "{runs}");
    }
    let last = plan_alerts(&world).pop().unwrap();
    let told = "100 % of the 1000 workflow_executions of the plan `free` are used in 2027-01: \
                1001; beyond 1200 nothing more is taken in";
    assert_eq!(last.message, told);
    assert_eq!((&*last.severity, last.value), ("high", Some(1_001)));
    world.clock.advance(Span::secs(20 * 24 * HOUR));
    keep(&world);
    assert_eq!(plan_alerts(&world).len(), 2, "a new month has used nothing");
    run_to(&world, number, 1_501);
    world.clock.advance(Span::secs(20));
    keep(&world);
    let last = plan_alerts(&world).pop().unwrap();
    assert_eq!(&*last.id, "plan-workflow_executions-2027-02-50");
}

/// What is 80 % at once has passed 50 % before anybody looked: one word of it is enough.
#[test]
fn who_uses_much_at_once_is_told_of_the_highest_share_alone() {
    let world = World::new();
    world.register("ada@example.org");
    let (tenant, entered) = of(&world);
    world.platform.choose_plan(&entered, Plan::Free).unwrap();
    let of = |instance| Of { tenant, instance, definition: 7 };
    (0..850).for_each(|it| of(it).now(&world, 1, vec![created()]));
    keep(&world);
    let ids: Vec<String> = plan_alerts(&world).iter().map(|it| it.id.to_string()).collect();
    assert_eq!(ids, ["plan-workflow_executions-2027-01-80"]);
}
