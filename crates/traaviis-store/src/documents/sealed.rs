//! Documents of which the bodies rest sealed, where those in the log do.
//!
//! [`SealedDocuments`] stands before any [`DocumentStore`]. Kinds, ids and versions stay as they
//! are, so every question is answered as before. The body of a row of a tenant that has, or had,
//! everything sealed is written as
//!
//! ```text
//! sealed:1.NAME.VERSION.BASE64
//! ```
//!
//! which is no JSON, so no document looks like it.
//!
//! Invariants: what is sealed is bound to its row, with the version; of what was sealed with a key
//! that is destroyed nothing is there, as if it were removed.

use std::{fmt, sync::Arc};

use traaviis_model::{
    TenantCtx, Timestamp,
    record::{OPEN_DOCUMENTS, WHOLE},
};
use traaviis_ports::{DocumentError, DocumentQuery, DocumentRow, DocumentStore, Position};

use super::failed;
use crate::{
    keys::{
        self, entropy,
        seal::{self, Bound, NONCE_BYTES},
        subject::{Opened, Subjects},
    },
    sealed::{parts, text},
};

/// What a sealed body begins with.
const MARK: &[u8] = b"sealed:";
/// Kind of what is sealed.
const KIND: &str = "row";

/// Documents with the keys that seal them.
pub struct SealedDocuments<S> {
    inner: S,
    subjects: Arc<Subjects>,
    /// Kinds of rows that are no documents, and stay open.
    open: &'static [&'static str],
}

impl<S: DocumentStore> SealedDocuments<S> {
    /// Returns documents that are sealed with these keys, but for kinds that stay `open`.
    pub fn new(
        inner: S,
        subjects: Arc<Subjects>,
        open: &'static [&'static str],
    ) -> SealedDocuments<S> {
        SealedDocuments { inner, subjects, open }
    }

    fn seal(&self, row: &DocumentRow) -> Result<DocumentRow, DocumentError> {
        let kind = &*row.kind;
        let is_open = OPEN_DOCUMENTS.contains(&kind) || self.open.contains(&kind);
        let Some(body) = row.body.as_deref().filter(|_| !is_open) else { return Ok(row.clone()) };
        if !self.subjects.keys().has_sealed_all(row.tenant).map_err(told)? {
            return Ok(row.clone());
        }
        // The record before it has made the key, with the time.
        let (name, version, key) =
            self.subjects.in_use(row.tenant, WHOLE, Timestamp::default()).map_err(told)?;
        let nonce = entropy::<NONCE_BYTES>().map_err(told)?;
        let id = id_of(row);
        let bound = Bound { tenant: row.tenant, kind: KIND, id: &id, version };
        let sealed = seal::seal(&key, &nonce, bound, body);
        let sealed = sealed.ok_or_else(|| failed("a document is too long to be sealed"))?;
        let body = [MARK, text(name, version, &nonce, &sealed).as_bytes()].concat();
        Ok(DocumentRow { body: Some(body), ..row.clone() })
    }

    fn open(&self, mut row: DocumentRow) -> Result<DocumentRow, DocumentError> {
        let Some(sealed) = row.body.as_deref().and_then(|it| it.strip_prefix(MARK)) else {
            return Ok(row);
        };
        let (id, tenant) = (id_of(&row), row.tenant);
        let wrong = || {
            let why = format!("what is sealed in document `{}/{}` is damaged", row.kind, row.id);
            DocumentError::Damaged(why.into())
        };
        let read = str::from_utf8(sealed).ok().and_then(parts);
        let (name, version, bytes) = read.ok_or_else(wrong)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(wrong)?;
        let bound = Bound { tenant, kind: KIND, id: &id, version };
        let opened = self.subjects.open(tenant, (name, version), nonce, bound, sealed);
        row.body = match opened.map_err(told)? {
            Opened::Plain(plain) => Some(plain.to_vec()),
            Opened::Erased => None,
        };
        Ok(row)
    }
}

/// Names a row, in the version that it has.
fn id_of(row: &DocumentRow) -> String {
    format!("{}/{}/{}", row.kind, row.id, row.version)
}

fn told(error: keys::Error) -> DocumentError {
    match error {
        // The rows can be made again, with keys as they are now.
        keys::Error::Damaged { .. } => DocumentError::Damaged(error.to_string().into()),
        error => failed(format!("{error} ({})", error.code())),
    }
}

impl<S: DocumentStore> DocumentStore for SealedDocuments<S> {
    fn position(&self) -> Result<Position, DocumentError> {
        self.inner.position()
    }

    fn put(&self, rows: &[DocumentRow], position: Position) -> Result<(), DocumentError> {
        let rows: Result<Vec<DocumentRow>, _> = rows.iter().map(|it| self.seal(it)).collect();
        self.inner.put(&rows?, position)
    }

    fn get(
        &self,
        ctx: &TenantCtx,
        kind: &str,
        id: &str,
    ) -> Result<Option<DocumentRow>, DocumentError> {
        let found = self.inner.get(ctx, kind, id)?.map(|it| self.open(it)).transpose()?;
        Ok(found.filter(|it| it.body.is_some()))
    }

    fn list(
        &self,
        ctx: &TenantCtx,
        query: &DocumentQuery<'_>,
    ) -> Result<Vec<DocumentRow>, DocumentError> {
        // One without a body stays in the list, so that whoever reads pages sees where one ends.
        self.inner.list(ctx, query)?.into_iter().map(|it| self.open(it)).collect()
    }

    fn forget(&self, ctx: &TenantCtx, kind: &str, before: &str) -> Result<(), DocumentError> {
        self.inner.forget(ctx, kind, before)
    }

    fn visit(&self, but: &[&str], visit: &mut dyn FnMut(DocumentRow)) -> Result<(), DocumentError> {
        let mut broken = None;
        self.inner.visit(but, &mut |row| match self.open(row) {
            Ok(row) => visit(row),
            Err(error) => broken = Some(error),
        })?;
        broken.map_or(Ok(()), Err)
    }

    fn clear(&self) -> Result<(), DocumentError> {
        self.inner.clear()
    }
}

impl<S> fmt::Debug for SealedDocuments<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedDocuments").field("subjects", &self.subjects).finish_non_exhaustive()
    }
}
