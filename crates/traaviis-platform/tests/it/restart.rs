//! What is told is there after a restart, with the projection or without it.

use traaviis_model::permission::Permission;
use traaviis_platform::tenants::TenantChange;
use traaviis_policy::access::Action;
use traaviis_ports::{DocumentError, LogError};

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
