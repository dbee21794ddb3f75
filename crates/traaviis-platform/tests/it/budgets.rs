//! Budgets of tenants for calls of models: exact with many at once, and over kills.

use std::sync::{Arc, Mutex};

use serde_json::json;
use traaviis_model::{
    Actor, Body, Call, CallId, DefinitionHash, DeliveryClass, EffectError, Header, InstanceId,
    Record, Span, TenantCtx, TenantId, Value,
    budget::{Amounts, BudgetKind, Limits},
    permission::Permission,
    record::{BudgetReserved, RECORD_VERSION},
};
use traaviis_platform::{
    Entered,
    accounts::LoggedIn,
    budgets::{Budgets, Gate, Stands},
};
use traaviis_policy::{
    access::Action,
    plan::{Metric, Plan},
    spending::Period,
};
use traaviis_ports::{Append, Connector, Lines, LogStore as _, OnOutcome, append_alone};

use crate::world::World;

/// A provider that is asked, and answers when it is told to.
#[derive(Default)]
struct Provider {
    asked: Mutex<Vec<CallId>>,
}

impl Connector for Provider {
    fn perform(&self, _: &TenantCtx, call: Call, _: OnOutcome) {
        self.asked.lock().unwrap().push(call.id);
    }

    fn abandon(&self, _: &TenantCtx, _: &CallId) {}

    fn delivery_class(&self, _: &TenantCtx, _: &str, _: &Value) -> DeliveryClass {
        DeliveryClass::OtherWrite
    }
}

/// What goes on with a process is asked for before its platform is open.
#[test]
fn a_call_that_comes_before_the_platform_is_open_waits_and_is_decided() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let (tenant, entered) = billing(&world, &ada);
    world.platform.set_budgets(&entered, &a_day(100)).unwrap();
    let provider: Arc<Provider> = Arc::default();
    let gate = Gate::before(Arc::clone(&provider) as Arc<_>).unwrap();
    let door = Door { gate, provider, refused: Arc::default() };
    reserve(&world, tenant, 1, 60);
    reserve(&world, tenant, 2, 60);
    door.ask(tenant, "call_llm", 1);
    door.ask(tenant, "call_llm", 2);
    let world = world.restarted();
    assert!(door.provider.asked.lock().unwrap().is_empty());
    door.gate.serve(&world.platform);
    // The second counts as let out until it is decided, so the first finds no room.
    assert_eq!(door.decided(2), (1, 1));
}

/// A gate of one process.
struct Door {
    gate: Arc<Gate>,
    provider: Arc<Provider>,
    refused: Arc<Mutex<Vec<EffectError>>>,
}

impl Door {
    fn of(world: &World) -> Door {
        let provider: Arc<Provider> = Arc::default();
        let gate = Gate::before(Arc::clone(&provider) as Arc<_>).unwrap();
        gate.serve(&world.platform);
        Door { gate, provider, refused: Arc::default() }
    }

    fn ask(&self, tenant: TenantId, kind: &str, number: u128) {
        let id = CallId {
            instance: instance(number),
            tree: 1,
            path: "ask".into(),
            scheduled: 1,
            attempt: 1,
        };
        let call = Call {
            id,
            workflow: "W".into(),
            kind: kind.into(),
            input: Value::Null,
            key: "k".into(),
            timeout: None,
            hosts: Vec::new(),
        };
        let refused = Arc::clone(&self.refused);
        let done = move |outcome: Result<Value, EffectError>| {
            refused.lock().unwrap().extend(outcome.err());
        };
        self.gate.perform(&TenantCtx::for_test(tenant.0.as_u128()), call, Box::new(done));
    }

    /// Returns how many were let out and how many refused, once so many were decided.
    fn decided(&self, count: usize) -> (usize, usize) {
        loop {
            let out = self.provider.asked.lock().unwrap().len();
            let refused = self.refused.lock().unwrap().len();
            if out + refused >= count {
                return (out, refused);
            }
            std::thread::yield_now();
        }
    }
}

fn instance(number: u128) -> InstanceId {
    InstanceId(uuid::Uuid::from_u128(0x2_0000 + number))
}

