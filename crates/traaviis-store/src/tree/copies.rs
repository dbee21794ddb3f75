//! Hourly copies of documents of ledgers: how they were before the first change of an hour.
//!
//! A copy is a JSON array, a document a line, sorted by tenant, kind and id, packed with gzip. Of
//! what rests sealed it would show nothing, so that is left out, and stays so when its key is gone.
//!
//! A tree that is filled once more may show documents of later hours already; those are left out,
//! too, by their time.
//!
//! Invariants: a copy gets its name when it is whole and synced; the same documents are the same
//! lines, whether they come from the files of the tree or from the log.

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Read as _, Write},
    path::PathBuf,
};

use flate2::{Compression, GzBuilder, read::GzDecoder};
use serde::Serialize;
use traaviis_model::{TenantId, Text};
use traaviis_ports::{
    disk::{Disk, DiskFile},
    tree::{
        Document, Notice, Place,
        shown::{COPIES_MAX, KINDS, Kind, SYSTEM},
    },
};

use super::{
    At as _, DiskTree, Io, State,
    envelope::{Envelope, FORMAT, Wrong},
    path::{copy_hour, is_fan_name},
};
use crate::files::list;

/// Body of a document that rests sealed.
const WITHHELD: &[u8] = b"\"[SEALED]\"";

/// A document in a copy; its body follows as it stands in the tree.
#[derive(Serialize)]
struct Head<'a> {
    tenant_id: Option<TenantId>,
    kind: &'a str,
    id: &'a str,
    version: u64,
    seq: u64,
    updated_at: Option<String>,
}

/// Writes the documents of a copy.
struct Writer<'a, W: Write> {
    hour: &'a str,
    to: W,
    count: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    fn new(hour: &'a str, mut to: W) -> io::Result<Writer<'a, W>> {
        to.write_all(b"[")?;
        Ok(Writer { hour, to, count: 0 })
    }

    /// Says whether the copy has a document.
    fn holds(&self, it: &Envelope) -> bool {
        let is_before = it.updated_at.is_none_or(|it| it.to_string().as_str() < self.hour);
        is_before && it.body != WITHHELD
    }

    /// Takes the documents of a tenant.
    fn put(&mut self, mut documents: Vec<Envelope>) -> io::Result<()> {
        documents.sort_unstable_by(|a, b| (&a.kind, &a.id).cmp(&(&b.kind, &b.id)));
        for it in &documents {
            if !self.holds(it) {
                continue;
            }
            let head = Head {
                tenant_id: it.tenant,
                kind: &it.kind,
                id: &it.id,
                version: it.version,
                seq: it.seq,
                updated_at: it.updated_at.map(|it| it.to_string()),
            };
            let head = serde_json::to_vec(&head)?;
            self.to.write_all(if self.count == 0 { b"\n" } else { b",\n" })?;
            self.to.write_all(head.strip_suffix(b"}").unwrap_or(&head))?;
            self.to.write_all(b",\"body\":")?;
            self.to.write_all(&it.body)?;
            self.to.write_all(b"}")?;
            self.count += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        self.to.write_all(b"\n]\n")?;
        Ok(self.to)
    }
}

/// Returns the text of a copy of some documents.
pub(super) fn text_of(hour: &str, documents: &[&Document]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(hour, Vec::new())?;
    let mut sorted = documents.to_vec();
    sorted.sort_by_key(|it| it.tenant);
    for some in sorted.chunk_by(|a, b| a.tenant == b.tenant) {
        writer.put(some.iter().map(|it| Envelope::of(it, Vec::new())).collect())?;
    }
    writer.finish()
}

/// Returns the text of a copy as a file has it; none when it is damaged.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A file that is written from its start on.
struct Out<'a, F> {
    file: &'a F,
    at: u64,
}

