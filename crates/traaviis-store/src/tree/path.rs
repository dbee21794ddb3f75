//! Which file a place of the tree is, and back: names come from ids and validated names only.
//!
//! A name is one part of a path whatever it holds: bytes other than letters, digits, `_`, `-`, `.`
//! and `+` are written as `%XX`, and so is the first letter of a workflow named like one of the
//! directories beside it.

use traaviis_model::TenantId;
use traaviis_ports::tree::{
    Place,
    shown::{COPIES, Name, SYSTEM},
};

/// Directory of the tree in a data directory.
pub const TREE_DIR: &str = "tree";

/// Names beside the directories of workflows.
const RESERVED: [&str; 2] = ["definitions", "templates"];

/// What stands before ids in the names of documents of which there may be very many.
const PREFIXES: [&str; 2] = ["user_", "member_"];

/// Letters of an hour: `2026-01-31T12`.
const HOUR_LEN: usize = 13;

/// Where a file is: a directory that may fan out, and what comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Directories from the root of the tree.
    pub dirs: Vec<String>,
    /// The entry of the last of them.
    pub entry: String,
    /// File inside the entry, when that is a directory.
    pub file: Option<String>,
    /// Digits of the entry's id by which the directory fans out.
    pub digits: Option<String>,
}

/// Returns where a place of a tenant is.
pub(crate) fn spot(tenant: Option<TenantId>, place: &Place) -> Spot {
    let mut dirs: Vec<String> = tenant.iter().map(|it| it.to_string()).collect();
    let mut put = |names: &[&str]| dirs.extend(names.iter().map(|it| (*it).to_string()));
    let (mut file, mut digits) = (None, None);
    let entry = match place {
        Place::Progress => "progress.json".into(),
        Place::Tenants => "index.json".into(),
        Place::Instance { workflow, id } => {
            put(&["workflows", &workflow_name(workflow)]);
            digits = Some(id.0.simple().to_string());
            format!("{id}.json")
        }
        Place::Definition { name, version } => {
            put(&["workflows", "definitions", &dir_part(name)]);
            format!("{}.json", part(version))
        }
        Place::Task { instance, .. } => {
            put(&["tasks"]);
            digits = Some(instance.0.simple().to_string());
            format!("{}.json", place.id())
        }
        Place::Incident { instance, .. } => {
            put(&["incidents"]);
            digits = Some(instance.0.simple().to_string());
            format!("{}.json", place.id())
        }
        Place::Events { workflow, id, file: number } => {
            put(&["events", &workflow_name(workflow)]);
            digits = Some(id.0.simple().to_string());
            file = Some(format!("{number:06}.jsonl"));
            id.to_string()
        }
        Place::Kept { kind, id } => {
            put(&above(tenant));
            put(kind.dirs);
            match kind.name {
                Name::One(name) => format!("{name}.json"),
                Name::Before(end) => format!("{}{end}.json", dir_part(id)),
                Name::Version => {
                    let (name, version) = id.split_once('/').unwrap_or((id, ""));
                    format!("{}.published-{}.json", dir_part(name), part(version))
                }
                Name::Id(begin) => {
                    let entry = format!("{begin}{}.json", part(id));
                    digits = digits_of(&entry);
                    entry
                }
            }
        }
        Place::List(list) => {
            put(&above(tenant));
            put(list.dirs);
            format!("{}.json", list.name)
        }
        Place::Book { book, file } => {
            put(&above(tenant));
            put(book.dirs);
            format!("{}.jsonl", part(file))
        }
        Place::Copy { hour } => {
            put(&[SYSTEM, COPIES]);
            format!("{}.json.gz", part(hour))
        }
    };
    Spot { dirs, entry, file, digits }
}

/// Returns the directory above what belongs to no tenant.
fn above(tenant: Option<TenantId>) -> Vec<&'static str> {
    if tenant.is_none() { vec![SYSTEM] } else { Vec::new() }
}

/// Returns the digits by which an entry of a directory fans out; none when it is no entry of ours.
pub(crate) fn digits_of(entry: &str) -> Option<String> {
    let entry = PREFIXES.iter().find_map(|it| entry.strip_prefix(it)).unwrap_or(entry);
    let (id, rest) = entry.split_at_checked(36)?;
    let is_ours = rest.is_empty() || rest == ".json" || is_asking(rest);
    let id = uuid::Uuid::try_parse(id).ok().filter(|_| is_ours)?;
    Some(id.simple().to_string())
}

