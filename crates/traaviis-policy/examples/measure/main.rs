//! Measures how well and how fast personal data is found:
//! `cargo run --release -p traaviis-policy --example measure [-- wrong]`.
#![allow(clippy::disallowed_methods)] // It reads the time.

mod score;

use std::{sync::LazyLock, time::Instant};

use traaviis_policy::pii::find_in_text;

fn main() {
    let wrong = std::env::args().nth(1).is_some_and(|it| it == "wrong");
    let sets = [
        ("payloads", score::payloads(|_| true)),
        ("sentences", score::sentences(|_| true)),
        ("numbers", score::vectors()),
    ];
    for (name, score) in &sets {
        println!("## {name}\n\n{}", score.table());
        if wrong {
            score.wrong.iter().for_each(|it| println!("{it}"));
        }
    }
    println!("{:.1} MB/s on one core", megabytes_per_second(20));
}

/// Returns how much text is looked through in a second of this thread, the best of some rounds.
fn megabytes_per_second(rounds: usize) -> f64 {
    let texts: Vec<&str> = score::PAYLOADS.lines().chain(score::SENTENCES.lines()).collect();
    let bytes: usize = texts.iter().map(|it| it.len()).sum();
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let begin = seconds();
        let found: usize = texts.iter().map(|it| find_in_text(it).len()).sum();
        best = best.min(seconds() - begin);
        assert!(found > 0);
    }
    bytes as f64 / 1e6 / best
}

/// Returns the seconds that this thread has computed; where that is not told, those that passed.
fn seconds() -> f64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|it| it.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| BEGIN.elapsed().as_secs_f64(), |it| it / 1e9)
}
