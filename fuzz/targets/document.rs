//! `cargo +nightly fuzz run --features libfuzzer document`, with `fuzz/seeds/document` as the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::document(bytes));
