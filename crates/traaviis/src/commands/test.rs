//! `traaviis test`: the test cases that workflow files carry, on a virtual clock.
//!
//! Nothing is kept and nothing goes out: mocks answer the calls.

mod record;

use std::{path::PathBuf, sync::Arc};

use serde_json::json;
use traaviis_engine::{
    Machine,
    simulate::ClassOf,
    testing::{self, Coverage, Share, TestRun},
};
use traaviis_model::{
    DeliveryClass, TenantCtx,
    definition::{TestCase, TestStepKind},
};

use crate::{
    connectors::ConnectorArgs,
    document::{self, Checked},
    exit::{Exit, Failure},
    output::Output,
    terminal::{Ink, clip},
    trace::Trace,
};

/// Lines of the trace shown of a test that failed: what led to its end.
const TRACE_LINES_MAX: usize = 20;
/// Characters of an expected or found value on a line.
const FINDING_CHARS_MAX: usize = 1_000;

/// Runs the tests that workflow files carry, and tells what they reach.
///
/// Exit code 1 when a test fails, when coverage is below --min-coverage, or when a file has no test
/// to run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workflow files, YAML or JSON. Default: `workflow.yaml` in this folder.
    files: Vec<PathBuf>,
    /// Run only tests whose name contains this text; coverage is then theirs alone.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Least percent of transitions taken, and of guard outcomes seen, in each file.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    #[command(flatten)]
    record: record::RecordArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut total = Total::default();
    let files = document::asked(&args.files)?;
    if let Some(id) = &args.record.record {
        let [file] = files.as_slice() else {
            return Err(Failure::usage("an instance is recorded into one file").into());
        };
        return record::run(&args.record, id, file, output);
    }
    for file in &files {
        let checked = document::check(file)?;
        match (checked.has_errors(), output.is_json()) {
            (true, true) => output.json(&checked.to_json()),
            (true, false) => output.text(&checked.report(output.style())),
            (false, _) => true,
        };
        let outcome = document::compile(&checked).and_then(|machine| {
            File { args, output, checked: &checked, machine: &machine }.run(&mut total)
        });
        if let Err(failure) = outcome {
            output.failure(&failure);
            total.is_wrong = true;
        }
    }
    if files.len() > 1 && !output.is_json() {
        output.line(&total.words());
    }
    if let (Some(text), Total { passed: 0, failed: 0, is_wrong: false }) = (&args.filter, &total) {
        let message = format!("no test has `{}` in its name", clip(text, 120));
        return Err(Failure::finding("no_tests", message).into());
    }
    Ok(if total.is_wrong || total.failed > 0 { Exit::Finding } else { Exit::Ok })
}

/// What all files came to.
#[derive(Default)]
struct Total {
    passed: usize,
    failed: usize,
    /// Something beside the tests is wrong: a document, the coverage.
    is_wrong: bool,
}

impl Total {
    fn words(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// One file and its tests.
struct File<'a> {
    args: &'a Args,
    output: &'a Output,
    checked: &'a Checked,
    machine: &'a Machine,
}

impl File<'_> {
    fn run(&self, total: &mut Total) -> Result<(), Failure> {
        let tests = self.tests()?;
        if tests.is_empty() {
            return Ok(());
        }
        let definition = self.machine.definition();
        if !self.output.is_json() {
            let (file, name, version) = (&self.checked.file, &definition.name, &definition.version);
            self.output.line(&format!("{file}: {name} {version}"));
        }
        let class = self.class_of(&tests)?;
        let ctx = TenantCtx::local_operator();
        let mut coverage = Coverage::of(self.machine);
        let mut own = Total::default();
        for test in tests {
            let run = testing::run(self.machine, &ctx, test, &*class);
            coverage.add_run(&run);
            match run.is_passed() {
                true => own.passed += 1,
                false => own.failed += 1,
            }
            self.tell(test, &run);
        }
        self.summarise(&coverage, &mut own);
        total.passed += own.passed;
        total.failed += own.failed;
        total.is_wrong |= own.is_wrong;
        Ok(())
    }

    /// Returns the tests to run; with a filter there may be none. A file without any is a failure:
    /// a green answer would say that something was tested.
    fn tests(&self) -> Result<Vec<&TestCase>, Failure> {
        let all = &self.machine.definition().tests;
        if all.is_empty() {
            let message = format!("`{}` has no tests; write them under `tests`", self.checked.file);
            return Err(Failure::finding("no_tests", message));
        }
        let is_asked = |it: &&TestCase| {
            self.args.filter.as_ref().is_none_or(|text| it.name.contains(text.as_str()))
        };
        Ok(all.iter().filter(is_asked).collect())
    }

