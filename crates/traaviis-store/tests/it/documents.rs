//! Documents in SQLite keep what the port promises, and notice what was changed under them.

use std::sync::Arc;

use traaviis_model::{TenantCtx, Timestamp};
use traaviis_ports::{DocumentError, DocumentQuery, DocumentRow, DocumentStore};
use traaviis_store::{Keys, RootSource, SealedDocuments, SqliteDocuments, Subjects};
use traaviis_testkit::memory_documents::check;

#[test]
fn documents_in_sqlite_keep_what_the_port_promises() {
    let dir = tempfile::tempdir().unwrap();
    check(&SqliteDocuments::open(dir.path()).unwrap());
}

const ROOT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

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

#[test]
fn where_everything_is_sealed_rows_rest_sealed_and_are_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let (ctx, other) = (TenantCtx::for_test(1), TenantCtx::for_test(2));
    let keys = || Keys::new(dir.path(), RootSource::Given(ROOT.to_owned().into()));
    let open = || {
        let inner = SqliteDocuments::open(dir.path()).unwrap();
        SealedDocuments::new(inner, Arc::new(Subjects::new(keys())), &["numbers"])
    };
    let of = |ctx: &TenantCtx, kind: &str, text: &str| DocumentRow {
        tenant: ctx.tenant(),
        kind: kind.into(),
        body: Some(format!("\"{text}\"").into_bytes()),
        ..row()
    };
    let before = DocumentRow { id: "before".into(), ..of(&ctx, "member", "canary_before") };
    open().put(std::slice::from_ref(&before), 1).unwrap();
    keys().set_seals_all(&ctx, true, Timestamp(1)).unwrap();
    let rows = [
        of(&ctx, "member", "canary_sealed"),
        of(&ctx, "numbers", "canary_numbers"),
        of(&ctx, "tenant", "canary_tenant"),
        of(&other, "member", "canary_other"),
    ];
    open().put(&rows, 2).unwrap();
    // What was sealed stays so, and so does what follows.
    keys().set_seals_all(&ctx, false, Timestamp(2)).unwrap();
    let later = DocumentRow { version: 4, ..of(&ctx, "member", "canary_later") };
    let removed = DocumentRow { id: "gone".into(), body: None, ..row() };
    open().put(&[later.clone(), removed], 3).unwrap();
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(dir.path().join("documents")).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let is_there = |text: &str| bytes.windows(text.len()).any(|it| it == text.as_bytes());
    for text in ["canary_before", "canary_numbers", "canary_tenant", "canary_other"] {
        assert!(is_there(text), "{text}");
    }
    assert!(!is_there("canary_sealed") && !is_there("canary_later"));

    let store = open();
    assert_eq!(store.get(&ctx, "member", "ada").unwrap(), Some(later.clone()));
    assert_eq!(store.get(&ctx, "member", "before").unwrap(), Some(before.clone()));
    assert_eq!(store.get(&other, "member", "ada").unwrap(), Some(rows[3].clone()));
    let query =
        DocumentQuery { kind: "member", prefix: "", after: None, descending: false, limit: 9 };
    assert_eq!(store.list(&ctx, &query).unwrap(), [later, before]);
    let mut count = 0;
    store.visit(&["tenant"], &mut |it| count += usize::from(it.body.is_some())).unwrap();
    assert_eq!((count, store.position()), (4, Ok(3)));
    // Once its keys are destroyed nothing of it is there.
    Subjects::new(keys()).erase_all(ctx.tenant(), Timestamp(3)).unwrap();
    let store = open();
    assert_eq!(store.get(&ctx, "member", "ada").unwrap(), None);
    assert!(store.get(&ctx, "tenant", "ada").unwrap().is_some());
}

#[test]
fn of_a_row_in_another_place_nothing_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let keys = || Keys::new(dir.path(), RootSource::Given(ROOT.to_owned().into()));
    keys().set_seals_all(&TenantCtx::for_test(1), true, Timestamp(1)).unwrap();
    // Two connections of one file.
    let inner = SqliteDocuments::open(dir.path()).unwrap();
    let beside = SqliteDocuments::open(dir.path()).unwrap();
    let store = SealedDocuments::new(beside, Arc::new(Subjects::new(keys())), &[]);
    store.put(&[row()], 1).unwrap();
    let ctx = TenantCtx::for_test(1);
    let resting = inner.get(&ctx, "member", "ada").unwrap().unwrap();
    for moved in [
        DocumentRow { id: "bob".into(), ..resting.clone() },
        DocumentRow { version: 9, ..resting.clone() },
    ] {
        inner.put(std::slice::from_ref(&moved), 2).unwrap();
        let read = store.get(&ctx, "member", &moved.id);
        assert!(matches!(read, Err(DocumentError::Damaged(_))), "{read:?}");
    }
}
