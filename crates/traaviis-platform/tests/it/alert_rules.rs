//! Rules for alerts: what breaks them is told once, whenever the process is killed.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use traaviis_model::{
    Actor, Body, DefinitionHash, EffectError, Header, InstanceId, Record, Snapshot, Span,
    TenantCtx, TenantId, Timestamp, Value,
    budget::Limits,
    permission::Permission,
    record::{RECORD_VERSION, Status},
};
use traaviis_platform::{
    Entered, Error, alert_rules::RuleChange, alerts::Alert, ask::Ask, budgets::Budgets,
    engine::Engine, expected::Expected, ledger::Document as _, mail::Outbox,
};
use traaviis_policy::{access::Action, plan::Plan, rule::Measure};
use traaviis_ports::{Append, Lines, LogStore as _, Mail, MailError, Mailer, append_alone};

use crate::{
    never_asked::{never_asked, types::*},
    world::{World, code, via},
};

/// An engine with so many incidents, and with work that waits since a time, and nothing else.
struct Incidents(usize, Option<Timestamp>);

impl Engine for Incidents {
    fn oldest_work(&self, _: &TenantCtx) -> Result<Option<Timestamp>, Error> {
        Ok(self.1)
    }

    fn ask(&self, _: &TenantCtx, ask: Ask) -> Result<Json, Error> {
        assert!(matches!(ask, Ask::Incidents), "{ask:?}");
        Ok(json!({ "incidents": vec![json!({}); self.0] }))
    }

    never_asked! {}

    fn destroy(&self, _: &TenantCtx) -> Result<(), Error> {
        Ok(())
    }
}

