//! Documents in SQLite keep what the port promises, and notice what was changed under them.

use traaviis_model::TenantCtx;
use traaviis_ports::{DocumentError, DocumentRow, DocumentStore};
use traaviis_store::SqliteDocuments;
use traaviis_testkit::memory_documents::check;

#[test]
fn documents_in_sqlite_keep_what_the_port_promises() {
    let dir = tempfile::tempdir().unwrap();
    check(&SqliteDocuments::open(dir.path()).unwrap());
}

fn row() -> DocumentRow {
    DocumentRow {
        tenant: TenantCtx::for_test(1).tenant(),
        kind: "member".into(),
        id: "ada".into(),
        version: 3,
        body: Some(br#"{"role":"viewer"}"#.to_vec()),
    }
}

#[test]
fn documents_stay_and_a_changed_one_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = TenantCtx::for_test(1);
    SqliteDocuments::open(dir.path()).unwrap().put(&[row()], 7).unwrap();
    let store = SqliteDocuments::open(dir.path()).unwrap();
    assert_eq!(store.position(), Ok(7));
    assert_eq!(store.get(&ctx, "member", "ada").unwrap(), Some(row()));
    drop(store);
    let path = dir.path().join("documents/documents.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).rposition(|it| it == b"viewer").unwrap();
    bytes[at..at + 6].copy_from_slice(b"owner!");
    std::fs::write(&path, bytes).unwrap();
    let store = SqliteDocuments::open(dir.path()).unwrap();
    assert!(matches!(store.get(&ctx, "member", "ada"), Err(DocumentError::Damaged(_))));
    assert!(matches!(store.visit(&[], &mut |_| {}), Err(DocumentError::Damaged(_))));
}

#[test]
fn a_file_that_is_no_database_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("documents")).unwrap();
    std::fs::write(dir.path().join("documents/documents.sqlite"), "no database ".repeat(999))
        .unwrap();
    let store = SqliteDocuments::open(dir.path()).unwrap();
    assert_eq!(store.position(), Ok(0));
    store.put(&[row()], 7).unwrap();
}
