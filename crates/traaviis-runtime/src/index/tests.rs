use super::*;

#[test]
fn windows_follow_the_cost_of_a_drain() {
    let cases = [
        (0, 200, 200),
        (1, 200, 200),
        (10, 200, 1_000),
        (40, 200, 4_000),
        (100, 400, 5_000),
        (250, 1_000, 5_000),
        (5_000, 1_000, 5_000),
    ];
    for (drain, least, of_few) in cases {
        let (first, more) = windows_after(Duration::from_millis(drain));
        let expected = [least, of_few].map(Duration::from_millis);
        assert_eq!([first, first + more], expected, "after {drain} ms");
    }
}

#[test]
fn shards_wait_beyond_each_of_the_limits_and_a_drain_begins_at_half() {
    let (few, records, bytes) = (INDEX_FEW_ROWS, INDEX_LAG_RECORDS_MAX, INDEX_LAG_BYTES_MAX);
    for (rows, records, bytes, expected) in [
        (0, 0, 0, Amount::Little),
        (few - 1, records / 2, bytes / 2, Amount::Little),
        (few, 0, 0, Amount::Much),
        (0, records / 2 + 1, 0, Amount::Much),
        (0, 0, bytes / 2 + 1, Amount::Much),
        (few, records, bytes, Amount::Much),
        (0, records + 1, 0, Amount::TooMuch),
        (0, 0, bytes + 1, Amount::TooMuch),
    ] {
        let load = Load { rows, records, bytes };
        assert_eq!(Amount::of(load), expected, "{load:?}");
    }
    let old = Instant::now().checked_sub(INDEX_LAG_AGE_MAX + Duration::from_millis(1));
    assert!(Waiting { since: old, ..Waiting::default() }.is_behind());
    assert!(Waiting { draining_since: old, ..Waiting::default() }.is_behind());
    assert!(!Waiting { since: Some(Instant::now()), ..Waiting::default() }.is_behind());
}
