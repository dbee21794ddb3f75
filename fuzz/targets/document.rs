//! `cargo +nightly fuzz run --features libfuzzer document`, seeded from `fuzz/seeds/document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::document(bytes));
