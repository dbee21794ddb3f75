//! What stands badly with an installation is told once it has stood so for a moment, and resolved.

use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use traaviis_model::{InstanceId, Snapshot, Span, TenantCtx, Timestamp, Value};
use traaviis_platform::{
    Error,
    alerts::Alert,
    ask::Ask,
    audit::Via,
    engine::{Component, Engine},
    standing_alerts::Condition,
    user::PlatformRole,
};

use crate::{
    never_asked::{never_asked, types::*},
    world::World,
};

/// An engine whose disk stands somehow.
#[derive(Default)]
struct Stands {
    disk: Mutex<Option<&'static str>>,
    low: Mutex<Option<&'static str>>,
}

impl Engine for Stands {
    fn components(&self) -> Vec<Component> {
        match *self.disk.lock().unwrap() {
            Some(why) => vec![Component::failed("disk", why), Component::ok("clock")],
            None => vec![Component::ok("disk"), Component::ok("clock")],
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let why = self.low.lock().unwrap().map(str::to_owned);
        vec![Condition { rule: "disk_low", severity: "high", why }]
    }

    fn oldest_work(&self, _: &TenantCtx) -> Result<Option<Timestamp>, Error> {
        Ok(None)
    }

    fn ask(&self, _: &TenantCtx, ask: Ask) -> Result<Json, Error> {
        panic!("{ask:?}")
    }

    never_asked! {}

    fn destroy(&self, _: &TenantCtx) -> Result<(), Error> {
        Ok(())
    }
}

fn alerts(world: &World) -> Vec<Alert> {
    let root = world.caller(&world.log_in("root@example.org"));
    let all = world.platform.platform_alerts(&root).unwrap().into_iter().map(|it| it.it);
    all.filter(|it| &*it.trail == "standing").collect()
}

/// Rules, whether they are resolved, the oldest first.
fn told(world: &World) -> Vec<(String, bool)> {
    let mut all = alerts(world);
    all.reverse();
    all.iter().map(|it| (it.rule.to_string(), it.resolved_at.is_some())).collect()
}

#[test]
fn what_stands_badly_fires_after_a_moment_and_is_resolved_also_by_another_process() {
    let mut world = World::new();
    world.register("root@example.org");
    let via = Via { way: "command_line", ..Via::default() };
    world.platform.promote("root@example.org", PlatformRole::PlatformAdmin, &via).unwrap();
    let engine = Stands::default();
    let look = |world: &World| {
        while world.platform.keep_alerts(&engine).unwrap() {}
        world.clock.advance(Span::secs(11));
    };
    look(&world);
    *engine.disk.lock().unwrap() = Some("it is gone");
    look(&world);
    assert!(told(&world).is_empty(), "it may pass by itself");
    *engine.disk.lock().unwrap() = None;
    look(&world);
    *engine.disk.lock().unwrap() = Some("it is gone");
    look(&world);
    assert!(told(&world).is_empty(), "and has");
    look(&world);
    let disk = |is_resolved: bool| ("part_disk".to_owned(), is_resolved);
    assert_eq!(told(&world), [disk(false)]);
    let alert = &alerts(&world)[0];
    assert_eq!((&*alert.severity, alert.message.as_str()), ("critical", "it is gone"));
    look(&world);
    world = world.restarted();
    look(&world);
    look(&world);
    assert_eq!(told(&world), [disk(false)], "it goes on, and is told once");
    *engine.disk.lock().unwrap() = None;
    world = world.restarted();
    look(&world);
    assert_eq!(told(&world), [disk(true)]);
    *engine.low.lock().unwrap() = Some("9 % are free");
    look(&world);
    look(&world);
    let low = |is_resolved: bool| ("disk_low".to_owned(), is_resolved);
    assert_eq!(told(&world), [disk(true), low(false)]);
    *engine.low.lock().unwrap() = None;
    look(&world);
    assert_eq!(told(&world), [disk(true), low(true)]);
    *engine.low.lock().unwrap() = Some("8 % are free");
    look(&world);
    look(&world);
    assert_eq!(told(&world), [disk(true), low(true), low(false)], "once more is another one");
}
