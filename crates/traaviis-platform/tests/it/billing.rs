//! Invoices: pro rata, paid, credited, and the same bytes each time.

use traaviis_model::{Span, TenantId, permission::Permission};
use traaviis_platform::{Entered, audit::Via, invoices::Billed, user::PlatformRole};
use traaviis_policy::{access::Action, invoice::decimal, plan::Plan};

use crate::world::{World, code};

const DAY: i64 = 24 * 3_600;

fn billing(world: &World) -> (TenantId, Entered) {
    let ada = world.log_in("ada@example.org");
    let tenant = ada.tenant.as_ref().unwrap().tenant.id;
    let action = Action::Needs(Permission::TenantBilling);
    (tenant, world.enter(&world.caller(&ada), tenant, action).unwrap())
}

fn root(world: &World) -> traaviis_platform::Caller {
    let via = Via { way: "command_line", ..Via::default() };
    world.platform.promote("root@example.org", PlatformRole::PlatformAdmin, &via).unwrap();
    world.caller(&world.log_in("root@example.org"))
}

fn lines(it: &Billed) -> Vec<String> {
    it.invoice.lines.iter().map(|it| format!("{} {}", it.what, decimal(it.micros))).collect()
}

/// The clock begins on 2027-01-15 at 08:00.
#[test]
fn a_change_of_plan_in_the_middle_is_billed_by_days_and_again_the_same() {
    let world = World::new();
    world.register("ada@example.org");
    world.register("root@example.org");
    let month = "2027-02".parse().unwrap();
    let (_, entered) = billing(&world);
    // Several changes of one day count as the last.
    for plan in [Plan::Pro, Plan::Free, Plan::Starter] {
        world.platform.choose_plan(&entered, plan).unwrap();
    }
    world.clock.advance(Span::secs(26 * DAY));
    let (_, entered) = billing(&world);
    let draft = world.platform.invoice(&entered, month).unwrap();
    assert_eq!(lines(&draft), ["plan starter 29.000000"], "as if nothing changed any more");
    world.platform.choose_plan(&entered, Plan::Pro).unwrap();
    let draft = world.platform.invoice(&entered, month).unwrap();
    assert_eq!(
        lines(&draft),
        ["plan starter, 9 of 28 days 9.321429", "plan pro, 19 of 28 days 135.035714"]
    );
    assert_eq!(draft.invoice.status.as_str(), "draft");
    // Nobody has looked before the next month is some days old, and the plan is another one again.
    world.clock.advance(Span::secs(22 * DAY));
    let (_, entered) = billing(&world);
    world.platform.choose_plan(&entered, Plan::Free).unwrap();
    let closed = world.platform.invoice(&entered, month).unwrap();
    assert_eq!(lines(&closed), lines(&draft));
    let january = world.platform.invoice(&entered, "2027-01".parse().unwrap()).unwrap();
    assert_eq!(lines(&january), ["plan starter, 17 of 31 days 15.903226"]);
    let march = world.platform.invoice(&entered, "2027-03".parse().unwrap()).unwrap();
    assert_eq!(lines(&march), ["plan pro, 3 of 31 days 19.258065"]);
    let world = world.restarted().rebuilt();
    let (_, entered) = billing(&world);
    assert_eq!(world.platform.invoice(&entered, month), Ok(closed));
}

#[test]
fn an_invoice_is_paid_when_somebody_has_seen_it_and_credits_take_off() {
    let world = World::new();
    world.register("ada@example.org");
    world.register("root@example.org");
    let (tenant, entered) = billing(&world);
    world.platform.choose_plan(&entered, Plan::Starter).unwrap();
    let (january, february) = ("2027-01".parse().unwrap(), "2027-02".parse().unwrap());
    let tell = |entered: &Entered, month| world.platform.tell_payment(entered, month, " TX 1 ");
    assert_eq!(code(tell(&entered, january)), "invalid_state", "a draft");
    world.clock.advance(Span::secs(50 * DAY));
    let (_, entered) = billing(&world);
    let told = tell(&entered, february).unwrap();
    assert_eq!((told.invoice.status.as_str(), told.invoice.due), ("open", 29_000_000));
    let payment = told.payment.unwrap();
    assert_eq!((payment.reference.as_deref(), payment.confirmed_at), (Some("TX 1"), None));

    let root = root(&world);
    let credit = |month, micros| world.platform.credit(&root, tenant, month, (micros, "an outage"));
    let credited = credit(february, 4_000_000).unwrap();
    assert_eq!((credited.invoice.due, credited.invoice.total), (25_000_000, 29_000_000));
    assert_eq!(credited.invoice.credits[0].number, "2027-02-C01");
    assert_eq!(code(credit(february, 25_000_001)), "validation_failed");
    assert_eq!(code(credit(february, 0)), "validation_failed");
    assert_eq!(code(credit("2027-03".parse().unwrap(), 1)), "invalid_state", "a draft");
    let ada = world.caller(&world.log_in("ada@example.org"));
    let own = world.platform.credit(&ada, tenant, february, (1, "for me"));
    assert_eq!(code(own), "platform_admin_required");
    let paid = world.platform.confirm_payment(&root, tenant, february, None).unwrap();
    assert_eq!((paid.invoice.status.as_str(), paid.invoice.due), ("paid", 0));
    assert_eq!(paid.payment.as_ref().unwrap().reference.as_deref(), Some("TX 1"));
    let again = world.platform.confirm_payment(&root, tenant, february, None);
    assert_eq!(code(again), "invalid_state");
    // All of the other one is taken off.
    let left = world.platform.invoice(&entered, january).unwrap().invoice.total;
    assert_eq!(credit(january, left).unwrap().invoice.status.as_str(), "void");
    assert_eq!(code(tell(&entered, january)), "invalid_state");
    let world = world.rebuilt();
    let (_, entered) = billing(&world);
    assert_eq!(world.platform.invoice(&entered, february), Ok(paid));
}
