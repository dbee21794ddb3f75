//! `cargo +nightly fuzz run --features libfuzzer frame`, seeded from `fuzz/seeds/frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::frame(bytes));
