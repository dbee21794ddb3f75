//! What goes for ever, and what a crash in the middle leaves.

use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use traaviis_model::{
    InstanceId, Snapshot, Span, TenantCtx, TenantId, Value, permission::Permission,
};
use traaviis_platform::{Error, ask::Ask, engine::Engine};
use traaviis_policy::access::Action;

use crate::{
    never_asked::{never_asked, types::*},
    world::{World, code},
};

/// An engine that remembers which tenants it was to destroy, and fails as often as it is told.
#[derive(Default)]
struct Destroys {
    destroyed: Mutex<Vec<TenantId>>,
    failures: Mutex<u32>,
}

impl Engine for Destroys {
    never_asked! {}

    fn destroy(&self, ctx: &TenantCtx) -> Result<(), Error> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(Error::new("busy", "not yet"));
        }
        self.destroyed.lock().unwrap().push(ctx.tenant());
        Ok(())
    }

    fn ask(&self, _: &TenantCtx, _: Ask) -> Result<Json, Error> {
        unreachable!()
    }
}

#[test]
fn a_tenant_is_destroyed_when_its_grace_is_over_and_not_before() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.clone();
    let owner = world.caller(&ada);
    let entered = world.enter(&owner, tenant.id, Action::OwnerOnly).unwrap();
    world.platform.invite(&owner, &entered, "bob@example.org", "viewer", None).unwrap();
    world.platform.delete_tenant(&entered, &tenant.slug).unwrap();
    let engine = Destroys::default();
    world.clock.advance(Span::secs(29 * 24 * 3_600));
    assert_eq!(world.platform.finish_departures(&engine), Ok(vec![]));
    world.clock.advance(Span::secs(24 * 3_600 + 1));
    *engine.failures.lock().unwrap() = 1;
    assert_eq!(code(world.platform.finish_departures(&engine)), "busy");
    // A crash in between: everything is done again.
    let world = world.rebuilt();
    assert_eq!(world.platform.finish_departures(&engine), Ok(vec![tenant.id]));
    assert_eq!(world.platform.finish_departures(&engine), Ok(vec![]), "once");
    assert_eq!(*engine.destroyed.lock().unwrap(), [tenant.id]);
    let ada = world.log_in("ada@example.org");
    assert!(ada.tenants.is_empty());
    let caller = world.caller(&ada);
    let needs = Action::Needs(Permission::WorkflowMonitor);
    assert_eq!(code(world.enter(&caller, tenant.id, needs)), "no_tenant_context");
    assert_eq!(code(world.enter(&caller, tenant.id, Action::OwnerOnly)), "no_tenant_context");
    let again = world.platform.create_tenant(&caller, "Anew", Some(&tenant.slug)).unwrap();
    assert_eq!(again.it.slug, tenant.slug, "the short name is free");
    world.platform.forget_destroyed(&engine).unwrap();
    assert_eq!(engine.destroyed.lock().unwrap().len(), 2, "told again at the next start");
}

#[test]
fn a_tenant_that_was_brought_back_stays() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.clone();
    let owner = world.caller(&ada);
    let entered = world.enter(&owner, tenant.id, Action::OwnerOnly).unwrap();
    world.platform.delete_tenant(&entered, &tenant.slug).unwrap();
    world.platform.restore_tenant(&entered).unwrap();
    world.clock.advance(Span::secs(60 * 24 * 3_600));
    assert_eq!(world.platform.finish_departures(&Destroys::default()), Ok(vec![]));
}

#[test]
fn what_is_about_a_person_is_gone_with_their_account_also_from_the_log() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "viewer", &ada);
    let caller = world.caller(&bob);
    let own = bob.tenants.iter().find(|it| &*it.role == "owner").unwrap().tenant.clone();
    assert_eq!(code(world.platform.delete_account(&caller)), "last_owner");
    let entered = world.enter(&caller, own.id, Action::OwnerOnly).unwrap();
    // Nobody needs to own what is being deleted.
    world.platform.delete_tenant(&entered, &own.slug).unwrap();
    world.platform.delete_account(&caller).unwrap();
    let world = world.rebuilt();
    let profile = world.platform.profile(caller.user).unwrap();
    assert_eq!(json!(profile.name), json!("(erased)"));
    assert_eq!(code(world.platform.account(caller.user)), "invalid_token");
    assert_eq!(world.platform.finish_departures(&Destroys::default()), Ok(vec![]));
}
