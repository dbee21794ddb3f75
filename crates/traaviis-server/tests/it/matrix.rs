//! Every operation as every role, in a tenant of one's own, in another and in none: a table that is
//! committed, and compared with what the server does.

use std::fmt::Write as _;

use serde_json::json;
use traaviis_api::{Access, Operation, operation::OPERATIONS};

use crate::world::World;

/// Where the table stands.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/permissions.md");
/// Ids of things that are not there.
const ABSENT: &str = "0198c51a-7800-7abc-8000-0123456789ab";

struct People {
    /// Somebody of each role in the tenant, by role.
    inside: Vec<(&'static str, String)>,
    /// An owner of another tenant.
    outside: String,
    tenant: String,
}

fn people(world: &World) -> People {
    let (owner, tenant) = world.register("owner@example.org");
    let join = |role| world.join(&owner, &tenant, &format!("{role}@example.org"), role);
    let inside = vec![
        ("admin", join("admin")),
        ("developer", join("developer")),
        ("viewer", join("viewer")),
    ];
    let mut all = vec![("owner", owner)];
    all.extend(inside);
    let outside = world.register("outside@example.org").0;
    People { inside: all, outside, tenant }
}

/// Asks, with an empty body, about something that is not there: what comes after the right was
/// checked is refused for another reason.
fn ask(world: &World, row: &Operation, who: &str, tenant: &str) -> String {
    let path = row.path.replace("{t}", tenant).replace("{id}", ABSENT);
    let path = path.replace("{name}", "nothing").replace("{v}", "1.0.0");
    let path = path.replace("{issuer}", "nothing").replace("{month}", "2026-01");
    let told = world.call(who, row.method.as_str(), &path, json!(null));
    match told.code() {
        "not_authenticated" => "login".into(),
        "insufficient_permissions" | "forbidden" | "last_owner" | "platform_admin_required" => {
            "no".into()
        }
        "no_tenant_context" => "unknown".into(),
        _ => "yes".into(),
    }
}

#[test]
fn the_matrix_of_rights_is_what_the_server_does() {
    let mut table = String::from(
        "# Who may do what\n\nMade by a test from the answers of a running server; \
         `UPDATE_EXPECT=1 cargo test matrix` writes it anew.\n`unknown` is the answer about a \
         tenant that is not there.\n\n| Operation | Path | Needs | owner | admin | developer | \
         viewer | owner of another tenant | nobody |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in OPERATIONS {
        // A world of its own: what leaves, deletes or ends something must not change the others.
        let world = World::new();
        let people = people(&world);
        let _ = write!(
            table,
            "| {} | `{} {}` | {} |",
            row.name,
            row.method.as_str(),
            row.path,
            row.access.word()
        );
        let mut cells = Vec::new();
        // From the least: what an owner may change must not change what others may.
        for (_, who) in people.inside.iter().rev() {
            cells.push(ask(&world, row, who, &people.tenant));
        }
        cells.reverse();
        cells.push(ask(&world, row, &people.outside, &people.tenant));
        cells.push(ask(&world, row, "", &people.tenant));
        if row.access.is_of_tenant() {
            assert_eq!(cells[4], "unknown", "{row:?}");
        }
        if !matches!(row.access, Access::Public | Access::Either) {
            assert_eq!(cells[5], "login", "{row:?}");
        }
        let _ = writeln!(table, " {} |", cells.join(" | "));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let committed = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert_eq!(committed, table, "run it with UPDATE_EXPECT=1 and read the difference");
}

#[test]
fn a_thing_of_another_tenant_is_answered_like_one_that_is_not_there() {
    let world = World::new();
    let (ada, theirs) = world.register("ada@example.org");
    let (eve, own) = world.register("eve@example.org");
    let document = json!({ "document": { "name": "Door", "version": "1.0.0", "states": {} } });
    world.call(&ada, "POST", "/tenants/current/workflows", document);
    world.call(&ada, "POST", "/tenants/current/workflows/Door/publish", json!(null));
    let started =
        world.call(&ada, "POST", "/tenants/current/instances", json!({ "workflow": "Door" }));
    let invited = json!({ "email": "bob@example.org", "role": "viewer" });
    let invited = world.call(&ada, "POST", "/tenants/current/invitations", invited);
    let key = json!({ "name": "robot", "scopes": ["workflow_monitor"] });
    let key = world.call(&ada, "POST", "/tenants/current/api-keys", key);
    let ids = [started.text("/id"), invited.text("/id"), key.text("/id"), theirs.clone()];
    assert!(ids.iter().all(|it| it.len() == 36), "{ids:?}");
    let mut count = 0;
    for row in OPERATIONS.iter().filter(|it| it.access.is_of_tenant()) {
        // The ids of the other tenant below one's own, and everything below the other tenant.
        for id in &ids {
            let path = |tenant: &str, id: &str| {
                row.path
                    .replace("{t}", tenant)
                    .replace("{id}", id)
                    .replace("{name}", "Door")
                    .replace("{v}", "1.0.0")
            };
            let told = |tenant: &str, id: &str| {
                let mut told =
                    world.call(&eve, row.method.as_str(), &path(tenant, id), json!(null));
                // What differs for every request, and what the caller has said itself.
                told.body["request_id"] = json!(null);
                told.body["instance"] = json!(null);
                (told.status, told.body.to_string().replace(id, "ID").replace(tenant, "TENANT"))
            };
            if row.path.contains("{id}") {
                assert_eq!(told(&own, id), told(&own, ABSENT), "{row:?} {id}");
            }
            assert_eq!(told(&theirs, id), told(ABSENT, id), "{row:?} {id}");
            count += 2;
        }
    }
    assert!(count > 400, "{count}");
    let still =
        world.call(&ada, "GET", &format!("/tenants/current/instances/{}", ids[0]), json!(null));
    assert_eq!(still.status, 200, "nothing happened to it");
}
