//! What is told is there after a restart, with the projection or without it.

use std::sync::Arc;

use traaviis_model::{permission::Permission, tenant::PLATFORM};
use traaviis_platform::{expected::Expected, ledger::stream_of, tenants::TenantChange};
use traaviis_policy::access::Action;
use traaviis_ports::{DocumentError, DocumentStore as _, LogError};

use crate::world::{PASSWORD, World, code, via};

#[test]
fn everything_is_there_after_a_restart_and_after_a_rebuild() {
    let mut world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "developer", &ada);
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    for restart in [World::restarted, World::rebuilt, World::restarted] {
        world = restart(world);
        let caller = world.caller(&ada);
        let entered =
            world.enter(&caller, tenant, Action::Needs(Permission::AuditLogsView)).unwrap();
        assert_eq!(world.platform.members(&entered).unwrap().len(), 2);
        let checked = world.platform.verify_audit(&entered).unwrap();
        assert_eq!(checked.broken, None);
        // The chain goes on where it was.
        let version = world.platform.tenant(&entered.ctx).unwrap().version;
        let change = TenantChange { name: Some("Acme".into()), ..TenantChange::default() };
        world.platform.change_tenant(&entered, version, &change).unwrap();
        let stale = world.platform.change_tenant(&entered, version, &change);
        assert_eq!(code(stale), "precondition_failed");
        let after = world.platform.verify_audit(&entered).unwrap();
        assert_eq!((after.count, after.broken), (checked.count + 1, None));
        assert!(world.platform.log_in("bob@example.org", PASSWORD, None, &via()).is_ok());
    }
    let caller = world.caller(&bob);
    assert!(world.enter(&caller, tenant, Action::TenantAccess).is_ok());
}

#[test]
fn what_the_projection_could_not_take_is_read_from_the_log_again() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    world.documents.fail(Some(DocumentError::Full));
    let bob = world.register("bob@example.org");
    world.documents.fail(None);
    let world = world.restarted();
    assert!(world.caller(&ada).scoped_to.is_some());
    assert!(world.caller(&bob).scoped_to.is_some());
}

#[test]
fn what_the_log_refuses_has_not_happened() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    world.log.set_failure(Some(LogError::Full));
    let refused = world.platform.log_in("ada@example.org", PASSWORD, None, &via());
    assert_eq!(code(refused), "storage_full");
    world.log.set_failure(None);
    let caller = world.caller(&ada);
    assert_eq!(world.platform.sessions(&caller).unwrap().len(), 1);
    assert!(world.platform.log_in("ada@example.org", PASSWORD, None, &via()).is_ok());
}

#[test]
fn nobody_enters_a_tenant_of_whose_documents_the_log_has_lost_some() {
    let world = World::new();
    let (ada, bob) = (world.register("ada@example.org"), world.register("bob@example.org"));
    let carl = world.join("carl@example.org", "developer", &ada);
    let (hers, his) = (ada.tenant.unwrap().tenant.id, bob.tenant.unwrap().tenant.id);
    let entered = world.manager(&world.caller(&world.log_in("ada@example.org")), hers);
    let carls = world.caller(&carl).user;
    let head = || world.log.last_of(stream_of(hers));
    let before = head();
    world.platform.remove_member(&entered, carls, &Expected::ANY).unwrap();
    let after = head();
    assert!(world.enter(&world.caller(&carl), hers, Action::TenantAccess).is_err());
    // What comes behind it shows that it is missing.
    let change = TenantChange { name: Some("Acme".into()), ..TenantChange::default() };
    let version = world.platform.tenant(&entered.ctx).unwrap().version;
    world.platform.change_tenant(&entered, version, &change).unwrap();
    (before + 1..=after).for_each(|seq| world.log.lose_one(stream_of(hers), seq));

    // The projection still has it.
    let world = world.restarted();
    assert_eq!(world.platform.lost_tenants(), []);
    assert!(world.enter(&world.caller(&carl), hers, Action::TenantAccess).is_err());
    // From the log alone he would be a member again.
    let world = world.rebuilt();
    assert!(world.enter(&world.caller(&carl), hers, Action::TenantAccess).is_err());
    // She logs in to no tenant.
    let ada = world.caller(&world.log_in("ada@example.org"));
    let refused = world.enter(&ada, hers, Action::TenantAccess);
    assert_eq!(code(refused), "no_tenant_context");
    let lost = world.platform.lost_tenants();
    assert_eq!(lost.iter().map(|it| it.0).collect::<Vec<_>>(), [hers]);
    // Others are not harmed.
    let bob = world.caller(&world.log_in("bob@example.org"));
    assert!(world.enter(&bob, his, Action::TenantAccess).is_ok());
}

#[test]
fn a_platform_of_whose_documents_some_are_lost_is_not_opened() {
    let world = World::new();
    world.register("ada@example.org");
    world.register("bob@example.org");
    world.log.lose_one(stream_of(PLATFORM), 2);
    assert!(world.reopened(Arc::clone(&world.log), Arc::clone(&world.documents)).is_ok());
    let refused = world.reopened(Arc::clone(&world.log), Arc::default());
    assert_eq!(code(refused), "data_directory_damaged");
}

#[test]
fn documents_that_know_more_than_the_log_are_not_thrown_away() {
    let world = World::new();
    world.register("ada@example.org");
    let older = Arc::new(world.log.after_crash());
    world.register("bob@example.org");
    let before = world.documents.position().unwrap();
    let refused = world.reopened(older, Arc::clone(&world.documents));
    assert_eq!(code(refused), "data_directory_damaged");
    assert_eq!(world.documents.position(), Ok(before));
    assert!(world.reopened(Arc::clone(&world.log), Arc::clone(&world.documents)).is_ok());
}
