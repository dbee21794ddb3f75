//! The files of a directory, and what each is by its path.

use std::{
    fs,
    path::{Path, PathBuf},
};

use traaviis_model::{InstanceId, TenantId};
use traaviis_store::tree::TREE_DIR;

use super::{Said, unreadable};
use crate::exit::{Exit, Failure};

/// Directories within each other; a tree has fewer.
const DEPTH_MAX: usize = 16;
/// Bytes of a document that is read as a whole.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A definition of a workflow, in a document of ours.
    Definition(TenantId),
    /// The state of an instance: a document of ours, or one of an earlier layout.
    State(TenantId, Option<InstanceId>),
    /// Records of an instance.
    Records(TenantId, InstanceId),
    /// Events of an instance in an earlier layout, one file for each day.
    Days(TenantId, String),
    /// Users: one in a document of ours, or those of an earlier layout.
    Users,
    /// Tenants: one in a document of ours, or all of an earlier layout.
    Tenants,
    /// A role that a tenant has made, in a document of ours.
    Roles,
    /// Memberships: one in a document of ours, or all of an earlier layout.
    Memberships,
}

/// A file that is taken.
#[derive(Clone, Debug)]
pub struct File {
    /// Path below the root, with `/` between names.
    pub path: String,
    /// What it is.
    pub what: What,
}

/// What was found.
pub struct Found {
    /// Where paths begin.
    pub root: PathBuf,
    /// Files to take, by path.
    pub files: Vec<File>,
    /// Files that hold nothing of their own.
    pub passed_over: Vec<Said>,
    /// Files that cannot be taken.
    pub left_out: Vec<Said>,
}

