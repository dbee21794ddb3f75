//! `cargo +nightly fuzz run --features libfuzzer frame`, with `fuzz/seeds/frame` as the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::frame(bytes));
