//! The documents built into the binary: every file of the folder `catalogue`.
//!
//! A test compares this table with the folder. One line for each file:
//! `file!("workflows/saga.yaml"),` or `file!("components/timer.yaml"),`.

#[allow(unused_macros, reason = "the table may be empty")]
macro_rules! file {
    ($path:literal) => {
        (concat!("catalogue/", $path), include_str!(concat!("../../../../catalogue/", $path)))
    };
}

/// Place in the repository and text of each document.
pub const FILES: &[(&str, &str)] = &[];