    /// Returns who judges calls that a crash interrupts: the connectors beside the file.
    fn class_of(&self, tests: &[&TestCase]) -> Result<Box<ClassOf<'static>>, Failure> {
        let crashes =
            |it: &&TestCase| it.steps.iter().any(|step| matches!(step.kind, TestStepKind::Crash));
        if !tests.iter().any(crashes) {
            return Ok(Box::new(|_, _| DeliveryClass::OtherWrite));
        }
        let beside = std::path::Path::new(&self.checked.file).parent();
        // Judging makes no call, so nothing is revealed.
        let secrets = Arc::new(|_: &str| None);
        let connector = ConnectorArgs::default().connector(beside, secrets)?;
        let ctx = TenantCtx::local_operator();
        Ok(Box::new(move |kind, input| connector.delivery_class(&ctx, kind, input)))
    }

    /// Prints what a test came to.
    fn tell(&self, test: &TestCase, run: &TestRun) {
        if self.output.is_json() {
            let findings: Vec<serde_json::Value> = run
                .findings
                .iter()
                .map(|it| {
                    let place = self.position(&it.pointer);
                    json!({
                        "file": self.file(&it.pointer),
                        "path": it.pointer,
                        "line": place.map(|(line, _)| line),
                        "column": place.map(|(_, column)| column),
                        "expected": it.expected,
                        "found": it.found,
                    })
                })
                .collect();
            let mut line = json!({
                "file": self.checked.file,
                "test": test.name,
                "passed": run.is_passed(),
                "virtual_time": run.elapsed.to_string(),
                "records": run.records.len(),
                "findings": findings,
            });
            if !run.is_passed() {
                line["trace"] = json!(self.trace(run));
            }
            self.output.json(&line);
            return;
        }
        let style = self.output.style();
        let name = clip(&test.name, 200);
        if run.is_passed() {
            self.output.line(&format!("  {} {name}", style.paint(Ink::Good, "✓")));
            return;
        }
        self.output.line(&format!("  {} {name}", style.paint(Ink::Bad, "✗")));
        for finding in &run.findings {
            let place = self.place(&finding.pointer);
            let text = clip(&finding.to_string(), FINDING_CHARS_MAX);
            self.output.line(&format!("      {place}: {text}"));
        }
        for line in self.trace(run) {
            self.output.line(&format!("      {line}"));
        }
    }

    /// Returns the end of the trace, line by line.
    fn trace(&self, run: &TestRun) -> Vec<String> {
        let mut trace = Trace::new(self.output.style());
        let mut lines: Vec<String> = run.records.iter().filter_map(|it| trace.line(it)).collect();
        let left_out = lines.len().saturating_sub(TRACE_LINES_MAX);
        if left_out > 0 {
            lines.splice(..left_out, [format!("… {left_out} lines before")]);
        }
        lines
    }

    /// Prints counts and coverage of the file.
    fn summarise(&self, coverage: &Coverage, total: &mut Total) {
        let (transitions, guards) = (coverage.transitions(), coverage.guard_outcomes());
        let missed = missed(coverage);
        if self.output.is_json() {
            let share = |it: Share| {
                let percent = it.percent();
                json!({ "covered": it.covered, "total": it.total, "percent": percent })
            };
            let not_reached: Vec<serde_json::Value> = missed
                .iter()
                .map(|(pointer, text)| {
                    let place = self.position(pointer);
                    json!({
                        "file": self.file(pointer),
                        "path": pointer,
                        "line": place.map(|(line, _)| line),
                        "column": place.map(|(_, column)| column),
                        "message": text,
                    })
                })
                .collect();
            self.output.json(&json!({
                "file": self.checked.file,
                "workflow": self.machine.definition().name,
                "version": self.machine.definition().version.to_string(),
                "passed": total.passed,
                "failed": total.failed,
                "coverage": {
                    "transitions": share(transitions),
                    "guard_outcomes": share(guards),
                    "not_reached": not_reached,
                },
            }));
        } else {
            let reached =
                |it: Share| format!("{} of {} ({} %)", it.covered, it.total, it.percent());
            self.output.line(&format!(
                "  {}; transitions {}, guard outcomes {}",
                total.words(),
                reached(transitions),
                reached(guards),
            ));
            let mut lines: Vec<((u32, u32), String)> = missed
                .iter()
                .map(|(pointer, text)| {
                    let at = self.position(pointer).unwrap_or_default();
                    (at, format!("    {}: {text}", self.place(pointer)))
                })
                .collect();
            lines.sort();
            for (_, line) in &lines {
                self.output.line(line);
            }
        }
        let wanted = usize::from(self.args.min_coverage.unwrap_or(0));
        for (what, share) in [("transitions", transitions), ("guard outcomes", guards)] {
            if share.percent() < wanted {
                total.is_wrong = true;
                self.output.note(&format!(
                    "{}: {} % of {what} are covered, less than {wanted} %",
                    self.checked.file,
                    share.percent()
                ));
            }
        }
    }

    fn position(&self, pointer: &str) -> Option<(u32, u32)> {
        self.checked.positions.find(pointer)
    }

    /// Returns the file of a pointer: this one, or that of a component.
    fn file(&self, pointer: &str) -> &str {
        self.checked.positions.file(pointer).unwrap_or(&self.checked.file)
    }

    fn place(&self, pointer: &str) -> String {
        let file = self.file(pointer);
        match self.position(pointer) {
            Some((line, column)) => format!("{file}:{line}:{column}"),
            None => file.into(),
        }
    }
}

/// Returns what no test reached, each with its place.
fn missed(coverage: &Coverage) -> Vec<(String, String)> {
    let mut missed = Vec::new();
    for it in &coverage.candidates {
        if it.taken == 0 {
            missed.push((it.pointer.to_string(), format!("never taken: {}", it.name)));
        }
        let Some((guard, counts)) = &it.guard else { continue };
        let shown = clip(guard, 120);
        let words = match (counts.when_true, counts.when_false) {
            (0, 0) => "never evaluated",
            (0, _) => "never true",
            (_, 0) => "never false",
            _ => continue,
        };
        missed.push((format!("{}/guard", it.pointer), format!("guard {words}: {shown}")));
    }
    missed
}
