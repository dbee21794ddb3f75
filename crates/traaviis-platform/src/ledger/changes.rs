//! What a decision leads to: documents put and removed, and what was done.

use serde_json::Value as Json;

use traaviis_model::{Text, Timestamp};

use super::documents::Document;
use crate::{
    audit::{self, Act, By, Via},
    repeated::UsedKey,
};

/// A document that is put or, without a body, removed: its kind and its id.
pub type Put = (Text, Text, Option<Json>);

/// What a decision leads to.
#[derive(Debug, Default)]
pub struct Changes {
    pub(super) puts: Vec<Put>,
    pub(super) acts: Vec<(Act, Option<By>)>,
    /// End of the audit chain before them.
    pub(super) before: audit::Head,
}

impl Changes {
    /// Puts a document in the place of the version before.
    pub fn put<T: Document>(&mut self, document: &T) {
        // Documents are made of plain values and texts; writing one cannot fail.
        let body = serde_json::to_value(document).unwrap_or_default();
        self.puts.push((T::KIND.into(), document.id(), Some(body)));
    }

    /// Removes a document.
    pub fn remove<T: Document>(&mut self, id: &str) {
        self.puts.push((T::KIND.into(), id.into(), None));
    }

    /// Returns the end of the audit chain before these changes.
    pub fn audit_head(&self) -> &audit::Head {
        &self.before
    }

    /// Removes a document of any kind.
    pub fn remove_any(&mut self, (kind, id): (Text, Text)) {
        self.puts.push((kind, id, None));
    }

    /// Notes what was done.
    pub fn act(&mut self, act: Act) {
        self.acts.push((act, None));
    }

    /// Returns what says that the request with the key of `via` was carried out; nothing when it
    /// has none, or when nothing was done that it asks for.
    pub(super) fn used_key(&self, via: &Via, now: Timestamp) -> Option<UsedKey> {
        let key = via.request_key.as_ref()?;
        let done = self.acts.iter().filter(|it| it.1.is_none()).map(|it| &it.0);
        let first = done.into_iter().find(|it| it.outcome == audit::Outcome::Ok)?;
        Some(UsedKey::of_act(key, first, now))
    }

    /// Notes what somebody did earlier.
    pub fn act_by(&mut self, act: Act, by: By) {
        self.acts.push((act, Some(by)));
    }
}
