//! `cargo xtask`: the few commands that build, check and show the project.
//!
//! What CI runs is `cargo xtask ci`, and it is what you run. The list of commands stays short: a
//! new check becomes a test, or a rule of [`xtask::tidy`], rather than a command. This crate uses
//! nothing of ours, so that it starts fast and works while the rest does not compile.

use std::process::ExitCode;

use xtask::{ci, commands, dev, faults};

const HELP: &str = "\
Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  ci            run everything CI runs, stop at the first failure
  test [ARGS]   build the binaries and run every test; ARGS go to `cargo test`
  dev [--fail]  run the OrderSaga example against the example service, first to `completed`,
                then with shipping failing to `compensated`; `--fail` runs only the second
  gen [--check] write generated files again; `--check` only says whether they are current
  fixtures      write a data directory in the present formats into the fixtures, if one of them was
                raised; what is written is committed and stays
  bench [ARGS]  run `traaviis bench engine ARGS`
  faults [ARGS] break everything that can break and check what must hold; `--quick` is what CI
                runs, `--full` what comes before a release, `--only LAYER` one layer
  tidy          check the house rules that the compiler does not know

Options:
  -h, --help    print this text

Everything is built with the release profile, so that one compilation serves all commands.
CARGO_TARGET_DIR is respected.
";

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = args.split_first() else {
        eprint!("{HELP}");
        return ExitCode::from(USAGE);
    };
    let wants_help = rest.iter().take_while(|arg| *arg != "--").any(|arg| is_help(arg));
    if is_help(command) || (wants_help && !matches!(command.as_str(), "bench" | "test")) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let outcome = match (command.as_str(), rest) {
        ("ci", []) => ci::run(),
        ("test", args) => commands::test(args),
        ("dev", []) => dev::run(dev::Variants::Both),
        ("dev", [flag]) if flag == "--fail" => dev::run(dev::Variants::FailingOnly),
        ("gen", []) => commands::generate(commands::Generate::Write),
        ("gen", [flag]) if flag == "--check" => commands::generate(commands::Generate::Check),
        ("fixtures", []) => commands::fixtures(),
        ("bench", args) => commands::bench(args),
        ("faults", args) => faults::run(args),
        ("tidy", []) => commands::tidy(),
        _ => {
            eprintln!("cannot understand `cargo xtask {}`\n\n{HELP}", args.join(" "));
            return ExitCode::from(USAGE);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_help(arg: &str) -> bool {
    arg == "--help" || arg == "-h"
}
