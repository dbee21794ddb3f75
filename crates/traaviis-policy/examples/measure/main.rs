//! Measures how well and how fast personal data is found:
//! `cargo run --release -p traaviis-policy --example measure [-- wrong]`.
#![allow(clippy::disallowed_methods)] // It measures time.

mod score;

use std::time::Instant;

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

/// Returns how much text is looked through in a second.
fn megabytes_per_second(rounds: usize) -> f64 {
    let texts: Vec<&str> = score::PAYLOADS.lines().chain(score::SENTENCES.lines()).collect();
    let bytes: usize = texts.iter().map(|it| it.len()).sum();
    let begin = Instant::now();
    let mut found = 0;
    for _ in 0..rounds {
        found += texts.iter().map(|it| find_in_text(it).len()).sum::<usize>();
    }
    assert!(found > 0);
    (bytes * rounds) as f64 / 1e6 / begin.elapsed().as_secs_f64()
}
