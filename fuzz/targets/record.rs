//! `cargo +nightly fuzz run --features libfuzzer record`, seeded from `fuzz/seeds/record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| traaviis_fuzz::record(bytes));
