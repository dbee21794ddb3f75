//! The table of operations: everything that can be reached, and who may reach it.
//!
//! [`Op`] has one variant for each row of the table, and a server dispatches on it with a `match`
//! that the compiler keeps complete: what has no row has no route, and what has one has a handler.
//! `{t}` in a path is a tenant: its id, its short name, or `current`.

mod fields;
mod table;

use schemars::{Schema, SchemaGenerator};
use traaviis_model::permission::Permission;

pub use table::{OPERATIONS, Op};

/// Path before every operation.
pub const BASE: &str = "/api/v1";

/// HTTP methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes, or does something.
    Post,
    /// Replaces.
    Put,
    /// Changes in part.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Anybody, or who has logged in as who they are.
    Either,
    /// Who has logged in, about what is their own.
    SelfOnly,
    /// An active member of the tenant.
    Member,
    /// A member with a permission.
    Needs(Permission),
    /// An owner of the tenant.
    OwnerOnly,
    /// Who looks after the platform.
    Platform,
}

impl Access {
    /// Returns the words of the matrix of rights.
    pub fn word(self) -> &'static str {
        match self {
            Access::Public => "-",
            Access::Either => "- or self",
            Access::SelfOnly => "self",
            Access::Member => "member",
            Access::Needs(permission) => permission.as_str(),
            Access::OwnerOnly => "owner",
            Access::Platform => "platform_admin",
        }
    }

    /// Says whether the path of such an operation names a tenant.
    pub fn is_of_tenant(self) -> bool {
        matches!(self, Access::Member | Access::Needs(_) | Access::OwnerOnly)
    }
}

/// What an operation asks of its caller besides the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// The version that was read, as `If-Match`.
    Match,
    /// A proof of who one is that is at most ten minutes old.
    Fresh,
    /// Both.
    FreshMatch,
}

impl Asks {
    /// Says whether the version that was read is asked for.
    pub fn wants_match(self) -> bool {
        matches!(self, Asks::Match | Asks::FreshMatch)
    }

    /// Says whether a fresh proof of who one is is asked for.
    pub fn wants_proof(self) -> bool {
        matches!(self, Asks::Fresh | Asks::FreshMatch)
    }
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// What may stand there.
    pub form: Form,
}

/// What may stand in a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any text that is not empty.
    Text,
    /// A text that looks so.
    Like(&'static str),
    /// A whole number, from and to.
    Whole(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A UUID.
    Id,
}

/// Makes the schema of a type on the wire.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One row.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its variant.
    pub op: Op,
    /// Its name, for descriptions and matrices.
    pub name: &'static str,
    /// Method.
    pub method: Method,
    /// Path below [`BASE`].
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// What it asks besides.
    pub asks: Asks,
    /// Parameters of the query.
    pub query: &'static [Param],
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Body of the request; none when it takes none.
    pub body: Option<SchemaOf>,
    /// Whether the body may be left out.
    pub is_body_optional: bool,
    /// Status of a good answer.
    pub status: u16,
    /// Body of the answer; none with status 204.
    pub answer: Option<SchemaOf>,
}

/// Header by which a browser asks to keep its refresh token in a cookie, and shows with each
/// request that uses the cookie that it is no other site which has sent it: a page of another site
/// can add no header of its own.
pub const CSRF: &str = "X-Trv-Csrf";
/// What stands in [`CSRF`].
pub const CSRF_VALUE: &str = "1";

impl Operation {
    /// Says whether it changes or removes a document whose version may be named, and need not be.
    pub fn may_match(&self) -> bool {
        matches!(
            self.op,
            Op::ChangeMe
                | Op::RemoveMember
                | Op::EndSchedule
                | Op::DeleteNamedEffect
                | Op::RemoveAlertRule
        )
    }

    /// Says whether it gives out a refresh token, or takes it away.
    pub fn is_about_refresh_token(&self) -> bool {
        matches!(
            self.op,
            Op::Register
                | Op::Login
                | Op::Refresh
                | Op::Logout
                | Op::Switch
                | Op::Reauthenticate
                | Op::LoginByPasskey
                | Op::FinishElsewhere
                | Op::AcceptInvitation
        )
    }

    /// Says whether it answers with a list that is put together whole and then cut into pages.
    pub fn is_cut(&self) -> bool {
        self.query == table::LIST
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_consistent() {
        let mut seen = BTreeSet::new();
        for row in OPERATIONS {
            assert!(seen.insert((row.path, row.method)), "{row:?} stands twice");
            assert_eq!(row.access.is_of_tenant(), row.path.starts_with("/tenants/{t}"), "{row:?}");
            assert_eq!(row.status == 204, row.answer.is_none(), "{row:?}");
            assert!(row.summary.ends_with('.'), "{row:?}");
            assert_eq!(row.op.row().name, row.name);
            if row.method == Method::Get {
                assert!(row.body.is_none() && row.asks == Asks::Nothing, "{row:?}");
            }
        }
    }
}
