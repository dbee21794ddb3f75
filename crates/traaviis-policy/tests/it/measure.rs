//! What the detector reaches on the development data must not fall again.

#[path = "../../examples/measure/score.rs"]
mod score;

#[test]
fn structured_types_stay_above_their_floor() {
    for (name, score) in [("payloads", score::payloads(|_| true)), ("numbers", score::vectors())] {
        let count = score.sum(|it| score::STRUCTURED.contains(&it));
        assert!(count.f1() >= 0.97, "{name}: {}\n{}", score.table(), score.wrong.join("\n"));
    }
}
