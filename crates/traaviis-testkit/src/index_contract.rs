//! What every index promises, as a test that runs against any of them.

use traaviis_model::{InstanceId, TenantCtx, Text, Timestamp, record::Status};
use traaviis_ports::{
    Index, Position,
    index::{Count, Query, Row},
};
use uuid::Uuid;

/// Returns the id of a test's instance; higher numbers are newer.
pub fn id(number: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(0x0199_a000_0000_7000_8000_0000_0000_0000 + number))
}

/// Returns the row of an instance as it stands at a record.
pub fn row(ctx: &TenantCtx, number: u128, seq: u64, status: Status) -> Row {
    Row {
        tenant: ctx.tenant(),
        id: id(number),
        workflow: if number.is_multiple_of(2) { "Even".into() } else { "Odd".into() },
        version: "1.0.0".into(),
        status,
        state: format!("s{seq}").into(),
        correlation: Some(format!("key-{}", number / 2).into()),
        correlation_id: number.is_multiple_of(5).then(|| id(number - 4).to_string().into()),
        tags: [2, 3, 4]
            .iter()
            .filter(|it| number.is_multiple_of(**it))
            .map(|it| format!("by {it}").into())
            .collect(),
        created_by: number.is_multiple_of(2).then(|| "user:mari".into()),
        parent: number.is_multiple_of(3).then(|| id(number - 1)),
        asks: status == Status::Incident,
        waits: status == Status::Running && number.is_multiple_of(3),
        seq,
        created_at: Timestamp(1_000),
        updated_at: Timestamp(1_000 + seq as i64),
        finished_at: status.is_finished().then_some(Timestamp(2_000)),
        due: (status == Status::Running).then_some(Timestamp(9_000)),
        first: (seq == 1).then_some(number as Position * 10),
        last: number as Position * 10 + seq - 1,
        snapshot: status.is_finished().then(|| b"{\"whole\":true}".to_vec()),
    }
}

fn numbers(rows: &[Row]) -> Vec<u128> {
    rows.iter().map(|it| it.id.0.as_u128() - id(0).0.as_u128()).collect()
}

