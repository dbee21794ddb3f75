//! The documents of one ledger, of the kinds that are kept in memory.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, OnceLock},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;

use traaviis_model::Text;

use super::HEAVY;
use crate::{error::Error, meters::Meters};

/// A kind of document that is kept in a ledger.
pub trait Document: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Word for the kind.
    const KIND: &'static str;

    /// Returns the id inside the kind.
    fn id(&self) -> Text;
}

/// A document with the version that it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Versioned<T> {
    /// Number of the record that put it.
    pub version: u64,
    /// The document.
    pub it: T,
}

/// A document in memory.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    version: u64,
    pub(super) body: Arc<Json>,
    /// The same as it is used: every request asks for the same few.
    it: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Stored {
    /// Returns the document, which is read only once.
    fn shared<T: Document>(&self) -> Result<Arc<T>, Error> {
        if let Some(known) = self.it.get()
            && let Ok(it) = Arc::downcast(Arc::clone(known))
        {
            return Ok(it);
        }
        let it: Arc<T> = Arc::new(read(&self.body)?);
        // Whoever was first has read the same.
        let _ = self.it.set(Arc::clone(&it) as Arc<dyn Any + Send + Sync>);
        Ok(it)
    }
}

/// What is durable in one ledger, of the kinds that are kept in memory.
#[derive(Debug, Default)]
pub struct Documents {
    pub(super) by_kind: HashMap<Text, BTreeMap<Text, Stored>>,
    pub(super) meters: Arc<Meters>,
}

impl Documents {
    /// Returns none yet; what happens to them is counted.
    pub(super) fn counted_by(meters: &Arc<Meters>) -> Documents {
        Documents { meters: Arc::clone(meters), ..Documents::default() }
    }

    /// Returns a document with its version.
    pub fn versioned<T: Document>(&self, id: &str) -> Result<Option<Versioned<T>>, Error> {
        let Some(stored) = self.by_kind.get(T::KIND).and_then(|it| it.get(id)) else {
            return Ok(None);
        };
        let it = self.counted::<T, _>(stored.shared::<T>())?;
        Ok(Some(Versioned { version: stored.version, it: (*it).clone() }))
    }

    /// Returns a document as all who ask for it share it.
    pub fn shared<T: Document>(&self, id: &str) -> Result<Option<Arc<T>>, Error> {
        let stored = self.by_kind.get(T::KIND).and_then(|it| it.get(id));
        stored.map(|it| self.counted::<T, _>(it.shared())).transpose()
    }

    fn counted<T: Document, R>(&self, read: Result<R, Error>) -> Result<R, Error> {
        self.meters.retrieved(T::KIND, read.is_ok());
        read
    }

    /// Returns a document.
    pub fn get<T: Document>(&self, id: &str) -> Result<Option<T>, Error> {
        Ok(self.versioned(id)?.map(|it| it.it))
    }

    /// Returns all documents of a kind whose id begins with `prefix`, by id.
    pub fn list<T: Document>(&self, prefix: &str) -> Result<Vec<Versioned<T>>, Error> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let all = self.by_kind.get(T::KIND).into_iter().flat_map(|it| it.range::<str, _>(from));
        all.take_while(|(id, _)| id.starts_with(prefix)).map(|(_, it)| self.read_one(it)).collect()
    }

    /// Returns documents of a kind behind an id, in the order of their ids.
    pub fn page<T: Document>(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Versioned<T>>, Error> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.by_kind.get(T::KIND).into_iter();
        all.flat_map(|it| it.range::<str, _>((from, Bound::Unbounded)))
            .take(limit)
            .map(|(_, it)| self.read_one(it))
            .collect()
    }

    fn read_one<T: Document>(&self, stored: &Stored) -> Result<Versioned<T>, Error> {
        let it = self.counted::<T, _>(read(&stored.body))?;
        Ok(Versioned { version: stored.version, it })
    }

    /// Visits every document, kind by kind.
    pub(crate) fn each(&self, visit: &mut dyn FnMut(&str, &str, &Json)) {
        let mut kinds: Vec<_> = self.by_kind.iter().collect();
        kinds.sort_unstable_by_key(|it| it.0);
        for (kind, of_kind) in kinds {
            of_kind.iter().for_each(|(id, it)| visit(kind, id, &it.body));
        }
    }

    /// Returns how many documents of a kind there are.
    pub fn count<T: Document>(&self) -> usize {
        self.by_kind.get(T::KIND).map_or(0, BTreeMap::len)
    }

    pub(super) fn body(&self, kind: &str, id: &str) -> Option<&Json> {
        self.by_kind.get(kind)?.get(id).map(|it| &*it.body)
    }

    pub(super) fn put(&mut self, kind: &Text, id: &Text, version: u64, body: Option<Json>) {
        if HEAVY.contains(&&**kind) {
            return;
        }
        let of_kind = self.by_kind.entry(kind.clone()).or_default();
        if of_kind.get(id).is_some_and(|it| it.version > version) {
            return;
        }
        match body {
            Some(body) => {
                let body = Arc::new(body);
                of_kind.insert(id.clone(), Stored { version, body, it: OnceLock::new() });
            }
            None => drop(of_kind.remove(id)),
        }
    }
}

fn read<T: DeserializeOwned>(body: &Json) -> Result<T, Error> {
    T::deserialize(body).map_err(|error| {
        Error::new("documents_failed", format!("a document cannot be read: {error}"))
    })
}
