//! The fault programme; `cargo xtask faults` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    traaviis_faults::main()
}
