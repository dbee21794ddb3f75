//! What an append costs. Runs tiny as a test; `COST=full cargo test --release cost -- --nocapture`
//! prints the numbers.

use std::{sync::Arc, time::Instant};

use traaviis_model::TenantCtx;
use traaviis_ports::{CommitSink, LogStore};
use traaviis_store::{Durability, Entry, LocalLog, LogCore, Options, disk::OsDisk};
use traaviis_testkit::log_contract::{Outcomes, append, stream};

/// Text of a small step: two records of about 250 bytes would be usual; this is one of 300.
const TEXT: &str = "{\\\"from\\\":[\\\"waiting\\\"],\\\"to\\\":[\\\"paid\\\"],\\\"event\\\":\\\"pay\\\",\\\"exited\\\":[\\\"waiting\\\"],\\\"entered\\\":[\\\"paid\\\"],\\\"microstep\\\":1,\\\"at\\\":\\\"2025-01-01T00:00:00.000Z\\\"}";

fn entries(from: u128, count: usize) -> Vec<Entry> {
    let ctx = TenantCtx::for_test(1);
    let entry = |number| {
        let id = stream(0x0190_0000_0000_7000_8000_0000_0000_0000 + number * 7919);
        let mut append = append(&ctx, id, 1, 1);
        append.lines = traaviis_testkit::log_contract::lines(&ctx, id, 1, 1, TEXT).into();
        Entry { tenant: ctx.tenant(), append }
    };
    (from..from + count as u128).map(entry).collect()
}

#[test]
fn cost_of_appends() {
    let is_full = std::env::var("COST").is_ok_and(|value| value == "full");
    for durability in [Durability::Relaxed, Durability::Commit] {
        for group in [1, 64, 1024] {
            let dir = tempfile::tempdir().unwrap();
            let options = Options { durability, ..Options::default() };
            let (mut core, _) = LogCore::open(OsDisk, dir.path(), options).unwrap();
            let groups = if is_full { (20_000 / group).clamp(50, 2_000) } else { 2 };
            let all: Vec<Vec<Entry>> =
                (0..groups).map(|at| entries((at * group) as u128, group)).collect();
            let mut outcomes = Vec::new();
            let start = Instant::now();
            for entries in &all {
                outcomes.clear();
                core.commit(entries, &mut outcomes);
                assert!(outcomes.iter().all(Result::is_ok));
            }
            let took = start.elapsed();
            let each = took.as_nanos() as f64 / (groups * group) as f64 / 1000.0;
            println!("core {durability:?} group {group}: {each:.2} us per append");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LocalLog::open(dir.path(), Options::default()).unwrap();
    let count = if is_full { 200_000 } else { 100 };
    let all = entries(0, count);
    let (ctx, outcomes) = (TenantCtx::for_test(1), Outcomes::new());
    let sink: Arc<dyn CommitSink> = outcomes.clone();
    let start = Instant::now();
    for (token, entry) in (0..).zip(all) {
        log.append(&ctx, entry.append, &sink, token);
    }
    let sent = start.elapsed();
    outcomes.wait(count);
    let took = start.elapsed();
    println!(
        "local: {:.2} us per append, {:.2} us on the caller",
        took.as_nanos() as f64 / count as f64 / 1000.0,
        sent.as_nanos() as f64 / count as f64 / 1000.0
    );
}
