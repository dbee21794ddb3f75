//! What every snapshot store promises, as a test that runs against any of them.

use traaviis_model::{DefinitionHash, InstanceId, TenantCtx, Timestamp};
use traaviis_ports::{Completion, Position, SnapshotHead, SnapshotRow, SnapshotStore};
use uuid::Uuid;

/// Returns the id of a test's instance.
pub fn id(number: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(number))
}

/// Returns the row of an open instance whose state is `body`.
pub fn open(ctx: &TenantCtx, number: u128, seq: u64, body: &str) -> SnapshotRow {
    let head = SnapshotHead {
        tenant: ctx.tenant(),
        id: id(number),
        seq,
        definition: DefinitionHash([7; 32]),
        workflow: "Order".into(),
        correlation: number.is_multiple_of(2).then(|| format!("key-{number}").into()),
        created_at: Timestamp(1_000),
        updated_at: Timestamp(1_000 + seq as i64),
        due: number.is_multiple_of(3).then_some(Timestamp(9_000)),
        timed: number.is_multiple_of(3),
        rests: !number.is_multiple_of(5),
        bytes: body.len() as u32,
    };
    SnapshotRow::Open(head, body.as_bytes().to_vec())
}

fn ended(ctx: &TenantCtx, number: u128) -> SnapshotRow {
    SnapshotRow::Ended { tenant: ctx.tenant(), id: id(number), summary: b"over".to_vec() }
}

fn at(position: Position, forget: Position) -> Option<Completion> {
    Some(Completion { position, forget })
}

fn put(store: &dyn SnapshotStore, rows: Vec<SnapshotRow>, complete: Option<Completion>) {
    store.put(&mut rows.into_iter(), complete).unwrap();
}

/// Returns all rows as visits give them, in order.
pub fn rows(store: &dyn SnapshotStore) -> Vec<SnapshotRow> {
    let mut rows = Vec::new();
    store.visit(&mut |row| rows.push(row)).unwrap();
    rows.sort_by_key(SnapshotRow::key);
    rows
}

fn without_state(row: &SnapshotRow) -> SnapshotRow {
    match row {
        SnapshotRow::Open(head, _) => SnapshotRow::Open(head.clone(), Vec::new()),
        ended => ended.clone(),
    }
}

/// Checks an empty store against everything that the port promises.
pub fn check(store: &dyn SnapshotStore) {
    let (ctx, other) = (TenantCtx::for_test(1), TenantCtx::for_test(2));
    assert_eq!(store.covers(), Ok(None));
    assert_eq!(rows(store), []);

    // Rows alone cover nothing: others may be missing.
    put(store, vec![open(&ctx, 1, 3, "one")], None);
    assert_eq!(store.covers(), Ok(None));
    let all = [open(&ctx, 1, 3, "one"), open(&ctx, 2, 4, "two"), open(&other, 1, 9, "other")];
    put(store, all[1..].to_vec(), at(100, 0));
    assert_eq!(store.covers(), Ok(Some(100..=100)));
    assert_eq!(rows(store), all.iter().map(without_state).collect::<Vec<_>>());

    // Each tenant has its own.
    assert_eq!(store.get(&ctx, id(1)), Ok(Some(b"one".to_vec())));
    assert_eq!(store.get(&other, id(1)), Ok(Some(b"other".to_vec())));
    assert_eq!(store.get(&other, id(2)), Ok(None));

    // The last one put holds, also one that ended or began again.
    put(store, vec![open(&ctx, 1, 5, "later"), ended(&ctx, 2)], at(200, 0));
    assert_eq!(store.get(&ctx, id(1)), Ok(Some(b"later".to_vec())));
    assert_eq!(store.get(&ctx, id(2)), Ok(None));
    let kept = [open(&ctx, 1, 5, "later"), ended(&ctx, 2), open(&other, 1, 9, "other")];
    assert_eq!(rows(store), kept.iter().map(without_state).collect::<Vec<_>>());
    put(store, vec![ended(&other, 1), open(&other, 1, 12, "again")], None);
    assert_eq!(store.get(&other, id(1)), Ok(Some(b"again".to_vec())));

    // A start at 100 needs to know what ended before 200; one at 200 does not.
    put(store, vec![], at(300, 100));
    assert_eq!((store.covers(), rows(store).len()), (Ok(Some(100..=300)), 3));
    put(store, vec![], at(400, 201));
    assert_eq!((store.covers(), rows(store).len()), (Ok(Some(201..=400)), 2));

    store.clear().unwrap();
    assert_eq!((store.covers(), rows(store).len()), (Ok(None), 0));
    assert_eq!(store.get(&ctx, id(1)), Ok(None));
    put(store, vec![open(&ctx, 8, 1, "new")], at(7, 0));
    assert_eq!(store.get(&ctx, id(8)), Ok(Some(b"new".to_vec())));
}
