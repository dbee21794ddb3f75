//! What is used is counted once, whatever happens in between.

use std::sync::Arc;

use traaviis_model::{
    Actor, Body, DefinitionHash, Header, InstanceId, Record, Span, TenantCtx, TenantId, Value,
    permission::Permission, record::RECORD_VERSION,
};
use traaviis_platform::{Entered, accounts::LoggedIn};
use traaviis_policy::{
    access::{Action, Freshness},
    plan::{Metric, Plan},
};
use traaviis_ports::{Append, Lines, LogStore as _, append_alone};

use crate::world::{World, code};

/// Puts the first record of an instance into the log.
fn run(world: &World, tenant: TenantId, number: u128) {
    let header = Header {
        origin: None,
        tenant_id: tenant,
        instance_id: InstanceId(uuid::Uuid::from_u128(0x1_0000 + number)),
        seq: 1,
        v: RECORD_VERSION,
        at: world.platform.now(),
        step: 1,
        definition_hash: DefinitionHash([7; 32]),
        actor: Actor::local(),
        causation_id: None,
        correlation_id: None,
    };
    let body = Body::Created {
        workflow: "W".into(),
        version: "1.0.0".into(),
        input: Value::from("\"kind\":\"created\""),
        data: Value::Null,
        correlation: None,
        lineage: None,
        tags: Default::default(),
        labels: Default::default(),
        created_by: None,
        subject: None,
    };
    let append = Append {
        stream: header.instance_id,
        first_seq: 1,
        count: 1,
        lines: Lines::Of(Arc::new(vec![Record { header, body }])),
        ends_stream: false,
        known_to: world.log.tail(),
        subject: None,
    };
    let ctx = TenantCtx::for_test(tenant.0.as_u128());
    append_alone(&*world.log, &ctx, append).recv().unwrap().unwrap();
}

fn enter(world: &World, ada: &LoggedIn, permission: Permission) -> Entered {
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let caller = world.caller(ada);
    world.platform.enter(&caller, tenant, Action::Needs(permission), Freshness::Any).unwrap()
}

fn executions(world: &World, ada: &LoggedIn) -> u64 {
    let entered = enter(world, ada, Permission::AnalyticsView);
    let used = world.platform.usage(&entered, None).unwrap();
    used.used.iter().find(|it| it.0 == Metric::WorkflowExecutions).unwrap().1
}

#[test]
fn nothing_is_counted_twice_or_lost_by_restarts() {
    let mut world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let mut number = 0;
    for round in 1..=6 {
        for _ in 0..round {
            number += 1;
            run(&world, tenant, number);
        }
        assert_eq!(u128::from(executions(&world, &ada)), number);
        world = match round % 3 {
            // Put down, then ended.
            0 => {
                world.platform.keep_usage().unwrap();
                world.restarted()
            }
            // Killed with counts in memory.
            1 => world.restarted(),
            // And without the projection.
            _ => world.rebuilt(),
        };
        assert_eq!(u128::from(executions(&world, &ada)), number, "round {round}");
        world.platform.keep_usage().unwrap();
        world.platform.keep_usage().unwrap();
        assert_eq!(u128::from(executions(&world, &ada)), number, "round {round}");
    }
}

#[test]
fn a_free_tenant_starts_so_many_and_goes_on_next_month() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let entered = enter(&world, &ada, Permission::TenantBilling);
    let admit = || world.platform.admit_start(&entered);
    assert!(admit().unwrap().is_none(), "no limit, no place");
    assert_eq!(code(world.platform.choose_plan(&entered, Plan::SelfHosted)), "forbidden");
    world.platform.choose_plan(&entered, Plan::Free).unwrap();
    (0..1_198).for_each(|it| run(&world, tenant, it));
    let first = admit().unwrap();
    let second = admit().unwrap();
    assert_eq!(code(admit()), "quota_exceeded", "two are on their way");
    drop(second);
    let again = admit().unwrap();
    run(&world, tenant, 2_000);
    drop((first, again));
    let last = admit().unwrap();
    run(&world, tenant, 2_001);
    drop(last);
    let error = admit().unwrap_err();
    assert_eq!(error.code, "quota_exceeded");
    assert_eq!(error.details["used"], 1_200);
    assert_eq!(error.details["until"], "2027-02-01T00:00:00.000000Z");
    assert_eq!(executions(&world, &ada), 1_200);

    world.clock.advance(Span::secs(20 * 24 * 3_600));
    let ada = world.log_in("ada@example.org");
    let entered = enter(&world, &ada, Permission::TenantBilling);
    assert!(world.platform.admit_start(&entered).is_ok(), "a new month");
    let invoices = world.platform.invoices(&entered).unwrap();
    let shown: Vec<_> = invoices
        .iter()
        .map(|it| (it.invoice.number.as_str(), it.invoice.status.as_str()))
        .collect();
    assert_eq!(shown, [("2027-02", "draft"), ("2027-01", "paid")]);
    // A month in which nothing was used is closed, too.
    world.clock.advance(Span::secs(31 * 24 * 3_600));
    let ada = world.log_in("ada@example.org");
    let entered = enter(&world, &ada, Permission::TenantBilling);
    let numbers: Vec<String> = world
        .platform
        .invoices(&entered)
        .unwrap()
        .into_iter()
        .map(|it| it.invoice.number)
        .collect();
    assert_eq!(numbers, ["2027-03", "2027-02", "2027-01"]);
    // What was closed stays as it was, whatever is chosen later.
    world.platform.choose_plan(&entered, Plan::Pro).unwrap();
    let before = world.platform.invoice(&entered, "2027-01".parse().unwrap()).unwrap();
    assert_eq!(before, invoices[1]);
    let world = world.rebuilt();
    world.platform.keep_usage().unwrap();
    let entered = enter(&world, &ada, Permission::TenantBilling);
    assert_eq!(world.platform.invoice(&entered, "2027-01".parse().unwrap()), Ok(before));
}