fn append(world: &World, tenant: TenantId, number: u128, seq: u64, body: Body) {
    let header = Header {
        origin: None,
        tenant_id: tenant,
        instance_id: instance(number),
        seq,
        v: RECORD_VERSION,
        at: world.platform.now(),
        step: seq,
        definition_hash: DefinitionHash([7; 32]),
        actor: Actor::engine(),
        causation_id: None,
        correlation_id: None,
    };
    let append = Append {
        stream: header.instance_id,
        first_seq: seq,
        count: 1,
        lines: Lines::Of(Arc::new(vec![Record { header, body }])),
        ends_stream: false,
        known_to: world.log.tail(),
        subject: None,
    };
    let ctx = TenantCtx::for_test(tenant.0.as_u128());
    append_alone(&*world.log, &ctx, append).recv().unwrap().unwrap();
}

fn amounts(tokens: u64) -> Amounts {
    Amounts { tokens, usd_micros: tokens * 2, calls: 1, ..Amounts::default() }
}

fn reserve(world: &World, tenant: TenantId, number: u128, tokens: u64) {
    let reserved = BudgetReserved {
        tree: 1,
        path: "ask".into(),
        amounts: amounts(tokens),
        of: Vec::new(),
        max_tokens: None,
        unpriced: None,
    };
    append(world, tenant, number, 1, Body::BudgetReserved(Box::new(reserved)));
}

fn settle(world: &World, tenant: TenantId, number: u128, tokens: u64) {
    let body =
        Body::BudgetSettled { tree: 1, path: "ask".into(), cost: amounts(tokens), model: None };
    append(world, tenant, number, 2, body);
}

fn billing(world: &World, ada: &LoggedIn) -> (TenantId, Entered) {
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let action = Action::Needs(Permission::TenantBilling);
    (tenant, world.enter(&world.caller(ada), tenant, action).unwrap())
}

fn a_day(tokens: u64) -> Budgets {
    let day = Limits { tokens: Some(tokens), ..Limits::default() };
    Budgets { day, ..Budgets::default() }
}

/// Tokens of the day that are spent and reserved.
fn stands(world: &World, entered: &Entered) -> (u64, u64) {
    let is_it = |it: &&Stands| (it.period, it.kind) == (Period::Day, BudgetKind::Tokens);
    let all = world.platform.budgets(entered).unwrap();
    let it = all.iter().find(is_it).unwrap();
    (it.spent, it.reserved)
}

fn used(world: &World, entered: &Entered, metric: Metric) -> u64 {
    let used = world.platform.usage(entered, None).unwrap().used;
    used.iter().find(|it| it.0 == metric).unwrap().1
}

#[test]
fn of_a_hundred_at_once_as_many_go_out_as_the_budget_holds() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let (tenant, entered) = billing(&world, &ada);
    world.platform.set_budgets(&entered, &a_day(1_000)).unwrap();
    let door = Arc::new(Door::of(&world));
    (0..100).for_each(|it| reserve(&world, tenant, it, 100));
    std::thread::scope(|scope| {
        for part in 0..10 {
            let door = Arc::clone(&door);
            scope
                .spawn(move || (0..10).for_each(|it| door.ask(tenant, "call_llm", part * 10 + it)));
        }
    });
    assert_eq!(door.decided(100), (10, 90));
    assert_eq!(stands(&world, &entered), (0, 1_000));
    let error = door.refused.lock().unwrap()[0].clone();
    assert_eq!((&*error.code, error.retryable), ("budget_exceeded", false));
    assert!(error.message.contains("`tokens: 1000` a day"), "{}", error.message);
    // What asks no model passes, whatever is left.
    door.ask(tenant, "call_api", 500);
    assert_eq!(door.decided(101), (11, 90));

    let out = door.provider.asked.lock().unwrap().clone();
    for id in &out[..10] {
        settle(&world, tenant, id.instance.0.as_u128() - 0x2_0000, 40);
    }
    assert_eq!(stands(&world, &entered), (400, 0));
    let metrics = [Metric::LlmTokens, Metric::LlmCost].map(|it| used(&world, &entered, it));
    assert_eq!(metrics, [400, 800]);
    reserve(&world, tenant, 200, 600);
    door.ask(tenant, "call_llm", 200);
    assert_eq!(door.decided(102), (12, 90));
    reserve(&world, tenant, 201, 1);
    door.ask(tenant, "call_llm", 201);
    assert_eq!(door.decided(103), (12, 91));
    // Another day, another budget; what runs is counted in it.
    world.clock.advance(Span::secs(24 * 3_600));
    reserve(&world, tenant, 202, 401);
    door.ask(tenant, "call_llm", 202);
    reserve(&world, tenant, 203, 400);
    door.ask(tenant, "call_llm", 203);
    assert_eq!(door.decided(105), (13, 92));
}