/// Puts the end of an instance into the log.
fn end(world: &World, tenant: TenantId, number: u128, status: Status) {
    let error = (status == Status::Failed).then(|| EffectError::new("boom", "it broke"));
    let header = Header {
        origin: None,
        tenant_id: tenant,
        instance_id: InstanceId(uuid::Uuid::from_u128(0x3_0000 + number)),
        seq: 1,
        v: RECORD_VERSION,
        at: world.platform.now(),
        step: 1,
        definition_hash: DefinitionHash([7; 32]),
        actor: Actor::engine(),
        causation_id: None,
        correlation_id: None,
    };
    let body = Body::Finished { status, output: Value::Null, error };
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

fn settings(world: &World) -> (TenantId, Entered) {
    let ada = world.log_in("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let action = Action::Needs(Permission::TenantSettings);
    (tenant, world.enter(&world.caller(&ada), tenant, action).unwrap())
}

fn rule(measure: Measure, above: u64) -> RuleChange {
    RuleChange {
        name: Some("watch".into()),
        measure: Some(measure),
        above: Some(above),
        window: Some(Span::secs(60)),
        cool_down: Some(Span::secs(600)),
        ..RuleChange::default()
    }
}

pub fn keep(world: &World) {
    while world.platform.keep_alerts(&Incidents(0, None)).unwrap() {}
}

fn alerts(world: &World, entered: &Entered) -> Vec<Alert> {
    let all = world.platform.alerts(entered).unwrap().into_iter().map(|it| it.it);
    all.filter(|it| it.trail == "rules".into()).collect()
}

#[test]
fn failures_are_counted_over_their_time_and_told_once_whenever_the_process_dies() {
    // After which failure it dies, whether it has looked before, and what is left to begin with.
    for killed_after in 0..6 {
        for has_looked in [false, true] {
            for from_log in [false, true] {
                let mut world = World::new();
                world.register("ada@example.org");
                let (tenant, entered) = settings(&world);
                keep(&world);
                end(&world, tenant, 900, Status::Failed);
                world
                    .platform
                    .make_alert_rule(&entered, rule(Measure::FailedInstances, 2))
                    .unwrap();
                keep(&world);
                for number in 0..6 {
                    world.clock.advance(Span::secs(10));
                    end(&world, tenant, number, Status::Failed);
                    end(&world, tenant, 100 + number, Status::Completed);
                    if number == killed_after {
                        if has_looked {
                            keep(&world);
                        }
                        world = if from_log { world.rebuilt() } else { world.restarted() };
                        // The next process begins long after.
                        world.clock.advance(Span::secs(5));
                        keep(&world);
                    }
                }
                keep(&world);
                let (_, entered) = settings(&world);
                let told = alerts(&world, &entered);
                let case = format!("{killed_after} {has_looked} {from_log}");
                // The third one broke it; then it rests.
                assert_eq!(told.len(), 1, "{case}: {told:?}");
                assert_eq!(told[0].rule, "failed_instances".into(), "{case}");
                assert!(told[0].message.contains("more than 2 instances"), "{told:?}");
                keep(&world);
                assert_eq!(alerts(&world, &entered).len(), 1, "{case}");
            }
        }
    }
}

#[test]
fn what_broke_a_rule_while_nobody_looked_is_told_with_its_time_and_again_after_its_rest() {
    let world = World::new();
    world.register("ada@example.org");
    let (tenant, entered) = settings(&world);
    let made = world.platform.make_alert_rule(&entered, rule(Measure::FailedInstances, 0)).unwrap();
    keep(&world);
    end(&world, tenant, 1, Status::Failed);
    let broken_at = world.platform.now();
    let world = world.restarted();
    world.clock.advance(Span::secs(3_600));
    keep(&world);
    let (_, entered) = settings(&world);
    let told = alerts(&world, &entered);
    assert_eq!((told.len(), told[0].at), (1, broken_at));
    assert_eq!(told[0].rule_id.as_deref(), Some(&*made.it.id));
    end(&world, tenant, 2, Status::Failed);
    keep(&world);
    assert_eq!(alerts(&world, &entered).len(), 2, "it has rested");
    // Muted, nobody is told; and what happened meanwhile is not made up for.
    let muted = RuleChange { muted: Some(true), ..RuleChange::default() };
    let id = made.it.id;
    let version = world.platform.alert_rule(&entered, &id).unwrap().version;
    let change = |version, wanted| {
        world.platform.change_alert_rule(&entered, (&id, u64::into(version)), wanted)
    };
    assert_eq!(code(change(version + 9, muted.clone())), "precondition_failed");
    let version = change(version, muted).unwrap().version;
    world.clock.advance(Span::secs(3_600));
    end(&world, tenant, 3, Status::Failed);
    keep(&world);
    let awake = RuleChange { muted: Some(false), ..RuleChange::default() };
    change(version, awake).unwrap();
    keep(&world);
    assert_eq!(alerts(&world, &entered).len(), 2);
    world.platform.remove_alert_rule(&entered, &id, &Expected::ANY).unwrap();
    end(&world, tenant, 4, Status::Failed);
    keep(&world);
    assert_eq!(alerts(&world, &entered).len(), 2);
    assert_eq!(code(world.platform.alert_rule(&entered, &id)), "not_found");
}

#[test]
fn failed_logins_of_members_are_told_to_their_tenants_and_to_no_other() {
    let world = World::new();
    world.register("ada@example.org");
    let eve = world.register("eve@example.org");
    let (_, entered) = settings(&world);
    let other = eve.tenant.as_ref().unwrap().tenant.id;
    let action = Action::Needs(Permission::TenantSettings);
    let elsewhere = world.enter(&world.caller(&eve), other, action).unwrap();
    for entered in [&entered, &elsewhere] {
        world.platform.make_alert_rule(entered, rule(Measure::LoginFailures, 0)).unwrap();
    }
    let failed = world.platform.log_in("ada@example.org", "not the password", None, &via());
    assert_eq!(code(failed), "invalid_credentials");
    keep(&world);
    assert_eq!(alerts(&world, &entered).len(), 1);
    assert!(alerts(&world, &elsewhere).is_empty());
}

#[test]
fn numbers_are_looked_at_as_they_stand() {
    let world = World::new();
    world.register("ada@example.org");
    let (_, entered) = settings(&world);
    let billing = Action::Needs(Permission::TenantBilling);
    let ada = world.log_in("ada@example.org");
    let billing = world.enter(&world.caller(&ada), entered.ctx.tenant(), billing).unwrap();
    world.platform.choose_plan(&billing, Plan::Free).unwrap();
    for (measure, above) in [
        (Measure::IncidentsOpen, 2),
        // One of three members is in use.
        (Measure::UsagePercent, 32),
        (Measure::BudgetPercent, 99),
    ] {
        world.platform.make_alert_rule(&entered, rule(measure, above)).unwrap();
    }
    let look = |incidents| world.platform.keep_alerts(&Incidents(incidents, None)).unwrap();
    look(2);
    let rules = |it: &[Alert]| it.iter().map(|it| it.rule.to_string()).collect::<Vec<_>>();
    assert_eq!(rules(&alerts(&world, &entered)), ["usage_percent"]);
    world.clock.advance(Span::secs(11));
    look(3);
    let told = alerts(&world, &entered);
    assert_eq!(rules(&told), ["incidents_open", "usage_percent"]);
    assert_eq!((told[0].value, told[1].value), (Some(3), Some(33)));
    // A budget of nothing is spent from the beginning; of that a notice is told, too, once.
    let day = Limits { tokens: Some(0), ..Limits::default() };
    let budgets = Budgets { day, ..Budgets::default() };
    world.platform.set_budgets(&billing, &budgets).unwrap();
    for _ in 0..3 {
        world.clock.advance(Span::secs(11));
        look(3);
    }
    let mut told = rules(&alerts(&world, &entered));
    told.sort();
    assert_eq!(told, ["budget", "budget_percent", "incidents_open", "usage_percent"]);
    world.clock.advance(Span::secs(24 * 3_600));
    look(0);
    let notices = rules(&alerts(&world, &entered)).iter().filter(|it| *it == "budget").count();
    assert_eq!(notices, 2, "another day, another notice");
}

#[test]
fn work_that_waits_for_too_long_is_told_by_its_age_in_seconds() {
    let world = World::new();
    world.register("ada@example.org");
    let (_, entered) = settings(&world);
    world.platform.make_alert_rule(&entered, rule(Measure::QueueAge, 30)).unwrap();
    for (age_ms, expected) in [
        (None, None),
        // The clock of the runtime may be ahead by a moment.
        (Some(-5_000), None),
        (Some(30_999), None),
        (Some(31_000), Some(31)),
        // It rests.
        (Some(90_000), Some(31)),
    ] {
        let waits = age_ms.map(|it: i64| world.platform.now().plus(Span::millis(-it)));
        world.platform.keep_alerts(&Incidents(0, waits)).unwrap();
        let told = alerts(&world, &entered);
        assert_eq!(told.first().map(|it| it.value), expected.map(Some), "{age_ms:?} {told:?}");
        assert!(told.iter().all(|it| it.message == "watch: work has waited for more than 30 s"));
        world.clock.advance(Span::secs(11));
    }
}

#[derive(Default)]
struct Letters(Arc<Mutex<Vec<(String, String)>>>);

impl Mailer for Letters {
    fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0.lock().unwrap().push((mail.to.clone(), mail.text.clone()));
        Ok(())
    }
}

#[test]
fn an_alert_is_heard_once_and_written_to_those_who_look_after_the_tenant() {
    let letters = Letters::default();
    let written = Arc::clone(&letters.0);
    let outbox = Outbox::open(Box::new(letters), |_| {}).unwrap();
    let world = World::new().with_outbox(outbox);
    world.register("ada@example.org");
    let (tenant, entered) = settings(&world);
    let heard: Arc<Mutex<Vec<(TenantId, String)>>> = Arc::default();
    let hears = Arc::clone(&heard);
    world.platform.listen(Box::new(move |tenant, puts, _| {
        let raised = puts.iter().filter(|it| &*it.0 == Alert::KIND);
        for (_, id, body) in raised {
            if body.as_ref().is_some_and(|it| it["acknowledged_at"].is_null()) {
                hears.lock().unwrap().push((tenant, id.to_string()));
            }
        }
    }));
    let loud = RuleChange { mail: Some(true), ..rule(Measure::FailedInstances, 0) };
    world.platform.make_alert_rule(&entered, loud).unwrap();
    end(&world, tenant, 1, Status::Failed);
    written.lock().unwrap().clear();
    keep(&world);
    keep(&world);
    let told = alerts(&world, &entered);
    let id = told[0].id.to_string();
    assert_eq!(*heard.lock().unwrap(), [(tenant, id.clone())]);
    world.platform.acknowledge(&entered, &id).unwrap();
    assert_eq!(heard.lock().unwrap().len(), 1, "somebody who has seen to it is no news");
    // Ada's address is not confirmed: nobody is written to whom it may not belong.
    assert!(written.lock().unwrap().iter().all(|it| !it.1.contains("alert")));
}

#[test]
fn rules_have_limits() {
    let world = World::new();
    world.register("ada@example.org");
    let (_, entered) = settings(&world);
    let good = || rule(Measure::FailedInstances, 1);
    let with = |change: &dyn Fn(&mut RuleChange)| {
        let mut wanted = good();
        change(&mut wanted);
        code(world.platform.make_alert_rule(&entered, wanted))
    };
    for change in [
        (&|it: &mut RuleChange| it.name = Some(" ".into())) as &dyn Fn(&mut RuleChange),
        &|it| it.name = None,
        &|it| it.name = Some("x".repeat(81)),
        &|it| it.measure = None,
        &|it| it.above = None,
        &|it| it.above = Some(1_001),
        &|it| it.window = Some(Span::secs(9)),
        &|it| it.window = Some(Span::secs(25 * 3_600)),
        &|it| it.cool_down = Some(Span::secs(59)),
        &|it| it.cool_down = Some(Span::secs(8 * 24 * 3_600)),
        &|it| it.severity = Some("loud".into()),
    ] {
        assert_eq!(with(change), "validation_failed");
    }
    for _ in 0..traaviis_platform::alert_rules::ALERT_RULES_MAX {
        assert_eq!(with(&|_| {}), "ok");
    }
    assert_eq!(with(&|_| {}), "quota_exceeded");
}