impl<F: DiskFile> Write for Out<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Disk> DiskTree<D> {
    /// Keeps the copy of an hour, unless there is one of it or a later one.
    pub(super) fn copy(
        &self,
        state: &mut State,
        hour: &Text,
        of: Option<&[&Document]>,
    ) -> Io<Vec<Notice>> {
        let place = Place::Copy { hour: hour.clone() };
        let path = self.locate(state, None, &place)?;
        let dir = path.parent().unwrap_or(&path);
        let mut hours: Vec<String> = list(&self.disk, dir)
            .at(dir)?
            .iter()
            .filter_map(|it| copy_hour(it).map(str::to_owned))
            .collect();
        hours.sort_unstable();
        let is_there = hours.last().is_some_and(|it| **it >= **hour);
        let kept = if is_there { COPIES_MAX } else { COPIES_MAX - 1 };
        let old = hours.len().saturating_sub(kept);
        for hour in &hours[..old] {
            let path = self.locate(state, None, &Place::Copy { hour: hour.as_str().into() })?;
            self.disk.remove(&path).at(&path)?;
        }
        if !is_there {
            return self.write_copy(state, hour, of);
        }
        if old > 0 {
            self.disk.sync_dir(dir).at(dir)?;
        }
        Ok(Vec::new())
    }

    /// Writes the copy of an hour.
    pub(super) fn write_copy(
        &self,
        state: &mut State,
        hour: &Text,
        of: Option<&[&Document]>,
    ) -> Io<Vec<Notice>> {
        let place = Place::Copy { hour: hour.clone() };
        let path = self.make(state, None, &place, &mut super::Work::default())?;
        let mut notices = Vec::new();
        let (temporary, file) = self.begin(&path)?;
        let out = BufWriter::with_capacity(64 << 10, Out { file: &file, at: 0 });
        let packer = GzBuilder::new().mtime(0).write(out, Compression::fast());
        let packer = match of {
            Some(documents) => {
                let mut packer = packer;
                let text = text_of(hour, documents).at(&path)?;
                packer.write_all(&text).at(&path)?;
                packer
            }
            None => {
                let mut writer = Writer::new(hour, packer).at(&path)?;
                for tenant in self.owners()? {
                    let found = self.copied_of(tenant, &mut notices)?;
                    writer.put(found).at(&path)?;
                }
                writer.finish().at(&path)?
            }
        };
        packer.finish().and_then(|mut it| it.flush()).at(&temporary)?;
        file.sync().at(&temporary)?;
        self.disk.rename(&temporary, &path).at(&path)?;
        let above = path.ancestors().skip(1).take_while(|it| it.starts_with(&self.data));
        for dir in above {
            self.disk.sync_dir(dir).at(dir)?;
        }
        Ok(notices)
    }

    /// Returns whose documents there may be, in order.
    fn owners(&self) -> Io<Vec<Option<TenantId>>> {
        let root = self.root();
        let mut owners: Vec<TenantId> =
            list(&self.disk, &root).at(&root)?.iter().filter_map(|it| it.parse().ok()).collect();
        owners.sort_unstable();
        Ok(std::iter::once(None).chain(owners.into_iter().map(Some)).collect())
    }

