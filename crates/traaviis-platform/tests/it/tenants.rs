//! Members, invitations, roles and keys: who may do what to whom.

use traaviis_model::{
    Span, TenantId,
    permission::{Permission, PermissionSet, Role},
};
use traaviis_platform::{
    api_keys::KeyGiven,
    expected::Expected,
    invitations::NewUser,
    members::{MemberChange, RoleGiven},
    tenant::MemberStatus,
};
use traaviis_policy::access::{Action, Freshness};

use crate::world::{PASSWORD, World, code, via};

const MONITOR: Action = Action::Needs(Permission::WorkflowMonitor);
const EXECUTE: Action = Action::Needs(Permission::WorkflowExecute);

#[test]
fn another_tenant_looks_like_none() {
    let world = World::new();
    let (ada, bob) = (world.register("ada@example.org"), world.register("bob@example.org"));
    let caller = world.caller(&ada);
    let theirs = bob.tenant.unwrap().tenant;
    let nothing = TenantId(uuid::Uuid::from_u128(99));
    let of_theirs = world.enter(&caller, theirs.id, MONITOR).unwrap_err();
    assert_eq!(of_theirs, world.enter(&caller, nothing, MONITOR).unwrap_err());
    for named in [&*theirs.slug, "no-such-tenant", "../x", ""] {
        let entered = world.platform.resolve(&caller, named);
        let entered = entered.and_then(|it| world.enter(&caller, it, MONITOR));
        assert_eq!(entered.unwrap_err(), of_theirs, "{named}");
    }
    assert_eq!(world.platform.resolve(&caller, "current"), Ok(ada.tenant.unwrap().tenant.id));
}

#[test]
fn an_invitation_is_for_one_address_and_works_once() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let (boss, tenant) = (world.caller(&ada), ada.tenant.as_ref().unwrap().tenant.id);
    let entered = world.manager(&boss, tenant);
    let invited =
        world.platform.invite(&boss, &entered, "Bob@Example.org", "viewer", None).unwrap();
    assert_eq!(world.platform.invitations(&entered).unwrap()[0].email, "bob@example.org");
    let token = invited.token.unwrap();
    let eve = world.register("eve@example.org");
    let eve = world.caller(&eve);
    assert_eq!(code(world.platform.accept(&eve, &token)), "forbidden");
    let new = NewUser { password: PASSWORD.into(), name: Some("Bob".into()) };
    let bob = world.platform.accept_as_new(&token, &new, &via()).unwrap();
    assert_eq!(&*bob.tenant.as_ref().unwrap().role, "viewer");
    assert!(!bob.account.personal.email_verified, "who invites has the token, too");
    let bob = world.caller(&bob);
    assert_eq!(code(world.platform.accept(&bob, &token)), "not_found", "used");
    assert_eq!(code(world.enter(&bob, tenant, MONITOR)), "ok");
    assert_eq!(code(world.enter(&bob, tenant, EXECUTE)), "insufficient_permissions");
    assert!(world.platform.invitations(&entered).unwrap().is_empty());

    let late = world.platform.invite(&boss, &entered, "eve@example.org", "admin", None).unwrap();
    world.clock.advance(Span::secs(7 * 24 * 3_600));
    let token = late.token.unwrap();
    let eve = world.platform.log_in("eve@example.org", PASSWORD, None, &via()).unwrap();
    let eve = world.caller(&eve);
    assert_eq!(code(world.platform.accept(&eve, &token)), "not_found", "too late");
    let again = world.platform.resend_invitation(&boss, &entered, late.invitation.id).unwrap();
    assert_eq!(code(world.platform.accept(&eve, &token)), "not_found", "another token counts now");
    assert_eq!(world.platform.accept(&eve, &again.token.unwrap()), Ok(tenant));
}

