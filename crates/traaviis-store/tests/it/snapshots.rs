//! States of open instances in SQLite: the contract, and files that are damaged, foreign or gone.

use std::{fs, path::Path};

use traaviis_model::TenantCtx;
use traaviis_ports::{Completion, SnapshotError, SnapshotStore};
use traaviis_store::SqliteSnapshots;
use traaviis_testkit::snapshots_contract::{check, id, open, rows};

const COUNT: u128 = 300;

fn file(data: &Path) -> std::path::PathBuf {
    data.join("snapshots").join("snapshots.sqlite")
}

fn store(data: &Path) -> SqliteSnapshots {
    SqliteSnapshots::open(data).unwrap()
}

/// Opens, puts rows and closes.
fn filled() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let ctx = TenantCtx::for_test(1);
    let mut rows = (1..=COUNT).map(|it| open(&ctx, it, 1, &"state ".repeat(40)));
    let complete = Some(Completion { position: 77, forget: 0 });
    store(data.path()).put(&mut rows, complete).unwrap();
    data
}

#[test]
fn the_store_in_sqlite_keeps_the_contract() {
    let data = tempfile::tempdir().unwrap();
    check(&store(data.path()));
}

#[test]
fn what_was_put_is_there_after_opening_again() {
    let data = filled();
    let store = store(data.path());
    assert_eq!((store.covers(), rows(&store).len()), (Ok(Some(77..=77)), COUNT as usize));
    let reader = SqliteSnapshots::open_read_only(data.path()).unwrap().unwrap();
    assert_eq!(rows(&reader), rows(&store));
    let refused = reader.put(&mut std::iter::empty(), None);
    assert!(matches!(refused, Err(SnapshotError::Failed(_))), "{refused:?}");
}

/// Either the rows are all there, or the visit says that they are worth nothing; a state is the one
/// that was put, or an error.
#[test]
fn a_flipped_bit_is_found() {
    let whole = filled();
    let (bytes, ctx) = (fs::read(file(whole.path())).unwrap(), TenantCtx::for_test(1));
    let expected = rows(&store(whole.path()));
    let state = "state ".repeat(40).into_bytes();
    let mut found = 0;
    for round in 0..400 {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("snapshots")).unwrap();
        let mut damaged = bytes.clone();
        let at = round * bytes.len() / 400 + 13;
        damaged[at] ^= 1 << (round % 8);
        fs::write(file(data.path()), damaged).unwrap();
        let Ok(store) = SqliteSnapshots::open(data.path()) else {
            found += 1;
            continue;
        };
        if store.covers() != Ok(Some(77..=77)) {
            // Made anew, or not usable.
            found += 1;
            continue;
        }
        let mut rows = Vec::new();
        match store.visit(&mut |row| rows.push(row)) {
            Ok(()) => {
                rows.sort_by_key(traaviis_ports::SnapshotRow::key);
                assert!(rows == expected, "byte {at}: rows changed without an error");
            }
            Err(_) => found += 1,
        }
        for number in 1..=COUNT {
            match store.get(&ctx, id(number)) {
                Ok(Some(body)) => assert!(body == state, "byte {at}: another state"),
                // The instance is known by its head, so a state that is missing is an error too.
                Ok(None) => found += 1,
                Err(_) => found += 1,
            }
        }
    }
    assert!(found > 100, "{found}");
}

#[test]
fn what_cannot_be_used_is_made_anew() {
    for name in ["no database", "empty", "other tables"] {
        let data = filled();
        let file = file(data.path());
        match name {
            "no database" => fs::write(file, b"nonsense").unwrap(),
            "empty" => fs::write(file, b"").unwrap(),
            _ => {
                let connection = rusqlite::Connection::open(file).unwrap();
                connection.pragma_update(None, "user_version", 99).unwrap();
            }
        }
        let store = store(data.path());
        assert_eq!((store.covers(), rows(&store).len()), (Ok(None), 0), "{name}");
    }
}
