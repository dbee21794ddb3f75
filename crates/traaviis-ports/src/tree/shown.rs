//! Which documents of ledgers the tree shows, where, and what of each.
//!
//! Responsible for three tables: [`KINDS`], a file for each document; [`LISTS`], one file about all
//! documents of a kind; [`BOOKS`], files of lines that only grow.
//!
//! Invariants: a kind that stands in no table is not shown, and neither is a field that its row
//! does not name, so whoever adds one decides that it is shown; no row names a hash of a password,
//! a token or a key, a code, a value of a secret, or anything about a person that is not sealed.

use traaviis_model::{TenantId, tenant::PLATFORM};

/// Whose ledger holds documents of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Of {
    /// That of the platform.
    Platform,
    /// That of a tenant.
    Tenant,
    /// Both.
    Each,
}

impl Of {
    /// Says whether the ledger of a tenant is meant.
    fn holds(self, tenant: TenantId) -> bool {
        match self {
            Of::Platform => tenant == PLATFORM,
            Of::Tenant => tenant != PLATFORM,
            Of::Each => true,
        }
    }
}

/// What the file of a document is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The same for all: there is one document.
    One(&'static str),
    /// Its id, behind this.
    Id(&'static str),
    /// Its id, before this.
    Before(&'static str),
    /// Its id, which is a name and a version: `order.published-1.0.0`.
    Version,
}

/// A kind of document that has a file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Kind in the ledger.
    pub kind: &'static str,
    /// Whose.
    pub of: Of,
    /// Directories, below that of the tenant or of the system.
    pub dirs: &'static [&'static str],
    /// Name of the file.
    pub name: Name,
    /// Fields that are shown, sorted.
    pub fields: &'static [&'static str],
    /// It stands in the hourly copies, so that what somebody has deleted can be read back. What
    /// nobody deletes does not, nor what may be long, and nothing about a person.
    pub is_copied: bool,
}

impl Kind {
    /// Says whether the ledger of a tenant holds such documents, or that of the platform.
    pub fn is_of(&self, tenant: Option<TenantId>) -> bool {
        self.of.holds(tenant.unwrap_or(PLATFORM))
    }
}

/// A file about all documents of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List {
    /// Kind in the ledger.
    pub kind: &'static str,
    /// Whose.
    pub of: Of,
    /// Directories.
    pub dirs: &'static [&'static str],
    /// Name of the file.
    pub name: &'static str,
    /// Under which name the entries stand in it, and the kind of the document.
    pub entries: &'static str,
    /// Fields of an entry, sorted.
    pub fields: &'static [&'static str],
}

/// How a document becomes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entries {
    /// It holds one entry or several, which are the lines, numbered by themselves, in a file for
    /// each month.
    Numbered,
    /// It is a numbered line; there is one file.
    Signed,
    /// A line tells of it and has the number of its record, in a file for each month.
    Told,
}

/// Files of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Book {
    /// Kinds in the ledger.
    pub kinds: &'static [&'static str],
    /// Whose.
    pub of: Of,
    /// Directories.
    pub dirs: &'static [&'static str],
    /// Kind of the file.
    pub name: &'static str,
    /// How documents become lines.
    pub entries: Entries,
}

/// Name of the file of a book that has one.
pub const CHECKPOINTS: &str = "checkpoints";
/// Kind of the document that holds a tenant, which the list of tenants tells of.
pub const TENANT: &str = "tenant";
/// Directory of what belongs to no tenant.
pub const SYSTEM: &str = "system";
/// Directory in it of the hourly copies.
pub const COPIES: &str = "hot_backups";
/// Copies that are kept: those of the last hours that brought a change.
pub const COPIES_MAX: usize = 24;

/// Directories of a tenant that hold documents and lines of its ledger alone.
pub const DIRS: [&str; 8] =
    ["members", "roles", "schedules", "webhooks", "secrets", "monitoring", "billing", "audit"];
/// The file beside them.
pub const CONFIG: &str = "config.json";