#[test]
fn whatever_is_taken_from_a_member_is_gone_with_the_next_request() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "developer", &ada);
    let (boss, bob) = (world.caller(&ada), world.caller(&bob));
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let entered = world.manager(&boss, tenant);
    let change = |change: MemberChange| {
        world.platform.change_member(&entered, bob.user, Expected::ANY, &change).map(drop)
    };
    let may = |action| code(world.enter(&bob, tenant, action));
    assert_eq!(may(EXECUTE), "ok");
    change(MemberChange { role: Some("viewer".into()), ..MemberChange::default() }).unwrap();
    assert_eq!(may(EXECUTE), "insufficient_permissions");
    assert_eq!(may(MONITOR), "ok");
    let list: PermissionSet = [Permission::WorkflowExecute].into_iter().collect();
    change(MemberChange { permissions: Some(list), ..MemberChange::default() }).unwrap();
    assert_eq!(may(EXECUTE), "ok");
    assert_eq!(may(MONITOR), "insufficient_permissions");
    let status = Some(MemberStatus::Suspended);
    change(MemberChange { status, ..MemberChange::default() }).unwrap();
    assert_eq!(may(EXECUTE), "no_tenant_context");
    assert!(world.platform.tenants_of(bob.user).unwrap().iter().all(|it| it.tenant.id != tenant));
    change(MemberChange { status: Some(MemberStatus::Active), ..MemberChange::default() }).unwrap();
    assert_eq!(may(EXECUTE), "ok");
    world.platform.remove_member(&entered, bob.user, &Expected::ANY).unwrap();
    assert_eq!(may(EXECUTE), "no_tenant_context");
}

#[test]
fn nobody_rises_above_themselves_and_the_last_owner_stays() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "admin", &ada);
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let (owner, admin) = (world.caller(&ada), world.caller(&bob));
    let (by_owner, by_admin) = (world.manager(&owner, tenant), world.manager(&admin, tenant));
    let role = |role: &str| MemberChange { role: Some(role.into()), ..MemberChange::default() };
    let change =
        |by, who, change| code(world.platform.change_member(by, who, Expected::ANY, &change));
    assert_eq!(change(&by_admin, admin.user, role("owner")), "insufficient_permissions");
    assert_eq!(change(&by_admin, owner.user, role("viewer")), "insufficient_permissions");
    let billing = PermissionSet::of(Role::Owner);
    let more = MemberChange { permissions: Some(billing), ..MemberChange::default() };
    assert_eq!(change(&by_admin, admin.user, more), "insufficient_permissions");
    assert_eq!(
        code(world.platform.remove_member(&by_admin, owner.user, &Expected::ANY)),
        "insufficient_permissions"
    );
    let invited = world.platform.invite(&admin, &by_admin, "eve@example.org", "owner", None);
    assert_eq!(code(invited), "insufficient_permissions");

    assert_eq!(change(&by_owner, owner.user, role("viewer")), "last_owner");
    assert_eq!(code(world.platform.leave(&owner, &by_owner)), "last_owner");
    assert_eq!(code(world.platform.accept_transfer(&admin, &by_admin)), "not_found");
    world.platform.offer_transfer(&owner, &by_owner, admin.user).unwrap();
    assert_eq!(code(world.platform.accept_transfer(&owner, &by_owner)), "not_found", "not theirs");
    assert_eq!(code(world.platform.leave(&owner, &by_owner)), "last_owner", "not accepted yet");
    world.platform.accept_transfer(&admin, &by_admin).unwrap();
    assert_eq!(code(world.platform.leave(&owner, &by_owner)), "ok");
    let by_new = world.manager(&admin, tenant);
    assert_eq!(code(world.platform.leave(&admin, &by_new)), "last_owner");
}

#[test]
fn a_custom_role_carries_its_list_and_goes_only_when_nobody_has_it() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let boss = world.caller(&ada);
    let entered = world.manager(&boss, tenant);
    let permissions: PermissionSet =
        [Permission::WorkflowMonitor, Permission::WorkflowExecute].into_iter().collect();
    let given = RoleGiven {
        name: "Operator".into(),
        base: Role::Developer,
        permissions,
        data_access: None,
    };
    let made = world.platform.put_role(&entered, None, given.clone()).unwrap();
    assert_eq!(code(world.platform.put_role(&entered, None, given)), "already_exists");
    let bob = world.join("bob@example.org", &made.it.id.to_string(), &ada);
    let bob = world.caller(&bob);
    assert_eq!(code(world.enter(&bob, tenant, EXECUTE)), "ok");
    assert_eq!(
        code(world.enter(&bob, tenant, Action::Needs(Permission::WorkflowEdit))),
        "insufficient_permissions"
    );
    let delete = || code(world.platform.delete_role(&entered, made.it.id, made.version));
    assert_eq!(delete(), "invalid_state");
    world.platform.remove_member(&entered, bob.user, &Expected::ANY).unwrap();
    assert_eq!(delete(), "ok");
}