/// Checks an empty index against everything that the port promises.
pub fn check(index: &dyn Index) {
    let (ctx, other) = (TenantCtx::for_test(1), TenantCtx::for_test(2));
    let all = Query { limit: 100, ..Query::default() };
    assert_eq!(index.position(), Ok(0));
    assert_eq!(index.list(&ctx, &all), Ok(Vec::new()));

    let status = |number: u128| match number % 4 {
        0 => Status::Completed,
        1 => Status::Failed,
        2 => Status::Incident,
        _ => Status::Running,
    };
    let mut rows = (1..=12).map(|it| row(&ctx, it, 1, status(it)));
    index.put(&mut rows, 130).unwrap();
    index.put(&mut [row(&other, 5, 1, Status::Paused)].into_iter(), 140).unwrap();
    assert_eq!(index.position(), Ok(140));
    index.put(&mut std::iter::empty(), 7).unwrap();
    assert_eq!(index.position(), Ok(140), "a position does not go back");

    let list = |query: Query| numbers(&index.list(&ctx, &query).unwrap());
    let limited = |limit: usize| Query { limit, ..all.clone() };
    assert_eq!(list(all.clone()), (1..=12).rev().collect::<Vec<_>>(), "newest first");
    assert_eq!(list(limited(3)), [12, 11, 10]);
    assert_eq!(list(Query { after: Some(id(10)), ..limited(2) }), [9, 8]);
    assert_eq!(list(Query { workflow: Some("even".into()), ..limited(2) }), [12, 10]);
    assert_eq!(list(Query { statuses: vec![Status::Failed], ..all.clone() }), [9, 5, 1]);
    let two = vec![Status::Failed, Status::Completed];
    assert_eq!(list(Query { statuses: two.clone(), ..limited(3) }), [12, 9, 8]);
    let odd = Query { workflow: Some("Odd".into()), statuses: two, ..all.clone() };
    assert_eq!(list(odd), [9, 5, 1]);
    assert_eq!(list(Query { asks: true, ..all.clone() }), [10, 6, 2]);
    assert_eq!(list(Query { correlation: Some("key-2".into()), ..all.clone() }), [5, 4]);
    let of = |number| Some(id(number).to_string().into());
    assert_eq!(list(Query { correlation_id: of(1), ..all.clone() }), [5, 1], "a root, and its own");
    assert_eq!(list(Query { correlation_id: of(5), ..all.clone() }), [] as [u128; 0]);
    assert_eq!(
        list(Query { correlation_id: Some("no id".into()), ..all.clone() }),
        [] as [u128; 0]
    );
    assert_eq!(list(Query { state: Some("s9".into()), ..all.clone() }), [] as [u128; 0]);
    assert_eq!(list(Query { version: Some("2.0.0".into()), ..all.clone() }), [] as [u128; 0]);
    let tagged = |tags: &[&str]| Query {
        tags: tags.iter().copied().map(Into::into).collect(),
        ..all.clone()
    };
    assert_eq!(list(tagged(&["by 3"])), [12, 9, 6, 3]);
    assert_eq!(list(Query { after: Some(id(9)), limit: 1, ..tagged(&["by 3"]) }), [6]);
    assert_eq!(list(tagged(&["by 2", "by 3"])), [12, 6]);
    assert_eq!(list(tagged(&["by 2", "by 9"])), [] as [u128; 0]);
    let open = Query { statuses: vec![Status::Incident], ..tagged(&["by 2"]) };
    assert_eq!(list(open), [10, 6, 2]);
    assert_eq!(numbers(&index.list(&other, &all).unwrap()), [5], "tenants are apart");

    let counts = |query: Query| -> Vec<(String, u64)> {
        let found = index.count(&ctx, &Query { limit: 1, ..query }).unwrap();
        let name = |it: &Count| format!("{} {} {}", it.workflow, it.status.as_str(), it.state);
        found.iter().map(|it| (name(it), it.count)).collect()
    };
    let shown = counts(all.clone());
    let expected = ["Even completed s1", "Even incident s1", "Odd failed s1", "Odd running s1"]
        .map(|it| (it.to_string(), 3));
    assert_eq!(shown, expected);
    let two = vec![Status::Failed, Status::Incident];
    let shown = counts(Query { statuses: two, ..tagged(&["by 3"]) });
    assert_eq!(shown, [("Even incident s1".to_string(), 1), ("Odd failed s1".to_string(), 1)]);
    let last = index.count(&ctx, &all).unwrap().into_iter().map(|it| it.updated_at).max();
    assert_eq!(last, Some(Timestamp(1_001)));

    // A later record wins, an earlier one does not, and the first position stays.
    index.put(&mut [row(&ctx, 3, 5, Status::Completed)].into_iter(), 150).unwrap();
    index.put(&mut [row(&ctx, 3, 2, Status::Running)].into_iter(), 160).unwrap();
    let found = index.get(&ctx, id(3)).unwrap().unwrap();
    let expected = Row { first: Some(30), ..row(&ctx, 3, 5, Status::Completed) };
    assert_eq!(found, expected);
    assert_eq!(index.get(&other, id(3)), Ok(None), "another tenant's instance looks absent");
    assert_eq!(list(Query { statuses: vec![Status::Running], ..all.clone() }), [11, 7]);
    // Tags that are taken away find it no more.
    assert_eq!(list(tagged(&["by 3"])), [12, 9, 6, 3]);
    let other_tags = Row { tags: [Text::from("new")].into(), ..row(&ctx, 3, 5, Status::Completed) };
    index.put(&mut [other_tags].into_iter(), 165).unwrap();
    assert_eq!(list(tagged(&["by 3"])), [12, 9, 6]);
    assert_eq!(list(tagged(&["new"])), [3]);
    // A state that is not the last one's is not shown as if it were.
    index.put(&mut [row(&ctx, 3, 6, Status::Running)].into_iter(), 170).unwrap();
    assert_eq!(index.get(&ctx, id(3)).unwrap().unwrap().snapshot, None);

    let ids = |digits: &str, limit| index.ids(&ctx, digits, limit).unwrap();
    assert_eq!(ids("0199a000", 2).len(), 2);
    assert_eq!(ids("0C", 10), [id(12)]);
    assert_eq!(ids(&id(4).0.simple().to_string(), 10), [id(4)]);
    assert_eq!(ids("ff", 10), []);

    index.remove(&mut [(ctx.tenant(), id(4)), (ctx.tenant(), id(99))].into_iter()).unwrap();
    assert_eq!(index.get(&ctx, id(4)), Ok(None), "taken out");
    assert_eq!(index.position(), Ok(170), "the position stays");
    assert!(index.get(&ctx, id(8)).unwrap().is_some());

    index.sync().unwrap();
    index.clear().unwrap();
    assert_eq!(index.position(), Ok(0));
    assert_eq!(index.list(&ctx, &all), Ok(Vec::new()));
    assert_eq!(index.get(&ctx, id(4)), Ok(None));
    assert_eq!(list(tagged(&["by 2"])), [] as [u128; 0]);
}

#[cfg(test)]
mod tests {
    use crate::memory_index::MemoryIndex;

    #[test]
    fn the_index_in_memory_keeps_the_contract() {
        super::check(&MemoryIndex::default());
    }
}