/// Says whether this follows the id in the name of a task or an incident.
fn is_asking(rest: &str) -> bool {
    let number = rest.strip_prefix('-').and_then(|it| it.strip_suffix(".json"));
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// Returns the name under which entries with these digits stand at a level of fanning out. The end
/// of an id is random; its beginning is the time and is shared by all of an hour.
pub(crate) fn fan_name(digits: &str, level: usize) -> &str {
    let end = digits.len().saturating_sub(2 * level);
    digits.get(end.saturating_sub(2)..end).unwrap_or("00")
}

/// Says whether a name is one of [`fan_name`].
pub(crate) fn is_fan_name(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the hour of the name of a copy.
pub(crate) fn copy_hour(name: &str) -> Option<&str> {
    name.strip_suffix(".json.gz").filter(|it| it.len() == HOUR_LEN && !it.starts_with('.'))
}

/// Says whether a name in the tree is a directory; only files have a dot.
pub(crate) fn is_dir_name(name: &str) -> bool {
    !name.contains('.')
}

/// Says whether a directory beside those of workflows has this name.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|it| it.eq_ignore_ascii_case(name))
}

fn workflow_name(name: &str) -> String {
    let name = dir_part(name);
    if is_reserved(&name) {
        let (first, rest) = name.split_at(1);
        return format!("%{:02x}{rest}", first.as_bytes()[0]);
    }
    name
}

/// Returns a name for a directory; a dot would make it look like a file.
fn dir_part(name: &str) -> String {
    part(name).replace('.', "%2e")
}

fn part(name: &str) -> String {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.' | b'+');
    let mut part = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match is_plain(byte) && !(at == 0 && byte == b'.') {
            true => part.push(char::from(byte)),
            false => part.push_str(&format!("%{byte:02x}")),
        }
    }
    if part.is_empty() { "%".into() } else { part }
}

#[cfg(test)]
mod tests {
    use traaviis_model::InstanceId;
    use traaviis_ports::tree::shown;
    use uuid::Uuid;

    use super::*;

    fn path(place: Place) -> String {
        let tenant = TenantId(Uuid::from_u128(1));
        let Spot { dirs, entry, file, .. } = spot(Some(tenant), &place);
        let parts: Vec<String> = dirs.into_iter().chain([entry]).chain(file).collect();
        parts.join("/").replace(&tenant.to_string(), "T")
    }

    #[test]
    fn every_place_has_its_file() {
        let id = InstanceId(Uuid::from_u128(0xabc));
        let text = id.to_string();
        let order = || "Order".into();
        let cases = [
            (Place::Tenants, "T/index.json".to_string()),
            (Place::Instance { workflow: order(), id }, format!("T/workflows/Order/{text}.json")),
            (
                Place::Definition { name: order(), version: "1.0.0-rc.1+b".into() },
                "T/workflows/definitions/Order/1.0.0-rc.1+b.json".into(),
            ),
            (
                Place::Events { workflow: order(), id, file: 2 },
                format!("T/events/Order/{text}/000002.jsonl"),
            ),
            (Place::Task { instance: id, scheduled: 5 }, format!("T/tasks/{text}-5.json")),
            (
                Place::Incident { instance: id, digits: "0f".into() },
                format!("T/incidents/{text}-0f.json"),
            ),
        ];
        for (place, expected) in cases {
            assert_eq!(path(place), expected);
        }
    }

    #[test]
    fn every_kind_of_a_ledger_has_its_file() {
        let user = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0123";
        let found: Vec<String> = shown::KINDS
            .iter()
            .map(|kind| {
                let id = if kind.name == Name::Version { "a.b/1.0.0" } else { "../x" };
                path(Place::Kept { kind, id: id.into() })
            })
            .collect();
        expect_test::expect![[r#"
            T/users/user_%2e.%2fx.json
            T/maintenance.json
            T/config.json
            T/members/member_%2e.%2fx.json
            T/roles/%2e.%2fx.json
            T/workflows/definitions/%2e%2e%2fx.draft.json
            T/workflows/definitions/a%2eb.published-1.0.0.json
            T/schedules/%2e.%2fx.json
            T/webhooks/%2e.%2fx.json
            T/secrets/%2e.%2fx.json
            T/monitoring/alerts/%2e.%2fx.json
            T/billing/usage/%2e.%2fx.json"#]]
        .assert_eq(&found.join("\n"));
        let kind = shown::kind("user", traaviis_model::tenant::PLATFORM).unwrap();
        let spot = spot(None, &Place::Kept { kind, id: user.into() });
        assert_eq!(spot.dirs, ["system", "users"]);
        assert_eq!(spot.digits, digits_of(&format!("{user}.json")));
    }

    #[test]
    fn no_name_leaves_its_directory_or_takes_anothers() {
        let id = InstanceId(Uuid::from_u128(0xabc));
        for (name, expected) in [
            ("Definitions", "%44efinitions"),
            ("templates", "%74emplates"),
            ("..", "%2e%2e"),
            ("a/b", "a%2fb"),
            ("", "%"),
        ] {
            let workflow = name.into();
            let found = path(Place::Instance { workflow, id });
            assert_eq!(found, format!("T/workflows/{expected}/{id}.json"));
        }
        let found = path(Place::Definition { name: "../x".into(), version: "../1".into() });
        assert_eq!(found, "T/workflows/definitions/%2e%2e%2fx/%2e.%2f1.json");
    }

    #[test]
    fn directories_fan_out_by_the_end_of_ids() {
        let id = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0123";
        let digits = digits_of(&format!("{id}.json")).unwrap();
        assert_eq!((fan_name(&digits, 0), fan_name(&digits, 1)), ("23", "01"));
        assert_eq!(digits_of(&format!("{id}-17.json")), Some(digits.clone()));
        assert_eq!(digits_of(id), Some(digits));
        for other in [format!("{id}x"), format!("{id}.json.damaged-1"), format!(".{id}.json.tmp")] {
            assert_eq!(digits_of(&other), None);
        }
        assert_eq!(digits_of("23"), None);
    }
}
