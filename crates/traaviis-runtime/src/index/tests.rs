use super::*;

#[test]
fn windows_follow_the_cost_of_a_drain() {
    let cases = [(0, 200), (40, 200), (100, 400), (250, 1_000), (5_000, 1_000)];
    for (drain, window) in cases {
        let found = window_after(Duration::from_millis(drain));
        assert_eq!(found, Duration::from_millis(window), "after {drain} ms");
    }
}

#[test]
fn shards_wait_beyond_each_of_the_limits() {
    let records = INDEX_LAG_RECORDS_MAX;
    let bytes = INDEX_LAG_BYTES_MAX;
    let cases =
        [(0, 0, false), (records, bytes, false), (records + 1, 0, true), (0, bytes + 1, true)];
    for (records, bytes, waits) in cases {
        assert_eq!(is_too_much(Load { records, bytes }), waits, "{records} records, {bytes} bytes");
    }
    let old = Instant::now().checked_sub(INDEX_LAG_AGE_MAX + Duration::from_millis(1));
    assert!(Waiting { since: old, ..Waiting::default() }.is_behind());
    assert!(Waiting { draining_since: old, ..Waiting::default() }.is_behind());
    assert!(!Waiting { since: Some(Instant::now()), ..Waiting::default() }.is_behind());
}
