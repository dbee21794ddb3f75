//! `cargo +nightly fuzz run --features libfuzzer record`, with `fuzz/seeds/record` as the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::record(bytes));
