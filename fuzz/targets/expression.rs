//! `cargo +nightly fuzz run --features libfuzzer expression`, with `fuzz/seeds/expression` as the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::expression(bytes));
