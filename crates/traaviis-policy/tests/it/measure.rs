//! What the detector reaches on the development data must not fall again.

#[path = "../../examples/measure/score.rs"]
mod score;

use score::{STRUCTURED, Score};

fn sets() -> [(&'static str, Score); 3] {
    [
        ("payloads", score::payloads(|_| true)),
        ("sentences", score::sentences(|_| true)),
        ("numbers", score::vectors()),
    ]
}

#[test]
fn structured_types_stay_above_their_floor() {
    for (name, score) in sets() {
        let count = score.sum(|it| STRUCTURED.contains(&it));
        assert!(count.f1() >= 0.97, "{name}: {}\n{}", score.table(), score.wrong.join("\n"));
        assert!(score.over() <= 0.02, "{name}: {}", score.table());
    }
}

#[test]
fn companies_are_found_as_well_as_they_were() {
    let score = score::sentences(|_| true);
    let count = score.sum(|it| it == "ORGANIZATION");
    let is_kept = count.precision() >= 0.70 && count.recall() >= 0.40;
    assert!(is_kept && score.leak() <= 0.21, "{}", score.table());
}

#[test]
fn people_are_found_as_well_as_they_were() {
    for (name, score) in sets() {
        let count = score.sum(|it| it == "PERSON");
        let is_kept = count.precision() >= 0.80 && count.recall() >= 0.80;
        assert!(name == "numbers" || is_kept, "{name}: {}", score.table());
    }
}