    /// Reads the documents of a tenant that are copied. One that is damaged is left out; who looks
    /// for damage finds both.
    fn copied_of(&self, tenant: Option<TenantId>, notices: &mut Vec<Notice>) -> Io<Vec<Envelope>> {
        let kinds: Vec<&Kind> =
            KINDS.iter().filter(|it| it.is_copied && it.is_of(tenant)).collect();
        let home = tenant.map_or(SYSTEM.to_owned(), |it| it.to_string());
        let home = self.root().join(home);
        let dirs = kinds.iter().map(|it| it.dirs.iter().fold(home.clone(), |dir, it| dir.join(it)));
        let dirs: BTreeSet<PathBuf> = dirs.collect();
        let (mut dirs, mut found) = (Vec::from_iter(dirs), Vec::new());
        while let Some(dir) = dirs.pop() {
            for name in list(&self.disk, &dir).at(&dir)? {
                let path = dir.join(&name);
                if is_fan_name(&name) {
                    dirs.push(path);
                    continue;
                }
                if name.starts_with('.') || !name.ends_with(".json") {
                    continue;
                }
                let Some(bytes) = self.read(&path)? else { continue };
                match Envelope::read(&bytes) {
                    Ok(it) if kinds.iter().any(|kind| kind.kind == it.kind) => found.push(it),
                    Ok(_) | Err(Wrong::Damaged(_)) => {}
                    Err(Wrong::Newer(found)) => {
                        let path = path.display().to_string();
                        notices.push(Notice::Newer { path, found, known: FORMAT });
                    }
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;
    use traaviis_model::Timestamp;
    use traaviis_ports::{
        Tree as _,
        tree::{Batch, shown},
    };
    use traaviis_testkit::disk::SimDisk;

    use super::*;

    fn document(tenant: u128, kind: &str, id: &str, body: &str) -> Document {
        let tenant = TenantId(uuid::Uuid::from_u128(tenant));
        let kind = shown::kind(kind, tenant).unwrap();
        Document {
            tenant: Some(tenant),
            place: Place::Kept { kind, id: id.into() },
            version: 3,
            seq: 3,
            updated_at: Some(Timestamp(0)),
            body: body.into(),
        }
    }

    fn hours(disk: &SimDisk) -> Vec<String> {
        let names = disk.list(Path::new("/data/tree/system/hot_backups")).unwrap_or_default();
        names.iter().filter_map(|it| copy_hour(it).map(str::to_owned)).collect()
    }

    #[test]
    fn a_copy_is_the_same_from_files_and_from_documents() {
        let disk = SimDisk::new(1);
        let tree = DiskTree::on(disk.clone(), Path::new("/data"), Some(2));
        let ids: Vec<String> = (1..=5).map(|it| uuid::Uuid::from_u128(it).to_string()).collect();
        let mut documents: Vec<Document> =
            ids.iter().map(|it| document(2, "role", it, r#"{"name":"Auditor"}"#)).collect();
        documents.push(document(2, "tenant", "tenant", r#"{"name":"Acme"}"#));
        documents.push(document(2, "workflow_draft", "order", r#"{"text":"x: 1"}"#));
        documents.push(document(1, "webhook", &ids[0], "\"[SEALED]\""));
        documents.push(document(1, "tenant", "tenant", r#"{"name":"Other"}"#));
        tree.write(&Batch { documents: documents.clone(), ..Batch::default() }).unwrap();
        tree.keep_copy(&"2026-01-31T12".into(), None).unwrap();
        let path = Path::new("/data/tree/system/hot_backups/2026-01-31T12.json.gz");
        let packed = disk.bytes(path).unwrap();
        let text = unpack(&packed).unwrap();
        let all: Vec<&Document> = documents.iter().collect();
        assert_eq!(text, text_of("2026-01-31T12", &all).unwrap());
        // As of an hour in which none was there yet.
        assert_eq!(text_of("1970-01-01T00", &all).unwrap(), b"[\n]\n");
        let read: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
        let told: Vec<String> = read
            .iter()
            .map(|it| {
                let tenant = it["tenant_id"].as_str().unwrap().trim_start_matches(['0', '-']);
                format!("{tenant} {} {} {}", it["kind"], it["id"], it["body"]).replace('"', "")
            })
            .collect();
        expect![[r#"
            1 tenant tenant {name:Other}
            2 role 00000000-0000-0000-0000-000000000001 {name:Auditor}
            2 role 00000000-0000-0000-0000-000000000002 {name:Auditor}
            2 role 00000000-0000-0000-0000-000000000003 {name:Auditor}
            2 role 00000000-0000-0000-0000-000000000004 {name:Auditor}
            2 role 00000000-0000-0000-0000-000000000005 {name:Auditor}
            2 tenant tenant {name:Acme}
            2 workflow_draft order {text:x: 1}"#]]
        .assert_eq(&told.join("\n"));
        // The same hour again changes nothing, whatever there is by now.
        tree.keep_copy(&"2026-01-31T12".into(), Some(&[])).unwrap();
        tree.keep_copy(&"2026-01-31T11".into(), Some(&[])).unwrap();
        assert_eq!(disk.bytes(path).unwrap(), packed);
        let mut damaged = packed;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        assert_eq!(unpack(&damaged), None);
    }

    #[test]
    fn the_last_hours_are_kept() {
        let disk = SimDisk::new(1);
        let tree = DiskTree::on(disk.clone(), Path::new("/data"), None);
        tree.write(&Batch::default()).unwrap();
        for day in 10..=40 {
            tree.keep_copy(&format!("2026-01-{day}T12").into(), Some(&[])).unwrap();
        }
        let kept = hours(&disk);
        assert_eq!(kept.len(), COPIES_MAX);
        assert_eq!(kept.last().map(String::as_str), Some("2026-01-40T12"));
        assert_eq!(kept.first().map(String::as_str), Some("2026-01-17T12"));
    }
}