#[test]
fn a_key_acts_in_its_tenant_with_its_scopes_until_it_ends() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "developer", &ada);
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let (boss, bob) = (world.caller(&ada), world.caller(&bob));
    let own = world.enter(&bob, tenant, Action::TenantAccess).unwrap();
    let key = |scopes: &[Permission]| KeyGiven {
        name: "robot".into(),
        scopes: scopes.iter().copied().collect(),
        life: None,
        ip_allow: Vec::new(),
        service_account: None,
    };
    let too_much = world.platform.make_api_key(&bob, &own, key(&[Permission::AuditLogsView]));
    assert_eq!(code(too_much), "insufficient_permissions");
    let scopes = [Permission::WorkflowExecute, Permission::WorkflowMonitor];
    let (made, token) = world.platform.make_api_key(&bob, &own, key(&scopes)).unwrap();
    let by_key = || world.platform.authenticate(&token, via());
    let robot = by_key().unwrap();
    assert_eq!(code(world.enter(&robot, tenant, EXECUTE)), "ok");
    let edit = Action::Needs(Permission::WorkflowEdit);
    assert_eq!(code(world.enter(&robot, tenant, edit)), "insufficient_permissions");
    assert_eq!(code(world.platform.log_out(&robot)), "forbidden");
    let other = world.register("eve@example.org").tenant.unwrap().tenant.id;
    assert_eq!(code(world.enter(&robot, other, EXECUTE)), "no_tenant_context");
    // A key has no more than who made it has now.
    let entered = world.manager(&boss, tenant);
    let viewer = MemberChange { role: Some("viewer".into()), ..MemberChange::default() };
    world.platform.change_member(&entered, bob.user, Expected::ANY, &viewer).unwrap();
    assert_eq!(code(world.enter(&robot, tenant, EXECUTE)), "insufficient_permissions");
    world.clock.advance(Span::secs(90 * 24 * 3_600));
    assert_eq!(code(by_key()), "token_expired");
    world.platform.end_api_key(&boss, &entered, made.it.id).unwrap();
    assert_eq!(code(by_key()), "invalid_token");
}

#[test]
fn a_proof_of_who_one_is_goes_stale() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let fresh = |token: &str| {
        let caller = world.platform.authenticate(token, via()).unwrap();
        code(world.platform.enter(&caller, tenant, Action::OwnerOnly, Freshness::Fresh))
    };
    assert_eq!(fresh(&ada.access_token), "ok");
    world.clock.advance(Span::secs(11 * 60));
    assert_eq!(fresh(&ada.access_token), "reauthentication_required");
    let caller = world.caller(&ada);
    assert_eq!(code(world.platform.reauthenticate(&caller, "wrong")), "invalid_credentials");
    let again = world.platform.reauthenticate(&caller, PASSWORD).unwrap();
    assert_eq!(fresh(&again.access_token), "ok");
}

#[test]
fn every_act_stands_in_the_trail_and_the_trail_is_whole() {
    let world = World::new();
    let ada = world.register("ada@example.org");
    let bob = world.join("bob@example.org", "viewer", &ada);
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let (boss, bob) = (world.caller(&ada), world.caller(&bob));
    assert!(world.enter(&bob, tenant, EXECUTE).is_err());
    let entered = world.enter(&boss, tenant, Action::Needs(Permission::AuditLogsView)).unwrap();
    let entries = world.platform.audit(&entered, None, 10).unwrap();
    let told: Vec<String> = entries
        .iter()
        .rev()
        .map(|it| format!("{} {} {}", it["seq"], it["action"], it["outcome"]).replace('"', ""))
        .collect();
    assert_eq!(
        told,
        [
            "1 tenant.created ok",
            "2 member.invited ok",
            "3 member.joined ok",
            "4 permission.denied denied",
        ]
    );
    assert_eq!(entries[0]["actor"]["id"], bob.user.to_string());
    assert_eq!(entries[0]["ip_address"], "192.0.2.1");
    let checked = world.platform.verify_audit(&entered).unwrap();
    assert_eq!((checked.count, checked.broken), (4, None));
    let text = serde_json::to_string(&entries).unwrap();
    assert!(!text.contains("bob@") && !text.contains("trv_"), "{text}");
}