/// Kinds that have a file for each document.
pub static KINDS: &[Kind] = &[
    Kind {
        kind: "user",
        of: Of::Platform,
        dirs: &["users"],
        name: Name::Id("user_"),
        // `sealed` is everything about the person, and gone with their key.
        fields: &[
            "created_at",
            "id",
            "last_login",
            "platform_role",
            "rights",
            "sealed",
            "status",
            "updated_at",
        ],
        is_copied: false,
    },
    Kind {
        kind: "maintenance",
        of: Of::Platform,
        dirs: &[],
        name: Name::One("maintenance"),
        fields: &["is_on", "reason", "since"],
        is_copied: false,
    },
    Kind {
        kind: TENANT,
        of: Of::Tenant,
        dirs: &[],
        name: Name::One("config"),
        fields: &[
            "created_at",
            "deleting_since",
            "domain",
            "id",
            "name",
            "owner_id",
            "plan",
            "settings",
            "slug",
            "status",
        ],
        is_copied: true,
    },
    Kind {
        kind: "member",
        of: Of::Tenant,
        dirs: &["members"],
        name: Name::Id("member_"),
        fields: &[
            "data_access",
            "invited_by",
            "joined_at",
            "permissions",
            "role",
            "status",
            "user_id",
        ],
        is_copied: true,
    },
    Kind {
        kind: "role",
        of: Of::Tenant,
        dirs: &["roles"],
        name: Name::Id(""),
        fields: &["base", "data_access", "id", "name", "permissions"],
        is_copied: true,
    },
    Kind {
        kind: "workflow_draft",
        of: Of::Tenant,
        dirs: &["workflows", "definitions"],
        // A draft is known by its name in small letters, which would be a second directory.
        name: Name::Before(".draft"),
        fields: &["first_name", "name", "text", "updated_at", "updated_by"],
        is_copied: true,
    },
    Kind {
        kind: "workflow_version",
        of: Of::Tenant,
        dirs: &["workflows", "definitions"],
        name: Name::Version,
        // The text as its author wrote it; as instances run it, it stands in their definition.
        fields: &["first_name", "name", "published", "text"],
        is_copied: false,
    },
    Kind {
        kind: "schedule",
        of: Of::Tenant,
        dirs: &["schedules"],
        name: Name::Id(""),
        fields: &[
            "id",
            "input",
            "instance",
            "made_at",
            "made_by",
            "replaces",
            "settled",
            "updated_at",
        ],
        is_copied: true,
    },
    Kind {
        kind: "webhook",
        of: Of::Tenant,
        dirs: &["webhooks"],
        name: Name::Id(""),
        // Not its secret, sealed as it is: nobody can do anything with it here.
        fields: &["description", "events", "from", "id", "is_gone", "made_at", "made_by", "url"],
        is_copied: true,
    },
    Kind {
        kind: "secret",
        of: Of::Tenant,
        dirs: &["secrets"],
        name: Name::Id(""),
        // Values rest elsewhere, and not in the log.
        fields: &["name", "set_by", "used_at", "workflows"],
        is_copied: true,
    },
    Kind {
        kind: "alert",
        of: Of::Tenant,
        dirs: &["monitoring", "alerts"],
        name: Name::Id(""),
        fields: &[
            "acknowledged_at",
            "acknowledged_by",
            "actor",
            "at",
            "entry",
            "id",
            "message",
            "resolved_at",
            "rule",
            "rule_id",
            "severity",
            "trail",
            "value",
        ],
        is_copied: false,
    },
    Kind {
        kind: "usage_month",
        of: Of::Tenant,
        dirs: &["billing", "usage"],
        name: Name::Id(""),
        fields: &[
            "by_day",
            "by_model",
            "by_workflow",
            "closed",
            "closed_at",
            "cost_usd",
            "counts",
            "members",
            "month",
            "plan",
            "plans",
            "price_book",
            "storage",
            "timezone",
            "totals",
        ],
        is_copied: false,
    },
];

