//! The commands that are one or two calls of cargo: `test`, `gen`, `fixtures`, `bench`, `tidy`.

use std::fs;

use crate::{Error, cargo, output, root, run, test_run, tidy as rules};

/// A file and the function that says what it should hold.
type Generated = (&'static str, fn() -> Result<String, Error>);

/// Files written by the program itself. A schema is both embedded in the program and printed by
/// it, so the check says that the two did not drift apart.
const GENERATED: &[Generated] = &[
    ("schemas/workflow-1.json", || traaviis(&["schema", "workflow"])),
    ("docs/reference/cli.md", command_reference),
];

/// What stands above the commands; the numbers are those of `exit.rs` in the binary.
const REFERENCE_HEAD: &str = "\
# Command line

This page is written by `cargo xtask gen` from the `--help` of each command.

Every command takes `--json`: the result goes to standard output as JSON, notes go to standard
error, and a failure is `{\"error\": {\"code\", \"message\"}}`, with `details` where there are facts
for programs.

| Exit code | Meaning |
|---|---|
| 0 | everything went as asked |
| 1 | the command worked and found something wrong, or the run did not complete |
| 2 | the command line cannot be understood |
| 3 | the data, or the process that holds it, cannot be reached |
| 4 | the operating system or the process refuses |
| 70 | a defect of the program |
| 130 | stopped by Ctrl-C |
";

/// What `gen` does with a file that is not current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// Writes it.
    Write,
    /// Fails.
    Check,
}

/// Builds every binary, which the whole-program tests start, then runs every test.
///
/// Whoever names tests runs them once; otherwise those of whole programs run in both modes of
/// storage. The release profile is used because the simulation runs millions of operations.
pub fn test(args: &[String]) -> Result<(), Error> {
    run(&mut cargo(&["build", "--release", "--workspace", "--bins"]))?;
    test_run::run(cargo(&["test", "--release", "--workspace", "--no-fail-fast"]).args(args))?;
    if args.is_empty() { test_json_only() } else { Ok(()) }
}

/// Runs the whole-program tests once more on directories that are kept as JSON.
fn test_json_only() -> Result<(), Error> {
    // Asked of the whole workspace, so that nothing is built with other features; of the tests of
    // this name only one program's are wanted.
    let args = ["test", "--release", "--workspace", "--test", "it", "--no-run"];
    let built = output(cargo(&args).arg("--message-format=json"))?;
    let is_wanted = |it: &&serde_json::Value| {
        let source = it["target"]["src_path"].as_str().unwrap_or_default();
        source.ends_with("crates/traaviis/tests/it/main.rs")
    };
    let messages: Vec<serde_json::Value> =
        built.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let found = messages.iter().find(is_wanted).and_then(|it| it["executable"].as_str());
    let program = found.ok_or("cargo names no program of the whole-program tests")?;
    println!("\n=== whole-program tests, TRAAVIIS_STORAGE=json-only");
    let mut tests = std::process::Command::new(program);
    let package = root().join("crates/traaviis");
    // As cargo runs them: expected files are found by it.
    tests.current_dir(&package).env("CARGO_MANIFEST_DIR", &package);
    tests.env("TRAAVIIS_STORAGE", "json-only");
    test_run::run(&mut tests)
}

/// Lets the test that knows the formats write a fixture of those that were raised.
pub fn fixtures() -> Result<(), Error> {
    let mut test = cargo(&["test", "--release", "--workspace", "--test", "it"]);
    test.args(["format_has_a_fixture"]);
    run(test.env("TRAAVIIS_WRITE_FIXTURES", "1"))
}

/// Prints the measurements of the engine.
pub fn bench(args: &[String]) -> Result<(), Error> {
    let mut bench =
        cargo(&["run", "--quiet", "--release", "--bin", "traaviis", "--", "bench", "engine"]);
    run(bench.args(args))
}

/// Writes the generated files, or says which of them is not current.
pub fn generate(mode: Generate) -> Result<(), Error> {
    for (path, print) in GENERATED {
        let wanted = print()?;
        let file = root().join(path);
        if fs::read_to_string(&file).is_ok_and(|found| found == wanted) {
            println!("{path} is current");
            continue;
        }
        if mode == Generate::Check {
            return Err(format!("`{path}` is not current; run `cargo xtask gen` and commit it"));
        }
        let folder = file.parent().ok_or("a generated file has a folder")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, wanted))
            .map_err(|error| format!("cannot write `{path}`: {error}"))?;
        println!("{path} written");
    }
    Ok(())
}

/// Returns what a call of the binary prints.
fn traaviis(args: &[&str]) -> Result<String, Error> {
    let mut print = cargo(&["run", "--quiet", "--release", "--bin", "traaviis", "--"]);
    output(print.args(args))
}

/// Returns the page about the command line: what each `--help` says, under a heading.
fn command_reference() -> Result<String, Error> {
    let mut page = String::from(REFERENCE_HEAD);
    describe(&[], &mut page)?;
    Ok(page)
}

/// Adds what a command says of itself, unless it only groups others, and then what those say.
fn describe(command: &[&str], page: &mut String) -> Result<(), Error> {
    let help = traaviis(&[command, &["--help"]].concat())?;
    let inner: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    let mut usage =
        help.lines().skip_while(|it| !it.starts_with("Usage:")).take_while(|it| !it.is_empty());
    if usage.any(|it| !it.contains("<COMMAND>")) {
        let name = command.join(" ");
        let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        *page += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim());
    }
    for name in &inner {
        describe(&[command, &[*name]].concat(), page)?;
    }
    Ok(())
}

/// Checks the house rules and prints every finding.
pub fn tidy() -> Result<(), Error> {
    let findings = rules::check(&root())?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy");
            Ok(())
        }
        count => Err(format!("{count} findings")),
    }
}
