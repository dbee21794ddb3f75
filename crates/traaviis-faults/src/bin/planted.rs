//! The fault programme with a bug in it, which `TRAAVIIS_PLANTED_BUG` names.

use std::process::ExitCode;

fn main() -> ExitCode {
    traaviis_faults::main()
}
