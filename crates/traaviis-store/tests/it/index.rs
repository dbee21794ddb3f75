//! The index in SQLite: the contract, and files that are damaged, foreign or gone.

use std::{fs, path::Path};

use traaviis_model::{TenantCtx, Text, record::Status};
use traaviis_ports::{
    Index, IndexError,
    index::{Query, Row},
};
use traaviis_store::SqliteIndex;
use traaviis_testkit::index_contract::{check, row};

fn file(data: &Path) -> std::path::PathBuf {
    data.join("index").join("index.sqlite")
}

/// Opens, puts a few rows and closes.
fn filled() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let (index, aside) = SqliteIndex::open(data.path()).unwrap();
    assert_eq!(aside, None);
    let ctx = TenantCtx::for_test(1);
    let mut rows = (1..=500).map(|it| row(&ctx, it, 1, Status::Completed));
    index.put(&mut rows, 77).unwrap();
    data
}

#[test]
fn the_index_in_sqlite_keeps_the_contract() {
    let data = tempfile::tempdir().unwrap();
    check(&SqliteIndex::open(data.path()).unwrap().0);
}

#[test]
fn what_was_put_is_there_after_opening_again() {
    let data = filled();
    let (index, aside) = SqliteIndex::open(data.path()).unwrap();
    assert_eq!((index.position(), aside), (Ok(77), None));
    let reader = SqliteIndex::open_read_only(data.path()).unwrap().unwrap();
    let all = Query { limit: 1_000, ..Query::default() };
    assert_eq!(reader.list(&TenantCtx::for_test(1), &all).unwrap().len(), 500);
    let refused = reader.put(&mut std::iter::empty(), 80);
    assert!(matches!(refused, Err(IndexError::Failed(_))), "{refused:?}");
}

#[test]
fn nothing_is_left_of_the_tags_of_what_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let (index, _) = SqliteIndex::open(data.path()).unwrap();
    let ctx = TenantCtx::for_test(1);
    let tagged = |id, seq, tags: &[&str]| Row {
        tags: tags.iter().copied().map(Text::from).collect(),
        ..row(&ctx, id, seq, Status::Running)
    };
    let entries = || -> i64 {
        let database = rusqlite::Connection::open(file(data.path())).unwrap();
        database.query_row("SELECT count(*) FROM tags", [], |row| row.get(0)).unwrap()
    };
    for (seq, tags, expected) in [
        (1, &["a", "b"][..], 3),
        (2, &["b", "c", "d"], 4),
        // Of an earlier record: not true any more.
        (1, &["e"], 4),
        (3, &[], 1),
        (4, &["a"], 2),
    ] {
        let mut rows = [tagged(1, seq, tags), tagged(2, 1, &["a"])].into_iter();
        index.put(&mut rows, 9).unwrap();
        assert_eq!(entries(), expected, "{tags:?}");
    }
    let gone = [tagged(1, 4, &[]), tagged(2, 1, &[])].map(|it| (it.tenant, it.id));
    index.remove(&mut gone.into_iter()).unwrap();
    assert_eq!(entries(), 0);
}

#[test]
fn readers_find_no_index_where_none_is() {
    let data = tempfile::tempdir().unwrap();
    assert!(SqliteIndex::open_read_only(data.path()).unwrap().is_none());
    assert!(!data.path().join("index").exists(), "reading makes nothing");
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let data = filled();
    for number in 1..=2 {
        fs::write(file(data.path()), vec![b'x'; 8_192]).unwrap();
        assert!(SqliteIndex::open_read_only(data.path()).is_err());
        let (index, aside) = SqliteIndex::open(data.path()).unwrap();
        let aside = aside.unwrap();
        assert_eq!(index.position(), Ok(0));
        assert!(aside.path.ends_with(format!("index.sqlite.damaged-{number}")), "{aside:?}");
        assert_eq!(fs::read(&aside.path).unwrap(), vec![b'x'; 8_192], "kept as it was");
    }
}

/// The tables of every earlier release; two releases beside each other called theirs 3.
const EARLIER: [(i32, &str); 5] = [
    (1, include_str!("../data/index/1.sql")),
    (2, include_str!("../data/index/2.sql")),
    (3, include_str!("../data/index/3.sql")),
    (3, include_str!("../data/index/3-asks.sql")),
    (4, include_str!("../data/index/4.sql")),
];

#[test]
fn tables_of_an_earlier_release_are_made_again() {
    for (version, tables) in EARLIER {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("index")).unwrap();
        let database = rusqlite::Connection::open(file(data.path())).unwrap();
        database.execute_batch(tables).unwrap();
        database.execute_batch("UPDATE progress SET position = 7").unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
        drop(database);
        assert!(SqliteIndex::open_read_only(data.path()).unwrap().is_none());
        let (index, aside) = SqliteIndex::open(data.path()).unwrap();
        assert_eq!((index.position(), aside), (Ok(0), None), "version {version}");
        // It is one of this release now, with everything that it promises.
        check(&index);
    }
}

#[test]
fn tables_of_a_newer_release_stand_aside_as_they_are() {
    let data = filled();
    let database = rusqlite::Connection::open(file(data.path())).unwrap();
    database.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(database);
    let before = fs::read(file(data.path())).unwrap();
    assert!(SqliteIndex::open_read_only(data.path()).unwrap().is_none());
    let (index, aside) = SqliteIndex::open(data.path()).unwrap();
    let aside = aside.unwrap();
    assert_eq!(index.position(), Ok(0));
    assert!(aside.why.contains("is in format `99`, this release reads up to `"), "{aside:?}");
    assert!(aside.path.ends_with("index.sqlite.newer-1"), "{aside:?}");
    assert_eq!(fs::read(aside.path).unwrap(), before);
}

/// Every page spoiled, one at a time: opening and using it gives an answer or an error.
#[test]
fn damage_anywhere_is_an_answer_or_an_error() {
    let whole = filled();
    drop(SqliteIndex::open(whole.path()).unwrap().0.sync());
    let bytes = fs::read(file(whole.path())).unwrap();
    let ctx = TenantCtx::for_test(1);
    let mut refused = 0;
    for page in 0..bytes.len() / 4_096 {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("index")).unwrap();
        let mut spoiled = bytes.clone();
        spoiled[page * 4_096..][..4_096].fill(0xa5);
        fs::write(file(data.path()), spoiled).unwrap();
        let (index, aside) = SqliteIndex::open(data.path()).unwrap();
        refused += usize::from(aside.is_some());
        let mut rows = (1..=500).map(|it| row(&ctx, it, 2, Status::Failed));
        let put = index.put(&mut rows, 99);
        let all = Query { limit: 1_000, ..Query::default() };
        let listed = index.list(&ctx, &all);
        if put.is_err() || listed.is_err() {
            refused += 1;
            let aside = index.set_aside("a test found it damaged").unwrap();
            assert!(aside.path.exists());
        }
        index.clear().unwrap();
        assert_eq!(index.position(), Ok(0));
        index.put(&mut [row(&ctx, 1, 1, Status::Running)].into_iter(), 5).unwrap();
        assert_eq!(index.list(&ctx, &all).unwrap().len(), 1, "page {page}");
    }
    assert!(refused > bytes.len() / 4_096 / 2, "most damage is found: {refused}");
}