#[test]
fn whenever_a_process_is_killed_what_went_out_is_counted_once() {
    // Put down before, with the counts in memory, and from the log alone.
    for (round, (put_after, from_log)) in
        [(1, false), (2, false), (3, false), (9, false), (9, true)].into_iter().enumerate()
    {
        let mut world = World::new();
        let ada = world.register("ada@example.org");
        let (tenant, entered) = billing(&world, &ada);
        world.platform.set_budgets(&entered, &a_day(100)).unwrap();
        let door = Door::of(&world);
        let steps: [&dyn Fn(&World); 3] =
            [&|it| reserve(it, tenant, 1, 60), &|it| settle(it, tenant, 1, 50), &|it| {
                reserve(it, tenant, 2, 45)
            }];
        for (number, step) in steps.iter().enumerate() {
            step(&world);
            if number + 1 == put_after {
                world.platform.keep_usage().unwrap();
            }
        }
        door.ask(tenant, "call_llm", 2);
        assert_eq!(door.decided(1), (1, 0), "{round}");
        assert_eq!(stands(&world, &entered), (50, 45), "{round}");
        drop(door);
        world = if from_log { world.rebuilt() } else { world.restarted() };
        let (tenant, entered) = billing(&world, &world.log_in("ada@example.org"));
        let door = Door::of(&world);
        // Nobody knows any more what was let out, so everything that is open was.
        assert_eq!(stands(&world, &entered), (50, 45), "{round}");
        // The engine settles what was running when the process ended: all that it may have cost.
        settle(&world, tenant, 2, 45);
        assert_eq!(stands(&world, &entered), (95, 0), "{round}");
        reserve(&world, tenant, 3, 6);
        door.ask(tenant, "call_llm", 3);
        assert_eq!(door.decided(1), (0, 1), "{round}");
        assert_eq!(used(&world, &entered, Metric::LlmTokens), 95, "{round}");
    }
}

#[test]
fn a_budget_that_is_set_later_counts_what_runs_and_undoing_is_never_refused() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let (tenant, entered) = billing(&world, &ada);
    let door = Door::of(&world);
    reserve(&world, tenant, 1, 70);
    door.ask(tenant, "call_llm", 1);
    assert_eq!(door.decided(1), (1, 0), "without a budget nobody asks");
    let set = world.platform.set_budgets(&entered, &a_day(100)).unwrap();
    assert!(set.iter().any(|it| it.reserved == 70), "{set:?}");
    reserve(&world, tenant, 2, 31);
    door.ask(tenant, "call_llm", 2);
    assert_eq!(door.decided(2), (1, 1));
    // A tenant that is not this one's is not its business.
    let eve = world.register("eve@example.org");
    let (other, _) = billing(&world, &eve);
    reserve(&world, other, 3, 1_000);
    door.ask(other, "call_llm", 3);
    assert_eq!(door.decided(3), (2, 1));
}

#[test]
fn the_free_plan_ends_and_the_end_is_told_as_one_of_the_plan() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let (tenant, entered) = billing(&world, &ada);
    world.platform.choose_plan(&entered, Plan::Free).unwrap();
    let door = Door::of(&world);
    reserve(&world, tenant, 1, 240_000);
    reserve(&world, tenant, 2, 1);
    door.ask(tenant, "call_llm", 1);
    door.ask(tenant, "call_llm", 2);
    assert_eq!(door.decided(2), (1, 1));
    let error = door.refused.lock().unwrap()[0].clone();
    assert_eq!(&*error.code, "quota_exceeded", "{error:?}");
    assert_eq!(error.details.get("until"), Some(&Value::from("2027-02-01T00:00:00.000000Z")));
}

#[test]
fn budgets_are_documents_and_leave_a_trace() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let (_, entered) = billing(&world, &ada);
    world.platform.set_budgets(&entered, &a_day(7)).unwrap();
    let world = world.rebuilt();
    let (_, entered) = billing(&world, &world.log_in("ada@example.org"));
    let all = world.platform.budgets(&entered).unwrap();
    assert_eq!(all.iter().filter_map(|it| it.limit).collect::<Vec<_>>(), [7]);
    let auditor = Action::Needs(Permission::AuditLogsView);
    let ada = world.log_in("ada@example.org");
    let entered = world.enter(&world.caller(&ada), entered.ctx.tenant(), auditor).unwrap();
    let trail = world.platform.audit(&entered, None, 50).unwrap();
    let acts: Vec<_> = trail.iter().map(|it| it["action"].clone()).collect();
    assert!(acts.contains(&json!("budgets.set")), "{acts:?}");
}
