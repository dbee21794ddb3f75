//! `cargo +nightly fuzz run --features libfuzzer expression`, seeded from `fuzz/seeds/expression`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::expression(bytes));