/// Finds the files of a directory. Of a data directory it is the tree in it.
pub fn find(source: &Path) -> Result<Found, Failure> {
    if !source.is_dir() {
        let message = format!("`{}` is no directory", source.display());
        return Err(Failure::new(Exit::Unreachable, "file_unreadable", message));
    }
    let root = match source.join("log").is_dir() {
        true => source.join(TREE_DIR),
        false => source.to_path_buf(),
    };
    if !root.is_dir() {
        let message = format!(
            "`{}` is a data directory without a document tree; `traaviis rebuild --tree --data {}` \
             makes it",
            source.display(),
            source.display()
        );
        return Err(Failure::finding("tree_absent", message));
    }
    let mut found =
        Found { root: root.clone(), files: Vec::new(), passed_over: vec![], left_out: vec![] };
    walk(&root, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn walk(dir: &Path, names: &mut Vec<String>, found: &mut Found) -> Result<(), Failure> {
    let entries = fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
    let mut entries: Vec<_> =
        entries.collect::<Result<_, _>>().map_err(|error| unreadable(dir, &error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        names.push(name);
        let path = names.join("/");
        let kind = entry.file_type().map_err(|error| unreadable(&entry.path(), &error))?;
        if kind.is_dir() && names.len() < DEPTH_MAX {
            walk(&entry.path(), names, found)?;
        } else if kind.is_dir() {
            found.left_out.push(Said::new(path, "directories stand too deep within each other"));
        } else if !kind.is_file() {
            // What it points at may be anywhere.
            found.left_out.push(Said::new(path, "it is no plain file"));
        } else {
            let len = entry.metadata().map_or(0, |it| it.len());
            sort(path, names, len, found);
        }
        names.pop();
    }
    Ok(())
}

fn sort(path: String, names: &[String], len: u64, found: &mut Found) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match of(&names) {
        Ok(What::State(..) | What::Definition(_)) if len > DOCUMENT_BYTES_MAX => {
            let why = format!("it has more than {DOCUMENT_BYTES_MAX} bytes");
            found.left_out.push(Said::new(path, why));
        }
        Ok(what) => found.files.push(File { path, what }),
        Err(Other::Derived(why)) => found.passed_over.push(Said::new(path, why)),
        Err(Other::Unknown(why)) => found.left_out.push(Said::new(path, why)),
    }
}

/// A file that is not taken.
enum Other {
    /// Everything in it stands elsewhere, too.
    Derived(&'static str),
    /// Nobody knows what it is.
    Unknown(&'static str),
}

/// Why what tells of the past is not taken.
const STAYS: &str = "it tells of what was done where it comes from";
/// What would have to be made anew, as somebody of the tenant.
const ANEW: Other = Other::Unknown(
    "it does not come with a tree: make it anew, or move the tenant with `traaviis tenant export`",
);

/// Says what a file is by its path.
fn of(names: &[&str]) -> Result<What, Other> {
    let name = *names.last().unwrap_or(&"");
    if name.contains(".damaged-") {
        return Err(Other::Unknown("it was set aside, because it is damaged"));
    }
    if name.starts_with('.') || name.ends_with(".tmp") {
        return Err(Other::Unknown("it is the rest of a write that was broken off"));
    }
    let names = names.strip_prefix(&["tenants"]).unwrap_or(names);
    match names {
        ["accounts", "users.json"] => return Ok(What::Users),
        ["tenancy", "tenants.json"] => return Ok(What::Tenants),
        ["tenancy", "memberships.json"] => return Ok(What::Memberships),
        ["system", "users", .., name] if name.starts_with("user_") => return Ok(What::Users),
        ["system", "sessions", _] => return Err(Other::Derived("nobody is logged in elsewhere")),
        ["system", "audit" | "hot_backups", _] => return Err(Other::Derived(STAYS)),
        ["system", "maintenance.json" | "feature_flags.json"] => {
            return Err(Other::Derived("it is about the installation that it comes from"));
        }
        ["index.json" | "progress.json"] | ["system", "users", "index.json"] => {
            return Err(Other::Derived("a list of what stands in other files"));
        }
        _ => {}
    }
    let unknown = Other::Unknown("no layout that is known has a file there");
    let [tenant, kind, rest @ ..] = names else { return Err(unknown) };
    let Ok(tenant) = tenant.parse::<TenantId>() else { return Err(unknown) };
    let id = |it: &str| it.parse::<InstanceId>().ok();
    match (*kind, rest) {
        ("tasks" | "incidents", _) => Err(Other::Derived("it follows from the state")),
        ("config.json", []) => Ok(What::Tenants),
        ("members", ["roster.json"]) => Err(Other::Derived("a list of what stands in other files")),
        ("members", ["invitations.json"]) => Err(Other::Derived("nobody can accept it elsewhere")),
        ("members", [.., name]) if name.starts_with("member_") => Ok(What::Memberships),
        ("roles", [.., name]) if name.ends_with(".json") => Ok(What::Roles),
        ("audit" | "billing" | "monitoring", [_, ..]) => Err(Other::Derived(STAYS)),
        ("schedules" | "webhooks" | "secrets", [_, ..]) => Err(ANEW),
        ("workflows", ["definitions", name])
            if name.ends_with(".draft.json") || name.contains(".published-") =>
        {
            Err(ANEW)
        }
        ("workflows", ["definitions", _, _]) if name.ends_with(".json") => {
            Ok(What::Definition(tenant))
        }
        ("workflows", ["definitions" | "templates", ..]) => Err(unknown),
        ("workflows" | "fsm", [_, ..]) if rest.len() >= 2 && name.ends_with(".json") => {
            Ok(What::State(tenant, id(name.trim_end_matches(".json"))))
        }
        ("events", [_, .., of, file]) if file.ends_with(".jsonl") && id(of).is_some() => {
            let number = file.trim_end_matches(".jsonl");
            match number.len() == 6 && number.bytes().all(|it| it.is_ascii_digit()) {
                true => id(of).map(|it| What::Records(tenant, it)).ok_or(unknown),
                false => Err(unknown),
            }
        }
        ("events", [_, of, year, month, day]) if is_day(year, month, day) => {
            Ok(What::Days(tenant, (*of).to_owned()))
        }
        _ => Err(unknown),
    }
}

fn is_day(year: &str, month: &str, day: &str) -> bool {
    let is = |it: &str, len: usize| it.len() == len && it.bytes().all(|it| it.is_ascii_digit());
    is(year, 4) && is(month, 2) && day.strip_suffix(".jsonl").is_some_and(|it| is(it, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_something_or_is_said_to_be_nothing() {
        let t = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0001";
        let i = "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0002";
        let word = |path: &str| {
            let path = path.replace('T', t).replace('I', i);
            let names: Vec<&str> = path.split('/').collect();
            match of(&names) {
                Ok(What::Definition(_)) => "definition",
                Ok(What::State(_, Some(_))) => "state",
                Ok(What::State(_, None)) => "state of no id",
                Ok(What::Records(..)) => "records",
                Ok(What::Days(..)) => "day",
                Ok(What::Users) => "users",
                Ok(What::Tenants) => "tenants",
                Ok(What::Roles) => "role",
                Ok(What::Memberships) => "memberships",
                Err(Other::Derived(_)) => "derived",
                Err(Other::Unknown(_)) => "unknown",
            }
        };
        for (path, expected) in [
            ("index.json", "derived"),
            ("T/workflows/Order/I.json", "state"),
            ("tenants/T/workflows/Order/I.json", "state"),
            ("T/workflows/Order/02/I.json", "state"),
            ("T/fsm/Order/I.json", "state"),
            ("T/fsm/Order/order-1.json", "state of no id"),
            ("T/workflows/definitions/Order/1.0.0.json", "definition"),
            ("T/events/Order/I/000001.jsonl", "records"),
            ("T/events/Order/02/I/000001.jsonl", "records"),
            ("T/events/Order/I/2024/03/09.jsonl", "day"),
            ("T/events/Order/I/more.jsonl", "unknown"),
            ("T/tasks/I-5.json", "derived"),
            ("T/incidents/I-0f.json", "derived"),
            ("accounts/users.json", "users"),
            ("system/users/user_I.json", "users"),
            ("system/users/index.json", "derived"),
            ("tenancy/tenants.json", "tenants"),
            ("tenancy/memberships.json", "memberships"),
            ("T/workflows/Order/I.json.damaged-1", "unknown"),
            ("T/workflows/Order/.I.json.tmp", "unknown"),
            ("T/workflows/templates/x.json", "unknown"),
            ("T/workflows/definitions/order.draft.json", "unknown"),
            ("T/workflows/definitions/order.published-1.0.0.json", "unknown"),
            ("T/config.json", "tenants"),
            ("T/members/member_I.json", "memberships"),
            ("T/members/02/member_I.json", "memberships"),
            ("T/members/roster.json", "derived"),
            ("T/members/invitations.json", "derived"),
            ("T/roles/I.json", "role"),
            ("T/audit/2026-01.jsonl", "derived"),
            ("T/billing/ledger/2026-01.jsonl", "derived"),
            ("T/monitoring/alerts/x.json", "derived"),
            ("T/schedules/I.json", "unknown"),
            ("T/secrets/key.json", "unknown"),
            ("T/webhooks/I.json", "unknown"),
            ("system/users/02/user_I.json", "users"),
            ("system/sessions/active_sessions.json", "derived"),
            ("system/audit/checkpoints.jsonl", "derived"),
            ("system/feature_flags.json", "derived"),
            ("system/hot_backups/2026-01-31T12.json.gz", "derived"),
            ("acme/workflows/Order/I.json", "unknown"),
            ("notes.txt", "unknown"),
        ] {
            assert_eq!(word(path), expected, "{path}");
        }
    }
}