/// Files about all documents of a kind. Nothing about a person is in them: who reads names and
/// addresses asks the process, which has the keys.
pub static LISTS: &[List] = &[
    List {
        kind: "user",
        of: Of::Platform,
        dirs: &["users"],
        name: "index",
        entries: "users",
        fields: &["status", "updated_at"],
    },
    List {
        kind: "session",
        of: Of::Platform,
        dirs: &["sessions"],
        name: "active_sessions",
        entries: "sessions",
        fields: &[
            "amr",
            "authenticated_at",
            "confined",
            "expires_at",
            "id",
            "last_used_at",
            "proved_at",
            "tenant_id",
            "user_id",
        ],
    },
    List {
        kind: "feature_flag",
        of: Of::Platform,
        dirs: &[],
        name: "feature_flags",
        entries: "flags",
        fields: &["setting", "tenants"],
    },
    List {
        kind: "member",
        of: Of::Tenant,
        dirs: &["members"],
        name: "roster",
        entries: "members",
        fields: &["joined_at", "role", "status"],
    },
    List {
        kind: "invitation",
        of: Of::Tenant,
        dirs: &["members"],
        name: "invitations",
        entries: "invitations",
        fields: &["expires_at", "invited_by", "permissions", "role", "sent_count"],
    },
];

/// Files of lines.
pub static BOOKS: &[Book] = &[
    Book {
        kinds: &["audit"],
        of: Of::Each,
        dirs: &["audit"],
        name: "audit",
        entries: Entries::Numbered,
    },
    Book {
        kinds: &["audit_checkpoint"],
        of: Of::Each,
        dirs: &["audit"],
        name: CHECKPOINTS,
        entries: Entries::Signed,
    },
    Book {
        kinds: &["plan_change", "credit_note", "payment"],
        of: Of::Tenant,
        dirs: &["billing", "ledger"],
        name: "billing",
        entries: Entries::Told,
    },
];

/// Returns the row of a document that has a file.
pub fn kind(kind: &str, tenant: TenantId) -> Option<&'static Kind> {
    KINDS.iter().find(|it| it.kind == kind && it.of.holds(tenant))
}

/// Returns the row of a document that a list tells of.
pub fn list(kind: &str, tenant: TenantId) -> Option<&'static List> {
    LISTS.iter().find(|it| it.kind == kind && it.of.holds(tenant))
}

/// Returns the row of a document that becomes lines.
pub fn book(kind: &str, tenant: TenantId) -> Option<&'static Book> {
    BOOKS.iter().find(|it| it.kinds.contains(&kind) && it.of.holds(tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sorted_and_none_is_a_credential() {
        let kinds = KINDS.iter().map(|it| (it.kind, it.fields));
        for (kind, fields) in kinds.chain(LISTS.iter().map(|it| (it.kind, it.fields))) {
            assert!(fields.is_sorted(), "{kind}");
            for field in fields {
                let is_bad = ["hash", "token", "password", "secret", "refresh", "before", "email"];
                assert!(!is_bad.iter().any(|it| field.contains(it)), "{kind}.{field}");
            }
        }
    }

    #[test]
    fn every_directory_is_known() {
        let kinds = KINDS.iter().map(|it| (it.of, it.dirs));
        let lists = LISTS.iter().map(|it| (it.of, it.dirs));
        let books = BOOKS.iter().map(|it| (it.of, it.dirs));
        for (of, dirs) in kinds.chain(lists).chain(books).filter(|it| it.0 != Of::Platform) {
            let first = dirs.first().copied();
            let is_known = first.is_none_or(|it| DIRS.contains(&it) || it == "workflows");
            assert!(is_known, "{of:?} {dirs:?}");
        }
    }

    #[test]
    fn no_two_rows_have_the_same_place() {
        let kinds = KINDS.iter().map(|it| format!("{:?} {:?} {:?}", it.of, it.dirs, it.name));
        let lists = LISTS.iter().map(|it| format!("{:?} {:?} {:?}", it.of, it.dirs, it.name));
        let mut all: Vec<String> = kinds.chain(lists).collect();
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
